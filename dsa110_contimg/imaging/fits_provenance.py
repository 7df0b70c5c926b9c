"""What made an image, in its FITS header."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dsa110_contimg.provenance import Provenance

if TYPE_CHECKING:
    from astropy.io.fits import Header

_HISTORY_WIDTH = 72


def add_provenance(header: Header, provenance: Provenance) -> None:
    """Say in a header what made the image: in short for people, in full as its history.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Gets ``CREATOR``, ``CALIB``, ``CALSET1`` (and ``CALSET2`` if two sets of solutions were
        interpolated), and the provenance as JSON over lines of ``HISTORY``.
    provenance : Provenance
        Versions, options, inputs and calibration.
    """
    header["CREATOR"] = f"dsa110-contimg {provenance.versions.get('dsa110-contimg', '')}"
    # A long sentence goes on in CONTINUE cards, which leave no room for a comment.
    header["CALIB"] = _ascii(provenance.calibration or "none")
    for number, set_id in enumerate(provenance.calibration_sets, start=1):
        header[f"CALSET{number}"] = _ascii(set_id)
    # FITS keeps ASCII only; JSON escapes the rest.
    text = json.dumps({"provenance": provenance.model_dump(mode="json")})
    for begin in range(0, len(text), _HISTORY_WIDTH):
        header.add_history(text[begin : begin + _HISTORY_WIDTH])


def is_made_by(header: Header, provenance: Provenance) -> bool:
    """Say whether a header is that of the very image that this made.

    Parameters
    ----------
    header : astropy.io.fits.Header
        As `add_provenance` completed it, and as it was read from a file.
    provenance : Provenance
        What made an image.

    Returns
    -------
    bool
        Whether it made this one.
    """
    expected = type(header)()
    add_provenance(expected, provenance)
    # A file keeps no blanks at the end of a line.
    written, wanted = ([str(line).rstrip() for line in h["HISTORY"]] for h in (header, expected))
    return written[-len(wanted) :] == wanted


def _ascii(text: str) -> str:
    """Put a question mark in the place of what FITS cannot hold."""
    return text.encode("ascii", "replace").decode()
