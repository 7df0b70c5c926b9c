"""Settings: what is wrong is said in one sentence, by name, place and limit, never by value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dsa110_contimg.errors import SettingsError
from dsa110_contimg.setting_sources import CONFIG_FILE_VARIABLE
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit

SECRET = "hush4711"  # noqa: S105 - stands for one


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory without a settings file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def refusal() -> str:
    """Why the settings are refused; never with a value."""
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('work_dri = "hush4711"', ["dsa110-contimg.toml", "unknown setting work_dri", "work_dir?"]),
        ('smtp_password = "hush4711"', ["unknown setting smtp_password", "install.md"]),
        ('[alerts]\nto = "hush4711"', ["unknown setting alerts"]),
        ('settle_s = "hush4711"', ["settle_s (dsa110-contimg.toml)", "a valid number"]),
        ("settle_s = -1", ["settle_s (dsa110-contimg.toml)", "greater than or equal to 0"]),
        ('flagger = "hush4711"', ["flagger (dsa110-contimg.toml)", "'casa' or 'aoflagger'"]),
        ('catchup_from = "hush4711"', ["catchup_from", "a valid date"]),
        ('work_dir = ""', ["work_dir", "a path may not be empty"]),
        ('schedule = "hush4711"', ["schedule (dsa110-contimg.toml)", "Cron expression"]),
        ('alert_to = "hush4711"', ["alert_to (dsa110-contimg.toml)", "smtp:ADDRESS"]),
        ('schedule = "transit"', ["the schedule 'transit' needs schedule_ra_deg"]),
        ("work_dir = /hush4711", ["dsa110-contimg.toml is not TOML", "line 1", "in quotes"]),
        ('settle_s = "x"\nlow_disk_gb = "y"', ["settle_s", "low_disk_gb"]),
    ],
)
def test_a_wrong_line_of_the_file(here: Path, line: str, words: list[str]) -> None:
    file = here / "dsa110-contimg.toml"
    file.write_text(f"{line}\n")
    file.chmod(0o600)
    said = refusal()
    assert [word for word in words if word not in said] == []


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DSA110_CONTIMG_CONVERSION_WORKERS", SECRET, ["a valid integer", "Fill workers"]),
        ("DSA110_CONTIMG_STATSD_ADDRESS", f"a:{SECRET}", ["statsd_address", "match pattern"]),
        ("DSA110_CONTIMG_WORK_DIR", "  ", ["a path may not be empty"]),
        ("DSA110_CONTIMG_WORK_DIR", "~no-such-user/x", ["the home that ~ stands for"]),
        ("DSA110_CONTIMG_ALLOWED_ROOTS", "~no-such-user/x", ["the home that ~ stands for"]),
        ("DSA110_CONTIMG_WORKDIR", SECRET, ["is no setting", "DSA110_CONTIMG_WORK_DIR?"]),
        (
            "dsa110_contimg_retain_m_days",
            SECRET,
            ["is no setting", "DSA110_CONTIMG_RETAIN_MS_DAYS?"],
        ),
        ("DSA110_CONTIMG_", SECRET, ["is no setting"]),
    ],
)
def test_a_wrong_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    said = refusal()
    assert [word for word in [variable, *words] if word not in said] == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.parent.touch(), "does not exist"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b'work_dir = "caf\xe9"\n'), "is not UTF-8"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
    ids=["absent", "directory", "latin-1", "loop"],
)
def test_a_named_file_must_be_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, make, words: str
) -> None:
    path = here / "named.toml"
    make(path)
    monkeypatch.setenv(CONFIG_FILE_VARIABLE, str(path))
    said = refusal()
    assert words in said
    assert str(path) in said


def test_the_home_stands_for_a_tilde(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "home").mkdir()
    (here / "home" / "contimg.toml").write_text(
        'input_dir = "~/incoming"\nallowed_roots = ["~/a"]\n', encoding="utf-8-sig"
    )
    monkeypatch.setenv(CONFIG_FILE_VARIABLE, "~/contimg.toml")
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", "~/work")
    settings = Settings(sources_file="~/sources.ecsv")
    home = here / "home"
    assert settings.work_dir == home / "work"
    assert settings.raw_dir == home / "incoming"
    assert settings.sources_path == home / "sources.ecsv"
    assert settings.allowed_roots == [home / "a"]


def test_empty_is_no_value_where_none_is_needed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optional = [name for name, field in Settings.model_fields.items() if field.default is None]
    assert {"retain_ms_days", "input_dir", "alert_to", "catchup_from"} <= set(optional)
    half = len(optional) // 2
    for name in optional[:half]:
        monkeypatch.setenv(f"DSA110_CONTIMG_{name.upper()}", "")
    (here / "dsa110-contimg.toml").write_text("".join(f'{name} = ""\n' for name in optional[half:]))
    settings = Settings()
    assert {getattr(settings, name) for name in optional} == {None}


def test_a_command_says_it_in_one_line(here: Path) -> None:
    """And ends with 2, the status of wrong usage."""
    done = subprocess.run(
        [Path(sys.executable).with_name("dsa110-contimg"), "housekeeping"],
        cwd=here,
        env={"PATH": "/usr/bin:/bin", "DSA110_CONTIMG_SETTLE_S": SECRET},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "error (bad_settings): the setting settle_s (DSA110_CONTIMG_SETTLE_S)" in line
    assert SECRET not in line
    assert list(here.iterdir()) == []
