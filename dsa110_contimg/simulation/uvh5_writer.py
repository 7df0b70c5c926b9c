"""Write one subband as the correlator does: UVH5 with arrays of the old shape.

Items, types and order follow the correlator's own writer (``dsamfs``); see
``docs/instrument.md`` for what real files bear.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from dsa110_contimg import __version__
from dsa110_contimg.instrument import (
    CHANNEL_WIDTH_HZ,
    DISH_DIAMETER_M,
    HEADER_INTEGRATION_TIME_S,
    INSTRUMENT_NAME,
    N_ANTENNAS_TELESCOPE,
    POLARIZATIONS_UVH5,
    SITE_ALTITUDE_M,
    SITE_LATITUDE_DEG,
    SITE_LONGITUDE_DEG,
    TELESCOPE_NAME,
)
from dsa110_contimg.simulation.schedule import incomplete_name

if TYPE_CHECKING:
    import h5py

_SAMPLES_PER_INTEGRATION: Final = 96.0
"""The correlator averages 96 fringe-stopped samples of 0.134 s."""

_MEMORY_STEP_BYTES: Final = 16 * 2**20


@dataclass(frozen=True)
class SubbandHeader:
    """What the header of one file says, besides the telescope's constants.

    Attributes
    ----------
    freq_hz : ndarray of float64, shape (nchan,)
        Channel centres in Hz, descending.
    times_jd : ndarray of float64, shape (ntimes,)
        Bin centres, Julian dates (UTC).
    antenna_numbers : ndarray of int64, shape (nants,)
        Antennas with data (0-based: station number less one).
    baselines : tuple of ndarray of int64, each of shape (nbls,)
        First and second antenna, as indices into `antenna_numbers`.
    antenna_positions_m : ndarray of float64, shape (117, 3)
        All stations relative to the site, ITRF, metres.
    uvw_m : ndarray of float64, shape (nbls, 3)
        Baseline coordinates towards the pointing on the meridian, metres.
    dec_deg : float
        Declination of date of the pointing, in degrees.
    is_calibrated : bool
        Whether the visibilities are in Jy; those of the correlator are not, and say nothing.
    """

    freq_hz: npt.NDArray[np.float64]
    times_jd: npt.NDArray[np.float64]
    antenna_numbers: npt.NDArray[np.int64]
    baselines: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    antenna_positions_m: npt.NDArray[np.float64]
    uvw_m: npt.NDArray[np.float64]
    dec_deg: float
    is_calibrated: bool = False


def write_subband(path: Path, header: SubbandHeader, data: npt.NDArray[np.complex64]) -> None:
    """Write one file whole, or leave nothing under its good name.

    Parameters
    ----------
    path : Path
        The good name; while it is written the file ends in ``_incomplete.hdf5``.
    header : SubbandHeader
        What the file says of itself.
    data : ndarray of complex64, shape (ntimes, nbls, nchan, 2)
        Visibilities, in Jy if the header says so.
    """
    unfinished = path.with_name(incomplete_name(path.name))
    image = _file_image(header, data)
    try:
        unfinished.write_bytes(image)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _file_image(header: SubbandHeader, data: npt.NDArray[np.complex64]) -> bytes:
    """Build the file in memory: on a full disk HDF5 itself cannot be closed in good order."""
    import h5py

    # Without times of creation inside, equal input gives equal bytes.
    with h5py.File.in_memory(
        block_size=_MEMORY_STEP_BYTES, libver="earliest", track_times=False
    ) as file:
        _write_header(file.create_group("Header"), header)
        _write_data(file.create_group("Data"), data)
        file.flush()
        return bytes(file.id.get_file_image())


def _write_header(group: h5py.Group, header: SubbandHeader) -> None:
    """Write the constants and the arrays over baseline-times."""
    n_times, n_bls = len(header.times_jd), len(header.baselines[0])
    group["latitude"] = SITE_LATITUDE_DEG
    group["longitude"] = SITE_LONGITUDE_DEG
    group["altitude"] = SITE_ALTITUDE_M
    group["telescope_name"] = np.bytes_(TELESCOPE_NAME)
    group["instrument"] = np.bytes_(INSTRUMENT_NAME)
    group["object_name"] = np.bytes_("search")
    group["history"] = np.bytes_(f"simulated by dsa110-contimg {__version__}")
    group["phase_type"] = np.bytes_("drift")
    if header.is_calibrated:
        group["vis_units"] = np.bytes_("Jy")
    group["Nants_data"] = len(header.antenna_numbers)
    group["Nants_telescope"] = N_ANTENNAS_TELESCOPE
    group["antenna_diameters"] = np.full(N_ANTENNAS_TELESCOPE, DISH_DIAMETER_M)
    group["antenna_names"] = np.array([f"{n + 1}" for n in range(N_ANTENNAS_TELESCOPE)], dtype="S4")
    group["antenna_numbers"] = np.arange(N_ANTENNAS_TELESCOPE)
    group["antenna_positions"] = header.antenna_positions_m
    group["Nbls"] = n_bls
    group["Nblts"] = n_times * n_bls
    group["Nfreqs"] = len(header.freq_hz)
    group["Npols"] = len(POLARIZATIONS_UVH5)
    group["Ntimes"] = n_times
    group["Nspws"] = 1
    group["freq_array"] = header.freq_hz[None, :]
    group["channel_width"] = CHANNEL_WIDTH_HZ
    group["spw_array"] = np.array([1])
    group["polarization_array"] = np.array(POLARIZATIONS_UVH5)
    first, second = (header.antenna_numbers[index] for index in header.baselines)
    _append(group, "ant_1_array", np.tile(first, n_times))
    _append(group, "ant_2_array", np.tile(second, n_times))
    _append(group, "uvw_array", np.tile(header.uvw_m.astype(np.float32), (n_times, 1)))
    _append(group, "time_array", np.repeat(header.times_jd, n_bls))
    _append(group, "integration_time", np.full(n_times * n_bls, HEADER_INTEGRATION_TIME_S))
    _write_extra_keywords(group.create_group("extra_keywords"), header)


def _write_extra_keywords(group: h5py.Group, header: SubbandHeader) -> None:
    """Write what the fringe-stopping says of itself."""
    group["phase_center_dec"] = float(np.deg2rad(header.dec_deg))
    group["ha_phase_center"] = 0.0
    group["phase_center_epoch"] = "HADEC"
    group["fs_table"] = np.bytes_("fringestopping_table.npz")
    no_delays = np.zeros(2 * N_ANTENNAS_TELESCOPE, dtype=int)
    group["applied_delays_ns"] = np.bytes_(" ".join(str(delay) for delay in no_delays))


def _write_data(group: h5py.Group, data: npt.NDArray[np.complex64]) -> None:
    """Write the visibilities, none of them flagged."""
    n_times, n_bls, n_chan, n_pol = data.shape
    rows = data.reshape(n_times * n_bls, 1, n_chan, n_pol)
    _append(group, "visdata", rows)
    _append(group, "flags", np.zeros(rows.shape, dtype=bool))
    _append(group, "nsamples", np.full(rows.shape, _SAMPLES_PER_INTEGRATION, dtype=np.float32))


def _append(group: h5py.Group, name: str, values: npt.NDArray[np.generic]) -> None:
    """Write an array as the correlator does: made empty, then extended.

    The library guesses the chunks from the empty shape, so they come out as in real files.
    """
    dataset = group.create_dataset(
        name,
        shape=(0, *values.shape[1:]),
        maxshape=(None, *values.shape[1:]),
        dtype=values.dtype,
        chunks=True,
    )
    dataset.resize(len(values), axis=0)
    dataset[...] = values
