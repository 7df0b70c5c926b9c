"""The primary beam over a stamp: CASA does not know this telescope's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import (
    N_TIMES,
    drift_primary_beam_attenuation,
    drift_separation_deg,
    primary_beam_attenuation,
)
from dsa110_contimg.visibilities.models import MsInfo

if TYPE_CHECKING:
    from astropy.wcs import WCS

MIN_RESPONSE = 0.1
"""Contour of the primary beam beyond which nothing is measured."""

_HORIZON_DEG = 90.0
"""Nothing so far from the phase centre is in front of a dish."""
_BATCH = 10_000
"""Sources whose course through the beam is worked out at once, in some 10 MB."""
_NODES = 9
"""The response is smooth over a stamp: it is worked out on this many nodes a side (error below
1e-5 for a stamp of half a degree) and interpolated."""


def source_response(source: Source, info: MsInfo, freq_hz: float) -> float:
    """Mean response of the primary beam to a source during an observation.

    Parameters
    ----------
    source : Source
        The source.
    info : MsInfo
        The observation.
    freq_hz : float
        Frequency in Hz.

    Returns
    -------
    float
        Response in [0, 1].
    """
    return _response(source.ra_deg, source.dec_deg, info, freq_hz)


def mean_responses(
    sources: Sequence[Source], info: MsInfo, freq_hz: float
) -> npt.NDArray[np.float64]:
    """Mean response of the primary beam to many sources during an observation.

    Parameters
    ----------
    sources : sequence of Source
        The sources.
    info : MsInfo
        The observation.
    freq_hz : float
        Frequency in Hz.

    Returns
    -------
    ndarray of float64, shape (nsource,)
        Response in [0, 1], as `source_response` gives it for one.
    """
    offset_s = ((np.arange(N_TIMES) + 0.5) / N_TIMES - 0.5) * info.duration_s
    responses = [
        primary_beam_attenuation(
            drift_separation_deg(
                np.array([source.ra_deg for source in some]),
                np.array([source.dec_deg for source in some]),
                center_ra_deg=info.center_ra_deg,
                center_dec_deg=info.center_dec_deg,
                offset_s=offset_s,
            ),
            freq_hz,
        ).mean(axis=0)
        for some in (sources[n : n + _BATCH] for n in range(0, len(sources), _BATCH))
    ]
    return np.concatenate(responses) if responses else np.zeros(0)


def select_in_field(sources: Sequence[Source], info: MsInfo) -> list[Source]:
    """Select the sources that the primary beam reaches, as `check_in_field` judges one.

    Parameters
    ----------
    sources : sequence of Source
        A catalogue.
    info : MsInfo
        The observation.

    Returns
    -------
    list of Source
        Those within the contour `MIN_RESPONSE` at the mean frequency.
    """
    reached = mean_responses(sources, info, _mean_freq_hz(info)) >= MIN_RESPONSE
    return list(compress(sources, reached))


def drift_response(
    sources: Sequence[Source], info: MsInfo, freq_hz: float, offset_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Response of the primary beam to sources as they drift through it.

    Parameters
    ----------
    sources : sequence of Source
        The sources.
    info : MsInfo
        The observation.
    freq_hz : float
        Frequency in Hz.
    offset_s : ndarray of float64, shape (ntime,)
        Times since the middle of the observation in seconds.

    Returns
    -------
    ndarray of float32, shape (ntime, nsource)
        Response in [0, 1].
    """
    separation_deg = drift_separation_deg(
        np.array([source.ra_deg for source in sources]),
        np.array([source.dec_deg for source in sources]),
        center_ra_deg=info.center_ra_deg,
        center_dec_deg=info.center_dec_deg,
        offset_s=offset_s,
    )
    return primary_beam_attenuation(separation_deg, freq_hz).astype(np.float32)


def check_in_field(source: Source, info: MsInfo) -> None:
    """Refuse a source that the primary beam does not reach.

    Parameters
    ----------
    source : Source
        The source.
    info : MsInfo
        The observation.

    Raises
    ------
    InputError
        If the response at the mean frequency is below `MIN_RESPONSE`.
    """
    response = source_response(source, info, _mean_freq_hz(info))
    if response >= MIN_RESPONSE:
        return
    [[apart_deg]] = drift_separation_deg(
        np.array([source.ra_deg]),
        np.array([source.dec_deg]),
        center_ra_deg=info.center_ra_deg,
        center_dec_deg=info.center_dec_deg,
        offset_s=np.zeros(1),
    )
    where = (
        f"is below the horizon of the field, {apart_deg:.0f} deg from"
        if apart_deg > _HORIZON_DEG
        else f"lies outside the {MIN_RESPONSE:.0%} contour of the primary beam (response "
        f"{response:.2g}), {apart_deg:.2f} deg from"
    )
    raise InputError(
        f"{source.name} at RA {source.ra_deg:.4f}, Dec {source.dec_deg:.4f} deg {where} "
        f"the phase centre at RA {info.center_ra_deg:.4f}, Dec {info.center_dec_deg:.4f} deg of "
        f"{info.ms_path}",
        reason="outside_primary_beam",
        remedy="measure it in the MS in which it transits",
    )


def _mean_freq_hz(info: MsInfo) -> float:
    """Frequency at which is judged what the beam reaches."""
    return float(np.mean([spw.freq_hz for spw in info.spws]))


def stamp_response(
    wcs: WCS, shape: tuple[int, int], info: MsInfo, freq_hz: float
) -> npt.NDArray[np.float64]:
    """Mean response of the primary beam in every pixel of a stamp.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Celestial coordinates of the stamp.
    shape : tuple of int
        ``(ny, nx)`` of the stamp.
    info : MsInfo
        The observation.
    freq_hz : float
        Frequency in Hz.

    Returns
    -------
    ndarray of float64, shape (ny, nx)
        Response in [0, 1].
    """
    from scipy.interpolate import RectBivariateSpline

    y, x = (np.linspace(0.0, size - 1.0, _NODES) for size in shape)
    ra_deg, dec_deg = wcs.wcs_pix2world(*np.meshgrid(x, y), 0)
    response = [
        _response(float(ra), float(dec), info, freq_hz)
        for ra, dec in zip(ra_deg.flat, dec_deg.flat, strict=True)
    ]
    spline = RectBivariateSpline(y, x, np.reshape(response, (_NODES, _NODES)))
    return np.asarray(spline(np.arange(shape[0]), np.arange(shape[1])), dtype=np.float64)


def _response(ra_deg: float, dec_deg: float, info: MsInfo, freq_hz: float) -> float:
    """Evaluate the instrument's model at one position."""
    response = drift_primary_beam_attenuation(
        ra_deg,
        dec_deg,
        center_ra_deg=info.center_ra_deg,
        center_dec_deg=info.center_dec_deg,
        duration_s=info.duration_s,
        freq_hz=freq_hz,
    )
    return float(response[0])
