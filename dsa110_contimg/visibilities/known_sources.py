"""Which known sources show in a field, and which catalogue entries are the same source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.visibilities.models import MsInfo
from dsa110_contimg.visibilities.primary_beam import MIN_RESPONSE, check_in_field, mean_responses

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

_SAME_SOURCE_ARCSEC = 3.0
"""A catalogue's position of a target may differ so much from the one that was asked for: a tenth
of the synthesized beam."""
_MIN_APPARENT_JY = 5e-3
"""A known source beyond the tenth contour of the beam is modelled if it appears so bright still:
its side lobes are then a tenth of the noise of a window."""
_MIN_RESPONSE = 0.01


def problem_of(source: Source, info: MsInfo) -> str | None:
    """Say why a source cannot be measured in an MS.

    Parameters
    ----------
    source : Source
        The source.
    info : MsInfo
        The MS.

    Returns
    -------
    str or None
        A sentence; None if it can.
    """
    try:
        check_in_field(source, info)
    except InputError as error:
        return str(error)
    return None


def other_sources(known: Sequence[Source], targets: Sequence[Source], info: MsInfo) -> list[Source]:
    """Collect the known sources that show in a field beside the targets.

    Parameters
    ----------
    known : sequence of Source
        A catalogue.
    targets : sequence of Source
        Sources that are not wanted again: entries at their positions are left out, whatever
        their names.
    info : MsInfo
        The MS.

    Returns
    -------
    list of Source
        Those within the tenth contour of the primary beam, or bright enough beyond it; of
        entries at one position the first. One with the name of a target, but another position,
        is another source.
    """
    freq_hz = sum(spw.freq_hz for spw in info.spws) / len(info.spws)
    responses = mean_responses(known, info, freq_hz)
    others = [
        source
        for source, response in zip(known, responses.tolist(), strict=True)
        if response >= MIN_RESPONSE
        or (
            response >= _MIN_RESPONSE
            and response * float(source.flux_at(freq_hz)) >= _MIN_APPARENT_JY
        )
    ]
    return _without_repeats(_without_targets(others, targets))


def _without_repeats(sources: list[Source]) -> list[Source]:
    """Keep the first of the entries that several catalogues have for one source."""
    if not sources:
        return sources
    from astropy import units

    places = _positions(sources)
    first, second, _, _ = places.search_around_sky(places, _SAME_SOURCE_ARCSEC * units.arcsec)
    repeated = set(second[first < second].tolist())
    return [source for number, source in enumerate(sources) if number not in repeated]


def _without_targets(others: list[Source], targets: Sequence[Source]) -> list[Source]:
    """Leave out the catalogue's entries for the targets themselves."""
    if not others or not targets:
        return others
    from astropy import units

    apart = _positions(others).match_to_catalog_sky(_positions(targets))[1]
    is_other = apart > _SAME_SOURCE_ARCSEC * units.arcsec
    return [source for source, keep in zip(others, is_other, strict=True) if keep]


def _positions(sources: Sequence[Source]) -> SkyCoord:
    """Collect the positions of sources."""
    from astropy.coordinates import SkyCoord

    return SkyCoord([s.ra_deg for s in sources], [s.dec_deg for s in sources], unit="deg")
