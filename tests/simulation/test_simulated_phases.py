"""The phase state of simulated data, with pyuvdata as the oracle."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyuvdata import UVData
from support.pyuvdata_oracle import phase_to, read_on_meridian

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.instrument import primary_beam_attenuation
from dsa110_contimg.simulation.night import SimulationResult

pytestmark = pytest.mark.unit

CENTER_DEG = (128.08, 54.665)
"""Close to the meridian of the default group's mid time."""
ONLY_SB07 = tuple(f"sb{subband:02d}" for subband in range(16) if subband != 7)

OFFSETS_DEG = [(0.3, 0.0), (-0.2, 0.22), (1.0, 0.0), (0.0, -1.0), (-0.7, 0.7)]
"""East and north."""

PHASE_TOLERANCE_RAD = 1e-4
"""0.3 mas on the longest baseline (2.6 km at 1.4 GHz). The simulator takes the Earth's
orientation from IERS-A, astropy, and so pyuvdata, from IERS-B where it can: they differ by up to
15 us and 0.06 mas. Diurnal aberration (0.3 arcsec, 0.1 rad) or a millisecond (6e-3 rad) shows."""
AMPLITUDE_TOLERANCE = 1e-5
MOST_FLUX_LEFT_BY_A_WRONG_PHASE = 0.5
"""Only the shortest baselines survive a wrong phase state."""


def source_at(east_deg: float, north_deg: float) -> Source:
    dec_deg = CENTER_DEG[1] + north_deg
    ra_deg = CENTER_DEG[0] + east_deg / np.cos(np.deg2rad(dec_deg))
    return Source(name="s", ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=2.0, spectral_index=-0.7)


def observe(
    simulate_night: Callable[..., SimulationResult], source: Source, **options: object
) -> Path:
    """One noise-free subband of ten antennas with long baselines."""
    night = simulate_night(
        n_antennas=10, sefd_jy=0.0, sources=(source,), missing=ONLY_SB07, **options
    )
    return Path(night.files[0])


def apparent_flux_jy(uvd: UVData, source: Source) -> np.ndarray:
    """Flux through the beam, which points where the sidereal time is; shape (nblts, nfreq)."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord, angular_separation
    from pyuvdata.utils.phasing import calc_app_coords

    where = SkyCoord(source.ra_deg * u.deg, source.dec_deg * u.deg)
    app_ra, app_dec = calc_app_coords(
        lon_coord=where.ra.rad,
        lat_coord=where.dec.rad,
        coord_frame="icrs",
        time_array=uvd.time_array,
        lst_array=uvd.lst_array,
        telescope_loc=uvd.telescope.location,
    )
    pointing_dec = uvd.extra_keywords["phase_center_dec"]
    separation = angular_separation(uvd.lst_array, pointing_dec, app_ra, app_dec)
    beam = primary_beam_attenuation(np.rad2deg(separation)[:, None], uvd.freq_array[None, :])
    return source.flux_at(uvd.freq_array) * beam


def assert_flat_towards(uvd: UVData, source: Source) -> None:
    """Every visibility of every integration, once phased to the source, is its apparent flux."""
    phase_to(uvd, np.deg2rad(source.ra_deg), np.deg2rad(source.dec_deg))
    relative = uvd.data_array / apparent_flux_jy(uvd, source)[..., None]
    assert relative.shape == (24 * 55, 48, 2)
    assert np.abs(np.angle(relative)).max() < PHASE_TOLERANCE_RAD
    assert np.abs(np.abs(relative) - 1).max() < AMPLITUDE_TOLERANCE


@pytest.mark.parametrize("offset_deg", OFFSETS_DEG)
def test_phased_to_the_source_every_visibility_is_its_apparent_flux(
    simulate_night: Callable[..., SimulationResult], offset_deg: tuple[float, float]
) -> None:
    source = source_at(*offset_deg)
    assert_flat_towards(read_on_meridian(observe(simulate_night, source)), source)


@pytest.mark.parametrize(
    ("start", "dec_deg", "ra_deg"),
    [
        ("2026-01-25T08:06:19", 16.0, 128.6),  # south of the zenith
        ("2026-01-25T08:06:19", 71.6, 127.9),
        ("2025-10-03T11:48:51", 54.573, 71.5),  # a real observation
        ("2022-06-21T03:00:00", 37.3, 196.0),  # near the zenith
    ],
)
def test_the_phases_hold_at_other_times_and_declinations(
    simulate_night: Callable[..., SimulationResult], start: str, dec_deg: float, ra_deg: float
) -> None:
    source = Source(name="s", ra_deg=ra_deg, dec_deg=dec_deg + 0.2, flux_jy=1.0)
    path = observe(simulate_night, source, start=start, dec_deg=dec_deg)
    uvd = read_on_meridian(path)
    assert apparent_flux_jy(uvd, source).max() > 0.5
    assert_flat_towards(uvd, source)


def test_the_header_uvw_is_what_pyuvdata_computes_for_the_meridian(
    simulate_night: Callable[..., SimulationResult],
) -> None:
    path = observe(simulate_night, source_at(0.3, 0.0))
    as_written = UVData()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        as_written.read_uvh5(str(path), run_check=False)
    # float32 resolves 1.2e-4 m at 2 km.
    np.testing.assert_allclose(read_on_meridian(path).uvw_array, as_written.uvw_array, atol=2e-4)


def test_taking_the_data_as_unprojected_is_wrong(
    simulate_night: Callable[..., SimulationResult],
) -> None:
    """The trap: ``phase_type="drift"`` makes pyuvdata count the fringes a second time."""
    source = source_at(0.3, 0.0)
    uvd = UVData()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uvd.read_uvh5(str(observe(simulate_night, source)), run_check=False)
    uvd.uvw_array = uvd.uvw_array.astype(np.float64)
    phase_to(uvd, np.deg2rad(source.ra_deg), np.deg2rad(source.dec_deg))
    cross = uvd.ant_1_array != uvd.ant_2_array
    mean = uvd.data_array[cross].mean() / apparent_flux_jy(uvd, source)[cross].mean()
    assert abs(mean) < MOST_FLUX_LEFT_BY_A_WRONG_PHASE


def test_relabelling_without_rotating_is_wrong(
    simulate_night: Callable[..., SimulationResult],
) -> None:
    """The other trap: the right ascension of the data runs on by 1.29 deg within a group."""
    source = source_at(0.0, 0.0)
    uvd = read_on_meridian(observe(simulate_night, source))
    cross = uvd.ant_1_array != uvd.ant_2_array
    mean = uvd.data_array[cross].mean() / apparent_flux_jy(uvd, source)[cross].mean()
    assert abs(mean) < MOST_FLUX_LEFT_BY_A_WRONG_PHASE
