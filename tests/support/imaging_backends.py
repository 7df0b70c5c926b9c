"""The imaging backends as parameters of tests; WSClean only where it is installed."""

from __future__ import annotations

import shutil

import pytest

needs_wsclean = pytest.mark.skipif(
    shutil.which("wsclean") is None, reason="the Debian package wsclean is not installed"
)
OTHERS = [pytest.param("wsclean", marks=needs_wsclean), "ducc0"]
"""All but tclean."""
ALL = ["tclean", *OTHERS]
