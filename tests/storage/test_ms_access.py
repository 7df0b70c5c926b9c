"""The door to an MS: one holder at a time, whatever path leads to it."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from dsa110_contimg.errors import TransientError
from dsa110_contimg.storage import ms_access
from dsa110_contimg.storage.ms_access import (
    AccessSpan,
    HoldEnd,
    exclusive_ms,
    lock_path,
    read_holder,
)

pytestmark = pytest.mark.unit
SPAWN = multiprocessing.get_context("spawn")


def hold(ms: str, ready: str, seconds: float) -> None:
    with exclusive_ms(ms, "the holder", timeout_s=10):
        Path(ready).touch()
        time.sleep(seconds)


def hold_for_ever(ms: str, log: str) -> None:
    with exclusive_ms(ms, "the victim", timeout_s=10, access_log=Path(log)):
        os.kill(os.getpid(), signal.SIGKILL)


def take_turns(ms: str, log: str, turns: int) -> None:
    for turn in range(turns):
        with exclusive_ms(ms, f"turn {turn}", timeout_s=30, access_log=Path(log)):
            time.sleep(0.003)


def start_holder(ms: Path, tmp_path: Path, seconds: float):
    ready = tmp_path / "ready"
    process = SPAWN.Process(target=hold, args=(str(ms), str(ready), seconds))
    process.start()
    deadline = time.monotonic() + 20
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ready.exists()
    return process


def test_waiter_learns_who_holds_it_even_by_a_link(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(ms_access, "_SHORT_WAIT_S", 0.05)
    caplog.set_level(logging.INFO, ms_access.__name__)
    ms = tmp_path / "a.ms"
    ms.mkdir()
    link = tmp_path / "elsewhere"
    link.mkdir()
    (link / "alias.ms").symlink_to(ms)
    process = start_holder(ms, tmp_path, 60)
    try:
        with (
            pytest.raises(TransientError, match=f"held by the holder .pid {process.pid}") as caught,
            exclusive_ms(link / "alias.ms", "me", timeout_s=0.1),
        ):
            pytest.fail("two holders at once")
        assert caught.value.reason == "ms_held"
        assert f"waiting for {ms}: held by the holder (pid {process.pid}" in caplog.text
    finally:
        process.kill()
        process.join()


def test_killed_holder_frees_it_at_once(tmp_path):
    ms = tmp_path / "a.ms"
    process = start_holder(ms, tmp_path, 60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with exclusive_ms(ms, "the next", timeout_s=5):
        assert read_holder(ms).purpose == "the next"
    assert lock_path(ms).exists(), "the lock file must never be unlinked"


def test_spans_never_overlap(tmp_path):
    ms, log = tmp_path / "a.ms", tmp_path / "log" / "access.jsonl"
    processes = [SPAWN.Process(target=take_turns, args=(str(ms), str(log), 20)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    spans = [AccessSpan.model_validate_json(line) for line in log.read_text().splitlines()]
    assert len(spans) == 60
    assert len({span.pid for span in spans}) == 3
    spans.sort(key=lambda span: span.start_s)
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(spans))


def test_the_next_holder_puts_a_killed_one_on_record(tmp_path):
    ms, log = tmp_path / "a.ms", tmp_path / "access.jsonl"
    victim = SPAWN.Process(target=hold_for_ever, args=(str(ms), str(log)))
    victim.start()
    victim.join(20)
    assert read_holder(ms).purpose == "the victim"
    for purpose in ("the next", "the last"):
        with exclusive_ms(ms, purpose, timeout_s=5, access_log=log):
            assert read_holder(ms).purpose == purpose
        assert read_holder(ms) is None
    spans = [AccessSpan.model_validate_json(line) for line in log.read_text().splitlines()]
    assert [(span.purpose, span.end) for span in spans] == [
        ("the victim", HoldEnd.KILLED),
        ("the next", HoldEnd.RELEASED),
        ("the last", HoldEnd.RELEASED),
    ]
    assert spans[0].pid == victim.pid
    assert spans[0].start_s < spans[0].end_s
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(spans))


def test_two_holders_at_once_would_be_on_record(tmp_path, monkeypatch):
    """Where the lock file of a holder that lives on is given to another one: it is told."""
    monkeypatch.setattr("dsa110_contimg.storage.ms_access._DYING_S", 0.1)
    ms, log = tmp_path / "a.ms", tmp_path / "access.jsonl"
    process = start_holder(ms, tmp_path, 60)
    try:
        left = lock_path(ms).read_text()
        lock_path(ms).unlink()  # what nobody must do
        lock_path(ms).write_text(left)
        with exclusive_ms(ms, "the intruder", timeout_s=1, access_log=log):
            pass
    finally:
        process.kill()
        process.join()
    first = AccessSpan.model_validate_json(log.read_text().splitlines()[0])
    assert (first.pid, first.end) == (process.pid, HoldEnd.LOST)
