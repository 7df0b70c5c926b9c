"""When groups start, and what their files are called."""

from __future__ import annotations

import csv
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dsa110_contimg.instrument import FILENAME_JITTER_S, GROUP_DURATION_S, INTEGRATION_TIME_S
from dsa110_contimg.simulation.schedule import PlannedGroup, incomplete_name, plan_groups

pytestmark = pytest.mark.unit

START = datetime(2026, 1, 25, 23, 50, tzinfo=UTC)


def plan(n_groups: int, **options: object) -> list[PlannedGroup]:
    defaults = {"jitter": True, "missing": (), "seed": 3}
    return plan_groups(START, n_groups, **{**defaults, **options})


def stamps(group: PlannedGroup) -> list[datetime]:
    return [datetime.fromisoformat(name.split("_")[0]) for name in group.file_names.values()]


def span_s(times: list[datetime]) -> int:
    return int((max(times) - min(times)).total_seconds())


def category(seconds: int) -> str:
    if 14 <= seconds <= 18:
        return "14-18"
    return str(seconds) if seconds <= 2 else "other"


def real_spans(path: Path) -> list[int]:
    """Spans of the complete groups that were listed file by file, clustered within 60 s."""
    with path.open() as file:
        rows = sorted(
            (datetime.fromisoformat(row["timestamp"]), int(row["n_subbands_found"]))
            for row in csv.DictReader(file)
            if row["group_source"] == "fs"
        )
    clusters: list[list[tuple[datetime, int]]] = []
    for row in rows:
        if not clusters or (row[0] - clusters[-1][0][0]).total_seconds() > FILENAME_JITTER_S:
            clusters.append([])
        clusters[-1].append(row)
    return [span_s([t for t, _ in c]) for c in clusters if sum(n for _, n in c) == 16]


def test_jitter_is_distributed_as_in_real_groups(shared_data: Path) -> None:
    real = real_spans(shared_data / "real_group_inventory.csv")
    simulated = [span_s(stamps(group)) for group in plan(4000)]
    real_counts, simulated_counts = (Counter(map(category, spans)) for spans in (real, simulated))
    for name in ("0", "1", "2", "14-18"):
        real_share = real_counts[name] / len(real)
        share = simulated_counts[name] / len(simulated)
        # Two binomial errors of at most 0.8 % (2199 real groups) and 0.6 % (4000): 3 sigma.
        assert abs(share - real_share) < 0.03, name
    assert max(simulated) <= FILENAME_JITTER_S


def test_without_jitter_all_files_of_a_group_bear_one_time() -> None:
    for group in plan(20, jitter=False):
        assert span_s(stamps(group)) == 0


def test_names_follow_the_start_of_the_group_across_midnight() -> None:
    groups = plan(4)
    for group in groups:
        start = datetime.fromisoformat(group.start_utc)
        for subband, name in group.file_names.items():
            assert re.fullmatch(rf"2026-01-2[56]T\d\d:\d\d:\d\d_{subband}\.hdf5", name)
        assert all(timedelta(seconds=-1) < t - start < timedelta(seconds=19) for t in stamps(group))
    assert {name[:10] for name in groups[-1].file_names.values()} == {"2026-01-26"}


def test_groups_follow_each_other_without_a_gap() -> None:
    groups = plan(50)
    first_samples = np.array([group.times_jd()[0] for group in groups])
    # A Julian date in double precision resolves 40 microseconds.
    np.testing.assert_allclose(np.diff(first_samples) * 86400, GROUP_DURATION_S, atol=1e-3)
    np.testing.assert_allclose(np.diff(groups[0].times_jd()) * 86400, INTEGRATION_TIME_S, atol=1e-4)
    assert groups[0].start_utc == "2026-01-25T23:50:00.000"
    half_integration = (groups[0].times_jd()[0] - groups[0].start_jd) * 86400
    assert half_integration == pytest.approx(INTEGRATION_TIME_S / 2, abs=1e-4)


def test_the_time_zone_of_the_start_counts() -> None:
    elsewhere = datetime.fromisoformat("2026-01-25T15:50:00-08:00")
    group = plan_groups(elsewhere, 1, jitter=False, missing=(), seed=0)[0]
    assert group.start_utc == "2026-01-25T23:50:00.000"


def test_missing_subbands_have_no_name_and_leave_the_others_alone() -> None:
    complete, gapped = plan(2), plan(2, missing=("sb05", "sb11"))
    for whole, group in zip(complete, gapped, strict=True):
        assert set(whole.file_names) - set(group.file_names) == {"sb05", "sb11"}
        assert group.file_names.items() < whole.file_names.items()


def test_an_unfinished_file_says_so() -> None:
    name = "2026-01-25T23:50:00_sb03.hdf5"
    assert incomplete_name(name) == "2026-01-25T23:50:00_sb03_incomplete.hdf5"
