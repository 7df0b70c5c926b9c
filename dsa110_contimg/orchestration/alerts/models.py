"""What an operator is told, and what became of it."""

from __future__ import annotations

from enum import StrEnum

from dsa110_contimg.models import Model


class AlertKind(StrEnum):
    """What an operator may be told of; ``docs/operations/alerts.md`` says what to do."""

    NIGHT_SUMMARY = "night_summary"
    """A night is done, and nothing failed."""
    NIGHT_FAILED = "night_failed"
    """Something of a night failed, or all of it."""
    NO_DATA = "no_data"
    """A night without any subband file."""
    NO_CALIBRATOR = "no_calibrator"
    """A night whose Measurement Sets found no solutions to be calibrated with."""
    CLEANUP_FAILURE = "cleanup_failure"
    """What should be removed could not be."""
    LOW_DISK = "low_disk"
    """The disk of the work directory fills up."""
    LOW_TMPFS = "low_tmpfs"
    """There is little room for sandboxes."""
    TEST = "test"
    """Somebody tries whether alerts arrive."""


class Alert(Model):
    """Something that an operator should know now."""

    kind: AlertKind
    """What kind of thing."""
    subject: str
    """What it is about, e.g. a night, or a directory of a machine."""
    message: str
    """What happened and what to do, in words; the first line is a sentence of its own."""
    fingerprint: str | None = None
    """What has to change for the same subject to be told of again; None: the message. A message
    with numbers that change all the time has one of its own."""

    @property
    def headline(self) -> str:
        """First line of the message."""
        return self.message.partition("\n")[0]

    @property
    def identity(self) -> str:
        """What tells this alert from another one of the same subject."""
        return self.message if self.fingerprint is None else self.fingerprint


class Delivery(StrEnum):
    """What became of an alert."""

    PENDING = "pending"
    """Nobody has been told so far."""
    SENT = "sent"
    LOGGED = "logged"
    """It is in the log only: the settings name nobody, or silence its kind."""
    FAILED = "failed"
    """It could not be delivered, and will be tried again."""


class AlertRecord(Model):
    """An alert and what became of it, a file below `Settings.alerts_dir`."""

    alert: Alert
    """The alert."""
    delivery: Delivery = Delivery.PENDING
    """What became of it."""
    first_utc: str
    """When it was first raised as it is, ISO 8601."""
    last_utc: str
    """When it was last raised."""
    times: int = 1
    """How often it was raised as it is."""
    told_utc: str | None = None
    """When it was sent, or logged where nobody is to be told."""
    attempts: int = 0
    """How often its delivery failed."""
    tried_utc: str | None = None
    """When it failed last."""
    error: str | None = None
    """Why, the last time."""

    @property
    def is_owed(self) -> bool:
        """Whether its delivery is still to come."""
        return self.delivery in {Delivery.PENDING, Delivery.FAILED}
