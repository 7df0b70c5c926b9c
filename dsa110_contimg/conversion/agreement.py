"""What a header says twice must agree: site, antenna positions, pointing, UVW, times, names.

The correlator writes for the baseline of antennas p and q the meridian UVW, one for all times:
``uvw = R(longitude, declination) (x_q - x_p)`` with R of `geometry.rotate_to_uvw` at hour angle 0.
The conversion forms its own UVW from the positions, so that a wrong site, pointing, position or
order of antennas gives wrong phases without any other sign. Where the two differ, the
usual mistakes are tried in turn to name the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from statistics import median_low

import erfa
import numpy as np
import numpy.typing as npt

from dsa110_contimg import instrument
from dsa110_contimg.conversion.filenames import NAME_MARGIN, parse_subband_name
from dsa110_contimg.conversion.geometry import rotate_to_uvw
from dsa110_contimg.conversion.uvh5 import SubbandHeader

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_DAY_S = 86400.0
_EARTH_RADIUS_M = 6_371_000.0
_UVW_REFUSED_M = 0.5
"""2.3 wavelengths at 1.4 GHz: on the longest baseline, 2.6 km, the beam's width in angle."""
_UVW_NOTED_M = 0.1
"""Lists of the stations agree to 5 cm, and a baseline has two ends."""
_SITE_M = 3000.0
"""Documents differ by 1.1 km along the ground."""
_ALTITUDE_M = 200.0
"""Documents differ by 34 m."""
_ARRAY_RADIUS_M = 5000.0
"""The outermost station stands 2 km from the site."""
_RELIEF_M = 100.0
"""The stations stand within 9 m of a plane, the documents' altitudes of the site within 44 m."""
_SPACING = 0.99
"""Integrations begin no earlier than the one before has ended; headers round their length."""
_NEARLY = 1e-3
"""Relative: of one length in two units."""
_FEW = 4
"""Fewer antennas fit other places of a regular array by chance."""
_UNITS = {
    1e-3: "kilometres against metres",
    1e3: "metres against kilometres",
    3.28084: "feet against metres",
    1 / 3.28084: "metres against feet",
    1e9 / instrument.SPEED_OF_LIGHT_M_S: "nanoseconds against metres",
    instrument.SPEED_OF_LIGHT_M_S / 1e9: "metres against nanoseconds",
}


@dataclass(frozen=True)
class Contradiction:
    """Two statements of a header that cannot both be true.

    Attributes
    ----------
    sentence : str
        Which two, by how much, and the likely cause.
    is_grave : bool
        Whether what is made of them would be wrong; else it is worth a warning.
    """

    sentence: str
    is_grave: bool = True


def find_contradictions(
    header: SubbandHeader, headers: Sequence[SubbandHeader]
) -> list[Contradiction]:
    """Compare what the headers of one group say twice.

    Parameters
    ----------
    header : SubbandHeader
        The header of which geometry and times are taken.
    headers : sequence of SubbandHeader
        All of the group, which agree with it.

    Returns
    -------
    list of Contradiction
        None for files as the correlator writes them.
    """
    found = [
        *(_compare_site(header), _compare_altitude(header)),
        *(_compare_positions(header), _compare_spacing(header)),
        *(_compare_times(header), _compare_names(header, headers)),
    ]
    grave = [Contradiction(sentence) for sentence in found if sentence]
    uvw = _compare_uvw(header)
    return [*grave, uvw] if uvw else grave


def _compare_site(header: SubbandHeader) -> str | None:
    """Compare the site with the telescope's."""
    lat_deg, lon_deg = header.latitude_deg, header.longitude_deg
    known = (instrument.SITE_LATITUDE_DEG, instrument.SITE_LONGITUDE_DEG)
    distance_m = _ground_distance_m((lat_deg, lon_deg), known)
    if distance_m <= _SITE_M:
        return None
    mistakes = {
        "the sign of the longitude": (lat_deg, -lon_deg),
        "the sign of the latitude": (-lat_deg, lon_deg),
        "radians in the place of degrees": (np.rad2deg(lat_deg), np.rad2deg(lon_deg)),
        "the latitude is in radians": (np.rad2deg(lat_deg), lon_deg),
        "the longitude is in radians": (lat_deg, np.rad2deg(lon_deg)),
        "latitude and longitude are exchanged": (lon_deg, lat_deg),
    }
    cause = next(
        (f": {why}" for why, at in mistakes.items() if _ground_distance_m(at, known) <= _SITE_M), ""
    )
    return (
        f"the site (latitude {lat_deg:.4f}, longitude {lon_deg:.4f} deg) lies "
        f"{distance_m / 1e3:.0f} km from the telescope's ({known[0]:.4f}, {known[1]:.4f}){cause}"
    )


def _ground_distance_m(one_deg: Sequence[float], other_deg: Sequence[float]) -> float:
    """Great-circle distance of two places (latitude, longitude), in metres."""
    (lat, lon), (other_lat, other_lon) = np.deg2rad(one_deg), np.deg2rad(other_deg)
    return float(erfa.seps(lon, lat, other_lon, other_lat)) * _EARTH_RADIUS_M


def _compare_altitude(header: SubbandHeader) -> str | None:
    """Compare the altitude with the telescope's."""
    if abs(header.altitude_m - instrument.SITE_ALTITUDE_M) <= _ALTITUDE_M:
        return None
    return (
        f"the altitude of the site, {header.altitude_m:.1f} m, is not the telescope's, "
        f"{instrument.SITE_ALTITUDE_M:.0f} m"
    )


def _compare_positions(header: SubbandHeader) -> str | None:
    """Compare the positions of the antennas with data with the site."""
    array = _Array(header)
    distance_m = np.linalg.norm(array.positions_m, axis=1)
    worst = int(np.argmax(distance_m))
    if distance_m[worst] > _ARRAY_RADIUS_M:
        cause = (
            ": they are geocentric, not relative to the site"
            if abs(np.median(distance_m) / _EARTH_RADIUS_M - 1) < 0.01
            else ""
        )
        return (
            f"the antenna positions lie up to {distance_m[worst] / 1e3:.1f} km from the site "
            f"(antenna {array.names[worst]}){cause}"
        )
    height_m = array.positions_m @ _east_north_up(header)[2]
    worst = int(np.argmax(np.abs(height_m)))
    if abs(height_m[worst]) > _RELIEF_M:
        return (
            f"the antenna positions and the site disagree on what is level: antenna "
            f"{array.names[worst]} would stand {height_m[worst]:+.0f} m above the site"
        )
    return None


def _compare_spacing(header: SubbandHeader) -> str | None:
    """Compare the shortest baseline with the size of a dish."""
    array = _Array(header)
    length_m = np.linalg.norm(array.baselines(array.positions_m), axis=1)
    worst = int(np.argmin(length_m)) if len(length_m) else None
    if worst is None or length_m[worst] >= instrument.DISH_DIAMETER_M:
        return None
    return (
        f"the positions of the antennas {array.pair(worst)} are {length_m[worst]:.3f} m apart, "
        f"but a dish is {instrument.DISH_DIAMETER_M:g} m wide"
    )


def _compare_times(header: SubbandHeader) -> str | None:
    """Compare the steps of time with the length of an integration; gaps are allowed."""
    steps_s = np.diff(header.times_jd) * _DAY_S
    shortest_s = float(steps_s.min(initial=np.inf))
    if shortest_s >= _SPACING * header.integration_time_s:
        return None
    return (
        f"the times and the integration time disagree: integrations of "
        f"{header.integration_time_s:.3f} s begin {shortest_s:.3f} s after each other"
    )


def _compare_names(header: SubbandHeader, headers: Sequence[SubbandHeader]) -> str | None:
    """Compare the times with those in most file names, which are the clocks of the hosts."""
    names = [parse_subband_name(one.path.name) for one in headers]
    stamp = median_low(name.stamp for name in names if name is not None)
    offset = stamp - header.start_utc
    if abs(offset) <= NAME_MARGIN:
        return None
    return (
        f"the file names lie {offset.total_seconds():+.0f} s from the start of the data by the "
        f"header, {header.start_utc:%Y-%m-%dT%H:%M:%S} "
        f"(limit {NAME_MARGIN / timedelta(seconds=1):.0f} s)"
    )


def _compare_uvw(header: SubbandHeader) -> Contradiction | None:
    """Compare the UVW with those of positions, longitude and pointing."""
    array = _Array(header)
    apart_m = np.linalg.norm(array.seen_m - array.expected_m(), axis=1)
    worst = int(np.argmax(apart_m)) if len(apart_m) else None
    if worst is None or apart_m[worst] <= _UVW_NOTED_M:
        return None
    sentence = (
        "the UVW and those that follow from antenna positions, longitude and phase_center_dec "
        f"disagree by up to {apart_m[worst]:.2f} m (baseline {array.pair(worst)})"
    )
    if apart_m[worst] <= _UVW_REFUSED_M:
        return Contradiction(sentence, is_grave=False)
    cause = next(filter(None, (explain(array) for explain in _CAUSES)), None)
    return Contradiction(f"{sentence}: {cause}" if cause else sentence)


def _east_north_up(header: SubbandHeader) -> FloatArray:
    """Give unit vectors of the site's horizon, in ITRF axes: rows east, north and up."""
    lat, lon = np.deg2rad([header.latitude_deg, header.longitude_deg])
    return np.array(
        [
            [-np.sin(lon), np.cos(lon), 0.0],
            [-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)],
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)],
        ]
    )


class _Array:
    """The antennas with data and their baselines, without the autocorrelations."""

    def __init__(self, header: SubbandHeader):
        cross = header.ant_1_array != header.ant_2_array
        ends = np.stack([header.ant_1_array, header.ant_2_array])
        used, index = np.unique(ends, return_inverse=True)
        self.first, self.second = index.reshape(ends.shape)[:, cross]
        order = np.argsort(header.antenna_numbers)
        rows = order[np.searchsorted(header.antenna_numbers, used, sorter=order)]
        self.header = header
        self.names = [header.antenna_names[row] for row in rows]
        self.positions_m = header.antenna_positions_m[rows]
        self.seen_m = header.uvw_m[cross]

    def baselines(self, of_antennas: FloatArray) -> FloatArray:
        """Second antenna less first."""
        return np.asarray(of_antennas[self.second] - of_antennas[self.first])

    def pair(self, baseline: int) -> str:
        """Name a baseline."""
        return f"{self.names[self.first[baseline]]}-{self.names[self.second[baseline]]}"

    def turned_m(
        self, positions_m: FloatArray, lon_deg: float | None = None, dec_rad: float | None = None
    ) -> FloatArray:
        """Turn positions to the meridian at the pointing, by the header where not told."""
        longitude = np.deg2rad(self.header.longitude_deg if lon_deg is None else lon_deg)
        dec = self.header.pointing_dec_rad if dec_rad is None else dec_rad
        uvw_m = rotate_to_uvw(positions_m, float(longitude), np.zeros(1), np.array([dec]))
        return np.asarray(uvw_m[0])

    def expected_m(
        self, positions_m: FloatArray | None = None, lon_deg: float | None = None
    ) -> FloatArray:
        """UVW of all baselines."""
        positions_m = self.positions_m if positions_m is None else positions_m
        return self.baselines(self.turned_m(positions_m, lon_deg))

    def fits(self, uvw_m: FloatArray) -> bool:
        """Whether these are the header's UVW."""
        return bool(np.all(np.linalg.norm(self.seen_m - uvw_m, axis=1) <= _UVW_REFUSED_M))

    @cached_property
    def places_m(self) -> FloatArray | None:
        """Antenna coordinates behind the UVW, up to a shift; None if there are none."""
        incidence = np.zeros((len(self.seen_m), len(self.names)))
        rows = np.arange(len(self.seen_m))
        incidence[rows, self.second], incidence[rows, self.first] = 1.0, -1.0
        places = np.asarray(np.linalg.lstsq(incidence, self.seen_m, rcond=None)[0])
        return places if self.fits(self.baselines(places)) else None


def _is_reversed(array: _Array) -> str | None:
    expected_m = array.expected_m()
    agree = np.linalg.norm(array.seen_m - expected_m, axis=1) <= _UVW_REFUSED_M
    opposed = np.linalg.norm(array.seen_m + expected_m, axis=1) <= _UVW_REFUSED_M
    count = int(np.count_nonzero(opposed & ~agree))
    if not count or not np.all(agree | opposed):
        return None
    return (
        f"{count} of {len(agree)} baselines have the opposite sign "
        "(UVW is that of the second antenna less the first)"
    )


def _has_other_longitude_sign(array: _Array) -> str | None:
    lon_deg = array.header.longitude_deg
    if not array.fits(array.expected_m(lon_deg=-lon_deg)):
        return None
    return f"they agree with a longitude of {-lon_deg:.4f} deg, the header says {lon_deg:.4f}"


def _is_local_frame(array: _Array) -> str | None:
    if array.fits(array.expected_m(array.positions_m @ _east_north_up(array.header))):
        return "the antenna positions are local (east, north, up), not ITRF"
    if array.fits(array.expected_m(lon_deg=0.0)):
        return "the antenna positions are turned to the site's meridian, not ITRF"
    return None


def _is_scaled(array: _Array) -> str | None:
    true_m, seen = (
        np.linalg.norm(vectors, axis=1) for vectors in (array.expected_m(), array.seen_m)
    )
    scale = float(seen.sum() / true_m.sum()) if true_m.any() else 0.0
    if abs(scale - 1) <= _NEARLY or np.max(np.abs(seen - scale * true_m)) > _NEARLY * seen.max():
        return None
    unit = next((f", {word}" for of, word in _UNITS.items() if abs(scale / of - 1) < 0.01), "")
    return f"the UVW are {scale:.6g} times as long as the baselines of the positions{unit}"


def _is_turned(array: _Array) -> str | None:
    """Find the rotation from positions to UVW (Kabsch 1976, Acta Cryst. A32, 922)."""
    baselines_m = array.baselines(array.positions_m)
    left, size, right = np.linalg.svd(baselines_m.T @ array.seen_m)
    if size[1] <= _NEARLY * size[0]:  # on one line: any turn about it does
        return None
    proper = np.diag([1.0, 1.0, np.linalg.det(left @ right)])
    rotation = left @ proper @ right
    if not array.fits(baselines_m @ rotation):
        return None
    x, y, z = rotation[:, 2]  # the direction of w
    dec_rad, lon_deg = float(np.arcsin(np.clip(z, -1, 1))), float(np.rad2deg(np.arctan2(y, x)))
    if not array.fits(array.baselines(array.turned_m(array.positions_m, lon_deg, dec_rad))):
        return "the antenna positions are in another frame, turned against ITRF"
    header = array.header
    off_lon_deg = (lon_deg - header.longitude_deg + 180.0) % 360.0 - 180.0
    said_deg = (np.rad2deg(header.pointing_dec_rad), header.longitude_deg)
    angle = f", or with an hour angle of {-off_lon_deg:+.3f} deg" if abs(off_lon_deg) > 0.01 else ""
    return (
        f"they agree with declination {np.rad2deg(dec_rad):+.3f} deg and longitude "
        f"{lon_deg:.3f} deg{angle}, the header says {said_deg[0]:+.3f} and {said_deg[1]:.3f}"
    )


def _is_some_antennas(array: _Array) -> str | None:
    if array.places_m is None:
        return None
    off_m = array.places_m - array.turned_m(array.positions_m)
    off_m -= np.median(off_m, axis=0)
    bad = np.flatnonzero(np.linalg.norm(off_m, axis=1) > _UVW_REFUSED_M)
    if 2 * len(bad) >= len(off_m):
        return None
    shift = np.median(array.places_m - array.turned_m(array.positions_m), axis=0)
    theirs = _whose_place(array, array.places_m[bad] - shift)
    said = [
        f"antenna {array.names[antenna]} by {np.linalg.norm(off_m[antenna]):.2f} m"
        + (f" (its UVW fit the position of antenna {other})" if other else "")
        for antenna, other in zip(bad, theirs, strict=True)
    ]
    return f"only {'; '.join(said)}"


def _is_another_order(array: _Array) -> str | None:
    if array.places_m is None or len(array.names) < _FEW:
        return None
    positions_m = array.header.antenna_positions_m
    known_m = array.turned_m(positions_m[np.isfinite(positions_m).all(axis=1)])
    from_first_m = array.places_m - array.places_m[0]
    for start_m in known_m:
        owners = _whose_place(array, start_m + from_first_m)
        if None not in owners:
            pairs = zip(array.names, owners, strict=True)
            moved = [f"of {name} fit the position of {of}" for name, of in pairs if name != of]
            return f"the antennas are in another order: UVW {'; '.join(moved[:3])}"
    return None


def _whose_place(array: _Array, uvw_m: FloatArray) -> list[str | None]:
    """Name the antennas that stand at given places; None where there is none."""
    known_m = array.turned_m(array.header.antenna_positions_m)
    apart_m = np.linalg.norm(uvw_m[:, None] - known_m[None], axis=-1)
    apart_m = np.where(np.isfinite(apart_m), apart_m, np.inf)
    nearest = apart_m.argmin(axis=1)
    found = apart_m.min(axis=1) <= _UVW_REFUSED_M
    return [
        array.header.antenna_names[row] if ok else None
        for row, ok in zip(nearest, found, strict=True)
    ]


_CAUSES: tuple[Callable[[_Array], str | None], ...] = (
    _is_reversed,
    _has_other_longitude_sign,
    _is_local_frame,
    _is_scaled,
    _is_turned,
    _is_some_antennas,
    _is_another_order,
)
"""Usual mistakes, the simplest first."""
