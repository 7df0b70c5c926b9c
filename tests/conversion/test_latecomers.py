"""Whether an MS is what its group would make now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dsa110_contimg.conversion.latecomers import describe_changes
from dsa110_contimg.conversion.models import GroupState, Manifest, SubbandGroup
from dsa110_contimg.models import Model
from dsa110_contimg.provenance import make_provenance

pytestmark = pytest.mark.unit

GROUP = "2026-01-25T08:04:54"
LABELS = [f"sb{subband:02d}" for subband in range(14)]


class NoOptions(Model):
    """Provenance wants some."""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The raw files of 14 subbands."""
    (tmp_path / "raw").mkdir()
    made = [tmp_path / f"raw/{GROUP}_{label}.hdf5" for label in LABELS]
    for file in made:
        file.write_bytes(b"visibilities")
    return made


@pytest.fixture
def manifest(files: list[Path]) -> Manifest:
    """What was made of them."""
    return Manifest(
        group_id=GROUP,
        state=GroupState.SEMI_COMPLETE,
        missing=["sb14", "sb15"],
        spectral_windows=[],
        phase_center_ra_deg=0.0,
        phase_center_dec_deg=0.0,
        start_utc=GROUP,
        duration_s=309.24,
        files={},
        stage_seconds={},
        provenance=make_provenance(NoOptions(), files),
    )


def group(files: list[Path]) -> SubbandGroup:
    return SubbandGroup(
        group_id=GROUP,
        state=GroupState.of(len(files)),
        present=[file.name[-9:-5] for file in files],
        missing=[],
        files=[str(file) for file in files],
        problems=[],
    )


def test_nothing_happened(manifest: Manifest, files: list[Path]) -> None:
    assert describe_changes(manifest, group(files)) == ""


def test_latecomers(manifest: Manifest, files: list[Path]) -> None:
    late = [files[0].with_name(f"{GROUP}_sb{subband}.hdf5") for subband in (15, 14)]
    for file in late:
        file.touch()
    assert describe_changes(manifest, group(files + late)) == "sb14, sb15 arrived since"


def test_a_file_that_was_sent_again(manifest: Manifest, files: list[Path]) -> None:
    """The same size says nothing: the visibilities are not compressed."""
    files[3].write_bytes(b"VISIBILITIES")
    os.utime(files[3], (1, 1))
    files[5].write_bytes(b"more of them")
    os.utime(files[5], (2, 2))
    assert describe_changes(manifest, group(files)) == "sb03, sb05 changed since"


def test_raw_data_go_in_time(manifest: Manifest, files: list[Path]) -> None:
    for file in files[::2]:
        file.unlink()
    assert describe_changes(manifest, group(files[1::2])) == ""
    assert describe_changes(manifest, group(files)) == "", "gone since they were listed"


def test_raw_data_that_have_moved(manifest: Manifest, files: list[Path], tmp_path: Path) -> None:
    """A copy has other times; only what cannot be the same data makes an MS anew."""
    (tmp_path / "archive").mkdir()
    moved = [tmp_path / "archive" / file.name for file in files]
    for file, copy in zip(files, moved, strict=True):
        copy.write_bytes(file.read_bytes())
        os.utime(copy, (3, 3))
    assert describe_changes(manifest, group(moved)) == ""
    moved[2].write_bytes(b"another length")
    assert describe_changes(manifest, group(moved)) == "sb02 changed since"
