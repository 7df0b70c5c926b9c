"""What tasks need, imported once by the process that the workers of Airflow are forked from.

A task is a process of its own, forked for it: what its parent has imported, it need not. No
table or file is open here and no thread of Python runs, so that every task starts from the same
clean state. A change of the modules takes effect when the scheduler is started again.
"""

from __future__ import annotations

import gc
import importlib
from typing import Final

MODULES: Final = (
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "astropy.coordinates",
    "astropy.table",
    "casacore.tables",
    "dsa110_contimg.calibration.apply",
    "dsa110_contimg.calibration.solve",
    "dsa110_contimg.conversion.hdf5_orchestrator",
    "dsa110_contimg.flagging.flag_ms",
    "dsa110_contimg.orchestration.calibration_tasks",
    "dsa110_contimg.orchestration.ms_tasks",
    "dsa110_contimg.orchestration.transit_tasks",
    "dsa110_contimg.photometry.measure",
    "dsa110_contimg.photometry.uvfit",
    "dsa110_contimg.qa.report",
    "matplotlib.figure",
)

for module in MODULES:
    importlib.import_module(module)
# The collector of a task's process passes over what it inherits, which stays shared.
gc.collect()
gc.freeze()
