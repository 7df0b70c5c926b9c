"""The page of results by hand, and who may withdraw them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fastapi import Request
from support.night_records import DATE, NightMaker, draw_plain
from support.operator_desk import HTML, Reader, make_task, post
from typer.testing import CliRunner

from dsa110_contimg.cli.main import app
from dsa110_contimg.operator_page.access import Visitor
from dsa110_contimg.qa.by_hand import name_run, products_of_run
from dsa110_contimg.qa.models import Verdict
from dsa110_contimg.qa.record_models import ImagingPlan
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit

RUN_ID = "manual__2026-01-26T08:00:00+00:00"
HERE = {"sec-fetch-site": "same-origin"}


def operator(request: Request) -> None:
    request.state.visitor = Visitor("op", sees_pools=True, is_only_user=False, may_withdraw=True)


@pytest.fixture
def run(night: NightMaker) -> str:
    """A run by hand with a good source, in a night that is not on record itself."""
    group = night.group_id(0)
    name = name_run(group, RUN_ID)
    ledger = NightLedger(night.root / "nights", DATE, name)
    ledger.save_plan(ImagingPlan(group_id=group, source_names=["J1", "J2"]))
    folder = products_of_run(night.root / "products", DATE, name) / "J1"
    result = night.measure(group, "J1", 0.3, products_dir=str(folder))
    folder.mkdir(parents=True)
    draw_plain(result, folder)
    ledger.save_source(group, result)
    return name


def test_they_are_shown_with_their_files(reader: Reader, run: str) -> None:
    page = reader.page("/by_hand")
    assert run in page
    assert "1 source measured, 1 failed or without an outcome." in page
    assert "Withdraw" not in page
    stamp = f"/products/{DATE}/by_hand/{run}/J1/stamp.png"
    assert reader.get(stamp).status_code == 200
    assert reader.get(stamp.replace("J1/stamp", "J1/other")).status_code == 404
    assert reader.get("/by_hand?date=2026-01-24").status_code == 200
    assert run not in reader.page("/by_hand?date=2026-01-24")


def test_only_who_may_start_runs_withdraws_and_from_no_other_site(
    reader: Reader, settings: Settings, run: str
) -> None:
    desk = Reader(settings, admit=operator)
    assert "Withdraw these results" in desk.page("/by_hand")
    foreign = [{}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}]
    foreign += [{"origin": "http://evil.test"}, {"origin": "null"}]
    assert [post(desk, run, headers) for headers in foreign] == [403] * len(foreign)
    assert post(reader, run, HERE) == 403
    assert run in desk.page("/by_hand")
    desk.facts.tasks = [replace(make_task("J1", state="queued"), run_id=RUN_ID)]
    assert post(desk, run, HERE) == 503
    desk.facts.tasks = [make_task("J1")]
    assert post(desk, "another", HERE) == 404
    assert post(desk, run, HERE) == 303
    assert run not in desk.page("/by_hand")
    assert not products_of_run(settings.products_dir, DATE, run).exists()
    assert post(desk, run, HTML | {"origin": "http://airflow.test"}) == 404


def test_the_command_lists_and_withdraws(settings: Settings, run: str) -> None:
    def ask(*arguments: str, status: int = 0) -> str:
        where = ["--work-dir", str(settings.work_dir)]
        result = CliRunner().invoke(app, ["by-hand", DATE, *where, *arguments])
        assert (result.exit_code == 0) is (status == 0)
        return result.stdout

    assert f"{run}  partial: 1 source measured" in ask()
    [listed] = json.loads(ask("--json"))
    assert (listed["run"], listed["verdict"]) == (run, Verdict.PARTIAL)
    ask("--withdraw", "another", status=1)
    assert "no results by hand" in ask("--withdraw", run)
