"""Three runs image one MS at once, while schedulers and supervisors are killed.

Whatever dies, no two processes hold the MS at an instant: the log of its lock has a span for
every hold, also for those that were cut short, and says if a holder ever met its successor.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

import pytest
from support.fragile_airflow import FragileAirflow, await_waiter, stopped_in_its_hold
from support.live_airflow import LiveAirflow, overlaps, spans_by_ms

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.catalog.sources import Source, read_sources, write_sources
from dsa110_contimg.errors import TransientError
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.settings import Settings
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult, simulate
from dsa110_contimg.simulation.schedule import plan_groups
from dsa110_contimg.storage.ms_access import AccessSpan, HoldEnd

pytestmark = [pytest.mark.airflow, pytest.mark.fault, pytest.mark.slow, pytest.mark.sweep]

DEC_DEG = 54.573
LOCK_ERRORS = ("Resource deadlock avoided", "acquiring lock", "cannot sync table", "ms_held")


@dataclass(frozen=True)
class Plan:
    """How much is done, and what is killed meanwhile."""

    night_sources: int
    manual_sources: int
    kills: tuple[str, ...]
    limit_s: float

    @property
    def n_tasks(self) -> int:
        """Imaging tasks of the scheduled, the backfilled and the manual run."""
        return 2 * self.night_sources + self.manual_sources


PLAN = (
    Plan(2, 28, ("orphaning", "supervisor", "sweeping", "supervisor", "orphaning"), 900.0)
    if os.environ.get("FAULT_SWEEP") == "long"
    else Plan(1, 10, ("supervisor", "orphaning"), 240.0)
)


@pytest.fixture(scope="module")
def one_group(tmp_path_factory: pytest.TempPathFactory) -> SimulationResult:
    """One group of the night that a schedule takes up first, and the middle of its field."""
    day = datetime.now(UTC).date() - timedelta(days=1)
    start = datetime.combine(day, time_of_day(8, 4, 54), UTC)
    [group] = plan_groups(start, 1, jitter=True, missing=(), seed=0)
    ra_deg, dec_deg = meridian_icrs_deg(DEC_DEG, group.mid_jd)
    return simulate(
        SimulationOptions(
            output_dir=tmp_path_factory.mktemp("one_group") / "incoming",
            start=start,
            n_antennas=8,
            sources=(Source(name="middle", ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=1.0),),
            dec_deg=DEC_DEG,
            sefd_jy=10.0,
        )
    )


def catalogue(group: SimulationResult, name: str) -> Path:
    return Path(group.output_dir).parent / f"{name}.ecsv"


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, one_group: SimulationResult
) -> Iterator[LiveAirflow]:
    """Airflow with a schedule, which notices the dead soon."""
    settings = Settings(
        work_dir=tmp_path_factory.mktemp("fragile") / "work",
        input_dir=one_group.output_dir,
        sources_file=catalogue(one_group, "scheduled"),
        photometry="image",
        backend="ducc0",
        calibration="off",
        settle_s=0,
    )
    airflow = FragileAirflow(settings, parallelism=4)
    try:
        with airflow:
            yield LiveAirflow(airflow, settings)
    finally:
        airflow.end_orphans()


def make_sources(
    group: SimulationResult, number: int, prefix: str, shift_deg: float
) -> list[Source]:
    """Positions in the field; whether there is anything at them does not matter here."""
    [middle, *_] = read_sources(Path(group.sources_path))
    return [
        Source(
            name=f"{prefix}{k}",
            ra_deg=middle.ra_deg + 0.02 * k + shift_deg,
            dec_deg=middle.dec_deg + 0.01 * k,
            flux_jy=1.0,
        )
        for k in range(number)
    ]


def insist(live: LiveAirflow, request: Callable[[], Any], what: str) -> Any:
    """Ask Airflow until it agrees: on SQLite it refuses a request while others write."""
    answers = []

    def is_accepted() -> bool:
        try:
            answers.append(request())
        except TransientError as error:
            if "Database" not in str(error):
                raise
        return bool(answers)

    live.wait_until(is_accepted, what, 120)
    return answers[0]


def start_runs(live: LiveAirflow, group: SimulationResult) -> tuple[Path, list[tuple[str, str]]]:
    """Start the three runs; the MS, and the runs of `nightly_transit` and by hand."""
    # The same names, or the report of one night would miss the sources of the other; but not
    # the same positions, or the second would have nothing to do.
    for name, shift_deg in (("scheduled", 0.0), ("backfilled", 0.004)):
        sources = make_sources(group, PLAN.night_sources, "night", shift_deg)
        write_sources(sources, catalogue(group, name))
    yesterday = datetime.fromisoformat(group.groups[0].start_utc).date()
    earlier = f"{yesterday - timedelta(days=1)}T00:00:00Z"
    backfill = {
        "dag_id": NIGHT_DAG,
        "from_date": earlier,
        "to_date": earlier,
        "dag_run_conf": {
            "date": str(yesterday),
            "sources_file": str(catalogue(group, "backfilled")),
        },
    }
    insist(live, lambda: live.client._request("POST", "/backfills", body=backfill), "the backfill")
    live.client.set_paused(NIGHT_DAG, paused=False)
    live.wait_until(lambda: len(live.client.dag_runs(IMAGE_DAG)) == 2, "imaging", 180)
    [ms] = (live.settings.ms_dir / str(yesterday)).glob("*.ms")
    by_hand = {
        "ms": str(ms),
        "sources": [
            source.model_dump(include={"name", "ra_deg", "dec_deg"})
            for source in make_sources(group, PLAN.manual_sources, "manual", 0.002)
        ],
        "max_spws": 1,
        "max_width": 1,
    }
    manual = insist(live, lambda: live.trigger(IMAGE_DAG, by_hand, name="manual"), "a manual run")
    nights = live.client.dag_runs(NIGHT_DAG)
    assert sorted(run["run_type"] for run in nights) == ["backfill", "scheduled"]
    return ms, [manual, *((NIGHT_DAG, run["dag_run_id"]) for run in nights)]


def kill(live: LiveAirflow, ms: Path, what: str) -> str:
    """Kill something while an imaging task holds the MS; what, in words."""
    airflow = live.airflow
    assert isinstance(airflow, FragileAirflow)
    # The run by hand has sources of its own: the next task does not wait for its products.
    with stopped_in_its_hold(airflow, ms, "manual") as holder:
        if what == "supervisor":
            airflow.kill_supervisor(holder)
        else:
            airflow.kill_scheduler(orphans=what == "orphaning")
        if what != "sweeping":
            # The holder is an orphan in its hold; Airflow thinks that its slot is free.
            await_waiter(airflow, holder, 90)
    return f"{what}: {holder.purpose}"


def all_logs(live: LiveAirflow) -> str:
    return "".join(
        path.read_text(errors="replace") for path in live.settings.logs_dir.rglob("*.log")
    )


def test_killed_schedulers_and_supervisors_never_make_two_holders(
    live: LiveAirflow, one_group: SimulationResult
) -> None:
    start = time.monotonic()
    ms, runs = start_runs(live, one_group)
    killed = [kill(live, ms, what) for what in PLAN.kills]
    states = live.finish(*runs, timeout_s=PLAN.limit_s)
    images = live.client.dag_runs(IMAGE_DAG)
    tasks = [task for task in live.client.task_instances(IMAGE_DAG) if task["task_id"] == "image"]
    log = live.settings.logs_dir / "ms_access.jsonl"
    spans = [AccessSpan.model_validate_json(line) for line in log.read_text().splitlines()]
    figures = {
        "seconds": round(time.monotonic() - start),
        "killed": killed,
        "tries": sorted(Counter(task["try_number"] for task in tasks).items()),
        "holds": Counter(span.end.value for span in spans),
        "task overlaps": {
            name: len(overlaps(found))
            for name, found in spans_by_ms(live.settings.logs_dir / "ms_tasks.jsonl").items()
        },
    }
    print(json.dumps(figures, indent=1))  # noqa: T201 - shown where the test fails, or with -s

    assert states == ["success"] * 3
    assert [run["state"] for run in images] == ["success"] * 3
    assert Counter(task["state"] for task in tasks) == {"success": PLAN.n_tasks}

    assert {span.ms for span in spans} == {str(ms)}
    assert overlaps((span.start_s, span.end_s) for span in spans) == []
    holds = Counter(span.end for span in spans)
    assert holds[HoldEnd.LOST] == 0
    assert holds[HoldEnd.KILLED] >= PLAN.kills.count("sweeping")
    # Each task that images read the MS at least once, in a hold that it ended itself.
    ended = {span.purpose for span in spans if span.end is HoldEnd.RELEASED}
    others = {p for p in ended if p.startswith("convert ") or p.endswith((" sources", ": prepare"))}
    assert len(ended - others) == PLAN.n_tasks
    logs = all_logs(live)
    assert {word: logs.count(word) for word in LOCK_ERRORS} == dict.fromkeys(LOCK_ERRORS, 0)
