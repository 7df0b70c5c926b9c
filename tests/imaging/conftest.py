"""Fixtures of the imaging tests: the MS, and options for small and quick work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.point_source import TARGET, make_point_source_ms

from dsa110_contimg.imaging.models import CleanOptions, ImageSourceOptions
from dsa110_contimg.settings import get_settings

OptionsFor = Callable[..., ImageSourceOptions]


@pytest.fixture(autouse=True)
def private_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work directory and sandboxes of the settings, away from the machine's own."""
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("DSA110_CONTIMG_SANDBOX_ROOT", str(tmp_path / "sandboxes"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def point_source_ms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MS with one source; not to be modified."""
    return make_point_source_ms(tmp_path_factory.mktemp("point_source"))


@pytest.fixture
def own_ms(point_source_ms: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(point_source_ms, tmp_path / "own.ms"))


@pytest.fixture
def options_for(tmp_path: Path) -> OptionsFor:
    """Factory of options: `TARGET` in one window and a small stamp, unless told otherwise."""

    def make(ms_path: Path, **options: object) -> ImageSourceOptions:
        defaults = {
            "ms_path": ms_path,
            "products_dir": tmp_path / "products",
            "source": TARGET,
            "spws": (8,),
            "clean": CleanOptions(image_size_px=128),
        }
        return ImageSourceOptions.model_validate({**defaults, **options})

    return make
