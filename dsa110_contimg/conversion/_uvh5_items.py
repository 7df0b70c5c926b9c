"""Parts of a UVH5 header, each read and checked; `uvh5` puts them together."""

from __future__ import annotations

from collections import Counter

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
_PADDING = "\0 \t\r\n"
"""What strings of fixed length are filled with."""
_NAMED = "give every antenna a plain name of its own"
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
    found = _find_subband(freqs_hz)
    if found != name.subband:
        turned = _find_subband(freqs_hz[::-1])
        whose = subband_label(found) if found is not None else "no subband"
        if turned is not None:
            whose = f"{subband_label(turned)} in ascending order"
        header.fail("wrong_frequencies", f"has the frequencies of {whose}")
    return name.subband


def _find_subband(freqs_hz: FloatArray) -> int | None:
    """Find the subband to which channels belong, in the order of a file."""
    for subband in range(instrument.N_SUBBANDS):
        expected_hz = instrument.subband_channel_freqs_hz(subband)
        if np.all(np.abs(freqs_hz - expected_hz) < _FREQ_TOLERANCE_HZ):
            return subband
    return None


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
    """Read numbers, names and relative positions of the antennas; some positions may be NaN."""
    nants = header.count("Header/Nants_telescope")
    numbers: IntArray = header.numbers("Header/antenna_numbers", (nants,), integer=True)
    if np.unique(numbers).size != nants:
        header.fail("garbled_item", "has an antenna number twice")
    positions_m = header.numbers("Header/antenna_positions", (nants, 3), finite=False)
    names = tuple(name.strip(_PADDING) for name in header.texts("Header/antenna_names", nants))
    _check_names(header, names)
    return numbers, names, positions_m


def _check_names(header: Hdf5Header, names: tuple[str, ...]) -> None:
    """Refuse names that do not tell antennas apart, or mean something to other programs."""
    for number, name in enumerate(names):
        if not name:
            header.fail("bad_antenna_name", f"has a blank antenna name (entry {number})", _NAMED)
        if not instrument.PLAIN_NAME.fullmatch(name):
            header.fail(
                "bad_antenna_name",
                f"has the antenna name {name!r:.50}, which is not made of up to 32 of the "
                "characters A-Z a-z 0-9 _ . + - alone",
                _NAMED,
            )
    if len(set(names)) != len(names):
        name = next(name for name in names if names.count(name) > 1)
        header.fail("bad_antenna_name", f"has the antenna name {name!r} twice", _NAMED)


def read_telescope_name(header: Hdf5Header) -> str:
    """Read the name under which other programs look the telescope up."""
    name = header.text("Header/telescope_name").strip(_PADDING)
    if not instrument.PLAIN_NAME.fullmatch(name):
        header.fail(
            "bad_telescope_name",
            f"has the telescope name {name!r:.50}",
            f"write {instrument.TELESCOPE_NAME}",
        )
    return name


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
    baselines = list(zip(*np.sort(pair, axis=0).tolist(), strict=True))
    if len(set(baselines)) != nbls:
        one, two = Counter(baselines).most_common(1)[0][0]
        header.fail(
            "irregular_rows",
            "lists a baseline twice in one integration, in the same or in both orders: antennas "
            f"{one} and {two}",
        )
    return pair[0], pair[1]


def place_all(
    header: Hdf5Header, positions_m: FloatArray, has_data: npt.NDArray[np.bool_]
) -> FloatArray:
    """Put stations without data and without a position at the site."""
    unknown = np.logical_not(np.isfinite(positions_m).all(axis=1))
    if np.any(unknown & has_data):
        header.fail(
            "garbled_item",
            "has values that are not finite in Header/antenna_positions, of antennas with data",
        )
    return np.where(np.expand_dims(unknown, 1), 0.0, positions_m)


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
        )
    uvw_m: FloatArray = blocks[0].copy()
    return uvw_m


def check_phase_state(header: Hdf5Header) -> None:
    """Accept only the phase state that the correlator writes: hour angle 0, called drift.

    pyuvdata calls it unprojected, and writes a catalogue of phase centres in its place.
    """
    phase_type = _read_phase_type(header)
    if phase_type not in ("drift", "unprojected"):
        header.fail("wrong_phase_state", f"has phase_type {phase_type!r} instead of 'drift'")
    hour_angle = "Header/extra_keywords/ha_phase_center"
    if header.has(hour_angle) and abs(header.number(hour_angle, -np.pi, np.pi)) > _HA_TOLERANCE_RAD:
        header.fail("wrong_phase_state", "is fringe-stopped at an hour angle other than 0")


def _read_phase_type(header: Hdf5Header) -> str:
    """Read the phase state; of a catalogue of phase centres, the types of all."""
    catalog = "Header/phase_center_catalog"
    if header.has("Header/phase_type") or not header.has(catalog):
        return header.text("Header/phase_type")
    types = {header.text(f"{catalog}/{key}/cat_type") for key in header.members(catalog)}
    return " and ".join(sorted(types))


def check_data(header: Hdf5Header, nrows: int) -> tuple[int, ...]:
    """Check type, shape and storage of the three data arrays, without reading them."""
    npols = len(instrument.POLARIZATIONS_UVH5)
    shape: tuple[int, ...] = (nrows, 1, instrument.N_CHANNELS_PER_SUBBAND, npols)
    if header.dataset("Data/visdata").ndim == len(shape) - 1:
        shape = (nrows, *shape[2:])  # as pyuvdata writes since 2.2: no axis of windows
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
