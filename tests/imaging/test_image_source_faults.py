"""What goes wrong with one source: it is said, it is bounded, and it leaves nothing behind."""

from __future__ import annotations

import os
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from support.faults import find_child, killed_after
from support.point_source import TARGET

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.imaging.image_source import image_source
from dsa110_contimg.imaging.products import spw_image_file
from dsa110_contimg.storage.ms_access import AccessSpan, exclusive_ms

pytestmark = [pytest.mark.casa, pytest.mark.fault]


def change_window(ms_path: Path, spw_id: int, column: str, change) -> None:
    """Apply a function to a column of one window of an MS."""
    with table(str(ms_path), readonly=False, ack=False) as ms:
        rows = np.flatnonzero(ms.getcol("DATA_DESC_ID") == spw_id)
        first, number = int(rows[0]), len(rows)
        ms.putcol(column, change(ms.getcol(column, first, number)), first, number)


def files_below(*folders: Path) -> set[Path]:
    return {file for folder in folders for file in folder.rglob("*") if not file.is_dir()}


@pytest.mark.parametrize("private_copy", [{}, None], ids=["copy", "direct"])
def test_a_fully_flagged_window_is_reported_and_the_others_are_done(
    own_ms, options_for, private_copy
):
    change_window(own_ms, 8, "FLAG", np.ones_like)
    change_window(
        own_ms, 9, "FLAG", lambda flags: np.arange(flags.size).reshape(flags.shape) % 4 == 0
    )
    options = options_for(own_ms, spws=(7, 8, 9), private_copy=private_copy)
    result = image_source(options)
    assert not result.success
    assert result.n_spws == 3
    assert [spw.spw_id for spw in result.spws] == [7, 9]
    assert [failure.spw_id for failure in result.failed_spws] == [8]
    assert "flagged" in result.failed_spws[0].reason
    assert "spw 8" in result.error
    assert not result.failed_spws[0].retryable
    assert result.spws[1].flagged_fraction == pytest.approx(0.25, abs=0.001)
    assert [found.spw_ids for found in result.detections] == [[7], [9]]
    assert not (Path(result.products_dir) / spw_image_file(8)).exists()
    assert image_source(options).skipped  # the same data would fail in the same way


def test_non_finite_visibilities_count_as_flagged(own_ms, options_for):
    def spoil(data):
        data[::10, :24] = np.nan
        data[1::10, :24] = np.inf
        return data

    change_window(own_ms, 8, "DATA", spoil)
    result = image_source(options_for(own_ms))
    assert result.success
    assert result.spws[0].flagged_fraction == pytest.approx(0.1, abs=0.01)
    truth_jy = float(TARGET.flux_at(result.spws[0].freq_hz))
    assert result.spws[0].flux_jy == pytest.approx(truth_jy, rel=0.01)


def test_nothing_but_nan_fails_with_a_reason(own_ms, options_for):
    change_window(own_ms, 8, "DATA", lambda data: np.full_like(data, np.nan))
    result = image_source(options_for(own_ms))
    assert not result.success
    assert not result.spws
    assert "not finite" in result.failed_spws[0].reason
    assert set(result.products) == {"detections.ecsv", "spectrum.png"}


def test_non_finite_data_under_tclean_itself_is_no_measurement(own_ms, options_for):
    """Without the private copy tclean sees the NaN; whatever it does, no NaN is published."""
    change_window(own_ms, 8, "DATA", lambda data: np.where(data.real > 0, data, np.nan))
    result = image_source(options_for(own_ms, spws=(7, 8), private_copy=None))
    assert result.spws[0].spw_id == 7
    assert all(np.isfinite(spw.flux_jy) and spw.rms_jy > 0 for spw in result.spws)
    assert len(result.spws) + len(result.failed_spws) == 2


def test_a_truncated_column_costs_only_the_windows_in_the_lost_part(own_ms, options_for):
    with table(str(own_ms), ack=False) as ms:
        number = ms.getdminfo("DATA")["SEQNR"]
    file = own_ms / f"table.f{number}_TSM0"
    os.truncate(file, int(file.stat().st_size * 0.6))
    result = image_source(options_for(own_ms, spws=(7, 15)))
    assert [spw.spw_id for spw in result.spws] == [7]
    assert [failure.spw_id for failure in result.failed_spws] == [15]
    assert "cannot be read" in result.failed_spws[0].reason
    assert result.failed_spws[0].retryable


def test_a_holder_of_the_ms_is_named_and_waited_for(own_ms, options_for, tmp_path):
    log = tmp_path / "ms_access.jsonl"
    options = options_for(own_ms, access_log=log, purpose="second", lock_timeout_s=0.2)
    with (
        exclusive_ms(own_ms, "first", timeout_s=1, access_log=log),
        pytest.raises(TransientError, match=f"held by first .pid {os.getpid()}") as caught,
    ):
        image_source(options)
    assert caught.value.reason == "ms_held"
    assert not (tmp_path / "products" / "target").exists()

    held = threading.Event()

    def hold() -> None:
        with exclusive_ms(own_ms, "first again", timeout_s=1, access_log=log):
            held.set()
            time.sleep(3)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(5)
    assert image_source(options_for(own_ms, access_log=log, purpose="third")).success
    holder.join()
    spans = [AccessSpan.model_validate_json(line) for line in log.read_text().splitlines()]
    # It looks what the MS holds, and comes back for the data.
    assert [span.purpose for span in spans] == ["first", "first again", "third", "third"]
    assert all(a.end_s <= b.start_s for a, b in pairwise(spans))


def test_lock_can_be_left_alone(own_ms, options_for):
    with exclusive_ms(own_ms, "somebody", timeout_s=1):
        assert image_source(options_for(own_ms, serialize_ms_access=False)).success


def test_time_out_leaves_nothing(point_source_ms, options_for, tmp_path):
    with pytest.raises(TransientError) as caught:
        image_source(
            options_for(point_source_ms, spws=None, timeout_s=2.5, serialize_ms_access=False)
        )
    assert caught.value.reason == "timeout"
    assert not (tmp_path / "products" / "target").exists()
    assert not files_below(tmp_path / "sandboxes")


@pytest.mark.parametrize("delay_s", [0.5, 3.0])
def test_killed_child_leaves_nothing_and_a_rerun_completes(
    point_source_ms, options_for, tmp_path, delay_s
):
    options = options_for(point_source_ms, spws=tuple(range(8)))
    with killed_after(delay_s, find_child) as killed, pytest.raises(TransientError) as caught:
        image_source(options)
    assert killed
    assert caught.value.reason == "child_killed"
    assert not (tmp_path / "products" / "target").exists()
    assert not files_below(tmp_path / "sandboxes")
    assert image_source(options.model_copy(update={"spws": (8,)})).success


def test_half_products_of_a_killed_publication_are_replaced(point_source_ms, options_for, tmp_path):
    folder = tmp_path / "products"
    (folder / ".target.partial-0123abcd").mkdir(parents=True)
    (folder / ".target.partial-0123abcd" / "stamp.png").write_text("half")
    (folder / "target").mkdir()
    (folder / "target" / "spw99.image.pbcor.fits").write_text("of nobody")
    result = image_source(options_for(point_source_ms))
    assert result.success
    assert {file.name for file in (folder / "target").iterdir()} == {
        *result.products,
        "result.json",
    }
    assert not list(folder.glob(".target.partial-*"))


def test_nothing_is_written_elsewhere(point_source_ms, options_for, tmp_path, monkeypatch):
    """Not in the home, the current directory or the MS; only products, lock and log remain."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(here)
    before = files_below(point_source_ms)
    assert image_source(options_for(point_source_ms)).success
    assert not list(home.iterdir())
    assert not list(here.iterdir())
    assert files_below(point_source_ms) == before
    assert not files_below(tmp_path / "sandboxes")
    left = {file.name for file in (tmp_path / "products").iterdir()}
    assert left == {"target", ".target.lock", ".logs"}


def test_a_full_disk_is_refused_before_the_work(point_source_ms, options_for, monkeypatch):
    import shutil

    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1 << 20))
    start = time.perf_counter()
    with pytest.raises(TransientError) as caught:
        image_source(options_for(point_source_ms))
    assert caught.value.reason == "disk_full"
    assert time.perf_counter() - start < 2.0


def test_products_directory_that_cannot_be_one(point_source_ms, options_for, tmp_path):
    (tmp_path / "products").write_text("a file is in the way")
    with pytest.raises(InputError) as caught:
        image_source(options_for(point_source_ms))
    assert caught.value.reason == "target_not_writable"
