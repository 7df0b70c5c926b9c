"""Interference and dead antennas of simulated data."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.table import QTable, Table

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import ACTIVE_STATIONS, SEFD_JY, subband_channel_freqs_hz
from dsa110_contimg.simulation.array import select_stations
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult, simulate
from dsa110_contimg.simulation.rfi import (
    RfiKind,
    RfiTruth,
    draw_dead_stations,
    draw_events,
    rfi_phasors,
)
from dsa110_contimg.simulation.schedule import plan_groups
from dsa110_contimg.simulation.truth import read_gains, read_rfi

pytestmark = pytest.mark.unit

SimulateNight = Callable[..., SimulationResult]
SKY = (Source(name="s", ra_deg=128.08, dec_deg=54.665, flux_jy=3.0),)
ONLY_SB02 = tuple(f"sb{subband:02d}" for subband in range(16) if subband != 2)
FIVE_SUBBANDS = tuple(f"sb{subband:02d}" for subband in range(5, 16))
BAND_HZ = np.concatenate([subband_channel_freqs_hz(subband) for subband in range(16)])
FIRST, SECOND = np.tril_indices(5)[::-1]


def read(night: SimulationResult, group: int = 0) -> np.ndarray:
    """Visibilities of all subbands of a group, (ntimes, nbls, nchan, npol)."""
    names = night.groups[group].file_names.values()
    parts = []
    for name in names:
        with h5py.File(Path(night.output_dir, name)) as file:
            parts.append(file["Data/visdata"][:, 0].reshape(24, -1, 48, 2))
    return np.concatenate(parts, axis=2)


@pytest.fixture(scope="module")
def clean_and_spoilt(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[SimulationResult, SimulationResult]:
    """The same noise-free night of two groups without and with interference."""
    place = tmp_path_factory.mktemp("rfi")
    options = {"n_groups": 2, "n_antennas": 5, "sources": SKY, "sefd_jy": 0.0}
    clean, spoilt = (
        simulate(
            SimulationOptions.model_validate(
                {**options, "output_dir": place / str(rfi), "rfi": rfi, "dead_antennas": 0}
            )
        )
        for rfi in (False, True)
    )
    return clean, spoilt


@pytest.mark.parametrize("group", [0, 1])
def test_interference_is_in_the_cells_of_the_truth_and_nowhere_else(
    clean_and_spoilt: tuple[SimulationResult, SimulationResult], group: int
) -> None:
    clean, spoilt = clean_and_spoilt
    truth = read_rfi(Path(str(spoilt.rfi_path)))
    mask = truth.mask(group, BAND_HZ, spoilt.groups[group].times_jd())
    assert mask.shape == (24, 768)
    assert 0.01 < mask.mean() < 0.2
    touched = read(clean, group) != read(spoilt, group)
    expected = np.broadcast_to(mask[:, None, :, None], touched.shape)
    np.testing.assert_array_equal(touched, expected)


@pytest.mark.parametrize("group", [0, 1])
def test_an_emitter_stands_still_and_is_one_signal_to_all_antennas(
    clean_and_spoilt: tuple[SimulationResult, SimulationResult], group: int
) -> None:
    """Where it is not outshone: constant in time, of rank one in the antennas, unpolarized."""
    clean, spoilt = clean_and_spoilt
    added = read(spoilt, group).astype(np.complex128) - read(clean, group)
    np.testing.assert_array_equal(added[..., 0], added[..., 1])
    truth = read_rfi(Path(str(spoilt.rfi_path)))
    times_jd = spoilt.groups[group].times_jd()
    flux_jy = truth.flux_jy(group, BAND_HZ, times_jd)
    logs = []
    events = [event for event in truth.events if event.group == group]
    for emitter in range(events[-1].emitter + 1):
        alone = [event for event in events if event.emitter == emitter]
        cells = RfiTruth(events=alone, dead_stations=[]).mask(group, BAND_HZ, times_jd)
        cells &= flux_jy == alone[0].flux_jy
        values = added[..., 0].transpose(1, 0, 2)[:, cells]
        mean = values.mean(axis=1)
        # The sum with 3 Jy of sky was rounded to single precision.
        atol = 1e-6 * (np.abs(mean).max() + 3.0)
        np.testing.assert_allclose(values, mean[:, None] * np.ones(cells.sum()), rtol=0, atol=atol)
        matrix = np.zeros((5, 5), dtype=complex)
        matrix[FIRST, SECOND] = mean
        matrix[SECOND, FIRST] = mean.conj()
        strength = np.linalg.eigvalsh(matrix)[::-1]
        assert np.abs(strength[1:]).max() < 1e-5 * strength[0]
        logs.append(np.log(np.abs(mean[FIRST != SECOND]) / alone[0].flux_jy).mean())
    # An antenna's amplitude scatters by 0.3, a mean over baselines by 2 x 0.3 / sqrt(5).
    assert abs(np.mean(logs)) < 4 * 0.27 / np.sqrt(len(logs))
    assert np.std(logs) > 0.05


def test_interference_passes_through_the_gains(simulate_night: SimulateNight) -> None:
    options = {"sources": SKY, "sefd_jy": 0.0, "missing": FIVE_SUBBANDS, "rfi": True}
    spoilt = simulate_night(**options)
    both = simulate_night(**options, gain_errors=True)
    times_jd, freq_hz = spoilt.groups[0].times_jd(), BAND_HZ[: 5 * 48]
    gains = np.array(
        [gain.at(freq_hz, times_jd) for gain in read_gains(Path(str(both.gains_path)))]
    ).reshape(-1, 2, 24, 240)
    second, first = np.tril_indices(6)
    factor = (gains[first] * gains[second].conj()).transpose(2, 0, 3, 1)
    assert read_rfi(Path(str(spoilt.rfi_path))).mask(0, freq_hz, times_jd).any()
    # Single precision, as in the test of the gains; dead antennas are 0 in both.
    np.testing.assert_allclose(read(both), read(spoilt) * factor, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("gain_errors", [False, True])
def test_a_dead_antenna_has_a_hundredth_of_the_power_and_no_fringes(
    simulate_night: SimulateNight, gain_errors: bool
) -> None:
    options = {"missing": ONLY_SB02, "rfi": True, "dead_antennas": 2, "gain_errors": gain_errors}
    night = simulate_night(**options, sefd_jy=SEFD_JY)
    silent = simulate_night(**options, sefd_jy=0.0, sources=SKY)
    dead = read_rfi(Path(str(night.rfi_path))).dead_stations
    stations = select_stations(6)
    assert len(dead) == 2
    assert set(dead) <= set(stations)
    is_dead = np.isin(stations, dead)
    second, first = np.tril_indices(6)
    of_dead = is_dead[first] | is_dead[second]
    assert not read(silent)[:, of_dead].any()
    assert (read(silent)[:, ~of_dead] != 0).all()
    gain = np.ones(6)
    if gain_errors:
        gains = read_gains(Path(str(night.gains_path)))
        gain = np.array([g.amplitude for g in gains]).reshape(6, 2).mean(axis=1)
        gain[is_dead] /= 0.1
    power = read(night)[:, first == second].real.mean(axis=(0, 2, 3))
    # 2304 samples of 0.06 % scatter; the bandpass bends by 5 %, the drift is 2 %, XX is not YY.
    tolerance = 0.3 if gain_errors else 0.02
    np.testing.assert_allclose(
        power, SEFD_JY * gain**2 * np.where(is_dead, 0.01, 1), rtol=tolerance
    )
    if not gain_errors:
        cross = read(night)[:, of_dead & (first != second) & ~(is_dead[first] & is_dead[second])]
        # Noise of 2.59 Jy on either part, through one amplitude of a tenth.
        assert cross.real.std() == pytest.approx(0.259, rel=0.02)
        assert abs(cross.mean()) < 5 * 0.259 * np.sqrt(2 / cross.size)


def test_dead_antennas_alone_have_a_truth_without_events(simulate_night: SimulateNight) -> None:
    night = simulate_night(dead_antennas=1, missing=ONLY_SB02)
    truth = read_rfi(Path(str(night.rfi_path)))
    assert truth.events == []
    assert len(truth.dead_stations) == 1
    assert not truth.mask(0, BAND_HZ, night.groups[0].times_jd()).any()
    assert simulate_night(missing=ONLY_SB02).rfi_path is None


def test_the_truth_survives_its_file(simulate_night: SimulateNight) -> None:
    night = simulate_night(n_groups=2, rfi=True, missing=ONLY_SB02, seed=3)
    truth = read_rfi(Path(str(night.rfi_path)))
    assert truth.events == [event for group in night.groups for event in draw_events(group, 3)]
    assert truth.dead_stations == list(draw_dead_stations(select_stations(6), 1, 3))


def test_a_garbled_truth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "truth_rfi.ecsv").write_text("group,kind\n")
    with pytest.raises(InputError, match=r"truth_rfi\.ecsv") as caught:
        read_rfi(tmp_path / "truth_rfi.ecsv")
    assert caught.value.reason == "unreadable_truth"


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("last_freq_hz", math.nan, "row 1, column last_freq_hz: should be"),
        ("flux_jy", -1.0, "row 1, column flux_jy: should be"),
        ("first_time_jd", 0.0, "row 1, column first_time_jd: should be"),
    ],
)
def test_a_truth_that_cannot_be_is_refused(
    simulate_night: SimulateNight, tmp_path: Path, column: str, value: float, words: str
) -> None:
    night = simulate_night(rfi=True, missing=ONLY_SB02, seed=3)
    table = Table.read(night.rfi_path)
    table[column][0] = value
    table.write(tmp_path / "truth_rfi.ecsv")
    with pytest.raises(InputError, match=words):
        read_rfi(tmp_path / "truth_rfi.ecsv")


def test_the_units_of_a_truth_are_its_columns(
    simulate_night: SimulateNight, tmp_path: Path
) -> None:
    night = simulate_night(rfi=True, missing=ONLY_SB02, seed=3)
    table = QTable.read(night.rfi_path)
    table["flux_jy"] = table["flux_jy"].to("mJy")
    table["first_freq_hz"] = table["first_freq_hz"].to("MHz")
    table.write(tmp_path / "truth_rfi.ecsv")
    there, here = read_rfi(Path(str(night.rfi_path))), read_rfi(tmp_path / "truth_rfi.ecsv")
    for one, other in zip(there.events, here.events, strict=True):
        assert other.flux_jy == pytest.approx(one.flux_jy, rel=1e-12)
        assert other.first_freq_hz == pytest.approx(one.first_freq_hz, rel=1e-12)


def test_the_mask_does_not_care_for_the_order_of_channels_or_rounded_times() -> None:
    group = plan_groups(datetime(2026, 1, 25, tzinfo=UTC), 1, jitter=False, missing=(), seed=0)[0]
    truth = RfiTruth(events=draw_events(group, 1), dead_stations=[])
    times_jd = group.times_jd()
    mask = truth.mask(0, BAND_HZ, times_jd)
    np.testing.assert_array_equal(truth.mask(0, BAND_HZ[::-1], times_jd)[:, ::-1], mask)
    # As an MS has them: MJD in seconds, and back; and channels off by a rounded width.
    back_jd = (np.round((times_jd - 2400000.5) * 86400, 3)) / 86400 + 2400000.5
    np.testing.assert_array_equal(truth.mask(0, BAND_HZ + 1e3, back_jd), mask)
    assert not truth.mask(1, BAND_HZ, times_jd).any()
    assert not truth.mask(0, BAND_HZ, times_jd + 1).any()


def test_interference_is_as_frequent_and_as_strong_as_promised() -> None:
    groups = plan_groups(datetime(2026, 1, 25, tzinfo=UTC), 200, jitter=False, missing=(), seed=0)
    shares, persistent = [], 0
    for group in groups:
        events = draw_events(group, 0)
        times_jd = group.times_jd()
        carriers = [event for event in events if event.kind is RfiKind.CARRIER]
        bursts = [event for event in events if event.kind is RfiKind.BURST]
        assert len(bursts) == 2
        carrier_cells = RfiTruth(events=carriers, dead_stations=[]).mask(
            group.index, BAND_HZ, times_jd
        )
        shares.append(carrier_cells.any(axis=0).mean())
        persistent += sum(e.last_time_jd - e.first_time_jd > 300 / 86400 * 0.98 for e in carriers)
        assert all(30 <= event.flux_jy <= 300 for event in carriers)
        assert all(e.last_freq_hz - e.first_freq_hz < 2.1 * 244140.625 for e in carriers)
        assert all(20 <= event.flux_jy <= 200 for event in bursts)
        for burst in bursts:
            cells = RfiTruth(events=[burst], dead_stations=[]).mask(group.index, BAND_HZ, times_jd)
            by_subband = cells.any(axis=0).reshape(16, 48)
            np.testing.assert_array_equal(by_subband.any(axis=1), by_subband.all(axis=1))
            assert 1 <= cells.any(axis=1).sum() <= 3
    # Carriers that fall upon each other take a little off the 2 to 4 %.
    assert 0.015 < min(shares) < 0.025
    assert 0.035 < max(shares) <= 30 / 768
    assert 3 < persistent / len(groups) < 9


def test_interference_does_not_depend_on_the_size_of_the_array() -> None:
    group = plan_groups(datetime(2026, 1, 25, tzinfo=UTC), 1, jitter=False, missing=(), seed=0)[0]
    events = draw_events(group, 2)
    small, large = select_stations(6), select_stations(40)
    shared = sorted(set(small) & set(large))
    assert shared
    values = [
        rfi_phasors(events, stations, BAND_HZ, group.times_jd(), 2)[:, np.isin(stations, shared)]
        for stations in (small, large)
    ]
    np.testing.assert_array_equal(*values)


def test_any_antenna_may_be_dead() -> None:
    drawn = {draw_dead_stations(ACTIVE_STATIONS, 1, seed) for seed in range(200)}
    assert len(drawn) > 60
    assert draw_dead_stations(ACTIVE_STATIONS, 3, 0) == tuple(
        sorted(set(draw_dead_stations(ACTIVE_STATIONS, 3, 0)))
    )
    assert set(draw_dead_stations(ACTIVE_STATIONS, 2, 0)) < set(
        draw_dead_stations(ACTIVE_STATIONS, 3, 0)
    )
