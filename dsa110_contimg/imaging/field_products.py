"""Names and contents of the pictures of a field: what is shown, and what was found in it."""

from __future__ import annotations

from pathlib import Path

from dsa110_contimg.models import Model
from dsa110_contimg.provenance import Provenance

FIELD_DIR = "_field"
"""Directory beside those of the sources."""
FIELD_IMAGE_FILE = "field.image.fits"
FIELD_PICTURE_FILE = "field.png"
FIELD_SUMMARY_FILE = "field_image.json"

MISSING_SOURCE_SNR = 6.0
"""A residual peak above it is no noise: of the 1e5 beams in a field, noise alone takes one to 6
once in 10,000 fields."""
_SIDE_LOBE = 0.75
"""Side lobes of what is left at a bright source stay below this part of it, even with few
antennas."""

_ODD_PART = 0.02
"""So much of a source may be left: aberration, which the fit does not follow, moves a source at
the edge of the field by half an arcsec."""


class FieldImageOptions(Model):
    """Where the image of a field goes."""

    path: Path
    """The FITS file."""
    provenance: Provenance
    """Goes into it."""


class ResidualPeak(Model):
    """A bright place of a field after its sources have been subtracted."""

    ra_deg: float
    """Right ascension (ICRS) in degrees."""
    dec_deg: float
    """Declination (ICRS) in degrees."""
    peak_jy: float
    """Brightness there in Jy/beam, as observed."""
    snr: float
    """The same in units of the residual's noise."""
    response: float
    """Primary-beam response there, mean over the observation."""
    source: str | None = None
    """The model's source within a beam of it; None: there is none."""
    source_jy: float | None = None
    """Brightness of that source in the model in Jy/beam, as observed."""

    @property
    def flux_jy(self) -> float:
        """Flux density of a point source there in Jy, corrected for the primary beam."""
        return self.peak_jy / self.response


class FieldImage(Model):
    """What the image of a field is, and what is left in it."""

    n_windows: int
    """Windows in this inverse-variance mean."""
    freq_hz: float
    """Their weighted mean frequency in Hz."""
    size_px: int
    """Width and height in pixels."""
    cell_arcsec: float
    """Pixel size."""
    beam_arcsec: tuple[float, float]
    """Axes (FWHM) of the synthesized beam."""
    beam_angle_deg: float
    """Position angle of its major axis, from north through east."""
    noise_jy: float
    """Robust noise of the residual in Jy/beam."""
    peak: ResidualPeak
    """Its brightest place away from the model's sources: where a source is missing."""
    peak_at_source: ResidualPeak | None
    """Its strongest place within a beam of one of them, of either sign: where a position, the
    calibration or the model of a point is wrong; None if the model is empty."""

    @property
    def lacks_source(self) -> bool:
        """Whether the peak away from the sources is neither noise nor a side lobe."""
        left = self.peak_at_source
        side_lobe_snr = 0.0 if left is None else _SIDE_LOBE * abs(left.snr)
        return self.peak.snr >= max(MISSING_SOURCE_SNR, side_lobe_snr)

    @property
    def has_odd_source(self) -> bool:
        """Whether much is left at a source that was fitted."""
        left = self.peak_at_source
        return (
            left is not None
            and abs(left.snr) >= MISSING_SOURCE_SNR
            and abs(left.peak_jy) >= _ODD_PART * abs(left.source_jy or 0.0)
        )

    @property
    def notes(self) -> list[str]:
        """Say what the model of the field lacks, if it lacks anything."""
        notes, peak, left = [], self.peak, self.peak_at_source
        if self.lacks_source:
            notes.append(
                f"The field's model lacks a source at RA {peak.ra_deg:.4f}, Dec "
                f"{peak.dec_deg:.4f} deg of about {1e3 * peak.flux_jy:.1f} mJy: the residual "
                f"reaches {peak.snr:.1f} sigma there."
            )
        if self.has_odd_source and left is not None:
            notes.append(
                f"At {left.source} the residual reaches {left.snr:.1f} sigma "
                f"({1e3 * left.peak_jy:.2f} mJy/beam): it is no point, has a neighbour, or "
                "position or calibration are off."
            )
        return notes
