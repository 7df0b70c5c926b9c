"""Which sources of a catalogue lie in the field of one observation."""

from __future__ import annotations

from typing import Final

from dsa110_contimg import instrument
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.models import Manifest

MIN_BEAM_RESPONSE: Final = 0.1
"""Below this the correction for the primary beam multiplies its own errors by ten and more."""


def sources_in_field(sources: list[Source], manifest: Manifest) -> list[Source]:
    """Select the sources that the primary beam saw.

    Parameters
    ----------
    sources : list of Source
        A catalogue.
    manifest : Manifest
        The observation.

    Returns
    -------
    list of Source
        Those at which the beam's response, averaged over the observation, is at least
        `MIN_BEAM_RESPONSE` at the observation's highest frequency, where the beam is narrowest.
    """
    freq_hz = max(window.max_freq_hz for window in manifest.spectral_windows)
    return [
        source
        for source in sources
        if instrument.drift_primary_beam_attenuation(
            source.ra_deg,
            source.dec_deg,
            center_ra_deg=manifest.phase_center_ra_deg,
            center_dec_deg=manifest.phase_center_dec_deg,
            duration_s=manifest.duration_s,
            freq_hz=freq_hz,
        )[0]
        >= MIN_BEAM_RESPONSE
    ]
