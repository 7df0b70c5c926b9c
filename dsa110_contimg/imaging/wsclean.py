"""Image one spectral window around one source with WSClean, a program of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import TransientError
from dsa110_contimg.imaging.models import CleanOptions, Weighting
from dsa110_contimg.imaging.stamp import (
    BORDER_FRACTION,
    PADDING,
    FloatImage,
    Stamp,
    frame_cards,
    make_stamp,
    observation_cards,
)
from dsa110_contimg.processes import find_program, run_program
from dsa110_contimg.visibilities.models import MsInfo

if TYPE_CHECKING:
    from astropy.io.fits import Header

_MAJOR_GAIN = 0.5
"""CLEANs half of the peak away between major cycles. WSClean ends at a multiple of the noise
that it measured before the last one: with more, the source's own side lobes, counted as noise,
would end it at a fifth of the source."""


def find_wsclean() -> str:
    """Find the program.

    Returns
    -------
    str
        Its path.

    Raises
    ------
    InputError
        If it is not installed.
    """
    return find_program("wsclean", "choose another backend")


class WscleanImager:
    """Images windows of one MS around its phase centre.

    Parameters
    ----------
    ms_path : Path
        The MS, with the source at its phase centre; its column DATA is only read.
    source : Source
        Centre of the stamps.
    info : MsInfo
        The MS, for its frame and the place of the telescope.
    cell_arcsec : float
        Pixel size.
    options : CleanOptions
        How to image and deconvolve.
    scratch_dir : Path
        Directory for WSClean's images and temporary files.
    """

    def __init__(
        self,
        ms_path: Path,
        *,
        source: Source,
        info: MsInfo,
        cell_arcsec: float,
        options: CleanOptions,
        scratch_dir: Path,
    ):
        self._program = find_wsclean()
        self._ms_path = str(ms_path)
        self._source = source
        self._info = info
        self._scratch_dir = scratch_dir
        self._stamp_size_px = options.image_size_px
        size_px = str(PADDING * options.image_size_px)
        self._arguments = [
            *("-j", "1", "-pol", "I", "-data-column", "DATA", "-no-update-model-required"),
            *("-size", size_px, size_px, "-scale", f"{cell_arcsec:.9f}asec"),
            *("-weight", *_weighting(options)),
            *("-niter", str(options.max_iterations), "-auto-threshold", str(options.stop_sigma)),
            *("-mgain", str(_MAJOR_GAIN), "-clean-border", str(100.0 * BORDER_FRACTION)),
            # Without iterations there would be no PSF, and so no beam.
            "-make-psf",
        ]

    def image(self, spw_id: int) -> Stamp:
        """Image one window.

        Parameters
        ----------
        spw_id : int
            The window.

        Returns
        -------
        Stamp
            The image.

        Raises
        ------
        ScienceQualityError
            If WSClean's image is not finite or has no beam.
        TransientError
            If WSClean failed, or left no image.
        """
        folder = self._scratch_dir / f"spw{spw_id:02d}"
        folder.mkdir()
        try:
            self._run(spw_id, folder)
            image, header = _read(folder / "stamp-image.fits")
            residual = image  # WSClean writes no other one if it does not CLEAN
            if (folder / "stamp-residual.fits").exists():
                residual, _ = _read(folder / "stamp-residual.fits")
        finally:
            shutil.rmtree(folder)
        self._mend(header)
        return make_stamp(image, residual, header, size_px=self._stamp_size_px, program="WSClean")

    def _run(self, spw_id: int, folder: Path) -> None:
        """Run WSClean on one window; its output goes where this process's own does."""
        # WSClean takes a selection of windows from reordered files only.
        selection = ["-reorder", "-spws", str(spw_id), "-temp-dir", str(folder)]
        name = ["-name", str(folder / "stamp")]
        failure = run_program(
            [self._program, *self._arguments, *selection, *name, self._ms_path],
            env={"OPENBLAS_NUM_THREADS": "1"},
        )
        if failure:
            raise TransientError(
                f"wsclean {failure}; the log holds what it said", reason="wsclean_failed"
            )

    def _mend(self, header: Header) -> None:
        """State centre and frame as the MS has them, and place and time of the observation.

        WSClean turns the phase centre to J2000 and keeps half as many digits.
        """
        header.remove("HISTORY", ignore_missing=True, remove_all=True)
        header.remove("COMMENT", ignore_missing=True, remove_all=True)
        header.remove("EQUINOX", ignore_missing=True)
        header["CRVAL1"], header["CRVAL2"] = self._source.ra_deg, self._source.dec_deg
        header["RESTFRQ"] = header["CRVAL3"]
        header.update(frame_cards(self._info))
        header.update(observation_cards(self._info))


def _weighting(options: CleanOptions) -> list[str]:
    """Spell the weighting as WSClean does."""
    if options.weighting is Weighting.BRIGGS:
        return ["briggs", str(options.robust)]
    return [options.weighting.value]


def _read(path: Path) -> tuple[FloatImage, Header]:
    """Read an image that WSClean should have made."""
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            return np.asarray(hdus[0].data[0, 0], dtype=np.float32), hdus[0].header.copy()
    except FileNotFoundError:
        raise TransientError(
            f"wsclean ended without an error, but left no {path.name}", reason="no_image"
        ) from None
    except (OSError, TypeError, ValueError) as error:  # as astropy raises them for half a file
        raise TransientError(
            f"wsclean's {path.name} cannot be read: {error}", reason="no_image"
        ) from error
