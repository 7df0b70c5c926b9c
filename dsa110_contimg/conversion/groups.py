"""Find the groups of subband files in a directory, and lose no file on the way.

The header decides: files whose first integrations coincide are one observation. The file
name, which jitters between the subbands, serves to skip files far outside an interval and
to tell which group a file that cannot be read was meant for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median_low
from typing import TypeVar

from dsa110_contimg import instrument
from dsa110_contimg.conversion.filenames import (
    NAME_MARGIN,
    SubbandName,
    parse_subband_name,
    subband_label,
)
from dsa110_contimg.conversion.models import (
    GroupListing,
    GroupState,
    RejectedFile,
    SubbandGroup,
)
from dsa110_contimg.conversion.scan import scan_directory
from dsa110_contimg.conversion.uvh5 import QuickHeader, check_quick_consistent, read_quick_header
from dsa110_contimg.errors import InputError

T = TypeVar("T")

_SAME_START = timedelta(seconds=instrument.INTEGRATION_TIME_S / 2)
"""Starts nearer than this are one observation; the next one begins 309 s later."""
_JITTER = timedelta(seconds=instrument.FILENAME_JITTER_S)


@dataclass(frozen=True)
class FoundFile:
    """A file with the name of a subband file, and what it holds.

    Attributes
    ----------
    path : Path
        Absolute path.
    name : SubbandName
        What its name says.
    header : QuickHeader, optional
        What its header says; None if it cannot be used.
    defect : str
        Why not, as the predicate of a sentence whose subject is the file.
    """

    path: Path
    name: SubbandName
    header: QuickHeader | None = None
    defect: str = ""


def find_groups(
    input_dir: Path,
    start: datetime | None = None,
    end: datetime | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GroupListing:
    """Group the subband files of a directory into observations.

    Subdirectories named ``YYYY-MM-DD`` are searched as well, others are rejected. With an
    interval, the listing holds the groups whose ids lie in ``[start, end)`` with the files
    that were meant for them, and everything that is no subband file; only files whose
    names lie within 6 min of the interval are opened.

    The id of a group is the start of its first integration by the header, to the nearest
    second. All subbands share that time, so the id does not depend on which of them are
    present, late or misnamed, as the jittering file names do.

    Parameters
    ----------
    input_dir : Path
        Directory of raw subband files.
    start, end : datetime, optional
        The interval; times without a zone are UTC.
    progress : callable, optional
        Called with the number of files looked at and the number of all, after each.

    Returns
    -------
    GroupListing
        Groups in order of time; all other files with a reason.

    Raises
    ------
    InputError
        If the directory is missing or unreadable, or the interval is empty.
    TransientError
        If a header could not be read for a reason that lies outside the file.
    """
    entries, rejects = scan_directory(input_dir)
    near = _select_near(entries, start, end)
    files = []
    for path, name in near:
        files.append(_inspect(path, name))
        if progress is not None:
            progress(len(files), len(near))
    return group_files(files, start, end, rejects)


def find_files(
    input_dir: Path, start: datetime | None = None, end: datetime | None = None
) -> list[Path]:
    """List the subband files whose names lie near an interval, without opening one.

    Parameters
    ----------
    input_dir : Path
        Directory of raw subband files.
    start, end : datetime, optional
        The interval; times without a zone are UTC.

    Returns
    -------
    list of Path
        Those that `find_groups` would open, and those that are still being written.

    Raises
    ------
    InputError
        If the directory is missing or unreadable, or the interval is empty.
    """
    entries, _ = scan_directory(input_dir)
    return [path for path, _ in _select_near(entries, start, end)]


def _select_near(
    entries: Iterable[tuple[Path, SubbandName]], start: datetime | None, end: datetime | None
) -> list[tuple[Path, SubbandName]]:
    """Select the files whose names lie near an interval."""
    interval = _Interval.of(start, end)
    return [(path, name) for path, name in entries if interval.is_near(name.stamp)]


def group_files(
    files: Iterable[FoundFile],
    start: datetime | None = None,
    end: datetime | None = None,
    rejects: Iterable[RejectedFile] = (),
) -> GroupListing:
    """Group files whose headers have been read.

    Of several usable files of one subband the one is kept whose name lies nearest the
    median of the names, then the first by name, then the first by path.

    Parameters
    ----------
    files : iterable of FoundFile
        The files, in any order.
    start, end : datetime, optional
        Only groups whose ids lie in ``[start, end)``.
    rejects : iterable of RejectedFile
        Files to list as rejected besides.

    Returns
    -------
    GroupListing
        The same for every order of `files`.
    """
    interval = _Interval.of(start, end)
    files = sorted(files, key=lambda file: str(file.path))
    usable = [(file, file.header) for file in files if file.header is not None]
    usable.sort(key=lambda pair: pair[1].start_utc)
    clusters = _split_at_gaps(usable, lambda pair: pair[1].start_utc, _SAME_START)
    observations = [_Observation.of(cluster) for cluster in clusters]
    homeless = _assign_unusable(files, observations)

    inside = [observation for observation in observations if observation.start in interval]
    listed = [*rejects, *(reject for observation in inside for reject in observation.rejects())]
    listed += [_Refused.of(file).reject() for file in homeless if file.name.stamp in interval]
    return GroupListing(
        groups=[observation.group() for observation in inside],
        rejects=sorted(listed, key=lambda reject: reject.file),
    )


def cluster_by_name(names: Iterable[SubbandName]) -> list[list[SubbandName]]:
    """Cluster file names in time; more than 60 s between neighbours begins a new cluster.

    A limit on the span of a cluster would tear real groups apart: after some restarts the
    names of one group run on over 82 s.

    Parameters
    ----------
    names : iterable of SubbandName
        In any order, repeated names as well.

    Returns
    -------
    list of list of SubbandName
        In order of time; every name in exactly one cluster.
    """
    return _split_at_gaps(sorted(names), lambda name: name.stamp, _JITTER)


def list_lost(listing: GroupListing) -> dict[str, list[RejectedFile]]:
    """List the raw files that cannot be used and belong to no group, those of one time together.

    Parameters
    ----------
    listing : GroupListing
        What was found.

    Returns
    -------
    dict
        The earliest time in their names, written as the id of a group, to the files; the path of
        what bears no time to that alone.
    """
    of_groups = {file.file for group in listing.groups for file in group.unusable}
    lost: dict[str, list[RejectedFile]] = {}
    named: dict[SubbandName, list[RejectedFile]] = {}
    for reject in listing.rejects:
        name = parse_subband_name(Path(reject.file).name)
        if not reject.unusable or reject.file in of_groups:
            continue
        if name is None:
            lost[reject.file] = [reject]
        else:
            named.setdefault(name, []).append(reject)
    for cluster in cluster_by_name(named):
        group_id = f"{cluster[0].stamp:%Y-%m-%dT%H:%M:%S}"
        lost[group_id] = [reject for name in cluster for reject in named[name]]
    return lost


def _split_at_gaps(
    ordered: Iterable[T], time: Callable[[T], datetime], gap: timedelta
) -> list[list[T]]:
    """Split what is in order of time wherever neighbours are more than `gap` apart."""
    clusters: list[list[T]] = []
    for item in ordered:
        if clusters and time(item) - time(clusters[-1][-1]) <= gap:
            clusters[-1].append(item)
        else:
            clusters.append([item])
    return clusters


def _inspect(path: Path, name: SubbandName) -> FoundFile:
    """Read the header of one file, unless the file is not there to be read yet."""
    if name.incomplete:
        return FoundFile(path, name, defect="is still being written")
    try:
        return FoundFile(path, name, read_quick_header(path))
    except InputError as error:
        return FoundFile(path, name, defect=str(error).removeprefix(f"{path} "))


@dataclass(frozen=True)
class _Refused:
    """A file that is not taken, and the predicate that says why."""

    file: FoundFile
    reason: str
    is_spare: bool = False
    """Whether nothing is lost by it: another copy is taken, or it is still being written."""

    @classmethod
    def of(cls, file: FoundFile) -> _Refused:
        """Refuse a file for its own defect."""
        return cls(file, file.defect, is_spare=file.name.incomplete)

    def reject(self) -> RejectedFile:
        """State it."""
        return RejectedFile(
            file=str(self.file.path), reason=self.reason, unusable=not self.is_spare
        )


@dataclass
class _Observation:
    """One observation: the files kept, and those refused."""

    start: datetime
    kept: dict[int, FoundFile]
    refused: list[_Refused] = field(default_factory=list)

    @classmethod
    def of(cls, members: list[tuple[FoundFile, QuickHeader]]) -> _Observation:
        """Choose among the files of one cluster; at least one is kept."""
        odd = dict(check_quick_consistent([header for _, header in members]))
        agreeing = [(file, header) for file, header in members if file.path not in odd]
        refused = [_Refused(file, odd[file.path]) for file, _ in members if file.path in odd]
        middle = median_low(file.name.stamp for file, _ in agreeing)
        agreeing.sort(
            key=lambda pair: (abs(pair[0].name.stamp - middle), pair[0].name, str(pair[0].path))
        )
        kept: dict[int, FoundFile] = {}
        for file, _ in agreeing:
            best = kept.setdefault(file.name.subband, file)
            if best is not file:
                reason = f"repeats {file.name.label}, for which {best.path} is kept"
                refused.append(_Refused(file, reason, is_spare=True))
        start = _nearest_second(agreeing[0][1].start_utc)
        return cls(start, dict(sorted(kept.items())), refused)

    @property
    def middle(self) -> datetime:
        """Median of the stamps in the names of the files kept."""
        return median_low(file.name.stamp for file in self.kept.values())

    def group(self) -> SubbandGroup:
        """State what the observation has and lacks."""
        missing = [sb for sb in range(instrument.N_SUBBANDS) if sb not in self.kept]
        return SubbandGroup(
            group_id=f"{self.start:%Y-%m-%dT%H:%M:%S}",
            state=GroupState.of(len(self.kept)),
            present=[subband_label(subband) for subband in self.kept],
            missing=[subband_label(subband) for subband in missing],
            files=[str(file.path) for file in self.kept.values()],
            problems=self._problems(),
            unusable=self._unusable(),
        )

    def rejects(self) -> list[RejectedFile]:
        """List the files that were meant for this observation and are not taken."""
        return [refused.reject() for refused in self.refused]

    def _unusable(self) -> list[RejectedFile]:
        """List the files that are lost for it, in order of subband."""
        lost = [refused for refused in self.refused if not refused.is_spare]
        lost.sort(key=lambda refused: (refused.file.name.subband, str(refused.file.path)))
        return [refused.reject() for refused in lost]

    def _problems(self) -> list[str]:
        """Say what is wrong, in order of subband."""
        middle = self.middle
        found = [(refused.file, refused.reason) for refused in self.refused]
        for file in self.kept.values():
            offset = file.name.stamp - middle
            if abs(offset) > _JITTER:
                seconds = offset.total_seconds()
                found.append((file, f"has a name {seconds:+.0f} s from those of its group"))
        found.sort(key=lambda item: (item[0].name.subband, str(item[0].path)))
        problems = [f"{file.name.label}: {file.path.name} {reason}" for file, reason in found]
        if abs(middle - self.start) > NAME_MARGIN:
            problems.append(
                f"the file names lie {(middle - self.start).total_seconds():+.0f} s from the "
                "start of the data; the headers' time is taken"
            )
        return problems


def _assign_unusable(files: list[FoundFile], observations: list[_Observation]) -> list[FoundFile]:
    """Give each unusable file to the group that its name points to; return those left over.

    Where two groups share a cluster of names, the one that lacks the subband gets the file,
    then the one whose names are nearest.
    """
    cluster_of = {
        name: number
        for number, cluster in enumerate(cluster_by_name({file.name for file in files}))
        for name in cluster
    }
    hosts: dict[int, list[_Observation]] = {}
    for observation in observations:
        for number in {cluster_of[file.name] for file in observation.kept.values()}:
            hosts.setdefault(number, []).append(observation)
    left_over = []
    for file in files:
        if file.header is not None:
            continue
        near = hosts.get(cluster_of[file.name], [])
        if near:
            _nearest(near, file.name).refused.append(_Refused.of(file))
        else:
            left_over.append(file)
    return left_over


def _nearest(observations: list[_Observation], name: SubbandName) -> _Observation:
    """Choose the observation that a file was most likely meant for."""
    return min(
        observations,
        key=lambda one: (name.subband in one.kept, abs(name.stamp - one.middle), one.start),
    )


def _nearest_second(time: datetime) -> datetime:
    """Round to the nearest second."""
    return (time + timedelta(seconds=0.5)).replace(microsecond=0)


@dataclass(frozen=True)
class _Interval:
    """A half-open interval of time, open-ended where a limit is None."""

    start: datetime | None
    end: datetime | None

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None) -> _Interval:
        """Take times without a zone as UTC, and refuse an empty interval."""
        limits = [
            limit.replace(tzinfo=UTC) if limit is not None and limit.tzinfo is None else limit
            for limit in (start, end)
        ]
        interval = cls(*limits)
        if interval.start and interval.end and interval.start >= interval.end:
            raise InputError(
                f"the interval {interval.start.isoformat()} to {interval.end.isoformat()} is empty",
                reason="empty_interval",
                remedy="give an end after the start",
            )
        return interval

    def __contains__(self, time: datetime) -> bool:
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)

    def is_near(self, stamp: datetime) -> bool:
        """Whether a file of this name may belong to a group of the interval."""
        return (self.start is None or stamp >= self.start - NAME_MARGIN) and (
            self.end is None or stamp < self.end + NAME_MARGIN
        )
