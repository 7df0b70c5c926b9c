"""What made a product: versions, options and inputs, in one small record."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import Field

from dsa110_contimg.models import Model

_PACKAGES = (
    "dsa110-contimg",
    "casatools",
    "casatasks",
    "casadata",
    "python-casacore",
    "numpy",
    "astropy",
    "h5py",
    "numba",
    "ducc0",
)


class InputFile(Model):
    """One input as it was when it was read."""

    path: str
    """Absolute path."""
    size_bytes: int
    """Size in bytes."""
    mtime_ns: int
    """Modification time, nanoseconds since 1970."""

    def is_unchanged(self, other: InputFile) -> bool:
        """Say whether another look at the same file, by whatever path, found it the same.

        Parameters
        ----------
        other : InputFile
            The other description.

        Returns
        -------
        bool
            Whether size and modification time agree.
        """
        return (self.size_bytes, self.mtime_ns) == (other.size_bytes, other.mtime_ns)


class Provenance(Model):
    """The record that every product carries."""

    created: str
    """UTC, ISO 8601."""
    host: str
    """Name of the machine."""
    versions: dict[str, str]
    """Installed versions of this package and of the libraries that shape the result."""
    options: dict[str, Any]
    """The options of the stage, as JSON."""
    inputs: list[InputFile]
    """The files that were read."""
    calibration: str | None = None
    """Which solutions corrected the data, in a sentence; None if the data are as observed."""
    calibration_sets: list[str] = Field(default_factory=list)
    """Ids of the sets of solutions; two if they were interpolated."""


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str]:
    """Collect the versions of the libraries that shape a result.

    Returns
    -------
    dict of str to str
        Distribution name to version; absent ones are left out.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_input(path: Path) -> InputFile:
    """Describe one input file by path, size and modification time.

    Parameters
    ----------
    path : Path
        An existing file or directory.

    Returns
    -------
    InputFile
        The description.
    """
    stat = path.stat()
    return InputFile(path=str(path.absolute()), size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)


def make_provenance(options: Model, inputs: Sequence[Path | InputFile]) -> Provenance:
    """Record what made a product, now.

    Parameters
    ----------
    options : Model
        The options of the stage.
    inputs : sequence of Path or InputFile
        The files that it read; what is no single file is described by the caller.

    Returns
    -------
    Provenance
        The record.
    """
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        host=platform.node(),
        versions=package_versions(),
        options=options.model_dump(mode="json"),
        inputs=[one if isinstance(one, InputFile) else describe_input(one) for one in inputs],
    )
