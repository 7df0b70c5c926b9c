"""Solutions against the gains that the data were multiplied with, and what is no solution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from support.calibrator_transits import (
    CALIBRATOR_JY,
    N_ANTENNAS,
    N_TIMES,
    VISIBILITY_NOISE_JY,
    Transits,
    copy_ms,
    flag_rows,
    registry_url,
    rename_antennas,
    station_ids,
)

from dsa110_contimg.calibration.models import SolutionSet, TableKind
from dsa110_contimg.calibration.registry import Registry, SetState
from dsa110_contimg.calibration.set_files import read_set, set_dir
from dsa110_contimg.calibration.solve import SolveOptions, solve_ms
from dsa110_contimg.calibration.solve_work import SolveStrategy, SolveWork, choose_references
from dsa110_contimg.calibration.tables import Solutions, read_solutions, read_window_freqs_hz
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError, ScienceQualityError
from dsa110_contimg.flagging.versions import AS_FLAGGED, flag_version
from dsa110_contimg.storage.files import make_read_only, make_writable
from dsa110_contimg.storage.ms_change import Change, changing_ms, record_path
from dsa110_contimg.visibilities.ms_info import read_ms_info
from dsa110_contimg.visibilities.window import read_window

pytestmark = [pytest.mark.casa, pytest.mark.usefixtures("private_places")]

GAIN_NOISE = VISIBILITY_NOISE_JY / CALIBRATOR_JY / np.sqrt(N_TIMES * (N_ANTENNAS - 1))
"""Of the amplitude of a bandpass solution, relative, and of its phase in radians: each channel
of an antenna is seen by 11 baselines at 24 times, and the others' gains are known as well."""
MARGIN = 1.3
"""Antennas differ in gain, hence in noise, by 10 %; the beam leaves 0.99 of the calibrator."""


def solutions_of(found: SolutionSet, kind: TableKind) -> Solutions:
    return read_solutions(Path(found.directory) / kind, kind)


def options(transits: Transits, ms: Path, tmp_path: Path, **changes: object) -> SolveOptions:
    """Solve a changed copy of the first transit into places of its own."""
    return transits.solve_options(
        ms,
        calibrator=transits.calibrators[transits.before],
        solutions_dir=tmp_path / "calibration",
        registry_url=registry_url(tmp_path),
        **changes,
    )


def test_bandpass_and_gain_are_what_the_data_were_multiplied_with(transits):
    found = transits.sets[transits.before]
    bandpass = solutions_of(found, TableKind.BANDPASS)
    gain = solutions_of(found, TableKind.GAIN)
    freqs_hz = read_window_freqs_hz(Path(found.directory) / TableKind.BANDPASS)
    error = []
    # CASA files a row for every station.
    for row in np.flatnonzero(~bandpass.flagged.all(axis=(1, 2))):
        antenna, window = int(bandpass.antenna[row]), int(bandpass.window[row])
        solved = bandpass.values[row] * gain.values[gain.antenna == antenna].mean(axis=0)
        middle_s = found.mid_mjd * 86400.0
        true, reference = (
            transits.gain(name, freqs_hz[window], middle_s)[0]
            for name in (found.array[antenna], found.refant)
        )
        relative = solved / true * np.exp(1j * np.angle(reference))
        error.append(relative[~bandpass.flagged[row]])
    error = np.concatenate(error)
    assert len(error) > 0.99 * 16 * N_ANTENNAS * 48 * 2
    # The reference antenna's own noise is in every phase.
    assert np.std(np.abs(error)) < MARGIN * GAIN_NOISE
    assert np.sqrt(np.mean(np.angle(error) ** 2)) < MARGIN * np.sqrt(2) * GAIN_NOISE
    # The model's beam is that of the window's centre: 1e-4 of the calibrator at its edge.
    assert np.mean(np.abs(error)) == pytest.approx(1.0, abs=5e-4)


def test_gains_follow_the_drift(transits):
    found = transits.sets[transits.before]
    gain = solutions_of(found, TableKind.GAIN)
    # Solved from all windows at once: 16 x 48 channels, in a quarter of the time.
    noise = GAIN_NOISE * np.sqrt(4 / (16 * 48))
    n_tested = 0
    for antenna in np.unique(gain.antenna[~gain.flagged.all(axis=(1, 2))]):
        rows = gain.antenna == antenna
        times_s = gain.time_mjd_s[rows]
        true = transits.gain(found.array[antenna], [1.4e9], times_s)[:, 0]
        reference = transits.gain(found.refant, [1.4e9], times_s)[:, 0]
        drift = np.unwrap(np.angle(true / reference * np.abs(reference)), axis=0)
        solved = np.unwrap(np.angle(gain.values[rows, 0]), axis=0)
        apart = (solved - solved.mean(axis=0)) - (drift - drift.mean(axis=0))
        assert np.abs(apart).max() < 5 * np.sqrt(2) * noise
        n_tested += int(np.abs(np.ptp(drift, axis=0)).max() > 20 * noise)
    assert n_tested > N_ANTENNAS / 2  # else there was no drift to follow


def test_delays_and_a_reference_antenna_by_name(transits, delayed):
    delay = solutions_of(delayed, TableKind.DELAY)
    assert [one.kind for one in delayed.tables] == ["delay", "bandpass", "gain"]
    assert delayed.refant == "33"
    # Not the antenna of id 33, which is named 34.
    gain = solutions_of(delayed, TableKind.GAIN)
    assert set(gain.reference) == set(station_ids(transits.before, "33"))
    true_ns = {
        (str(gain.station), gain.polarization): -gain.delay_ns  # conjugate to UVH5
        for gain in transits.gains
    }
    rows = np.flatnonzero(~delay.flagged.all(axis=(1, 2)))
    assert len(rows) == N_ANTENNAS
    for row in rows:
        antenna = delay.antenna[row]
        for column, pol in enumerate(("XX", "YY")):
            expected = true_ns[delayed.array[antenna], pol] - true_ns["33", pol]
            # A turn in 188 MHz is 5.3 ns; over so many visibilities a phase is good to 0.01 deg,
            # but CASA's search has a grid of its own.
            assert delay.values[row, 0, column] == pytest.approx(expected, abs=0.02)


def test_names_mean_nothing_to_casa(transits, tmp_path):
    """Names that are blank, shared, wildcards or another's id: the same solutions."""
    ms = copy_ms(transits.before, tmp_path)
    expected = transits.sets[transits.before]
    ids = station_ids(ms, *expected.antennas)
    odd = ["*", "", "!3", "", "1~5", "a,b", "1&&2", "<b>", "33", "33", "$x$", "0"]
    rename_antennas(ms, dict(zip(ids, odd, strict=True)))
    [refant] = station_ids(transits.before, expected.refant)
    found = solve_ms(options(transits, ms, tmp_path))
    assert found.refant == found.array[refant]
    assert len(set(found.array)) == len(found.array)
    assert len(found.antennas) == N_ANTENNAS
    for kind in (TableKind.BANDPASS, TableKind.GAIN):
        one, other = solutions_of(expected, kind), solutions_of(found, kind)
        assert set(other.reference) == {refant}
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.flagged, other.flagged)
    with table(str(Path(found.directory) / "gain" / "ANTENNA"), ack=False) as antennas:
        assert antennas.getcol("NAME") == found.array


def test_quality_and_record(transits):
    found = transits.sets[transits.before]
    assert read_set(Path(found.directory)) == found
    assert [int(name) for name in found.antennas] == sorted(
        {gain.station for gain in transits.gains}
    )
    assert len(found.antennas) == N_ANTENNAS
    for one in found.tables:
        assert one.quality.unflagged_fraction > 0.99
        assert (Path(found.directory) / one.plot).stat().st_size > 10_000
    bandpass, gain = (one.quality for one in found.tables)
    # The scatter about a smooth course is the noise, in log amplitude and in phase.
    assert bandpass.amplitude_scatter == pytest.approx(GAIN_NOISE, rel=0.3)
    assert np.deg2rad(bandpass.phase_scatter_deg) == pytest.approx(np.sqrt(2) * GAIN_NOISE, rel=0.3)
    assert 0.01 < gain.phase_drift_deg < 1.0
    registered = Registry(registry_url(transits.root / "work")).get(found.set_id)
    assert (registered.state, registered.solution_set) == (SetState.GOOD, found)


def test_solving_twice_is_no_work(transits):
    solved = transits.sets[transits.before]
    stamp = (Path(solved.directory) / "set.json").stat().st_mtime_ns
    assert solve_ms(transits.solve_options(transits.before)) == solved
    assert (Path(solved.directory) / "set.json").stat().st_mtime_ns == stamp


def test_the_flags_are_those_as_flagged(transits, tmp_path):
    # Applying solutions flags more: a transit must not lose what an earlier set lacked.
    ms = copy_ms(transits.before, tmp_path)
    make_writable(ms)
    with table(str(ms), readonly=False, ack=False) as opened:
        opened.putcol("FLAG", np.ones_like(opened.getcol("FLAG")))
    info = read_ms_info(ms)
    with pytest.raises(ScienceQualityError, match="no visibility is left"):
        read_window(ms, info, info.spws[3])
    window = read_window(ms, info, info.spws[3], flag_version(ms, AS_FLAGGED))
    original = read_window(transits.before, info, info.spws[3])
    assert np.array_equal(window.weight, original.weight)
    assert np.array_equal(window.data, original.data)


def test_an_ms_whose_calibration_was_killed_can_be_solved(transits, tmp_path):
    solved = transits.sets[transits.before]
    ms = copy_ms(transits.before, tmp_path)
    with pytest.raises(KeyboardInterrupt), changing_ms(ms, Change.CALIBRATION):
        raise KeyboardInterrupt
    found = solve_ms(transits.solve_options(ms, calibrator=transits.calibrators[transits.before]))
    assert found == solved
    with pytest.raises(KeyboardInterrupt), changing_ms(ms, Change.FLAGGING):
        raise KeyboardInterrupt
    with pytest.raises(InputError, match="has not been flagged"):
        solve_ms(transits.solve_options(ms, calibrator=transits.calibrators[transits.before]))


@pytest.fixture
def references(transits):
    """Rank references of the first transit for the data that each antenna has."""

    def choose(share: dict[str, float], refant: str | None = None) -> list[str]:
        names = transits.sets[transits.before].array
        work = SolveWork(
            ms_path=transits.before,
            info=read_ms_info(transits.before),
            calibrator=transits.calibrators[transits.before],
            others=[],
            strategy=SolveStrategy(refant=refant),
            scratch_dir=transits.root,
            tables_dir=transits.root,
        )
        ids = choose_references(work, np.array([share.get(name, 0.0) for name in names]))
        return [names[antenna] for antenna in ids]

    return choose


def test_reference_antennas_are_ranked(transits, references):
    whole = dict.fromkeys(transits.sets[transits.before].antennas, 1000.0)
    first, second, third, *_ = references(whole)
    assert first == transits.sets[transits.before].refant
    assert references(whole | {first: 0.0})[0] == second  # dead
    assert references(whole | {first: 800.0, second: 899.0})[0] == third  # too little data
    assert references(whole | {first: 901.0})[0] == first
    assert references(whole, refant="33")[:2] == ["33", first]


def test_an_unknown_reference_antenna(transits, tmp_path):
    strategy = SolveStrategy(refant="2")  # a station without data in this array
    with pytest.raises(InputError, match="no data of an antenna 2 ") as caught:
        solve_ms(options(transits, transits.before, tmp_path, strategy=strategy))
    assert caught.value.reason == "unknown_refant"


def test_flagged_antenna_and_window(transits, gappy):
    found, _ = gappy
    lost = transits.sets[transits.before].refant
    assert lost not in found.antennas
    assert len(found.antennas) == N_ANTENNAS - 1
    assert found.refant != lost  # although it was asked for
    window, place = found.notes[:2]
    assert window.startswith("spectral window 5 has no solutions: no visibility is left")
    assert place == f"reference antenna {found.refant} took the place of {lost}"
    bandpass = solutions_of(found, TableKind.BANDPASS)
    assert set(bandpass.reference) == set(station_ids(transits.before, found.refant))
    assert 5 not in bandpass.window[~bandpass.flagged.all(axis=(1, 2))]


def test_half_flagged_is_refused(transits, tmp_path):
    ms = copy_ms(transits.before, tmp_path)
    lost = station_ids(ms, *transits.sets[transits.before].antennas[:3])

    def flags(antenna1, antenna2, _):
        """Three antennas; of the others, half of the band or the other half."""
        gone = np.isin(antenna1, lost) | np.isin(antenna2, lost)
        odd = (antenna1 % 2 == 1) & (antenna2 % 2 == 1)
        upper = np.arange(48) >= 24
        return (gone[:, None] | np.where(odd[:, None], ~upper, upper))[:, :, None]

    flag_rows(ms, flags)
    with pytest.raises(ScienceQualityError, match="missing or flagged") as caught:
        solve_ms(options(transits, ms, tmp_path))
    assert "only 9 of 12 antennas have solutions" in str(caught.value)
    check_refusal(transits, tmp_path, caught.value)


def test_noise_alone_is_refused(transits, tmp_path):
    ms = copy_ms(transits.before, tmp_path)
    make_writable(ms)
    with table(str(ms), readonly=False, ack=False) as opened:
        shape = opened.getcol("DATA").shape
        noise = np.random.default_rng(3).normal(size=(*shape, 2)) @ [1.0, 1.0j]
        opened.putcol("DATA", (VISIBILITY_NOISE_JY * noise).astype(np.complex64))
    make_read_only(ms)
    with pytest.raises(ScienceQualityError, match="has a median SNR of only") as caught:
        solve_ms(options(transits, ms, tmp_path))
    check_refusal(transits, tmp_path, caught.value)


@pytest.mark.slow
def test_another_source_than_the_calibrator_is_refused(transits, tmp_path):
    # A single source in the field gives smooth solutions wherever it is.
    info = read_ms_info(transits.field)
    wrong = Source(
        name="wrong", ra_deg=info.center_ra_deg, dec_deg=info.center_dec_deg, flux_jy=8.8
    )
    with pytest.raises(ScienceQualityError, match=r"the gain run by \d+ deg") as caught:
        solve_ms(
            options(transits, transits.field, tmp_path).model_copy(update={"calibrator": wrong})
        )
    assert caught.value.reason == "poor_solutions"


def check_refusal(transits: Transits, tmp_path: Path, error: ScienceQualityError) -> None:
    """Look a refusal up: what was said, kept, and registered."""
    set_id = transits.sets[transits.before].set_id
    kept = set_dir(tmp_path / "calibration", set_id, is_refused=True)
    assert error.reason == "poor_solutions"
    assert str(kept) in str(error)
    assert read_set(kept).directory == str(kept)
    assert not set_dir(tmp_path / "calibration", set_id).exists()
    record = Registry(registry_url(tmp_path)).get(set_id)
    assert record.state is SetState.REFUSED
    assert record.reason in str(error)


def test_nothing_to_solve(transits, tmp_path):
    ms = copy_ms(transits.before, tmp_path)
    flag_rows(ms, lambda *_: True)
    with pytest.raises(ScienceQualityError, match="no visibility is left") as caught:
        solve_ms(options(transits, ms, tmp_path))
    assert caught.value.reason == "nothing_to_solve"
    record = Registry(registry_url(tmp_path)).get(transits.sets[transits.before].set_id)
    assert (record.state, record.solution_set) == (SetState.REFUSED, None)


def test_what_cannot_be_begun(transits, tmp_path):
    far = Source(name="far", ra_deg=10.0, dec_deg=-20.0, flux_jy=8.8)
    with pytest.raises(InputError, match="below the horizon"):
        solve_ms(transits.solve_options(transits.before, calibrator=far))
    ms = copy_ms(transits.before, tmp_path)
    record_path(ms, Change.FLAGGING).unlink()
    with pytest.raises(InputError, match="has not been flagged") as caught:
        solve_ms(options(transits, ms, tmp_path))
    assert caught.value.reason == "not_flagged"
