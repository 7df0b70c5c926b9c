"""One night as the pages show it: the report, and what belongs together in it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dsa110_contimg.operator_page.rows import GroupRow, SourceRow, list_groups, list_sources
from dsa110_contimg.qa.calibration_models import MsCalibrationReport, SetReport
from dsa110_contimg.qa.figures import Timeline, draw_timeline
from dsa110_contimg.qa.models import Failure, FieldReport, NightReport, Verdict
from dsa110_contimg.qa.verdict import LOST_TASK, NOT_LISTED

_STILL_TO_COME = {LOST_TASK, NOT_LISTED}
"""What is no failure while a night is open."""


@dataclass(frozen=True)
class NightView:
    """A night, from its report or from its records."""

    report: NightReport
    """What there is to say."""
    night_dir: Path
    """Where the report stands; paths in it are relative to this."""
    is_reported: bool
    """Whether a report was written; if not, the night is open."""
    notices: tuple[str, ...] = ()
    """What the reader must know of where this comes from."""

    @property
    def date(self) -> str:
        """UTC date."""
        return self.report.date

    @property
    def state(self) -> str:
        """The verdict, or ``open``."""
        return self.report.verdict.value if self.is_reported else "open"

    @property
    def verdict(self) -> Verdict | None:
        """The verdict; None while the night is open."""
        return self.report.verdict if self.is_reported else None

    @cached_property
    def failures(self) -> list[Failure]:
        """What failed; while the night is open, without what is still to come."""
        if self.is_reported:
            return self.report.failures
        return [failure for failure in self.report.failures if failure.reason not in _STILL_TO_COME]

    @property
    def waiting(self) -> int:
        """Groups, calibrators, MSs and sources of an open night without an outcome."""
        return len(self.report.failures) - len(self.failures)

    @cached_property
    def groups(self) -> dict[str, GroupRow]:
        """Group to its line."""
        rows = list_groups(self.report, self.sources.values(), is_open=not self.is_reported)
        return {row.group_id: row for row in rows}

    @cached_property
    def sources(self) -> dict[tuple[str, str], SourceRow]:
        """Group and name to the line of a source."""
        rows = list_sources(self.report, is_open=not self.is_reported)
        return {(row.group_id, row.name): row for row in rows}

    @cached_property
    def sources_by_group(self) -> Mapping[str, list[SourceRow]]:
        """Group to the lines of its sources."""
        found = defaultdict(list)
        for row in self.sources.values():
            found[row.group_id].append(row)
        return found

    @cached_property
    def fields(self) -> dict[str, FieldReport]:
        """Group to its field."""
        return {field.group_id: field for field in self.report.fields}

    @cached_property
    def solution_sets(self) -> dict[str, SetReport]:
        """Id to set of solutions."""
        found = self.report.calibration
        return {one.set_id: one for one in found.sets} if found else {}

    def applied_sets(self, calibration: MsCalibrationReport | None) -> list[SetReport]:
        """Find the sets that were applied to an MS.

        Parameters
        ----------
        calibration : MsCalibrationReport or None
            How the MS was calibrated.

        Returns
        -------
        list of SetReport
            In the order in which they are on record.
        """
        applied = calibration.applied if calibration else []
        return [self.solution_sets[a.set_id] for a in applied if a.set_id in self.solution_sets]

    def pictured_sets(
        self, calibration: MsCalibrationReport | None, group_id: str
    ) -> list[SetReport]:
        """Find the sets whose plots a group's page shows.

        Parameters
        ----------
        calibration : MsCalibrationReport or None
            How its MS was calibrated.
        group_id : str
            The group.

        Returns
        -------
        list of SetReport
            Those that were applied, then those that were solved on the group and were not, as
            refused ones.
        """
        applied = self.applied_sets(calibration)
        own = [
            one for one in self.solution_sets.values() if one.is_own and one.group_id == group_id
        ]
        return applied + [one for one in own if one not in applied]

    @cached_property
    def timeline(self) -> Timeline | None:
        """The night's drawing."""
        return draw_timeline(self.report)

    def absolute(self, relative: str) -> Path:
        """Find where a path of the report leads.

        Parameters
        ----------
        relative : str
            Relative to the report.

        Returns
        -------
        Path
            Absolute, without detours.
        """
        return Path(os.path.normpath(self.night_dir.absolute() / relative))

    @cached_property
    def files(self) -> frozenset[Path]:
        """The files that the report names: nothing else is handed out."""
        report = self.report
        names = ["report.html", "report.json"]
        names += [path for source in report.sources for path in source.products.values()]
        names += [field.picture for field in report.fields if field.picture]
        if report.calibration:
            sets = report.calibration.sets
            names += [table.plot for one in sets for table in one.tables if table.plot]
            flagged = report.calibration.measurement_sets
            names += [ms.flag_plot for ms in flagged if ms.flag_plot]
        return frozenset(self.absolute(name) for name in names)
