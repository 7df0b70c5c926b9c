"""Tiny subband files, made in a moment: 4 antennas, 2 integrations, zeros for data.

They are for tests of headers and of grouping; the simulator makes files with a sky in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from dsa110_contimg import instrument

Mutation = Callable[[h5py.File], None]

N_ANTENNAS, N_TIMES = 4, 2
DEC_RAD = 0.9524855391
"""Of a real observation."""
SITE_DEG = (37.233, -118.283)
"""Latitude and longitude in the headers."""
DAY_S = 86400.0


def meridian_uvw_m(baselines_m: np.ndarray, longitude_deg: float, dec_rad: float) -> np.ndarray:
    """UVW of ITRF baselines for a source on the meridian (Thompson et al. 2017, eq. 4.1)."""
    lon_rad = np.deg2rad(longitude_deg)
    x, y, z = baselines_m.T
    outward = np.cos(lon_rad) * x + np.sin(lon_rad) * y
    east = np.cos(lon_rad) * y - np.sin(lon_rad) * x
    v = np.cos(dec_rad) * z - np.sin(dec_rad) * outward
    w = np.sin(dec_rad) * z + np.cos(dec_rad) * outward
    return np.stack([east, v, w], axis=-1)


def start_to_jd(start: datetime) -> float:
    """JD of the centre of the first integration of a group that starts then."""
    unix_s = start.timestamp() + instrument.HEADER_INTEGRATION_TIME_S / 2
    return unix_s / DAY_S + 2440587.5


def file_name(stamp: datetime, subband: int) -> str:
    """Name of a subband file."""
    return f"{stamp:%Y-%m-%dT%H:%M:%S}_sb{subband:02d}.hdf5"


def write_tiny(
    path: Path,
    subband: int,
    start: datetime,
    dec_rad: float = DEC_RAD,
    n_antennas: int = N_ANTENNAS,
) -> Path:
    """Write a file that is right in everything; contiguous datasets."""
    ant_1, ant_2 = np.triu_indices(n_antennas)
    n_bls = len(ant_1)
    n_rows = N_TIMES * n_bls
    times_jd = start_to_jd(start) + np.arange(N_TIMES) * instrument.INTEGRATION_TIME_S / DAY_S
    shape = (n_rows, 1, instrument.N_CHANNELS_PER_SUBBAND, 2)
    with h5py.File(path, "w", track_times=False) as file:
        header = file.create_group("Header")
        header["Ntimes"], header["Nbls"], header["Nblts"] = N_TIMES, n_bls, n_rows
        header["time_array"] = np.repeat(times_jd, n_bls)
        header["integration_time"] = np.full(n_rows, instrument.HEADER_INTEGRATION_TIME_S)
        header["freq_array"] = instrument.subband_channel_freqs_hz(subband)[None, :]
        header["ant_1_array"] = np.tile(ant_1, N_TIMES)
        header["ant_2_array"] = np.tile(ant_2, N_TIMES)
        header["Nants_telescope"] = n_antennas
        header["antenna_numbers"] = np.arange(n_antennas)
        header["antenna_names"] = np.array([f"{n + 1}" for n in range(n_antennas)], dtype="S4")
        positions = np.arange(3.0 * n_antennas).reshape(n_antennas, 3)
        header["antenna_positions"] = positions
        header["latitude"], header["longitude"] = SITE_DEG
        header["altitude"] = 1188.0
        header["telescope_name"] = np.bytes_("OVRO_MMA")
        header["phase_type"] = np.bytes_("drift")
        header["polarization_array"] = np.array([-5, -6])
        uvw = meridian_uvw_m(positions[ant_2] - positions[ant_1], SITE_DEG[1], dec_rad)
        header["uvw_array"] = np.tile(uvw.astype(np.float32), (N_TIMES, 1))
        header["extra_keywords/phase_center_dec"] = dec_rad
        header["extra_keywords/ha_phase_center"] = 0.0
        data = file.create_group("Data")
        data["visdata"] = np.zeros(shape, np.complex64)
        data["flags"] = np.zeros(shape, bool)
        data["nsamples"] = np.ones(shape, np.float32)
    return path


def write_group(
    directory: Path,
    start: datetime,
    subbands: Iterator[int] | range | list[int] = range(instrument.N_SUBBANDS),
    **options: float,
) -> dict[int, Path]:
    """Write the files of one group, all named with its start."""
    directory.mkdir(parents=True, exist_ok=True)
    return {
        subband: write_tiny(directory / file_name(start, subband), subband, start, **options)
        for subband in subbands
    }


@cache
def _template(subband: int, scratch: Path) -> tuple[bytes, int, int]:
    """Bytes of a file without data arrays, and place and size of its times."""
    path = write_tiny(
        scratch / f"template_sb{subband:02d}.hdf5", subband, datetime(2020, 1, 1, tzinfo=UTC)
    )
    with h5py.File(path, "a") as file:
        times = file["Header/time_array"]
        place, size = times.id.get_offset(), times.size
    content = path.read_bytes()
    path.unlink()
    return content, place, size


def stamp_out(path: Path, subband: int, start: datetime, scratch: Path) -> None:
    """Write a tiny file by patching the times of a template: thousands in a second."""
    content, place, size = _template(subband, scratch)
    times = np.full(size, start_to_jd(start)).tobytes()
    path.write_bytes(content[:place] + times + content[place + len(times) :])


def put(name: str, value: object = None) -> Mutation:
    """Put another value, of any type and shape, in the place of an item; or nothing."""

    def mutate(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return mutate


def edit(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Mutation:
    """Change a header array over rows, seen as (ntimes, nbls, ...)."""

    def mutate(file: h5py.File) -> None:
        values = file[f"Header/{name}"][()]
        changed = change(values.reshape(N_TIMES, -1, *values.shape[1:]))
        put(f"Header/{name}", np.asarray(changed).reshape(values.shape))(file)

    return mutate


def apply(path: Path, *mutations: Mutation) -> None:
    """Spoil a file."""
    with h5py.File(path, "a") as file:
        for mutate in mutations:
            mutate(file)
