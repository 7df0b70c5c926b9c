"""The programs that make stamps: which can do what, and how each is set up."""

from __future__ import annotations

from dsa110_contimg.casa.door import open_casatasks
from dsa110_contimg.errors import InputError
from dsa110_contimg.imaging.ducc import DuccImager
from dsa110_contimg.imaging.models import Backend, ImagingOptions
from dsa110_contimg.imaging.prepare import StampWork, Visibilities
from dsa110_contimg.imaging.stamp import Imager, choose_cell_arcsec
from dsa110_contimg.imaging.tclean import TcleanImager
from dsa110_contimg.imaging.wsclean import WscleanImager, find_wsclean


def check_backend(options: ImagingOptions) -> None:
    """Refuse what a backend cannot do, before any work.

    Parameters
    ----------
    options : ImagingOptions
        How sources are to be imaged.

    Raises
    ------
    InputError
        If the program is not installed, or the MS itself cannot be imaged in this way.
    """
    if options.backend is Backend.WSCLEAN:
        find_wsclean()
    if options.private_copy is not None:
        return
    if options.backend is not Backend.TCLEAN:
        raise InputError(
            f"{options.backend} images private copies only",
            reason="private_copy_needed",
            remedy="image a private copy; one with an averaging of 1 and 1 has all the detail of "
            "the MS",
        )


def make_imager(work: StampWork, visibilities: Visibilities) -> Imager:
    """Set up the backend that the options name.

    Parameters
    ----------
    work : StampWork
        The source, the MS and the options.
    visibilities : Visibilities
        What is to be imaged.

    Returns
    -------
    Imager
        The backend.

    Raises
    ------
    InputError
        If the program is not installed.
    """
    options = work.options
    cell_arcsec = choose_cell_arcsec(options.clean, visibilities.longest_baseline_wavelengths)
    if options.backend is Backend.DUCC0:
        return DuccImager(
            visibilities.windows,
            source=options.source,
            info=work.info,
            cell_arcsec=cell_arcsec,
            options=options.clean,
        )
    if options.backend is Backend.WSCLEAN:
        return WscleanImager(
            visibilities.ms_path,
            source=options.source,
            info=work.info,
            cell_arcsec=cell_arcsec,
            options=options.clean,
            scratch_dir=work.scratch_dir,
        )
    open_casatasks()
    return TcleanImager(
        visibilities.ms_path,
        data_column=visibilities.data_column,
        source=options.source,
        info=work.info,
        cell_arcsec=cell_arcsec,
        options=options.clean,
        scratch_dir=work.scratch_dir,
    )
