"""A configuration file with a secret that others could read is refused, and the secret not told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsa110_contimg.errors import InputError
from dsa110_contimg.private_files import require_private
from dsa110_contimg.setting_sources import CONFIG_FILE_VARIABLE
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit

URL = "postgresql+psycopg://pipeline:hush@database/contimg"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The TOML file that the settings are read from."""
    path = tmp_path / "dsa110-contimg.toml"
    monkeypatch.setenv(CONFIG_FILE_VARIABLE, str(path))
    return path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_settings_refuse_a_secret_that_is_open_to_others(config: Path, mode: int) -> None:
    config.write_text(f'calibration_registry = "{URL}"\n')
    config.chmod(mode)
    with pytest.raises(InputError, match=f"calibration_registry.* mode {mode:04o}") as refusal:
        Settings()
    assert refusal.value.reason == "readable_secret"
    assert f"chmod 600 {config}" in str(refusal.value)
    assert "hush" not in str(refusal.value)


def test_settings_take_a_secret_of_the_owners_alone(config: Path) -> None:
    config.write_text(f'calibration_registry = "{URL}"\n')
    config.chmod(0o600)
    assert Settings().calibration_registry == URL


@pytest.mark.parametrize(
    "content",
    [
        'backend = "ducc0"',
        'calibration_registry = "postgresql+psycopg://pipeline@database/contimg"',
    ],
)
def test_settings_without_a_secret_may_be_open(config: Path, content: str) -> None:
    config.write_text(f"{content}\n")
    config.chmod(0o644)
    assert Settings()


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("smtp_password", "x", True),
        ("api_token", "x", True),
        ("password", "", False),
        ("registry", "redis://:x@host:6379/0", True),
        ("mail", "smtp:somebody@example.org", False),
        ("address", "http://host:8080/a@b", False),
        ("count", 3, False),
    ],
)
def test_what_is_a_secret(tmp_path: Path, name: str, value: object, is_secret: bool) -> None:
    path = tmp_path / "config"
    path.touch(mode=0o644)
    if is_secret:
        with pytest.raises(InputError, match=name):
            require_private(path, {name: value})
    else:
        require_private(path, {name: value})
