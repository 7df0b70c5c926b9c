"""numba with a place for what it compiles: kernels import it from here."""

from __future__ import annotations

from dsa110_contimg.caches import settle_caches

settle_caches()

import numba  # noqa: E402 - it reads the environment when it is imported

__all__ = ["numba"]
