"""Sources as people type or paste them: a line each, with a name and a position."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from pydantic import ValidationError

from dsa110_contimg.catalog.sources import Source, position_name
from dsa110_contimg.errors import InputError

if TYPE_CHECKING:
    from astropy.units import Unit

_SEPARATORS = re.compile(r"[\s,;|]+")
_MINUS_SIGNS = str.maketrans({"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-"})
_SEXAGESIMAL = 3
_MOST_NAMED = 3
"""Bad lines that an error names."""
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
            problems.append(f"line {number} ({content[:80]!r}): {error}")
    problems += _find_repeated(sources)
    if problems:
        more = len(problems) - _MOST_NAMED
        tail = f"; and {more} more" if more > 0 else ""
        raise InputError(
            f"the sources cannot be read: {'; '.join(problems[:_MOST_NAMED])}{tail}",
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
    ra_deg = _parse_angle("right ascension", ":".join(ra_words), units.hourangle)
    dec_deg = _parse_angle("declination", ":".join(dec_words), units.deg)
    try:
        source = Source(name=words[0] if n_names else "unnamed", ra_deg=ra_deg, dec_deg=dec_deg)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0]}: {first['msg']}, not {first['input']!r}") from None
    if n_names:
        return source
    return source.model_copy(update={"name": position_name(ra_deg, dec_deg)})


def _parse_angle(what: str, text: str, unit: Unit) -> float:
    """Read an angle in degrees: a plain number as it is, else sexagesimal in `unit`."""
    from astropy.coordinates import Angle

    try:
        return float(text)
    except ValueError:
        pass
    try:
        # Seconds of 60 and the like are only warned of.
        with warnings.catch_warnings(action="error"):
            return float(Angle(text, unit=unit).deg)
    except (ValueError, TypeError, Warning):
        raise ValueError(f"{text!r} is not a {what}") from None


def _find_repeated(sources: dict[int, Source]) -> list[str]:
    """List the lines whose names others have before them: products are filed by name."""
    first: dict[str, int] = {}
    return [
        f"line {number}: the name {source.name} is that of line {first[source.name]}"
        for number, source in sources.items()
        if first.setdefault(source.name, number) != number
    ]
