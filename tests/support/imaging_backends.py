"""The imaging backends as parameters of tests; WSClean only where it is installed."""

from __future__ import annotations

import pytest

needs_wsclean = pytest.mark.needs("wsclean")
OTHERS = [pytest.param("wsclean", marks=needs_wsclean), "ducc0"]
"""All but tclean."""
ALL = ["tclean", *OTHERS]
