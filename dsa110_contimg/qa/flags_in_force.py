"""The flags that an MS has now: those of the last stage that set some.

Conversion, flagging and calibration each leave a count of the flags. What a reader is shown is the
count of the last of them, and only of records that are about the MS as it is: one that was
converted again is not flagged, one that was flagged again is not calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsa110_contimg.calibration.models import CalibrationRecord
from dsa110_contimg.conversion.models import Manifest
from dsa110_contimg.flagging.models import FlagRecord
from dsa110_contimg.qa.models import FlagStage, MsReport
from dsa110_contimg.qa.record_models import NightRecord


@dataclass(frozen=True)
class FlagsInForce:
    """How much of an MS is flagged."""

    stage: FlagStage
    """The stage that set the flags."""
    fraction: float
    """Of the cross-correlations."""
    by_window: list[float]
    """Of each spectral window, in order of id."""


def find_flags(
    flagging: FlagRecord | None, calibration: CalibrationRecord | None
) -> FlagsInForce | None:
    """Find the flags in force of an MS.

    Parameters
    ----------
    flagging : FlagRecord or None
        How it was flagged.
    calibration : CalibrationRecord or None
        How it was calibrated, which flags what has no solutions.

    Returns
    -------
    FlagsInForce or None
        None if it has those of its conversion, or if only an older record tells of others, which
        does not count them by window.
    """
    if calibration is not None and calibration.flagged_by_window:
        return FlagsInForce(
            FlagStage.CALIBRATION, calibration.flagged_after, calibration.flagged_by_window
        )
    if flagging is not None:
        return FlagsInForce(FlagStage.FLAGGING, flagging.after.fraction, flagging.after.by_window)
    return None


def drop_stale(record: NightRecord, manifests: Sequence[Manifest]) -> NightRecord:
    """Leave out what was done to an MS that is not there any more.

    Parameters
    ----------
    record : NightRecord
        All that is on record.
    manifests : sequence of Manifest
        Of the MSs that are there, or were removed by housekeeping.

    Returns
    -------
    NightRecord
        Without the flags of MSs that were converted again, and without the calibration of MSs
        that were converted or flagged again.
    """
    created = {manifest.group_id: manifest.provenance.created for manifest in manifests}

    def is_current(made: FlagRecord | CalibrationRecord) -> bool:  # numpydoc ignore=PR01
        """Whether it was done to the MS as it was last converted."""
        return made.ms_created == created.get(made.group_id, made.ms_created)

    flaggings = [made for made in record.flaggings if is_current(made)]
    flagged = {made.group_id: made.provenance.created for made in flaggings}
    calibrations = [
        made
        for made in record.calibrations
        # Times in ISO 8601 and UTC are in order as text.
        if is_current(made) and made.provenance.created >= flagged.get(made.group_id, "")
    ]
    return record.model_copy(update={"flaggings": flaggings, "calibrations": calibrations})


def show_flags_in_force(record: NightRecord, sets: Sequence[MsReport]) -> list[MsReport]:
    """Put the flags in force in the place of those of the conversion.

    Parameters
    ----------
    record : NightRecord
        What is on record, without what is stale.
    sets : sequence of MsReport
        The night's MSs, as their manifests describe them.

    Returns
    -------
    list of MsReport
        The same MSs.
    """
    flaggings = {made.group_id: made for made in record.flaggings}
    calibrations = {made.group_id: made for made in record.calibrations}
    shown = []
    for ms in sets:
        flags = find_flags(flaggings.get(ms.group_id), calibrations.get(ms.group_id))
        shown.append(ms if flags is None else _with_flags(ms, flags))
    return shown


def _with_flags(ms: MsReport, flags: FlagsInForce) -> MsReport:
    """Describe an MS by other flags, unless they are of other windows than its own."""
    windows = ms.spectral_windows
    if windows and len(windows) != len(flags.by_window):
        return ms
    return ms.model_copy(
        update={
            "flagged_fraction": flags.fraction,
            "flag_stage": flags.stage,
            "spectral_windows": [
                window.model_copy(update={"flagged_fraction": fraction})
                for window, fraction in zip(windows, flags.by_window, strict=False)
            ],
        }
    )
