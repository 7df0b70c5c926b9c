"""Text from outside, made visible before it is shown."""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of what steers a terminal or a line, or is not seen: control characters,
directions and joiners, bytes that could not be decoded, what has no meaning, ends of lines."""


def make_visible(text: str) -> str:
    r"""Write what would steer a terminal, or not be seen, as an escape such as ``\x1b``.

    Parameters
    ----------
    text : str
        Text of unknown origin: a file name, a name in a catalogue, a header.

    Returns
    -------
    str
        The text on one line; what was visible is as it was.
    """
    return "".join(
        repr(char)[1:-1] if unicodedata.category(char) in _HIDDEN else char for char in text
    )
