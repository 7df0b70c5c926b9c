"""CASA as an independent reader and imager of converted MSs, always through the door."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsa110_contimg.casa.door import open_casatasks, run_in_casa
from dsa110_contimg.models import Model


class CasaRequest(Model):
    """What to look at."""

    ms: Path
    """The MS."""
    image_dir: Path | None = None
    """Where an image may be made."""
    ra_deg: float = 0.0
    """Phase centre of the image."""
    dec_deg: float = 0.0
    """Phase centre of the image."""
    n_pixels: int = 0
    """Size of the image."""
    cell_arcsec: float = 0.0
    """Size of a pixel."""


class MsMetadata(Model):
    """What msmetadata says."""

    n_spws: int
    """Number of windows."""
    n_rows: int
    """Number of rows."""
    n_fields: int
    """Number of fields."""
    observatory: str
    """First observatory name."""
    phase_center_deg: tuple[float, float]
    """Right ascension and declination of field 0."""


class Peak(Model):
    """The brightest pixel of a dirty image."""

    ra_deg: float
    """Right ascension."""
    dec_deg: float
    """Declination."""
    flux_jy: float
    """Its value."""


def read_metadata(request: CasaRequest) -> MsMetadata:
    open_casatasks()
    from casatools import msmetadata

    reader = msmetadata()
    reader.open(str(request.ms))
    direction = reader.phasecenter(0)
    found = MsMetadata(
        n_spws=reader.nspw(),
        n_rows=int(reader.nrows()),
        n_fields=reader.nfields(),
        observatory=reader.observatorynames()[0],
        phase_center_deg=(
            float(np.rad2deg(direction["m0"]["value"]) % 360),
            float(np.rad2deg(direction["m1"]["value"])),
        ),
    )
    reader.close()
    return found


def image_peak(request: CasaRequest) -> Peak:
    casatasks = open_casatasks()
    from astropy.io import fits
    from astropy.wcs import WCS

    name = str(request.image_dir / "dirty")
    casatasks.tclean(
        vis=str(request.ms),
        imagename=name,
        imsize=request.n_pixels,
        cell=f"{request.cell_arcsec}arcsec",
        phasecenter=f"ICRS {request.ra_deg}deg {request.dec_deg}deg",
        gridder="standard",
        weighting="natural",
        niter=0,
        pblimit=-1,
        savemodel="none",
    )
    casatasks.exportfits(f"{name}.image", f"{name}.fits")
    with fits.open(f"{name}.fits") as image:
        plane = image[0].data[0, 0]
        world = WCS(image[0].header).celestial
    row, column = np.unravel_index(np.nanargmax(plane), plane.shape)
    ra_deg, dec_deg = world.wcs_pix2world([[column, row]], 0)[0]
    return Peak(ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=float(plane[row, column]))


def in_casa(function, request: CasaRequest, scratch: Path):
    """Run one of the above in CASA's child."""
    return run_in_casa(
        function, request, timeout_s=180, log_path=scratch / "casa.log", scratch_dir=scratch
    )
