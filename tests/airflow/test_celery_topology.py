"""docker-compose.yaml's services as processes: a night on two workers, and one that is killed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from datetime import time as clock
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.descendants import ask_descendants, listening_addresses
from support.live_airflow import LiveAirflow, Run, overlaps, seconds, spans_by_ms
from support.login import log_in
from support.topology import WORKERS, Topology, need_the_programs, running_topology

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.operator_page.late import PREFIX
from dsa110_contimg.orchestration.client import AirflowClient, Login
from dsa110_contimg.orchestration.queues import CASA, CONVERT, LIGHT
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.settings import Settings
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult, simulate
from dsa110_contimg.simulation.schedule import plan_groups
from dsa110_contimg.storage.ms_access import Holder, read_holder

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.alone]

DEC_DEG = 54.573
DATES = ("2026-01-25", "2026-01-26")
N_GROUPS = 4
SOURCES = ("one", "two")
HEARTBEAT_TIMEOUT_S = {"short": 15, "long": 60}[os.environ.get("FAULT_SWEEP", "short")]
"""After which a dead worker's task is given up; the long form has the file's own value."""
RETRY_DELAY_S = 40.0
"""20 s, and as much again for the exponential back-off's jitter."""
REDELIVERY_S = 600
"""After which Redis hands out again what a worker had taken and not begun when it was killed."""


def simulate_night(folder: Path, date: str) -> SimulationResult:
    """A night of four groups of four antennas with two sources in every field."""
    start = datetime.combine(datetime.fromisoformat(date).date(), clock(8, 4, 54), UTC)
    planned = plan_groups(start, N_GROUPS, jitter=True, missing=(), seed=0)
    middle_jd = sum(group.mid_jd for group in planned) / N_GROUPS
    ra_deg, dec_deg = meridian_icrs_deg(DEC_DEG, middle_jd)
    sources = tuple(
        Source(name=name, ra_deg=ra_deg + 0.3 * k, dec_deg=dec_deg, flux_jy=2.0)
        for k, name in enumerate(SOURCES)
    )
    return simulate(
        SimulationOptions(
            output_dir=folder,
            start=start,
            n_groups=N_GROUPS,
            n_antennas=4,
            sources=sources,
            dec_deg=DEC_DEG,
            sefd_jy=10.0,
        )
    )


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SimulationResult]:
    """Two nights, each in a directory of its own."""
    need_the_programs()
    root = tmp_path_factory.mktemp("nights")
    return {date: simulate_night(root / date, date) for date in DATES}


@pytest.fixture(scope="module")
def topology(
    nights: dict[str, SimulationResult], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Topology]:
    """All services."""
    own = {
        "DSA110_CONTIMG_CALIBRATION": "off",
        "DSA110_CONTIMG_PHOTOMETRY": "image",
        "DSA110_CONTIMG_BACKEND": "ducc0",
        "DSA110_CONTIMG_SETTLE_S": "0",
        "DSA110_CONTIMG_LOW_DISK_GB": "0",
        "DSA110_CONTIMG_LOW_TMPFS_GB": "0",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT_S),
    }
    root = tmp_path_factory.mktemp("topology")
    with running_topology(Topology(root, Path(nights[DATES[0]].output_dir).parent, own)) as running:
        yield running


@pytest.fixture(scope="module")
def live(topology: Topology) -> LiveAirflow:
    """Triggers runs, once the DAGs are known."""
    settings = Settings(work_dir=topology.work_dir)
    live = LiveAirflow(topology, settings)
    topology.wait_until(lambda: live.client.dag(NIGHT_DAG), "the DAG of the night")
    topology.wait_until(lambda: live.client.dag(IMAGE_DAG), "the DAG of an MS")
    assert live.client.import_errors() == {}
    live.client.set_paused(NIGHT_DAG, paused=False)
    return live


def start_night(live: LiveAirflow, night: SimulationResult) -> Run:
    """Ask for a night by hand."""
    return live.trigger(
        NIGHT_DAG,
        {
            "date": night.groups[0].start_utc[:10],
            "input_dir": str(night.output_dir),
            "sources_file": str(night.sources_path),
        },
    )


def assert_complete(live: LiveAirflow, date: str) -> None:
    """Every group has its MS, and every source was imaged once in each."""
    report = live.report(date)
    assert report["failures"] == []
    assert [group["outcome"] for group in report["groups"]] == ["converted"] * N_GROUPS
    assert len(report["measurement_sets"]) == N_GROUPS
    imaged = sorted((source["group_id"], source["name"]) for source in report["sources"])
    groups = sorted(group["group_id"] for group in report["groups"])
    assert imaged == [(group, name) for group in groups for name in SOURCES]
    assert all(source["success"] for source in report["sources"])


def assert_one_at_a_time(live: LiveAirflow) -> None:
    """Neither two tasks nor two holders were ever at one MS."""
    for log in ("ms_tasks.jsonl", "ms_access.jsonl"):
        spans = spans_by_ms(live.settings.logs_dir / log)
        assert spans
        assert {ms: overlaps(found) for ms, found in spans.items()} == {ms: [] for ms in spans}


def access_log(live: LiveAirflow) -> list[dict[str, Any]]:
    """Every hold of an MS."""
    lines = (live.settings.logs_dir / "ms_access.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def first_night(live: LiveAirflow, nights: dict[str, SimulationResult]) -> Run:
    """A night that nothing disturbs."""
    run = start_night(live, nights[DATES[0]])
    assert live.finish(run, timeout_s=400) == ["success"]
    return run


def test_a_night_is_complete(live: LiveAirflow, first_night: Run) -> None:
    assert_complete(live, DATES[0])
    assert_one_at_a_time(live)


def test_both_workers_did_it(live: LiveAirflow, first_night: Run) -> None:
    tasks = live.client.task_instances(IMAGE_DAG)
    assert {task["hostname"] for task in tasks if task["task_id"] == "image"} == set(WORKERS)
    assert {hold["host"] for hold in access_log(live)} == set(WORKERS)


def test_tasks_wait_in_their_queues(live: LiveAirflow, first_night: Run) -> None:
    queues: dict[str, set[str]] = {}
    for dag in (NIGHT_DAG, IMAGE_DAG):
        for task in live.client.task_instances(dag):
            queues.setdefault(task["queue"], set()).add(task["task_id"])
    assert set(queues) == {CONVERT, CASA, LIGHT}
    assert queues[CONVERT] == {"process.convert"}
    assert queues[CASA] == {"measure", "image"}
    assert {"discover", "report", "summary"} <= queues[LIGHT]


@pytest.mark.parametrize(
    "service", ["redis", *(f"airflow-{name}" for name in ("apiserver", "scheduler"))]
)
def test_quick_health_checks(topology: Topology, service: str) -> None:
    command = [in_its_port(topology, word) for word in topology.compose.health_check(service)]
    topology.run(command, topology.environment(service))


def in_its_port(topology: Topology, word: str) -> str:
    """A container's port is not this machine's."""
    for inside, name in ((":8080/", "api"), (":8974/", "health")):
        word = word.replace(inside, f":{topology.ports[name]}/")
    return word.replace("redis-cli", f"redis-cli -p {topology.ports['redis']}")


@pytest.mark.parametrize(
    "service", ["airflow-dag-processor", "airflow-triggerer", "airflow-worker-casa"]
)
def test_slow_health_checks(topology: Topology, live: LiveAirflow, service: str) -> None:
    environment = topology.environment(service)
    if service == "airflow-worker-casa":
        environment["HOSTNAME"] = WORKERS[0]
    topology.run(topology.compose.health_check(service), environment)


def test_listens_on_loopback_only(topology: Topology) -> None:
    """No service, nor anything that it started: brokers, databases, servers of logs."""
    assert listening_addresses() == {("127.0.0.1", port) for port in topology.ports.values()}


def test_secrets_are_in_no_argument_and_in_no_log(topology: Topology, first_night: Run) -> None:
    """The arguments of a process are everybody's to read."""
    shown = ask_descendants(lambda process: " ".join(process.cmdline()))
    assert any("celery" in arguments for arguments in shown)
    shown += [
        path.read_text(errors="replace")
        for folder in (topology.root, topology.work_dir / "logs")
        for path in folder.rglob("*.log")
    ]
    for name, secret in topology.secrets.items():
        assert not any(secret in text for text in shown), name
    assert topology.secrets["AIRFLOW_ADMIN_PASSWORD"] not in repr(topology.login)


@pytest.mark.parametrize(
    "login", [None, Login(user="operator", password=SecretStr("guessed"))], ids=["none", "wrong"]
)
def test_without_the_password_nothing_is_told(topology: Topology, login: Login | None) -> None:
    client = AirflowClient(topology.url, login)
    with contextlib.closing(client), pytest.raises(InputError) as refusal:
        client.pools()
    assert refusal.value.reason == "login_refused"
    assert "guessed" not in str(refusal.value)


def test_the_operator_page_is_for_users_who_may_read_the_dags(
    topology: Topology, live: LiveAirflow, first_night: Run
) -> None:
    """Users, passwords and roles are those of Airflow's auth manager for several users."""
    assert first_night
    guest = Login(user="guest", password=SecretStr(secrets.token_hex(16)))
    topology.run(
        [
            *("airflow", "users", "create", "--username", guest.user, "--role", "Public"),
            *("--password", guest.password.get_secret_value(), "--email", "guest@example.org"),
            *("--firstname", "G", "--lastname", "uest"),
        ],
        topology.environment("airflow-init"),
    )
    anybody = httpx.Client(base_url=topology.url, trust_env=False, timeout=60)
    visitors = [
        log_in(topology.url, login.user, login.password.get_secret_value())
        for login in (guest, topology.login)
    ]
    with anybody, visitors[0], visitors[1]:
        for address in (f"{PREFIX}/", f"{PREFIX}/now", f"{PREFIX}/nights/{DATES[0]}"):
            pages = [browser.get(address) for browser in (anybody, *visitors)]
            assert [page.status_code for page in pages] == [401, 403, 200]
            assert "operator" in pages[-1].text
    groups = [g["group_id"].replace("T", " ") for g in live.report(DATES[0])["groups"]]
    assert [group for group in groups if group not in pages[-1].text] == []


@pytest.mark.fault
@pytest.mark.sweep
def test_a_killed_worker_is_replaced(
    topology: Topology,
    live: LiveAirflow,
    nights: dict[str, SimulationResult],
    first_night: Run,
    record_property: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed in the hold of an MS: its task is done by the other worker, and nothing is lost."""
    victim, survivor = WORKERS
    run = start_night(live, nights[DATES[1]])
    ms, holder = hold_of(topology, live.settings.ms_dir / DATES[1], victim)
    killed_s = time.time()
    topology.kill_machine(victim)
    assert live.finish(run, timeout_s=REDELIVERY_S + 360) == ["success"]
    assert_complete(live, DATES[1])
    assert_one_at_a_time(live)

    image_run = holder.purpose.removeprefix(f"{IMAGE_DAG} ").rpartition(": ")[0]
    again = [
        task for task in live.client.task_instances(IMAGE_DAG, image_run) if task["try_number"] > 1
    ]
    assert again
    assert {(task["state"], task["hostname"]) for task in again} == {("success", survivor)}
    [end] = [
        hold for hold in access_log(live) if hold["ms"] == str(ms) and hold["end"] != "released"
    ]
    assert (end["host"], end["end"], end["purpose"]) == (victim, "killed", holder.purpose)

    recovery_s = min(seconds(task["start_date"]) for task in again) - killed_s
    record_property("recovery_s", round(recovery_s, 1))
    with capsys.disabled():
        sys.stdout.write(f"\na killed worker's task began again after {recovery_s:.1f} s\n")
    # The detection runs every 10 s; the rest is what a busy machine takes to start a task.
    assert HEARTBEAT_TIMEOUT_S - 5 < recovery_s < HEARTBEAT_TIMEOUT_S + 10 + RETRY_DELAY_S + 30


def hold_of(topology: Topology, ms_dir: Path, worker: str) -> tuple[Path, Holder]:
    """Wait until an imaging task of a worker holds an MS, and stop it in there."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        for ms in ms_dir.glob("*.ms"):
            holder = read_holder(ms)
            if holder is None or holder.host != worker or IMAGE_DAG not in holder.purpose:
                continue
            with contextlib.suppress(ProcessLookupError):
                process = topology.freeze(worker, holder)
                if read_holder(ms) == holder:
                    return ms, holder
                process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    raise AssertionError(f"{worker} has not imaged anything in {ms_dir}")
