"""The night's ledger: one small JSON file per thing that was done or went wrong.

Tasks run in many processes, and a failed task returns nothing to Airflow; so each writes
what became of its group or source here, whole or not at all. The report reads only this,
and a record that cannot be read is itself reported.
"""

from __future__ import annotations

from datetime import date as calendar_date
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from dsa110_contimg.conversion.models import ConversionResult, GroupListing
from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.storage.files import write_text_atomic

RecordT = TypeVar("RecordT", bound=Model)


class MsFailure(Model):
    """An MS that could not be imaged at all."""

    group_id: str
    """The group that the MS was made from."""
    reason: str
    """Why, in a sentence."""


class StageFailure(Model):
    """A stage of the night that failed as a whole, e.g. discovery in an unreadable directory."""

    stage: str
    """The stage, fit for a file name."""
    reason: str
    """Why, in a sentence."""
    remedy: str | None = None
    """What the operator can do about it."""


class StageSeconds(Model):
    """How long a stage of the night took as a whole."""

    stage: str
    """The stage, fit for a file name."""
    seconds: float
    """Wall time."""


class ImagingPlan(Model):
    """The sources that are to be imaged in an MS: whoever is missing at the end was lost."""

    group_id: str
    """The group that the MS was made from."""
    source_names: list[str]
    """Names of the sources; empty if none lies in the field."""


class UnreadableRecord(Model):
    """A record that is damaged."""

    file: str
    """Absolute path."""
    reason: str
    """What is wrong with it."""


class NightRecord(Model):
    """All that is on record for one night."""

    date: str
    """UTC date, ``YYYY-MM-DD``."""
    listing: GroupListing | None = None
    """What was found in the input directory; None if nobody looked."""
    conversions: list[ConversionResult] = Field(default_factory=list)
    """In order of group."""
    plans: list[ImagingPlan] = Field(default_factory=list)
    """The sources to be imaged, in order of group."""
    sources: dict[str, list[SourceResult]] = Field(default_factory=dict)
    """Group to the sources imaged in its MS, in order of name."""
    ms_failures: list[MsFailure] = Field(default_factory=list)
    """MSs that could not be imaged at all."""
    stage_failures: list[StageFailure] = Field(default_factory=list)
    """Stages that failed as a whole."""
    stage_seconds: list[StageSeconds] = Field(default_factory=list)
    """Wall time of the stages that were timed as a whole."""
    unreadable: list[UnreadableRecord] = Field(default_factory=list)
    """Records that are damaged."""


def list_nights(nights_dir: Path) -> list[str]:
    """List the nights that have records.

    Parameters
    ----------
    nights_dir : Path
        Root of the nights, `Settings.nights_dir`.

    Returns
    -------
    list of str
        UTC dates, ascending.
    """
    return sorted(path.parent.name for path in nights_dir.glob("*/records") if path.is_dir())


class NightLedger:
    """Reads and writes the records of one night.

    Parameters
    ----------
    nights_dir : Path
        Root of the nights, `Settings.nights_dir`.
    date : str
        UTC date, ``YYYY-MM-DD``.

    Raises
    ------
    InputError
        If `date` is not such a date.
    """

    def __init__(self, nights_dir: Path, date: str):
        if not _is_date(date):
            raise InputError(
                f"{date!r} is not a date", reason="bad_date", remedy="write it as YYYY-MM-DD"
            )
        self.date = date
        self.night_dir = nights_dir / date
        self.records_dir = self.night_dir / "records"
        self.report_json = self.night_dir / "report.json"
        self.report_html = self.night_dir / "report.html"

    def exists(self) -> bool:
        """Say whether anything was recorded.

        Returns
        -------
        bool
            False for a night that nobody has worked on.
        """
        return self.records_dir.is_dir()

    def save_listing(self, listing: GroupListing) -> None:
        """Record what discovery found.

        Parameters
        ----------
        listing : GroupListing
            The night's groups and rejected files.
        """
        self._save("discovery.json", listing)

    def save_conversion(self, result: ConversionResult) -> None:
        """Record what became of a group.

        Parameters
        ----------
        result : ConversionResult
            Replaces an earlier record of the same group.
        """
        self._save(f"conversions/{_file_name(result.group_id)}", result)

    def save_plan(self, plan: ImagingPlan) -> None:
        """Record which sources are to be imaged in an MS.

        Parameters
        ----------
        plan : ImagingPlan
            Replaces an earlier one of the same group.
        """
        self._save(f"plans/{_file_name(plan.group_id)}", plan)

    def save_source(self, group_id: str, result: SourceResult) -> None:
        """Record what became of a source in the MS of a group.

        Parameters
        ----------
        group_id : str
            The group.
        result : SourceResult
            Replaces an earlier record of the same source.
        """
        folder = _file_name(group_id, suffix="")
        self._save(f"sources/{folder}/{_file_name(result.name)}", result)

    def save_ms_failure(self, failure: MsFailure) -> None:
        """Record that an MS could not be imaged at all.

        Parameters
        ----------
        failure : MsFailure
            Replaces an earlier one.
        """
        self._save(f"ms_failures/{_file_name(failure.group_id)}", failure)

    def clear_ms_failure(self, group_id: str) -> None:
        """Forget an earlier failure, once the MS could be imaged.

        Parameters
        ----------
        group_id : str
            The group.
        """
        self._clear(f"ms_failures/{_file_name(group_id)}")

    def save_stage_failure(self, failure: StageFailure) -> None:
        """Record that a stage failed as a whole.

        Parameters
        ----------
        failure : StageFailure
            Replaces an earlier one of the same stage.
        """
        self._save(f"stage_failures/{_file_name(failure.stage)}", failure)

    def clear_stage_failure(self, stage: str) -> None:
        """Forget an earlier failure, once the stage has succeeded.

        Parameters
        ----------
        stage : str
            The stage.
        """
        self._clear(f"stage_failures/{_file_name(stage)}")

    def save_stage_seconds(self, timing: StageSeconds) -> None:
        """Record how long a stage took as a whole.

        Parameters
        ----------
        timing : StageSeconds
            Replaces an earlier one of the same stage.
        """
        self._save(f"stage_seconds/{_file_name(timing.stage)}", timing)

    def load(self) -> NightRecord:
        """Read all that is on record.

        Returns
        -------
        NightRecord
            Empty where nothing was recorded; damaged records are listed in it.
        """
        unreadable: list[UnreadableRecord] = []

        def read(folder: str, model: type[RecordT]) -> list[RecordT]:
            """Read the records of one kind."""
            return _read_all(self.records_dir / folder, model, unreadable)

        groups = sorted(path for path in self.records_dir.glob("sources/*") if path.is_dir())
        listings = _read_paths([self.records_dir / "discovery.json"], GroupListing, unreadable)
        return NightRecord(
            date=self.date,
            listing=listings[0] if listings else None,
            conversions=read("conversions", ConversionResult),
            plans=read("plans", ImagingPlan),
            sources={group.name: read(f"sources/{group.name}", SourceResult) for group in groups},
            ms_failures=read("ms_failures", MsFailure),
            stage_failures=read("stage_failures", StageFailure),
            stage_seconds=read("stage_seconds", StageSeconds),
            unreadable=unreadable,
        )

    def _save(self, name: str, record: Model) -> None:
        """Write one record whole or not at all."""
        write_text_atomic(self.records_dir / name, record.model_dump_json(indent=1))

    def _clear(self, name: str) -> None:
        """Remove a record if it is there."""
        (self.records_dir / name).unlink(missing_ok=True)


def _read_all(
    folder: Path, model: type[RecordT], unreadable: list[UnreadableRecord]
) -> list[RecordT]:
    """Read the records in a folder, leaving out those that are being written."""
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    return _read_paths(paths, model, unreadable)


def _read_paths(
    paths: list[Path], model: type[RecordT], unreadable: list[UnreadableRecord]
) -> list[RecordT]:
    """Read records; append the damaged ones to `unreadable` and pass over absent ones."""
    records = []
    for path in paths:
        try:
            records.append(model.model_validate_json(path.read_bytes()))
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = error.strerror or str(error)
            unreadable.append(UnreadableRecord(file=str(path.absolute()), reason=reason))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = f"{where}: {first['msg']}" if where else first["msg"]
            unreadable.append(UnreadableRecord(file=str(path.absolute()), reason=reason))
    return records


def _is_date(text: str) -> bool:
    """Accept ``YYYY-MM-DD`` and nothing else, for it becomes a directory."""
    try:
        return calendar_date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _file_name(name: str, suffix: str = ".json") -> str:
    """Turn the name of a group, source or stage into a file name, or refuse it."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise InputError(
            f"{name!r} cannot be filed: it is not fit for a file name", reason="bad_name"
        )
    return f"{name}{suffix}"
