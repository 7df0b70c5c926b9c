"""What has happened to the files of a group since its MS was made of them."""

from __future__ import annotations

from pathlib import Path

from dsa110_contimg.conversion.models import Manifest, SubbandGroup
from dsa110_contimg.provenance import InputFile, describe_input


def describe_changes(manifest: Manifest, group: SubbandGroup) -> str:
    """Say why an MS is not what its group would make now.

    An MS is stale if a subband that it lacks has arrived, or if a file that it was made of has
    been written again: another size or time under the same path, or another size where the
    files have moved. It is not stale for want of files: raw data go in time.

    Parameters
    ----------
    manifest : Manifest
        What the MS was made of.
    group : SubbandGroup
        What there is now.

    Returns
    -------
    str
        The predicates of a sentence; empty if the MS is up to date.
    """
    late = sorted(set(group.present) & set(manifest.missing))
    by_path = {one.path: one for one in manifest.provenance.inputs}
    by_name = {Path(one.path).name: one for one in manifest.provenance.inputs}
    changed = [
        label
        for label, file in zip(group.present, group.files, strict=True)
        if _was_written_again(file, by_path.get(file), by_name.get(Path(file).name))
    ]
    found = {"arrived": late, "changed": changed}
    return "; ".join(f"{', '.join(names)} {verb} since" for verb, names in found.items() if names)


def _was_written_again(file: str, here: InputFile | None, elsewhere: InputFile | None) -> bool:
    """Compare a file with what it was, under this path or where it has moved from."""
    try:
        now = describe_input(Path(file))
    except OSError:
        # What was found a moment ago and is gone now is no newer than the MS.
        return False
    if here is not None:
        return (now.size_bytes, now.mtime_ns) != (here.size_bytes, here.mtime_ns)
    return elsewhere is not None and now.size_bytes != elsewhere.size_bytes
