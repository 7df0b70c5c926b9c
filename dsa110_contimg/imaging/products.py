"""Write the products of one source: images and tables, each with what made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.imaging.fits_provenance import add_provenance
from dsa110_contimg.photometry.models import Detection, SpwMeasurement
from dsa110_contimg.provenance import Provenance

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import QTable

RESULT_FILE = "result.json"
DETECTIONS_FILE = "detections.ecsv"
STAMP_FILE = "stamp.png"
SPECTRUM_FILE = "spectrum.png"
MEAN_IMAGE_FILE = "mean.image.pbcor.fits"


def spw_image_file(spw_id: int) -> str:
    """Name the image of one window.

    Parameters
    ----------
    spw_id : int
        The window.

    Returns
    -------
    str
        ``spwNN.image.pbcor.fits``.
    """
    return f"spw{spw_id:02d}.image.pbcor.fits"


def write_spw_image(
    path: Path,
    image: npt.NDArray[np.floating],
    header: Header,
    *,
    source: Source,
    measurement: SpwMeasurement,
    response: float,
    provenance: Provenance,
) -> None:
    """Write the primary-beam corrected image of one window.

    Parameters
    ----------
    path : Path
        The file.
    image : ndarray, shape (ny, nx)
        Jy/beam, corrected for the primary beam.
    header : astropy.io.fits.Header
        Coordinates and beam, with four axes.
    source : Source
        The source at its centre.
    measurement : SpwMeasurement
        What was measured in it.
    response : float
        Primary-beam response at the source.
    provenance : Provenance
        Versions, options and inputs.
    """
    cards = {
        "SPWID": (measurement.spw_id, "spectral window of the MS"),
        "PBRESP": (response, "primary-beam response at source, divided out"),
        "FLUX": (measurement.flux_jy, "[Jy] forced photometry at the source"),
        "RMS": (measurement.rms_jy, "[Jy] its error"),
        "FLAGFRAC": (measurement.flagged_fraction, "flagged fraction of the window"),
    }
    _write_fits(path, image, header, source, cards, provenance)


def write_mean_image(
    path: Path,
    image: npt.NDArray[np.floating],
    header: Header,
    *,
    source: Source,
    n_images: int,
    provenance: Provenance,
) -> None:
    """Write the inverse-variance mean of the windows' images.

    Parameters
    ----------
    path : Path
        The file.
    image : ndarray, shape (ny, nx)
        Jy/beam, corrected for the primary beam.
    header : astropy.io.fits.Header
        Of the middle window: its frequency and beam stand for the mean's.
    source : Source
        The source at its centre.
    n_images : int
        Number of windows in the mean.
    provenance : Provenance
        Versions, options and inputs.
    """
    cards = {"NSPW": (n_images, "windows in this inverse-variance mean")}
    _write_fits(path, image, header, source, cards, provenance)


def write_detections(
    path: Path, detections: list[Detection], *, source: Source, provenance: Provenance
) -> None:
    """Write the detections as ECSV.

    Parameters
    ----------
    path : Path
        The file.
    detections : list of Detection
        May be empty.
    source : Source
        The source.
    provenance : Provenance
        Versions, options and inputs.
    """
    table = _detections_table(detections)
    table.meta = {
        "source": {"name": source.name, "ra_deg": source.ra_deg, "dec_deg": source.dec_deg},
        "provenance": provenance.model_dump(mode="json"),
    }
    table.write(path, format="ascii.ecsv")


def _detections_table(detections: list[Detection]) -> QTable:
    """Lay out the detections as a table, with units, also if there are none."""
    from astropy import units
    from astropy.table import QTable

    def column(name: str, unit: units.Unit) -> units.Quantity:
        return np.array([getattr(d, name) for d in detections], dtype=float) * unit

    return QTable(
        {
            "spw_ids": np.array([" ".join(map(str, d.spw_ids)) for d in detections], dtype=str),
            "bin_width": np.array([d.bin_width for d in detections], dtype=int),
            "center_freq_hz": column("center_freq_hz", units.Hz),
            "flux_jy": column("flux_jy", units.Jy),
            "rms_jy": column("rms_jy", units.Jy),
            "snr": column("snr", units.dimensionless_unscaled),
            "false_alarm_probability": column(
                "false_alarm_probability", units.dimensionless_unscaled
            ),
        }
    )


def _write_fits(
    path: Path,
    image: npt.NDArray[np.floating],
    header: Header,
    source: Source,
    cards: Mapping[str, tuple[float, str]],
    provenance: Provenance,
) -> None:
    """Write an image with CASA's coordinates, our numbers and what made it."""
    from astropy.io import fits

    header = header.copy()
    header["OBJECT"] = source.name
    header["BUNIT"] = "Jy/beam"
    header["PBCOR"] = (True, "corrected for the drift-averaged primary beam")
    for key, card in cards.items():
        header[key] = card
    add_provenance(header, provenance)
    data = np.asarray(image, dtype=np.float32)[np.newaxis, np.newaxis]
    fits.PrimaryHDU(data, header).writeto(path)
