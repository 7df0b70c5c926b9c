"""What a Measurement Set says of itself, and how its visibilities are averaged."""

from __future__ import annotations

from pydantic import Field

from dsa110_contimg.models import Model


class SpwInfo(Model):
    """One spectral window of an MS."""

    spw_id: int
    """Row of the SPECTRAL_WINDOW table."""
    data_desc_id: int
    """Row of the DATA_DESCRIPTION table that refers to it."""
    freq_hz: float
    """Mean of the channel centres in Hz."""
    bandwidth_hz: float
    """Total width in Hz."""
    n_channels: int
    """Number of channels."""


class MsInfo(Model):
    """What an MS says of itself, without its bulk data."""

    ms_path: str
    """Absolute path."""
    telescope: str
    """As OBSERVATION has it."""
    telescope_itrf_m: tuple[float, float, float]
    """Position of the telescope, geocentric, in metres."""
    spws: list[SpwInfo]
    """In order of id."""
    center_ra_deg: float
    """Right ascension of the phase centre in degrees."""
    center_dec_deg: float
    """Declination of the phase centre in degrees."""
    frame: str
    """Frame of the phase centre, e.g. ``"ICRS"``."""
    start_mjd: float
    """Start of the first integration, UTC."""
    duration_s: float
    """From there to the end of the last integration, in seconds."""
    integration_time_s: float
    """Length of one integration in seconds."""
    data_column: str
    """``"CORRECTED_DATA"`` if the MS has it, else ``"DATA"``."""
    n_rows: int
    """Rows of the main table."""
    data_units: str = ""
    """Unit of DATA as its keyword states it, e.g. ``"Jy"``; empty if it states none."""

    @property
    def in_jy(self) -> bool:
        """Whether the column that is measured is known to be calibrated."""
        return self.data_column == "CORRECTED_DATA" or self.data_units == "Jy"


class Averaging(Model):
    """How much visibilities are averaged, after their rotation to a source."""

    channels: int = Field(12, ge=1)
    """Channels averaged into one."""
    integrations: int = Field(4, ge=1)
    """Integrations averaged into one."""
