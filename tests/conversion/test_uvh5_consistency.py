"""The subbands of a group must agree; the odd one out is named."""

from __future__ import annotations

from datetime import UTC, datetime

import h5py
import numpy as np
import pytest
from support.subband_files import apply, edit, file_name, put, write_group, write_tiny

from dsa110_contimg.conversion.uvh5 import (
    check_consistent,
    check_quick_consistent,
    read_header,
    read_quick_header,
)

pytestmark = pytest.mark.unit

START = datetime(2026, 1, 25, 12, tzinfo=UTC)


def add_unit(file: h5py.File) -> None:
    file["Header/vis_units"] = np.bytes_("Jy")


@pytest.fixture
def files(tmp_path):
    return write_group(tmp_path, START, range(5))


def test_a_sound_group_has_no_findings(files):
    assert check_consistent([read_header(path) for path in files.values()]) == []
    assert check_quick_consistent([read_quick_header(path) for path in files.values()]) == []
    assert check_consistent([]) == []


@pytest.mark.parametrize(
    ("what", "mutations"),
    [
        ("pointing declination", [put("Header/extra_keywords/phase_center_dec", 0.9)]),
        ("first time and set of times", [edit("time_array", lambda t: t + 1e-5)]),
        ("set of times", [edit("time_array", lambda t: t + np.array([[0.0], [1e-5]]))]),
        (
            "list of baselines",
            [
                edit("ant_1_array", lambda _: np.tile(np.triu_indices(4)[1], 2)),
                edit("ant_2_array", lambda _: np.tile(np.triu_indices(4)[0], 2)),
            ],
        ),
        ("list of antennas", [put("Header/antenna_names", np.array(list("abcd"), "S1"))]),
        ("set of antenna positions", [edit("antenna_positions", lambda p: p + 0.01)]),
        ("site", [put("Header/altitude", 1222.0)]),
        ("telescope name", [put("Header/telescope_name", np.bytes_("DSA-110"))]),
        (
            "unit of visibilities",
            [add_unit],
        ),
    ],
)
def test_the_odd_one_is_named(files, what, mutations):
    apply(files[0], *mutations)
    [(path, sentence)] = check_consistent([read_header(path) for path in files.values()])
    assert path == files[0]
    assert sentence == f"has another {what} than the majority of its group (4 of 5 files)"


def test_of_equal_parties_the_lowest_subband_is_right(tmp_path):
    files = write_group(tmp_path, START, [4, 2])
    files |= write_group(tmp_path, START, [1, 3], dec_rad=0.9)
    headers = [read_header(path) for path in files.values()]
    for given in (headers, headers[::-1]):
        assert [path for path, _ in check_consistent(given)] == [files[2], files[4]]


def test_baseline_count_of_a_smaller_array(files, tmp_path):
    odd = write_tiny(tmp_path / file_name(START, 9), 9, START, n_antennas=3)
    headers = [read_quick_header(path) for path in [*files.values(), odd]]
    [(path, sentence)] = check_quick_consistent(headers)
    assert path == odd
    assert "number of baselines" in sentence
