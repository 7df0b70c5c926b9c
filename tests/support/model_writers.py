"""What CASA does to MODEL_DATA in a child: read it and write it in one open of the MS."""

from __future__ import annotations

import time
from pathlib import Path

from dsa110_contimg.casa.door import open_casatasks
from dsa110_contimg.models import Model
from dsa110_contimg.storage.ms_access import exclusive_ms

DEADLOCK = "Resource deadlock avoided"
N_ROWS = 120 * 24
"""One spectral window of 16 antennas and 24 integrations."""
_MEET_S = 2.0
_BREATH_S = 0.1
"""Longer than waiters take to look again: the lock is not fair to them."""


class Writer(Model):
    """One of several processes that write one MS."""

    ms: Path
    """The MS; it has a MODEL_DATA column."""
    name: str
    """Distinguishes the processes."""
    n_writers: int
    """How many there are."""
    turns: int
    """Read-modify-writes to do."""
    meeting_dir: Path
    """Where the processes wait for one another."""
    access_log: Path | None = None
    """Log of the holds; None: do it without the door."""


class Written(Model):
    """What a process achieved."""

    turns: int
    """Read-modify-writes that were done."""
    error: str = ""
    """What CASA said when it did not."""


def write_bare(writer: Writer) -> Written:
    """Without the door: until done, or CASA says no, or another one was told no."""
    open_casatasks()
    _meet(writer, "start", patience_s=60.0)
    over = writer.meeting_dir / "over"
    for turn in range(writer.turns):
        if over.exists():
            return Written(turns=turn)
        try:
            _add_one(writer, f"turn{turn}")
        except RuntimeError as error:
            over.touch()
            return Written(turns=turn, error=str(error))
    return Written(turns=writer.turns)


def write_through_the_door(writer: Writer) -> Written:
    """The same, each turn in a hold that may write."""
    open_casatasks()
    _meet(writer, "start", patience_s=60.0)
    for turn in range(writer.turns):
        with exclusive_ms(
            writer.ms,
            f"{writer.name}: turn {turn}",
            timeout_s=60.0,
            access_log=writer.access_log,
            writable=True,
        ):
            _add_one(writer)
        time.sleep(_BREATH_S)
    return Written(turns=writer.turns)


def _add_one(writer: Writer, moment: str | None = None) -> None:
    """Add 1 to the model of one window; `moment` names where all meet between read and write."""
    from casatools import table

    opened = table()
    opened.open(str(writer.ms), nomodify=False)
    try:
        model = opened.getcol("MODEL_DATA", startrow=0, nrow=N_ROWS)
        if moment is not None:
            _meet(writer, moment, patience_s=_MEET_S)
        opened.putcol("MODEL_DATA", model + 1.0, startrow=0, nrow=N_ROWS)
    finally:
        opened.close()
        opened.done()


def _meet(writer: Writer, moment: str, *, patience_s: float) -> None:
    """Wait until all have come, but no longer than a while."""
    (writer.meeting_dir / f"{moment}-{writer.name}").touch()
    until = time.monotonic() + patience_s
    while (
        len(list(writer.meeting_dir.glob(f"{moment}-*"))) < writer.n_writers
        and time.monotonic() < until
    ):
        time.sleep(0.002)
