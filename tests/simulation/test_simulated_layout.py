"""Simulated files against the layout of real ones (docs/instrument.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dsa110_contimg.astrometry import apparent_sidereal_time_rad
from dsa110_contimg.instrument import HEADER_INTEGRATION_TIME_S, subband_channel_freqs_hz
from dsa110_contimg.simulation.array import antenna_positions_m, select_stations
from dsa110_contimg.simulation.night import SimulationResult

pytestmark = pytest.mark.unit

ONLY_SB00 = tuple(f"sb{subband:02d}" for subband in range(1, 16))
REAL_FILE_BYTES = 145_348_600
N_ROWS = 24 * 36
"""Of the small night: 24 integrations, 8 antennas."""

HEADER = {
    "latitude": ((), np.float64),
    "longitude": ((), np.float64),
    "altitude": ((), np.float64),
    "telescope_name": ((), np.bytes_),
    "instrument": ((), np.bytes_),
    "object_name": ((), np.bytes_),
    "history": ((), np.bytes_),
    "phase_type": ((), np.bytes_),
    "Nants_data": ((), np.int64),
    "Nants_telescope": ((), np.int64),
    "Nbls": ((), np.int64),
    "Nblts": ((), np.int64),
    "Nfreqs": ((), np.int64),
    "Npols": ((), np.int64),
    "Nspws": ((), np.int64),
    "Ntimes": ((), np.int64),
    "antenna_diameters": ((117,), np.float64),
    "antenna_names": ((117,), np.bytes_),
    "antenna_numbers": ((117,), np.int64),
    "antenna_positions": ((117, 3), np.float64),
    "ant_1_array": ((N_ROWS,), np.int64),
    "ant_2_array": ((N_ROWS,), np.int64),
    "uvw_array": ((N_ROWS, 3), np.float32),
    "time_array": ((N_ROWS,), np.float64),
    "integration_time": ((N_ROWS,), np.float64),
    "freq_array": ((1, 48), np.float64),
    "channel_width": ((), np.float64),
    "spw_array": ((1,), np.int64),
    "polarization_array": ((2,), np.int64),
}


@pytest.fixture(scope="module")
def sb00(small_night: SimulationResult) -> h5py.File:
    with h5py.File(small_night.files[0]) as file:
        yield file


def test_the_header_has_the_items_of_real_files_and_no_others(sb00: h5py.File) -> None:
    """But the unit, by which data without gain errors say that they are calibrated."""
    header = sb00["Header"]
    assert set(header) - {"vis_units"} == {*HEADER, "extra_keywords"}
    for name, (shape, kind) in HEADER.items():
        assert header[name].shape == shape, name
        assert np.issubdtype(header[name].dtype, kind), name


def test_the_header_says_what_real_ones_say(sb00: h5py.File) -> None:
    header = sb00["Header"]
    assert header["phase_type"][()] == b"drift"
    assert header["telescope_name"][()] == b"OVRO_MMA"
    assert header["instrument"][()] == b"DSA"
    assert header["antenna_names"][()].tolist() == [b"%d" % n for n in range(1, 118)]
    assert header["antenna_numbers"][()].tolist() == list(range(117))
    assert set(header["antenna_diameters"][()]) == {4.65}
    assert header["polarization_array"][()].tolist() == [-5, -6]
    assert header["channel_width"][()] == 244140.625
    assert set(header["integration_time"][()]) == {HEADER_INTEGRATION_TIME_S}
    counts = {"Nants_data": 8, "Nants_telescope": 117, "Nbls": 36, "Nblts": N_ROWS}
    counts |= {"Nfreqs": 48, "Npols": 2, "Nspws": 1, "Ntimes": 24}
    assert {name: header[name][()] for name in counts} == counts
    np.testing.assert_array_equal(header["antenna_positions"][()], antenna_positions_m())


def test_the_extra_keywords_are_those_of_the_fringe_stopping(sb00: h5py.File) -> None:
    extra = sb00["Header/extra_keywords"]
    assert set(extra) == {
        "phase_center_dec",
        "ha_phase_center",
        "phase_center_epoch",
        "applied_delays_ns",
        "fs_table",
    }
    assert np.rad2deg(extra["phase_center_dec"][()]) == pytest.approx(54.573, abs=1e-12)
    assert extra["ha_phase_center"][()] == 0.0
    assert extra["phase_center_epoch"].asstr()[()] == "HADEC"
    assert len([int(delay) for delay in extra["applied_delays_ns"][()].split()]) == 234


def test_the_data_are_chunked_as_in_real_files_and_not_compressed(sb00: h5py.File) -> None:
    expected = {
        "visdata": (np.complex64, (128, 1, 12, 1)),
        "flags": (np.bool_, (256, 1, 24, 1)),
        "nsamples": (np.float32, (256, 1, 12, 1)),
    }
    assert set(sb00["Data"]) == set(expected)
    for name, (dtype, chunks) in expected.items():
        dataset = sb00["Data"][name]
        assert dataset.dtype == dtype
        assert dataset.shape == (N_ROWS, 1, 48, 2)
        assert dataset.chunks == chunks
        assert dataset.maxshape == (None, 1, 48, 2)
        assert dataset.id.get_create_plist().get_nfilters() == 0
    assert not sb00["Data/flags"][()].any()
    assert set(sb00["Data/nsamples"][()].ravel()) == {96.0}


def test_rows_are_time_major_in_the_order_of_the_correlator(sb00: h5py.File) -> None:
    header = sb00["Header"]
    ant_1, ant_2 = header["ant_1_array"][()], header["ant_2_array"][()]
    times = header["time_array"][()].reshape(24, 36)
    assert (times == times[:, :1]).all()
    assert (np.diff(times[:, 0]) > 0).all()
    antennas = np.array(select_stations(8)) - 1
    pairs = [(antennas[i], antennas[j]) for j in range(8) for i in range(j + 1)]
    assert list(zip(ant_1, ant_2, strict=True)) == pairs * 24


def test_uvw_is_one_constant_meridian_uvw(sb00: h5py.File) -> None:
    header = sb00["Header"]
    uvw = header["uvw_array"][()].reshape(24, 36, 3)
    assert (uvw == uvw[0]).all()
    positions = header["antenna_positions"][()]
    baseline = positions[header["ant_2_array"][:36]] - positions[header["ant_1_array"][:36]]
    # float32 resolves 1e-4 m at 2.6 km; lengths survive a rotation.
    np.testing.assert_allclose(
        np.linalg.norm(uvw[0], axis=1), np.linalg.norm(baseline, axis=1), atol=3e-4
    )


def test_subbands_tile_the_band_in_descending_order(small_night: SimulationResult) -> None:
    freqs, times = [], set()
    for subband, path in enumerate(small_night.files[:16]):
        assert f"_sb{subband:02d}." in path
        with h5py.File(path) as file:
            freqs.append(file["Header/freq_array"][0])
            times.add(file["Header/time_array"][0])
    assert freqs[0][0] == 1498643188.4765625
    np.testing.assert_array_equal(freqs[7], subband_channel_freqs_hz(7))
    np.testing.assert_array_equal(np.diff(np.concatenate(freqs)), -244140.625)
    assert len(times) == 1


def test_a_full_file_has_the_size_of_a_real_one(
    simulate_night: Callable[..., SimulationResult],
) -> None:
    night = simulate_night(n_antennas=96, missing=ONLY_SB00)
    path = Path(night.files[0])
    size = path.stat().st_size
    with h5py.File(path) as file:
        assert file["Data/visdata"].shape == (111_744, 1, 48, 2)
        assert file["Header/Nbls"][()] == 4656
    path.unlink()
    # Texts in the header (history, table name, delays) differ by a few kilobytes.
    assert abs(size - REAL_FILE_BYTES) < 5000


def test_sidereal_time_agrees_with_that_of_a_real_file() -> None:
    first, last = apparent_sidereal_time_rad(
        2460951.9923315 + np.array([0, 23]) * HEADER_INTEGRATION_TIME_S / 86400
    )
    # The Julian date is given to 1e-7 d: at most 4.3 ms, which turn the sky by 3.2e-7 rad.
    assert first == pytest.approx(1.24608522, abs=3.3e-7)
    assert last == pytest.approx(1.26769561, abs=3.3e-7)
    assert last - first == pytest.approx(1.26769561 - 1.24608522, abs=2e-8)
