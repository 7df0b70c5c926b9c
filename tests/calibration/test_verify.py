"""Tables that are absent, changed or half empty, as they come from the disk."""

from __future__ import annotations

import math
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.permissions import permissions_enforced
from support.solution_sets import (
    ANTENNAS,
    GOOD,
    all_solved,
    make_set,
    publish_set,
    write_caltable,
)

from dsa110_contimg.calibration.models import SolutionSet
from dsa110_contimg.calibration.verify import fingerprint, unflagged_fraction, verify_tables
from dsa110_contimg.errors import InputError, TransientError

pytestmark = pytest.mark.casa

ALL_IDS = list(range(len(ANTENNAS)))


@pytest.fixture
def published(tmp_path: Path) -> SolutionSet:
    return publish_set(tmp_path)


def table_dir(solution_set: SolutionSet, number: int = 0) -> Path:
    return Path(solution_set.directory) / solution_set.tables[number].name


def test_tables_that_are_as_they_were(published):
    assert verify_tables(published) is None
    assert verify_tables(published) is None, "verification itself must not change a table"


def test_the_fingerprint_is_of_the_content(tmp_path):
    first = write_caltable(tmp_path / "a.cal", all_solved())
    hashes = fingerprint(first)
    assert "table.dat" in hashes
    assert "table.lock" not in hashes
    assert (first / "table.lock").exists()
    copied = Path(shutil.copytree(first, tmp_path / "b.cal"))
    assert fingerprint(copied) == hashes
    (copied / "sub").mkdir()
    (copied / "sub" / "file").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # FIPS 180-2
    assert fingerprint(copied) == {**hashes, "sub/file": empty}


def test_a_fingerprint_of_nothing(tmp_path):
    with pytest.raises(InputError, match="is not a directory") as caught:
        fingerprint(tmp_path / "absent.cal")
    assert caught.value.reason == "missing_table"


def test_a_missing_table(published):
    gone = table_dir(published, 1)
    shutil.rmtree(gone)
    refusal = verify_tables(published)
    assert (refusal.set_id, refusal.reason) == ("near", "missing_table")
    assert refusal.sentence == f"its gain table {gone} does not exist"


def test_a_set_without_tables():
    refusal = verify_tables(make_set())
    assert (refusal.reason, refusal.sentence) == ("missing_table", "it holds no table")


def test_a_byte_that_flipped(published):
    file = largest_file(table_dir(published))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    refusal = verify_tables(published)
    assert refusal.reason == "corrupt_table"
    assert refusal.sentence == (
        f"the file {file} of its bandpass table is not what was published: hashes differ"
    )


def test_a_truncated_file(published):
    file = largest_file(table_dir(published))
    os.truncate(file, file.stat().st_size // 2)
    refusal = verify_tables(published)
    assert refusal.reason == "corrupt_table"
    assert str(file) in refusal.sentence


def test_a_missing_file(published):
    file = table_dir(published) / "table.dat"
    file.unlink()
    refusal = verify_tables(published)
    assert refusal.reason == "corrupt_table"
    assert refusal.sentence == f"the file {file} of its bandpass table is missing"


def test_a_file_that_may_not_be_read(published):
    file = table_dir(published) / "table.dat"
    file.chmod(0)
    with permissions_enforced():
        refusal = verify_tables(published)
    assert refusal.reason == "corrupt_table"
    assert refusal.sentence.endswith(
        "table.dat of its bandpass table cannot be read: Permission denied"
    )


def test_a_directory_that_may_not_be_searched(published):
    folder = Path(published.directory)
    folder.chmod(0)
    with permissions_enforced():
        refusal = verify_tables(published)
        with pytest.raises(InputError) as caught:
            fingerprint(table_dir(published))
    folder.chmod(0o755)
    assert refusal.reason == "corrupt_table"
    assert refusal.sentence.endswith("cannot be read: Permission denied")
    assert caught.value.reason == "not_readable"


def test_a_table_that_is_a_file(published):
    shutil.rmtree(table_dir(published))
    table_dir(published).touch()
    assert verify_tables(published).reason == "missing_table"


def test_a_table_that_was_replaced_by_another(published):
    other = write_caltable(table_dir(published).with_name("other.cal"), all_solved(2))
    shutil.rmtree(table_dir(published))
    other.rename(table_dir(published))
    assert verify_tables(published).reason == "corrupt_table"


def test_a_table_without_files_on_record(published):
    tables = [published.tables[0].model_copy(update={"files": {}})]
    refusal = verify_tables(published.model_copy(update={"tables": tables}))
    assert refusal.reason == "corrupt_table"
    assert "no file of its bandpass table" in refusal.sentence


def test_a_table_that_was_damaged_before_its_hashes_were_taken(published):
    table = table_dir(published)
    for file in table.iterdir():
        if file.name.startswith("table.f"):
            os.truncate(file, 0)
    tables = [published.tables[0].model_copy(update={"files": fingerprint(table)})]
    refusal = verify_tables(published.model_copy(update={"tables": tables}))
    assert refusal.reason == "corrupt_table"
    assert refusal.sentence.startswith(f"its table {table} cannot be read: ")


@pytest.mark.parametrize("fraction", [0.79, 0.0, math.nan])
def test_a_record_of_too_few_solutions(tmp_path, fraction):
    quality = GOOD.model_copy(update={"unflagged_fraction": fraction})
    refusal = verify_tables(publish_set(tmp_path, quality=quality))
    assert refusal.reason == "half_flagged"
    assert f"{fraction:.0%} of the solutions in its bandpass table" in refusal.sentence
    assert refusal.sentence.endswith("at least 80% are needed")


def test_a_table_that_is_emptier_than_its_record_says(tmp_path):
    flags = all_solved()
    flags[:, :, ::2] = True
    refusal = verify_tables(publish_set(tmp_path, bandpass_flags=flags))
    assert refusal.reason == "half_flagged"
    assert refusal.sentence == (
        f"50% of its table {tmp_path / 'near' / 'bandpass.cal'} is unflagged; at least 80% of the "
        "solutions called for are needed"
    )


def test_a_table_that_disagrees_with_its_record(tmp_path):
    flags = all_solved()
    flags[:, :, 0] = True
    refusal = verify_tables(publish_set(tmp_path, bandpass_flags=flags))
    assert refusal.reason == "half_flagged"
    assert "90% of its table" in refusal.sentence
    assert "at least 92% were expected, as 97% are on record" in refusal.sentence
    honest = GOOD.model_copy(update={"unflagged_fraction": 0.9})
    assert verify_tables(publish_set(tmp_path, "b", bandpass_flags=flags, quality=honest)) is None


def test_interference_in_all_antennas_is_no_fault_of_the_table(tmp_path):
    flags = all_solved()
    flags[:, 1] = True
    assert verify_tables(publish_set(tmp_path, bandpass_flags=flags)) is None


def test_but_a_table_with_little_in_it_is(tmp_path):
    flags = all_solved()
    flags[:, :2] = True
    refusal = verify_tables(publish_set(tmp_path, bandpass_flags=flags))
    assert refusal.reason == "half_flagged"
    assert "33% of its table" in refusal.sentence
    assert refusal.sentence.endswith("at least 50% of its cells are needed")


def test_antennas_on_record_as_without_solutions_do_not_count(tmp_path):
    flags = all_solved()
    flags[:, :, 7:] = True
    assert verify_tables(publish_set(tmp_path, bandpass_flags=flags)).reason == "half_flagged"
    fewer = publish_set(tmp_path, "fewer", bandpass_flags=flags, antennas=ANTENNAS[:7])
    assert verify_tables(fewer) is None


def test_fractions_by_hand(tmp_path):
    """4 times x 3 windows x 10 antennas x 1 channel x 2 polarizations are 240 solutions."""
    flags = all_solved(4, 1)
    flags[2] = True  # a time without data: 60 that nobody called for
    flags[0, 1, :9, 0, 0] = True  # 9 that are missing: the tenth antenna has a solution
    table = write_caltable(tmp_path / "gain.cal", flags)
    assert unflagged_fraction(table, ALL_IDS) == pytest.approx((171 / 180, 171 / 240))
    assert unflagged_fraction(table, [9]) == pytest.approx((1.0, 18 / 24))
    assert unflagged_fraction(table, [8, 10]) == pytest.approx((0.5, 0.5 * 17 / 24))
    assert unflagged_fraction(table, [10]) == (0.0, 0.0)


def test_a_table_with_everything_flagged(tmp_path):
    table = write_caltable(tmp_path / "gain.cal", ~all_solved())
    assert unflagged_fraction(table, ALL_IDS) == (0.0, 0.0)


def test_windows_of_different_sizes(tmp_path):
    """Delay and bandpass tables of some arrays mix windows; the cells then differ in shape."""
    from casacore.tables import table

    path = write_caltable(tmp_path / "mixed.cal", all_solved())
    with table(str(path), readonly=False, ack=False) as opened:
        for row in np.flatnonzero(opened.getcol("SPECTRAL_WINDOW_ID") == 2):
            opened.putcell("FLAG", int(row), np.zeros((4, 2), dtype=bool))
    assert unflagged_fraction(path, ALL_IDS) == (1.0, 1.0)


def test_a_machine_that_runs_out_of_files_blames_no_table(published):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(TransientError) as caught:
            verify_tables(published)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.reason == "too_many_open_files"


def largest_file(table: Path) -> Path:
    return max(
        (file for file in table.iterdir() if file.name != "table.lock"),
        key=lambda file: file.stat().st_size,
    )
