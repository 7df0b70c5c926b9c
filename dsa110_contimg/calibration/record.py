"""What is on record of the calibration of an MS, and how products remember it."""

from __future__ import annotations

from pathlib import Path

from dsa110_contimg.calibration.models import CalibrationRecord
from dsa110_contimg.models import Model
from dsa110_contimg.provenance import Provenance, make_provenance
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.storage.ms_change import Change, read_change
from dsa110_contimg.visibilities.ms_info import describe_ms, open_table

UNKNOWN_CALIBRATION = "CORRECTED_DATA is there, but no record of the solutions that made it"
"""Said of data that somebody else corrected, or that were flagged anew since."""


def read_calibration(ms_path: Path) -> CalibrationRecord | None:
    """Read what was applied to an MS.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    CalibrationRecord or None
        None if nothing was.
    """
    return read_change(canonical_ms(ms_path), Change.CALIBRATION, CalibrationRecord)


def make_ms_provenance(options: Model, ms_path: Path) -> Provenance:
    """Record what makes a product of an MS: the options, the MS as it is, and its calibration.

    Parameters
    ----------
    options : Model
        The options of the stage.
    ms_path : Path
        The MS; a product that says that there is none has no inputs.

    Returns
    -------
    Provenance
        The record.
    """
    if not ms_path.exists():
        return make_provenance(options, [])
    record = read_calibration(ms_path)
    if record is None:
        calibration = UNKNOWN_CALIBRATION if _has_corrected_data(ms_path) else None
    else:
        calibration = record.sentence
    return make_provenance(options, [describe_ms(ms_path)]).model_copy(
        update={
            "calibration": calibration,
            "calibration_sets": [applied.set_id for applied in record.applied] if record else [],
        }
    )


def _has_corrected_data(ms_path: Path) -> bool:
    """Whether an MS has data that measurements prefer; one that cannot be read has none."""
    try:
        with open_table(ms_path) as ms:
            return "CORRECTED_DATA" in ms.colnames()
    except RuntimeError:  # casacore's only exception
        return False
