"""Solutions applied to a field: the right ones, in the right way, or none."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from support.calibrator_transits import (
    Transits,
    copy_ms,
    places,
    read_column,
    registry_url,
    station_ids,
)
from support.faults import find_child, killed_after

from dsa110_contimg.calibration.apply import apply_calibration
from dsa110_contimg.calibration.models import (
    CALIBRATOR_ALONE,
    CalibrationRecord,
    SolutionSet,
    TableKind,
    ValidityRules,
)
from dsa110_contimg.calibration.registry import Registry
from dsa110_contimg.calibration.snapshot import read_snapshot
from dsa110_contimg.calibration.solve import solve_ms
from dsa110_contimg.calibration.solve_work import SolveStrategy
from dsa110_contimg.calibration.tables import read_solutions
from dsa110_contimg.errors import InputError, ScienceQualityError, TransientError
from dsa110_contimg.flagging.versions import AS_FLAGGED, flag_version
from dsa110_contimg.storage.files import make_writable
from dsa110_contimg.storage.ms_change import Change, record_path, require_whole
from dsa110_contimg.visibilities.ms_info import describe_ms, list_spws

pytestmark = [pytest.mark.casa, pytest.mark.usefixtures("private_places")]

NEAREST = ValidityRules(interpolate=False)


@pytest.fixture(scope="module")
def calibrated(
    transits: Transits, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, CalibrationRecord]:
    """The field, calibrated by interpolation; not to be modified."""
    ms = copy_ms(transits.field, tmp_path_factory.mktemp("calibrated"))
    return ms, apply_calibration(transits.apply_options(ms))


@pytest.fixture
def own_registry(tmp_path: Path) -> Registry:
    """A registry that other tests do not see."""
    return Registry(registry_url(tmp_path / "work"))


def in_own_registry(transits: Transits, ms: Path, tmp_path: Path, **changes: object):
    """Make options that apply what `own_registry` holds."""
    return transits.apply_options(ms, **places(tmp_path), **changes)


def gain_error(transits: Transits, ms: Path) -> np.ndarray:
    """Gain products that were applied, over the true ones; unflagged visibilities as a row."""
    window = read_column(ms, "DATA_DESC_ID")
    freqs_hz = read_column(ms / "SPECTRAL_WINDOW", "CHAN_FREQ")
    names = read_column(ms / "ANTENNA", "NAME")
    antenna1, antenna2 = read_column(ms, "ANTENNA1"), read_column(ms, "ANTENNA2")
    applied = read_column(ms, "DATA") / read_column(ms, "CORRECTED_DATA")
    good = ~read_column(ms, "FLAG")
    middle_s = np.mean(read_column(ms, "TIME"))
    errors = []
    for spw in range(window.max() + 1):
        true = {name: transits.gain(name, freqs_hz[spw], middle_s)[0] for name in antennas(ms)}
        for row in np.flatnonzero((window == spw) & (antenna1 != antenna2))[::37]:
            product = true[names[antenna1[row]]] * true[names[antenna2[row]]].conj()
            errors.append((applied[row] / product)[good[row]])
    return np.concatenate(errors)


def antennas(ms: Path) -> list[str]:
    """Names of the antennas with data."""
    names = read_column(ms / "ANTENNA", "NAME")
    return [names[number] for number in np.unique(read_column(ms, "ANTENNA1"))]


def test_interpolated_gains_are_the_true_ones(transits, calibrated):
    ms, record = calibrated
    before, after = (transits.sets[one].set_id for one in (transits.before, transits.after))
    assert record.sentence == (
        f"borrowed, interpolated between {before} (0.5 h earlier) and {after} (0.5 h later)"
    )
    assert record.borrowed
    assert [one.set_id for one in record.applied] == [before, after]
    # Their flux scale is that of a model without the field's other sources.
    assert record.notes == [
        f"{set_id}: {note}"
        for set_id, one in ((before, transits.before), (after, transits.after))
        for note in transits.sets[one].notes
    ]
    assert all(CALIBRATOR_ALONE in note for note in record.notes)
    assert record.worst_error < 1e-5
    # The field lacks subbands, so that its ids stand for other windows than those of the tables.
    assert len(list_spws(ms)) == 14
    error = gain_error(transits, ms)
    # The drift of 7 h through half an hour each way: linear interpolation is off by
    # 1 - cos(0.45) = 10 % of it, i.e. of 10 deg and 2 %, with the square root of 2 for a baseline.
    assert np.sqrt(np.mean(np.angle(error) ** 2)) < np.deg2rad(0.1 * 10 * np.sqrt(2))
    assert np.std(np.abs(error)) < 0.01
    assert np.mean(np.abs(error)) == pytest.approx(1.0, abs=0.005)


def test_solutions_of_ascending_channels_fit_an_ms_whose_channels_descend(transits, tmp_path):
    """As pyuvdata writes the files of this telescope."""
    ms = copy_ms(transits.field, tmp_path)
    version = flag_version(ms, AS_FLAGGED)
    for path in (ms, version):
        make_writable(path)
    with table(str(ms / "SPECTRAL_WINDOW"), readonly=False, ack=False) as windows:
        windows.putcol("CHAN_FREQ", windows.getcol("CHAN_FREQ")[:, ::-1])
        windows.putcol("CHAN_WIDTH", -windows.getcol("CHAN_WIDTH"))
    for path, column in ((ms, "DATA"), (ms, "FLAG"), (version, "FLAG")):
        with table(str(path), readonly=False, ack=False) as opened:
            opened.putcol(column, opened.getcol(column)[:, ::-1])
    apply_calibration(transits.apply_options(ms))
    assert np.sqrt(np.mean(np.abs(gain_error(transits, ms) - 1.0) ** 2)) < 0.02


def test_one_set_alone_is_worse_and_the_next_begins_from_the_flags_as_flagged(
    transits, calibrated, gappy, own_registry, tmp_path
):
    interpolated, record = calibrated
    ms = copy_ms(transits.field, tmp_path)
    gaps, _ = gappy
    own_registry.add(gaps)
    borrowed = apply_calibration(in_own_registry(transits, ms, tmp_path))
    assert borrowed.sentence == f"borrowed from {gaps.set_id} (0.5 h earlier)"
    # A twelfth of the antennas is in 22 of 132 baselines; and a window of 14.
    assert borrowed.flagged_after == pytest.approx(1 - 10 / 12 * 13 / 14, abs=0.01)
    assert np.mean(borrowed.flagged_by_window) == pytest.approx(borrowed.flagged_after)
    assert sorted(borrowed.flagged_by_window)[-2:] == pytest.approx([2 / 12, 1.0], abs=0.01)
    [lost] = station_ids(ms, transits.sets[transits.before].refant)
    flags = read_column(ms, "FLAG")
    assert flags[read_column(ms, "ANTENNA1") == lost].all()
    alone = gain_error(transits, ms)
    assert np.std(np.angle(alone)) > 3 * np.std(np.angle(gain_error(transits, interpolated)))
    again = apply_calibration(transits.apply_options(ms))
    assert (again.skipped, again.applied) == (False, record.applied)
    assert again.flagged_before == record.flagged_before
    for column in ("CORRECTED_DATA", "FLAG"):
        assert read_column(ms, column).tobytes() == read_column(interpolated, column).tobytes()


def test_applying_again_changes_nothing(transits, calibrated):
    ms, record = calibrated
    before = describe_ms(ms)
    skipped = apply_calibration(transits.apply_options(ms))
    assert skipped.skipped
    assert skipped.applied == record.applied
    assert describe_ms(ms) == before
    columns = {name: read_column(ms, name).tobytes() for name in ("CORRECTED_DATA", "FLAG")}
    again = apply_calibration(transits.apply_options(ms, reprocess=True))
    assert not again.skipped
    assert {name: read_column(ms, name).tobytes() for name in columns} == columns
    assert describe_ms(ms) != before  # what was made of it counts as stale


def test_the_ms_is_read_only_afterwards(calibrated):
    ms, _ = calibrated
    writable = [
        path for path in (ms, *ms.rglob("*")) if path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP)
    ]
    assert writable == []


def test_a_calibrator_keeps_its_solutions_when_it_is_calibrated_with_them(
    transits, gappy, tmp_path
):
    found, ms = gappy
    backup = shutil.copytree(found.directory, tmp_path / "backup")
    url = registry_url(ms.parent)
    record = apply_calibration(transits.apply_options(ms, registry_url=url))
    assert record.sentence == f"solved on this very group: {found.set_id}"
    assert not record.borrowed
    solve = transits.solve_options(
        ms,
        calibrator=transits.calibrators[transits.before],
        solutions_dir=Path(found.directory).parents[1],
        registry_url=url,
        strategy=SolveStrategy(refant=transits.sets[transits.before].refant),
    )
    assert solve_ms(solve) == found
    # Made anew, for want of a table: not from CORRECTED_DATA, in which all gains are one.
    shutil.rmtree(Path(found.directory) / "gain")
    anew = solve_ms(solve)
    assert [table.quality for table in anew.tables] == [table.quality for table in found.tables]
    old, new = (
        read_solutions(directory / "bandpass", TableKind.BANDPASS)
        for directory in (backup, Path(anew.directory))
    )
    assert np.array_equal(old.values, new.values)
    shutil.rmtree(found.directory)
    shutil.copytree(backup, found.directory)


def test_sets_that_cannot_be_interpolated(transits, delayed, own_registry, tmp_path):
    ms = copy_ms(transits.field, tmp_path)
    own_registry.add(delayed)
    late = transits.sets[transits.after]
    own_registry.add(late.model_copy(update={"mid_mjd": late.mid_mjd + 0.1 / 24}))
    options = in_own_registry(transits, ms, tmp_path)
    record = apply_calibration(options)
    assert [one.set_id for one in record.applied] == [delayed.set_id]
    assert record.sentence == f"borrowed from {delayed.set_id} (0.5 h earlier)"
    [note] = record.notes
    assert note == (
        f"{delayed.set_id} and {late.set_id} cannot be interpolated: one holds delay, bandpass, "
        "gain, the other bandpass, gain; the nearer of the two is applied alone"
    )
    assert record.worst_error < 1e-4  # delays among them
    assert apply_calibration(options).skipped


@pytest.fixture
def copied_set(transits: Transits, tmp_path: Path) -> SolutionSet:
    """Solutions whose files may be spoilt."""
    found = transits.sets[transits.before]
    directory = Path(shutil.copytree(found.directory, tmp_path / "set"))
    return found.model_copy(update={"directory": str(directory)})


def spoil_file(found: SolutionSet) -> None:
    path = Path(found.directory) / "bandpass" / "table.f0"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_table(found: SolutionSet) -> None:
    shutil.rmtree(Path(found.directory) / "gain")


def half_flagged(found: SolutionSet) -> dict[str, object]:
    table = found.tables[0]
    poor = table.quality.model_copy(update={"unflagged_fraction": 0.5})
    return {"tables": [table.model_copy(update={"quality": poor}), *found.tables[1:]]}


@pytest.mark.parametrize(
    ("changes", "spoil", "sentence"),
    [
        (lambda s: {"mid_mjd": s.mid_mjd - 3.0}, None, r"observed 72\.5 h earlier; at most 30 h"),
        (lambda _: {"dec_deg": 16.1}, None, r"solved at declination \+16\.100 deg"),
        (lambda s: {"array": s.array[::-1]}, None, "its ids name other antennas: id 0 is 117"),
        (lambda s: {"antennas": s.antennas[:6]}, None, "solutions for 6 of the 12 antennas"),
        (lambda s: {"windows": s.windows[1:]}, None, "it lacks 1 of the 14 spectral windows"),
        (half_flagged, None, "50% of the solutions in its bandpass table"),
        (None, spoil_file, "is not what was published: hashes differ"),
        (None, remove_table, "gain does not exist"),
    ],
    ids=["date", "declination", "array", "antennas", "windows", "flags", "corrupt", "missing"],
)
def test_what_is_not_valid_is_not_applied(
    transits, copied_set, own_registry, tmp_path, changes, spoil, sentence
):
    if spoil:
        spoil(copied_set)
    wrong = copied_set.model_copy(update=changes(copied_set) if changes else {})
    own_registry.add(wrong)
    before = describe_ms(transits.field)
    for set_id in (wrong.set_id, None):
        with pytest.raises(ScienceQualityError, match=sentence) as caught:
            apply_calibration(in_own_registry(transits, transits.field, tmp_path, set_id=set_id))
        assert caught.value.reason in ("no_valid_calibration", "set_not_valid")
        assert wrong.set_id in str(caught.value)
    assert describe_ms(transits.field) == before
    assert read_snapshot(transits.field).calibration is None


def test_a_set_that_was_withdrawn(transits, copied_set, own_registry, tmp_path):
    own_registry.add(copied_set)
    own_registry.withdraw(copied_set.set_id, "wind above 15 m/s")
    options = in_own_registry(transits, transits.field, tmp_path, set_id=copied_set.set_id)
    with pytest.raises(ScienceQualityError, match="it is withdrawn: wind above 15 m/s"):
        apply_calibration(options)


def test_no_set_at_all(transits, tmp_path):
    with pytest.raises(ScienceQualityError, match="no set of solutions is on record") as caught:
        apply_calibration(in_own_registry(transits, transits.field, tmp_path))
    assert caught.value.reason == "no_valid_calibration"
    with pytest.raises(InputError, match="has no set nosuch") as caught:
        apply_calibration(in_own_registry(transits, transits.field, tmp_path, set_id="nosuch"))
    assert caught.value.reason == "unknown_set"


def test_an_ms_that_was_not_flagged(transits, tmp_path):
    ms = copy_ms(transits.field, tmp_path)
    record_path(ms, Change.FLAGGING).unlink()
    with pytest.raises(InputError, match="flag it first") as caught:
        apply_calibration(transits.apply_options(ms))
    assert caught.value.reason == "not_flagged"
    assert not list_applied(ms)


def list_applied(ms: Path) -> list[str]:
    """List the columns that applying makes."""
    with table(str(ms), ack=False) as opened:
        return [name for name in opened.colnames() if name == "CORRECTED_DATA"]


def test_a_child_that_is_killed_leaves_an_ms_that_is_refused(transits, calibrated, tmp_path):
    ms = copy_ms(transits.field, tmp_path)
    options = transits.apply_options(ms, log_dir=tmp_path / "logs")
    log = tmp_path / "logs" / f"{ms.stem}.log"

    def find_applycal() -> int | None:
        """Find the child once CASA's log says that applycal has begun."""
        has_begun = log.exists() and "Begin Task: applycal" in log.read_text(errors="replace")
        return find_child() if has_begun else None

    with killed_after(0.0, find_applycal) as killed, pytest.raises(TransientError):
        apply_calibration(options)
    assert killed
    assert read_snapshot(ms).calibration is None
    with pytest.raises(InputError, match="left in the middle of its calibration"):
        require_whole(ms)
    record = apply_calibration(options)
    assert not record.skipped
    require_whole(ms)
    interpolated, _ = calibrated
    for column in ("CORRECTED_DATA", "FLAG"):
        assert read_column(ms, column).tobytes() == read_column(interpolated, column).tobytes()
