"""Timetable: a run of `nightly_transit` for each transit of a source, or from one to the next.

The other one, by a cron expression, is registered here, too.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from pendulum import DateTime

from dsa110_contimg.orchestration.night_timetable import NamedByNight, NightTimetable
from dsa110_contimg.orchestration.timetable import TransitSchedule


class TransitTimetable(NamedByNight):
    """Data intervals that a source's transits of the meridian cut out.

    Parameters
    ----------
    schedule : TransitSchedule
        The source, and how long around its transits.
    """

    def __init__(self, schedule: TransitSchedule):
        self.schedule = schedule
        width = "from transit to transit" if schedule.hours is None else f"{schedule.hours:g} h"
        self.description = (
            f"Transits of RA {schedule.ra_deg:.4f}, Dec {schedule.dec_deg:+.4f}: {width}"
        )

    @property
    def summary(self) -> str:
        """What the UI shows in a list of DAGs."""
        return f"transit of RA {self.schedule.ra_deg:.2f}"

    def serialize(self) -> dict[str, Any]:
        """Write the timetable into the DAG that the scheduler reads.

        Returns
        -------
        dict
            As JSON.
        """
        return self.schedule.model_dump(mode="json")

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> TransitTimetable:
        """Read the timetable back.

        Parameters
        ----------
        data : dict
            What `serialize` wrote.

        Returns
        -------
        TransitTimetable
            An equal one.
        """
        return cls(TransitSchedule.model_validate(data))

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """Give a run without an interval the newest one that is over.

        Parameters
        ----------
        run_after : DateTime
            When it was triggered.

        Returns
        -------
        DataInterval
            The interval.
        """
        return self._interval(self.schedule.last_ended(run_after.timestamp()))

    def next_dagrun_info(
        self,
        *,
        last_automated_data_interval: DataInterval | None,
        restriction: TimeRestriction,
    ) -> DagRunInfo | None:
        """Find the next run.

        Parameters
        ----------
        last_automated_data_interval : DataInterval or None
            Interval of the last scheduled or backfilled run.
        restriction : TimeRestriction
            Between which times intervals may start, and whether missed ones are made up for.

        Returns
        -------
        DagRunInfo or None
            None if nothing is to be scheduled.
        """
        candidates = []
        if restriction.earliest is not None:
            candidates.append(self.schedule.first_starting_at(restriction.earliest.timestamp()))
        if last_automated_data_interval is not None:
            start, end = (int(moment.timestamp()) for moment in last_automated_data_interval)
            candidates.append(self.schedule.following((start, end)))
        if not restriction.catchup:
            ended = self.schedule.last_ended(pendulum.now("UTC").timestamp())
            # The clock begins when it is switched on: nobody has asked for the night before.
            candidates.append(ended if last_automated_data_interval else ended + 1)
        elif not candidates:
            return None
        interval = self._interval(max(candidates))
        if restriction.latest is not None and interval.start > restriction.latest:
            return None
        return DagRunInfo.interval(interval.start, interval.end)

    def _interval(self, number: int) -> DataInterval:
        """Put an interval in Airflow's terms."""
        start, end = map(pendulum.from_timestamp, self.schedule.interval(number))
        return DataInterval(start, end)


class TransitTimetablePlugin(AirflowPlugin):
    """Registers the timetables."""

    name = "transit_timetable"
    timetables = [NightTimetable, TransitTimetable]  # noqa: RUF012 - as the base class declares it
