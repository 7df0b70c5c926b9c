"""An MS that is deleted by hand under a task has its name on record, and nobody waits for it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.groups import find_groups
from dsa110_contimg.conversion.hdf5_orchestrator import ConversionOptions, convert_group
from dsa110_contimg.errors import ContimgError, InputError, TransientError
from dsa110_contimg.orchestration import calibration_tasks, ms_tasks
from dsa110_contimg.orchestration.ms_requests import ImageRequest, work_on_ms
from dsa110_contimg.photometry.models import Photometry
from dsa110_contimg.qa.by_hand import name_run, withdraw
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import get_settings
from dsa110_contimg.simulation.night import SimulationResult
from dsa110_contimg.storage.files import remove_for_sure
from dsa110_contimg.storage.ms_access import exclusive_ms, read_holder

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("private_places")]

TARGET = Source(name="target", ra_deg=128.9, dec_deg=54.8, flux_jy=1.0)
LIMIT_S = 60.0


@pytest.fixture
def request_for_ms(
    tmp_path: Path, simulate_night: Callable[..., SimulationResult], monkeypatch: pytest.MonkeyPatch
) -> ImageRequest:
    """A request for a small MS that was just published and needs no calibration."""
    monkeypatch.setenv("DSA110_CONTIMG_CALIBRATION", "off")
    monkeypatch.setenv("DSA110_CONTIMG_BACKEND", "ducc0")
    get_settings.cache_clear()
    made = simulate_night(n_antennas=4)
    [group] = find_groups(Path(made.output_dir)).groups
    options = ConversionOptions(
        group=group,
        output_dir=get_settings().ms_dir,
        sandbox_roots=[tmp_path / "sandboxes"],
        log_dir=tmp_path / "logs" / "conversion",
    )
    convert_group(options)
    return ImageRequest(ms=options.ms_path, sources=[TARGET])


def ledger_of_night(request: ImageRequest) -> NightLedger:
    return NightLedger(get_settings().nights_dir, request.group_id[:10])


def failure_on_record(request: ImageRequest) -> str:
    [failure] = ledger_of_night(request).load().ms_failures
    assert failure.group_id == request.group_id
    assert not failure.is_retried
    return failure.reason


@pytest.mark.parametrize("photometry", list(Photometry))
def test_under_a_task_that_measures(
    request_for_ms: ImageRequest, photometry: Photometry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    request = request_for_ms.model_copy(update={"photometry": photometry})
    errors: list[ContimgError] = []

    def run() -> None:
        try:
            jobs = ms_tasks.measure(request, [TARGET], "a task")
            for job in jobs:
                ms_tasks.image(request, job, "a task")
        except ContimgError as error:
            errors.append(error)

    task = threading.Thread(target=run)
    with exclusive_ms(request.ms, "a test", timeout_s=1):
        task.start()
        until = time.monotonic() + LIMIT_S
        while f"waiting for {request.ms}: held by a test" not in caplog.text:
            assert time.monotonic() < until, errors
            time.sleep(0.01)
        assert remove_for_sure(request.ms) == []
    task.join(LIMIT_S)
    [error] = errors
    assert isinstance(error, InputError)
    assert error.reason == "ms_vanished"
    assert str(request.ms) in error.message
    assert failure_on_record(request).startswith("ms_vanished: ")
    [result] = ledger_of_night(request).load().sources[request.group_id]
    assert not result.success
    assert read_holder(request.ms) is None


@pytest.mark.parametrize("stage", ["flag", "solve", "apply"])
def test_before_a_task_that_calibrates(request_for_ms: ImageRequest, stage: str) -> None:
    """Groups that wait for its solutions go on at once."""
    assert remove_for_sure(request_for_ms.ms) == []
    ledger = ledger_of_night(request_for_ms)
    ledger.save_calibrators(CalibratorPlan(min_apparent_jy=2.0, transits=[]))
    assert not ledger.is_decided(request_for_ms.group_id)
    with pytest.raises(InputError, match="not a published Measurement Set"):
        getattr(calibration_tasks, stage)(request_for_ms, "a task")
    assert failure_on_record(request_for_ms).startswith("ms_not_published: ")
    assert ledger.is_decided(request_for_ms.group_id)


def test_a_request_by_hand_that_is_refused_is_not_on_record(request_for_ms: ImageRequest) -> None:
    """Sources outside the field, and an MS that is not there; then one that vanishes later."""
    by_hand = request_for_ms.model_copy(update={"by_hand": "manual__1"})
    outside = TARGET.model_copy(update={"dec_deg": -30.0})
    refused = by_hand.model_copy(update={"sources": [TARGET, outside]})
    for stage in (calibration_tasks.flag, ms_tasks.plan_sources):
        with pytest.raises(InputError, match=r"is below the horizon|lies outside"):
            stage(refused, "a task")
    assert not get_settings().nights_dir.exists()
    assert ms_tasks.plan_sources(by_hand, "a task") == [TARGET]
    assert remove_for_sure(by_hand.ms) == []
    other = by_hand.model_copy(update={"by_hand": "manual__2"})
    for request in (by_hand, other):
        with pytest.raises(InputError, match="not a published Measurement Set"):
            ms_tasks.plan_sources(request, "a task")
    [record] = ledger_of_night(by_hand).load().by_hand.values()
    assert [failure.reason[:16] for failure in record.ms_failures] == ["ms_not_published"]


def test_what_casacore_says_of_it_is_named(request_for_ms: ImageRequest) -> None:
    def read() -> None:
        with work_on_ms(request_for_ms, "a task"):
            remove_for_sure(request_for_ms.ms)
            raise RuntimeError("Table does not exist")

    with pytest.raises(InputError, match="was deleted or damaged while a task worked on it"):
        read()


def test_other_failures_keep_their_names(request_for_ms: ImageRequest) -> None:
    def fail() -> None:
        with work_on_ms(request_for_ms, "a task"):
            raise InputError("no such source", reason="missing_source")

    with pytest.raises(InputError, match="no such source"):
        fail()
    assert ledger_of_night(request_for_ms).load().ms_failures == []
    spans = (get_settings().logs_dir / "ms_tasks.jsonl").read_text().splitlines()
    assert [json.loads(span)["purpose"] for span in spans] == ["a task"]


def test_a_run_by_hand_at_work_keeps_its_results(request_for_ms: ImageRequest) -> None:
    request = request_for_ms.model_copy(update={"by_hand": "manual__1", "sources": [TARGET]})
    ms_tasks.plan_sources(request, "prepare")
    settings, group = get_settings(), request.group_id
    where = settings.nights_dir, settings.products_dir, request.night_of(group)
    name = name_run(group, "manual__1")
    with work_on_ms(request, "a task"), pytest.raises(TransientError, match="is at work"):
        withdraw(*where, name)
    assert request.results_of(group).load().plans
    withdraw(*where, name)
    assert not request.results_of(group).night_dir.exists()
