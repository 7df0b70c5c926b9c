"""Windows of a small array in memory, and what sources give in them, by plain numpy.

Fringes, averaging and the primary beam's path are written out anew. The beam's shape is the
instrument's, and the sources' directions are those of `visibilities.directions`, which are
compared with textbooks (tests of it) and with the simulator (tests of whole measurements).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.instrument import (
    CHANNEL_WIDTH_HZ,
    INTEGRATION_TIME_S,
    SPEED_OF_LIGHT_M_S,
    primary_beam_attenuation,
)
from dsa110_contimg.visibilities.directions import source_directions
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.window import Window

RA_DEG, DEC_DEG = 128.7, 54.6
"""Phase centre."""
SIDEREAL_RAD_S = 2 * np.pi / 86164.0905
_N_CHANNELS = 48
_FIRST_HZ = 1.31e9

ComplexArray = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class Array:
    """An array and its noise.

    Attributes
    ----------
    n_antennas : int
        Scattered over a square of `size_m`, with autocorrelations.
    n_times : int
        Integrations.
    noise_jy : float
        Of the real part of a visibility of weight one, of one polarization.
    n_corr : int
        Correlations; the parallel hands are the first and the last.
    """

    n_antennas: int = 10
    size_m: float = 1800.0
    n_times: int = 24
    noise_jy: float = 0.2
    n_corr: int = 2
    seed: int = 1


def position(name: str, east_deg: float, north_deg: float, **values: float) -> Source:
    """Name a source by its offset from the phase centre."""
    dec_deg = DEC_DEG + north_deg
    ra_deg = RA_DEG + east_deg / np.cos(np.deg2rad(dec_deg))
    return Source(name=name, ra_deg=ra_deg, dec_deg=dec_deg, **values)


def make_info(array: Array, n_spws: int = 1) -> MsInfo:
    """Make what an MS of such an array would say of itself."""
    width_hz = _N_CHANNELS * CHANNEL_WIDTH_HZ
    return MsInfo(
        ms_path="in memory",
        telescope="OVRO_MMA",
        telescope_itrf_m=(0.0, 0.0, 0.0),
        spws=[
            SpwInfo(
                spw_id=spw_id,
                data_desc_id=spw_id,
                freq_hz=_FIRST_HZ + (spw_id + 0.5) * width_hz - 0.5 * CHANNEL_WIDTH_HZ,
                bandwidth_hz=width_hz,
                n_channels=_N_CHANNELS,
            )
            for spw_id in range(n_spws)
        ],
        center_ra_deg=RA_DEG,
        center_dec_deg=DEC_DEG,
        frame="ICRS",
        start_mjd=61065.0,
        duration_s=array.n_times * INTEGRATION_TIME_S,
        integration_time_s=INTEGRATION_TIME_S,
        data_column="DATA",
        n_rows=0,
    )


def observe(
    array: Array,
    sources: Sequence[Source] = (),
    *,
    spw_id: int = 0,
    seed: int | None = None,
) -> Window:
    """Observe sources of known flux density; seeds differ in their noise only."""
    info = make_info(array, spw_id + 1)
    window = _empty_window(array, info.spws[spw_id])
    rng = np.random.default_rng([array.seed if seed is None else seed, spw_id])
    noise = rng.normal(size=(*window.data.shape, 2)) @ [1.0, 1.0j]
    data = array.noise_jy * noise / np.sqrt(window.weight)
    if sources:
        flux_jy = np.array([source.flux_at(window.freqs_hz) for source in sources])
        # The cross hands of an unpolarized sky hold noise alone.
        for hand in {0, array.n_corr - 1}:
            data[:, :, hand] += np.einsum(
                "rcs,sc->rc", unit_visibilities(window, info, sources, chromatic=True), flux_jy
            )
    cross = window.antenna1 != window.antenna2
    window.weight[~cross] = 0.0
    window.data[:] = np.where(window.weight > 0.0, data, 0.0)
    return window


def unit_visibilities(
    window: Window, info: MsInfo, sources: Sequence[Source], *, chromatic: bool = False
) -> ComplexArray:
    """Visibilities of sources of 1 Jy, shape (nrow, nchan, nsource).

    ``chromatic``: the beam of each channel, as on the sky; else that of the window's centre, as
    the pipeline has it.
    """
    freqs_hz = window.freqs_hz
    beam_hz = freqs_hz if chromatic else np.full(len(freqs_hz), window.spw.freq_hz)
    middle_s = 86400.0 * info.start_mjd + info.duration_s / 2
    vis = np.empty((*window.data.shape[:2], len(sources)), np.complex128)
    for number, source in enumerate(sources):
        path_m = window.uvw_m @ source_directions([source], info)[0]
        turns = path_m[:, None] * freqs_hz / SPEED_OF_LIGHT_M_S
        apart_deg = _separation_deg(source, window.time_mjd_s - middle_s)
        beam = primary_beam_attenuation(apart_deg[:, None], beam_hz)
        vis[:, :, number] = beam * np.exp(2j * np.pi * turns)
    return vis


def stokes_i(window: Window) -> tuple[ComplexArray, npt.NDArray[np.float64]]:
    """Weighted mean of the parallel hands and its weight, shape (nrow, nchan)."""
    hands = sorted({0, window.data.shape[2] - 1})
    weight = window.weight[:, :, hands].astype(float)
    total = (window.data[:, :, hands] * weight).sum(axis=2)
    weight = weight.sum(axis=2)
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0), weight


def fit_in_full(
    window: Window, info: MsInfo, sources: Sequence[Source], noise_jy: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fit every visibility by `numpy.linalg.lstsq`; flux densities and their covariance."""
    vis, weight = stokes_i(window)
    root = np.sqrt(weight).ravel()
    design = unit_visibilities(window, info, sources).reshape(len(root), -1) * root[:, None]
    data = vis.ravel() * root
    stacked = np.concatenate([design.real, design.imag])
    flux_jy = np.linalg.lstsq(stacked, np.concatenate([data.real, data.imag]), rcond=None)[0]
    return flux_jy, noise_jy**2 * np.linalg.inv(stacked.T @ stacked)


def _empty_window(array: Array, spw: SpwInfo) -> Window:
    """Lay out the rows of an observation, time by time, with weights that differ."""
    rng = np.random.default_rng(array.seed)
    # East, north, up; the ground is flat to a few metres.
    local_m = rng.uniform(-0.5, 0.5, (array.n_antennas, 3)) * [array.size_m, array.size_m, 10.0]
    pairs = [(a, b) for a in range(array.n_antennas) for b in range(a, array.n_antennas)]
    first, second = np.array(pairs).T
    time_s = (np.arange(array.n_times) + 0.5) * INTEGRATION_TIME_S
    hour_angle = SIDEREAL_RAD_S * (time_s - time_s.mean())
    uvw_m = np.concatenate([(local_m[second] - local_m[first]) @ _axes(h).T for h in hour_angle])
    n_rows = len(uvw_m)
    weight = np.tile(rng.uniform(0.5, 2.0, (len(pairs), 1, array.n_corr)), (array.n_times, 1, 1))
    shape = (n_rows, _N_CHANNELS, array.n_corr)
    start_s = 61065.0 * 86400.0
    return Window(
        spw=spw,
        freqs_hz=spw.freq_hz + (np.arange(_N_CHANNELS) - (_N_CHANNELS - 1) / 2) * CHANNEL_WIDTH_HZ,
        widths_hz=np.full(_N_CHANNELS, CHANNEL_WIDTH_HZ),
        time_mjd_s=start_s + np.repeat(time_s, len(pairs)),
        interval_s=np.full(n_rows, INTEGRATION_TIME_S),
        antenna1=np.tile(first, array.n_times).astype(np.int32),
        antenna2=np.tile(second, array.n_times).astype(np.int32),
        uvw_m=uvw_m,
        data=np.zeros(shape, np.complex64),
        weight=np.broadcast_to(weight, shape).astype(np.float32),
    )


def _axes(hour_angle: float) -> npt.NDArray[np.float64]:
    """u, v and w of east, north and up at latitude 37.2 deg (TMS, equations 4.1 and 4.4)."""
    lat, dec = np.deg2rad(37.2), np.deg2rad(DEC_DEG)
    equatorial = np.array(
        [[0.0, -np.sin(lat), np.cos(lat)], [1.0, 0.0, 0.0], [0.0, np.cos(lat), np.sin(lat)]]
    )
    sin_h, cos_h, sin_d, cos_d = np.sin(hour_angle), np.cos(hour_angle), np.sin(dec), np.cos(dec)
    return (
        np.array(
            [
                [sin_h, cos_h, 0.0],
                [-sin_d * cos_h, sin_d * sin_h, cos_d],
                [cos_d * cos_h, -cos_d * sin_h, sin_d],
            ]
        )
        @ equatorial
    )


def _separation_deg(source: Source, offset_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Angle from the pointing, which runs east over the sky as the earth turns."""
    ra, dec, dec0 = np.deg2rad([source.ra_deg, source.dec_deg, DEC_DEG])
    delta_ra = ra - np.deg2rad(RA_DEG) - SIDEREAL_RAD_S * offset_s
    cosine = np.sin(dec) * np.sin(dec0) + np.cos(dec) * np.cos(dec0) * np.cos(delta_ra)
    return np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0)))
