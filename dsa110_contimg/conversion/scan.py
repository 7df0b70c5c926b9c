"""What lies in a directory of raw data: subband files, and all the rest with a reason."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dsa110_contimg.conversion.filenames import SubbandName, parse_subband_name
from dsa110_contimg.conversion.models import RejectedFile
from dsa110_contimg.dates import is_date
from dsa110_contimg.errors import InputError

_IS_DIRECTORY = "is a directory that is not searched: only those named YYYY-MM-DD are"


def scan_directory(input_dir: Path) -> tuple[list[tuple[Path, SubbandName]], list[RejectedFile]]:
    """List a directory and its subdirectories named ``YYYY-MM-DD``.

    Nothing is opened. Every entry is either a file with the name of a subband file
    (``_incomplete`` ones as well) or rejected.

    Parameters
    ----------
    input_dir : Path
        The directory.

    Returns
    -------
    files : list of (Path, SubbandName)
        Absolute paths of the subband files with what their names say, in order of path.
    rejects : list of RejectedFile
        Everything else: other files, other directories, dates that may not be read.

    Raises
    ------
    InputError
        If `input_dir` is missing, not a directory or may not be read.
    """
    files: list[tuple[Path, SubbandName]] = []
    rejects: list[RejectedFile] = []
    dates: list[Path] = []
    for path in list_directory(input_dir.absolute()):
        if is_date(path.name) and _refusal(path) == _IS_DIRECTORY:
            dates.append(path)
        else:
            _classify(path, files, rejects)
    for directory in dates:
        try:
            paths = list_directory(directory)
        except InputError as error:
            why = str(error).removeprefix(f"{directory} ")
            rejects.append(_reject(directory, why, unusable=True))
            continue
        for path in paths:
            _classify(path, files, rejects)
    return sorted(files), rejects


def list_directory(directory: Path) -> list[Path]:
    """List a directory.

    Parameters
    ----------
    directory : Path
        The directory.

    Returns
    -------
    list of Path
        Its entries, in order of name.

    Raises
    ------
    InputError
        If it is missing, not a directory or unreadable.
    """
    try:
        with os.scandir(directory) as entries:
            return sorted(directory / entry.name for entry in entries)
    except FileNotFoundError:
        raise InputError(f"{directory} does not exist", reason="missing_directory") from None
    except NotADirectoryError:
        raise InputError(f"{directory} is not a directory", reason="not_a_directory") from None
    except PermissionError:
        raise InputError(
            f"{directory} may not be read by this user",
            reason="permission_denied",
            remedy="grant read and search permission on it",
        ) from None
    except OSError as error:
        raise InputError(
            f"{directory} cannot be listed: {error.strerror}", reason="unreadable_directory"
        ) from error


def _classify(
    path: Path, files: list[tuple[Path, SubbandName]], rejects: list[RejectedFile]
) -> None:
    """Put one entry into one of the two lists."""
    name = parse_subband_name(path.name)
    refusal = _refusal(path)
    if refusal is not None:
        rejects.append(_reject(path, refusal, unusable=name is not None))
    elif name is not None:
        files.append((path, name))
    elif path.suffix == ".hdf5":
        why = "is not named YYYY-MM-DDTHH:MM:SS_sbNN.hdf5, NN 00 to 15"
        rejects.append(_reject(path, why, unusable="_sb" in path.name))
    else:
        rejects.append(_reject(path, "is not a subband file"))


def _refusal(path: Path) -> str | None:
    """Say why an entry is not a regular file; None if it is one."""
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return "may not be looked at by this user (grant search permission on its directory)"
    except OSError:
        return "is a link that leads nowhere"
    if stat.S_ISDIR(mode):
        return _IS_DIRECTORY
    return None if stat.S_ISREG(mode) else "is not a regular file"


def _reject(path: Path, reason: str, *, unusable: bool = False) -> RejectedFile:
    """Make the entry of a reject; names that are not UTF-8 must survive JSON."""
    file = os.fsencode(path).decode(errors="backslashreplace")
    return RejectedFile(file=file, reason=reason, unusable=unusable)
