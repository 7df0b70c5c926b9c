"""Fixtures of the night report."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.night_records import NightMaker


@pytest.fixture
def night(tmp_path: Path) -> NightMaker:
    """A night with nothing on record."""
    return NightMaker(tmp_path / "work")
