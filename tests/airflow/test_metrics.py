"""What conversions count, as it arrives at a real statsd listener, and the alert callback."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live_airflow import LiveAirflow

from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.runs import NIGHT_DAG
from dsa110_contimg.settings import Settings, get_settings
from dsa110_contimg.simulation.night import SimulationResult

pytestmark = pytest.mark.airflow


class StatsdListener:
    """Keeps every datagram that arrives."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._socket.getsockname())
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while (text := self._socket.recv(65536).decode()) != "stop":
            self.lines += text.splitlines()

    def stop(self) -> None:
        host, port = self.address.split(":")
        self._socket.sendto(b"stop", (host, int(port)))
        self._thread.join()
        self._socket.close()

    def values(self, name: str, kind: str) -> list[float]:
        """Values of one metric, e.g. ``3`` of ``airflow.<name>:3|c``."""
        pattern = re.compile(rf"^airflow\.{re.escape(name)}:([-\d.e]+)\|{kind}")
        return [float(found[1]) for line in self.lines if (found := pattern.match(line))]


@pytest.fixture
def listener() -> Iterator[StatsdListener]:
    listener = StatsdListener()
    yield listener
    listener.stop()


def test_a_night_is_counted(
    listener: StatsdListener, small_night: SimulationResult, tmp_path: Path
) -> None:
    """Two groups, one of them unreadable at the second look."""
    import h5py

    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for file in map(Path, small_night.files):
        (incoming / file.name).write_bytes(file.read_bytes())
    damaged = incoming / Path(small_night.files[0]).name
    with h5py.File(damaged, "r+") as file:  # beyond the quick look of the grouping
        file["Header/ant_2_array"][100:200] = 0
    settings = Settings(
        work_dir=tmp_path / "work",
        input_dir=incoming,
        statsd_address=listener.address,
        calibration="off",
    )
    date = small_night.groups[0].start_utc[:10]
    with EmbeddedAirflow(settings, parallelism=2, schedule=False) as airflow:
        airflow.client.set_paused(NIGHT_DAG, paused=False)
        live = LiveAirflow(airflow, settings)
        live.finish(live.trigger(NIGHT_DAG, {"date": date}))
    assert listener.values("dsa110.groups_converted", "c") == [1.0]
    failed = [line for line in listener.lines if line.startswith("airflow.dsa110.groups_failed.")]
    assert len(failed) == 1, "bad input is tried once"
    assert len(listener.values("dsa110.sandbox_bytes", "g")) >= 2
    assert listener.values("dsa110.sandbox_bytes", "g")[-1] >= 0.0
    (fill_ms,) = listener.values("dsa110.stage_duration.fill", "ms")
    assert fill_ms > 0
    assert listener.values("dsa110.groups_failed", "c") == [1.0]
    assert listener.values("dsa110.nights.partial", "c") == [1.0]
    assert listener.values("dsa110.disk_free_bytes", "g")[-1] > 0
    assert listener.values("dsa110.cleanup_failures", "c") == []


def test_a_cleanup_failure_reaches_the_callback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An immutable file in a dead sandbox."""
    from dsa110_contimg.errors import TransientError
    from dsa110_contimg.orchestration.housekeeping import keep_house

    root = tmp_path / "sandboxes"
    stuck = root / "group_12345678" / "stuck"
    stuck.parent.mkdir(parents=True)
    stuck.touch()
    (root / "group_12345678.lock").touch()
    done = subprocess.run(["chattr", "+i", str(stuck)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot make a file immutable here: {done.stderr.decode().strip()}")
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("DSA110_CONTIMG_SANDBOX_ROOT", str(root))
    monkeypatch.setenv("DSA110_CONTIMG_ALERT_CALLBACK", "support.alert_box:keep")
    get_settings.cache_clear()
    from support.alert_box import kept

    kept.clear()  # other modules use it, too
    try:
        with pytest.raises(TransientError, match="stuck"):
            keep_house({})
        assert {alert.kind for alert in kept} == {"cleanup_failure"}
        assert str(stuck) in kept[0].message
    finally:
        subprocess.run(["chattr", "-i", str(stuck)], check=True)
        get_settings.cache_clear()
