"""The command ``adaptive``, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.point_source import TARGET, make_point_source_ms

pytestmark = pytest.mark.casa

COMMAND = Path(sys.executable).with_name("dsa110-contimg")
SOURCE_KEYS = {"name", "ra_deg", "dec_deg", "success", "error", "n_spws", "spws", "detections"}
SPW_KEYS = {"spw_id", "freq_hz", "flux_jy", "rms_jy", "snr", "flagged_fraction"}
DETECTION_KEYS = {"spw_ids", "bin_width", "center_freq_hz", "flux_jy", "rms_jy", "snr"}


@pytest.fixture(scope="module")
def ms(tmp_path_factory) -> Path:
    return make_point_source_ms(tmp_path_factory.mktemp("adaptive"))


def run(cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the console script in a terminal wide enough for whole lines."""
    home = cwd / ".home"
    home.mkdir(exist_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    env |= {
        "COLUMNS": "220",
        "TERM": "dumb",
        "HOME": str(home),
        "DSA110_CONTIMG_WORK_DIR": str(cwd / "work"),
        "DSA110_CONTIMG_SANDBOX_ROOT": str(cwd / "sandboxes"),
    }
    return subprocess.run(
        [COMMAND, "adaptive", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=env,
    )


@pytest.fixture
def position() -> tuple[object, ...]:
    return ("--ra", TARGET.ra_deg, "--dec", TARGET.dec_deg)


@pytest.mark.parametrize(
    "method", [(), ("--photometry", "image"), ("--photometry", "image", "--backend", "ducc0")]
)
def test_json_of_a_position(ms, position, tmp_path, method):
    arguments = (*position, *method, "--output-dir", "out", "--max-spws", 2, "--target-snr", 8)
    done = run(tmp_path, ms, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    [result] = json.loads(done.stdout)
    assert result.keys() >= SOURCE_KEYS
    assert result["name"] == "J083536.00+544800.0"
    assert (result["ra_deg"], result["dec_deg"]) == (TARGET.ra_deg, TARGET.dec_deg)
    assert result["success"] is True
    assert result["error"] is None
    assert result["n_spws"] == 2
    assert [spw["spw_id"] for spw in result["spws"]] == [0, 1]
    for spw in result["spws"]:
        assert spw.keys() >= SPW_KEYS
        assert spw["flux_jy"] == pytest.approx(float(TARGET.flux_at(spw["freq_hz"])), rel=0.02)
    for found in result["detections"]:
        assert found.keys() >= DETECTION_KEYS
        assert found["snr"] > 8
    assert "measured in 2 of 2 windows" in done.stderr
    assert (tmp_path / "out" / result["name"] / "result.json").exists()
    # What is left in the current directory is what was asked for.
    assert {path.name for path in tmp_path.iterdir()} == {".home", "out", "sandboxes"}
    assert not list((tmp_path / ".home").iterdir())

    again = run(tmp_path, ms, *arguments)
    assert again.returncode == 0
    assert again.stdout == ""
    assert "done before" in again.stderr


def test_sources_from_a_file_and_one_of_them_outside(ms, tmp_path):
    catalogue = tmp_path / "sources.csv"
    catalogue.write_text(
        f"name,ra_deg,dec_deg\nfar,10.0,-20.0\ntarget,{TARGET.ra_deg},{TARGET.dec_deg}\n"
    )
    done = run(tmp_path, ms, "--sources", catalogue, "--output-dir", "out", "--spws", "8", "--json")
    assert done.returncode == 1
    far, target = json.loads(done.stdout)
    assert far["success"] is False
    assert "below the horizon of the field" in far["error"]
    assert target["success"] is True
    assert [found["spw_ids"] for found in target["detections"]] == [[8]]
    assert "far: failed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ra", 10), "either --ra and --dec, or --sources"),
        (("--ra", 10, "--dec", 20, "--sources", "a.csv"), "either --ra and --dec, or --sources"),
        ((), "either --ra and --dec, or --sources"),
        (("--ra", 400, "--dec", 20), "ra_deg"),
        (("--ra", "nan", "--dec", 20), "ra_deg"),
        (("--ra", 10, "--dec", "inf"), "dec_deg"),
        (("--ra", 10, "--dec", 20, "--target-snr", "nan"), "target_snr"),
        (("--ra", 10, "--dec", 20, "--name", "x" * 65), "at most 64 letters"),
        (("--ra", 10, "--dec", 20, "--name", "../x"), "name"),
        (("--ra", 10, "--dec", 20, "--spws", "3-x"), "not a selection"),
        (("--ra", 10, "--dec", 20, "--spws", "5-3"), "at least one window"),
        (("--ra", 10, "--dec", 20, "--min-width", 4, "--max-width", 2), "exceeds max_width"),
        (("--ra", 10, "--dec", 20, "--target-snr", 0), "target_snr"),
        (("--ra", 10, "--dec", 20, "--backend", "paint"), "tclean"),
        (("--ra", 10, "--dec", 20, "--photometry", "guess"), "uvfit"),
        (("--ra", 10, "--dec", 20, "--max-workers", 0), "max_workers"),
    ],
)
def test_wrong_usage(tmp_path, arguments, message):
    done = run(tmp_path, "any.ms", "--output-dir", "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_what_cannot_be_read_is_a_failure_with_a_name(tmp_path, position):
    done = run(tmp_path, "absent.ms", *position, "--output-dir", "out", "--json")
    assert done.returncode == 1
    assert "missing_ms" in done.stderr
    assert str(tmp_path / "absent.ms") in done.stderr
    assert done.stdout == ""


def test_help_teaches(tmp_path):
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for word in ("Example", "--serialize-ms-access", "--no-serialize-ms-access", "--target-snr"):
        assert word in done.stdout
