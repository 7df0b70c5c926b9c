"""The writer and the orchestrator: what is published, what is refused, what is left behind."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pytest
from casacore.tables import table
from typer.testing import CliRunner

from dsa110_contimg.cli.main import app
from dsa110_contimg.conversion.direct_subband import DirectSubbandWriter
from dsa110_contimg.conversion.hdf5_orchestrator import convert_subband_groups_to_ms
from dsa110_contimg.conversion.write_ms import WriteMsOptions, write_ms
from dsa110_contimg.errors import InputError
from dsa110_contimg.storage.publish import manifest_path, read_manifest

pytestmark = [pytest.mark.casa, pytest.mark.usefixtures("private_places")]

N_BASELINES, N_TIMES = 36, 24
ROWS = N_BASELINES * N_TIMES


@pytest.fixture
def group_files(small_night, tmp_path) -> list[Path]:
    """A private copy of one group's files, sb00 first."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    copies = [Path(shutil.copy(file, incoming)) for file in small_night.files[:16]]
    return sorted(copies, key=lambda f: f.name[-7:-5])


def write_here(files: list[Path], ms: Path) -> dict[str, np.ndarray]:
    """Write an MS in this process and read its bulk columns."""
    write_ms(WriteMsOptions(group_id="group", files=files, ms_path=ms, workers=2))
    with table(str(ms), ack=False) as main:
        return {name: main.getcol(name) for name in ("DATA", "FLAG", "UVW", "WEIGHT", "SIGMA")}


def replace_dataset(path: Path, name: str, values: np.ndarray, **storage) -> None:
    with h5py.File(path, "r+") as file:
        del file[f"Data/{name}"]
        file.create_dataset(f"Data/{name}", data=values, **storage)


def test_writer_publishes_one_ms_and_names_its_method(group_files, tmp_path):
    target = tmp_path / "out" / "group.ms"
    assert DirectSubbandWriter(None, target, file_list=group_files).write() == "parallel-subband"
    manifest = read_manifest(target)
    assert manifest.state == "complete"
    assert manifest.spectral_windows[0].subband == "sb15"
    assert {Path(i.path) for i in manifest.provenance.inputs} == set(group_files)
    assert manifest.provenance.versions["python-casacore"]
    assert sorted(p.name for p in target.parent.iterdir()) == ["group.ms", "group.ms.manifest.json"]
    assert list((tmp_path / "sandboxes").iterdir()) == []


def test_writer_refuses_what_it_does_not_know(group_files, tmp_path):
    with pytest.raises(InputError, match="does not know concat"):
        DirectSubbandWriter(group_files, tmp_path / "a.ms", concat=True)
    with pytest.raises(InputError, match="needs the subband files"):
        DirectSubbandWriter(None, tmp_path / "a.ms")


@pytest.mark.parametrize("storage", [{"compression": "gzip", "chunks": True}, {}])
def test_other_storage_gives_the_same_ms(group_files, tmp_path, storage):
    """Compressed (read by h5py) and contiguous (mapped) datasets, beside chunked ones."""
    expected = write_here(group_files, tmp_path / "chunked.ms")
    with h5py.File(group_files[3], "r") as file:
        datasets = {name: file[f"Data/{name}"][()] for name in ("visdata", "flags", "nsamples")}
    for name, values in datasets.items():
        replace_dataset(group_files[3], name, values, **storage)
    for column, values in write_here(group_files, tmp_path / "other.ms").items():
        np.testing.assert_array_equal(values, expected[column])


def test_flags_weights_and_nonfinite_values(group_files, tmp_path):
    """A garbled chunk is flagged and zeroed; flags and weights go to their own rows."""
    row, channel = 5, 7
    with h5py.File(group_files[0], "r+") as file:
        file["Data/visdata"][40:60, 0, 12:24, 1] = np.nan
        file["Data/visdata"][100, 0, 3, 0] = complex(1.0, np.inf)
        file["Data/flags"][row, 0, channel, 0] = True
        file["Data/nsamples"][...] = 1.0
        file["Data/nsamples"][row, 0, :, 0] = 0.25
        file["Data/nsamples"][row + 1, 0, :, 1] = 0.0
    ms = tmp_path / "a.ms"
    report = write_ms(WriteMsOptions(group_id="g", files=group_files, ms_path=ms, workers=2))
    spw = 15  # sb00 is the highest
    assert report.spectral_windows[spw].nonfinite == 20 * 12 + 1
    expected_flags = np.zeros((ROWS, 48, 2), dtype=bool)
    expected_flags[40:60, 24:36, 1] = True
    expected_flags[100, 47 - 3, 0] = True
    expected_flags[row, 47 - channel, 0] = True
    with table(str(ms), ack=False) as main:
        flags = main.getcol("FLAG", spw * ROWS, ROWS)
        data = main.getcol("DATA", spw * ROWS, ROWS)
        weight = main.getcol("WEIGHT", spw * ROWS, ROWS)
        sigma = main.getcol("SIGMA", spw * ROWS, ROWS)
        assert not main.getcol("FLAG", 0, spw * ROWS).any()
    np.testing.assert_array_equal(flags, expected_flags)
    assert np.isfinite(data).all()
    assert (data[40:60, 24:36, 1] == 0).all()
    assert weight[row].tolist() == [0.25, 1.0]
    assert sigma[row].tolist() == [2.0, 1.0]
    assert weight[row + 1].tolist() == [1.0, 0.0]
    assert sigma[row + 1].tolist() == [1.0, 0.0]


def test_reversed_baselines_give_the_same_ms(group_files, tmp_path):
    """A file that lists a baseline as (q, p) with the conjugate means the same."""
    expected = write_here(group_files, tmp_path / "p_q.ms")
    for path in group_files:
        with h5py.File(path, "r+") as file:
            header = file["Header"]
            first, second = header["ant_1_array"][()], header["ant_2_array"][()]
            swap = (np.arange(len(first)) % N_BASELINES) % 3 == 1
            header["ant_1_array"][...] = np.where(swap, second, first)
            header["ant_2_array"][...] = np.where(swap, first, second)
            header["uvw_array"][...] = np.where(swap[:, None], -1, 1) * header["uvw_array"][()]
            visibilities = file["Data/visdata"][()]
            visibilities[swap] = np.conj(visibilities[swap])
            file["Data/visdata"][...] = visibilities
    for column, values in write_here(group_files, tmp_path / "q_p.ms").items():
        np.testing.assert_array_equal(values, expected[column])


def test_mixed_up_subbands_are_refused_by_name(group_files, small_night, tmp_path):
    """A subband of the next group among this group's files."""
    stranger = next(Path(f) for f in small_night.files[16:] if f.endswith("sb04.hdf5"))
    files = [f for f in group_files if "sb04" not in f.name] + [stranger]
    with pytest.raises(InputError, match=r"do not belong together.*sb04") as caught:
        write_here(files, tmp_path / "a.ms")
    assert caught.value.reason == "inconsistent_subbands"


def test_night_of_two_groups_then_nothing_to_do(small_night, tmp_path):
    incoming = Path(small_night.output_dir)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in incoming.iterdir()}
    seen = []
    results = convert_subband_groups_to_ms(
        incoming,
        tmp_path / "ms",
        checkpoint_file=tmp_path / "checkpoint.json",
        progress=lambda result, done, total: seen.append((result.group_id, done, total)),
    )
    assert [r.state for r in results] == ["converted", "converted"]
    assert seen == [(results[0].group_id, 1, 2), (results[1].group_id, 2, 2)]
    for result in results:
        path = Path(result.ms_path)
        assert path == tmp_path / "ms" / result.group_id[:10] / f"{result.group_id}.ms"
        assert read_manifest(path).state == "complete"
    assert len(json.loads((tmp_path / "checkpoint.json").read_text())) == 2
    again = convert_subband_groups_to_ms(incoming, tmp_path / "ms")
    assert [r.state for r in again] == ["skipped", "skipped"]
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in incoming.iterdir()} == before
    assert not list((tmp_path / "sandboxes").iterdir())


def test_time_range_is_half_open(small_night, tmp_path):
    second = datetime.fromisoformat(small_night.groups[1].start_utc) - timedelta(seconds=1)
    results = convert_subband_groups_to_ms(small_night.output_dir, tmp_path / "ms", end_time=second)
    assert len(results) == 1
    results = convert_subband_groups_to_ms(
        small_night.output_dir, tmp_path / "ms", start_time=second.isoformat()
    )
    assert len(results) == 1
    assert results[0].state == "converted"


def test_latecomer_makes_the_ms_anew(group_files, tmp_path):
    late = tmp_path / "late"
    late.mkdir()
    parked = [Path(shutil.move(f, late)) for f in group_files if f.name[-7:-5] in {"03", "11"}]
    incoming = group_files[0].parent
    (first,) = convert_subband_groups_to_ms(incoming, tmp_path / "ms")
    assert (first.state, first.reason) == ("converted", "semi-complete: without sb03, sb11")
    manifest = read_manifest(Path(first.ms_path))
    assert manifest.missing == ["sb03", "sb11"]
    assert len(manifest.spectral_windows) == 14
    for file in parked:
        shutil.move(file, incoming)
    (second,) = convert_subband_groups_to_ms(incoming, tmp_path / "ms")
    assert (second.state, second.reason) == ("converted", "made anew: sb03, sb11 arrived since")
    assert len(read_manifest(Path(second.ms_path)).spectral_windows) == 16
    for file in incoming.glob("*_sb1*.hdf5"):
        file.unlink()
    (third,) = convert_subband_groups_to_ms(incoming, tmp_path / "ms")
    assert (third.state, third.ms_path) == ("skipped", second.ms_path)
    assert "of its raw files 10 are left" in third.reason
    assert len(read_manifest(Path(second.ms_path)).spectral_windows) == 16, "the MS is untouched"
    (fourth,) = convert_subband_groups_to_ms(incoming, tmp_path / "ms", skip_existing=False)
    assert (fourth.state, fourth.ms_path) == ("rejected", None)


def test_unfinished_ms_is_made_again(group_files, tmp_path):
    (first,) = convert_subband_groups_to_ms(group_files[0].parent, tmp_path / "ms")
    manifest_path(Path(first.ms_path)).unlink()
    (second,) = convert_subband_groups_to_ms(group_files[0].parent, tmp_path / "ms")
    assert second.state == "converted"


def test_wrong_calls_are_refused(tmp_path):
    with pytest.raises(InputError, match="no writer 'concat'"):
        convert_subband_groups_to_ms(tmp_path, tmp_path / "ms", writer="concat")
    with pytest.raises(InputError, match="does not know batch_size"):
        convert_subband_groups_to_ms(tmp_path, tmp_path / "ms", batch_size=3)
    with pytest.raises(InputError, match="cannot understand the time"):
        convert_subband_groups_to_ms(tmp_path, tmp_path / "ms", start_time="yesterday")


def test_command_prints_json_and_exits_1_when_a_group_failed(group_files, tmp_path):
    with h5py.File(group_files[5], "r+") as file:  # passes the quick look of the grouping
        file["Header/ant_2_array"][N_BASELINES : 2 * N_BASELINES] = 0
    runner = CliRunner()
    done = runner.invoke(
        app, ["convert", str(group_files[0].parent), str(tmp_path / "ms"), "--json"]
    )
    rows = json.loads(done.stdout)
    assert set(rows[0]) >= {"group_id", "state", "ms_path", "reason", "seconds"}
    assert rows[0]["state"] == "failed"
    assert group_files[5].name in rows[0]["reason"]
    assert done.exit_code == 1
    assert not list((tmp_path / "ms").glob("*/*.ms"))
    assert runner.invoke(app, ["convert"]).exit_code == 2


def test_checkpoint_that_cannot_be_written(small_night, tmp_path):
    """Known before the work: refused. Lost in the middle: said, and the groups are converted."""
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(InputError, match="cannot write the checkpoint") as caught:
        convert_subband_groups_to_ms(
            small_night.output_dir, tmp_path / "ms", checkpoint_file=blocked / "checkpoint.json"
        )
    assert caught.value.reason == "not_writable"
    assert not (tmp_path / "ms").exists()

    folder = tmp_path / "checkpoints"

    def block(result, done: int, total: int) -> None:
        if done == 1:
            shutil.rmtree(folder)
            folder.touch()

    results = convert_subband_groups_to_ms(
        small_night.output_dir,
        tmp_path / "ms",
        checkpoint_file=folder / "checkpoint.json",
        progress=block,
    )
    assert [result.state for result in results] == ["converted", "converted"]
    assert "cannot write the checkpoint" in results[1].warnings[-1]
