"""The parameters of a run of `image_ms`, and its last word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dsa110_contimg.errors import InputError, ScienceQualityError
from dsa110_contimg.orchestration.ms_requests import read_request
from dsa110_contimg.orchestration.ms_tasks import judge_sources
from dsa110_contimg.orchestration.pools import run_ms
from dsa110_contimg.settings import get_settings

pytestmark = pytest.mark.unit

SOURCE = {"name": "a", "ra_deg": 1.0, "dec_deg": 2.0}


@pytest.fixture(autouse=True)
def _any_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Which paths are allowed is a question of its own: `test_request_paths`."""
    monkeypatch.setenv("DSA110_CONTIMG_ALLOWED_ROOTS", "/")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_what_the_form_leaves_empty_is_not_given() -> None:
    params = {"ms": "/x.ms", "sources": [], "sources_file": "", "max_spws": None, "night": None}
    request = read_request(params)
    assert request.sources is None
    assert request.sources_file is None
    assert (request.target_snr, request.max_width, request.reprocess) == (5.0, 16, False)


def test_the_ms_goes_by_its_true_name(tmp_path: Path) -> None:
    (tmp_path / "true.ms").mkdir()
    (tmp_path / "link.ms").symlink_to("true.ms")
    assert read_request({"ms": str(tmp_path / "link.ms")}).ms == tmp_path / "true.ms"


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({}, "ms"),
        ({"ms": "/x.ms", "target_snr": 0}, "target_snr"),
        ({"ms": "/x.ms", "sources": [{**SOURCE, "ra_deg": 400}]}, "sources.0.ra_deg"),
        ({"ms": "/x.ms", "backend": "magic"}, "backend"),
    ],
)
def test_bad_parameters_are_named(params: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=f"parameter {word}:"):
        read_request(params)


@pytest.mark.parametrize("ms", ["", "   ", "x.ms", "/" + "a/" * 400_000, "/" * 1000, "/a\0b.ms", 7])
def test_what_is_no_path_of_an_ms_is_refused_unread(ms: Any, monkeypatch: Any) -> None:
    """The cluster policy reads it inside Airflow's transactions."""
    get_settings()  # their own paths are followed when they are read
    monkeypatch.setattr("os.path.realpath", pytest.fail)
    assert run_ms({"ms": ms}) is None
    with pytest.raises(InputError, match="parameter ms") as refusal:
        read_request({"ms": ms})
    assert len(str(refusal.value)) < 300


def test_the_last_word() -> None:
    planned = [{**SOURCE, "name": name} for name in "abc"]
    left = [{"source": source, "field_fit": None} for source in planned]
    assert judge_sources(planned, [], []) == "3 sources measured"
    assert judge_sources(planned, left, ["c", "b", "a"]) == "3 sources measured"
    assert judge_sources([], [], []) == "no source lies in the field"
    with pytest.raises(ScienceQualityError, match="not all could be measured"):
        judge_sources(planned, None, [])
    with pytest.raises(ScienceQualityError, match="2 of 3 sources failed: a, c"):
        judge_sources(planned, left, ["b"])
    with pytest.raises(InputError, match="could not be prepared"):
        judge_sources(None, None, [])
