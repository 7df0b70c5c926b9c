"""Flagging over and over, in other ways, back again, and killed in the middle."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import addImagingColumns, table
from support.faults import find_child, killed_after
from support.rfi_night import FlaggedGroup, RfiGroup, convert, flag_options, read_column

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.flagging.flag_ms import flag_ms, plot_path, read_flags, unflag_ms
from dsa110_contimg.flagging.models import Flagger, FlagRecord, FlagStrategy
from dsa110_contimg.flagging.versions import AS_CONVERTED, flag_version, versions_dir
from dsa110_contimg.storage.files import make_read_only, make_writable
from dsa110_contimg.storage.ms_change import Change, record_path, require_whole
from dsa110_contimg.visibilities.ms_info import read_ms_info

pytestmark = pytest.mark.casa

STRATEGY = FlagStrategy()
OTHER = FlagStrategy(clip_sigma=4.0, grow_percent=30.0)


def is_read_only(ms: Path) -> bool:
    """Whether nobody may write anything in an MS."""
    return not any(path.stat().st_mode & 0o222 for path in (ms, *ms.rglob("*")))


def test_what_was_flagged_is_on_record_and_the_ms_read_only(flagged_group: FlaggedGroup) -> None:
    ms, record = flagged_group.ms, flagged_group.record
    on_disk = FlagRecord.model_validate_json(record_path(ms, Change.FLAGGING).read_bytes())
    assert on_disk == record
    assert not record.skipped
    assert record.plot == str(plot_path(ms))
    assert plot_path(ms).read_bytes().startswith(b"\x89PNG")
    assert is_read_only(ms)
    require_whole(ms)
    assert list((ms.parent / "sandboxes").iterdir()) == []


def test_flagging_twice_does_nothing_the_second_time(flagged_group: FlaggedGroup) -> None:
    ms = flagged_group.ms
    before = {path: path.stat().st_mtime_ns for path in ms.rglob("table.f*")}
    again = flag_ms(flag_options(ms, strategy=STRATEGY))
    assert again.skipped
    assert again.after == flagged_group.record.after
    assert {path: path.stat().st_mtime_ns for path in ms.rglob("table.f*")} == before
    assert is_read_only(ms)


def test_every_strategy_begins_from_the_flags_as_converted(
    flagged_group: FlaggedGroup, tmp_path: Path
) -> None:
    """One, then another, then the first again; a calibration between them does not outlive it."""
    ms = flagged_group.copy(tmp_path)
    make_writable(ms)
    addImagingColumns(str(ms), ack=False)
    make_read_only(ms)
    assert read_ms_info(ms).data_column == "CORRECTED_DATA"
    other = flag_ms(flag_options(ms, strategy=OTHER))
    assert other.after.fraction > flagged_group.record.after.fraction
    assert read_ms_info(ms).data_column == "DATA"
    assert read_flags(flag_options(ms, strategy=STRATEGY)) is None
    back = flag_ms(flag_options(ms, strategy=STRATEGY))
    assert back.before == flagged_group.record.before
    np.testing.assert_array_equal(read_column(ms, "FLAG"), read_column(flagged_group.ms, "FLAG"))
    assert sorted(path.name for path in versions_dir(ms).glob("flags.*")) == [
        "flags.contimg_as_converted",
        "flags.contimg_as_flagged",
    ]


def test_a_flagging_that_was_killed_is_refused_until_it_is_done_again(
    flagged_group: FlaggedGroup, tmp_path: Path
) -> None:
    ms = flagged_group.group.copy(tmp_path)
    converted = read_column(ms, "FLAG")
    options = flag_options(ms, strategy=STRATEGY)
    log = options.find_log(ms.parent, ms.stem)

    def find_flagging() -> int | None:
        """Find the child once CASA searches for interference, and has flagged the obvious."""
        has_begun = log.exists() and f"{ms.stem}: casa\n" in log.read_text(errors="replace")
        return find_child() if has_begun else None

    with killed_after(0.0, find_flagging) as killed, pytest.raises(TransientError) as caught:
        flag_ms(options)
    assert killed
    assert caught.value.reason == "child_killed"
    assert is_read_only(ms)
    assert (read_column(ms, "FLAG") != converted).any(), "killed too early to do harm"
    assert read_flags(options) is None
    with pytest.raises(InputError, match="in the middle of its flagging") as refused:
        require_whole(ms)
    assert refused.value.reason == "ms_half_changed"
    repaired = flag_ms(options)
    assert not repaired.skipped
    require_whole(ms)
    np.testing.assert_array_equal(read_column(ms, "FLAG"), read_column(flagged_group.ms, "FLAG"))


def test_flag_versions_of_an_earlier_ms_of_the_same_name_are_not_restored(
    flagged_group: FlaggedGroup, tmp_path: Path
) -> None:
    ms = convert(flagged_group.group.root, rfi=True, place=tmp_path / "ms")
    shutil.copytree(versions_dir(flagged_group.ms), versions_dir(ms))
    version = flag_version(ms, AS_CONVERTED)
    make_writable(version)
    with table(str(version), readonly=False, ack=False) as flags:
        flags.putcol("FLAG", np.ones_like(flags.getcol("FLAG")))
    options = flag_options(ms, strategy=STRATEGY)
    assert read_flags(options) is None
    with pytest.raises(InputError) as caught:
        unflag_ms(options)
    assert caught.value.reason == "not_flagged"
    record = flag_ms(options)
    assert record.before.fraction == 0.0
    np.testing.assert_array_equal(read_column(ms, "FLAG"), read_column(flagged_group.ms, "FLAG"))


def test_an_ms_that_lost_its_flags_as_converted_is_not_flagged_on_top(
    flagged_group: FlaggedGroup, tmp_path: Path
) -> None:
    ms = flagged_group.copy(tmp_path)
    shutil.rmtree(versions_dir(ms))
    for act in (flag_ms, unflag_ms):
        with pytest.raises(InputError, match="convert its group again") as caught:
            act(flag_options(ms, strategy=OTHER))
        assert caught.value.reason == "flag_version_lost"
    require_whole(ms)


def test_without_aoflagger_the_error_says_what_to_do(
    rfi_group: RfiGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    options = flag_options(rfi_group.ms, strategy=FlagStrategy(flagger=Flagger.AOFLAGGER))
    with pytest.raises(InputError, match=r"apt-get install aoflagger, or flag with casa") as caught:
        flag_ms(options)
    assert caught.value.reason == "no_aoflagger"
    require_whole(rfi_group.ms)
