"""What was told to whom: one small file per kind and subject, shared by all processes.

An alert is raised by tasks of several processes and machines; so what is known of it is in a
file beside a lock, and whoever holds the lock is the only one to deliver it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from dsa110_contimg.orchestration.alerts.models import Alert, AlertRecord
from dsa110_contimg.storage.files import write_text_atomic

_MAX_NAME = 60
_LOCK_TIMEOUT_S = 60.0
"""Longer than a delivery takes."""


class AlertStore:
    """Reads and writes what became of alerts.

    Parameters
    ----------
    root : Path
        Directory of the files, `Settings.alerts_dir`; made when it is needed.
    """

    def __init__(self, root: Path):
        self.root = root

    @contextmanager
    def locked(self, kind: str) -> Iterator[None]:
        """Hold all alerts of a kind for oneself alone.

        Parameters
        ----------
        kind : str
            The kind.

        Yields
        ------
        None
            While they are held.

        Raises
        ------
        filelock.Timeout
            If another process has held them for a minute.
        OSError
            If the lock file cannot be made.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f"{kind}.lock", timeout=_LOCK_TIMEOUT_S):
            yield

    def find(self, kind: str, subject: str) -> AlertRecord | None:
        """Read what became of an alert.

        Parameters
        ----------
        kind : str
            Its kind.
        subject : str
            What it is about.

        Returns
        -------
        AlertRecord or None
            None if it is not on record, or the record is damaged.
        """
        return _read(self._path(kind, subject))

    def save(self, record: AlertRecord) -> None:
        """Write what became of an alert.

        Parameters
        ----------
        record : AlertRecord
            Replaces an earlier one of the same kind and subject.
        """
        path = self._path(record.alert.kind, record.alert.subject)
        write_text_atomic(path, record.model_dump_json(indent=1))

    def forget(self, kind: str, subject: str) -> None:
        """Remove what is known of an alert, so that it is told of again when it comes again.

        Parameters
        ----------
        kind : str
            Its kind.
        subject : str
            What it is about.
        """
        self._path(kind, subject).unlink(missing_ok=True)

    def list_records(self) -> list[AlertRecord]:
        """Read all that is on record.

        Returns
        -------
        list of AlertRecord
            The newest first; damaged ones are left out.
        """
        paths = (path for path in self.root.glob("*.json") if not path.name.startswith("."))
        records = [record for path in paths if (record := _read(path))]
        return sorted(records, key=lambda record: record.last_utc, reverse=True)

    def prune(self, now: datetime, keep: timedelta) -> None:
        """Forget what was told long ago.

        Parameters
        ----------
        now : datetime
            The present, UTC.
        keep : timedelta
            How long an alert that has not been raised again stays on record.
        """
        for record in self.list_records():
            if not record.is_owed and datetime.fromisoformat(record.last_utc) < now - keep:
                self.forget(record.alert.kind, record.alert.subject)

    def _path(self, kind: str, subject: str) -> Path:
        """Name the file of an alert: legible, and its own whatever the subject holds."""
        legible = re.sub(r"[^\w.-]+", "_", subject)[:_MAX_NAME]
        digest = hashlib.sha256(subject.encode()).hexdigest()[:8]
        return self.root / f"{kind}__{legible}__{digest}.json"


def note_raised(
    known: AlertRecord | None, alert: Alert, now: datetime, repeat: timedelta
) -> AlertRecord:
    """Put on record that an alert was raised, and whether it is to be told.

    Parameters
    ----------
    known : AlertRecord or None
        What is on record of the same kind and subject.
    alert : Alert
        The alert.
    now : datetime
        The present, UTC.
    repeat : timedelta
        When an alert that has not changed is told of again.

    Returns
    -------
    AlertRecord
        Owed if it is new, has changed, was told long enough ago, or could not be delivered.
    """
    stamp = now.isoformat(timespec="seconds")
    if known is None or known.alert.identity != alert.identity:
        return AlertRecord(alert=alert, first_utc=stamp, last_utc=stamp)
    update: dict[str, object] = {"alert": alert, "last_utc": stamp, "times": known.times + 1}
    told = known.told_utc and datetime.fromisoformat(known.told_utc)
    if told and told <= now - repeat:
        update |= {"delivery": "pending", "attempts": 0, "tried_utc": None, "error": None}
    return AlertRecord.model_validate({**known.model_dump(), **update})


def _read(path: Path) -> AlertRecord | None:
    """Read one record, if it is there and whole."""
    try:
        return AlertRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
