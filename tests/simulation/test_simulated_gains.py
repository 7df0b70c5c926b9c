"""Gain errors of simulated data: bandpass and drift."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.table import Table

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import ACTIVE_STATIONS, subband_channel_freqs_hz
from dsa110_contimg.simulation.gains import draw_gains
from dsa110_contimg.simulation.night import SimulationResult
from dsa110_contimg.simulation.truth import read_gains

pytestmark = pytest.mark.unit

SimulateNight = Callable[..., SimulationResult]
ONLY_SB02 = tuple(f"sb{subband:02d}" for subband in range(16) if subband != 2)
FREQ_HZ = subband_channel_freqs_hz(2)
ON_MERIDIAN = Source(name="s", ra_deg=128.08, dec_deg=54.665, flux_jy=3.0)
START_JD = 2461065.8377199
"""Of the default night: 2026-01-25T08:06:19."""

FLOAT32 = 3e-6
"""A visibility went through some ten operations in single precision, each good to 6e-8."""


def read(night: SimulationResult) -> np.ndarray:
    """Visibilities of the first file, (ntimes, nbls, nchan, npol)."""
    with h5py.File(night.files[0]) as file:
        return file["Data/visdata"][:, 0].reshape(24, -1, 48, 2).astype(np.complex128)


def evaluate(path: str | None, times_jd: np.ndarray) -> np.ndarray:
    """Gains from the columns of the truth, (nants, npol, ntimes, nchan): GAIN_FORMULA by hand."""
    table = Table.read(str(path))
    assert "t0 = JD 2461000.5" in table.meta["formula"]
    assert "(t - t0) / 7 h" in table.meta["formula"]
    c = {name: np.asarray(table[name])[:, None, None] for name in table.colnames}
    f, t = FREQ_HZ[None, None, :], times_jd[None, :, None]
    x = (f - 1.4e9) / 93.75e6
    w = 2 * np.pi * (t - 2461000.5) * 24 / 7
    amplitude = c["amplitude"] * (1 + c["slope"] * x + c["curvature"] * x**2)
    amplitude = amplitude * (1 + c["amplitude_drift"] * np.sin(w + c["amplitude_drift_phase_rad"]))
    phase = c["phase_rad"] + 2 * np.pi * c["delay_ns"] * 1e-9 * (f - 1.4e9)
    phase = phase + c["phase_drift_rad"] * np.sin(w + c["phase_drift_phase_rad"])
    return (amplitude * np.exp(1j * phase)).reshape(-1, 2, len(times_jd), 48)


def on_baselines(gains: np.ndarray) -> np.ndarray:
    """g_i conj(g_j) of every baseline, shaped as the data."""
    second, first = np.tril_indices(len(gains))
    return (gains[first] * gains[second].conj()).transpose(2, 0, 3, 1)


def times_of(night: SimulationResult) -> np.ndarray:
    with h5py.File(night.files[0]) as file:
        return np.unique(file["Header/time_array"][()])


def test_data_are_multiplied_with_the_gains_of_the_truth(simulate_night: SimulateNight) -> None:
    options = {"sources": (ON_MERIDIAN,), "sefd_jy": 0.0, "missing": ONLY_SB02, "seed": 5}
    clean = simulate_night(**options)
    spoilt = simulate_night(**options, gain_errors=True)
    assert clean.gains_path is None
    gains = evaluate(spoilt.gains_path, times_of(spoilt))
    ratio = read(spoilt) / read(clean)
    np.testing.assert_allclose(ratio, on_baselines(gains), rtol=FLOAT32, atol=0)


def test_the_model_of_a_gain_follows_the_same_formula(simulate_night: SimulateNight) -> None:
    night = simulate_night(gain_errors=True, sources=(), missing=ONLY_SB02)
    times_jd = START_JD + np.array([0.0, 0.1, 0.5, 3.0])
    gains = read_gains(Path(str(night.gains_path)))
    by_model = np.array([gain.at(FREQ_HZ, times_jd) for gain in gains]).reshape(-1, 2, 4, 48)
    # A Julian date resolves 40 us of the 7 h period: 1e-8 of a turn.
    np.testing.assert_allclose(by_model, evaluate(night.gains_path, times_jd), rtol=1e-7)


def test_another_night_of_the_same_seed_differs_by_the_drift_alone(
    simulate_night: SimulateNight,
) -> None:
    """Without a sky, two nights of one seed are the same noise through other gains."""
    nights = [
        simulate_night(start=start, gain_errors=True, sources=(), missing=ONLY_SB02)
        for start in ("2026-01-25T08:06:19", "2026-01-26T08:02:23")
    ]
    gains = [read_gains(Path(str(night.gains_path))) for night in nights]
    assert gains[0] == gains[1]
    drifts = [
        np.array([gain.drift(times_of(night)) for gain in gains[0]]).reshape(-1, 2, 24, 1)
        for night in nights
    ]
    second, first = (read(night) for night in reversed(nights))
    np.testing.assert_allclose(
        second / first, on_baselines(drifts[1] / drifts[0]) * np.ones((48, 1)), rtol=FLOAT32
    )
    # A sidereal day later the drift is 0.42 of its period on: 10 deg and more on most baselines.
    assert np.median(np.abs(np.angle(second / first))) > np.deg2rad(5)


def test_the_drift_is_slow_and_of_the_size_that_is_promised() -> None:
    gains = draw_gains(ACTIVE_STATIONS, 1)
    minutes = np.arange(0, 7 * 60, 5) / 1440
    drift = np.array([gain.drift(START_JD + minutes) for gain in gains])
    within_a_group = np.abs(drift[:, 1:] / drift[:, :-1] - 1)
    # 2 pi 5 min / 7 h = 0.075 of the semi-amplitude of 10 deg, and that at 4 sigma.
    assert np.median(within_a_group) < 0.075 * np.deg2rad(10)
    assert within_a_group.max() < 0.075 * np.deg2rad(40)
    # Semi-amplitudes are normal: rms over a full period is sigma / sqrt(2), good to 5 % for 192.
    assert np.angle(drift).std() == pytest.approx(np.deg2rad(10) / np.sqrt(2), rel=0.2)
    assert np.abs(drift).std() == pytest.approx(0.02 / np.sqrt(2), rel=0.2)


def test_what_does_not_drift_scatters_as_promised() -> None:
    gains = draw_gains(ACTIVE_STATIONS, 1)
    # 192 draws give a standard deviation to 5 %: four of them.
    for values, sigma in (
        ([np.log(gain.amplitude) for gain in gains], 0.1),
        ([gain.delay_ns for gain in gains], 1.0),
        ([gain.slope for gain in gains], 0.05),
        ([gain.phase_rad for gain in gains], np.pi / np.sqrt(3)),
    ):
        assert np.std(values) == pytest.approx(sigma, rel=0.2)


def test_a_station_keeps_its_gains_in_another_array(simulate_night: SimulateNight) -> None:
    small, large = (
        read_gains(Path(str(night.gains_path)))
        for night in (
            simulate_night(n_antennas=n, gain_errors=True, missing=ONLY_SB02, sources=())
            for n in (6, 12)
        )
    )
    shared = [gain for gain in large if gain.station in {g.station for g in small}]
    assert shared
    assert all(gain in small for gain in shared)


def test_a_night_begun_before_there_was_drift_is_completed_without_it(
    simulate_night: SimulateNight, tmp_path: Path
) -> None:
    options = {"output_dir": tmp_path / "night", "sources": (), "missing": ONLY_SB02}
    night = simulate_night(**options, gain_errors=True)
    table = Table.read(str(night.gains_path))
    table.remove_columns([name for name in table.colnames if "drift" in name])
    table.write(str(night.gains_path), overwrite=True)
    Path(night.files[0]).unlink()
    again = simulate_night(**options, gain_errors=True)
    assert again.written == 1
    gains = read_gains(Path(str(again.gains_path)))
    fixed = np.array([gain.bandpass(FREQ_HZ) for gain in gains]).reshape(-1, 2, 1, 48)
    clean = simulate_night(**{**options, "output_dir": tmp_path / "clean"})
    np.testing.assert_allclose(
        read(again) / read(clean), on_baselines(fixed) * np.ones((24, 1, 1, 1)), rtol=FLOAT32
    )


def test_a_garbled_table_of_gains_is_refused(simulate_night: SimulateNight, tmp_path: Path) -> None:
    options = {"output_dir": tmp_path / "night", "missing": ONLY_SB02, "gain_errors": True}
    Path(str(simulate_night(**options).gains_path)).write_text("# %ECSV 1.0\n# ---\n# {garbled\n")
    with pytest.raises(InputError, match=r"truth_gains\.ecsv") as caught:
        simulate_night(**options)
    assert caught.value.reason == "unreadable_truth"
