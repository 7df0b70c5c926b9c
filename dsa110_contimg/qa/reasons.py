"""Reasons as they stand on record: an error's slug, a colon, a sentence."""

from __future__ import annotations

import re

_NAMED_REASON = re.compile(r"(?P<code>[a-z][a-z0-9]*(_[a-z0-9]+)*): (?P<sentence>.+)", re.DOTALL)


def split_reason(reason: str) -> tuple[str | None, str]:
    """Split a reason into the error's slug and the sentence.

    Parameters
    ----------
    reason : str
        As it is on record.

    Returns
    -------
    code : str or None
        The slug; None if it does not begin with one.
    sentence : str
        The rest.
    """
    named = _NAMED_REASON.fullmatch(reason)
    return (named["code"], named["sentence"]) if named else (None, reason)
