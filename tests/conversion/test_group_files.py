"""Grouping without a disk: the real inventory, and properties that hold for any night."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.inventory import InventoryRow, read_inventory
from support.subband_files import DEC_RAD, start_to_jd

from dsa110_contimg import instrument
from dsa110_contimg.conversion.filenames import SubbandName, parse_subband_name
from dsa110_contimg.conversion.groups import FoundFile, cluster_by_name, group_files
from dsa110_contimg.conversion.models import GroupListing, GroupState
from dsa110_contimg.conversion.uvh5 import QuickHeader
from dsa110_contimg.errors import InputError

pytestmark = pytest.mark.unit

NIGHT = datetime(2026, 1, 25, tzinfo=UTC)
N_SUBBANDS = instrument.N_SUBBANDS


def found(
    name: SubbandName,
    start: datetime,
    *,
    directory: str = "/raw",
    dec_rad: float = DEC_RAD,
    defect: str = "",
) -> FoundFile:
    """A file with a header that starts then, or with a defect."""
    path = Path(directory, str(name))
    if defect:
        return FoundFile(path, name, defect=defect)
    header = QuickHeader(
        path=path,
        subband=name.subband,
        first_time_jd=start_to_jd(start),
        integration_time_s=instrument.HEADER_INTEGRATION_TIME_S,
        ntimes=24,
        nbls=4656,
        pointing_dec_rad=dec_rad,
    )
    return FoundFile(path, name, header)


def group_of(start: datetime, subbands=range(N_SUBBANDS), **options) -> list[FoundFile]:
    """A group without jitter."""
    return [found(SubbandName(start, subband), start, **options) for subband in subbands]


def names_of(rows: list[InventoryRow]) -> list[SubbandName]:
    """Expand rows to names; the subbands of a group follow each other over its rows."""
    names, subband = [], 0
    for before, row in zip([None, *rows], rows, strict=False):
        if before is None or row.stamp - before.stamp > timedelta(seconds=150):
            subband = 0  # half a cadence: certainly another group
        for _ in range(row.n_subbands):
            names.append(SubbandName(row.stamp, subband % N_SUBBANDS))
            subband += 1
    return names


class TestRealInventory:
    def test_clusters_of_the_listings(self):
        """Real jitter, 6,092 stamps: 2,208 of 2,231 groups complete.

        instrument.md counts 2,199 of 2,240 with a limit of 60 s on the span of a cluster: that
        tears 9 groups apart, whose names run on over 61 to 82 s after a restart.
        """
        rows = [row for row in read_inventory() if row.from_listing]
        assert len(rows) == 6092
        names = names_of(rows)
        clusters = cluster_by_name(names[::-1])
        sizes = Counter(len(cluster) for cluster in clusters)
        assert (sizes[16], len(clusters)) == (2208, 2231)
        assert all(len({name.subband for name in cluster}) == len(cluster) for cluster in clusters)
        spans_s = [(c[-1].stamp - c[0].stamp).total_seconds() for c in clusters if len(c) == 16]
        assert sum(span > 60 for span in spans_s) == 9
        assert max(spans_s) == 82

    def test_the_page_is_right_about_its_own_rule(self):
        """2,199 of 2,240 within 60 s of the first name, 2,010 within 10 s."""
        rows = [row for row in read_inventory() if row.from_listing]
        for span_s, complete in ((60, 2199), (10, 2010)):
            clusters: list[list[InventoryRow]] = []
            for row in rows:
                limit = timedelta(seconds=span_s)
                if clusters and row.stamp - clusters[-1][0].stamp <= limit:
                    clusters[-1].append(row)
                else:
                    clusters.append([row])
            assert sum(sum(r.n_subbands for r in c) == 16 for c in clusters) == complete
            assert span_s == 10 or len(clusters) == 2240

    def test_every_file_of_every_row_is_accounted_for(self):
        """With the outliers of 80 and 240 files under one stamp, from several directories."""
        names = names_of(read_inventory())
        assert len(names) == sum(row.n_subbands for row in read_inventory())
        copies: Counter[SubbandName] = Counter()
        starts = {name: cluster[0].stamp for cluster in cluster_by_name(names) for name in cluster}
        files = []
        for name in names:
            copies[name] += 1
            files.append(found(name, starts[name], directory=f"/raw/copy{copies[name]:02d}"))
        listing = group_files(files)
        assert_conserved(files, listing)
        states = Counter(group.state for group in listing.groups)
        assert states[GroupState.COMPLETE] == 2208 + 181 + 2
        repeated = [reject for reject in listing.rejects if "repeats" in reject.reason]
        assert len(repeated) == len(listing.rejects) == (80 - 16) + (240 - 16)


def assert_conserved(files: list[FoundFile], listing: GroupListing) -> None:
    """Every file is in exactly one group or in the rejects."""
    listed = [file for group in listing.groups for file in group.files]
    listed += [reject.file for reject in listing.rejects]
    assert Counter(listed) == Counter(str(file.path) for file in files)
    assert all(reject.reason for reject in listing.rejects)


@st.composite
def nights(draw: st.DrawFn) -> list[FoundFile]:
    """Up to 4 groups, interleaved or not, with copies, late names and every kind of defect."""
    files: dict[Path, FoundFile] = {}
    for _ in range(draw(st.integers(0, 4))):
        start = NIGHT + timedelta(seconds=draw(st.sampled_from([0, 3, 7, 30, 309, 618, 86400])))
        for subband in draw(st.lists(st.integers(0, N_SUBBANDS - 1), max_size=20)):
            late = timedelta(seconds=draw(st.sampled_from([0, 0, 1, 15, 59, 400, 86400])))
            defect = draw(st.sampled_from(["", "", "", "is truncated", "is still being written"]))
            name = SubbandName(start + late, subband, incomplete=defect.endswith("written"))
            file = found(
                name,
                start + timedelta(seconds=draw(st.sampled_from([0, 0, 0, 2]))),
                directory=draw(st.sampled_from(["/raw", "/raw/2026-01-25"])),
                dec_rad=draw(st.sampled_from([DEC_RAD, DEC_RAD, 0.9])),
                defect=defect,
            )
            files[file.path] = file
    return list(files.values())


class TestProperties:
    @given(nights())
    @settings(deadline=None)
    def test_no_file_is_lost_and_none_taken_twice(self, files):
        assert_conserved(files, group_files(files))

    @given(nights(), st.randoms(use_true_random=False))
    @settings(deadline=None)
    def test_order_of_the_files_does_not_matter(self, files, rng):
        assert group_files(rng.sample(files, len(files))) == group_files(files)

    @given(nights())
    @settings(deadline=None)
    def test_groups_are_what_they_say(self, files):
        listing = group_files(files)
        headers = {str(file.path): file.header for file in files}
        ids = [group.group_id for group in listing.groups]
        assert ids == sorted(set(ids))
        for group in listing.groups:
            names = [parse_subband_name(Path(file).name) for file in group.files]
            assert [name.label for name in names] == group.present == sorted(set(group.present))
            assert sorted(group.present + group.missing) == [f"sb{k:02d}" for k in range(16)]
            assert group.state == GroupState.of(len(group.present))
            starts = {headers[file].first_time_jd for file in group.files}
            decs = {headers[file].pointing_dec_rad for file in group.files}
            assert len(starts) == len(decs) == 1
        assert [r.file for r in listing.rejects] == sorted(r.file for r in listing.rejects)

    @given(nights())
    @settings(deadline=None)
    def test_intervals_part_the_night(self, files):
        """What two adjoining intervals list is what one list without limits holds."""
        middle = NIGHT + timedelta(seconds=309)
        whole = group_files(files)
        early, late = group_files(files, end=middle), group_files(files, start=middle)
        assert early.groups + late.groups == whole.groups
        both = [*early.rejects, *late.rejects]
        assert sorted(both, key=lambda r: r.file) == whole.rejects


class TestGroups:
    def test_complete(self):
        [group] = group_files(group_of(NIGHT)).groups
        assert group.group_id == "2026-01-25T00:00:00"
        assert group.state == "complete"
        assert (group.missing, group.problems) == ([], [])

    @pytest.mark.parametrize(
        ("n_present", "state"),
        [(16, "complete"), (15, "semi-complete"), (12, "semi-complete"), (11, "incomplete")],
    )
    def test_states(self, n_present, state):
        [group] = group_files(group_of(NIGHT, range(n_present))).groups
        assert group.state == state
        assert group.missing == [f"sb{k:02d}" for k in range(n_present, 16)]

    @pytest.mark.parametrize("offset_s", [-0.499, 0.499])
    def test_the_id_is_the_nearest_second_whatever_is_present(self, offset_s):
        start = NIGHT + timedelta(seconds=offset_s)
        files = [found(SubbandName(NIGHT, k), start) for k in range(16)]
        for some in (files, files[3:], files[:1], files[::5]):
            assert group_files(some).groups[0].group_id == "2026-01-25T00:00:00"

    def test_the_id_decides_on_which_side_of_a_limit_a_group_lies(self):
        files = [found(SubbandName(NIGHT, k), NIGHT - timedelta(seconds=0.3)) for k in range(16)]
        assert len(group_files(files, start=NIGHT).groups) == 1
        assert group_files(files, end=NIGHT) == GroupListing(groups=[], rejects=[])

    def test_times_without_zone_are_utc(self):
        files = group_of(NIGHT)
        naive = NIGHT.replace(tzinfo=None)
        assert len(group_files(files, naive, naive + timedelta(seconds=1)).groups) == 1

    def test_empty_interval(self):
        with pytest.raises(InputError, match="empty"):
            group_files([], NIGHT, NIGHT)

    def test_names_that_run_on_over_82_s_are_one_group(self):
        files = [
            found(SubbandName(NIGHT + timedelta(seconds=5.5 * k), k), NIGHT) for k in range(16)
        ]
        [group] = group_files(files).groups
        assert (group.state, group.problems) == ("complete", [])

    def test_interleaved_groups_part_by_their_headers(self):
        later = NIGHT + timedelta(seconds=30)
        files = []
        for k in range(16):
            stamps = NIGHT + timedelta(seconds=10 * (k % 4)), later + timedelta(seconds=2 * k - 20)
            files += [
                found(SubbandName(stamps[0], k), NIGHT),
                found(SubbandName(stamps[1], k), later, directory="/raw/2026-01-25"),
            ]
        first, second = group_files(files).groups
        assert (first.state, second.state) == ("complete", "complete")
        assert not any(file.startswith("/raw/2026-01-25/") for file in first.files)
        assert all(file.startswith("/raw/2026-01-25/") for file in second.files)

    def test_unreadable_file_of_interleaved_groups_goes_where_its_subband_lacks(self):
        later = NIGHT + timedelta(seconds=30)
        files = group_of(NIGHT) + group_of(later, [k for k in range(16) if k != 3])
        broken = SubbandName(NIGHT + timedelta(seconds=2), 3)
        listing = group_files([*files, found(broken, later, defect="is truncated")])
        assert [group.problems for group in listing.groups] == [
            [],
            [f"sb03: {broken} is truncated"],
        ]
        assert listing.groups[1].missing == ["sb03"]

    def test_clock_jump_in_a_name_does_not_split_a_group(self):
        files = group_of(NIGHT, range(15))
        astray = found(SubbandName(NIGHT + timedelta(days=1), 15), NIGHT)
        [group] = group_files([*files, astray]).groups
        assert group.state == "complete"
        assert group.problems == [
            f"sb15: {astray.path.name} has a name +86400 s from those of its group"
        ]

    def test_names_far_from_the_headers_are_noted(self):
        files = [found(SubbandName(NIGHT + timedelta(hours=1), k), NIGHT) for k in range(16)]
        [group] = group_files(files).groups
        assert group.group_id == "2026-01-25T00:00:00"
        assert group.problems == [
            "the file names lie +3600 s from the start of the data; the headers' time is taken"
        ]

    def test_of_a_subband_twice_the_name_nearest_the_others_is_kept(self):
        files = group_of(NIGHT)
        copy = found(SubbandName(NIGHT - timedelta(seconds=20), 7), NIGHT)
        listing = group_files([copy, *files])
        kept = str(files[7].path)
        assert kept in listing.groups[0].files
        assert [reject.file for reject in listing.rejects] == [str(copy.path)]
        assert listing.rejects[0].reason == f"repeats sb07, for which {kept} is kept"
        assert listing.groups[0].problems == [
            f"sb07: {copy.path.name} repeats sb07, for which {kept} is kept"
        ]

    def test_of_two_copies_under_one_name_the_first_path_is_kept(self):
        [other] = group_of(NIGHT, [7], directory="/raw/2026-01-25")
        listing = group_files([*group_of(NIGHT, directory="/raw/2026-01-24"), other])
        assert [reject.file for reject in listing.rejects] == [str(other.path)]

    def test_a_broken_copy_does_no_harm(self):
        broken = found(SubbandName(NIGHT, 7), NIGHT, directory="/raw/2026-01-25", defect="is empty")
        listing = group_files([broken, *group_of(NIGHT)])
        assert listing.groups[0].state == "complete"
        assert [reject.reason for reject in listing.rejects] == ["is empty"]

    def test_another_pointing_is_never_mixed_in(self):
        files = group_of(NIGHT, range(1, 16))
        [odd] = group_of(NIGHT, [0], dec_rad=0.9)
        listing = group_files([odd, *files])
        assert listing.groups[0].missing == ["sb00"]
        assert "another pointing declination" in listing.rejects[0].reason
        assert listing.groups[0].problems[0].startswith(f"sb00: {odd.path.name} has another")

    def test_nothing_usable_leaves_only_rejects(self):
        files = group_of(NIGHT, defect="is truncated")
        listing = group_files(files)
        assert listing.groups == []
        assert len(listing.rejects) == 16
