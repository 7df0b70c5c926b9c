"""`dsa110-contimg housekeeping`: looks by default, removes when told to, says what failed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.permissions import permissions_enforced
from typer.testing import CliRunner

from dsa110_contimg.cli.housekeeping import describe_age, describe_bytes
from dsa110_contimg.cli.main import app

pytestmark = pytest.mark.unit


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work directory with a dead sandbox beside its MSs."""
    monkeypatch.setenv("DSA110_CONTIMG_SANDBOX_ROOT", str(tmp_path / "tmpfs"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    work = tmp_path / "work"
    sandbox = work / "ms" / ".sandboxes" / "g_12345678"
    sandbox.mkdir(parents=True)
    (sandbox / "file").write_bytes(b"x" * 9000)
    (sandbox.parent / "g_12345678.lock").touch()
    return work


def call(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["housekeeping", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_it_only_looks_unless_told(work: Path) -> None:
    status, words, _ = call("--work-dir", work)
    assert status == 0
    assert "1 would go, 12.0 KiB; a dry run: --apply removes them" in words
    assert "Measurement Sets are kept for ever (retain_ms_days)" in words
    assert (work / "ms" / ".sandboxes" / "g_12345678").exists()
    again = call("--work-dir", work, "--dry-run")[1]
    seconds_idle = r" \d+ s "  # grow meanwhile
    assert re.sub(seconds_idle, "", again) == re.sub(seconds_idle, "", words)
    assert (work / "ms" / ".sandboxes" / "g_12345678").exists()


def test_it_removes_when_told(work: Path) -> None:
    status, words, _ = call("--work-dir", work, "--apply")
    assert status == 0
    assert "its owner has ended" in words
    assert "1 removed, 12.0 KiB freed" in words
    assert list((work / "ms" / ".sandboxes").iterdir()) == []


def test_json_is_pure(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSA110_CONTIMG_RETAIN_MS_DAYS", "30")
    status, text, _ = call("--work-dir", work, "--json")
    result = json.loads(text)
    assert status == 0
    assert result["applied"] is False
    assert result["retention"] == {"ms_days": 30.0, "products_days": None, "logs_days": None}
    (found,) = result["findings"]
    assert (found["kind"], found["fate"]) == ("sandbox", "would go")
    assert found["path"] == str(work / "ms" / ".sandboxes" / "g_12345678")


def test_what_went_wrong_is_said_and_fails(work: Path) -> None:
    closed = work / "nights" / "2026-01-25"
    closed.mkdir(parents=True)
    closed.chmod(0)
    with permissions_enforced():
        status, _, errors = call("--work-dir", work, "--apply")
    closed.chmod(0o700)
    assert status == 1
    assert f"cannot look into {closed}" in errors
    assert list((work / "ms" / ".sandboxes").iterdir()) == [], "the rest is done"


def test_retention_of_less_than_a_day_is_refused(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSA110_CONTIMG_RETAIN_MS_DAYS", "0.1")
    assert call("--work-dir", work)[0] != 0


@pytest.mark.parametrize(
    ("age_s", "words"), [(0.0, "0 s"), (119.0, "119 s"), (7300.0, "2 h"), (864000.0, "10 d")]
)
def test_ages_in_words(age_s: float, words: str) -> None:
    assert describe_age(age_s) == words


def test_sizes_in_words() -> None:
    assert [describe_bytes(n) for n in (0, 1023, 1536, 3 << 40)] == [
        *("0 B", "1023 B", "1.5 KiB", "3.0 TiB")
    ]
