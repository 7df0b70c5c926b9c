"""At no instant two tasks on one MS, and at some instant three MSs at once: in a real scheduler."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.fragile_airflow import workers_below
from support.live_airflow import LiveAirflow, Span, most_at_once, overlaps, seconds, spans_by_ms

from dsa110_contimg.orchestration.pools import ms_pool_name
from dsa110_contimg.orchestration.runs import HOUSEKEEPING_DAG, IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.simulation.night import SimulationResult

pytestmark = [pytest.mark.airflow, pytest.mark.slow]


def test_scheduled_and_manual_runs_share_the_ms(
    live_by_clock: LiveAirflow, yesterday: SimulationResult
) -> None:
    """A scheduled night of 3 MSs x 4 sources, and two manual runs on one of the MSs."""
    live = live_by_clock
    date = yesterday.groups[0].start_utc[:10]
    ms_dir = live.settings.ms_dir / date
    live.client.set_paused(NIGHT_DAG, paused=False)
    live.wait_until(lambda: live.client.dag_runs(NIGHT_DAG), "the scheduled run", 60)
    runs = live.client.dag_runs(NIGHT_DAG)
    [night] = [run for run in runs if run["data_interval_start"].startswith(date)]
    assert night["run_type"] == "scheduled"
    live.wait_until(lambda: len(live.client.dag_runs(IMAGE_DAG)) == 3, "imaging", 120)
    ms = sorted(ms_dir.glob("*.ms"))[1]
    alias = ms_dir.parent / "alias"
    alias.symlink_to(ms_dir)
    # Both redo two sources: by hand as the UI does, and by another name of the same MS.
    manual = [
        live.trigger(
            IMAGE_DAG,
            {
                "ms": str(path),
                "sources": [
                    {"name": f"target{k}", "ra_deg": ra_deg, "dec_deg": dec_deg}
                    for k, (ra_deg, dec_deg) in enumerate(_positions(yesterday)[:2])
                ],
                "max_spws": 2,
                "max_width": 2,
                "reprocess": True,
            },
            name="manual",
        )
        for path in (ms, alias / ms.name)
    ]
    states = live.finish((NIGHT_DAG, night["dag_run_id"]), *manual)
    assert states == ["success"] * 3
    images = live.client.dag_runs(IMAGE_DAG)
    assert sorted(run["run_type"] for run in images) == ["manual"] * 2 + ["operator_triggered"] * 3

    expected = {str(path): 6 + (8 if path == ms else 0) for path in sorted(ms_dir.glob("*.ms"))}
    by_task = spans_by_ms(live.settings.logs_dir / "ms_tasks.jsonl")
    by_pool = _spans_by_pool(live)
    by_lock = spans_by_ms(live.settings.logs_dir / "ms_access.jsonl")
    assert {name: len(spans) for name, spans in by_task.items()} == expected
    assert {name: len(spans) for name, spans in by_pool.items()} == {
        ms_pool_name(name): count for name, count in expected.items()
    }
    for spans in (*by_task.values(), *by_pool.values(), *by_lock.values()):
        assert overlaps(spans) == []
    for spans_of in (by_task, by_pool):
        assert most_at_once(span for spans in spans_of.values() for span in spans) == 3
    assert set(expected) <= set(by_lock)


def test_housekeeping_reaps_pools_that_were_long_idle(live_by_clock: LiveAirflow) -> None:
    """A run of it is all that it takes; MSs and sandboxes in use would stop none of this."""
    live = live_by_clock

    def pools() -> set[str]:
        return {pool["name"] for pool in live.client.pools()} - {"default_pool"}

    idle = pools()
    assert len(idle) >= 3
    assert live.finish(live.trigger(HOUSEKEEPING_DAG, {})) == ["success"]
    assert pools() == idle, "used today"
    with closing(sqlite3.connect(live.airflow.home.database, timeout=60)) as database, database:
        database.execute("UPDATE task_instance SET end_date = '2026-01-01' WHERE pool LIKE 'ms-%'")
    assert live.finish(live.trigger(HOUSEKEEPING_DAG, {})) == ["success"]
    live.wait_until(lambda: pools() == set(), "the end of idle pools", 30)


def _positions(night: SimulationResult) -> list[tuple[float, float]]:
    """Where the sources are."""
    from dsa110_contimg.catalog.sources import read_sources

    return [(source.ra_deg, source.dec_deg) for source in read_sources(Path(night.sources_path))]


def _spans_by_pool(live: LiveAirflow) -> dict[str, list[Span]]:
    """When the tasks of each pool ran, by Airflow's own records."""
    found: dict[str, list[Span]] = {}
    for task in live.client.task_instances(IMAGE_DAG):
        if task["task_id"] == "summary":
            assert task["pool"] == "default_pool"
            continue
        assert task["state"] == "success"
        span = seconds(task["start_date"]), seconds(task["end_date"])
        found.setdefault(task["pool"], []).append(span)
    return found


def test_tasks_begin_with_the_imports_of_the_stages(live_by_clock: LiveAirflow) -> None:
    """A worker that supervises tasks never imports casacore itself: it was born with it."""
    assert live_by_clock.finish(live_by_clock.trigger(HOUSEKEEPING_DAG, {})) == ["success"]
    scheduler = psutil.Process(live_by_clock.airflow._services["scheduler"].pid)
    workers = workers_below(scheduler)
    assert workers
    for worker in workers:
        assert any("casacore/tables" in loaded.path for loaded in worker.memory_maps())
