"""Which files the parameters of a run may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.request_paths import allowed_path
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Work, raw data, a catalogue and an archive in four places; the archive behind a link."""
    for name in ("work", "raw", "catalogues", "disk7", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "archive").symlink_to("disk7")
    return Settings(
        work_dir=tmp_path / "work",
        input_dir=tmp_path / "raw",
        sources_file=tmp_path / "catalogues/sources.ecsv",
        allowed_roots=[tmp_path / "archive"],
    )


@pytest.mark.parametrize(
    "path", ["work", "work/ms/2026-01-25/g.ms", "raw/2026-01-25", "catalogues/x.ecsv", "disk7/a"]
)
def test_below_a_root(settings: Settings, tmp_path: Path, path: str) -> None:
    assert allowed_path(str(tmp_path / path), "it", settings) == tmp_path / path


def test_links_are_followed(settings: Settings, tmp_path: Path) -> None:
    assert allowed_path(str(tmp_path / "archive/a"), "it", settings) == tmp_path / "disk7/a"
    (tmp_path / "work/way_out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="elsewhere"):
        allowed_path(str(tmp_path / "work/way_out/a"), "it", settings)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/passwd", "path_not_allowed"),
        ("{root}/work/airflow/secrets.json", "path_not_allowed"),
        ("{root}/elsewhere", "path_not_allowed"),
        ("{root}/work/../elsewhere/a", "path_not_allowed"),
        ("{root}/workbench", "path_not_allowed"),
        ("{root}", "path_not_allowed"),
        ("raw", "relative_path"),
        ("../raw", "relative_path"),
        ("~/raw", "relative_path"),
        ("{root}/raw/\0", "bad_path"),
    ],
)
def test_outside(settings: Settings, tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(InputError) as refusal:
        allowed_path(path.format(root=tmp_path), "the input directory", settings)
    assert refusal.value.reason == reason
    assert str(refusal.value).startswith("the input directory ")
    assert refusal.value.remedy


def test_the_refusal_names_the_setting(settings: Settings) -> None:
    with pytest.raises(InputError, match="DSA110_CONTIMG_ALLOWED_ROOTS") as refusal:
        allowed_path("/etc/passwd", "the source catalogue", settings)
    assert str(settings.work_dir) in refusal.value.message


def test_roots_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSA110_CONTIMG_ALLOWED_ROOTS", "/archive:/data/old")
    assert Settings().allowed_roots == [Path("/archive"), Path("/data/old")]
    monkeypatch.setenv("DSA110_CONTIMG_ALLOWED_ROOTS", "")
    assert Settings().allowed_roots == []
