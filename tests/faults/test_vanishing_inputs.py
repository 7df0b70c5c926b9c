"""Inputs that vanish, shrink or change before and during the work: named, never retried."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fault_tasks import TRUNCATE_WHILE_MAPPED
from support.faults import at_step, failure_of

from dsa110_contimg.conversion.hdf5_orchestrator import convert_group
from dsa110_contimg.errors import InputError

pytestmark = [pytest.mark.fault, pytest.mark.alone]


def test_input_that_vanished_before_the_work(site):
    missing = Path(site.group.files[7])
    missing.unlink()
    error = failure_of(site.run)
    assert isinstance(error, InputError)
    assert error.reason == "vanished_input"
    assert str(missing) in error.message
    assert site.logs_of_children() == []


@pytest.mark.parametrize("step", ["headers", "skeleton", "fill", "self-check"])
def test_input_that_vanishes_during_the_work(site, step):
    missing = Path(site.group.files[7])
    site.set_fault(step, f"rm {missing}")
    error = failure_of(site.run)
    assert isinstance(error, InputError)
    assert error.reason == "missing_file"
    assert str(missing) in error.message
    assert not site.ms.exists()


def test_input_that_vanishes_when_all_is_written_does_no_harm(site, reference):
    missing = Path(site.group.files[7])
    with at_step("copy", missing.unlink):
        assert convert_group(site.options).state == "converted"
    site.assert_finished(reference)


@pytest.mark.parametrize("step", ["headers", "skeleton", "fill", "self-check"])
def test_input_truncated_during_the_work(site, step):
    short = Path(site.group.files[7])
    site.set_fault(step, f"truncate -s 1000 {short}")
    error = failure_of(site.run)
    assert isinstance(error, InputError)
    assert error.reason in {"truncated_file", "damaged_file", "changed_input"}
    assert str(short) in error.message
    assert not site.ms.exists()


def test_input_truncated_while_it_is_mapped(site):
    """The child dies by SIGBUS; its parent sees why."""
    short = Path(site.group.files[7])
    site.set_fault(TRUNCATE_WHILE_MAPPED, str(short))
    error = failure_of(site.run)
    assert isinstance(error, InputError)
    assert error.reason == "changed_input"
    assert f"{short} changed during the conversion" in error.message
    assert "SIGBUS" in error.message


def test_input_rewritten_during_the_work_is_noticed(site):
    """Same size, other bytes, and every look at it succeeds: only its time tells."""
    path = Path(site.group.files[7])
    site.set_fault("self-check", f"cp {path} {path}.new && mv {path}.new {path}")
    error = failure_of(site.run)
    assert isinstance(error, InputError)
    assert error.reason == "changed_input"
    assert not site.ms.exists()
