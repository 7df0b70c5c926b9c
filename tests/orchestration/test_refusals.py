"""Refused requests: no alert, no record, and a word for who asked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.alerts.night import announce_failed_run, announce_night
from dsa110_contimg.orchestration.alerts.raising import list_alerts
from dsa110_contimg.orchestration.backfill import BackfillOptions, run_backfill
from dsa110_contimg.orchestration.night import NightOptions, run_night
from dsa110_contimg.orchestration.transit_tasks import judge_night, report_run
from dsa110_contimg.settings import get_settings

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("private_places")]

DAY = datetime(2026, 1, 25, tzinfo=UTC)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work/incoming").mkdir(parents=True)
    return tmp_path / "work"


def tree(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def context_of(params: dict[str, Any]) -> dict[str, Any]:
    return {"params": params, "run_id": "manual__1", "reason": "task_failure"}


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"date": "2026-01-25", "input_dir": "WORK/incomming"}, "missing_directory"),
        ({"date": "2026-01-25", "sources_file": "WORK/none.ecsv"}, "missing_catalogue"),
        ({"date": "2026-01-25", "input_dir": "/etc"}, "path_not_allowed"),
        ({"date": "2026-01-25", "dec_dgr": 54.0}, "unknown_parameter"),
        ({}, "no_date"),
    ],
)
def test_nothing_is_written_or_sent(work: Path, params: dict[str, Any], reason: str) -> None:
    named = {name: str(text).replace("WORK", str(work)) for name, text in params.items()}
    context = context_of(named)
    before = tree(work)
    summary = report_run(None, context)
    assert summary["reason"] == reason
    for told in (summary, None):
        assert "is refused" in announce_night(told, context)
    assert "is refused" in announce_failed_run(context)
    with pytest.raises(InputError) as refusal:
        judge_night(summary)
    assert (refusal.value.message, refusal.value.reason) == (summary["refusal"], reason)
    assert tree(work) == before


@pytest.mark.parametrize("params", [{"date": "2026-01-25"}, None])
def test_other_failures_are_told_to_all(work: Path, params: dict[str, Any] | None) -> None:
    """Also where a callback knows no more of its run than the id."""
    context = context_of(params or {})
    if params is None:
        del context["params"]
    (work / "incoming").rmdir()
    announce_failed_run(context)
    [record] = list_alerts(get_settings())
    assert record.alert.subject == ("2026-01-25" if params else "manual__1")


def test_commands_refuse_before_airflow_starts(work: Path) -> None:
    settings, before = get_settings(), tree(work)
    mistyped = {"input_dir": work / "incomming"}, {"sources_file": work / "none.ecsv"}
    for paths in mistyped:
        options = BackfillOptions(first=DAY.date(), last=DAY.date(), **paths)
        with pytest.raises(InputError, match=r"does not exist|no source catalogue"):
            run_backfill(options, settings)
    for changed, file in ((settings.model_copy(update=mistyped[0]), None), (settings, "none.ecsv")):
        catalogue = work / file if file else None
        with pytest.raises(InputError, match=r"does not exist|no source catalogue"):
            run_night(NightOptions(date="2026-01-25", sources_file=catalogue), changed)
    assert tree(work) == before
