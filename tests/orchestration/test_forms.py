"""The forms: what they let through, and the words for what they do not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.forms import image_form, night_form
from dsa110_contimg.orchestration.ms_requests import check_sources, read_request
from dsa110_contimg.orchestration.runs import plan_night
from dsa110_contimg.orchestration.transit_tasks import check_request, night_ledger
from dsa110_contimg.settings import get_settings

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("private_places")]

GROUP = "2026-01-25T08:04:54"


@pytest.fixture
def night_params(private_places: None) -> dict[str, Any]:
    return {name: param.resolve() for name, param in night_form(get_settings()).items()}


@pytest.fixture
def ms_params(private_places: None, tmp_path: Path) -> dict[str, Any]:
    ms = tmp_path / f"work/ms/2026-01-25/{GROUP}.ms"
    form = image_form(get_settings())
    return {name: param.resolve() for name, param in form.items() if name != "ms"} | {"ms": str(ms)}


def test_an_empty_form_leaves_all_to_the_settings(
    night_params: dict[str, Any], ms_params: dict[str, Any], tmp_path: Path
) -> None:
    night = plan_night({**night_params, "date": "2026-01-25"}, None, None, get_settings())
    assert (night.dec_deg, night.reprocess) == (None, False)
    assert night.input_dir == tmp_path / "work/incoming"
    request = read_request(ms_params)
    assert (request.sources, request.sources_file, request.reprocess) == (None, None, False)
    assert (request.target_snr, request.min_width, request.max_width) == (5.0, 1, 16)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("date", "25 January"),
        ("date", "2026-02-30"),
        ("dec_deg", 91),
        ("dec_deg", "north"),
        ("dec_tolerance_deg", 0),
        ("reprocess", "perhaps"),
        ("input_dir", 7),
    ],
)
def test_airflow_refuses_at_the_trigger(private_places: None, name: str, value: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    param = night_form(get_settings())[name]
    with pytest.raises(ParamValidationError, match=str(value)[:5]):
        param.resolve(value)


@pytest.mark.parametrize(
    ("params", "reason", "words"),
    [
        ({"date": "2026-01-25", "start": "2026-01-25T08:00Z"}, "date_and_range", "both"),
        ({"start": "2026-01-25T08:00Z"}, "half_range", "only the start"),
        ({"end": "2026-01-25T08:00Z"}, "half_range", "only the end"),
        (
            {"start": "2026-01-25T09:00:00Z", "end": "2026-01-25T09:00:00+01:00"},
            "empty_interval",
            "the end 2026-01-25T08:00:00Z is not after the start 2026-01-25T09:00:00Z",
        ),
        ({"start": "2026-01-25T08:00Z", "end": "2026-01-27"}, "long_interval", "more than a day"),
        ({"start": "soon", "end": "later"}, "bad_time", "the start 'soon'"),
        ({"date": "2026-01-25", "input_dir": "/etc"}, "path_not_allowed", "the input directory"),
        ({"date": "2026-01-25", "sources_file": "s.csv"}, "relative_path", "the source catalogue"),
        ({"date": "2026-01-25", "dec_deg": 99}, "bad_parameter", "dec_deg"),
    ],
)
def test_wrong_nights_are_refused_in_words(
    night_params: dict[str, Any], params: dict[str, Any], reason: str, words: str
) -> None:
    with pytest.raises(InputError) as refusal:
        plan_night({**night_params, **params}, None, None, get_settings())
    assert refusal.value.reason == reason
    assert words in refusal.value.message
    assert refusal.value.remedy


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-01-25T08:00:00Z", "2026-01-26T02:00:00Z"),
        ("2026-01-25T08:00:00", "2026-01-26T02:00:00"),
        ("2026-01-25T00:00:00-08:00", "2026-01-25T18:00:00-08:00"),
    ],
)
def test_a_time_range(night_params: dict[str, Any], start: str, end: str) -> None:
    night = plan_night({**night_params, "start": start, "end": end}, None, None, get_settings())
    assert night.date == "2026-01-25"
    assert night.start.isoformat() == "2026-01-25T08:00:00+00:00"
    assert night.end.isoformat() == "2026-01-26T02:00:00+00:00"


def test_a_catalogue_that_cannot_be_read_is_refused(
    night_params: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    catalogue = tmp_path / "work/targets.ecsv"
    params = {**night_params, "date": "2026-01-25", "sources_file": str(catalogue)}
    night = plan_night(params, None, None, get_settings())
    with pytest.raises(InputError, match=r"no source catalogue at .*targets\.ecsv"):
        check_request(night)
    assert not night_ledger("2026-01-25").exists()
    catalogue.write_text("name,ra_deg\na,1\n")
    with pytest.raises(InputError, match="targets"):
        check_request(night)


def test_every_entry_of_the_forms_is_bounded(private_places: None) -> None:
    bounds = {
        "string": {"maxLength", "pattern"},
        "number": {"maximum"},
        "integer": {"maximum"},
        "array": {"maxItems"},
    }
    for form in (night_form(get_settings()), image_form(get_settings())):
        for name, param in form.items():
            kinds = param.schema.get("type", [])
            for kind in [kinds] if isinstance(kinds, str) else kinds:
                assert bounds.get(kind, set()) <= param.schema.keys(), name


def test_the_catalogue_of_the_settings_may_come_later(night_params: dict[str, Any]) -> None:
    night = plan_night({**night_params, "date": "2026-01-25"}, None, None, get_settings())
    assert not night.sources_file.exists()
    check_request(night)


@pytest.mark.parametrize(
    ("params", "reason", "words"),
    [
        ({"ms": "/etc"}, "path_not_allowed", "the Measurement Set /etc"),
        ({"ms": "g.ms"}, "no_ms", "'g.ms'"),
        ({"sources_file": "/etc/hosts"}, "path_not_allowed", "the source catalogue /etc/hosts"),
        ({"sources_text": "a 1 2\nb 3"}, "bad_sources", "line 2"),
        (
            {"sources_text": "a 1 2", "sources": [{"name": "a", "ra_deg": 1, "dec_deg": 2}]},
            "sources_twice",
            "as text and as JSON",
        ),
        ({"target_snr": -1}, "bad_parameter", "target_snr"),
        ({"by_hand": "x"}, "unknown_parameter", "'by_hand'"),
        ({"source_file": None}, "unknown_parameter", "no parameter 'source_file'"),
    ],
)
def test_wrong_requests_are_refused_in_words(
    ms_params: dict[str, Any], params: dict[str, Any], reason: str, words: str
) -> None:
    with pytest.raises(InputError) as refusal:
        read_request({**ms_params, **params})
    assert refusal.value.reason == reason
    assert words in refusal.value.message
    assert refusal.value.remedy


def test_sources_as_text(ms_params: dict[str, Any]) -> None:
    request = read_request({**ms_params, "sources_text": "a 08:34:54.9 +55:34:21\n"})
    assert request.sources is not None
    [source] = request.sources
    assert (source.name, source.ra_deg) == ("a", pytest.approx(128.72875))


def test_a_catalogue_that_a_request_names_is_looked_at_first(
    ms_params: dict[str, Any], tmp_path: Path
) -> None:
    named = {**ms_params, "sources_file": str(tmp_path / "work/targets.ecsv")}
    with pytest.raises(InputError, match="no source catalogue"):
        check_sources(read_request(named), "a test")
    check_sources(read_request(ms_params), "a test")


def test_the_forms_do_not_change_with_what_is_made() -> None:
    """A form that changes is a new version of its DAG, which every run has to take up."""

    def written() -> str:
        settings = get_settings()
        forms = (night_form(settings), image_form(settings))
        return json.dumps([[name, one.dump()] for form in forms for name, one in form.items()])

    before = written()
    ms = get_settings().ms_dir / f"2026-01-25/{GROUP}.ms"
    ms.mkdir(parents=True)
    manifest = ms.with_name(f"{ms.name}.manifest.json")
    manifest.touch()
    os.utime(manifest, (0, 0))
    assert written() == before


def test_the_form_can_be_written_down(private_places: None) -> None:
    """As Airflow does for its UI; a schema that is none would only show at the trigger."""
    from jsonschema.validators import validator_for

    settings = get_settings()
    for param in [*night_form(settings).values(), *image_form(settings).values()]:
        assert json.loads(json.dumps(param.schema)) == param.schema
        validator_for(param.schema).check_schema(param.schema)
