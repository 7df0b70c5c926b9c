"""What a child does with damaged files, so that a crash of HDF5 is seen and not suffered."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from support.damage import BitFlips, IntactFile

from dsa110_contimg.conversion.chunks import SubbandSamples
from dsa110_contimg.conversion.groups import find_groups
from dsa110_contimg.conversion.hdf5_orchestrator import ConversionOptions, convert_group
from dsa110_contimg.conversion.models import RejectedFile, SubbandGroup
from dsa110_contimg.conversion.uvh5 import read_header
from dsa110_contimg.errors import ContimgError, InputError
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


class NightOptions(Model):
    """A directory of subband files, some of them damaged."""

    input_dir: Path
    """The directory."""
    output_dir: Path
    """Root of the MSs."""
    sandbox_root: Path
    """Where sandboxes stand."""


class GroupOutcome(Model):
    """What became of one group."""

    group: SubbandGroup
    """The group."""
    outcome: str
    """State of the group, or class of the error."""
    reason: str
    """Reason of the error."""
    message: str
    """What the error said."""


class NightOutcome(Model):
    """What became of a directory."""

    groups: list[GroupOutcome]
    """Every group."""
    rejects: list[RejectedFile]
    """Every file in no group."""


def convert_night(options: NightOptions) -> NightOutcome:
    """Find the groups and convert each, as the tasks of a night do."""
    listing = find_groups(options.input_dir)
    outcomes = []
    for group in listing.groups:
        conversion = ConversionOptions(
            group=group,
            output_dir=options.output_dir,
            sandbox_roots=[options.sandbox_root],
            timeout_s=60.0,
            log_dir=options.output_dir / "logs",
        )
        try:
            outcome, reason, message = convert_group(conversion).state, "", ""
        except ContimgError as error:
            outcome, reason, message = type(error).__name__, error.reason, str(error)
        outcomes.append(GroupOutcome(group=group, outcome=outcome, reason=reason, message=message))
    return NightOutcome(groups=outcomes, rejects=listing.rejects)
