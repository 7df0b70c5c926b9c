"""Sets of solutions: what is on record of them, and tables as CASA writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dsa110_contimg.calibration.models import (
    CalibrationNeed,
    CalTable,
    SolutionSet,
    TableKind,
    TableQuality,
    WindowKey,
)
from dsa110_contimg.calibration.verify import fingerprint
from dsa110_contimg.provenance import Provenance

MID_MJD = 61065.34
"""Middle of the observation of the MS that the sets are for."""
GROUP = "2026-01-25T08:06:19"
ANTENNAS = [f"pad{number}" for number in range(1, 11)]
WINDOWS = [
    WindowKey(freq_hz=1.3e9 + 1.2e7 * number, bandwidth_hz=1.2e7, n_channels=6)
    for number in range(3)
]
GOOD = TableQuality(
    unflagged_fraction=0.97, median_snr=140.0, phase_scatter_deg=0.6, amplitude_scatter=0.01
)
POLARIZATIONS = 2


def make_set(name: str = "near", hours: float = -1.0, **changes: Any) -> SolutionSet:
    """Describe a set that fits `make_need`, some hours after its MS, without files."""
    fields: dict[str, Any] = {
        "set_id": name,
        "calibrator": "0834+555",
        "calibrator_flux_jy": 8.8,
        "group_id": f"group-of-{name}",
        "ms_path": f"/data/ms/group-of-{name}.ms",
        "mid_mjd": MID_MJD + hours / 24.0,
        "duration_s": 309.0,
        "dec_deg": 54.57,
        "array": ANTENNAS,
        "antennas": ANTENNAS,
        "windows": WINDOWS,
        "refant": "pad3",
        "directory": f"/data/calibration/{name}",
        "tables": [],
        "provenance": Provenance(
            created="2026-01-25T09:00:00.000+00:00", host="host", versions={}, options={}, inputs=[]
        ),
    }
    return SolutionSet.model_validate(fields | changes)


def make_need(**changes: Any) -> CalibrationNeed:
    """Describe the MS that the sets are for."""
    fields: dict[str, Any] = {
        "ms_path": f"/data/ms/{GROUP}.ms",
        "mid_mjd": MID_MJD,
        "dec_deg": 54.57,
        "array": ANTENNAS,
        "antennas": ANTENNAS,
        "windows": WINDOWS,
    }
    return CalibrationNeed.model_validate(fields | changes)


def all_solved(n_times: int = 1, n_channels: int = 6) -> np.ndarray:
    """Flags of a table without a gap: (time, window, antenna, channel, polarization)."""
    shape = (n_times, len(WINDOWS), len(ANTENNAS), n_channels, POLARIZATIONS)
    return np.zeros(shape, dtype=bool)


def write_caltable(path: Path, flags: np.ndarray) -> Path:
    """Write a table with the columns of CASA's calibration tables, in its order of rows."""
    from casacore.tables import makearrcoldesc, makescacoldesc, maketabdesc, table

    n_times, n_windows, n_antennas = flags.shape[:3]
    columns = [
        makescacoldesc("TIME", 0.0),
        makescacoldesc("SPECTRAL_WINDOW_ID", 0),
        makescacoldesc("ANTENNA1", 0),
        makearrcoldesc("CPARAM", 0j, ndim=2),
        makearrcoldesc("FLAG", False, ndim=2),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    order = np.indices((n_times, n_windows, n_antennas)).reshape(3, -1)
    cells = flags.reshape(order.shape[1], *flags.shape[3:])
    with table(str(path), maketabdesc(columns), nrow=len(cells), ack=False) as opened:
        opened.putcol("TIME", MID_MJD * 86400.0 + 60.0 * order[0])
        opened.putcol("SPECTRAL_WINDOW_ID", order[1].astype(np.int32))
        opened.putcol("ANTENNA1", order[2].astype(np.int32))
        opened.putcol("CPARAM", np.ones(cells.shape, dtype=complex))
        opened.putcol("FLAG", cells)
    return path


def publish_set(
    root: Path,
    name: str = "near",
    hours: float = -1.0,
    *,
    bandpass_flags: np.ndarray | None = None,
    gain_flags: np.ndarray | None = None,
    quality: TableQuality = GOOD,
    **changes: Any,
) -> SolutionSet:
    """Write the tables of a set and describe them as its solve would."""
    flags = {
        TableKind.BANDPASS: all_solved() if bandpass_flags is None else bandpass_flags,
        TableKind.GAIN: all_solved(4, 1) if gain_flags is None else gain_flags,
    }
    tables = [
        CalTable(
            kind=kind,
            name=f"{kind}.cal",
            files=fingerprint(write_caltable(root / name / f"{kind}.cal", kind_flags)),
            quality=quality,
        )
        for kind, kind_flags in flags.items()
    ]
    return make_set(name, hours, directory=str(root / name), tables=tables, **changes)
