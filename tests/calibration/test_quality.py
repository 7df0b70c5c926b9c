"""How good solutions are, judged from tables that CASA made."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from support.calibrator_transits import Transits

from dsa110_contimg.calibration.models import TableKind, TableQuality
from dsa110_contimg.calibration.quality import QualityLimits, find_faults, measure_quality

pytestmark = pytest.mark.casa

FINE = TableQuality(
    unflagged_fraction=0.97,
    median_snr=140.0,
    phase_scatter_deg=0.6,
    amplitude_scatter=0.01,
    phase_drift_deg=0.5,
)


@pytest.fixture
def judge(transits: Transits, tmp_path: Path):
    """Change a table of the first transit, and judge it."""
    found = transits.sets[transits.before]
    ids = [found.array.index(name) for name in found.antennas]

    def change_and_judge(kind: TableKind, change=lambda _: None) -> TableQuality:
        path = tmp_path / f"{kind}{len(list(tmp_path.iterdir()))}"
        shutil.copytree(Path(found.directory) / kind, path)
        with table(str(path), readonly=False, ack=False) as opened:
            change(opened)
        return measure_quality(path, kind, ids, found.array)

    return change_and_judge


def test_scatter_is_that_of_the_noise(judge):
    rng = np.random.default_rng(2)

    def spoil(opened):
        gains = opened.getcol("CPARAM")
        noise = rng.normal(0.0, 0.05, gains.shape) + 1j * rng.normal(0.0, 0.05, gains.shape)
        opened.putcol("CPARAM", (gains * np.exp(noise)).astype(np.complex64))

    quality = judge(TableKind.BANDPASS, spoil)
    # 5 % each of noise; 16 x 12 x 46 x 2 second differences know it to a few per cent of it.
    assert quality.amplitude_scatter == pytest.approx(0.05, rel=0.05)
    assert np.deg2rad(quality.phase_scatter_deg) == pytest.approx(0.05, rel=0.05)
    assert quality.phase_drift_deg is None


def test_a_smooth_course_is_no_scatter_but_a_run_of_the_phase(judge):
    def run(opened):
        gains, times_s = opened.getcol("CPARAM"), opened.getcol("TIME")
        turn = np.deg2rad(40.0) * (times_s - times_s.min()) / np.ptp(times_s)
        sign = np.where(opened.getcol("ANTENNA1") % 2 == 0, 1.0, -1.0)
        opened.putcol("CPARAM", gains * np.exp(1j * sign * turn)[:, None, None].astype("c8"))

    quality = judge(TableKind.GAIN, run)
    assert quality.phase_drift_deg == pytest.approx(40.0, abs=1.0)
    assert quality.phase_scatter_deg < 0.1
    [fault] = find_faults(TableKind.GAIN, quality, QualityLimits())
    assert fault == (
        "the phases of the gain run by 40 deg, as of a source somewhere else (limit 10)"
    )


def test_what_is_flagged_does_not_count(judge):
    def spoil(opened):
        gains, flags = opened.getcol("CPARAM"), opened.getcol("FLAG")
        gains[:, 5::7] = 1e3
        flags[:, 5::7] = True
        first = opened.getcol("ANTENNA1") == opened.getcol("ANTENNA1")[0]
        flags[first] = True
        opened.putcol("CPARAM", gains)
        opened.putcol("FLAG", flags)

    whole, quality = judge(TableKind.BANDPASS), judge(TableKind.BANDPASS, spoil)
    assert quality.antennas_without == ["1"]
    # Nobody has a solution in the flagged channels: they were not called for; 1 in 12 is missing.
    # A few solutions were flagged before.
    assert quality.unflagged_fraction == pytest.approx(11 / 12, abs=0.005)
    assert quality.amplitude_scatter == pytest.approx(whole.amplitude_scatter, rel=0.1)
    assert quality.median_snr == pytest.approx(whole.median_snr, rel=0.05)


def test_nothing_is_left(judge):
    def flag(opened):
        opened.putcol("FLAG", np.ones_like(opened.getcol("FLAG")))

    quality = judge(TableKind.GAIN, flag)
    assert (quality.unflagged_fraction, quality.median_snr) == (0.0, 0.0)
    assert len(quality.antennas_without) == 12
    assert len(find_faults(TableKind.GAIN, quality, QualityLimits())) == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"unflagged_fraction": 0.79}, "21% of the gain solutions are missing or flagged"),
        ({"median_snr": 9.9}, "the gain has a median SNR of only 9.9 (limit 10)"),
        ({"phase_scatter_deg": 8.1}, "the phases of the gain scatter by 8.1 deg (limit 8)"),
        ({"amplitude_scatter": 0.16}, "the amplitudes of the gain scatter by 16.0% (limit 0.15)"),
        ({"phase_drift_deg": 11.0}, "the phases of the gain run by 11 deg"),
    ],
)
def test_each_fault_has_its_sentence(changes, sentence):
    poor = FINE.model_copy(update=changes)
    [fault] = find_faults(TableKind.GAIN, poor, QualityLimits())
    assert fault.startswith(sentence)


@pytest.mark.parametrize("kind", list(TableKind))
def test_good_solutions_have_none(kind):
    names = ("median_snr", "phase_scatter_deg", "amplitude_scatter")
    few = dict.fromkeys(names, float("nan"))
    assert find_faults(kind, FINE, QualityLimits()) == []
    assert find_faults(kind, FINE.model_copy(update=few), QualityLimits()) == []
