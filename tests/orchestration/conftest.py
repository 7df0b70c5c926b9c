"""Fixtures of nights on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.planned_night import NIGHT, plan

from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import get_settings


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NightLedger]:
    """A night with three transits, of which nothing is decided."""
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", str(tmp_path))
    get_settings.cache_clear()
    made = NightLedger(get_settings().nights_dir, NIGHT)
    made.save_calibrators(plan())
    yield made
    get_settings.cache_clear()
