"""Names made from positions."""

from __future__ import annotations

import pytest

from dsa110_contimg.catalog.sources import Source, position_name

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg", "name"),
    [
        (124.526792, 54.620694, "J081806.43+543714.4"),  # 8h18m06.430s, 54d37m14.498s: truncated
        (0.0, 0.0, "J000000.00+000000.0"),
        (15.0, -0.5, "J010000.00-003000.0"),
        (359.9999999, -89.9999999, "J235959.99-895959.9"),
        (128.9, 54.8, "J083536.00+544800.0"),
        (187.5, 90.0, "J123000.00+900000.0"),
    ],
)
def test_position_is_truncated_not_rounded(ra_deg, dec_deg, name):
    assert position_name(ra_deg, dec_deg) == name
    assert Source(name=name, ra_deg=ra_deg, dec_deg=dec_deg).name == name


@pytest.mark.parametrize("name", ["..", ".hidden", "", "a/b", "a b", "a\0"])
def test_names_that_are_no_visible_file_names_are_refused(name):
    with pytest.raises(ValueError, match="name"):
        Source(name=name, ra_deg=0.0, dec_deg=0.0)
