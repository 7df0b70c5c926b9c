"""One pool of one slot per MS, whatever made the run; see also `test_exclusive_pools`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dsa110_contimg.orchestration.home import find_project_folder
from dsa110_contimg.orchestration.pools import MS_POOL, ms_pool_name, run_ms

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `pool_policy_child` says, and where the MSs were."""
    root = tmp_path_factory.mktemp("policy")
    done = subprocess.run(
        [sys.executable, "-P", SUPPORT / "pool_policy_child.py", SUPPORT / "dags", root],
        env={
            **os.environ,
            "HOME": str(root),
            "AIRFLOW_HOME": str(root / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(SUPPORT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(find_project_folder("plugins")),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {**json.loads((root / "answer.json").read_text()), "root": root}


@pytest.mark.airflow
class TestPolicy:
    def test_all_tasks_that_touch_an_ms_get_its_pool(self, answer: dict[str, Any]) -> None:
        """Also those that are mapped at run time, and that were tried again."""
        pool = ms_pool_name(str(answer["root"] / "ms/A.ms"))
        assert answer["a"] == {
            "prepare[-1]": pool,
            "touch[0]": pool,
            "touch[1]": pool,
            "touch[2]": pool,
            "other[-1]": "default_pool",
        }

    def test_another_path_of_the_ms_has_the_same_pool(self, answer: dict[str, Any]) -> None:
        assert answer["a again"] == answer["a"]

    def test_another_ms_has_another_pool(self, answer: dict[str, Any]) -> None:
        assert set(answer["b"].values()).isdisjoint(set(answer["a"].values()) - {"default_pool"})

    def test_a_run_without_ms_does_not_wait_for_a_pool(self, answer: dict[str, Any]) -> None:
        """Its tasks start, and `read_request` refuses what names no MS by the same rule."""
        assert set(answer["no ms"].values()) == {"default_pool"}
        assert MS_POOL not in answer["pools"]

    def test_each_pool_has_one_slot_and_one_row(self, answer: dict[str, Any]) -> None:
        names = {ms_pool_name(str(answer["root"] / f"ms/{name}.ms")) for name in "AB"}
        assert answer["twice"] in names
        assert {name: answer["pools"][name] for name in names} == dict.fromkeys(names, 1)
        assert len(answer["pools"]) == 3

    def test_only_pools_long_idle_go(self, answer: dict[str, Any]) -> None:
        assert answer["reaped early"] == 0
        assert answer["reaped in use"] == 0
        assert answer["reaped waiting"] == 0
        assert answer["reaped late"] == 2
        assert set(answer["pools at last"]) == {"default_pool"}


@pytest.mark.airflow
class TestMarks:
    def test_a_run_marked_as_failed_while_it_is_judged_stays_failed(
        self, answer: dict[str, Any]
    ) -> None:
        """The scheduler has read it before; all its tasks are skipped or done, which is success."""
        assert answer["marked meanwhile"] == "failed"

    def test_a_failed_run_may_be_marked_as_a_success(self, answer: dict[str, Any]) -> None:
        assert answer["marked by hand"] == "success"


@pytest.mark.unit
class TestNames:
    def test_readable_and_fit_for_metrics(self) -> None:
        name = ms_pool_name("/data/ms/2026-01-25/2026-01-25T08:04:54.ms")
        assert name.startswith("ms-2026-01-25T08-04-54-")
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzT0123456789-.")

    def test_depends_on_the_whole_path(self) -> None:
        assert ms_pool_name("/a/x.ms") != ms_pool_name("/b/x.ms")
        assert ms_pool_name("/a/x.ms") == ms_pool_name("/a/../a/x.ms/")
        assert len(ms_pool_name("/a/" + "x" * 250 + ".ms")) < 256

    @pytest.mark.parametrize("conf", [None, {}, {"ms": ""}, {"ms": "  "}, {"ms": 3}])
    def test_a_conf_without_ms(self, conf: dict[str, Any] | None) -> None:
        assert run_ms(conf) is None
