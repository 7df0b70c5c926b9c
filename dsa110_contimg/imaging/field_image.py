"""The image of a whole field, as observed and without the sources of its model.

It is made from the cells that the joint fit has in memory, all windows at once: averaging over
cells takes from a source at the edge of the field up to 16 per cent of its peak in the image
as observed. The residual is free of that, for the model allows for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.imaging.beam import Beam, fit_beam
from dsa110_contimg.imaging.field_fits import FieldMaps, FloatImage, make_header, make_wcs
from dsa110_contimg.imaging.field_products import FieldImage, ResidualPeak
from dsa110_contimg.imaging.models import CleanOptions
from dsa110_contimg.imaging.weighting import imaging_weight
from dsa110_contimg.instrument import PRIMARY_BEAM_FWHM_DEG, REFERENCE_FREQ_HZ, SPEED_OF_LIGHT_M_S
from dsa110_contimg.visibilities.cells import Cells
from dsa110_contimg.visibilities.directions import frame_turn, source_directions
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.primary_beam import source_response

if TYPE_CHECKING:
    from astropy.wcs import WCS

FloatArray = npt.NDArray[np.float64]

MAX_SIZE_PX = 2048
_PIXELS_PER_BEAM = 3.0
"""Of the beam's minor axis; the longest baselines, which weigh little, see finer detail."""
_MARGIN = 1.05
"""The image reaches so much farther than its farthest source."""
_ACCURACY = 1e-3
"""Relative error of the gridder."""
_THREADS = 2
_PSF_SIZE_PX = 64
_PSF_SUBSET = 8
"""The beam is that of every eighth cell: they lie as all do."""
_ZOOM, _ZOOM_SIZE_PX = 8, 32
"""A peak is looked at with pixels so many times finer, so many to a side."""


@dataclass(frozen=True)
class _Samples:
    """Visibilities of one or more windows, each a row.

    ``uvw_waves`` are in wavelengths, shape (ncell, 3); ``vis`` are as observed, ``left`` without
    the model; ``weight`` are inverse variances in 1/Jy^2. The last three have shape (ncell,).
    """

    uvw_waves: FloatArray
    vis: npt.NDArray[np.complex64]
    left: npt.NDArray[np.complex64]
    weight: npt.NDArray[np.float32]


class FieldImager:
    """Collects the windows of a field while they are fitted, and images them together.

    Parameters
    ----------
    info : MsInfo
        The MS.
    """

    def __init__(self, info: MsInfo):
        self._info, self._turn = info, frame_turn(info)
        self._windows: list[tuple[SpwInfo, _Samples]] = []

    def add(self, spw: SpwInfo, cells: Cells, left: npt.NDArray[np.complex64]) -> None:
        """Take a window.

        Parameters
        ----------
        spw : SpwInfo
            The window.
        cells : Cells
            Its visibilities.
        left : ndarray of complex64, shape (ncell,)
            The same without the sources of the model.
        """
        arrays = cells.arrays
        used = arrays.weight > 0.0
        weight, left = arrays.weight[used], left[used]
        # Weights of different windows compare once they are inverse variances.
        square = weight * (left.real**2 + left.imag**2)
        variance = np.sum(square, dtype=np.float64) / (2.0 * len(left))
        n_cells = np.diff(arrays.start)
        number = np.arange(len(used)) - np.repeat(arrays.start[:-1], n_cells)
        freq_hz = np.repeat(arrays.freq_hz, n_cells) + number * np.repeat(arrays.step_hz, n_cells)
        uvw_waves = np.repeat(arrays.uvw_m @ self._turn.T, n_cells, axis=0)[used]
        uvw_waves *= (freq_hz[used] / SPEED_OF_LIGHT_M_S)[:, None]
        samples = _Samples(
            uvw_waves, arrays.vis[used], left, (weight / variance).astype(np.float32)
        )
        self._windows.append((spw, samples))

    def make(self, sources: Sequence[Source]) -> FieldMaps:
        """Image all windows together.

        Parameters
        ----------
        sources : sequence of Source
            The model: the image reaches to the farthest of them, or to the half-power point.

        Returns
        -------
        FieldMaps
            The image.

        Raises
        ------
        ScienceQualityError
            If the PSF is no beam.
        """
        # Windows come from several threads; sums must not depend on which was first.
        self._windows.sort(key=lambda window: window[0].spw_id)
        samples = _join([samples for _, samples in self._windows])
        weights = [window.weight.sum(dtype=np.float64) for _, window in self._windows]
        freq_hz = float(np.average([spw.freq_hz for spw, _ in self._windows], weights=weights))
        reach = _reach(sources, self._info, freq_hz)
        samples = _weigh(samples, 2.0 * _MARGIN * reach)
        size_px, cell_rad, beam = _choose_grid(samples, reach)
        observed = _grid(samples, samples.vis, size_px, cell_rad)
        residual = _grid(samples, samples.left, size_px, cell_rad)
        cell_deg = float(np.rad2deg(cell_rad))
        wcs = make_wcs(self._info, freq_hz, size_px, cell_deg)
        header = make_header(wcs, self._info)
        header.update(beam.cards(cell_deg))
        residuals = _Residual(residual, samples, wcs.celestial, self._info, freq_hz)
        model = observed - residual
        about = FieldImage(
            n_windows=len(self._windows),
            freq_hz=freq_hz,
            size_px=size_px,
            cell_arcsec=3600.0 * cell_deg,
            beam_arcsec=(3600.0 * cell_deg * beam.major_px, 3600.0 * cell_deg * beam.minor_px),
            beam_angle_deg=beam.angle_deg,
            noise_jy=residuals.noise_jy,
            **residuals.find_peaks(sources, beam.major_px, model),
        )
        return FieldMaps(observed, residual, header, about)


def _join(windows: Sequence[_Samples]) -> _Samples:
    """Put the visibilities of all windows into one list."""
    return _Samples(
        np.concatenate([window.uvw_waves for window in windows]),
        np.concatenate([window.vis for window in windows]),
        np.concatenate([window.left for window in windows]),
        np.concatenate([window.weight for window in windows]),
    )


def _weigh(samples: _Samples, width_rad: float) -> _Samples:
    """Apply the imaging weights that stamps have as well."""
    weight = imaging_weight(
        samples.weight[:, None],
        samples.uvw_waves[:, :2],
        np.array([SPEED_OF_LIGHT_M_S]),
        options=CleanOptions(),
        width_rad=width_rad,
    )
    return replace(samples, weight=weight[:, 0])


def _narrow_axis_rad(samples: _Samples) -> float:
    """Estimate the minor axis (FWHM) of the synthesized beam from the spread of the baselines."""
    uv = samples.uvw_waves[:, :2]
    mean_square = (uv * samples.weight[:, None]).T @ uv / samples.weight.sum(dtype=np.float64)
    # The Fourier transform of a Gaussian of this spread is a Gaussian of sigma 1 / (2 pi spread).
    spread = np.sqrt(np.linalg.eigvalsh(mean_square)[-1])
    return float(np.sqrt(8.0 * np.log(2.0)) / (2.0 * np.pi * spread))


def _reach(sources: Sequence[Source], info: MsInfo, freq_hz: float) -> float:
    """Largest direction cosine that the image must hold."""
    half_power_deg = PRIMARY_BEAM_FWHM_DEG / 2.0 * REFERENCE_FREQ_HZ / freq_hz
    directions = np.abs((source_directions(sources, info) @ frame_turn(info).T)[:, :2])
    return float(max(np.sin(np.deg2rad(half_power_deg)), directions.max(initial=0.0)))


def _choose_grid(samples: _Samples, reach: float) -> tuple[int, float, Beam]:
    """Choose number and size of the pixels, and fit the synthesized beam in them.

    The number is even and suits the Fourier transform.
    """
    from scipy.fft import next_fast_len

    fine_rad = _narrow_axis_rad(samples) / _PIXELS_PER_BEAM
    beam = _fit_beam(samples, fine_rad)
    cell_rad = max(fine_rad * beam.minor_px / _PIXELS_PER_BEAM, 2.0 * _MARGIN * reach / MAX_SIZE_PX)
    half = int(np.ceil(_MARGIN * reach / cell_rad))
    finer = fine_rad / cell_rad
    in_cells = Beam(beam.major_px * finer, beam.minor_px * finer, beam.angle_deg)
    return min(MAX_SIZE_PX, 2 * int(next_fast_len(half))), cell_rad, in_cells


def _grid(
    samples: _Samples,
    visibility: npt.NDArray[np.complex64],
    size_px: int,
    cell_rad: float,
    center: tuple[float, float] = (0.0, 0.0),
) -> FloatImage:
    """Make the weighted mean of the visibilities in every direction around a centre (l, m)."""
    from ducc0.wgridder import vis2dirty

    # V = S exp(+2 pi i (u l + v m + w (n - 1))) for CASA; ducc0 has -w. Without flip_u, the x
    # axis would be +l.
    dirty = vis2dirty(
        uvw=samples.uvw_waves,
        freq=np.array([SPEED_OF_LIGHT_M_S]),  # uvw in wavelengths
        vis=visibility.conj()[:, None],
        wgt=samples.weight[:, None],
        npix_x=size_px,
        npix_y=size_px,
        pixsize_x=cell_rad,
        pixsize_y=cell_rad,
        center_x=center[0],
        center_y=center[1],
        epsilon=_ACCURACY,
        do_wgridding=True,
        nthreads=_THREADS,
        flip_u=True,
        flip_w=True,
        divide_by_n=False,
    )
    total = samples.weight.sum(dtype=np.float64)
    return np.ascontiguousarray(dirty.T / total, dtype=np.float32)


def _fit_beam(samples: _Samples, cell_rad: float) -> Beam:
    """Fit the synthesized beam."""
    some = _Samples(*(values[::_PSF_SUBSET] for values in vars(samples).values()))
    return fit_beam(_grid(some, np.ones_like(some.vis), _PSF_SIZE_PX, cell_rad))


class _Residual:
    """What the model leaves, and how bright it is where."""

    def __init__(
        self, image: FloatImage, samples: _Samples, wcs: WCS, info: MsInfo, freq_hz: float
    ):
        from astropy.stats import mad_std

        self._image, self._samples, self._wcs = image, samples, wcs
        self._info, self._freq_hz = info, freq_hz
        sample = image[::2, ::2]
        # The few pixels of what the model lacks do not move a median.
        self.noise_jy = float(mad_std(sample))
        if not self.noise_jy > 0.0:
            raise ScienceQualityError("the residual image has no noise", reason="no_noise")

    def find_peaks(
        self, sources: Sequence[Source], beam_px: float, model: FloatImage
    ) -> dict[str, Any]:
        """Find the brightest place away from the sources, and the strongest one at a source."""
        positions = [(source.ra_deg, source.dec_deg) for source in sources]
        pixels = self._wcs.wcs_world2pix(positions, 0) if positions else np.empty((0, 2))
        near = _mark_discs(self._image.shape, pixels, beam_px)
        peak = self._peak(np.where(near, -np.inf, self._image), 1.0)
        if not near.any():
            return {"peak": peak, "peak_at_source": None}
        strength = np.where(near, np.abs(self._image), -np.inf)
        y, x = np.unravel_index(int(np.argmax(strength)), strength.shape)
        nearest = int(np.argmin(np.hypot(pixels[:, 0] - x, pixels[:, 1] - y)))
        sign = 1.0 if self._image[y, x] > 0.0 else -1.0
        at_source = self._peak(strength, sign)
        column, row = np.rint(pixels[nearest]).astype(int)
        named = at_source.model_copy(
            update={"source": sources[nearest].name, "source_jy": float(model[row, column])}
        )
        return {"peak": peak, "peak_at_source": named}

    def _peak(self, strength: FloatImage, sign: float) -> ResidualPeak:
        """Describe the place where `strength` is greatest."""
        y, x = (int(k) for k in np.unravel_index(int(np.argmax(strength)), strength.shape))
        x_px, y_px, height_jy = self._zoom(x, y, sign)
        ra_deg, dec_deg = (float(k) for k in self._wcs.wcs_pix2world(x_px, y_px, 0))
        place = Source(name="peak", ra_deg=ra_deg % 360.0, dec_deg=dec_deg)
        return ResidualPeak(
            ra_deg=place.ra_deg,
            dec_deg=dec_deg,
            peak_jy=sign * height_jy,
            snr=sign * height_jy / self.noise_jy,
            response=source_response(place, self._info, self._freq_hz),
        )

    def _zoom(self, x: int, y: int, sign: float) -> tuple[float, float, float]:
        """Find the summit between the pixels: its position, in these pixels, and its height."""
        cell_rad = np.deg2rad(self._wcs.wcs.cdelt[1])
        reference_x, reference_y = self._wcs.wcs.crpix - 1.0
        center = (-(x - reference_x) * cell_rad, (y - reference_y) * cell_rad)
        fine = sign * _grid(
            self._samples, self._samples.left, _ZOOM_SIZE_PX, cell_rad / _ZOOM, center
        )
        row, column = np.unravel_index(int(np.argmax(fine)), fine.shape)
        half = _ZOOM_SIZE_PX // 2
        return x + (column - half) / _ZOOM, y + (row - half) / _ZOOM, float(fine[row, column])


def _mark_discs(
    shape: tuple[int, ...], pixels: FloatArray, radius_px: float
) -> npt.NDArray[np.bool_]:
    """Mark the pixels within a radius of some positions."""
    marked = np.zeros(shape, bool)
    for x, y in pixels:
        low_x, low_y = (max(0, int(k - radius_px)) for k in (x, y))
        box = marked[low_y : int(y + radius_px) + 2, low_x : int(x + radius_px) + 2]
        rows, columns = np.indices(box.shape)
        box |= np.hypot(columns + low_x - x, rows + low_y - y) <= radius_px
    return marked
