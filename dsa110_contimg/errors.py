"""The three ways in which work can fail, and what each means for a retry."""

from __future__ import annotations


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


class TransientError(ContimgError):
    """The surroundings failed (space, time-out, killed process): trying again may help."""

    default_reason = "transient"


class ScienceQualityError(ContimgError):
    """The work ran, but its result is not fit for science: stop and report."""

    default_reason = "science_quality"


ERROR_CLASSES: dict[str, type[ContimgError]] = {
    cls.__name__: cls for cls in (InputError, TransientError, ScienceQualityError)
}
"""The error classes by name, for errors that cross a process boundary."""
