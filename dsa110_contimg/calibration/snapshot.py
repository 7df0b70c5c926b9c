"""What a Measurement Set holds while it is held: read as a whole, and refused if it changed.

An MS that is read in pieces, some of them before its lock is had, can be two: the data of
before a calibration with the record of after it. So description, records and what identifies
the files are read together under the lock; whoever plans with them and comes back for the data
learns whether they still hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from dsa110_contimg.calibration.models import CalibrationRecord
from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.flagging.models import FlagRecord
from dsa110_contimg.models import Model
from dsa110_contimg.provenance import InputFile, Provenance, make_provenance
from dsa110_contimg.storage.ms_access import canonical_ms, exclusive_ms
from dsa110_contimg.storage.ms_change import (
    Change,
    half_changed,
    interrupted_change,
    ms_created,
    read_change,
)
from dsa110_contimg.visibilities.models import MsInfo
from dsa110_contimg.visibilities.ms_info import describe_ms, read_ms_info, require_ms

UNKNOWN_CALIBRATION = "CORRECTED_DATA is there, but no record of the solutions that made it"
"""Said of data that another program corrected."""


class CalibrationDemand(StrEnum):
    """What shows that the data of an MS are calibrated, before they are measured."""

    APPLIED = "applied"
    """Solutions of this pipeline, on record."""
    STATED = "stated"
    """These, CORRECTED_DATA, or the statement of the input that it is in Jy."""
    ASSUMED = "assumed"
    """Nothing: whoever asks says so."""


class MsSnapshot(Model):
    """An MS at one moment: what it says of itself, and what is on record of it."""

    info: MsInfo
    """What it says of itself."""
    file: InputFile
    """What identifies its state: every change of data or flags changes it."""
    created: str
    """When it was published, as its manifest has it; empty if this pipeline did not."""
    flagging: FlagRecord | None
    """How it was flagged."""
    calibration: CalibrationRecord | None
    """What was applied to it."""
    interrupted: Change | None
    """The change that began and did not end."""

    @property
    def path(self) -> Path:
        """The MS, as it was named."""
        return Path(self.info.ms_path)

    def same_as(self, other: MsSnapshot) -> bool:
        """Say whether two snapshots are of one state of an MS.

        Parameters
        ----------
        other : MsSnapshot
            The other.

        Returns
        -------
        bool
            Whether data, flags and records are those of the other.
        """
        return self.file.is_unchanged(other.file) and self._records() == other._records()

    def provenance(self, options: Model) -> Provenance:
        """Record what makes a product of this MS: the options, the MS, and its calibration.

        Parameters
        ----------
        options : Model
            The options of the stage.

        Returns
        -------
        Provenance
            The record.
        """
        record = self.calibration
        others = UNKNOWN_CALIBRATION if self.info.data_column == "CORRECTED_DATA" else None
        return make_provenance(options, [self.file]).model_copy(
            update={
                "calibration": record.sentence if record else others,
                "calibration_sets": [one.set_id for one in record.applied] if record else [],
            }
        )

    def require_measurable(self, demand: CalibrationDemand) -> None:
        """Refuse an MS that was left in the middle of a change, or is not calibrated.

        Parameters
        ----------
        demand : CalibrationDemand
            What must show that it is calibrated.

        Raises
        ------
        InputError
            If a change began and did not end, or nothing shows that the data are calibrated.
        TransientError
            If solutions were to be on record, and are not any more.
        """
        if demand is CalibrationDemand.APPLIED and self.calibration is None:
            raise TransientError(
                f"{self.path} is not calibrated any more: another run has flagged it again",
                reason="not_calibrated",
                remedy="wait until that run has calibrated it",
            )
        if self.interrupted is not None:
            raise half_changed(self.path, self.interrupted)
        if demand is CalibrationDemand.STATED and not (self.calibration or self.info.in_jy):
            raise InputError(
                f"{self.path} is not calibrated: it has no CORRECTED_DATA, and its input does "
                "not state that its visibilities are in Jy",
                reason="not_calibrated",
                remedy="flag, solve and apply; or say that its data are calibrated "
                "(--assume-calibrated)",
            )

    def _records(self) -> tuple[str | None, ...]:
        """List what tells its records from those of another state."""
        records = (self.flagging, self.calibration)
        made = (record.provenance.created if record else None for record in records)
        return (self.created, self.interrupted, *made)


def read_snapshot(ms_path: Path) -> MsSnapshot:
    """Read what an MS holds; whoever must keep writers out holds its lock (`hold_ms`).

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    MsSnapshot
        What it holds.

    Raises
    ------
    InputError
        If it is absent, damaged, empty or has more than one field.
    """
    true_path = canonical_ms(ms_path)
    return MsSnapshot(
        info=read_ms_info(ms_path),
        file=describe_ms(ms_path),
        created=ms_created(true_path),
        flagging=read_change(true_path, Change.FLAGGING, FlagRecord),
        calibration=read_change(true_path, Change.CALIBRATION, CalibrationRecord),
        interrupted=interrupted_change(true_path),
    )


@contextmanager
def hold_ms(
    ms_path: Path,
    purpose: str,
    *,
    timeout_s: float,
    access_log: Path | None = None,
    writable: bool = False,
    locked: bool = True,
    planned: MsSnapshot | None = None,
) -> Iterator[MsSnapshot]:
    """Hold an MS, and read what it holds now.

    Parameters
    ----------
    ms_path : Path
        The MS.
    purpose : str
        What for; others see it while they wait.
    timeout_s : float
        How long to wait for another holder, in seconds.
    access_log : Path, optional
        As `exclusive_ms` takes it.
    writable : bool, optional
        Likewise.
    locked : bool, optional
        Whether to take the lock; without it the MS is looked at again at the end.
    planned : MsSnapshot, optional
        What the work was planned with: the MS must hold the same now.

    Yields
    ------
    MsSnapshot
        What the MS holds.

    Raises
    ------
    InputError
        If there is no such MS, also once the lock is had, or as `exclusive_ms` raises it.
    TransientError
        If the MS is held for too long, or does not hold what was planned with.
    """
    require_ms(ms_path)  # no lock file is made beside a path that was mistyped
    if locked:
        with exclusive_ms(
            ms_path, purpose, timeout_s=timeout_s, access_log=access_log, writable=writable
        ):
            yield _read_as_planned(ms_path, planned)
        return
    snapshot = _read_as_planned(ms_path, planned)
    yield snapshot
    _read_as_planned(ms_path, snapshot)


def take_snapshot(
    ms_path: Path,
    purpose: str,
    *,
    timeout_s: float,
    access_log: Path | None = None,
    locked: bool = True,
) -> MsSnapshot:
    """Wait for an MS and read what it holds, to plan with; `hold_ms` is given it later.

    Parameters
    ----------
    ms_path : Path
        The MS.
    purpose : str
        What for; others see it while they wait.
    timeout_s : float
        How long to wait for another holder, in seconds.
    access_log : Path, optional
        As `exclusive_ms` takes it.
    locked : bool, optional
        Whether to take the lock.

    Returns
    -------
    MsSnapshot
        What it holds.

    Raises
    ------
    InputError, TransientError
        As `hold_ms` raises them.
    """
    with hold_ms(
        ms_path, purpose, timeout_s=timeout_s, access_log=access_log, locked=locked
    ) as snapshot:
        return snapshot


def changed_ms(ms_path: Path, what: str) -> TransientError:
    """Make the error of an MS that is not what was planned with.

    Parameters
    ----------
    ms_path : Path
        The MS.
    what : str
        What was made or planned before, as the subject of a sentence.

    Returns
    -------
    TransientError
        The error.
    """
    return TransientError(
        f"{ms_path} has changed since {what}: it was flagged, calibrated or converted again",
        reason="ms_changed",
        remedy="run this again: it begins from what the MS holds then",
    )


def _read_as_planned(ms_path: Path, planned: MsSnapshot | None) -> MsSnapshot:
    """Read what an MS holds, and refuse what is not what was planned with."""
    snapshot = read_snapshot(ms_path)
    if planned is not None and not snapshot.same_as(planned):
        raise changed_ms(ms_path, "this work was planned")
    return snapshot
