"""Changes to a published MS: on record when they ended, refused when they did not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from support.permissions import permissions_enforced

from dsa110_contimg.conversion.models import GroupState, Manifest
from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model
from dsa110_contimg.provenance import make_provenance
from dsa110_contimg.storage.ms_change import (
    Change,
    ChangeRecord,
    changing_ms,
    interrupted_change,
    ms_created,
    read_change,
    record_path,
    require_whole,
)
from dsa110_contimg.storage.publish import manifest_path, write_manifest

pytestmark = pytest.mark.unit

FLAGGING, CALIBRATION = Change.FLAGGING, Change.CALIBRATION


class Note(ChangeRecord):
    """A record with something to say."""

    text: str
    """Anything."""


class NoOptions(Model):
    """Nothing to choose."""


class PowerCutError(Exception):
    """Stands for whatever ends a change in its middle."""


def publish(ms: Path) -> None:
    """Declare an MS published, now."""
    provenance = make_provenance(NoOptions(), [])
    manifest = Manifest(
        group_id=ms.stem,
        state=GroupState.COMPLETE,
        missing=[],
        spectral_windows=[],
        phase_center_ra_deg=0.0,
        phase_center_dec_deg=0.0,
        start_utc="2026-01-25T08:06:19",
        duration_s=309.0,
        files={},
        stage_seconds={},
        provenance=provenance,
    )
    write_manifest(ms, manifest)


@pytest.fixture
def ms(tmp_path: Path) -> Path:
    """A published MS, as far as changes look at it."""
    path = tmp_path / "group.ms"
    path.mkdir()
    publish(path)
    return path


def change_it(ms: Path, change: Change, text: str = "done") -> None:
    """Make a change that ends well."""
    with changing_ms(ms, change) as save:
        save(Note(ms_created=ms_created(ms), text=text))


def break_off(ms: Path, change: Change) -> None:
    """Make a change that does not end."""
    with suppress(PowerCutError), changing_ms(ms, change) as save:
        save(Note(ms_created=ms_created(ms), text="too early"))
        raise PowerCutError


def read_text(ms: Path, change: Change) -> str | None:
    """Read what a record says."""
    note = read_change(ms, change, Note)
    return note.text if note else None


def test_a_change_that_ended_is_on_record(ms: Path) -> None:
    assert read_text(ms, FLAGGING) is None
    change_it(ms, FLAGGING)
    assert read_text(ms, FLAGGING) == "done"
    assert read_text(ms, CALIBRATION) is None
    require_whole(ms)
    assert sorted(path.name for path in ms.parent.iterdir()) == [
        "group.ms",
        "group.ms.flagging.json",
        "group.ms.manifest.json",
    ]


def test_the_record_appears_when_the_change_has_ended(ms: Path) -> None:
    with changing_ms(ms, FLAGGING) as save:
        save(Note(ms_created=ms_created(ms), text="done"))
        assert not record_path(ms, FLAGGING).exists()
        assert interrupted_change(ms) is FLAGGING
    assert read_text(ms, FLAGGING) == "done"


@pytest.mark.parametrize("change", list(Change))
def test_a_change_that_was_broken_off_is_refused_until_it_is_made_again(
    ms: Path, change: Change
) -> None:
    change_it(ms, change, "first")
    break_off(ms, change)
    assert read_text(ms, change) is None
    with pytest.raises(InputError, match=f"in the middle of its {change}.*run its {change} again"):
        require_whole(ms)
    change_it(ms, change, "second")
    require_whole(ms)
    assert read_text(ms, change) == "second"


def test_it_is_refused_by_any_name(ms: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.ms"
    link.symlink_to(ms)
    require_whole(link)
    break_off(ms, FLAGGING)
    with pytest.raises(InputError):
        require_whole(link)


def test_flagging_makes_a_calibration_void_but_not_the_reverse(ms: Path) -> None:
    change_it(ms, FLAGGING)
    change_it(ms, CALIBRATION)
    change_it(ms, CALIBRATION)
    assert read_text(ms, FLAGGING) == "done"
    change_it(ms, FLAGGING)
    assert read_text(ms, CALIBRATION) is None
    change_it(ms, CALIBRATION)
    break_off(ms, CALIBRATION)
    assert read_text(ms, FLAGGING) == "done"
    break_off(ms, FLAGGING)
    assert read_text(ms, FLAGGING) is None


def test_a_later_step_does_not_cover_up_an_earlier_one_that_was_broken_off(ms: Path) -> None:
    break_off(ms, FLAGGING)
    with pytest.raises(InputError, match="middle of its flagging"), changing_ms(ms, CALIBRATION):
        pytest.fail("the calibration began")
    assert interrupted_change(ms) is FLAGGING


def test_an_undone_change_leaves_no_record(ms: Path) -> None:
    change_it(ms, FLAGGING)
    with changing_ms(ms, FLAGGING):
        pass
    assert read_text(ms, FLAGGING) is None
    require_whole(ms)


def test_an_ms_that_was_converted_again_has_no_past(ms: Path) -> None:
    change_it(ms, FLAGGING)
    publish(ms)
    assert read_text(ms, FLAGGING) is None
    break_off(ms, FLAGGING)
    publish(ms)
    require_whole(ms)


def test_an_ms_that_lost_its_manifest_was_not_converted_again(ms: Path) -> None:
    break_off(ms, FLAGGING)
    manifest_path(ms).unlink()
    assert interrupted_change(ms) is FLAGGING


@pytest.mark.parametrize("content", [b"", b"flagging", b"\xff\xfe", b'{"ms_created": 1}'])
def test_a_garbled_mark_is_taken_for_the_worst(ms: Path, content: bytes) -> None:
    ms.with_name(f".{ms.name}.changing").write_bytes(content)
    assert interrupted_change(ms) is FLAGGING


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"text": "no date"}'])
def test_a_garbled_record_is_none(ms: Path, content: bytes) -> None:
    record_path(ms, FLAGGING).write_bytes(content)
    assert read_text(ms, FLAGGING) is None


def test_a_directory_that_may_not_be_written_is_named(ms: Path) -> None:
    ms.parent.chmod(0o555)
    try:
        with (
            permissions_enforced(),
            pytest.raises(
                InputError, match=r"cannot put the flagging of .*group\.ms on record"
            ) as caught,
            changing_ms(ms, FLAGGING),
        ):
            pytest.fail("the change began")
    finally:
        ms.parent.chmod(0o755)
    assert caught.value.reason == "target_not_writable"
