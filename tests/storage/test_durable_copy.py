"""Durable copies: every byte, by whichever way the file system allows."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dsa110_contimg.storage.durable_copy import copy_durably

pytestmark = pytest.mark.unit

STEP = 8 << 20
"""From here on whole blocks go past the page cache."""


def random_file(path: Path, size: int) -> bytes:
    content = np.random.default_rng(size).bytes(size)
    path.write_bytes(content)
    return content


@pytest.mark.parametrize("size", [0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP + 4095, 2 * STEP + 4096])
def test_files_are_copied_whole(tmp_path, size):
    content = random_file(tmp_path / "source", size)
    copy_durably(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_trees_are_copied_whole(tmp_path):
    (tmp_path / "source" / "sub" / "empty").mkdir(parents=True)
    content = {name: random_file(tmp_path / "source" / name, 100) for name in ("a", "sub/b")}
    copy_durably(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy" / "sub" / "empty").is_dir()
    assert {name: (tmp_path / "copy" / name).read_bytes() for name in content} == content


def test_nothing_is_overwritten(tmp_path):
    random_file(tmp_path / "source", 10)
    before = random_file(tmp_path / "copy", 20)
    with pytest.raises(FileExistsError):
        copy_durably(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == before


def test_file_system_without_direct_writes(tmp_path):
    """ramfs refuses them."""
    content = random_file(tmp_path / "source", STEP + 5)
    place = tmp_path / "ramfs"
    place.mkdir()
    command = ["mount", "-t", "ramfs", "ramfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a ramfs here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            os.open(place / "probe", os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
        copy_durably(tmp_path / "source", place / "copy")
        assert (place / "copy").read_bytes() == content
    finally:
        subprocess.run(["umount", str(place)], check=True)
