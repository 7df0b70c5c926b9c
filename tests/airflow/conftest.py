"""Real Airflows: all services, each module its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import pytest
from support.live_airflow import PARALLELISM, LiveAirflow

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.runs import NIGHT_DAG
from dsa110_contimg.settings import Settings
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult, simulate
from dsa110_contimg.simulation.schedule import plan_groups

DEC_DEG = 54.573


@pytest.fixture(scope="session")
def yesterday(tmp_path_factory: pytest.TempPathFactory) -> SimulationResult:
    """Three groups of the night that a schedule takes up first, four sources in each field."""
    day = datetime.now(UTC).date() - timedelta(days=1)
    start = datetime.combine(day, time(8, 4, 54), UTC)
    groups = plan_groups(start, 3, jitter=True, missing=(), seed=0)
    ra_deg, dec_deg = meridian_icrs_deg(DEC_DEG, groups[1].mid_jd)
    sources = tuple(
        Source(name=f"target{k}", ra_deg=ra_deg + 0.4 * k, dec_deg=dec_deg - 0.2 * k, flux_jy=2.0)
        for k in range(4)
    )
    return simulate(
        SimulationOptions(
            output_dir=tmp_path_factory.mktemp("yesterday") / "incoming",
            start=start,
            n_groups=3,
            n_antennas=8,
            sources=sources,
            dec_deg=DEC_DEG,
            sefd_jy=10.0,
        )
    )


@pytest.fixture(scope="module")
def live_by_clock(
    tmp_path_factory: pytest.TempPathFactory, yesterday: SimulationResult
) -> Iterator[LiveAirflow]:
    """Airflow with a schedule: once it is let, it takes up `yesterday`."""
    settings = Settings(
        work_dir=tmp_path_factory.mktemp("clock") / "work",
        input_dir=yesterday.output_dir,
        sources_file=yesterday.sources_path,
        photometry="image",
        backend="ducc0",
        calibration="off",
        settle_s=0,
        retain_ms_days=30,
        # Also where it is the day before yesterday by now.
        catchup_from=datetime.fromisoformat(yesterday.groups[0].start_utc).date(),
    )
    with EmbeddedAirflow(settings, parallelism=5) as airflow:
        yield LiveAirflow(airflow, settings)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAirflow]:
    """Airflow that runs what it is told to run."""
    settings = Settings(
        work_dir=tmp_path_factory.mktemp("live") / "work",
        ms_lock_timeout_s=3,
        calibration="off",
        # The nights of the tests lie beside its work directory.
        allowed_roots=[tmp_path_factory.getbasetemp()],
    )
    with EmbeddedAirflow(settings, parallelism=PARALLELISM, schedule=False) as airflow:
        airflow.client.set_paused(NIGHT_DAG, paused=False)
        yield LiveAirflow(airflow, settings)
