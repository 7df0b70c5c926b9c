"""A WSClean that fails: programs of that name that do what a broken one would."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from dsa110_contimg.errors import TransientError
from dsa110_contimg.imaging.image_source import image_source

pytestmark = [pytest.mark.casa, pytest.mark.fault]

TRUNCATE = """
while [ "$1" != -name ]; do shift; done
printf 'SIMPLE  =                    T' > "$2-image.fits"
"""


@pytest.fixture
def broken_wsclean(tmp_path, monkeypatch):
    """`broken_wsclean(script)` puts a shell script of that name before the real program."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(script: str) -> None:
        program = folder / "wsclean"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return make


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no sky today; exit 7", "wsclean gave 7"),
        ("echo no sky today; kill -SEGV $$", "killed by SIGSEGV"),
        ("echo no sky today", "left no stamp-image.fits"),
        (f"echo no sky today\n{TRUNCATE}", "cannot be read"),
    ],
)
# Half a FITS header makes astropy warn before it gives up.
@pytest.mark.filterwarnings("ignore:Error validating header")
def test_a_failure_is_named_and_may_be_tried_again(
    point_source_ms, options_for, tmp_path, broken_wsclean, script, reason
):
    broken_wsclean(script)
    result = image_source(options_for(point_source_ms, backend="wsclean"))
    assert not result.success
    assert [failure.spw_id for failure in result.failed_spws] == [8]
    assert reason in result.failed_spws[0].reason
    assert result.failed_spws[0].retryable
    assert "no sky today" in (tmp_path / "products" / ".logs" / "target.log").read_text()


def test_a_time_out_ends_the_program_too(point_source_ms, options_for, tmp_path, broken_wsclean):
    pid_file = tmp_path / "pid"
    broken_wsclean(f"echo $$ > {pid_file}; exec sleep 300")
    with pytest.raises(TransientError) as caught:
        image_source(
            options_for(
                point_source_ms, backend="wsclean", timeout_s=8.0, serialize_ms_access=False
            )
        )
    assert caught.value.reason == "timeout"
    assert_gone(pid_file)
    assert not (tmp_path / "products" / "target").exists()


def test_the_program_dies_with_a_child_that_is_killed_alone(
    point_source_ms, options_for, tmp_path, broken_wsclean
):
    pid_file = tmp_path / "pid"
    broken_wsclean(f"echo $$ > {pid_file}; kill -KILL $PPID; exec sleep 300")
    with pytest.raises(TransientError) as caught:
        image_source(options_for(point_source_ms, backend="wsclean"))
    assert caught.value.reason == "child_killed"
    assert_gone(pid_file)


def assert_gone(pid_file: Path) -> None:
    """Wait a moment for a process to be gone."""
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 5.0
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
