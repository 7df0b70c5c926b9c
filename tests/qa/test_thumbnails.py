"""Pictures in the report: small, bounded, and never a reason to fail."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.night_records import NightMaker

from dsa110_contimg.qa.models import SourceReport
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.qa.thumbnails import MAX_PIXELS, choose_policy, make_gallery

pytestmark = pytest.mark.unit


@pytest.fixture
def source(night: NightMaker) -> SourceReport:
    group = night.add_group(0)
    night.save_listing()
    night.image(group, "J1")
    return write_report(night.ledger).sources[0]


def noise(path: Path, width: int = 700, height: int = 500, mode: str = "RGB") -> None:
    """Noise does not compress: the worst case."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 4), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def with_products(source: SourceReport, snr: float | None = None, **products: str) -> SourceReport:
    return source.model_copy(update={"products": products, "best_snr": snr})


@pytest.mark.parametrize(
    ("n_sources", "kinds", "edge_px", "cards"),
    [
        (0, 2, 1000, True),
        (24, 2, 1000, True),
        (25, 2, 360, False),
        (300, 2, 360, False),
        (301, 1, 144, False),
        (3000, 1, 144, False),
    ],
)
def test_the_policy_by_number(n_sources: int, kinds: int, edge_px: int, cards: bool) -> None:
    policy = choose_policy(n_sources)
    assert (len(policy.kinds), policy.edge_px, policy.cards) == (kinds, edge_px, cards)


def test_pictures_shrink_in_proportion_and_never_grow(source: SourceReport, tmp_path: Path) -> None:
    noise(tmp_path / "large.png", 2000, 1400)
    noise(tmp_path / "small.png", 90, 60)
    gallery = make_gallery(
        [with_products(source, stamp="large.png", spectrum="small.png")], tmp_path
    )
    sizes = {kind: (p.width, p.height) for (_, kind), p in gallery.pictures.items()}
    assert sizes == {"stamp": (1000, 700), "spectrum": (90, 60)}
    data = gallery.pictures[0, "stamp"].data
    assert Image.open(io.BytesIO(data)).size == (1000, 700)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "1", "I;16"])
def test_any_kind_of_png_is_shown(source: SourceReport, tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        Image.fromarray(np.full((40, 40), 40000, dtype=np.uint16)).save(tmp_path / "a.png")
    else:
        noise(tmp_path / "a.png", 40, 40, mode)
    gallery = make_gallery([with_products(source, stamp="a.png")], tmp_path)
    assert gallery.pictures.keys() == {(0, "stamp")}


def test_transparent_parts_are_white_as_paper(source: SourceReport, tmp_path: Path) -> None:
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(tmp_path / "a.png")
    gallery = make_gallery([with_products(source, stamp="a.png")], tmp_path)
    shown = Image.open(io.BytesIO(gallery.pictures[0, "stamp"].data))
    assert np.asarray(shown.convert("RGB")).min() >= 250  # lossy coding may take off a little


def test_the_budget_goes_to_the_highest_snr(source: SourceReport, tmp_path: Path) -> None:
    noise(tmp_path / "a.png", 100, 100)
    snrs = [5.0, None, 40.0, float("nan"), 12.0]
    sources = [with_products(source, snr, stamp="a.png") for snr in snrs]
    one = len(make_gallery(sources[:1], tmp_path).pictures[0, "stamp"].data)
    gallery = make_gallery(sources, tmp_path, budget_bytes=2 * one)
    assert gallery.pictures.keys() == {(2, "stamp"), (4, "stamp")}
    assert gallery.left_out == 3
    assert sum(len(picture.data) for picture in gallery.pictures.values()) <= 2 * one


@pytest.mark.parametrize("cut", [0, 7, 8, 20, 40, 60, 0.3, 0.9])
def test_a_truncated_picture_is_named_not_fatal(
    source: SourceReport, tmp_path: Path, cut: float
) -> None:
    noise(tmp_path / "a.png", 60, 60)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: cut if isinstance(cut, int) else int(cut * len(data))])
    gallery = make_gallery([with_products(source, stamp="a.png")], tmp_path)
    assert gallery.pictures == {}
    assert gallery.unreadable == {(0, "stamp")}


def test_garbled_pictures_never_raise(source: SourceReport, tmp_path: Path) -> None:
    noise(tmp_path / "a.png", 60, 60)
    data = (tmp_path / "a.png").read_bytes()
    random = np.random.default_rng(7)
    for _ in range(200):
        garbled = bytearray(data)
        for position in random.integers(0, 120, 3):
            garbled[position] = random.integers(256)
        (tmp_path / "a.png").write_bytes(garbled)
        gallery = make_gallery([with_products(source, stamp="a.png")], tmp_path)
        assert len(gallery.pictures) + len(gallery.unreadable) == 1


def test_a_picture_that_claims_to_be_huge_is_not_decoded(
    source: SourceReport, tmp_path: Path
) -> None:
    side = int(MAX_PIXELS**0.5) + 1000
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    gallery = make_gallery([with_products(source, stamp="a.png")], tmp_path)
    assert gallery.unreadable == {(0, "stamp")}
