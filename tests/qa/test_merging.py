"""What several runs recorded of one night."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
from dsa110_contimg.calibration.transits import Transit, to_mjd
from dsa110_contimg.catalog.calibrators import Calibrator
from dsa110_contimg.conversion.models import (
    ConversionResult,
    ConversionState,
    GroupListing,
    GroupState,
    RejectedFile,
    SubbandGroup,
)
from dsa110_contimg.qa.merging import merge_listings, merge_plans
from dsa110_contimg.qa.records import NightLedger

pytestmark = pytest.mark.unit

DATE = "2026-01-25"
EARLY, MIDDLE, LATE = (f"{DATE}T{hour}:00:00" for hour in ("01", "08", "20"))


def hour(number: int) -> datetime:
    return datetime(2026, 1, 25, number, tzinfo=UTC)


MORNING = (hour(6), hour(12))


def group(group_id: str, n_files: int = 1) -> SubbandGroup:
    return SubbandGroup(
        group_id=group_id,
        state=GroupState.INCOMPLETE,
        present=[f"sb{k:02d}" for k in range(n_files)],
        missing=[],
        files=[f"/raw/{group_id}_sb{k:02d}.hdf5" for k in range(n_files)],
        problems=[],
    )


def listing(groups: list[SubbandGroup], *rejects: str) -> GroupListing:
    return GroupListing(
        groups=groups, rejects=[RejectedFile(file=file, reason="damaged") for file in rejects]
    )


def test_only_the_interval_is_replaced() -> None:
    earlier = listing(
        [group(EARLY), group(MIDDLE), group(LATE)],
        f"/raw/{EARLY}_sb09.hdf5",
        f"/raw/{MIDDLE}_sb00.hdf5",
        f"/raw/{MIDDLE}_sb09.hdf5",
        "/raw/notes.txt",
    )
    latest = listing([group(MIDDLE, 2)], f"/raw/{MIDDLE}_sb07.hdf5")
    merged = merge_listings(earlier, latest, MORNING)
    assert merged.groups == [group(EARLY), group(MIDDLE, 2), group(LATE)]
    assert [reject.file for reject in merged.rejects] == [
        f"/raw/{EARLY}_sb09.hdf5",
        f"/raw/{MIDDLE}_sb07.hdf5",
    ]


def test_the_same_interval_again_replaces_all() -> None:
    whole = (hour(0), hour(23))
    earlier = listing([group(EARLY), group(MIDDLE)], f"/raw/{MIDDLE}_sb09.hdf5")
    assert merge_listings(earlier, listing([group(LATE)]), whole) == listing([group(LATE)])
    assert merge_listings(None, earlier, whole) == earlier


def transit(group_id: str, name: str) -> Transit:
    return Transit(
        calibrator=Calibrator(name=name, ra_deg=1.0, dec_deg=2.0, flux_jy=8.0),
        transit_utc=group_id,
        transit_mjd=to_mjd(datetime.fromisoformat(group_id).replace(tzinfo=UTC)),
        pointing_dec_deg=2.0,
        offset_deg=0.0,
        beam=1.0,
        flux_jy=8.0,
        apparent_flux_jy=8.0,
        group_id=group_id,
    )


def plan(*transits: Transit, problem: str) -> CalibratorPlan:
    return CalibratorPlan(min_apparent_jy=2.0, transits=list(transits), problems=[problem])


def test_transits_outside_the_interval_stay() -> None:
    earlier = plan(
        transit(EARLY, "a"), transit(MIDDLE, "old"), transit(LATE, "b"), problem="earlier"
    )
    merged = merge_plans(earlier, plan(transit(MIDDLE, "new"), problem="latest"), MORNING)
    assert [one.calibrator.name for one in merged.transits] == ["a", "new", "b"]
    assert merged.problems == ["latest", "earlier"]
    alone = plan(transit(MIDDLE, "new"), problem="latest")
    assert merge_plans(plan(transit(MIDDLE, "old"), problem="earlier"), alone, MORNING) == alone
    assert merge_plans(None, alone, MORNING) == alone


def test_runs_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """As a backfill may start both intervals of one date together."""
    ledger = NightLedger(tmp_path, DATE)

    def record(number: int) -> None:
        ledger.save_listing(
            listing([group(f"{DATE}T{number:02d}:30:00")]), (hour(number), hour(number + 1))
        )

    threads = [threading.Thread(target=record, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ledger.load().listing
    assert found is not None
    assert [one.group_id[11:13] for one in found.groups] == [
        f"{number:02d}" for number in range(20)
    ]


@pytest.mark.parametrize(("interval", "is_decided"), [(MORNING, True), ((hour(0), hour(6)), False)])
def test_only_what_is_done_again_is_waited_for_again(
    tmp_path: Path, interval: tuple[datetime, datetime], is_decided: bool
) -> None:
    """A run that redoes a part of the night does not redo the calibrators of the rest."""
    ledger = NightLedger(tmp_path, DATE)
    ledger.save_conversion(ConversionResult(group_id=EARLY, state=ConversionState.REJECTED))
    ledger.save_listing(listing([]), interval)
    assert ledger.is_decided(EARLY, anew=True) is is_decided
    assert ledger.is_decided(EARLY)
