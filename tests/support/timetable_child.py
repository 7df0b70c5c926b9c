"""Asks a fresh Airflow about the DAG of the night on the transit timetable.

Started by ``tests/airflow/test_transit_timetable.py`` with the environment of such an Airflow.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pendulum
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction
from airflow.utils.types import DagRunType

from dsa110_contimg.orchestration.home import find_project_folder
from dsa110_contimg.orchestration.night_timetable import NightTimetable
from dsa110_contimg.orchestration.runs import NIGHT_DAG


def main() -> None:
    bag = DagBag(Path(find_project_folder("dags")) / "nightly_transit.py")
    written = json.loads(json.dumps(DagSerialization.to_dict(bag.dags[NIGHT_DAG])))
    dag = DagSerialization.from_dict(written)
    timetable = dag.timetable
    first = pendulum.datetime(2026, 1, 25)

    cron = decode_timetable(encode_timetable(NightTimetable("0 0 * * *", "UTC")))

    def following(
        last: DataInterval | None, *, catchup: bool, timetable: Any = timetable, **limits: Any
    ) -> Any:
        restriction = TimeRestriction(
            earliest=limits.get("earliest", first), latest=limits.get("latest"), catchup=catchup
        )
        info = timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=restriction
        )
        return info and [
            info.data_interval.start.isoformat(),
            info.data_interval.end.isoformat(),
            info.run_after.isoformat(),
        ]

    one = timetable.next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=first, latest=None, catchup=True),
    ).data_interval
    manual = timetable.infer_manual_data_interval(run_after=one.end.add(hours=5))
    answer = {
        "errors": {str(file): str(error) for file, error in bag.import_errors.items()},
        "written": written["dag"]["timetable"],
        "again": timetable.serialize(),
        "description": timetable.description,
        "summary": timetable.summary,
        "catchup": dag.catchup,
        "first": following(None, catchup=True),
        "second": following(one, catchup=True),
        "after the end": following(one, catchup=True, latest=one.start),
        "nothing to begin with": following(None, catchup=True, earliest=None),
        "newest": following(None, catchup=False),
        "newest after another": following(one, catchup=False),
        "cron, first": following(None, catchup=False, timetable=cron),
        "cron, after another": following(one, catchup=False, timetable=cron),
        "cron, later": following(
            None, catchup=False, timetable=cron, earliest=pendulum.now("UTC").add(days=5)
        ),
        "cron, caught up": following(None, catchup=True, timetable=cron),
        "names": [
            asked.generate_run_id(run_type=kind, run_after=one.end, data_interval=one)
            for asked in (timetable, cron)
            for kind in (DagRunType.SCHEDULED, DagRunType.BACKFILL_JOB, DagRunType.MANUAL)
        ],
        "manual": [manual.start.isoformat(), manual.end.isoformat()],
        "backfill": [
            info.data_interval.start.isoformat()
            for info in dag.iter_dagrun_infos_between(first, first.add(days=3))
        ],
        "now": pendulum.now("UTC").timestamp(),
    }
    Path(sys.argv[1]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
