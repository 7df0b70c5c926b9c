"""The embedded Airflow refuses what cannot work, by name, and keeps its secrets."""

from __future__ import annotations

import socket
import stat
from datetime import date
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from support.descendants import ask_descendants, listening_addresses
from support.live_airflow import PARALLELISM, LiveAirflow, most_at_once, seconds

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.orchestration.backfill import BackfillOptions, run_backfill
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow, choose_port
from dsa110_contimg.orchestration.home import AirflowHome, find_project_folder
from dsa110_contimg.orchestration.runs import IMAGE_DAG
from dsa110_contimg.settings import Settings

pytestmark = [pytest.mark.airflow, pytest.mark.slow]


def test_only_one_per_home(live: LiveAirflow) -> None:
    with pytest.raises(InputError, match=r"already running in .*pid \d+") as refusal:
        EmbeddedAirflow(live.settings).__enter__()
    assert refusal.value.reason == "airflow_running"
    assert live.client.health()["scheduler"]["status"] == "healthy"


def test_nights_without_a_schedule_cannot_be_backfilled(live: LiveAirflow) -> None:
    options = BackfillOptions(first=date(2026, 1, 25), last=date(2026, 1, 26))
    with pytest.raises(InputError, match="nightly_transit has no schedule") as refusal:
        run_backfill(options, live.settings, url=live.airflow.url)
    assert refusal.value.reason == "no_schedule"
    assert "DSA110_CONTIMG_SCHEDULE" in (refusal.value.remedy or "")


def test_no_more_tasks_are_handed_over_than_there_are_workers(live: LiveAirflow) -> None:
    """The others wait in the scheduler: a task that comes first would else be behind them."""
    absent = [live.settings.ms_dir / "2026-01-25" / f"absent{number}.ms" for number in range(12)]
    runs = [live.trigger(IMAGE_DAG, {"ms": str(ms)}) for ms in absent]
    assert set(live.finish(*runs)) == {"failed"}
    tasks = [live.tasks(*run)["prepare", -1] for run in runs]
    spans = [(seconds(task["queued_when"]), seconds(task["end_date"])) for task in tasks]
    assert 1 < most_at_once(spans) <= PARALLELISM


def test_listens_on_loopback_only(live: LiveAirflow) -> None:
    """No service, nor anything that it started, listens for the outside world."""
    addresses, ports = zip(*listening_addresses(), strict=True)
    assert int(live.airflow.url.rpartition(":")[2]) in ports
    assert set(addresses) == {"127.0.0.1"}


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/auth/token", "/api/v2/version", "/api/v2/dags", "/api/v2/monitor/health"),
        *("/operator/", "/operator/static/icon.svg", "/static/nothing", "/ui/config"),
        *("/execution/health", "/nights", "/docs"),
    ],
)
def test_a_foreign_host_is_refused(live: LiveAirflow, path: str) -> None:
    """As a page asks in the operator's browser whose name leads to this machine."""
    foreign = {"Host": f"evil.example:{live.airflow.url.rpartition(':')[2]}"}
    for method in ("GET", "POST"):
        answer = httpx.request(method, live.airflow.url + path, headers=foreign, trust_env=False)
        assert answer.status_code == 421, (method, answer.text)
        assert "evil" not in answer.text
    answer = httpx.get(live.airflow.url + path, trust_env=False)
    assert answer.status_code != 421, answer.text


def test_a_page_of_another_site_starts_no_run(live: LiveAirflow) -> None:
    """It needs no token, and without a type its text passes for JSON."""
    runs = f"{live.airflow.url}/api/v2/dags/{IMAGE_DAG}/dagRuns"
    body = b'{"logical_date": null, "dag_run_id": "cross_site", "conf": {"ms": "/x.ms"}}'
    origins = ("http://evil.example", "null", live.airflow.url.replace("127.0.0.1", "localhost"))
    for origin in origins:
        answer = httpx.post(runs, content=body, headers={"Origin": origin}, trust_env=False)
        assert answer.status_code == 421
    assert live.client.dag_runs(IMAGE_DAG, containing="cross_site") == []


def test_secrets_are_the_owners_alone(live: LiveAirflow) -> None:
    home = live.airflow.home
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    secrets = home.path / "secrets.json"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    environments = [
        home.environment(port=1, parallelism=1, schedule=True)["AIRFLOW__CORE__FERNET_KEY"]
        for _ in range(2)
    ]
    assert environments[0] == environments[1]
    assert environments[0] in secrets.read_text()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken"):
            EmbeddedAirflow(Settings(work_dir=tmp_path), port=port).__enter__()


def homes_of_children() -> list[str | None]:
    """Airflow's home of each process that this one started and that is not dead."""
    return ask_descendants(lambda child: child.environ().get("AIRFLOW_HOME"))


def test_a_service_that_cannot_start_is_named(tmp_path: Path) -> None:
    """With the end of its log; and the others end too."""
    home = AirflowHome(Settings(work_dir=tmp_path))
    home.prepare()
    home.database.write_text("spoilt " * 1000)
    (home.path / "migrated").write_text(version("apache-airflow"))
    with pytest.raises(TransientError, match=r"(?s)ended with status \d+.*file is not a database"):
        EmbeddedAirflow(home.settings).__enter__()
    assert homes_of_children().count(str(home.path)) == 0


def test_environment_is_the_services_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the caller leads elsewhere, and paths do not depend on the directory."""
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://production")
    monkeypatch.chdir(tmp_path)
    home = AirflowHome(Settings(work_dir=Path("here")))
    home.prepare()
    environment = home.environment(port=1234, parallelism=2, schedule=False)
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == (
        f"sqlite:///{tmp_path}/here/airflow/airflow.db"
    )
    assert environment["DSA110_CONTIMG_WORK_DIR"] == f"{tmp_path}/here"
    assert environment["DSA110_CONTIMG_SCHEDULE"] == ""
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NUMBA_CACHE_DIR"):
        assert environment[name].startswith(f"{tmp_path}/here/cache")


def test_dags_and_plugins_are_found() -> None:
    assert (find_project_folder("dags") / "image_ms.py").exists()
    assert (find_project_folder("plugins") / "airflow_local_settings.py").exists()
    with pytest.raises(InputError, match="no folder nonsense/"):
        find_project_folder("nonsense")


def test_a_port_that_is_taken_is_not_chosen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert choose_port(port) != port
    assert choose_port(port) == port
