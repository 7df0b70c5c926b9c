"""Whole nights: determinism, truth, reruns and refusals."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.table import Table
from pydantic import ValidationError

from dsa110_contimg.catalog.sources import Source, read_sources
from dsa110_contimg.errors import ContimgError, InputError, TransientError
from dsa110_contimg.instrument import drift_primary_beam_attenuation, primary_beam_attenuation
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult, simulate
from dsa110_contimg.storage.locks import hold_existing

pytestmark = pytest.mark.unit

SimulateNight = Callable[..., SimulationResult]
TWO_SUBBANDS = tuple(f"sb{subband:02d}" for subband in range(2, 16))


def digests(night: SimulationResult) -> dict[str, str]:
    return {
        Path(path).name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in night.files
    }


def test_equal_options_give_equal_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    nights = [
        simulate(
            SimulationOptions(
                output_dir=tmp_path / str(workers),
                n_groups=2,
                n_antennas=4,
                missing=TWO_SUBBANDS,
                gain_errors=True,
                rfi=True,
                calibrator_jy=3.0,
            ),
            workers=workers,
        )
        for workers in (1, 3)
    ]
    assert digests(nights[0]) == digests(nights[1])
    assert len(set(digests(nights[0]).values())) == 4
    beside = {path.name for path in (tmp_path / "1").glob("*.ecsv")}
    assert beside == {
        "truth.ecsv",
        "sources.ecsv",
        "calibrators.ecsv",
        "truth_gains.ecsv",
        "truth_rfi.ecsv",
    }
    for name in beside:
        texts = {Path(night.output_dir, name).read_text() for night in nights}
        assert len(texts) == 1, name


def test_another_seed_gives_other_data(simulate_night: SimulateNight) -> None:
    first, second = (
        simulate_night(seed=seed, jitter=False, missing=TWO_SUBBANDS) for seed in (1, 2)
    )
    assert set(digests(first)) == set(digests(second))
    assert not set(digests(first).values()) & set(digests(second).values())


def test_a_missing_subband_changes_nothing_in_the_others(simulate_night: SimulateNight) -> None:
    two = simulate_night(missing=TWO_SUBBANDS)
    one = simulate_night(missing=(*TWO_SUBBANDS, "sb01"))
    assert [Path(path).name[-9:] for path in one.files] == ["sb00.hdf5"]
    assert digests(one).items() < digests(two).items()


def test_the_truth_describes_every_source_in_every_group(small_night: SimulationResult) -> None:
    truth = Table.read(small_night.truth_path)
    assert len(truth) == 4
    assert set(truth["name"]) == {"flat", "steep"}
    assert all(truth["is_target"])
    center_hz = truth.meta["band_center_hz"]
    assert center_hz == pytest.approx(1.405e9, abs=0.02e6)
    for row in truth:
        # The mean over the group by an independent formula; the pointing's declination is that
        # of date there, here the meridian's ICRS position: equal to 1e-4 in the beam.
        mean_beam = drift_primary_beam_attenuation(
            row["ra_deg"],
            row["dec_deg"],
            center_ra_deg=row["phase_center_ra_deg"],
            center_dec_deg=row["phase_center_dec_deg"],
            duration_s=309.237645312,
            freq_hz=center_hz,
        )[0]
        assert row["primary_beam"] == pytest.approx(mean_beam, abs=2e-3)
        flux = row["flux_jy"] * (center_hz / row["ref_freq_hz"]) ** row["spectral_index"]
        assert row["apparent_flux_jy"] == pytest.approx(flux * row["primary_beam"], rel=1e-9)
    groups = truth.meta["groups"]
    assert [group["group_start"] for group in groups] == list(dict.fromkeys(truth["group_start"]))
    drift_deg = groups[1]["phase_center_ra_deg"] - groups[0]["phase_center_ra_deg"]
    # 309.24 s at the sidereal rate; precession since 2000 stretches it by 0.3 % up here.
    assert drift_deg == pytest.approx(309.24 * 15.041 / 3600, rel=5e-3)
    names = [name for group in groups for name in group["files"].values()]
    assert names == [Path(path).name for path in small_night.files]
    assert truth.meta["options"]["n_antennas"] == 8
    assert truth.meta["versions"]["numpy"] == np.__version__
    with h5py.File(small_night.files[16]) as file:
        assert groups[1]["times_jd"] == sorted(set(file["Header/time_array"][()]))


def test_the_phase_centre_of_the_truth_is_the_meridian_by_astropy(
    small_night: SimulationResult,
) -> None:
    from astropy import units as u
    from astropy.coordinates import ICRS, AltAz, EarthLocation, SkyCoord
    from astropy.time import Time

    group = Table.read(small_night.truth_path).meta["groups"][0]
    with h5py.File(small_night.files[0]) as file:
        header = file["Header"]
        site = EarthLocation.from_geodetic(
            header["longitude"][()] * u.deg, header["latitude"][()] * u.deg, header["altitude"][()]
        )
        # Due north of the zenith by dec - lat: hour angle zero, without refraction.
        altitude_deg = 90 - (54.573 - header["latitude"][()])
    when = Time(np.mean(group["times_jd"]), format="jd", scale="utc", location=site)
    meridian = SkyCoord(
        alt=altitude_deg * u.deg, az=0 * u.deg, frame=AltAz(obstime=when, location=site)
    ).transform_to(ICRS())
    here = SkyCoord(
        group["phase_center_ra_deg"] * u.deg, group["phase_center_dec_deg"] * u.deg, frame="icrs"
    )
    # astropy takes UT1 and the pole from IERS-B, the simulator from IERS-A.
    assert here.separation(meridian).to_value("mas") < 1


def test_the_sources_file_holds_the_targets(simulate_night: SimulateNight) -> None:
    night = simulate_night(n_groups=2, missing=TWO_SUBBANDS)
    targets = read_sources(Path(night.sources_path))
    truth = Table.read(night.truth_path)
    assert {source.name for source in targets} == set(truth["name"][truth["is_target"]])
    assert len(targets) == 3
    assert len(set(truth["name"])) > 3


@pytest.mark.parametrize("n_groups", [2, 3])
def test_default_targets_are_bright_and_inside_the_beam_of_the_middle_groups(
    simulate_night: SimulateNight, n_groups: int
) -> None:
    truth = Table.read(simulate_night(n_groups=n_groups, missing=TWO_SUBBANDS).truth_path)
    targets = truth[truth["is_target"]]
    assert len(targets) == 3 * n_groups
    assert min(targets["primary_beam"]) > 0.5
    assert min(targets["apparent_flux_jy"]) > 0.3
    assert max(targets["apparent_flux_jy"]) < 2.0
    field = truth[~truth["is_target"]]
    assert max(field["apparent_flux_jy"]) < 0.2


def test_every_group_of_a_long_night_has_field_sources(simulate_night: SimulateNight) -> None:
    night = simulate_night(n_groups=12, n_antennas=2, missing=(*TWO_SUBBANDS, "sb01"))
    truth = Table.read(night.truth_path)
    beam = primary_beam_attenuation(truth["separation_deg"], 1.4e9)
    assert set(truth["group"][beam > 0.2]) == set(range(12))


def test_the_same_night_again_is_no_work(simulate_night: SimulateNight, tmp_path: Path) -> None:
    options = {"output_dir": tmp_path / "night", "missing": TWO_SUBBANDS, "seed": 9}
    first = simulate_night(**options)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "night").iterdir()}
    second = simulate_night(**options)
    assert (first.written, second.written) == (2, 0)
    assert second.files == first.files
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "night").iterdir()} == before


def test_catalogue_values_survive_the_truth_file(
    simulate_night: SimulateNight, tmp_path: Path
) -> None:
    """Options are recognized again although they went through a text file."""
    awkward = Source(name="a+1", ra_deg=0.1 + 0.2, dec_deg=54.6, flux_jy=1e-5, ref_freq_hz=1e9 / 3)
    options = {
        "output_dir": tmp_path / "night",
        "missing": TWO_SUBBANDS,
        "sources": (awkward,),
        "start": "2026-01-25T08:06:19.123456+01:00",
    }
    simulate_night(**options)
    assert simulate_night(**options).written == 0


def test_a_night_from_before_an_option_existed_is_recognized(
    simulate_night: SimulateNight, tmp_path: Path
) -> None:
    options = {"output_dir": tmp_path / "night", "missing": TWO_SUBBANDS}
    truth_path = Path(simulate_night(**options).truth_path)
    truth = Table.read(truth_path)
    for name in ("rfi", "dead_antennas", "calibrator_jy", "calibrator_group"):
        del truth.meta["options"][name]
    truth.write(truth_path, overwrite=True)
    assert simulate_night(**options).written == 0
    with pytest.raises(InputError) as caught:
        simulate_night(**options, rfi=True)
    assert caught.value.reason == "other_night"


def test_an_interrupted_night_is_completed(simulate_night: SimulateNight, tmp_path: Path) -> None:
    options = {"output_dir": tmp_path / "night", "missing": TWO_SUBBANDS}
    night = simulate_night(**options)
    complete = digests(night)
    lost = Path(night.files[1])
    lost.unlink()
    unfinished = lost.with_name(lost.name.replace(".hdf5", "_incomplete.hdf5"))
    unfinished.write_bytes(b"half a file")
    Path(night.sources_path).unlink()
    again = simulate_night(**options)
    assert again.written == 1
    assert digests(again) == complete
    assert not unfinished.exists()
    assert read_sources(Path(again.sources_path))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"n_antennas": 7},
        {"n_groups": 2},
        {"sefd_jy": 11.0},
        {"gain_errors": True},
        {"rfi": True},
        {"dead_antennas": 1},
        {"calibrator_jy": 2.0},
    ],
)
def test_another_night_in_the_same_directory_is_refused(
    simulate_night: SimulateNight, tmp_path: Path, change: dict[str, object]
) -> None:
    options = {"output_dir": tmp_path / "night", "missing": TWO_SUBBANDS}
    before = digests(simulate_night(**options))
    with pytest.raises(InputError) as caught:
        simulate_night(**{**options, **change})
    assert caught.value.reason == "other_night"
    assert digests(simulate_night(**options)) == before


def test_the_default_field_does_not_reach_beyond_the_pole(
    simulate_night: SimulateNight, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="beyond the pole") as caught:
        simulate_night(output_dir=tmp_path / "night", dec_deg=90.0)
    assert caught.value.reason == "field_beyond_the_pole"
    polar = Source(name="polar", ra_deg=10.0, dec_deg=89.9, flux_jy=1.0)
    night = simulate_night(
        output_dir=tmp_path / "night", dec_deg=90.0, sources=(polar,), missing=TWO_SUBBANDS
    )
    assert night.written


def test_a_directory_with_something_else_is_refused(
    simulate_night: SimulateNight, tmp_path: Path
) -> None:
    real = tmp_path / "incoming" / "2026-01-25T08:06:19_sb00.hdf5"
    real.parent.mkdir()
    real.write_bytes(b"irreplaceable")
    with pytest.raises(InputError, match="2026-01-25T08:06:19_sb00") as caught:
        simulate_night(output_dir=real.parent)
    assert caught.value.reason == "directory_not_empty"
    assert [path.read_bytes() for path in real.parent.iterdir()] == [b"irreplaceable"]


def test_a_file_in_place_of_the_directory_is_refused(
    simulate_night: SimulateNight, tmp_path: Path
) -> None:
    (tmp_path / "night").write_text("a file")
    with pytest.raises(InputError) as caught:
        simulate_night(output_dir=tmp_path / "night")
    assert caught.value.reason == "output_directory"


def test_a_garbled_truth_is_refused(simulate_night: SimulateNight, tmp_path: Path) -> None:
    (tmp_path / "truth.ecsv").write_text("# %ECSV 1.0\n# ---\n# {garbled\n")
    with pytest.raises(InputError) as caught:
        simulate_night(output_dir=tmp_path)
    assert caught.value.reason == "unreadable_truth"


def test_a_source_without_a_flux_is_refused(simulate_night: SimulateNight) -> None:
    with pytest.raises(InputError, match="J1") as caught:
        simulate_night(sources=(Source(name="J1", ra_deg=1.0, dec_deg=2.0),))
    assert caught.value.reason == "no_flux"


@pytest.mark.parametrize("start", ["1960-01-01T00:00:00", "2090-01-01T00:00:00"])
def test_a_time_without_earth_orientation_is_refused(
    simulate_night: SimulateNight, start: str
) -> None:
    with pytest.raises(InputError) as caught:
        simulate_night(start=start)
    assert caught.value.reason == "earth_orientation"


@pytest.mark.parametrize(
    "bad",
    [
        {"n_antennas": 97},
        {"n_groups": 0},
        {"n_groups": 10_001},
        {"start": "9999-12-31T23:59:59"},
        {"start": "0001-01-01T00:00:00+12:00"},
        {"missing": ("sb16",)},
        {"missing": ("5",)},
        {"missing": tuple(f"sb{subband:02d}" for subband in range(16))},
        {"sefd_jy": -1.0},
        {"dec_deg": 91.0},
        {"seed": -1},
        {"dead_antennas": -1},
        {"n_antennas": 4, "dead_antennas": 3},
        {"n_antennas": 2, "rfi": True},
        {"calibrator_jy": 0.0},
        {"calibrator_jy": 1.0, "n_groups": 2, "calibrator_group": 2},
        {"n_groups": 2, "calibrator_group": 1},
    ],
)
def test_options_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SimulationOptions.model_validate({"output_dir": "x", **bad})


def test_progress_counts_all_files(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    options = SimulationOptions(output_dir=tmp_path / "n", n_antennas=2, missing=TWO_SUBBANDS)
    simulate(options, lambda done, total: calls.append((done, total)))
    assert calls == [(0, 2), (1, 2), (2, 2)]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of a given size in bytes."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system takes privileges")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


@pytest.mark.fault
def test_a_night_that_does_not_fit_is_not_begun(
    simulate_night: SimulateNight, tiny_disk: Callable[[int], Path]
) -> None:
    disk = tiny_disk(1_000_000)
    with pytest.raises(TransientError, match="GB free") as caught:
        simulate_night(output_dir=disk / "night")
    assert caught.value.reason == "no_space"
    assert not list(disk.glob("night/*")), "a smaller night may be simulated there"


@pytest.mark.fault
def test_a_full_disk_has_no_room_for_the_truth(
    simulate_night: SimulateNight, tiny_disk: Callable[[int], Path]
) -> None:
    disk = tiny_disk(1_300_000)
    (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))
    night = simulate_night(missing=TWO_SUBBANDS)
    for path in night.files:
        (disk / "night").mkdir(exist_ok=True)
        (disk / "night" / Path(path).name).symlink_to(path)  # nothing else is left to write
    (disk / "night" / "truth.ecsv").symlink_to(night.truth_path)
    with pytest.raises(TransientError, match="cannot write the truth") as caught:
        simulate_night(output_dir=disk / "night", missing=TWO_SUBBANDS)
    assert caught.value.reason == "disk_full"
    assert not (disk / "night" / "sources.ecsv").exists()


@pytest.mark.fault
def test_two_simulations_do_not_write_to_one_place_at_once(
    simulate_night: SimulateNight, tmp_path: Path
) -> None:
    options = {"output_dir": tmp_path / "night", "missing": TWO_SUBBANDS}
    night = simulate_night(**options)
    Path(night.files[0]).unlink()
    with hold_existing(Path(night.truth_path)), pytest.raises(TransientError) as caught:
        simulate_night(**options)
    assert caught.value.reason == "simulation_runs"
    assert not Path(night.files[0]).exists()
    assert simulate_night(**options).written == 1


@pytest.mark.fault
def test_a_disk_that_fills_up_leaves_no_half_file(
    simulate_night: SimulateNight, tiny_disk: Callable[[int], Path]
) -> None:
    # The preflight counts the data alone: 2 x 0.63 MB fit here, with chunk padding they do not.
    disk = tiny_disk(1_300_000)
    with pytest.raises(ContimgError) as caught:
        simulate_night(output_dir=disk / "night", missing=TWO_SUBBANDS)
    assert caught.value.reason == "write_failed"
    assert not list(disk.glob("night/*_incomplete*"))
    for path in disk.glob("night/*.hdf5"):
        with h5py.File(path) as file:
            assert np.isfinite(file["Data/visdata"][()]).all()


@pytest.mark.fault
def test_a_killed_run_leaves_only_whole_files_under_good_names(tmp_path: Path) -> None:
    out = tmp_path / "night"
    code = (
        "from dsa110_contimg.simulation.night import SimulationOptions, simulate;"
        f"simulate(SimulationOptions(output_dir={str(out)!r}, n_antennas=32), workers=2)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ})
    deadline = time.monotonic() + 60
    while not list(out.glob("*_sb??.hdf5")):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    whole = list(out.glob("*_sb??.hdf5"))
    assert 1 <= len(whole) < 16
    sizes = {path.stat().st_size for path in whole}
    night = simulate(SimulationOptions(output_dir=out, n_antennas=32))
    assert night.written == 16 - len(whole)
    assert {Path(path).stat().st_size for path in night.files} == sizes
    assert not list(out.glob("*_incomplete*"))
