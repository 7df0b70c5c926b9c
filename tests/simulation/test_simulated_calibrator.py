"""The calibrator of a simulated night."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation, HADec, SkyCoord
from astropy.table import Table
from astropy.time import Time

from dsa110_contimg.catalog.sources import Source, read_sources
from dsa110_contimg.instrument import SITE_ALTITUDE_M, SITE_LATITUDE_DEG, SITE_LONGITUDE_DEG
from dsa110_contimg.simulation.night import SimulationResult

pytestmark = pytest.mark.unit

SimulateNight = Callable[..., SimulationResult]
ONLY_SB02 = tuple(f"sb{subband:02d}" for subband in range(16) if subband != 2)


def calibrator_of(night: SimulationResult) -> Source:
    (calibrator,) = read_sources(Path(str(night.calibrators_path)))
    return calibrator


@pytest.mark.parametrize(
    ("group", "start", "dec_deg"),
    [
        (0, "2026-01-25T08:06:19", 54.573),
        (2, "2026-01-25T08:06:19", 54.573),
        (1, "2025-06-03T11:48:51", 16.1),
    ],
)
def test_it_crosses_the_meridian_in_the_middle_of_its_group(
    simulate_night: SimulateNight, group: int, start: str, dec_deg: float
) -> None:
    night = simulate_night(
        n_groups=3,
        n_antennas=2,
        missing=ONLY_SB02,
        start=start,
        dec_deg=dec_deg,
        calibrator_jy=7.5,
        calibrator_group=group,
    )
    calibrator = calibrator_of(night)
    site = EarthLocation.from_geodetic(
        SITE_LONGITUDE_DEG * u.deg, SITE_LATITUDE_DEG * u.deg, SITE_ALTITUDE_M * u.m
    )
    times = Time(night.groups[group].times_jd(), format="jd", scale="utc", location=site)
    seen = SkyCoord(calibrator.ra_deg * u.deg, calibrator.dec_deg * u.deg).transform_to(
        HADec(obstime=times, location=site)
    )
    middle_ha = (seen.ha[11] + seen.ha[12]) / 2
    assert abs(middle_ha.to_value(u.hourangle) * 3600) < 1  # seconds of time
    # Its place is written to 3.6 mas, and drifts in declination by less within the group.
    assert seen.dec[11].deg == pytest.approx(dec_deg + 0.1, abs=0.1 / 3600)


def test_it_is_of_the_sky_and_of_the_truth_but_no_target(simulate_night: SimulateNight) -> None:
    night = simulate_night(n_groups=2, missing=ONLY_SB02, calibrator_jy=7.5)
    without = simulate_night(n_groups=2, missing=ONLY_SB02)
    calibrator = calibrator_of(night)
    assert calibrator.name.startswith("CALJ")
    assert (calibrator.flux_jy, calibrator.spectral_index) == (7.5, -0.5)
    truth = Table.read(night.truth_path)
    rows = truth[truth["name"] == calibrator.name]
    assert list(rows["group"]) == [0, 1]
    assert not any(rows["is_target"])
    assert rows["separation_deg"][0] < rows["separation_deg"][1]
    # 0.1 deg off, and up to 0.37 deg away by the drift: a few percent of a 3.2 deg beam.
    assert rows["apparent_flux_jy"][0] == pytest.approx(7.5, rel=0.03)
    assert calibrator.name not in {s.name for s in read_sources(Path(night.sources_path))}
    assert Path(night.sources_path).read_text() == Path(without.sources_path).read_text()
    others = Table.read(without.truth_path)
    assert set(truth["name"]) - set(others["name"]) == {calibrator.name}
    assert without.calibrators_path is None
    assert not (Path(without.output_dir) / "calibrators.ecsv").exists()


def test_its_catalogue_is_written_again_if_it_was_lost(
    simulate_night: SimulateNight, tmp_path: Path
) -> None:
    options = {"output_dir": tmp_path / "night", "missing": ONLY_SB02, "calibrator_jy": 1.0}
    night = simulate_night(**options)
    before = calibrator_of(night)
    Path(str(night.calibrators_path)).unlink()
    assert calibrator_of(simulate_night(**options)) == before
