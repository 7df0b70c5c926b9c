"""A statsd server that keeps what it hears of some metrics, with the time."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager

Samples = list[tuple[float, float]]
"""Seconds since 1970, and value."""

_LINE = re.compile(r"^airflow\.([^:]+):([-\d.e]+)\|")
_STOP = b"stop"


class MetricListener:
    """What has been heard so far.

    Attributes
    ----------
    address : str
        Where it listens, as ``host:port``.
    """

    def __init__(self, names: Collection[str]):
        self._names = frozenset(names)
        self._samples: dict[str, Samples] = defaultdict(list)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        host, port = self._socket.getsockname()
        self.address = f"{host}:{port}"
        self.thread = threading.Thread(target=self._listen, name="metric-listener")

    def between(self, name: str, start_s: float, end_s: float) -> Samples:
        """Select the samples of a metric that came within an interval."""
        return [sample for sample in self._samples[name] if start_s <= sample[0] < end_s]

    def stop(self) -> None:
        """End the thread."""
        self._socket.sendto(_STOP, self._socket.getsockname())
        self.thread.join()
        self._socket.close()

    def _listen(self) -> None:
        """Take datagrams until told to stop."""
        while (datagram := self._socket.recv(65536)) != _STOP:
            now_s = time.time()
            for line in datagram.decode().splitlines():
                found = _LINE.match(line)
                if found and found[1] in self._names:
                    self._samples[found[1]].append((now_s, float(found[2])))


@contextmanager
def listening(names: Collection[str]) -> Iterator[MetricListener]:
    """Listen on the loopback interface while the body runs."""
    listener = MetricListener(names)
    listener.thread.start()
    try:
        yield listener
    finally:
        listener.stop()
