"""Names of subband files."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa110_contimg.conversion.filenames import SubbandName, parse_subband_name

pytestmark = pytest.mark.unit


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)),  # noqa: DTZ001 - made UTC below
    st.integers(0, 15),
    st.booleans(),
)
def test_round_trip(stamp, subband, incomplete):
    name = SubbandName(stamp.replace(microsecond=0, tzinfo=UTC), subband, incomplete)
    assert parse_subband_name(str(name)) == name


def test_incomplete_name():
    name = parse_subband_name("2026-01-25T00:00:10_sb07_incomplete.hdf5")
    assert name == SubbandName(datetime(2026, 1, 25, 0, 0, 10, tzinfo=UTC), 7, incomplete=True)
    assert name.label == "sb07"


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-25T00:00:10_sb16.hdf5",
        "2026-01-25T00:00:10_sb7.hdf5",
        "2026-01-25T00:00:10_sb07.h5",
        "2026-01-25T00:00:10_sb07.hdf5.part",
        ".2026-01-25T00:00:10_sb07.hdf5",
        "2026-01-25T00:00:10_sb07.hdf5\n",
        "2026-02-30T00:00:10_sb07.hdf5",
        "2026-01-25T24:00:10_sb07.hdf5",
        "2026-01-25 00:00:10_sb07.hdf5",
        "2026-01-25T00:00:10_sb\u0660\u0667.hdf5",
        "",
    ],
)
def test_other_names(text):
    assert parse_subband_name(text) is None
