"""What a child does with damaged files, so that a crash of HDF5 is seen and not suffered."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from support.damage import BitFlips, IntactFile

from dsa110_contimg.conversion.chunks import SubbandSamples
from dsa110_contimg.conversion.uvh5 import read_header
from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model


class DamagedHeaders(Model):
    """How many copies of what to damage."""

    intact: Path
    """A subband file."""
    scratch: Path
    """Where the copies go, one at a time."""
    count: int
    """How many."""


class HeaderOutcomes(Model):
    """What became of them."""

    outcomes: dict[str, int]
    """``read``, or the reason of the refusal, to number of copies."""


def read_damaged_headers(options: DamagedHeaders) -> HeaderOutcomes:
    """Read copies with 1 to 4 wrong bits outside the samples, header and index of chunks."""
    intact = IntactFile(options.intact)
    copy = options.scratch / options.intact.name
    outcomes: Counter[str] = Counter()
    for seed in range(options.count):
        lot = random.Random(seed)  # noqa: S311
        flips = [(lot.random(), lot.randrange(8)) for _ in range(lot.randint(1, 4))]
        BitFlips(in_data=False, places=tuple(flips)).apply(copy, intact)
        try:
            read_header(copy)
            with SubbandSamples(copy):
                outcomes["read"] += 1
        except InputError as error:
            outcomes[error.reason] += 1
    return HeaderOutcomes(outcomes=dict(outcomes))
