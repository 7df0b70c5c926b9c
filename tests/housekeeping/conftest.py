"""A house of its own for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An empty work directory."""
    house = House(tmp_path / "work")
    house.root.mkdir()
    yield house
    shutil.rmtree(house.temporary_dir)
