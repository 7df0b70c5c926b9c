"""A Measurement Set with everything but its bulk data, made by casacore.

The bulk columns stand each in a TiledColumnStMan of its own, with tiles that span whole
cells: the file of such a column is a plain C array ``[row][channel][polarization]`` that the
fill can write without casacore. casacore would first write zeros to all of it: it is given the
null device instead, and the file that was filled takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsa110_contimg.conversion.bulk import BULK_CELLS
from dsa110_contimg.conversion.layout import MsLayout, mjd_s
from dsa110_contimg.conversion.subtables import put_subtables
from dsa110_contimg.visibilities.ms_info import DATA_UNITS

_MAX_TILE_ROWS = 1200
"""Bounds a DATA tile to about 1 MB: small enough to cache, large enough to stream."""

_ANTENNA_BUCKET_BYTES = 1 << 16
"""casacore's default, 32 rows, makes these columns ten times as slow to write and to read."""

_ANTENNA_COLUMNS = ("ANTENNA1", "ANTENNA2")
_CONSTANT_COLUMNS = {
    "ARRAY_ID": 0,
    "FEED1": 0,
    "FEED2": 0,
    "FIELD_ID": 0,
    "FLAG_ROW": False,
    "OBSERVATION_ID": 0,
    "PROCESSOR_ID": -1,
    "SCAN_NUMBER": 1,
    "STATE_ID": -1,
}
_INCREMENTAL_COLUMNS = (
    *_CONSTANT_COLUMNS,
    "DATA_DESC_ID",
    "EXPOSURE",
    "FLAG_CATEGORY",
    "INTERVAL",
    "TIME",
    "TIME_CENTROID",
)


def make_skeleton(path: Path, layout: MsLayout) -> dict[str, Path]:
    """Make the tables and fill everything but the bulk columns.

    Parameters
    ----------
    path : Path
        The MS to make; must not exist.
    layout : MsLayout
        Its content.

    Returns
    -------
    dict of str to Path
        Bulk column to the place of its file, which is to be put there.
    """
    from casacore.tables import default_ms, table

    description, managers = _main_table(layout)
    with default_ms(str(path), description, managers) as ms:
        files = {
            column: path / f"table.f{ms.getdminfo(column)['SEQNR']}_TSM0" for column in BULK_CELLS
        }
    for file in files.values():
        file.unlink()
        file.symlink_to(os.devnull)
    with table(str(path), readonly=False, ack=False) as ms:
        if layout.vis_units == "Jy":  # CASA knows no unit of what is not calibrated
            ms.putcolkeyword("DATA", DATA_UNITS, layout.vis_units)
        _add_rows(ms, layout)
    put_subtables(path, layout)
    return files


def tile_rows(n_rows_per_spw: int) -> int:
    """Choose the rows of a tile: the largest divisor of a window's rows within the bound.

    Parameters
    ----------
    n_rows_per_spw : int
        Rows of one spectral window.

    Returns
    -------
    int
        Rows per tile; windows then begin on tile boundaries.
    """
    return max(n for n in range(1, _MAX_TILE_ROWS + 1) if n_rows_per_spw % n == 0)


def _main_table(layout: MsLayout) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe the main table and its storage managers."""
    from casacore.tables import complete_ms_desc, required_ms_desc

    # Required columns keep their keywords (units, measures), or it is no valid MS.
    description = required_ms_desc()
    description["DATA"] = complete_ms_desc()["DATA"]
    managers: dict[str, Any] = {}

    def manage(columns: Sequence[str], kind: str, name: str, spec: dict[str, Any]) -> None:
        for column in columns:
            description[column].update(dataManagerType=kind, dataManagerGroup=name)
        managers[f"*{len(managers)}"] = {
            "TYPE": kind,
            "NAME": name,
            "SEQNR": len(managers),
            "COLUMNS": list(columns),
            "SPEC": spec,
        }

    n_tile = tile_rows(layout.n_rows_per_spw)
    for column, cell in BULK_CELLS.items():
        shape = list(cell.shape)
        description[column].update(ndim=len(shape), shape=shape, _c_order=True, option=5)
        tile = [*reversed(shape), n_tile]
        manage([column], "TiledColumnStMan", f"Tiled{column}", {"DEFAULTTILESHAPE": tile})
    manage(_ANTENNA_COLUMNS, "StandardStMan", "Antennas", {"BUCKETSIZE": _ANTENNA_BUCKET_BYTES})
    manage(_INCREMENTAL_COLUMNS, "IncrementalStMan", "Incremental", {})
    return description, managers


def _add_rows(ms: Any, layout: MsLayout) -> None:
    """Add all rows, with the columns of one value per row.

    An IncrementalStMan gives a new row the value of the row before it, so a value is put
    only where it changes; putting whole columns took four times as long.
    """
    n_bls = len(layout.antenna1)
    times_mjd_s = mjd_s(layout.times_jd)
    ms.addrows(1)
    for column, value in _CONSTANT_COLUMNS.items():
        ms.putcell(column, 0, value)
    for column in ("INTERVAL", "EXPOSURE"):
        ms.putcell(column, 0, layout.integration_time_s)
    for block in range(len(layout.spw_names) * len(times_mjd_s)):
        spw, time = divmod(block, len(times_mjd_s))
        row = block * n_bls
        if row:
            ms.addrows(1)
        ms.putcell("DATA_DESC_ID", row, spw)
        ms.putcell("TIME", row, times_mjd_s[time])
        ms.putcell("TIME_CENTROID", row, times_mjd_s[time])
        ms.addrows(n_bls - 1)
    n_blocks = layout.n_rows // n_bls
    for column, antennas in zip(_ANTENNA_COLUMNS, (layout.antenna1, layout.antenna2), strict=True):
        ms.putcol(column, np.tile(antennas, n_blocks))
