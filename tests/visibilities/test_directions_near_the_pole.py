"""Directions of sources against the UVW that the conversion writes, up to the pole."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import EarthLocation
from pyuvdata.utils.phasing import calc_frame_pos_angle
from support.small_field import Array, make_info

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion import geometry
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import (
    INTEGRATION_TIME_S,
    SITE_ALTITUDE_M,
    SITE_LATITUDE_DEG,
    SITE_LONGITUDE_DEG,
)
from dsa110_contimg.visibilities.directions import (
    frame_turn,
    require_off_pole,
    source_directions,
    uvw_axes,
    uvw_rotation,
)
from dsa110_contimg.visibilities.models import MsInfo

pytestmark = pytest.mark.unit

SITE = EarthLocation.from_geodetic(SITE_LONGITUDE_DEG, SITE_LATITUDE_DEG, SITE_ALTITUDE_M)
N_TIMES = 24
TIMES_JD = 2461065.8 + (np.arange(N_TIMES) + 0.5) * INTEGRATION_TIME_S / 86400.0
POSITIONS_M = np.random.default_rng(5).uniform(-1500.0, 1500.0, (20, 3))
OFFSETS_DEG = ((0.0, 0.0), (1.5, 0.0), (0.0, 1.5), (-1.0, 1.0), (0.4, -1.4))
PATH_TOLERANCE_M = 4e-4
"""Two thousandths of a turn at 1.5 GHz. `directions` leaves out the Sun's deflection and takes one
time for the group: 1e-5 rad at 0.2 deg from the pole, for a source 0.026 rad away on 1500 m."""


def observe(dec_deg: float) -> tuple[geometry.GroupGeometry, MsInfo]:
    group = geometry.group_geometry(TIMES_JD, POSITIONS_M, SITE, np.deg2rad(dec_deg))
    info = make_info(Array(n_times=N_TIMES)).model_copy(
        update={
            "center_ra_deg": float(np.rad2deg(group.center.ra_rad) % 360.0),
            "center_dec_deg": float(np.rad2deg(group.center.dec_rad)),
            "telescope_itrf_m": tuple(SITE.to_value("m").tolist()),
            "start_mjd": float(TIMES_JD[0] - 2400000.5 - INTEGRATION_TIME_S / 2 / 86400.0),
        }
    )
    return group, info


def around(info: MsInfo) -> list[Source]:
    """Place sources on the sphere, also beyond the pole."""
    east, north, center = uvw_axes(info.center_ra_deg, info.center_dec_deg)
    sources = []
    for number, offset in enumerate(np.deg2rad(OFFSETS_DEG)):
        x, y, z = center + offset[0] * east + offset[1] * north
        sources.append(
            Source(
                name=f"s{number}",
                ra_deg=float(np.rad2deg(np.arctan2(y, x)) % 360.0),
                dec_deg=float(np.rad2deg(np.arctan2(z, np.hypot(x, y)))),
            )
        )
    return sources


@pytest.mark.parametrize("dec_deg", [-49.0, 54.57, 85.0, 88.5, 89.5, 89.8])
def test_paths_follow_the_uvw_of_the_conversion(dec_deg):
    group, info = observe(dec_deg)
    sky, lon_rad = geometry.SkyFrame(TIMES_JD, SITE), float(SITE.lon.rad)
    sources = around(info)
    paths_m = group.antenna_uvw_m @ source_directions(sources, info).T
    for number, source in enumerate(sources):
        app_ra, app_dec = sky.apparent(*np.deg2rad([source.ra_deg, source.dec_deg]))
        towards = geometry.rotate_to_uvw(POSITIONS_M, lon_rad, sky.lst_rad - app_ra, app_dec)
        expected_m = towards[:, :, 2] - group.antenna_uvw_m[:, :, 2]
        assert np.abs(paths_m[:, :, number] - expected_m).max() < PATH_TOLERANCE_M
        rotated = group.antenna_uvw_m @ uvw_rotation(info, source).T
        assert np.abs(rotated[:, :, 2] - towards[:, :, 2]).max() < PATH_TOLERANCE_M


@pytest.mark.parametrize("dec_deg", [54.57, 85.0, 88.5, 89.5, 89.8])
def test_the_turn_is_that_of_pyuvdata(dec_deg):
    """From pyuvdata's position angle to the true one, at the phase centre."""
    _, info = observe(dec_deg)
    sky = geometry.SkyFrame(TIMES_JD, SITE)
    app_ra, app_dec = sky.apparent(*np.deg2rad([info.center_ra_deg, info.center_dec_deg]))

    def angle_rad(offset_rad: float) -> float:
        return calc_frame_pos_angle(
            time_array=TIMES_JD,
            app_ra=app_ra,
            app_dec=app_dec,
            telescope_loc=SITE,
            ref_frame="icrs",
            offset_pos=offset_rad,
        )[N_TIMES // 2]

    turn = frame_turn(info)
    found_rad = np.arctan2(turn[0, 1], turn[0, 0])
    expected_rad = angle_rad(1e-6) - angle_rad(np.deg2rad(0.5))
    assert abs(found_rad) == pytest.approx(abs(expected_rad), rel=1e-3, abs=1e-6)


def test_the_pole_itself_is_refused():
    require_off_pole(observe(89.8)[1])
    with pytest.raises(InputError, match="from the pole") as caught:
        require_off_pole(observe(89.95)[1])
    assert caught.value.reason == "too_near_the_pole"
