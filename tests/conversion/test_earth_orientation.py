"""The Earth orientation tables that are installed serve offline, whatever their age."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import EarthLocation
from astropy.time import Time, core, update_leap_seconds
from astropy.utils import iers

from dsa110_contimg import instrument
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.geometry import SkyFrame
from dsa110_contimg.errors import InputError
from dsa110_contimg.visibilities.directions import source_directions
from dsa110_contimg.visibilities.models import MsInfo

pytestmark = pytest.mark.unit

SITE = EarthLocation.from_geodetic(
    instrument.SITE_LONGITUDE_DEG * units.deg, instrument.SITE_LATITUDE_DEG * units.deg
)
MJD_JD = 2400000.5
INFO = MsInfo.model_construct(
    start_mjd=61065.3,
    duration_s=309.0,
    center_ra_deg=124.0,
    center_dec_deg=54.5,
    telescope_itrf_m=(-2409150.0, -4478573.0, 3838617.0),
)
MIDDLE = Source(name="middle", ra_deg=INFO.center_ra_deg, dec_deg=INFO.center_dec_deg)
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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a young process asks the network for, long after its leap seconds have expired."""
    addresses: list[str] = []

    def refuse(_: Any, request: Any, *__: Any, **___: Any) -> None:
        addresses.append(getattr(request, "full_url", request))
        raise OSError("there is no network")

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
    late = Time("2040-01-01")
    monkeypatch.setattr(iers.LeapSeconds, "_today", classmethod(lambda _: late))
    monkeypatch.setattr(core, "_LEAP_SECONDS_CHECK", core._LeapSecondsCheck.NOT_STARTED)
    monkeypatch.setattr(iers.conf, "auto_download", True)
    return addresses


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "work",
    [
        lambda: SkyFrame(np.array([INFO.start_mjd + MJD_JD]), SITE),
        lambda: source_directions([MIDDLE], INFO),
    ],
    ids=["conversion", "fit"],
)
def test_nobody_asks_the_network_for_leap_seconds(
    asked: list[str], work: Callable[[], object]
) -> None:
    """In each process it would ask two servers, for 10 s each where packets are swallowed."""
    work()
    assert core._LEAP_SECONDS_CHECK is core._LeapSecondsCheck.DONE
    assert asked == []
    update_leap_seconds()
    assert asked != [], "so astropy itself would"
