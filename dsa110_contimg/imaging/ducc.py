"""Image windows that are in memory with ducc0's gridder; nothing is deconvolved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.imaging.beam import fit_beam
from dsa110_contimg.imaging.models import CleanOptions
from dsa110_contimg.imaging.stamp import (
    PADDING,
    FloatImage,
    Stamp,
    frame_cards,
    make_stamp,
    observation_cards,
)
from dsa110_contimg.imaging.weighting import imaging_weight
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.window import Window

if TYPE_CHECKING:
    from astropy.io.fits import Header

_ACCURACY = 1e-4
"""Relative error of the gridder."""


class DuccImager:
    """Makes dirty images of windows around their phase centre.

    Parameters
    ----------
    windows : mapping of int to Window
        Windows by id, with the source at their phase centre.
    source : Source
        Centre of the stamps.
    info : MsInfo
        The MS, for its frame and the place of the telescope.
    cell_arcsec : float
        Pixel size.
    options : CleanOptions
        Size and weighting; there is no deconvolution.
    """

    def __init__(
        self,
        windows: Mapping[int, Window],
        *,
        source: Source,
        info: MsInfo,
        cell_arcsec: float,
        options: CleanOptions,
    ):
        self._windows = windows
        self._source = source
        self._info = info
        self._cell_deg = cell_arcsec / 3600.0
        self._options = options

    def image(self, spw_id: int) -> Stamp:
        """Image one window.

        Parameters
        ----------
        spw_id : int
            The window.

        Returns
        -------
        Stamp
            The dirty image, and what is left of it without a point source at the centre.

        Raises
        ------
        ScienceQualityError
            If no visibility has any weight, or the PSF is no beam.
        """
        window, size_px = self._windows[spw_id], self._options.image_size_px
        visibility, weight = _stokes_i(window)
        weight = imaging_weight(
            weight,
            window.uvw_m[:, :2],
            window.freqs_hz,
            options=self._options,
            # That of the images the other backends make, for the same beam.
            width_rad=np.deg2rad(PADDING * size_px * self._cell_deg),
        )
        if not weight.any():
            raise ScienceQualityError("no visibility has any weight", reason="no_weight")
        image = self._grid(window, visibility, weight)
        psf = self._grid(window, np.ones_like(visibility), weight)
        beam = fit_beam(psf)
        center = size_px // 2
        residual = image - image[center, center] * psf
        header = self._header(window.spw)
        header.update(beam.cards(self._cell_deg))
        return make_stamp(image, residual, header, size_px=size_px, program="ducc0")

    def _grid(
        self,
        window: Window,
        visibility: npt.NDArray[np.complex64],
        weight: npt.NDArray[np.float32],
    ) -> FloatImage:
        """Make the weighted mean of the visibilities in every direction."""
        from ducc0.wgridder import vis2dirty

        # V = S exp(+2 pi i (u l + v m + w (n - 1))) for CASA; ducc0 has -w. Without flip_u, the
        # x axis would be +l.
        dirty = vis2dirty(
            uvw=window.uvw_m,
            freq=window.freqs_hz,
            vis=visibility.conj(),
            wgt=weight,
            npix_x=self._options.image_size_px,
            npix_y=self._options.image_size_px,
            pixsize_x=np.deg2rad(self._cell_deg),
            pixsize_y=np.deg2rad(self._cell_deg),
            epsilon=_ACCURACY,
            do_wgridding=True,
            flip_u=True,
            flip_w=True,
            divide_by_n=False,
        )
        return np.asarray(dirty.T / weight.sum(dtype=np.float64), dtype=np.float32)

    def _header(self, spw: SpwInfo) -> Header:
        """Make coordinates as tclean would, but for the frequency, which is topocentric."""
        from astropy.wcs import WCS

        center_px = self._options.image_size_px // 2 + 1.0
        wcs = WCS(naxis=4)
        wcs.wcs.ctype = ["RA---SIN", "DEC--SIN", "FREQ", "STOKES"]
        wcs.wcs.cunit = ["deg", "deg", "Hz", ""]
        wcs.wcs.crpix = [center_px, center_px, 1.0, 1.0]
        wcs.wcs.crval = [self._source.ra_deg, self._source.dec_deg, spw.freq_hz, 1.0]
        wcs.wcs.cdelt = [-self._cell_deg, self._cell_deg, spw.bandwidth_hz, 1.0]
        wcs.wcs.restfrq = spw.freq_hz
        wcs.wcs.specsys = "TOPOCENT"
        header: Header = wcs.to_header()
        header.update(
            {
                "BTYPE": "Intensity",
                "TELESCOP": self._info.telescope,
                "TIMESYS": "UTC",
                **frame_cards(self._info),
                **observation_cards(self._info),
            }
        )
        return header


def _stokes_i(
    window: Window,
) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.float32]]:
    """Average the parallel hands by their weights; return visibilities and weights."""
    weight = window.weight.sum(axis=2)
    total = (window.data * window.weight).sum(axis=2)
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0.0), weight
