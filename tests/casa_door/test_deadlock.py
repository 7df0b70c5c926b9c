"""Three processes that write one MS: bare, CASA deadlocks; through the door, it never does."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import addImagingColumns, table
from support.model_writers import (
    DEADLOCK,
    N_ROWS,
    Writer,
    Written,
    write_bare,
    write_through_the_door,
)

from dsa110_contimg.casa.door import run_in_casa
from dsa110_contimg.errors import TransientError
from dsa110_contimg.storage.files import make_read_only
from dsa110_contimg.storage.ms_access import AccessSpan, HoldEnd
from dsa110_contimg.storage.publish import manifest_path

pytestmark = [pytest.mark.casa, pytest.mark.slow]

N_WRITERS = 3
ROUNDS = 5
"""The processes meet between reading and writing, so the first round nearly always does it."""
ROUND_S = 100.0
"""A conflict stalls for about 29 s before the error, and the waiters for as long again."""
TURNS = 20


@pytest.fixture(autouse=True)
def _find_support(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))


@pytest.fixture
def modelled_ms(own_ms, point_source_ms) -> Path:
    """A published MS with an empty model."""
    addImagingColumns(str(own_ms), ack=False)
    with table(str(own_ms), readonly=False, ack=False) as opened:
        shape = opened.getcell("DATA", 0).shape
        opened.putcol("MODEL_DATA", np.zeros((N_ROWS, *shape), complex), 0, N_ROWS)
    shutil.copy(manifest_path(point_source_ms), manifest_path(own_ms))
    make_read_only(own_ms)
    return own_ms


def run_writers(
    function: Callable[[Writer], Written], ms: Path, folder: Path, **more: object
) -> list[Written]:
    """Run the writers at once; one that did not end in time has an error of its own."""
    meeting = folder / "meeting"
    meeting.mkdir(parents=True)

    def run(number: int) -> Written:
        scratch = folder / f"scratch{number}"
        scratch.mkdir()
        writer = {"ms": ms, "name": f"writer{number}", "n_writers": N_WRITERS, "turns": TURNS}
        try:
            return run_in_casa(
                function,
                Writer.model_validate({**writer, "meeting_dir": meeting, **more}),
                timeout_s=ROUND_S,
                log_path=folder / f"casa{number}.log",
                scratch_dir=scratch,
            )
        except TransientError as error:
            return Written(turns=0, error=f"{error.reason}: {error}")

    with ThreadPoolExecutor(N_WRITERS) as pool:
        return list(pool.map(run, range(N_WRITERS)))


def test_bare_casa_deadlocks(modelled_ms, tmp_path):
    for number in range(ROUNDS):
        found = run_writers(write_bare, modelled_ms, tmp_path / f"round{number}")
        if any(DEADLOCK in written.error for written in found):
            return
    pytest.fail(
        f"{N_WRITERS} processes read and wrote MODEL_DATA of one MS {ROUNDS} times {TURNS} turns "
        f"and CASA did not once say {DEADLOCK!r}: does the door still guard against anything? "
        f"The last round: {found}"
    )


def test_through_the_door_nothing_deadlocks_and_nothing_is_lost(modelled_ms, tmp_path):
    log = tmp_path / "ms_access.jsonl"
    start = time.monotonic()
    found = run_writers(write_through_the_door, modelled_ms, tmp_path / "door", access_log=log)
    seconds = time.monotonic() - start
    assert found == [Written(turns=TURNS)] * N_WRITERS
    # One conflict alone would stall for longer than all turns and three imports of CASA take.
    assert seconds < ROUND_S / 2
    with table(str(modelled_ms), ack=False) as opened:
        model = opened.getcol("MODEL_DATA", 0, N_ROWS)
    assert np.all(model == N_WRITERS * TURNS)

    spans = [AccessSpan.model_validate_json(line) for line in log.read_text().splitlines()]
    assert len(spans) == N_WRITERS * TURNS
    assert {span.end for span in spans} == {HoldEnd.RELEASED}
    assert len({span.pid for span in spans}) == N_WRITERS
    spans.sort(key=lambda span: span.start_s)
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(spans))
    # They took turns: it is not that one came when the others had left.
    assert sum(a.pid != b.pid for a, b in itertools.pairwise(spans)) >= TURNS
    assert not modelled_ms.stat().st_mode & 0o222
