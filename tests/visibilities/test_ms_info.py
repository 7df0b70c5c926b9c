"""What an MS says of itself, and what a damaged one makes of that."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import default_ms, table

from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import (
    CHANNEL_WIDTH_HZ,
    GROUP_DURATION_S,
    HEADER_INTEGRATION_TIME_S,
    subband_channel_freqs_hz,
)
from dsa110_contimg.storage.publish import read_manifest
from dsa110_contimg.visibilities.ms_info import describe_ms, list_spws, read_ms_info, select_spws

pytestmark = pytest.mark.casa


def refusal(ms_path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_ms_info(ms_path)
    assert str(ms_path) in str(caught.value)
    return caught.value


def test_ms_of_the_converter(point_source_ms):
    info = read_ms_info(point_source_ms)
    assert info.ms_path == str(point_source_ms)
    assert [spw.spw_id for spw in info.spws] == list(range(16))
    for spw in info.spws:
        freqs_hz = subband_channel_freqs_hz(15 - spw.spw_id)
        assert spw.freq_hz == pytest.approx(freqs_hz.mean(), abs=1.0)
        assert spw.bandwidth_hz == pytest.approx(48 * CHANNEL_WIDTH_HZ)
        assert spw.n_channels == 48
    assert info.telescope == "OVRO_MMA"
    assert np.linalg.norm(info.telescope_itrf_m) == pytest.approx(6.37e6, rel=2e-3)
    assert info.frame == "ICRS"
    # The drift rate of the sky over the group is 1.29 deg; the source was put within that.
    assert info.center_ra_deg == pytest.approx(128.085, abs=0.01)
    assert info.center_dec_deg == pytest.approx(54.663, abs=0.01)
    assert info.duration_s == pytest.approx(GROUP_DURATION_S, abs=0.001)
    assert info.integration_time_s == pytest.approx(HEADER_INTEGRATION_TIME_S, abs=1e-6)
    assert info.data_column == "DATA"
    assert info.n_rows == 16 * 24 * 16 * 17 // 2


def test_agrees_with_the_manifest_of_a_converted_group(small_night, tmp_path):
    from dsa110_contimg.conversion.hdf5_orchestrator import convert_subband_groups_to_ms

    [first, *_] = convert_subband_groups_to_ms(
        small_night.output_dir, tmp_path / "ms", scratch_dir=tmp_path / "scratch"
    )
    info = read_ms_info(Path(first.ms_path))
    manifest = read_manifest(Path(first.ms_path))
    assert info.center_ra_deg == pytest.approx(manifest.phase_center_ra_deg, abs=1e-9)
    assert info.center_dec_deg == pytest.approx(manifest.phase_center_dec_deg, abs=1e-9)
    assert info.duration_s == pytest.approx(manifest.duration_s, abs=0.001)


def test_list_spws_is_the_same_list(point_source_ms):
    assert list_spws(point_source_ms) == read_ms_info(point_source_ms).spws


def test_corrected_data_are_preferred(own_ms):
    with table(str(own_ms), readonly=False, ack=False) as ms:
        description = ms.getcoldesc("DATA")
        description["dataManagerGroup"] = "corrected"
        ms.addcols({"CORRECTED_DATA": description}, {"TYPE": "TiledShapeStMan", "NAME": "c"})
    assert read_ms_info(own_ms).data_column == "CORRECTED_DATA"


@pytest.mark.parametrize("make", ["absent", "file", "folder"])
def test_what_is_no_ms(tmp_path, make):
    path = tmp_path / "not.ms"
    if make == "file":
        path.write_text("no table")
    if make == "folder":
        path.mkdir()
    error = refusal(path)
    assert error.reason == "missing_ms"
    assert ("does not exist" in error.message) == (make == "absent")


@pytest.mark.fault
@pytest.mark.parametrize("victim", ["table.dat", "FIELD/table.dat", "SPECTRAL_WINDOW/table.f0"])
@pytest.mark.parametrize("damage", ["truncated", "garbled"])
def test_damaged_tables(own_ms, victim, damage):
    file = own_ms / victim
    if damage == "truncated":
        os.truncate(file, file.stat().st_size // 3)
    else:
        file.write_bytes(b"\xff" * file.stat().st_size)
    assert refusal(own_ms).reason == "damaged_ms"


@pytest.mark.fault
def test_missing_subtable(own_ms):
    shutil.rmtree(own_ms / "SPECTRAL_WINDOW")
    assert refusal(own_ms).reason == "damaged_ms"


def test_empty_ms(tmp_path):
    default_ms(str(tmp_path / "empty.ms")).close()
    assert refusal(tmp_path / "empty.ms").reason == "empty_ms"


def test_second_field(own_ms):
    with table(str(own_ms / "FIELD"), readonly=False, ack=False) as field:
        field.addrows(1)
    assert refusal(own_ms).reason == "many_fields"


def test_selection_of_windows(point_source_ms):
    info = read_ms_info(point_source_ms)

    def selected(*arguments):
        return [spw.spw_id for spw in select_spws(info, *arguments)]

    assert selected(None, None) == list(range(16))
    assert selected((5, 3), None) == [3, 5]
    assert selected((5, 3, 9), 2) == [3, 5]
    assert selected(None, 2) == [0, 1]
    with pytest.raises(InputError, match="no spectral window 16, 20") as caught:
        select_spws(info, (3, 20, 16), None)
    assert caught.value.reason == "missing_spw"


def test_identity_changes_with_the_data_and_not_with_a_look_at_them(own_ms):
    before = describe_ms(own_ms)
    gone = own_ms / "table.f99"
    gone.symlink_to("nowhere")  # as a file that goes while they are listed
    assert describe_ms(own_ms) == before
    gone.unlink()
    with table(str(own_ms), ack=False) as ms:  # takes and leaves a read lock
        ms.getcol("TIME")
    read_ms_info(own_ms)
    assert describe_ms(own_ms) == before
    assert json.loads(before.model_dump_json())["size_bytes"] > 0
    with table(str(own_ms), readonly=False, ack=False) as ms:
        ms.putcell("FLAG", 5, ~ms.getcell("FLAG", 5))
    assert describe_ms(own_ms) != before
