"""What housekeeping is told, and what it says."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path

from pydantic import Field

from dsa110_contimg.models import AbsolutePath, Model
from dsa110_contimg.settings import Settings


class Kind(StrEnum):
    """What was found."""

    SANDBOX = "sandbox"
    UNPUBLISHED = "unpublished"
    """What a killed publication or removal left beside the good name."""
    TEMPORARY = "temporary"
    """A record that was being written."""
    SOCKET = "socket"
    """Directory of a fork server."""
    MS = "Measurement Set"
    PRODUCTS = "products"
    """Images, plots and tables of one source, or of one field."""
    LOGS = "logs"


class Fate(StrEnum):
    """What became of it."""

    WOULD_GO = "would go"
    """This is a dry run."""
    REMOVED = "removed"
    KEPT = "kept"
    FAILED = "failed"
    """It could not be removed, or not as a whole."""


class Finding(Model):
    """Something that was removed, could be, or was looked at and kept."""

    kind: Kind
    """What it is."""
    path: str
    """Where."""
    size_bytes: int
    """Space that it takes."""
    age_s: float
    """Since when nobody has used it, in seconds, as far as that can be known."""
    why: str
    """Why it may go, in words."""
    fate: Fate
    """What became of it."""
    because: str = ""
    """Why it was kept, or what failed."""


class Retention(Model):
    """For how long what is finished is kept; None: for ever."""

    ms_days: float | None = Field(None, ge=1)
    """Measurement Sets, since anybody used them."""
    products_days: float | None = Field(None, ge=1)
    """Images, plots and tables, since they were written."""
    logs_days: float | None = Field(None, ge=2)
    """Logs, since they were written. No task may run for longer."""


class HousekeepingOptions(Model):
    """Where to look, what to keep, and whether to remove anything."""

    sandbox_roots: list[AbsolutePath]
    """Directories of sandboxes; those that stand beside products are found."""
    ms_dir: AbsolutePath
    """Root of the MSs."""
    products_dir: AbsolutePath
    """Root of the products."""
    calibration_dir: AbsolutePath
    """Root of the solutions."""
    nights_dir: AbsolutePath
    """Root of the records."""
    logs_dir: AbsolutePath
    """Root of the logs."""
    temporary_dir: AbsolutePath = Field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Where fork servers listen."""
    retention: Retention = Retention()
    """For how long what is finished is kept."""
    wanted: dict[str, str] = Field(default_factory=dict)
    """Groups whose MSs somebody is going to use, and who."""
    wanted_by: str | None = None
    """Who is going to use nobody knows which MS: none is removed."""
    apply: bool = False
    """Whether to remove; else only to say what would go."""


class HousekeepingResult(Model):
    """What was found and what became of it."""

    applied: bool
    """False for a dry run: nothing was touched."""
    retention: Retention
    """For how long what is finished is kept."""
    findings: list[Finding]
    """In the order in which they were found."""
    nights: list[str] = Field(default_factory=list)
    """Nights whose MSs were removed; their reports were written again."""
    problems: list[str] = Field(default_factory=list)
    """What went wrong, a sentence each."""
    seconds: float = 0.0
    """Wall time."""

    def select(self, fate: Fate) -> list[Finding]:
        """List the findings of one fate.

        Parameters
        ----------
        fate : Fate
            What became of them.

        Returns
        -------
        list of Finding
            In order.
        """
        return [finding for finding in self.findings if finding.fate is fate]


def options_for(settings: Settings, *, apply: bool) -> HousekeepingOptions:
    """Say where the settings have everything, and for how long they keep it.

    Parameters
    ----------
    settings : Settings
        The settings in force.
    apply : bool
        Whether to remove anything.

    Returns
    -------
    HousekeepingOptions
        For `housekeeping.keep_house.keep_house`.
    """
    return HousekeepingOptions(
        sandbox_roots=settings.sandbox_roots,
        ms_dir=settings.ms_dir,
        products_dir=settings.products_dir,
        calibration_dir=settings.calibration_dir,
        nights_dir=settings.nights_dir,
        logs_dir=settings.logs_dir,
        retention=Retention(
            ms_days=settings.retain_ms_days,
            products_days=settings.retain_products_days,
            logs_days=settings.retain_logs_days,
        ),
        apply=apply,
    )
