"""Write a small MS of one's own, for one process: windows that were rotated and averaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.visibilities.ms_info import label_antennas
from dsa110_contimg.visibilities.window import Window

_COPIED_SUBTABLES = (
    "ANTENNA",
    "DATA_DESCRIPTION",
    "FEED",
    "FIELD",
    "OBSERVATION",
    "POLARIZATION",
    "SPECTRAL_WINDOW",
)
_TILED = {"DATA": "complex", "FLAG": "boolean", "WEIGHT_SPECTRUM": "float"}
"""Columns with a cell per channel and correlation, and their types."""


class PrivateCopy:
    """An MS that is written window by window, with the ids of the original.

    Its antennas are named after their ids (`antenna_label`): whatever names they have in the
    original, CASA finds the one that is meant.

    Parameters
    ----------
    path : Path
        The MS to make.
    original : Path
        The MS whose subtables it takes over.
    source : Source
        The phase centre.
    """

    def __init__(self, path: Path, *, original: Path, source: Source):
        self.path = path
        _make_main_table(path)
        for name in _COPIED_SUBTABLES:
            _copy_subtable(original / name, path / name)
        label_antennas(path)
        _set_center(path, source)

    def append(self, window: Window) -> None:
        """Write the rows and the channels of a window.

        Parameters
        ----------
        window : Window
            With the source at its phase centre, and averaged.
        """
        from casacore.tables import table

        n_rows = len(window.time_mjd_s)
        weight = window.weight.mean(axis=1)
        zeros, ones = np.zeros(n_rows, np.int32), np.ones(n_rows, np.int32)
        columns = {
            "TIME": window.time_mjd_s,
            "TIME_CENTROID": window.time_mjd_s,
            "INTERVAL": window.interval_s,
            "EXPOSURE": window.interval_s,
            "ANTENNA1": window.antenna1,
            "ANTENNA2": window.antenna2,
            "DATA_DESC_ID": ones * window.spw.data_desc_id,
            "UVW": window.uvw_m,
            "DATA": window.data,
            "FLAG": window.weight <= 0.0,
            "FLAG_ROW": ~window.weight.any(axis=(1, 2)),
            "WEIGHT_SPECTRUM": window.weight,
            "WEIGHT": weight,
            "SIGMA": np.divide(1.0, np.sqrt(weight), out=np.ones_like(weight), where=weight > 0.0),
            **dict.fromkeys(("ARRAY_ID", "FEED1", "FEED2", "FIELD_ID", "OBSERVATION_ID"), zeros),
            **dict.fromkeys(("PROCESSOR_ID", "STATE_ID"), -ones),
            "SCAN_NUMBER": ones,
        }
        with table(str(self.path), readonly=False, ack=False) as ms:
            first = ms.nrows()
            ms.addrows(n_rows)
            for name, values in columns.items():
                ms.putcol(name, values, first, n_rows)
        with table(str(self.path / "SPECTRAL_WINDOW"), readonly=False, ack=False) as windows:
            row = window.spw.spw_id
            windows.putcell("NUM_CHAN", row, len(window.freqs_hz))
            windows.putcell("CHAN_FREQ", row, window.freqs_hz)
            for name in ("CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION"):
                windows.putcell(name, row, window.widths_hz)


def _make_main_table(path: Path) -> None:
    """Make an empty MS with a data column and weights per channel."""
    from casacore.tables import complete_ms_desc, default_ms, required_ms_desc

    description: dict[str, Any] = required_ms_desc()
    known = complete_ms_desc()
    for name in _TILED:
        description[name] = known[name]
        description[name].update(
            ndim=2, option=0, dataManagerType="TiledShapeStMan", dataManagerGroup=f"Tiled{name}"
        )
    default_ms(str(path), description).close()


def _copy_subtable(original: Path, path: Path) -> None:
    """Copy the files of a subtable, but not their permissions: the original may be read-only."""
    shutil.rmtree(path)
    path.mkdir()
    for file in original.iterdir():
        shutil.copyfile(file, path / file.name)


def _set_center(path: Path, source: Source) -> None:
    """Make the source the phase centre."""
    from casacore.tables import table

    direction = np.deg2rad([[source.ra_deg, source.dec_deg]])
    with table(str(path / "FIELD"), readonly=False, ack=False) as field:
        for name in ("PHASE_DIR", "DELAY_DIR", "REFERENCE_DIR"):
            field.putcell(name, 0, direction)
        field.putcell("NAME", 0, source.name)
