"""The home of the embedded Airflow: its environment, secrets and directories."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

import dsa110_contimg
from dsa110_contimg.errors import InputError
from dsa110_contimg.settings import CONFIG_FILE_VARIABLE, Settings

LOOPBACK = "127.0.0.1"


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
        for folder in (self.path, self.logs_dir, self.cache_dir / "astropy"):
            folder.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def environment(self, *, port: int, parallelism: int, schedule: bool) -> dict[str, str]:
        """Make the environment of the services and, through them, of the tasks.

        Airflow's variables of the caller are left out: they could point at another database.

        Parameters
        ----------
        port : int
            Port of the api-server, on the loopback interface.
        parallelism : int
            Number of tasks that run at once.
        schedule : bool
            Whether nights are also started by the clock.

        Returns
        -------
        dict of str to str
            The whole environment.
        """
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW_")}
        url = f"http://{LOOPBACK}:{port}"
        return {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}",
            **self._settings_variables(schedule=schedule),
            **self._cache_variables(),
            **self._secret_variables(),
            "AIRFLOW_HOME": str(self.path),
            **_airflow_options(
                {
                    "core": {
                        "executor": "LocalExecutor",
                        "parallelism": parallelism,
                        "dags_folder": find_project_folder("dags"),
                        "plugins_folder": find_project_folder("plugins"),
                        "load_examples": False,
                        "dags_are_paused_at_creation": False,
                        "max_map_length": 4096,
                        "simple_auth_manager_all_admins": True,
                        "execution_api_server_url": f"{url}/execution/",
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
                        "job_heartbeat_sec": 2,
                        "scheduler_heartbeat_sec": 2,
                        "scheduler_idle_sleep_time": 0.5,
                        "task_instance_heartbeat_timeout": 60,
                        "orphaned_tasks_check_interval": 60,
                    },
                    "triggerer": {"job_heartbeat_sec": 2},
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

    def _settings_variables(self, *, schedule: bool) -> dict[str, str]:
        """Hand the settings on, with absolute paths: services run in another directory."""
        variables = {
            f"DSA110_CONTIMG_{name.upper()}": str(
                value.absolute() if isinstance(value, Path) else value
            )
            for name, value in self.settings
            if value is not None
        }
        if not schedule:
            variables["DSA110_CONTIMG_SCHEDULE"] = ""
        # All fields are in the environment: no file may add to them.
        variables[CONFIG_FILE_VARIABLE] = os.devnull
        return variables

    def _metrics_options(self) -> dict[str, object]:
        """Have Airflow send its metrics, if there is somebody to listen."""
        if self.settings.statsd_address is None:
            return {"statsd_on": False}
        host, port = self.settings.statsd_address.split(":")
        return {"statsd_on": True, "statsd_host": host, "statsd_port": port}

    def _cache_variables(self) -> dict[str, str]:
        """Keep the libraries' caches inside the work directory."""
        return {
            "XDG_CACHE_HOME": str(self.cache_dir),
            "XDG_CONFIG_HOME": str(self.cache_dir),
            "MPLCONFIGDIR": str(self.cache_dir / "matplotlib"),
            "MPLBACKEND": "agg",
            "NUMBA_CACHE_DIR": str(self.cache_dir / "numba"),
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
