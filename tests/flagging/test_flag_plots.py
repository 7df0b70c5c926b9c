"""The picture of what was flagged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.rfi_night import FlaggedGroup

from dsa110_contimg.flagging.plots import plot_flags

pytestmark = pytest.mark.casa

RED = (214, 39, 40)
"""Of dead antennas, matplotlib's tab:red."""


def draw(path: Path, flagged_group: FlaggedGroup, **changes: object) -> np.ndarray:
    """Draw a record, and read the picture; shape (ny, nx, 3)."""
    plot_flags(path, flagged_group.record.model_copy(update=changes))
    with Image.open(path) as image:
        assert image.text["Title"] == f"Flags of {flagged_group.record.group_id}"
        return np.asarray(image.convert("RGB")).astype(int)


def count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    """Count the pixels of a colour."""
    return int((picture == color).all(axis=-1).sum())


def test_dead_antennas_stand_out(flagged_group: FlaggedGroup, tmp_path: Path) -> None:
    with_dead = draw(tmp_path / "dead.png", flagged_group)
    without = draw(tmp_path / "living.png", flagged_group, dead=[])
    assert with_dead.shape == without.shape
    # A full bar of one in twelve antennas: more than a hundredth of the upper third.
    assert count(with_dead, RED) > with_dead.shape[0] * with_dead.shape[1] / 3 / 100
    assert count(without, RED) == 0


def test_before_and_after_are_both_drawn(flagged_group: FlaggedGroup, tmp_path: Path) -> None:
    """Where nothing was flagged before, grey is but in the legend; drawn again, it is bars."""
    record = flagged_group.record
    grey = (166, 166, 166)
    little = count(draw(tmp_path / "a.png", flagged_group), grey)
    much = count(draw(tmp_path / "b.png", flagged_group, before=record.after), grey)
    assert 0 < little < much / 10
    assert list(tmp_path.glob(".*")) == [], "a temporary file was left"


def test_a_record_without_frequencies_can_be_drawn(
    flagged_group: FlaggedGroup, tmp_path: Path
) -> None:
    assert draw(tmp_path / "old.png", flagged_group, spws=[]).any()


def test_a_place_that_cannot_be_written_is_an_os_error(
    flagged_group: FlaggedGroup, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        plot_flags(tmp_path / "file" / "flags.png", flagged_group.record)
