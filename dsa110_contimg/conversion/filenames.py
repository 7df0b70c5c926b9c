"""The name of a subband file: ``YYYY-MM-DDTHH:MM:SS_sbNN.hdf5``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dsa110_contimg import instrument

NAME_MARGIN = timedelta(seconds=instrument.FILENAME_JITTER_S + instrument.GROUP_DURATION_S)
"""How far a file name may lie from the start of its data."""
_NAME = re.compile(
    r"(?P<stamp>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)_sb(?P<subband>\d\d)(?P<open>_incomplete)?\.hdf5",
    re.ASCII,
)


@dataclass(frozen=True, order=True)
class SubbandName:
    """What the name of a subband file says.

    Attributes
    ----------
    stamp : datetime
        UTC at which that subband's host opened the file. It jitters between the subbands
        of one group: a prefilter, never the time of the data.
    subband : int
        0 (highest frequency) to 15.
    incomplete : bool
        The file is still being written, and will be renamed when it is done.
    """

    stamp: datetime
    subband: int
    incomplete: bool = False

    @property
    def label(self) -> str:
        """The subband as ``sb00`` .. ``sb15``."""
        return subband_label(self.subband)

    def __str__(self) -> str:
        suffix = "_incomplete" if self.incomplete else ""
        return f"{self.stamp:%Y-%m-%dT%H:%M:%S}_{self.label}{suffix}.hdf5"


def subband_label(subband: int) -> str:
    """Name a subband.

    Parameters
    ----------
    subband : int
        0 to 15.

    Returns
    -------
    str
        ``sb00`` .. ``sb15``.
    """
    return f"sb{subband:02d}"


def parse_subband_name(name: str) -> SubbandName | None:
    """Read the name of a subband file.

    Parameters
    ----------
    name : str
        The last component of a path.

    Returns
    -------
    SubbandName or None
        None if this is not the name of a subband file: another form, a date that does not
        exist, or a subband beyond 15.
    """
    match = _NAME.fullmatch(name)
    if match is None or int(match["subband"]) >= instrument.N_SUBBANDS:
        return None
    try:
        stamp = datetime.fromisoformat(match["stamp"]).replace(tzinfo=UTC)
    except ValueError:
        return None
    return SubbandName(stamp, int(match["subband"]), match["open"] is not None)
