"""What an MS demands of solutions: time, declination, antennas, windows."""

from __future__ import annotations

from dsa110_contimg.calibration.models import CalibrationNeed, WindowKey
from dsa110_contimg.calibration.snapshot import MsSnapshot
from dsa110_contimg.visibilities.models import MsInfo
from dsa110_contimg.visibilities.ms_info import read_antennas

_SECONDS_PER_DAY = 86400.0


def describe_need(snapshot: MsSnapshot) -> CalibrationNeed:
    """Say what solutions for an MS must match.

    Parameters
    ----------
    snapshot : MsSnapshot
        The MS, which is held.

    Returns
    -------
    CalibrationNeed
        Its time, declination, windows, and the antennas that are not flagged as a whole.
    """
    info = snapshot.info
    names, used = read_antennas(snapshot.path)
    flagged = snapshot.flagging.after.by_antenna if snapshot.flagging is not None else {}
    return CalibrationNeed(
        ms_path=info.ms_path,
        mid_mjd=middle_mjd(info),
        dec_deg=info.center_dec_deg,
        array=names,
        antennas=[names[antenna] for antenna in used if flagged.get(names[antenna], 0.0) < 1.0],
        windows=window_keys(info),
    )


def middle_mjd(info: MsInfo) -> float:
    """Middle of an observation.

    Parameters
    ----------
    info : MsInfo
        The MS.

    Returns
    -------
    float
        MJD (UTC).
    """
    return info.start_mjd + info.duration_s / 2.0 / _SECONDS_PER_DAY


def window_keys(info: MsInfo) -> list[WindowKey]:
    """Describe the windows of an MS whatever their numbers.

    Parameters
    ----------
    info : MsInfo
        The MS.

    Returns
    -------
    list of WindowKey
        In order of id.
    """
    return [
        WindowKey(freq_hz=spw.freq_hz, bandwidth_hz=spw.bandwidth_hz, n_channels=spw.n_channels)
        for spw in info.spws
    ]
