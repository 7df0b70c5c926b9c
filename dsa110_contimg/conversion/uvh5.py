"""The header of one UVH5 subband file, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np

from dsa110_contimg import instrument
from dsa110_contimg.conversion import _uvh5_items as items
from dsa110_contimg.conversion._uvh5_items import (
    DAY_S,
    LENGTH_TOLERANCE_M,
    TIME_TOLERANCE_S,
    FloatArray,
    IntArray,
)
from dsa110_contimg.conversion.filenames import subband_label
from dsa110_contimg.conversion.hdf5_header import Hdf5Header, open_hdf5

_UNIX_EPOCH_JD = 2440587.5
_DEC_TOLERANCE_RAD = 1e-6
"""0.2 arcsec: far below the beam, far above rounding."""
_INTEGRATION_TOLERANCE = 0.01
_ANGLE_TOLERANCE_DEG = 1e-8
"""A millimetre on the ground."""


@dataclass(frozen=True, eq=False, kw_only=True)
class QuickHeader:
    """What grouping needs to know of one file.

    Attributes
    ----------
    path : Path
        The file.
    subband : int
        0 (highest frequency) to 15; the name and the frequencies agree on it.
    first_time_jd : float
        Centre of the first integration, Julian date (UTC).
    integration_time_s : float
        Length of an integration in seconds.
    ntimes : int
        Number of integrations.
    nbls : int
        Number of baselines, with autocorrelations.
    pointing_dec_rad : float
        Declination of the pointing in radians.
    """

    path: Path
    subband: int
    first_time_jd: float
    integration_time_s: float
    ntimes: int
    nbls: int
    pointing_dec_rad: float

    @property
    def label(self) -> str:
        """The subband as ``sb00`` .. ``sb15``."""
        return subband_label(self.subband)

    @property
    def start_utc(self) -> datetime:
        """Start of the first integration."""
        half = timedelta(seconds=self.integration_time_s / 2)
        return jd_to_utc(self.first_time_jd) - half


@dataclass(frozen=True, eq=False, kw_only=True)
class SubbandHeader(QuickHeader):
    """Everything that conversion needs to know of one file.

    Attributes
    ----------
    freqs_hz : ndarray of float64, shape (48,)
        Channel centres in Hz, in the order of the file (descending).
    times_jd : ndarray of float64, shape (ntimes,)
        Centres of the integrations, Julian dates (UTC), ascending.
    ant_1_array, ant_2_array : ndarray of int64, shape (nbls,)
        Antenna numbers of each baseline; the same order in every integration.
    antenna_numbers : ndarray of int64, shape (nants,)
        Antenna numbers of the whole telescope.
    antenna_names : tuple of str, length nants
        Names, in the order of `antenna_numbers`.
    antenna_positions_m : ndarray of float64, shape (nants, 3)
        ITRF positions relative to the site, in metres; 0 for stations without data that have
        none.
    latitude_deg, longitude_deg, altitude_m : float
        The site: geodetic degrees, metres above the WGS84 ellipsoid.
    telescope_name : str
        As the file bears it.
    polarization_array : tuple of int
        AIPS numbers, (-5, -6) for XX and YY.
    uvw_m : ndarray of float64, shape (nbls, 3)
        The file's UVW in metres: that of the meridian, one for all integrations.
    data_shape : tuple of int
        Shape of visdata, flags and nsamples, (ntimes * nbls, 1, 48, 2), or without the 1.
    vis_units : str
        Unit of the visibilities; "uncalib" where the file does not say, as UVH5 has it.
    """

    freqs_hz: FloatArray
    times_jd: FloatArray
    ant_1_array: IntArray
    ant_2_array: IntArray
    antenna_numbers: IntArray
    antenna_names: tuple[str, ...]
    antenna_positions_m: FloatArray
    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    telescope_name: str
    polarization_array: tuple[int, ...]
    uvw_m: FloatArray
    data_shape: tuple[int, ...]
    vis_units: str


def jd_to_utc(jd: float) -> datetime:
    """Convert a Julian date (UTC) to a date and time.

    Parameters
    ----------
    jd : float
        Julian date in days.

    Returns
    -------
    datetime
        In UTC, good to 50 microseconds, the resolution of a Julian date in float64.
    """
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=(jd - _UNIX_EPOCH_JD) * DAY_S)


def read_quick_header(path: Path) -> QuickHeader:
    """Read what grouping needs, touching as little of the file as possible.

    Parameters
    ----------
    path : Path
        A subband file, named as the correlator names them.

    Returns
    -------
    QuickHeader
        The checked header.

    Raises
    ------
    InputError
        If the file cannot be read or is not what its name says; the reason is a slug.
    TransientError
        If this process or the file server, not the file, is at fault.
    """
    with open_hdf5(path) as header:
        return _read_quick(header)


def read_header(path: Path) -> SubbandHeader:
    """Read and check everything that conversion needs.

    Parameters
    ----------
    path : Path
        A subband file, named as the correlator names them.

    Returns
    -------
    SubbandHeader
        The checked header.

    Raises
    ------
    InputError
        If the file cannot be read or is not what its name says; the reason is a slug.
    TransientError
        If this process or the file server, not the file, is at fault.
    """
    with open_hdf5(path) as header:
        quick = _read_quick(header)
        ntimes, nbls = quick.ntimes, quick.nbls
        items.check_phase_state(header)
        numbers, names, positions = items.read_antennas(header)
        ant_1, ant_2 = items.read_baselines(header, ntimes, nbls, numbers)
        return SubbandHeader(
            **vars(quick),
            freqs_hz=header.numbers("Header/freq_array").reshape(-1),
            times_jd=items.read_times(header, ntimes, nbls),
            ant_1_array=ant_1,
            ant_2_array=ant_2,
            antenna_numbers=numbers,
            antenna_names=names,
            antenna_positions_m=items.place_all(
                header, positions, np.isin(numbers, [ant_1, ant_2])
            ),
            latitude_deg=header.number("Header/latitude", -90, 90),
            longitude_deg=header.number("Header/longitude", -180, 360),
            altitude_m=header.number("Header/altitude", -500, 9000),
            telescope_name=items.read_telescope_name(header),
            polarization_array=items.read_polarizations(header),
            uvw_m=items.read_uvw(header, ntimes, nbls),
            data_shape=items.check_data(header, ntimes * nbls),
            vis_units=header.text(units) if header.has(units := "Header/vis_units") else "uncalib",
        )


def _read_quick(header: Hdf5Header) -> QuickHeader:
    """Read the light header."""
    subband = items.read_subband(header)
    ntimes, nbls = header.count("Header/Ntimes"), header.count("Header/Nbls")
    nrows = header.count("Header/Nblts")
    if nrows != ntimes * nbls:
        header.fail("irregular_rows", f"has {nrows} rows, not {ntimes} times {nbls} baselines")
    first_time_jd = header.first("Header/time_array", nrows)
    items.check_plausible(header, first_time_jd)
    integration_time_s = header.first("Header/integration_time", nrows)
    if abs(integration_time_s / instrument.INTEGRATION_TIME_S - 1) > _INTEGRATION_TOLERANCE:
        header.fail(
            "wrong_integration_time",
            f"has integrations of {integration_time_s:g} s "
            f"instead of {instrument.INTEGRATION_TIME_S:.3f} s",
        )
    return QuickHeader(
        path=header.path,
        subband=subband,
        first_time_jd=first_time_jd,
        integration_time_s=integration_time_s,
        ntimes=ntimes,
        nbls=nbls,
        pointing_dec_rad=header.number(
            "Header/extra_keywords/phase_center_dec", -np.pi / 2, np.pi / 2
        ),
    )


HeaderT = TypeVar("HeaderT", bound=QuickHeader)


def check_consistent(headers: Sequence[SubbandHeader]) -> list[tuple[Path, str]]:
    """Find the subbands that do not belong with the majority of a group.

    Parameters
    ----------
    headers : sequence of SubbandHeader
        The headers of one group.

    Returns
    -------
    list of (Path, str)
        Each file that differs, with the predicate of a sentence that says in what, in order
        of subband. The majority is the largest set of files that agree in everything; of
        equal sets, the one with the lowest subband.
    """
    return _find_odd(headers, _COMPARISONS)


def check_quick_consistent(headers: Sequence[QuickHeader]) -> list[tuple[Path, str]]:
    """Do the same as `check_consistent` with what the light headers know.

    Parameters
    ----------
    headers : sequence of QuickHeader
        The light headers of one group.

    Returns
    -------
    list of (Path, str)
        Each file that differs, with the predicate of a sentence that says in what, in order
        of subband.
    """
    return _find_odd(headers, _QUICK_COMPARISONS)


def _find_odd(
    headers: Iterable[HeaderT], comparisons: dict[str, Callable[[HeaderT, HeaderT], bool]]
) -> list[tuple[Path, str]]:
    """Sort the headers into sets that agree, and say how each differs from the largest."""

    def differences(a: HeaderT, b: HeaderT) -> list[str]:
        return [what for what, same in comparisons.items() if not same(a, b)]

    ordered = sorted(headers, key=lambda header: (header.subband, header.path))
    sets: list[list[HeaderT]] = []
    for header in ordered:
        home = next((members for members in sets if not differences(members[0], header)), None)
        if home is None:
            sets.append([header])
        else:
            home.append(header)
    majority = max(sets, key=len, default=[])
    count = f"{len(majority)} of {len(ordered)} files"
    findings = []
    for header in ordered:
        if header not in majority:
            what = " and ".join(differences(majority[0], header))
            sentence = f"has another {what} than the majority of its group ({count})"
            findings.append((header.path, sentence))
    return findings


def _close(a: FloatArray, b: FloatArray, tolerance: float) -> bool:
    """Whether two arrays have one shape and agree."""
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= tolerance))


_QUICK_COMPARISONS: dict[str, Callable[[QuickHeader, QuickHeader], bool]] = {
    "first time": lambda a, b: abs(a.first_time_jd - b.first_time_jd) * DAY_S <= TIME_TOLERANCE_S,
    "integration time": lambda a, b: (
        abs(a.integration_time_s - b.integration_time_s) <= TIME_TOLERANCE_S
    ),
    "number of integrations": lambda a, b: a.ntimes == b.ntimes,
    "number of baselines": lambda a, b: a.nbls == b.nbls,
    "pointing declination": lambda a, b: (
        abs(a.pointing_dec_rad - b.pointing_dec_rad) <= _DEC_TOLERANCE_RAD
    ),
}

_COMPARISONS: dict[str, Callable[[SubbandHeader, SubbandHeader], bool]] = {
    **_QUICK_COMPARISONS,
    "set of times": lambda a, b: _close(a.times_jd, b.times_jd, TIME_TOLERANCE_S / DAY_S),
    "list of baselines": lambda a, b: (
        np.array_equal(a.ant_1_array, b.ant_1_array)
        and np.array_equal(a.ant_2_array, b.ant_2_array)
    ),
    "list of antennas": lambda a, b: (
        np.array_equal(a.antenna_numbers, b.antenna_numbers) and a.antenna_names == b.antenna_names
    ),
    "set of antenna positions": lambda a, b: _close(
        a.antenna_positions_m, b.antenna_positions_m, LENGTH_TOLERANCE_M
    ),
    "set of UVW": lambda a, b: _close(a.uvw_m, b.uvw_m, LENGTH_TOLERANCE_M),
    "site": lambda a, b: (
        abs(a.latitude_deg - b.latitude_deg) <= _ANGLE_TOLERANCE_DEG
        and abs(a.longitude_deg - b.longitude_deg) <= _ANGLE_TOLERANCE_DEG
        and abs(a.altitude_m - b.altitude_m) <= LENGTH_TOLERANCE_M
    ),
    "telescope name": lambda a, b: a.telescope_name == b.telescope_name,
    "unit of visibilities": lambda a, b: a.vis_units == b.vis_units,
}
