"""Fixtures of the operator page: a night with a bit of everything."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.calibration_records import (
    draw_flags,
    make_transit,
    save_applied,
    save_flags,
    save_plan,
    save_solve,
)
from support.night_records import NightMaker, draw_plain
from support.operator_desk import GivenFacts, Reader

from dsa110_contimg.conversion.models import ConversionState
from dsa110_contimg.photometry.models import SpwFailure
from dsa110_contimg.qa.record_models import ImagingPlan
from dsa110_contimg.settings import Settings


@pytest.fixture
def night(tmp_path: Path) -> NightMaker:
    """A night with nothing on record."""
    return NightMaker(tmp_path / "work")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings for that night."""
    return Settings(work_dir=tmp_path / "work", sandbox_root=tmp_path / "sandboxes")


@pytest.fixture
def mixed_night(night: NightMaker) -> NightMaker:
    """Five groups: calibrated, plain, rejected, failed and never converted; no report so far."""
    missing = {1: ["sb03"], 2: [f"sb{k:02d}" for k in range(8)]}
    groups = [night.add_group(k, missing=missing.get(k, ())) for k in range(5)]
    night.save_listing()
    for group in groups[:2]:
        night.convert(group)
        for name in ("J0812+541", "J0815+540"):
            night.image(group, name, draw=draw_plain)
    night.ledger.save_plan(
        ImagingPlan(group_id=groups[1], source_names=["J0812+541", "J0815+540", "J0820+545"])
    )
    bad = [SpwFailure(spw_id=3, reason="all its visibilities are flagged")]
    night.image(groups[1], "J0815+540", draw=draw_plain, failed_spws=bad, success=False)
    night.convert(groups[2], ConversionState.REJECTED, reason="8 of 16 subbands are there")
    night.convert(groups[3], ConversionState.FAILED, reason="no_space: tmpfs is full")
    save_plan(night, [make_transit(groups[0])])
    own = save_solve(night, groups[0])
    assert own is not None
    save_flags(night, groups[0], plot=str(draw_flags(night, groups[0])))
    save_applied(night, groups[0], [(own, -0.1)])
    return night


@pytest.fixture
def facts() -> GivenFacts:
    """What Airflow says: nothing, until a test gives it something."""
    return GivenFacts()


@pytest.fixture
def reader(settings: Settings, facts: GivenFacts) -> Reader:
    """Somebody who is let in."""
    return Reader(settings, facts)
