"""Grouping of real files: bad input is named, and the rest of the night goes on."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.inventory import read_inventory
from support.permissions import permissions_enforced
from support.subband_files import file_name, stamp_out, write_group, write_tiny

from dsa110_contimg.conversion.groups import find_groups
from dsa110_contimg.conversion.models import GroupListing
from dsa110_contimg.errors import InputError

pytestmark = pytest.mark.unit

NIGHT = datetime(2026, 1, 25, tzinfo=UTC)
LATER = NIGHT + timedelta(seconds=309)


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A directory with two complete groups."""
    write_group(tmp_path, NIGHT)
    write_group(tmp_path, LATER)
    return tmp_path


def rejects(listing: GroupListing) -> dict[str, str]:
    """Reasons by file name."""
    return {Path(reject.file).name: reject.reason for reject in listing.rejects}


def assert_conserved(directory: Path, listing: GroupListing) -> None:
    """Every file on the disk is in exactly one group or in the rejects."""
    listed = Counter(file for group in listing.groups for file in group.files)
    listed.update(reject.file for reject in listing.rejects)
    on_disk = {str(path) for path in directory.rglob("*") if not path.is_dir()}
    assert on_disk <= set(listed)
    assert set(listed.values()) <= {1}


def test_two_complete_groups(night):
    listing = find_groups(night)
    assert [group.group_id for group in listing.groups] == [
        "2026-01-25T00:00:00",
        "2026-01-25T00:05:09",
    ]
    assert {group.state for group in listing.groups} == {"complete"}
    assert listing.groups[0].files == [str(night / file_name(NIGHT, k)) for k in range(16)]
    assert listing.rejects == []


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def not_hdf5(path: Path) -> None:
    path.write_text("404 Not Found\n" * 50)


def lose_times(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["Header/time_array"]


def spoil_times(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["Header/time_array"][:] = np.nan


def lose_channels(path: Path) -> None:
    with h5py.File(path, "a") as file:
        freqs = file["Header/freq_array"][:, :24]
        del file["Header/freq_array"]
        file["Header/freq_array"] = freqs


def swap_subband(path: Path) -> None:
    path.unlink()
    write_tiny(path, 4, NIGHT)


def point_elsewhere(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["Header/extra_keywords/phase_center_dec"][()] = 0.3


def shift_by_two_seconds(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["Header/time_array"][:] += 2 / 86400


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncate, "is truncated"),
        (empty, "is empty"),
        (not_hdf5, "is not an HDF5 file"),
        (lose_times, "has no Header/time_array"),
        (spoil_times, "not finite in Header/time_array"),
        (lose_channels, "has 24 channels instead of 48"),
        (swap_subband, "has the frequencies of sb04"),
        (point_elsewhere, "has another pointing declination than the majority"),
        (shift_by_two_seconds, "has another first time than the majority"),
    ],
)
def test_one_bad_file(night, spoil, reason):
    bad = night / file_name(NIGHT, 3)
    spoil(bad)
    listing = find_groups(night)
    assert_conserved(night, listing)
    first, second = listing.groups
    assert (first.state, first.missing) == ("semi-complete", ["sb03"])
    assert str(bad) not in first.files
    assert reason in rejects(listing)[bad.name]
    [problem] = first.problems
    assert problem.startswith(f"sb03: {bad.name} ")
    assert reason in problem
    assert (second.state, second.problems) == ("complete", [])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(make_directory, "is a directory"), (link_to_nothing, "is a link that leads nowhere")],
)
def test_good_name_that_is_no_file(night, spoil, reason):
    spoil(night / file_name(NIGHT, 3))
    listing = find_groups(night)
    assert listing.groups[0].missing == ["sb03"]
    assert reason in rejects(listing)[file_name(NIGHT, 3)]


def test_missing_subbands(night):
    for subband in range(11):
        (night / file_name(LATER, subband)).unlink()
    second = find_groups(night).groups[1]
    assert second.state == "incomplete"
    assert second.missing == [f"sb{k:02d}" for k in range(11)]


def test_file_that_is_still_being_written(night):
    good = night / file_name(NIGHT, 3)
    unfinished = good.rename(night / good.name.replace(".hdf5", "_incomplete.hdf5"))
    listing = find_groups(night)
    assert_conserved(night, listing)
    assert rejects(listing) == {unfinished.name: "is still being written"}
    assert listing.groups[0].problems == [f"sb03: {unfinished.name} is still being written"]
    assert listing.groups[0].missing == ["sb03"]


def test_duplicate_subband(night):
    copy = write_tiny(night / file_name(NIGHT + timedelta(seconds=9), 3), 3, NIGHT)
    listing = find_groups(night)
    assert_conserved(night, listing)
    assert listing.groups[0].state == "complete"
    assert rejects(listing)[copy.name].endswith(f"{night / file_name(NIGHT, 3)} is kept")


def test_interleaved_groups(night):
    other = NIGHT + timedelta(seconds=20)
    write_group(night, other)
    listing = find_groups(night)
    assert [group.state for group in listing.groups] == ["complete"] * 3
    assert listing.groups[1].group_id == "2026-01-25T00:00:20"
    assert_conserved(night, listing)


def test_everything_else_is_rejected(night):
    for name in ("truth.ecsv", ".hidden", "2026-01-25T00:00:00_sb16.hdf5", "x.hdf5"):
        (night / name).write_bytes(b"x")
    (night / "old").mkdir()
    os.mkfifo(night / "pipe")
    (night / os.fsdecode(b"\xff.hdf5")).write_bytes(b"x")
    listing = find_groups(night)
    named = "is not named YYYY-MM-DDTHH:MM:SS_sbNN.hdf5, NN 00 to 15"
    assert rejects(listing) == {
        ".hidden": "is not a subband file",
        "2026-01-25T00:00:00_sb16.hdf5": named,
        "\\xff.hdf5": named,
        "old": "is a directory that is not searched: only those named YYYY-MM-DD are",
        "pipe": "is not a regular file",
        "truth.ecsv": "is not a subband file",
        "x.hdf5": named,
    }
    assert GroupListing.model_validate_json(listing.model_dump_json()) == listing


def test_directories_of_dates_are_searched(tmp_path):
    write_group(tmp_path / "2026-01-24", NIGHT, range(8))
    write_group(tmp_path / "2026-01-25", NIGHT, range(8, 16))
    write_group(tmp_path / "2026-13-25", LATER)
    (tmp_path / "2026-01-25" / "2026-01-25").mkdir()
    listing = find_groups(tmp_path)
    [group] = listing.groups
    assert group.state == "complete"
    assert sorted(rejects(listing)) == ["2026-01-25", "2026-13-25"]


class TestPermissions:
    def test_unreadable_directory_of_a_date(self, night):
        closed = night / "2026-01-25"
        write_group(closed, LATER + timedelta(seconds=309))
        closed.chmod(0)
        with permissions_enforced():
            listing = find_groups(night)
        assert [group.state for group in listing.groups] == ["complete", "complete"]
        assert "may not be read by this user" in rejects(listing)["2026-01-25"]

    def test_directory_that_may_be_listed_but_not_entered(self, night):
        closed = night / "2026-01-25"
        write_group(closed, LATER + timedelta(seconds=309))
        closed.chmod(0o600)
        with permissions_enforced():
            listing = find_groups(night)
        assert [group.state for group in listing.groups] == ["complete", "complete"]
        assert len(listing.rejects) == 16
        assert "may not be looked at" in listing.rejects[0].reason

    def test_unreadable_file(self, night):
        bad = night / file_name(NIGHT, 3)
        bad.chmod(0)
        with permissions_enforced():
            listing = find_groups(night)
        assert "may not be read by this user" in rejects(listing)[bad.name]
        assert listing.groups[0].missing == ["sb03"]

    def test_unreadable_input_directory(self, night):
        night.chmod(0)
        with permissions_enforced(), pytest.raises(InputError) as error:
            find_groups(night)
        night.chmod(0o700)
        assert error.value.reason == "permission_denied"


@pytest.mark.parametrize(
    ("name", "reason"), [("nowhere", "missing_directory"), ("file", "not_a_directory")]
)
def test_input_directory_that_is_none(tmp_path, name, reason):
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as error:
        find_groups(tmp_path / name)
    assert error.value.reason == reason


class TestInterval:
    def test_half_open(self, night):
        assert [g.group_id for g in find_groups(night, NIGHT, LATER).groups] == [
            "2026-01-25T00:00:00"
        ]
        assert [g.group_id for g in find_groups(night, LATER, None).groups] == [
            "2026-01-25T00:05:09"
        ]

    def test_files_far_away_are_not_opened(self, night):
        tomorrow = NIGHT + timedelta(days=1)
        write_group(night, tomorrow)
        counts = []
        find_groups(night, tomorrow, progress=lambda *done: counts.append(done))
        assert counts[-1] == (16, 16)
        assert len(counts) == 16

    def test_unusable_file_is_listed_with_its_group_only(self, night):
        # Its name lies before the interval, but belongs with the names of the second group.
        write_group(night / "2026-01-25", LATER - timedelta(seconds=30), [1])
        bad = night / "2026-01-25" / file_name(LATER - timedelta(seconds=30), 1)
        truncate(bad)
        assert str(bad) in [r.file for r in find_groups(night, LATER).rejects]
        assert find_groups(night, NIGHT, LATER).rejects == []


def test_a_real_day(tmp_path):
    """2026-02-13, with real jitter: restarts, and a group whose names span 82 s.

    The truth is found by counting: every group of that day has 16 files, in order of time.
    """
    day = datetime(2026, 2, 13, tzinfo=UTC)
    rows = [row for row in read_inventory() if day <= row.stamp < day + timedelta(days=1)]
    stamps = [row.stamp for row in rows for _ in range(row.n_subbands)]
    assert len(stamps) % 16 == 0
    incoming, scratch = tmp_path / "incoming", tmp_path / "scratch"
    incoming.mkdir()
    scratch.mkdir()
    rng = np.random.default_rng(13)
    expected = {}
    for first in range(0, len(stamps), 16):
        start = stamps[first]
        subbands = rng.permutation(16)
        for stamp, subband in zip(stamps[first : first + 16], subbands, strict=True):
            stamp_out(incoming / file_name(stamp, subband), int(subband), start, scratch)
        expected[f"{start:%Y-%m-%dT%H:%M:%S}"] = "complete"
    listing = find_groups(incoming)
    assert {group.group_id: group.state for group in listing.groups} == expected
    assert listing.rejects == []
    assert [problem for group in listing.groups for problem in group.problems] == []
