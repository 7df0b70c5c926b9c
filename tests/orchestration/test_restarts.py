"""The embedded Airflow starts a service that ended again, but not for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.faults import small_disk

from dsa110_contimg.errors import TransientError
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit


class OneService(EmbeddedAirflow):
    """An Airflow that consists of a shell command."""

    def __init__(self, work_dir: Path, command: str):
        super().__init__(Settings(work_dir=work_dir))
        self.home.prepare()
        self.command = command
        self.starts: list[subprocess.Popen[bytes]] = []

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        assert command == () or command[0] == name
        with self.service_log(name).open("ab") as log:
            started = subprocess.Popen(
                ["sh", "-c", self.command],
                stdin=subprocess.PIPE,
                stdout=log,
                start_new_session=True,
            )
        self.starts.append(started)
        return started

    def begin(self, *, is_up: bool) -> None:
        self._services["scheduler"] = self._start("scheduler")
        self._is_up = is_up


def test_a_service_that_was_killed_is_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    airflow = OneService(tmp_path, "exec sleep 600")
    airflow.begin(is_up=True)
    os.kill(airflow.starts[0].pid, signal.SIGKILL)
    started_s = time.monotonic()
    airflow.wait(60)
    assert time.monotonic() - started_s < 30, "it did not notice"
    assert len(airflow.starts) == 2
    assert airflow.starts[1].poll() is None
    assert "scheduler ended with status -9 and is started again" in caplog.text
    assert f"{datetime.now(UTC):%Y-%m-%d }" in caplog.text
    os.kill(airflow.starts[1].pid, signal.SIGKILL)
    airflow._stop()


def test_a_service_that_ends_all_the_time_is_named(tmp_path: Path) -> None:
    airflow = OneService(tmp_path, "echo there is no such option; exit 3")
    airflow.begin(is_up=True)

    def keep_running() -> None:
        for _ in range(10):
            airflow.wait(60)

    with pytest.raises(TransientError, match=r"(?s)scheduler ended with status 3.*no such option"):
        keep_running()
    assert len(airflow.starts) == 4
    airflow._stop()


def test_a_service_that_ends_before_all_are_ready_is_named(tmp_path: Path) -> None:
    airflow = OneService(tmp_path, "exit 3")
    airflow.begin(is_up=False)
    with pytest.raises(TransientError, match="scheduler ended with status 3"):
        airflow.wait(60)
    assert len(airflow.starts) == 1
    airflow._stop()


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """The log cannot be written any more, and says nothing of it."""
    with small_disk(tmp_path / "small", 1_000_000) as disk:
        airflow = OneService(disk, "exit 3")
        airflow.begin(is_up=False)
        with pytest.raises(TransientError) as refusal:
            airflow.wait(60)
        assert f"the disk of {airflow.home.path} is full (1 MB are free)" in str(refusal.value)
        assert refusal.value.reason == "disk_full"
