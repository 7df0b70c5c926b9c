"""What is on record of calibrators, flags and solutions, made with the real models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.night_records import NightMaker
from support.solution_sets import make_set

from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
from dsa110_contimg.calibration.models import (
    AppliedSet,
    CalibrationRecord,
    CalTable,
    Refusal,
    SolutionSet,
    SolveOutcome,
    SolveState,
    TableKind,
    TableQuality,
)
from dsa110_contimg.calibration.set_files import SET_FILE
from dsa110_contimg.calibration.transits import Transit, to_mjd
from dsa110_contimg.catalog.calibrators import Calibrator
from dsa110_contimg.flagging.models import (
    BaselineBin,
    DeadAntenna,
    FlagRecord,
    FlagStrategy,
    FlagSummary,
)
from dsa110_contimg.instrument import N_SUBBANDS

QUALITY = {
    TableKind.BANDPASS: TableQuality(
        unflagged_fraction=0.978,
        median_snr=212.4,
        phase_scatter_deg=0.31,
        amplitude_scatter=0.0062,
        antennas_without=["pad117"],
    ),
    TableKind.GAIN: TableQuality(
        unflagged_fraction=0.991,
        median_snr=431.0,
        phase_scatter_deg=0.14,
        phase_drift_deg=1.3,
        amplitude_scatter=0.0025,
    ),
}
CREATED = "2026-01-25T13:00:00.000+00:00"
MS_CREATED = "2026-01-25T14:03:11.250+00:00"
"""As `NightMaker` publishes its MSs."""


def make_transit(
    group_id: str, name: str = "0834+555", apparent_flux_jy: float = 8.6, **changes: Any
) -> Transit:
    """A transit in the middle of a group, through a beam of 0.97."""
    middle = datetime.fromisoformat(group_id).replace(tzinfo=UTC) + timedelta(seconds=150)
    made = Transit(
        calibrator=Calibrator(name=name, ra_deg=128.7288, dec_deg=55.5725, flux_jy=8.8),
        transit_utc=middle.replace(tzinfo=None).isoformat(timespec="milliseconds"),
        transit_mjd=to_mjd(middle),
        pointing_dec_deg=54.573,
        offset_deg=-0.183,
        beam=0.97,
        flux_jy=apparent_flux_jy / 0.97,
        apparent_flux_jy=apparent_flux_jy,
        group_id=group_id,
    )
    return made.model_copy(update=changes)


def save_plan(
    night: NightMaker, transits: list[Transit], problems: list[str] | None = None
) -> None:
    """Put the transits of the night on record."""
    plan = CalibratorPlan(min_apparent_jy=2.0, transits=transits, problems=problems or [])
    night.ledger.save_calibrators(plan)


def make_solutions(
    night: NightMaker, group_id: str, name: str = "0834+555", *, plots: bool = True
) -> SolutionSet:
    """Solutions as they stand on disk, their plots included."""
    set_id = f"{group_id}_{name}"
    directory = night.root / "calibration" / group_id[:10] / set_id
    directory.mkdir(parents=True, exist_ok=True)
    tables = []
    for kind, quality in QUALITY.items():
        if plots:
            Image.new("RGB", (990, 585), (235, 240, 250)).save(directory / f"{kind}.png")
        tables.append(CalTable(kind=kind, name=kind, files={}, quality=quality, plot=f"{kind}.png"))
    solutions = make_set(
        set_id,
        calibrator=name,
        group_id=group_id,
        directory=str(directory),
        tables=tables,
        provenance=night.provenance(solint="30s").model_copy(update={"created": CREATED}),
    )
    (directory / SET_FILE).write_text(solutions.model_dump_json(), encoding="utf-8")
    return solutions


def save_solve(
    night: NightMaker,
    group_id: str,
    name: str = "0834+555",
    state: SolveState = SolveState.SOLVED,
    reason: str | None = None,
    **changes: Any,
) -> SolutionSet | None:
    """Put the solve on a group on record; one that failed has no solutions."""
    outcome = SolveOutcome(
        group_id=group_id,
        calibrator=name,
        state=state,
        solutions=None if state is SolveState.FAILED else make_solutions(night, group_id, name),
        reason=reason,
        seconds=41.5,
    ).model_copy(update=changes)
    night.ledger.save_solve(outcome)
    return outcome.solutions


def summarize(fraction: float) -> FlagSummary:
    """Flags that are spread evenly over the windows but for one."""
    by_window = [fraction] * N_SUBBANDS
    by_window[5] = min(1.0, 4 * fraction)
    return FlagSummary(
        fraction=fraction,
        by_antenna={f"pad{number}": fraction for number in range(1, 97)},
        by_baseline=[BaselineBin(min_m=30.0, max_m=2600.0, flagged_fraction=fraction)],
        by_window=by_window,
        by_channel=np.full((N_SUBBANDS, 48), fraction).tolist(),
    )


def save_flags(
    night: NightMaker,
    group_id: str,
    fraction: float = 0.062,
    dead: tuple[str, ...] = ("pad117",),
    **changes: Any,
) -> FlagRecord:
    """Put on record that an MS was flagged."""
    record = FlagRecord(
        ms_created=MS_CREATED,
        group_id=group_id,
        ms_path=str(night.ms_path(group_id)),
        strategy=FlagStrategy(),
        dead=[DeadAntenna(name=name, reason="its power is 0.01 of the median") for name in dead],
        before=summarize(fraction / 4),
        after=summarize(fraction),
        stage_seconds={"flag versions": 0.4, "dead antennas": 1.1, "flagdata": 9.2},
        seconds=11.5,
        provenance=night.provenance(grow_percent=50.0),
    ).model_copy(update=changes)
    night.ledger.save_flagging(record)
    return record


def save_applied(
    night: NightMaker,
    group_id: str,
    sets: list[tuple[SolutionSet, float]],
    *,
    flagged: float = 0.075,
    refused: tuple[str, ...] = (),
    **changes: Any,
) -> CalibrationRecord:
    """Put on record that sets, with their distances in hours, were applied to an MS."""
    own = any(solutions.group_id == group_id for solutions, _ in sets)
    record = CalibrationRecord(
        ms_created=MS_CREATED,
        group_id=group_id,
        ms_path=str(night.ms_path(group_id)),
        applied=[
            AppliedSet(
                set_id=solutions.set_id,
                calibrator=solutions.calibrator,
                hours=hours,
                directory=solutions.directory,
                tables={"bandpass": {"table.dat": "0" * 64}},
            )
            for solutions, hours in sets
        ],
        borrowed=not own,
        sentence="in words",
        refused=[
            Refusal(set_id=name, reason="declination", sentence="it is 1.20 deg off")
            for name in refused
        ],
        flagged_before=0.062,
        flagged_after=flagged,
        flagged_by_window=summarize(flagged).by_window,
        worst_error=2e-7,
        stage_seconds={"tables": 0.2, "applycal": 14.1, "check": 1.3},
        seconds=16.4,
        provenance=night.provenance(max_hours=30.0),
    ).model_copy(update=changes)
    night.ledger.save_calibration(record)
    return record


def draw_flags(night: NightMaker, group_id: str) -> Path:
    """Draw a plot of flags beside an MS."""
    path = night.ms_path(group_id).with_name(f"{group_id}.ms.flags.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (900, 600), (250, 240, 235)).save(path)
    return path
