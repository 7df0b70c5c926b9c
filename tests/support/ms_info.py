"""What a Measurement Set would say of itself, without one."""

from __future__ import annotations

from datetime import datetime

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.calibration.transits import to_mjd
from dsa110_contimg.instrument import GROUP_DURATION_S
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo


def ms_info(start: datetime, dec_deg: float) -> MsInfo:
    """What the MS of a group says that starts then, at a declination of date."""
    start_mjd = to_mjd(start)
    mid_jd = start_mjd + GROUP_DURATION_S / 2 / 86400 + 2400000.5
    center_ra_deg, center_dec_deg = meridian_icrs_deg(dec_deg, mid_jd)
    spw = SpwInfo(spw_id=0, data_desc_id=0, freq_hz=1.4e9, bandwidth_hz=1e7, n_channels=48)
    return MsInfo(
        ms_path="/data/group.ms",
        telescope="OVRO_MMA",
        telescope_itrf_m=(0.0, 0.0, 0.0),
        spws=[spw],
        center_ra_deg=center_ra_deg,
        center_dec_deg=center_dec_deg,
        frame="ICRS",
        start_mjd=start_mjd,
        duration_s=GROUP_DURATION_S,
        integration_time_s=12.88,
        data_column="DATA",
        n_rows=1,
    )
