"""Parts of a UVH5 header, each read and checked; `uvh5` puts them together."""

from __future__ import annotations

import h5py
import numpy as np
import numpy.typing as npt

from dsa110_contimg import instrument
from dsa110_contimg.conversion.filenames import parse_subband_name, subband_label
from dsa110_contimg.conversion.hdf5_header import Hdf5Header

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DAY_S = 86400.0
TIME_TOLERANCE_S = 1e-3
"""25 times the resolution of a Julian date in float64."""
LENGTH_TOLERANCE_M = 1e-3
"""Four times the resolution of float32 at the longest baseline, 2.6 km."""
_PLAUSIBLE_JD = (2451544.5, 2488069.5)
"""The years 2000 to 2099; anything else is a garbled time."""
_FREQ_TOLERANCE_HZ = instrument.CHANNEL_WIDTH_HZ / 10
_HA_TOLERANCE_RAD = 1e-6
"""0.2 arcsec: far below the beam, far above rounding."""
_AS_WRITTEN = "use the files as the correlator wrote them"
_DATA_TYPES = {"visdata": np.complex64, "flags": np.bool_, "nsamples": np.float32}


def check_plausible(header: Hdf5Header, time_jd: float) -> None:
    """Refuse a time that no DSA-110 file can bear."""
    if not _PLAUSIBLE_JD[0] <= time_jd <= _PLAUSIBLE_JD[1]:
        header.fail("garbled_item", f"has a time of JD {time_jd:g}, outside 2000 to 2099")


def read_subband(header: Hdf5Header) -> int:
    """Learn the subband from the name, and have the frequencies confirm it."""
    name = parse_subband_name(header.path.name)
    if name is None:
        header.fail("bad_name", "is not named as a subband file", "rename or remove it")
    freqs_hz = header.numbers("Header/freq_array").reshape(-1)
    if freqs_hz.size != instrument.N_CHANNELS_PER_SUBBAND:
        header.fail(
            "wrong_channels",
            f"has {freqs_hz.size} channels instead of {instrument.N_CHANNELS_PER_SUBBAND}",
        )
    found = [
        subband
        for subband in range(instrument.N_SUBBANDS)
        if np.all(
            np.abs(freqs_hz - instrument.subband_channel_freqs_hz(subband)) < _FREQ_TOLERANCE_HZ
        )
    ]
    if found != [name.subband]:
        whose = subband_label(found[0]) if found else "no subband"
        header.fail("wrong_frequencies", f"has the frequencies of {whose}")
    return name.subband


def read_times(header: Hdf5Header, ntimes: int, nbls: int) -> FloatArray:
    """Read one time per integration; rows must be time-major."""
    blocks = header.numbers("Header/time_array", (ntimes * nbls,)).reshape(ntimes, nbls)
    times_jd: FloatArray = blocks[:, 0].copy()
    if np.ptp(blocks, axis=1).max() * DAY_S > TIME_TOLERANCE_S:
        header.fail("irregular_rows", "is not time-major: times differ inside an integration")
    if np.any(np.diff(times_jd) <= 0):
        header.fail("irregular_rows", "has integrations that are not in order of time")
    check_plausible(header, times_jd[-1])
    lengths_s = header.numbers("Header/integration_time", (ntimes * nbls,))
    if np.ptp(lengths_s) > TIME_TOLERANCE_S:
        header.fail("irregular_rows", "has integrations of different length")
    return times_jd


def read_antennas(header: Hdf5Header) -> tuple[IntArray, tuple[str, ...], FloatArray]:
    """Read numbers, names and relative positions of the telescope's antennas."""
    nants = header.count("Header/Nants_telescope")
    numbers: IntArray = header.numbers("Header/antenna_numbers", (nants,), integer=True)
    if np.unique(numbers).size != nants:
        header.fail("garbled_item", "has an antenna number twice")
    names = header.texts("Header/antenna_names", nants)
    return numbers, names, header.numbers("Header/antenna_positions", (nants, 3))


def read_baselines(
    header: Hdf5Header, ntimes: int, nbls: int, antenna_numbers: IntArray
) -> tuple[IntArray, IntArray]:
    """Read the baselines of one integration; every integration must list the same."""
    pair = []
    for name in ("Header/ant_1_array", "Header/ant_2_array"):
        blocks = header.numbers(name, (ntimes * nbls,), integer=True).reshape(ntimes, nbls)
        if np.any(blocks != blocks[0]):
            header.fail("irregular_rows", f"has another baseline order in some integration: {name}")
        if not np.all(np.isin(blocks[0], antenna_numbers)):
            header.fail("garbled_item", f"names antennas in {name} that have no position")
        pair.append(blocks[0].copy())
    if len(set(zip(*(ants.tolist() for ants in pair), strict=True))) != nbls:
        header.fail("irregular_rows", "lists a baseline twice in one integration")
    return pair[0], pair[1]


def read_polarizations(header: Hdf5Header) -> tuple[int, ...]:
    """Read the polarizations, which must be XX and YY."""
    found = tuple(header.numbers("Header/polarization_array", integer=True).reshape(-1).tolist())
    if found != instrument.POLARIZATIONS_UVH5:
        header.fail(
            "wrong_polarizations",
            f"has polarizations {found} instead of {instrument.POLARIZATIONS_UVH5} (XX, YY)",
        )
    return found


def read_uvw(header: Hdf5Header, ntimes: int, nbls: int) -> FloatArray:
    """Read the UVW of the meridian; data fringe-stopped elsewhere must not pass."""
    blocks = header.numbers("Header/uvw_array", (ntimes * nbls, 3)).reshape(ntimes, nbls, 3)
    if np.ptp(blocks, axis=0).max() > LENGTH_TOLERANCE_M:
        header.fail(
            "wrong_phase_state",
            "has UVW that change with time: it is not fringe-stopped at the meridian",
            _AS_WRITTEN,
        )
    uvw_m: FloatArray = blocks[0].copy()
    return uvw_m


def check_phase_state(header: Hdf5Header) -> None:
    """Accept only the phase state that the correlator writes: hour angle 0, called drift."""
    phase_type = header.text("Header/phase_type")
    if phase_type != "drift":
        header.fail(
            "wrong_phase_state", f"has phase_type {phase_type!r} instead of 'drift'", _AS_WRITTEN
        )
    hour_angle = "Header/extra_keywords/ha_phase_center"
    if header.has(hour_angle) and abs(header.number(hour_angle, -np.pi, np.pi)) > _HA_TOLERANCE_RAD:
        header.fail(
            "wrong_phase_state", "is fringe-stopped at an hour angle other than 0", _AS_WRITTEN
        )


def check_data(header: Hdf5Header, nrows: int) -> tuple[int, ...]:
    """Check type, shape and storage of the three data arrays, without reading them."""
    npols = len(instrument.POLARIZATIONS_UVH5)
    shape = (nrows, 1, instrument.N_CHANNELS_PER_SUBBAND, npols)
    for name, dtype in _DATA_TYPES.items():
        dataset = header.dataset(f"Data/{name}")
        if dataset.dtype != dtype:
            header.fail(
                "wrong_type", f"has {name} of type {dataset.dtype} instead of {dtype.__name__}"
            )
        if dataset.shape != shape:
            header.fail("wrong_shape", f"has {name} of shape {dataset.shape} instead of {shape}")
        _check_stored(header, name, dataset)
    return shape


def _check_stored(header: Hdf5Header, name: str, dataset: h5py.Dataset) -> None:
    """Refuse storage that was never written: HDF5 would read it as zeros."""
    if dataset.chunks is None:
        stored = dataset.id.get_storage_size() >= dataset.nbytes
    else:
        lengths = zip(dataset.shape, dataset.chunks, strict=True)
        wanted = int(np.prod([-(-length // chunk) for length, chunk in lengths]))
        stored = dataset.id.get_num_chunks() == wanted
    if not stored:
        header.fail("missing_data", f"lacks parts of {name} that were never written")
