"""Sources as people type or paste them: a line each, with a name and a position."""

from __future__ import annotations

import re

from pydantic import ValidationError

from dsa110_contimg.catalog.columns import parse_angle
from dsa110_contimg.catalog.sources import Source, position_name
from dsa110_contimg.catalog.tables import list_briefly, repeated_names
from dsa110_contimg.errors import InputError
from dsa110_contimg.models import explain

_SEPARATORS = re.compile(r"[\s,;|]+")
_MINUS_SIGNS = str.maketrans({"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-"})
_SEXAGESIMAL = 3
_REMEDY = (
    "write a line as NAME RA DEC, e.g. 'J0834+5534 08:34:54.9 +55:34:21', or in degrees "
    "'J0834+5534 128.7287 55.5725'"
)


def parse_sources(text: str) -> list[Source]:
    """Read sources from text.

    Parameters
    ----------
    text : str
        A line ``name ra dec`` for each source. Plain numbers are degrees; right ascension in
        hours and declination in degrees may be sexagesimal: ``08:34:54.9 +55:34:21``,
        ``08h34m54.9s +55d34m21s``, or ``08 34 54.9 +55 34 21``. Commas separate as blanks do.
        A source without name is named by its position. Empty lines, and what follows a ``#``,
        are passed over.

    Returns
    -------
    list of Source
        In order of line, ICRS.

    Raises
    ------
    InputError
        If a line makes no sense, with its number, or a name is repeated, or there is no source.
    """
    sources: dict[int, Source] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].translate(_MINUS_SIGNS).strip(" \t,;|")
        if not content:
            continue
        try:
            sources[number] = _parse_line(_SEPARATORS.split(content))
        except ValueError as error:
            problems.append(f"line {number} ({content[:80]!a}): {error}")
    problems += repeated_names((f"line {n}", source.name) for n, source in sources.items())
    if problems:
        raise InputError(
            f"the sources cannot be read: {list_briefly(problems)}",
            reason="bad_sources",
            remedy=_REMEDY,
        )
    if not sources:
        raise InputError("the text holds no source", reason="bad_sources", remedy=_REMEDY)
    return list(sources.values())


def _parse_line(words: list[str]) -> Source:
    """Read one source; a ValueError says what is wrong."""
    from astropy import units

    per_angle = _SEXAGESIMAL if len(words) > _SEXAGESIMAL else 1
    n_names = len(words) - 2 * per_angle
    if n_names not in (0, 1):
        raise ValueError(f"it has {len(words)} words")
    ra_words, dec_words = words[n_names : n_names + per_angle], words[n_names + per_angle :]
    ra_deg = parse_angle("right ascension", ":".join(ra_words), units.hourangle)
    dec_deg = parse_angle("declination", ":".join(dec_words), units.deg)
    try:
        source = Source(name=words[0] if n_names else "unnamed", ra_deg=ra_deg, dec_deg=dec_deg)
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    if n_names:
        return source
    return source.model_copy(update={"name": position_name(ra_deg, dec_deg)})
