"""The subtables of a Measurement Set, as CASA and pyuvdata want them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from dsa110_contimg import __version__
from dsa110_contimg.astrometry import JD_UNIX
from dsa110_contimg.conversion.layout import MsLayout, mjd_s
from dsa110_contimg.instrument import DISH_DIAMETER_M, POLARIZATIONS_CASA


def put_subtables(path: Path, layout: MsLayout) -> None:
    """Fill the subtables that CASA reads.

    Parameters
    ----------
    path : Path
        The MS.
    layout : MsLayout
        Its content.
    """
    _put_antennas(path, layout)
    _put_feeds(path, layout)
    _put_spectral_windows(path, layout)
    _put_polarization(path)
    _put_field(path, layout)
    _put_observation(path, layout)
    _put_history(path)


def _put_rows(path: Path, name: str, n_rows: int, columns: dict[str, Any]) -> None:
    """Append rows to a subtable and fill whole columns."""
    from casacore.tables import table

    with table(str(path / name), readonly=False, ack=False) as subtable:
        subtable.addrows(n_rows)
        for column, values in columns.items():
            subtable.putcol(column, values)


def _put_antennas(path: Path, layout: MsLayout) -> None:
    """Fill ANTENNA: every station of the telescope, so that ids are antenna numbers."""
    n_ant = len(layout.antenna_names)
    _put_rows(
        path,
        "ANTENNA",
        n_ant,
        {
            "NAME": layout.antenna_names,
            "STATION": layout.antenna_names,
            "TYPE": ["GROUND-BASED"] * n_ant,
            "MOUNT": ["ALT-AZ"] * n_ant,
            "POSITION": layout.antenna_itrf_m,
            "OFFSET": np.zeros((n_ant, 3)),
            "DISH_DIAMETER": np.full(n_ant, DISH_DIAMETER_M),
            "FLAG_ROW": np.zeros(n_ant, dtype=bool),
        },
    )


def _put_feeds(path: Path, layout: MsLayout) -> None:
    """Fill FEED: two linear receptors per antenna, valid for every window and time."""
    n_ant = len(layout.antenna_names)
    _put_rows(
        path,
        "FEED",
        n_ant,
        {
            "ANTENNA_ID": np.arange(n_ant, dtype=np.int32),
            "FEED_ID": np.zeros(n_ant, dtype=np.int32),
            "SPECTRAL_WINDOW_ID": np.full(n_ant, -1, dtype=np.int32),
            "BEAM_ID": np.full(n_ant, -1, dtype=np.int32),
            "NUM_RECEPTORS": np.full(n_ant, 2, dtype=np.int32),
            "TIME": np.zeros(n_ant),
            "INTERVAL": np.zeros(n_ant),
            "POSITION": np.zeros((n_ant, 3)),
            "BEAM_OFFSET": np.zeros((n_ant, 2, 2)),
            "RECEPTOR_ANGLE": np.zeros((n_ant, 2)),
            "POL_RESPONSE": np.tile(np.eye(2, dtype=np.complex64), (n_ant, 1, 1)),
            "POLARIZATION_TYPE": {"shape": [n_ant, 2], "array": ["X", "Y"] * n_ant},
        },
    )


def _put_spectral_windows(path: Path, layout: MsLayout) -> None:
    """Fill SPECTRAL_WINDOW and DATA_DESCRIPTION, one row each per window."""
    freqs = np.array(layout.spw_freqs_hz)
    n_spw, n_chan = freqs.shape
    widths = np.broadcast_to(np.abs(np.diff(freqs, axis=1)).mean(), freqs.shape).copy()
    topocentric = 5
    _put_rows(
        path,
        "SPECTRAL_WINDOW",
        n_spw,
        {
            "NAME": layout.spw_names,
            "NUM_CHAN": np.full(n_spw, n_chan, dtype=np.int32),
            "CHAN_FREQ": freqs,
            "CHAN_WIDTH": widths,
            "EFFECTIVE_BW": widths,
            "RESOLUTION": widths,
            "TOTAL_BANDWIDTH": widths.sum(axis=1),
            "REF_FREQUENCY": freqs[:, 0],
            "MEAS_FREQ_REF": np.full(n_spw, topocentric, dtype=np.int32),
            "NET_SIDEBAND": np.ones(n_spw, dtype=np.int32),
            "IF_CONV_CHAIN": np.zeros(n_spw, dtype=np.int32),
            "FREQ_GROUP": np.zeros(n_spw, dtype=np.int32),
            "FREQ_GROUP_NAME": [""] * n_spw,
            "FLAG_ROW": np.zeros(n_spw, dtype=bool),
        },
    )
    _put_rows(
        path,
        "DATA_DESCRIPTION",
        n_spw,
        {
            "SPECTRAL_WINDOW_ID": np.arange(n_spw, dtype=np.int32),
            "POLARIZATION_ID": np.zeros(n_spw, dtype=np.int32),
            "FLAG_ROW": np.zeros(n_spw, dtype=bool),
        },
    )


def _put_polarization(path: Path) -> None:
    """Fill POLARIZATION: XX and YY."""
    _put_rows(
        path,
        "POLARIZATION",
        1,
        {
            "NUM_CORR": np.array([2], dtype=np.int32),
            "CORR_TYPE": np.array([POLARIZATIONS_CASA], dtype=np.int32),
            "CORR_PRODUCT": np.array([[[0, 0], [1, 1]]], dtype=np.int32),
            "FLAG_ROW": np.zeros(1, dtype=bool),
        },
    )


def _put_field(path: Path, layout: MsLayout) -> None:
    """Fill FIELD: one phase centre, in ICRS, with equal delay and reference directions."""
    from casacore.tables import table

    direction = np.array([[[layout.center.ra_rad, layout.center.dec_rad]]])
    names = ("DELAY_DIR", "PHASE_DIR", "REFERENCE_DIR")
    _put_rows(
        path,
        "FIELD",
        1,
        {
            "NAME": [layout.field_name],
            "CODE": [""],
            "TIME": mjd_s(layout.times_jd[[0, -1]]).mean(keepdims=True),
            "NUM_POLY": np.zeros(1, dtype=np.int32),
            "SOURCE_ID": np.array([-1], dtype=np.int32),
            "FLAG_ROW": np.zeros(1, dtype=bool),
            **dict.fromkeys(names, direction),
        },
    )
    with table(str(path / "FIELD"), readonly=False, ack=False) as field:
        for name in names:
            field.putcolkeyword(name, "MEASINFO", {"type": "direction", "Ref": "ICRS"})


def _put_observation(path: Path, layout: MsLayout) -> None:
    """Fill OBSERVATION, with the telescope's location, which pyuvdata wants."""
    from casacore.tables import makearrcoldesc, maketabdesc, table

    half_s = layout.integration_time_s / 2
    first_s, last_s = mjd_s(layout.times_jd[[0, -1]]).tolist()
    with table(str(path / "OBSERVATION"), readonly=False, ack=False) as observation:
        column = makearrcoldesc("TELESCOPE_LOCATION", 0.0, shape=[3], options=5)
        observation.addcols(maketabdesc(column))
        observation.putcolkeyword(
            "TELESCOPE_LOCATION", "MEASINFO", {"type": "position", "Ref": "ITRF"}
        )
        observation.putcolkeyword("TELESCOPE_LOCATION", "QuantumUnits", ["m", "m", "m"])
    _put_rows(
        path,
        "OBSERVATION",
        1,
        {
            "TELESCOPE_NAME": [layout.telescope_name],
            "TELESCOPE_LOCATION": np.array([[v.to_value("m") for v in layout.site.geocentric]]),
            "TIME_RANGE": np.array([[first_s - half_s, last_s + half_s]]),
            "OBSERVER": [""],
            "PROJECT": ["DSA-110 continuum imaging"],
            "SCHEDULE_TYPE": [""],
            "RELEASE_DATE": np.zeros(1),
            "FLAG_ROW": np.zeros(1, dtype=bool),
        },
    )


def _put_history(path: Path) -> None:
    """Leave one line that says who made the MS."""
    now_jd = JD_UNIX + time.time() / 86400.0
    _put_rows(
        path,
        "HISTORY",
        1,
        {
            "TIME": mjd_s(np.array([now_jd])),
            "OBSERVATION_ID": np.zeros(1, dtype=np.int32),
            "MESSAGE": ["one table written directly from the UVH5 subbands"],
            "PRIORITY": ["INFO"],
            "ORIGIN": ["DirectSubbandWriter"],
            "OBJECT_ID": np.zeros(1, dtype=np.int32),
            "APPLICATION": [f"dsa110-contimg {__version__}"],
        },
    )
