"""The night's ledger: one small JSON file per thing that was done or went wrong.

Tasks run in many processes, and a failed task returns nothing to Airflow; so each writes
what became of its group or source here, whole or not at all. The report reads only this,
and a record that cannot be read is itself reported.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
from dsa110_contimg.calibration.models import CalibrationRecord, SolveOutcome
from dsa110_contimg.conversion.models import ConversionResult, GroupListing
from dsa110_contimg.dates import is_date
from dsa110_contimg.errors import InputError, name_os_error
from dsa110_contimg.flagging.models import FlagRecord
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.qa.merging import Interval, merge_listings, merge_plans, was_looked_for
from dsa110_contimg.qa.record_files import RecordT, file_name, only_writer, read_all, read_paths
from dsa110_contimg.qa.record_models import (
    Arrival,
    ImagingPlan,
    Looked,
    MsFailure,
    NightRecord,
    StageFailure,
    StageSeconds,
    UnreadableRecord,
)
from dsa110_contimg.storage.files import write_text_atomic

BY_HAND: Final = "by_hand"
"""Directory of results by hand, in that of a night and in that of its products."""
_DISCOVERY_FILE = "discovery.json"
_LOOKED_FILE = "looked.json"
_CALIBRATORS_FILE = "calibrators.json"


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
    by_hand : str, optional
        Name of a run by hand, as `by_hand.name_run` makes it: its results stand beside the
        night's. None: the night's own.

    Raises
    ------
    InputError
        If `date` is not such a date, or `by_hand` is not fit for a file name.
    """

    def __init__(self, nights_dir: Path, date: str, by_hand: str | None = None):
        if not is_date(date):
            raise InputError(
                f"{date!r} is not a date", reason="bad_date", remedy="write it as YYYY-MM-DD"
            )
        self.date = date
        self.is_by_hand = by_hand is not None
        self.night_dir = nights_dir / date
        self.by_hand_dir = self.night_dir / BY_HAND
        if by_hand is not None:
            self.night_dir = self.by_hand_dir / file_name(by_hand, suffix="")
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

    def list_by_hand(self) -> list[str]:
        """List the runs by hand that have results beside the night's.

        Returns
        -------
        list of str
            Their names, in order of group.
        """
        return sorted(path.parent.name for path in self.by_hand_dir.glob("*/records"))

    def save_listing(self, listing: GroupListing, interval: Interval | None = None) -> None:
        """Record what discovery found.

        Parameters
        ----------
        listing : GroupListing
            Groups and rejected files.
        interval : tuple of datetime, optional
            Where it looked: what is on record of other parts of the night stays. None: replaces
            all.
        """
        with only_writer(self.records_dir):
            if interval is not None:
                earlier = self._find(_DISCOVERY_FILE, GroupListing)
                listing = merge_listings(earlier, listing, interval)
                self._save(_LOOKED_FILE, Looked(start=interval[0], end=interval[1]))
            self._save(_DISCOVERY_FILE, listing)

    def save_arrival(self, arrival: Arrival) -> None:
        """Record whether all files were there when the night was closed.

        Parameters
        ----------
        arrival : Arrival
            Replaces an earlier one of the same interval.
        """
        self._save(_arrival_file(arrival.start), arrival)

    def clear_arrival(self, start: datetime) -> None:
        """Forget how an interval was closed, when its files are taken as they are.

        Parameters
        ----------
        start : datetime
            Start of the interval.
        """
        self._clear(_arrival_file(start))

    def save_conversion(self, result: ConversionResult) -> None:
        """Record what became of a group.

        Parameters
        ----------
        result : ConversionResult
            Replaces an earlier record of the same group.
        """
        self._save(f"conversions/{file_name(result.group_id)}", result)

    def save_calibrators(self, plan: CalibratorPlan, interval: Interval | None = None) -> None:
        """Record which calibrators transit in the night.

        Parameters
        ----------
        plan : CalibratorPlan
            The transits.
        interval : tuple of datetime, optional
            Where they were looked for: what is on record of other parts of the night stays.
            None: replaces all.
        """
        with only_writer(self.records_dir):
            if interval is not None:
                plan = merge_plans(self.find_calibrators(), plan, interval)
            self._save(_CALIBRATORS_FILE, plan)

    def find_calibrators(self) -> CalibratorPlan | None:
        """Read which calibrators transit in the night.

        Returns
        -------
        CalibratorPlan or None
            None if nobody looked, or the record is damaged.
        """
        return self._find(_CALIBRATORS_FILE, CalibratorPlan)

    def save_flagging(self, record: FlagRecord) -> None:
        """Record what was flagged in an MS.

        Parameters
        ----------
        record : FlagRecord
            Replaces an earlier one of the same group.
        """
        self._save(f"flaggings/{file_name(record.group_id)}", record)

    def save_solve(self, outcome: SolveOutcome) -> None:
        """Record what became of the solve on a group.

        Parameters
        ----------
        outcome : SolveOutcome
            Replaces an earlier one of the same group.
        """
        self._save(f"solves/{file_name(outcome.group_id)}", outcome)

    def save_calibration(self, record: CalibrationRecord) -> None:
        """Record what was applied to an MS.

        Parameters
        ----------
        record : CalibrationRecord
            Replaces an earlier one of the same group.
        """
        self._save(f"calibrations/{file_name(record.group_id)}", record)

    def is_decided(self, group_id: str, *, anew: bool = False) -> bool:
        """Say whether a calibrator's group can be waited for no longer.

        Parameters
        ----------
        group_id : str
            The group.
        anew : bool, optional
            Whether only that counts which was put on record since the groups of the night were
            last looked for: the night is being done again.

        Returns
        -------
        bool
            True once it was solved or refused, or failed on its way there.
        """
        name = file_name(group_id)
        is_redone = anew and was_looked_for(self._find(_LOOKED_FILE, Looked), group_id)
        since_ns = self._changed_ns(_DISCOVERY_FILE) if is_redone else 0

        def find(  # numpydoc ignore=PR01
            folder: str, model: type[RecordT]
        ) -> RecordT | None:
            """Read a record of the group that counts."""
            path = f"{folder}/{name}"
            return self._find(path, model) if self._changed_ns(path) > since_ns else None

        if self._changed_ns(f"solves/{name}") > since_ns:
            return True
        failure = find("ms_failures", MsFailure)
        if failure is not None and not failure.is_retried:
            return True
        conversion = find("conversions", ConversionResult)
        if conversion is None or conversion.is_retried:
            return False
        return conversion.ms_path is None

    def find_conversion(self, group_id: str) -> ConversionResult | None:
        """Read what became of a group.

        Parameters
        ----------
        group_id : str
            The group.

        Returns
        -------
        ConversionResult or None
            None if it was not converted yet, or the record is damaged.
        """
        return self._find(f"conversions/{file_name(group_id)}", ConversionResult)

    def save_plan(self, plan: ImagingPlan) -> None:
        """Record which sources are to be imaged in an MS.

        Parameters
        ----------
        plan : ImagingPlan
            Replaces an earlier one of the same group.
        """
        self._save(f"plans/{file_name(plan.group_id)}", plan)

    def save_source(self, group_id: str, result: SourceResult) -> None:
        """Record what became of a source in the MS of a group.

        Parameters
        ----------
        group_id : str
            The group.
        result : SourceResult
            Replaces an earlier record of the same source.
        """
        folder = file_name(group_id, suffix="")
        self._save(f"sources/{folder}/{file_name(result.name)}", result)

    def save_ms_failure(self, failure: MsFailure) -> None:
        """Record that an MS could not be imaged at all.

        Parameters
        ----------
        failure : MsFailure
            Replaces an earlier one.
        """
        self._save(f"ms_failures/{file_name(failure.group_id)}", failure)

    def find_ms_failure(self, group_id: str) -> MsFailure | None:
        """Read why nothing came of an MS.

        Parameters
        ----------
        group_id : str
            The group.

        Returns
        -------
        MsFailure or None
            None if nothing is on record.
        """
        return self._find(f"ms_failures/{file_name(group_id)}", MsFailure)

    def clear_ms_failure(self, group_id: str) -> None:
        """Forget an earlier failure, once the MS could be imaged.

        Parameters
        ----------
        group_id : str
            The group.
        """
        self._clear(f"ms_failures/{file_name(group_id)}")

    def save_stage_failure(self, failure: StageFailure) -> None:
        """Record that a stage failed as a whole.

        Parameters
        ----------
        failure : StageFailure
            Replaces an earlier one of the same stage.
        """
        self._save(f"stage_failures/{file_name(failure.stage)}", failure)

    def clear_stage_failure(self, stage: str) -> None:
        """Forget an earlier failure, once the stage has succeeded.

        Parameters
        ----------
        stage : str
            The stage.
        """
        self._clear(f"stage_failures/{file_name(stage)}")

    def save_stage_seconds(self, timing: StageSeconds) -> None:
        """Record how long a stage took as a whole.

        Parameters
        ----------
        timing : StageSeconds
            Replaces an earlier one of the same stage.
        """
        self._save(f"stage_seconds/{file_name(timing.stage)}", timing)

    def load(self) -> NightRecord:
        """Read all that is on record.

        Returns
        -------
        NightRecord
            Empty where nothing was recorded; damaged records are listed in it. Of a group that
            has a plan, sources that are not in it are left out: nothing asks for them any more.
        """
        unreadable: list[UnreadableRecord] = []

        def read(  # numpydoc ignore=PR01
            folder: str, model: type[RecordT]
        ) -> list[RecordT]:
            """Read the records of one kind."""
            return read_all(self.records_dir / folder, model, unreadable)

        groups = sorted(path for path in self.records_dir.glob("sources/*") if path.is_dir())
        listings = read_paths([self.records_dir / _DISCOVERY_FILE], GroupListing, unreadable)
        transits = read_paths([self.records_dir / _CALIBRATORS_FILE], CalibratorPlan, unreadable)
        plans = read("plans", ImagingPlan)
        sources = {group.name: read(f"sources/{group.name}", SourceResult) for group in groups}
        return NightRecord(
            date=self.date,
            listing=listings[0] if listings else None,
            arrivals=read("arrivals", Arrival),
            conversions=read("conversions", ConversionResult),
            calibrators=transits[0] if transits else None,
            flaggings=read("flaggings", FlagRecord),
            solves=read("solves", SolveOutcome),
            calibrations=read("calibrations", CalibrationRecord),
            plans=plans,
            sources=_keep_planned(sources, plans),
            ms_failures=read("ms_failures", MsFailure),
            stage_failures=read("stage_failures", StageFailure),
            stage_seconds=read("stage_seconds", StageSeconds),
            unreadable=unreadable,
            by_hand=self._load_by_hand(),
        )

    def _load_by_hand(self) -> dict[str, NightRecord]:
        """Read the results of the runs by hand."""
        if self.is_by_hand:
            return {}
        nights_dir = self.night_dir.parent
        return {run: NightLedger(nights_dir, self.date, run).load() for run in self.list_by_hand()}

    def _save(self, name: str, record: Model) -> None:
        """Write one record whole or not at all."""
        try:
            write_text_atomic(self.records_dir / name, record.model_dump_json(indent=1))
        except OSError as error:
            raise name_os_error(error, f"cannot write the record {name} of {self.date}") from error

    def _find(self, name: str, model: type[RecordT]) -> RecordT | None:
        """Read one record, if it is there and whole."""
        records = read_paths([self.records_dir / name], model, [])
        return records[0] if records else None

    def _changed_ns(self, name: str) -> int:
        """When a record was last written, in nanoseconds since 1970; 0 if it is not there."""
        try:
            return (self.records_dir / name).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _clear(self, name: str) -> None:
        """Remove a record if it is there."""
        (self.records_dir / name).unlink(missing_ok=True)


def _keep_planned(
    sources: dict[str, list[SourceResult]], plans: list[ImagingPlan]
) -> dict[str, list[SourceResult]]:
    """Leave out the sources that the newest plan of their group does not hold."""
    planned = {plan.group_id: set(plan.source_names) for plan in plans}
    return {
        group_id: [
            result
            for result in results
            if group_id not in planned or result.name in planned[group_id]
        ]
        for group_id, results in sources.items()
    }


def _arrival_file(start: datetime) -> str:
    """Name the record of how an interval was closed."""
    return f"arrivals/{file_name(f'{start:%Y-%m-%dT%H:%M:%S}')}"
