"""Timetable of `nightly_transit` by a cron expression, and the ids of all runs of the clock.

A module of Airflow's, which ``plugins/`` registers: it stands here for the DAG file, which must be
readable without plugins.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.timetables.base import (  # noqa: TID253 - for Airflow alone
    DagRunInfo,
    DataInterval,
    TimeRestriction,
    Timetable,
)
from airflow.timetables.interval import CronDataIntervalTimetable  # noqa: TID253
from airflow.utils.types import DagRunType  # noqa: TID253
from pendulum import DateTime

from dsa110_contimg.orchestration.runs import name_night_run


class NamedByNight(Timetable):
    """Calls the runs that the clock or a backfill makes after the night that they are about."""

    def generate_run_id(
        self,
        *,
        run_type: DagRunType,
        run_after: DateTime,
        data_interval: DataInterval | None,
        **extra: Any,
    ) -> str:
        """Make the id of a run.

        Parameters
        ----------
        run_type : DagRunType
            What makes the run. One by hand may be about another night than its interval: its
            parameters are not known here.
        run_after : DateTime
            When it may start.
        data_interval : DataInterval or None
            What it is about.
        **extra
            Passed on.

        Returns
        -------
        str
            Unique among the runs of the DAG.
        """
        if data_interval is None or run_type not in {DagRunType.SCHEDULED, DagRunType.BACKFILL_JOB}:
            return super().generate_run_id(
                run_type=run_type, run_after=run_after, data_interval=data_interval, **extra
            )
        return run_type.generate_run_id(suffix=name_night_run(data_interval.start))


class NightTimetable(NamedByNight, CronDataIntervalTimetable):
    """Data intervals that a cron expression cuts out; the first ends after it was switched on."""

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
        info = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        is_first = last_automated_data_interval is None and not restriction.catchup
        if info is None or not is_first or info.run_after > pendulum.now("UTC"):
            return info
        return DagRunInfo.interval(info.run_after, self._get_next(info.run_after))
