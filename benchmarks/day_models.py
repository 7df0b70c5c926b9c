"""What the benchmark of a day finds, as a record."""

from __future__ import annotations

import math

from pydantic import computed_field
from results import Results

from dsa110_contimg.instrument import GROUP_DURATION_S
from dsa110_contimg.models import Model

FILL = 0.8
"""Share of the processors' time that is planned for: the rest catches up after a pause."""


class Spread(Model):
    """A quantity that was measured many times."""

    median: float
    """The middle."""
    p95: float
    """Exceeded by one in twenty."""
    most: float
    """The largest."""
    n: int
    """How many."""


class TaskKind(Model):
    """What one task of a DAG took, over all its instances."""

    kind: str
    """DAG and task."""
    n_instances: int
    """Instances that ran."""
    n_processes: int
    """Processes that were forked for them: a deferred task takes two, a sensor one a look."""
    queued_s: Spread | None
    """From the scheduler's queue to Airflow's start; None if Airflow kept no record."""
    duration_s: Spread | None
    """From Airflow's start to its end; None where that holds the wait of a deferred task."""
    work_s: Spread | None
    """Wall time of the work inside, from the pipeline's own records; None without work."""
    start_s: Spread
    """From the fork to the call of the task's function, wall time."""
    start_cpu_s: float
    """CPU time of the same, mean of the processes."""
    cpu_s: float
    """CPU time of a process and of its children, mean; without what the fork server does."""
    new_modules: float
    """Python modules that a process imports between the call of its function and its end, mean."""


class ServiceLoad(Model):
    """What one service took during the day."""

    name: str
    """The service."""
    cpu_s: float
    """CPU time in seconds."""
    cores: float
    """Processors that it kept busy."""
    idle_cores: float
    """The same while Airflow had nothing to do, with the pools of the whole day."""


class SchedulerLoad(Model):
    """The scheduler with so many pools."""

    pools: int
    """Pools of Measurement Sets."""
    loop_ms: Spread
    """Duration of a loop."""
    cores: float
    """Processors that the scheduler kept busy."""


class DayRun(Model):
    """One simulated day."""

    calibration: str
    """``on`` or ``off``."""
    n_groups: int
    """Groups."""
    n_antennas: int
    """Antennas of each."""
    n_sources: float
    """Sources in the field of a group, mean."""
    parallelism: int
    """Tasks that run at once."""
    state: str
    """How the run ended."""
    n_failed: int
    """Task instances that failed."""
    wall_s: float
    """From the trigger to the verdict, in seconds."""
    observed_s: float
    """Length of the observation in seconds."""
    cpu_s: float
    """CPU time of everything in that time, in seconds."""
    work_cpu_s: float
    """CPU time that the same work takes without Airflow, in seconds."""
    services: list[ServiceLoad]
    """Who spent the CPU time."""
    tasks: list[TaskKind]
    """The tasks."""
    scheduler: list[SchedulerLoad]
    """Idle before the day, during it, and idle after it."""
    idle_cores: float
    """Processors that Airflow keeps busy with nothing to do, after the day."""
    waiting_cores: float
    """Processors that it takes on top of these to watch over one task that runs."""
    memory_pss_gb: float
    """Largest memory of everything together, each page once, in units of 1e9 bytes."""
    series: dict[str, list[float]]
    """Over the run: ``time_s``, ``loop_ms``, ``pools`` and ``runs`` (of `image_ms`, unfinished)."""

    @computed_field
    @property
    def real_time_factor(self) -> float:
        """Observed over processed time."""
        return self.observed_s / self.wall_s

    @computed_field
    @property
    def n_processes(self) -> int:
        """Task processes in all."""
        return sum(task.n_processes for task in self.tasks)

    @computed_field
    @property
    def overhead_cpu_s(self) -> float:
        """CPU time of Airflow for each group, in seconds."""
        return (self.cpu_s - self.work_cpu_s) / self.n_groups

    @computed_field
    @property
    def group_cpu_s(self) -> float:
        """The same without what Airflow takes when it is idle: what one more group adds."""
        return self.overhead_cpu_s - self.idle_cores * self.wall_s / self.n_groups

    @computed_field
    @property
    def process_cpu_s(self) -> float:
        """CPU time that one more process of a task adds, in seconds."""
        return self.group_cpu_s * self.n_groups / self.n_processes

    @computed_field
    @property
    def overhead_percent(self) -> float:
        """Share of Airflow in the CPU time of these small groups."""
        return 100.0 * (1.0 - self.work_cpu_s / self.cpu_s)


class Step(Model):
    """A step of the work on a full-size group."""

    wall_s: float
    """Wall time in seconds."""
    cpu_s: float
    """CPU time in seconds."""


class Capacity(Model):
    """Full-size groups on paper."""

    pipeline: str
    """What is done with them."""
    n_sources: int
    """Sources in the field; 0 without photometry."""
    cores: int
    """Processors of the machine that Airflow's share is given for."""
    work: Step
    """The work on a group."""
    group_cpu_s: float
    """CPU time that Airflow adds for a group: its tasks' processes and their scheduling."""
    watch_cpu_s: float
    """CPU time that it adds to watch over the tasks while they run."""
    idle_cores: float
    """Processors that it keeps busy in any case."""

    @computed_field
    @property
    def group_s(self) -> float:
        """Time that a group takes of the machine if that is kept full, in seconds."""
        return (self.work.cpu_s + self.group_cpu_s + self.watch_cpu_s) / (
            self.cores - self.idle_cores
        )

    @computed_field
    @property
    def airflow_percent(self) -> float:
        """Share of Airflow in the CPU time while the machine is kept full."""
        return 100.0 * (1.0 - self.work.cpu_s / (self.cores * self.group_s))

    @computed_field
    @property
    def real_time_factor(self) -> float:
        """Observed over processed time while the machine is kept full."""
        return GROUP_DURATION_S / self.group_s

    @computed_field
    @property
    def busy_cores(self) -> float:
        """Processors that are busy when the telescope makes a group each 309 s."""
        added_s = self.work.cpu_s + self.group_cpu_s + self.watch_cpu_s
        return self.idle_cores + added_s / GROUP_DURATION_S

    @computed_field
    @property
    def needed_cores(self) -> int:
        """Processors that keep up with the telescope."""
        return math.ceil(self.busy_cores / FILL)


class DayResults(Results):
    """Everything that one run of the benchmark found."""

    runs: list[DayRun]
    """The days."""
    steps: dict[str, Step]
    """Of a full-size group, as the other benchmarks have measured them."""
    capacity: list[Capacity]
    """Full-size groups on paper."""
