"""Which groups are done with: all that was planned is on record, and the night is reported."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from dsa110_contimg.calibration.models import SolveState
from dsa110_contimg.conversion.models import ConversionState
from dsa110_contimg.qa.record_models import NightRecord
from dsa110_contimg.qa.records import NightLedger

_DONE = {ConversionState.CONVERTED, ConversionState.SKIPPED}
_RECORDS = ("conversions", "flaggings", "solves", "calibrations", "plans", "ms_failures")


class Processed:
    """Knows which groups are done with; reads the records of each night once.

    Parameters
    ----------
    nights_dir : Path
        Root of the nights.
    """

    def __init__(self, nights_dir: Path):
        self._nights_dir = nights_dir
        self._records: dict[str, NightRecord] = {}

    def nights_of(self, group_id: str) -> list[str]:
        """List the nights that have a group on record.

        Parameters
        ----------
        group_id : str
            The group.

        Returns
        -------
        list of str
            Dates; a night may begin on the day before that of a group, or end on the day after.
        """
        try:
            day = date.fromisoformat(group_id[:10])
        except ValueError:
            return []
        days = [(day + timedelta(days=offset)).isoformat() for offset in (-1, 0, 1)]
        name = f"{group_id}.json"
        return [
            night
            for night in days
            if (NightLedger(self._nights_dir, night).records_dir / "conversions" / name).exists()
        ]

    def find_problem(self, group_id: str) -> str | None:
        """Say what is left to do with a group.

        Parameters
        ----------
        group_id : str
            The group.

        Returns
        -------
        str or None
            In words; None if each night that has it on record is done with it.
        """
        nights = self.nights_of(group_id)
        if not nights:
            return "no night has it on record"
        problems = (self._problem_in(night, group_id) for night in nights)
        return next((problem for problem in problems if problem), None)

    def _problem_in(self, night: str, group_id: str) -> str | None:
        """Say what is left to do with a group in one night."""
        if night not in self._records:
            self._records[night] = NightLedger(self._nights_dir, night).load()
        ledger = NightLedger(self._nights_dir, night)
        problem = find_unfinished(self._records[night], group_id)
        if problem is None and _changed_s(ledger, group_id) > _reported_s(ledger):
            problem = "something was put on record since its report was written, if it was"
        return problem and f"night {night}: {problem}"


def find_unfinished(record: NightRecord, group_id: str) -> str | None:
    """Say what a night still owes to a group: nothing that failed is done with.

    Parameters
    ----------
    record : NightRecord
        The night.
    group_id : str
        The group.

    Returns
    -------
    str or None
        In words; None if all that was planned has succeeded.
    """
    conversion = next((one for one in record.conversions if one.group_id == group_id), None)
    plan = next((one for one in record.plans if one.group_id == group_id), None)
    solve = next((one for one in record.solves if one.group_id == group_id), None)
    is_calibrator = record.calibrators is not None and group_id in record.calibrators.solvable
    sources = record.sources.get(group_id, [])
    missing = set(plan.source_names if plan else []) - {s.name for s in sources if s.success}
    failed = {source.name for source in sources if not source.success}
    owed = (
        (bool(record.unreadable), "it has damaged records"),
        (conversion is None or conversion.state not in _DONE, "its conversion is not done"),
        (any(one.group_id == group_id for one in record.ms_failures), "it failed"),
        (is_calibrator and solve is None, "its calibrator has not been solved"),
        (solve is not None and solve.state is not SolveState.SOLVED, "its solve failed"),
        (plan is None, "its sources have not been looked for"),
        (bool(missing | failed), f"without a result: {', '.join(sorted(missing | failed))}"),
    )
    return next((words for is_owed, words in owed if is_owed), None)


def _reported_s(ledger: NightLedger) -> float:
    """When the report was written, in seconds since 1970; 0 if it was not."""
    try:
        return ledger.report_json.stat().st_mtime
    except OSError:
        return 0.0


def _changed_s(ledger: NightLedger, group_id: str) -> float:
    """When something was last put on record of a group, in seconds since 1970."""
    name = f"{group_id}.json"
    paths = [ledger.records_dir / folder / name for folder in _RECORDS]
    paths += (ledger.records_dir / "sources" / group_id).glob("*.json")
    return max(path.stat().st_mtime for path in paths if path.exists())
