"""What a child does is told by its parent, every few seconds."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.child_functions import Request, work_and_tell

from dsa110_contimg import progress
from dsa110_contimg.processes import run_in_child

pytestmark = pytest.mark.unit
CASA = (
    "2026-12-01 12:49:14\tINFO\tFlagMSHandler::\tChunk = 4 [progress: 25%], Observation = 0, "
    "Array = 0, Scan = 1, Field = 0 (meridian), Spw = 3, Channels = 48"
)


def test_steps_of_a_child_are_told_while_it_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LOOK_S", 0.05)
    monkeypatch.setattr(progress, "_QUIET_S", 0.2)
    caplog.set_level(logging.INFO, "dsa110_contimg")
    log = tmp_path / "child.log"
    log.write_text("2026-12-01 12:00:00,000 dsa110_contimg.stages: of an earlier child\n")
    tests = {"PYTHONPATH": str(Path(__file__).parent)}
    run_in_child(work_and_tell, Request(text=CASA), timeout_s=60.0, log_path=log, env=tests)
    said = [one.getMessage() for one in caplog.records if one.name == progress.__name__]
    assert said[0] == "the MS: a step"
    assert "the MS: a step, window 3, 25 % seen (0 s)" in said
    assert said[-1].startswith("the MS: a step, window 3, 25 % seen (")
    assert not any("another library" in one or "earlier child" in one for one in said)
