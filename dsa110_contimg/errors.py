"""The three ways in which work can fail, and what each means for a retry."""

from __future__ import annotations

import errno


class ContimgError(Exception):
    """A failure with a name, a cause and, where there is one, a remedy.

    Parameters
    ----------
    message : str
        One sentence that names the file or thing and the cause.
    reason : str, optional
        A short slug for reports and metrics, e.g. ``"truncated_file"``.
    remedy : str, optional
        What the reader can do about it.
    """

    default_reason = "error"

    def __init__(self, message: str, *, reason: str | None = None, remedy: str | None = None):
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class InputError(ContimgError):
    """The input or the request is wrong: trying again cannot help."""

    default_reason = "bad_input"


class SettingsError(InputError):
    """A setting, its file or its variable is wrong: nothing was begun, and the exit status is 2."""

    default_reason = "bad_settings"


class TransientError(ContimgError):
    """The surroundings failed (space, time-out, killed process): trying again may help."""

    default_reason = "transient"


class ScienceQualityError(ContimgError):
    """The work ran, but its result is not fit for science: stop and report."""

    default_reason = "science_quality"


_NO_SPACE = (TransientError, "disk_full", "free space there")
_NO_DESCRIPTOR = (
    TransientError,
    "too_many_open_files",
    "raise the limit of open files (ulimit -n), or run fewer tasks at once",
)
_DENIED = (
    InputError,
    "not_writable",
    "check its owner, its permissions and how its file system is mounted",
)
_OS_ERRORS: dict[int, tuple[type[ContimgError], str, str]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _NO_SPACE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _NO_DESCRIPTOR),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _DENIED),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG), _DENIED),
}


def name_os_error(error: OSError, deed: str, *, denied: str = "not_writable") -> ContimgError:
    """Give what the operating system refused its place among the three ways.

    Parameters
    ----------
    error : OSError
        The refusal.
    deed : str
        What was tried, e.g. ``"cannot write /data/ms/g.ms"``.
    denied : str
        Reason if permissions, or what stands in the way, forbid it.

    Returns
    -------
    ContimgError
        `InputError` if it will be refused again, else `TransientError`: ``disk_full``,
        ``too_many_open_files``, or ``os_error`` for what is not known.
    """
    cls, reason, remedy = _OS_ERRORS.get(error.errno or 0, (TransientError, "os_error", None))
    culprit = str(error.filename or "")
    where = "" if culprit in deed else f" ({culprit})"
    return cls(
        f"{deed}: {error.strerror or error}{where}",
        reason=denied if cls is InputError else reason,
        remedy=remedy,
    )


ERROR_CLASSES: dict[str, type[ContimgError]] = {
    cls.__name__: cls for cls in (InputError, SettingsError, TransientError, ScienceQualityError)
}
"""The error classes by name, for errors that cross a process boundary."""
