"""Fixtures of the imaging tests: options for small and quick work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.point_source import TARGET

from dsa110_contimg.imaging.models import CleanOptions, ImageSourceOptions

OptionsFor = Callable[..., ImageSourceOptions]


@pytest.fixture(autouse=True)
def _in_private_places(private_places: None) -> None:
    """Have every test work away from the machine's own places."""


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
