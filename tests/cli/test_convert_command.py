"""The exit status of ``convert``, and the reason of every file that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.subband_files import apply, file_name, put, write_group
from typer.testing import CliRunner

from dsa110_contimg import instrument
from dsa110_contimg.cli.main import app

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("private_places")]

START = datetime(2026, 1, 25, 12, tzinfo=UTC)
GROUP = "2026-01-25T12:00:00"
FREQUENCIES = "has the frequencies of no subband"
Change = Callable[[dict[int, Path]], None]


def shift(count: int) -> Change:
    """Spoil the frequencies of the first files."""

    def change(files: dict[int, Path]) -> None:
        for subband in range(count):
            freqs_hz = instrument.subband_channel_freqs_hz(subband)[None, :]
            apply(files[subband], put("Header/freq_array", freqs_hz + 1e6))

    return change


def remove(files: dict[int, Path]) -> None:
    for subband in range(5):
        files[subband].unlink()


def still_write(files: dict[int, Path]) -> None:
    for subband in range(5):
        path = files[subband]
        path.rename(path.with_name(f"{path.stem}_incomplete.hdf5"))


def point_elsewhere(files: dict[int, Path]) -> None:
    for subband in range(5):
        apply(files[subband], put("Header/extra_keywords/phase_center_dec", 0.3))


def copy_and_stray(files: dict[int, Path]) -> None:
    remove(files)
    copy = files[7].with_name(file_name(START.replace(second=3), 7))
    copy.write_bytes(files[7].read_bytes())
    (copy.parent / "notes.txt").touch()
    (copy.parent / "truth.hdf5").touch()


def misname(files: dict[int, Path]) -> None:
    remove(files)
    (files[7].parent / "2026-01-25T12:00:00_sb16.hdf5").touch()


@pytest.mark.parametrize(
    ("change", "status", "n_unusable", "why"),
    [
        (shift(16), 1, 16, FREQUENCIES),
        (shift(5), 1, 5, FREQUENCIES),
        (point_elsewhere, 1, 5, "has another pointing declination"),
        (misname, 1, 1, "is not named"),
        (remove, 0, 0, ""),
        (still_write, 0, 0, ""),
        (copy_and_stray, 0, 0, ""),
    ],
)
def test_status_and_reasons(tmp_path, change, status, n_unusable, why):
    change(write_group(tmp_path / "incoming", START))
    done = CliRunner().invoke(
        app, ["convert", str(tmp_path / "incoming"), str(tmp_path / "ms"), "--json"]
    )
    rows = json.loads(done.stdout)
    assert {row["state"] for row in rows} == {"rejected"}
    assert done.exit_code == status
    unusable = [file for row in rows for file in row["unusable"]]
    assert len(unusable) == n_unusable
    for file in unusable:
        assert why in file["reason"]
        assert f"{file['file']} {file['reason']}" in done.stderr
    if status:
        assert any(why in row["reason"] for row in rows)
    assert rows[0]["group_id"] == GROUP


def test_files_of_two_times_none_of_which_can_be_used(tmp_path):
    for minute in (0, 10):
        files = write_group(tmp_path / "in", START.replace(minute=minute), range(3))
        for path in files.values():
            path.write_bytes(b"")
    done = CliRunner().invoke(
        app, ["convert", str(tmp_path / "in"), str(tmp_path / "ms"), "--json"]
    )
    assert done.exit_code == 1
    rows = json.loads(done.stdout)
    assert [row["group_id"][11:16] for row in rows] == ["12:00", "12:10"]
    assert [len(row["unusable"]) for row in rows] == [3, 3]
    assert "[2/2]" in done.stderr
