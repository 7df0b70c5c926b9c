"""The home of the embedded Airflow: its environment, secrets and directories."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

import dsa110_contimg
from dsa110_contimg.caches import cache_variables
from dsa110_contimg.errors import InputError
from dsa110_contimg.setting_sources import CONFIG_FILE_VARIABLE
from dsa110_contimg.settings import Settings

LOOPBACK = "127.0.0.1"
_NOT_INHERITED = ("AIRFLOW_", "DSA110_CONTIMG_AIRFLOW_")
"""Beginnings of the names of variables that are about another Airflow, or a login to it."""
_INHERITED = "AIRFLOW_CONN_"
"""But these are servers and credentials that the operator hands over."""


class AirflowHome:
    """Where the embedded Airflow lives, below the work directory.

    Parameters
    ----------
    settings : Settings
        The settings that its tasks shall see.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.path = (settings.work_dir / "airflow").absolute()
        self.logs_dir = settings.logs_dir / "airflow"
        self.cache_dir = (settings.work_dir / "cache").absolute()
        self.database = self.path / "airflow.db"
        self.lock_file = self.path / "embedded.lock"

    def prepare(self) -> None:
        """Make the directories; the home is its owner's alone, for it holds secrets."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        self.path.chmod(0o700)
        for folder in (self.logs_dir, self.cache_dir / "astropy"):
            folder.mkdir(parents=True, exist_ok=True)

    def environment(
        self, *, port: int, parallelism: int, schedule: bool, clock: bool = True
    ) -> dict[str, str]:
        """Make the environment of the services and, through them, of the tasks.

        Airflow's variables of the caller are left out, for they could point at another database;
        all but connections, which alerts are sent through.

        Parameters
        ----------
        port : int
            Port of the api-server, on the loopback interface.
        parallelism : int
            Number of tasks that run at once.
        schedule : bool
            Whether `nightly_transit` has a schedule.
        clock : bool, optional
            Whether runs are started by the clock.

        Returns
        -------
        dict of str to str
            The whole environment.
        """
        inherited = {name: v for name, v in os.environ.items() if _is_inherited(name)}
        url = f"http://{LOOPBACK}:{port}"
        return {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}",
            **self._settings_variables(schedule=schedule, clock=clock),
            **cache_variables(self.cache_dir),
            "MPLBACKEND": "agg",
            **self._secret_variables(),
            **self._telemetry_variables(),
            "AIRFLOW_HOME": str(self.path),
            **_airflow_options(
                {
                    "core": {
                        "executor": "dsa110_contimg.orchestration.executor.BoundedLocalExecutor",
                        "parallelism": parallelism,
                        "dags_folder": find_project_folder("dags"),
                        "plugins_folder": find_project_folder("plugins"),
                        "load_examples": False,
                        "dags_are_paused_at_creation": False,
                        "max_map_length": 4096,
                        "simple_auth_manager_all_admins": True,
                        "execution_api_server_url": f"{url}/execution/",
                        "mp_forkserver_preload": "dsa110_contimg.orchestration.preload",
                    },
                    "database": {
                        "sql_alchemy_conn": f"sqlite:///{self.database}",
                        "sql_alchemy_connect_args": (
                            "dsa110_contimg.orchestration.sqlite.CONNECT_ARGS"
                        ),
                        "sql_alchemy_connect_args_async": (
                            "dsa110_contimg.orchestration.sqlite.CONNECT_ARGS"
                        ),
                    },
                    "api": {"host": LOOPBACK, "port": port, "base_url": url, "workers": 1},
                    "scheduler": {
                        # Workers, and with them tasks, begin with the imports of the stages.
                        "mp_start_method": "forkserver",
                        "job_heartbeat_sec": 2,
                        "scheduler_heartbeat_sec": 2,
                        # Each look at a run takes some 10 ms of a loop: in a night of hundreds of
                        # runs the scheduler would else be busy while all slots are taken.
                        "scheduler_idle_sleep_time": 1,
                        "max_dagruns_per_loop_to_schedule": 8,
                        "use_job_schedule": clock,
                        # Longer than the api-server takes to come back: without it no task
                        # can give a sign of life.
                        "task_instance_heartbeat_timeout": 60,
                        # Of a scheduler that was killed; cheap to ask for.
                        "orphaned_tasks_check_interval": 10,
                        # A scheduler that waits for SQLite (up to 60 s) is silent, not dead; one
                        # that ended is started again at once.
                        "scheduler_health_check_threshold": 120,
                    },
                    "triggerer": {
                        "job_heartbeat_sec": 2,
                        "triggerer_health_check_threshold": 15,
                    },
                    "dag_processor": {
                        "parsing_processes": 1,
                        "dag_bundle_storage_path": self.path / "bundles",
                        "refresh_interval": 30,
                    },
                    "workers": {
                        # On a busy machine of two cores the api-server may take its time.
                        "execution_api_timeout": 30,
                        # A supervisor that misses the end of its task notices it this much
                        # later, with its slot taken.
                        "min_heartbeat_interval": 1,
                        # Tasks outlive a restart of the api-server: together some 50 s, where
                        # Airflow's own values give up after 5 to 15 s.
                        "execution_api_retries": 20,
                        "execution_api_retry_wait_max": 5,
                    },
                    "logging": {
                        "base_log_folder": self.logs_dir / "tasks",
                        "dag_processor_child_process_log_directory": self.logs_dir / "parsing",
                    },
                    "metrics": self._metrics_options(),
                    "usage_data_collection": {"enabled": False},
                }
            ),
        }

    def _settings_variables(self, *, schedule: bool, clock: bool) -> dict[str, str]:
        """Hand the settings on, with absolute paths: services run in another directory."""
        variables = {
            f"DSA110_CONTIMG_{name.upper()}": _as_variable(value)
            for name, value in self.settings
            if value is not None
        }
        if not schedule:
            variables["DSA110_CONTIMG_SCHEDULE"] = ""
        if not (schedule and clock):
            # Who runs nights by hand has their files.
            variables["DSA110_CONTIMG_SETTLE_S"] = "0"
        # All fields are in the environment: no file may add to them.
        variables[CONFIG_FILE_VARIABLE] = os.devnull
        return variables

    def _metrics_options(self) -> dict[str, object]:
        """Have Airflow send its metrics, if there is somebody to listen."""
        statsd, otel = self.settings.statsd_address, self.settings.otel_address
        if statsd and otel:
            raise InputError(
                "statsd_address and otel_address are both set: Airflow sends to one of them",
                reason="two_metrics_servers",
                remedy="set one; an OpenTelemetry collector can take statsd's messages, too",
            )
        host, _, port = (statsd or "localhost:8125").partition(":")
        return {
            "statsd_on": statsd is not None,
            "statsd_host": host,
            "statsd_port": port,
            "otel_on": otel is not None,
        }

    def _telemetry_variables(self) -> dict[str, str]:
        """Say by OpenTelemetry's own variables where the collector is, if there is one."""
        if self.settings.otel_address is None:
            return {}
        return {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": (
                f"http://{self.settings.otel_address}/v1/metrics"
            ),
            "OTEL_SERVICE_NAME": "dsa110-contimg",
            # Each task is a process that counts from 0: only what is new can be added up.
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            # A collector that is down must not hold up the end of each task.
            "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "2",
        }

    def _secret_variables(self) -> dict[str, str]:
        """Read the secrets, made at random on first use; only their owner may read them."""
        path = self.path / "secrets.json"
        if not path.exists():
            made = {
                "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(
                    secrets.token_bytes(32)
                ).decode(),
                "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
                "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
            }
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(made, file)
        read: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return read


def _is_inherited(name: str) -> bool:
    """Whether a variable of the caller reaches Airflow."""
    return name.startswith(_INHERITED) or not name.startswith(_NOT_INHERITED)


def _as_variable(value: object) -> str:
    """Write a setting as its environment variable has it, with absolute paths."""
    if isinstance(value, list):
        return os.pathsep.join(map(_as_variable, value))
    return str(value.absolute() if isinstance(value, Path) else value)


def _airflow_options(sections: dict[str, dict[str, object]]) -> dict[str, str]:
    """Write configuration options as Airflow's environment variables."""
    return {
        f"AIRFLOW__{section.upper()}__{name.upper()}": str(value)
        for section, options in sections.items()
        for name, value in options.items()
    }


def find_project_folder(name: str) -> Path:
    """Find ``dags`` or ``plugins``: beside the package in a checkout, or as installed.

    Parameters
    ----------
    name : str
        Name of the folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If there is none.
    """
    roots = (
        Path(dsa110_contimg.__file__).resolve().parents[1],
        Path(sys.prefix) / "share" / "dsa110-contimg",
    )
    for root in roots:
        if any((root / name).glob("*.py")):
            return root / name
    raise InputError(
        f"no folder {name}/ with Python files in {' or '.join(map(str, roots))}",
        reason="no_dags",
        remedy="run from a checkout that is installed with pip install --editable",
    )
