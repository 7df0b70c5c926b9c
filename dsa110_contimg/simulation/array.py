"""Where the 117 stations stand, and which of them a small simulated array uses.

The two arms are regular, so they are stated by formula; the outriggers by table. Both agree
with the surveyed station list of 2022-02-15 to better than 5 cm.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import (
    ACTIVE_STATIONS,
    SITE_ALTITUDE_M,
    SITE_LATITUDE_DEG,
    SITE_LONGITUDE_DEG,
)

_ARM_ELEVATION_M: Final = 1182.6

_EW_LATITUDE_DEG: Final = 37.2333752
_EW_FIRST_LONGITUDE_DEG: Final = -118.2856408
_EW_PITCH_DEG: Final = 6.480290e-5
_EW_SLOTS: Final = (*range(22), *range(32, 38), 41, *range(45, 51), *range(54, 70))
"""Position of stations 1..51 along the east-west arm, in units of its 5.75 m pitch."""

_NS_LONGITUDE_DEG: Final = -118.2834051
_NS_FIRST_LATITUDE_DEG: Final = 37.2334531
_NS_PITCH_DEG: Final = 7.796800e-5
_NS_STATIONS: Final = range(52, 103)

_OUTRIGGERS: Final = (
    (37.2300025, -118.2812695, 1181.3),
    (37.2352578, -118.2768324, 1182.4),
    (37.2429815, -118.2767433, 1184.0),
    (37.2470153, -118.2767632, 1185.3),
    (37.2485647, -118.2767853, 1185.9),
    (37.2499993, -118.2767328, 1186.5),
    (37.2499587, -118.2794098, 1186.2),
    (37.2499316, -118.2838684, 1185.9),
    (37.2499476, -118.2861710, 1186.0),
    (37.2499040, -118.2879484, 1185.3),
    (37.2499407, -118.2912521, 1186.3),
    (37.2499516, -118.2958413, 1184.6),
    (37.2449792, -118.2951802, 1180.8),
    (37.2314169, -118.2945978, 1178.1),
    (37.2315343, -118.2966607, 1178.1),
)
"""Latitude, longitude (deg) and elevation (m) of stations 103..117.

The survey gives no elevation for station 117, which has no data; its neighbour's stands in.
"""

_FIRST_NS_STATION: Final = 52
_FIRST_OUTRIGGER: Final = 103
_MIN_ANTENNAS: Final = 2


def station_coordinates() -> npt.NDArray[np.float64]:
    """Geodetic coordinates of all stations.

    Returns
    -------
    ndarray of float64, shape (117, 3)
        Latitude (deg), longitude (deg) and elevation (m) of stations 1..117.
    """
    east_west = [
        (_EW_LATITUDE_DEG, _EW_FIRST_LONGITUDE_DEG + slot * _EW_PITCH_DEG, _ARM_ELEVATION_M)
        for slot in _EW_SLOTS
    ]
    north_south = [
        (_NS_FIRST_LATITUDE_DEG + step * _NS_PITCH_DEG, _NS_LONGITUDE_DEG, _ARM_ELEVATION_M)
        for step in range(len(_NS_STATIONS))
    ]
    return np.array([*east_west, *north_south, *_OUTRIGGERS], dtype=np.float64)


def site_itrf_m() -> npt.NDArray[np.float64]:
    """Geocentric position of the site.

    Returns
    -------
    ndarray of float64, shape (3,)
        ITRF coordinates in metres.
    """
    site = np.array([[SITE_LATITUDE_DEG, SITE_LONGITUDE_DEG, SITE_ALTITUDE_M]])
    return _geodetic_to_itrf_m(site).reshape(3)


def antenna_positions_m() -> npt.NDArray[np.float64]:
    """Positions of all stations relative to the site, as ``antenna_positions`` in UVH5.

    Returns
    -------
    ndarray of float64, shape (117, 3)
        ITRF offsets in metres.
    """
    return np.asarray(_geodetic_to_itrf_m(station_coordinates()) - site_itrf_m())


def select_stations(n_antennas: int) -> tuple[int, ...]:
    """Choose stations for an array of a given size, with both arms and long baselines.

    Parameters
    ----------
    n_antennas : int
        Size of the array; 96 gives every active station.

    Returns
    -------
    tuple of int
        Station numbers (1-based), ascending: evenly spaced along each arm, its ends included,
        and the outriggers that are farthest from each other.

    Raises
    ------
    InputError
        If there are not that many active stations.
    """
    if not _MIN_ANTENNAS <= n_antennas <= len(ACTIVE_STATIONS):
        raise InputError(
            f"an array of {n_antennas} antennas cannot be simulated",
            reason="antenna_count",
            remedy=f"choose {_MIN_ANTENNAS} to {len(ACTIVE_STATIONS)}",
        )
    east_west = [s for s in ACTIVE_STATIONS if s < _FIRST_NS_STATION]
    north_south = [s for s in ACTIVE_STATIONS if _FIRST_NS_STATION <= s < _FIRST_OUTRIGGER]
    outriggers = [s for s in ACTIVE_STATIONS if s >= _FIRST_OUTRIGGER]
    share = n_antennas / len(ACTIVE_STATIONS)
    n_outriggers = max(min(2, n_antennas // 3), round(share * len(outriggers)))
    n_north_south = round(
        (n_antennas - n_outriggers) * len(north_south) / (len(ACTIVE_STATIONS) - len(outriggers))
    )
    n_east_west = n_antennas - n_outriggers - n_north_south
    return (
        *_evenly_spaced(east_west, n_east_west),
        *_evenly_spaced(north_south, n_north_south),
        *_farthest_first(outriggers, n_outriggers),
    )


def baseline_pairs(n_antennas: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """List the baselines in the correlator's order.

    The correlator runs over the second antenna and, inside, over the first, up to it:
    1-1, 1-2, 2-2, 1-3, 2-3, 3-3, ... (``casa_order=False`` in the writer's own source).

    Parameters
    ----------
    n_antennas : int
        Number of antennas with data.

    Returns
    -------
    first, second : ndarray of int64, shape (n_antennas * (n_antennas + 1) / 2,)
        Indices into the antennas with data, ``first <= second``; autos included.
    """
    second, first = np.tril_indices(n_antennas)
    return first.astype(np.int64), second.astype(np.int64)


def _evenly_spaced(stations: list[int], count: int) -> list[int]:
    """Pick `count` stations, first and last among them where there are two or more."""
    picks = np.round(np.linspace(0, len(stations) - 1, count)).astype(int)
    return [stations[pick] for pick in picks]


def _farthest_first(stations: list[int], count: int) -> list[int]:
    """Pick `count` stations, the most distant pair first, then ever the one farthest from all."""
    positions = antenna_positions_m()[np.array(stations) - 1]
    distance_m = np.linalg.norm(positions[:, None] - positions[None, :], axis=-1)
    picks = list(np.unravel_index(distance_m.argmax(), distance_m.shape))[:count]
    while len(picks) < count:
        picks.append(distance_m[picks].min(axis=0).argmax())
    return sorted(stations[pick] for pick in picks)


def _geodetic_to_itrf_m(coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn rows of latitude (deg), longitude (deg), elevation (m) into WGS84 geocentric ones."""
    import erfa

    lat_deg, lon_deg, elevation_m = coordinates.T
    xyz = erfa.gd2gc(erfa.WGS84, np.deg2rad(lon_deg), np.deg2rad(lat_deg), elevation_m)
    return np.asarray(xyz, dtype=np.float64)
