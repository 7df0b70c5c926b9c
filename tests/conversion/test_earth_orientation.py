"""The Earth orientation tables that are installed serve offline, whatever their age."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import EarthLocation
from astropy.time import Time
from astropy.utils import iers

from dsa110_contimg import instrument
from dsa110_contimg.conversion.geometry import SkyFrame
from dsa110_contimg.errors import InputError

pytestmark = pytest.mark.unit

SITE = EarthLocation.from_geodetic(
    instrument.SITE_LONGITUDE_DEG * units.deg, instrument.SITE_LATITUDE_DEG * units.deg
)
MJD_JD = 2400000.5
WARM_UP_LATE = """
from astropy.time import Time
late = Time("2040-01-01")
Time.now = classmethod(lambda cls: late)
from dsa110_contimg.conversion.warmup import warm_up
warm_up()
"""


@pytest.fixture
def first_prediction(monkeypatch: pytest.MonkeyPatch) -> float:
    """First MJD that the installed table predicts, half a year ago."""
    first = float(iers.IERS_Auto.open().meta["predictive_mjd"])
    late = Time(first + 180, format="mjd")
    monkeypatch.setattr(Time, "now", classmethod(lambda _: late))
    return first


def test_an_old_table_serves_its_predictions(first_prediction: float) -> None:
    """As the table of IERS-A says, which astropy does not ask for its age."""
    times_jd = np.array([first_prediction + MJD_JD + 100.25])
    with pytest.raises(ValueError, match=r"more\s+than 30.0 days old"):
        _ = Time(times_jd, format="jd", scale="utc", location=SITE).delta_ut1_utc
    with iers.earth_orientation_table.set(iers.IERS_A.open(iers.IERS_A_FILE)):
        times = Time(times_jd, format="jd", scale="utc", location=SITE)
        expected = times.sidereal_time("apparent").rad
    assert SkyFrame(times_jd, SITE).lst_rad == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("years", [-60, 3])
def test_times_beyond_the_table_are_refused(first_prediction: float, years: int) -> None:
    """What astropy would take then is the last value of the table, without a word."""
    times_jd = np.array([first_prediction + MJD_JD + 365.25 * years])
    with pytest.raises(InputError, match="upgrade the package astropy-iers-data") as refusal:
        SkyFrame(times_jd, SITE)
    assert refusal.value.reason == "earth_orientation"


def test_conversions_begin_with_a_table_of_any_age() -> None:
    """Nights of long ago are converted years after the last upgrade."""
    command = [sys.executable, "-P", "-c", WARM_UP_LATE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
