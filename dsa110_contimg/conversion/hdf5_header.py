"""Read items of an HDF5 file; every way in which that can fail becomes a named error.

This is the one place where the exceptions of h5py turn into `InputError`.
"""

from __future__ import annotations

import errno
import importlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import InputError, TransientError

COPY_AGAIN = "copy it again from the correlator, or remove it"
AS_WRITTEN = "use the file as the correlator wrote it"
_DAMAGED = ("garbled_item", "missing_data")
"""Reasons that a copy which went wrong explains; all others are another program's work."""
_WAIT = f"wait for its writer to end; else {COPY_AGAIN}"

_MAX_ITEM_BYTES = 2**26
"""Header items of a full-size file stay below 3 MB."""
_NOT_THE_FILE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
_MESSAGES = (
    ("truncated file", "truncated_file", "is truncated, or is being written", _WAIT),
    ("file signature not found", "not_hdf5", "is not an HDF5 file", COPY_AGAIN),
    (
        "unable to lock file",
        "locked_file",
        "cannot be locked, as the environment variable HDF5_USE_FILE_LOCKING asks",
        "unset the variable: input files are only read, and read without a lock",
    ),
    (
        "already open for write",
        "unclosed_file",
        "is being written, or was not closed by its writer",
        _WAIT,
    ),
)
_FILTERS = {
    307: "bzip2",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32026: "blosc2",
}
"""Numbers of registered HDF5 filters that `hdf5plugin` brings."""


class Hdf5Header:
    """Typed, checked access to the items of one open file.

    Parameters
    ----------
    path : Path
        Where the file is, for messages.
    file : h5py.File
        The open file.
    """

    def __init__(self, path: Path, file: h5py.File):
        self.path = path
        self._file = file

    def fail(self, reason: str, sentence: str, remedy: str | None = None) -> NoReturn:
        """Refuse the file.

        Parameters
        ----------
        reason : str
            Slug.
        sentence : str
            What is wrong, as the predicate of a sentence whose subject is the file.
        remedy : str, optional
            What can be done; default by the reason.

        Raises
        ------
        InputError
            Always.
        """
        usual = COPY_AGAIN if reason in _DAMAGED else AS_WRITTEN
        raise InputError(f"{self.path} {sentence}", reason=reason, remedy=remedy or usual)

    def has(self, name: str) -> bool:
        """Tell whether there is an item.

        Parameters
        ----------
        name : str
            Its path in the file.

        Returns
        -------
        bool
            Whether it is there.
        """
        return name in self._file

    def members(self, name: str) -> list[str]:
        """List what a group holds.

        Parameters
        ----------
        name : str
            Its path in the file.

        Returns
        -------
        list of str
            Names; none of what is no group.
        """
        group = self._file[name]
        return list(group) if isinstance(group, h5py.Group) else []

    def dataset(self, name: str) -> h5py.Dataset:
        """Find a dataset.

        Parameters
        ----------
        name : str
            Its path in the file.

        Returns
        -------
        h5py.Dataset
            The dataset.

        Raises
        ------
        InputError
            If there is none.
        """
        try:
            item = self._file[name]
        except KeyError as error:
            if "doesn't exist" not in str(error):
                raise  # the index is damaged; open_hdf5 says so
            item = None
        if not isinstance(item, h5py.Dataset):
            self.fail("missing_item", f"has no {name}")
        self._check_filters(name, item)
        return item

    def _check_filters(self, name: str, dataset: h5py.Dataset) -> None:
        """Refuse what is compressed by a method that is not installed."""
        plist = dataset.id.get_create_plist()
        for index in range(plist.get_nfilters()):
            number, *_, described = plist.get_filter(index)
            if not _has_filter(number):
                known = _FILTERS.get(number)
                what = known or described.decode("ascii", "replace")[:40] or "an unknown method"
                self.fail(
                    "missing_filter",
                    f"has {name} compressed by {what!r} (HDF5 filter {number}), which is not "
                    "installed",
                    "install the package hdf5plugin" if known else "install the filter's plugin",
                )

    def numbers(
        self,
        name: str,
        shape: tuple[int, ...] | None = None,
        *,
        integer: bool = False,
        finite: bool = True,
    ) -> npt.NDArray[Any]:
        """Read an array of numbers.

        Parameters
        ----------
        name : str
            Path in the file.
        shape : tuple of int, optional
            The shape that it must have.
        integer : bool
            Whether the numbers must be integers.
        finite : bool
            Whether they must be finite.

        Returns
        -------
        ndarray
            float64, or int64 if `integer`.

        Raises
        ------
        InputError
            If it is absent, of another type or shape, or not finite.
        """
        dataset = self.dataset(name)
        if dataset.dtype.kind not in ("iu" if integer else "iuf"):
            kind = "integers" if integer else "numbers"
            self.fail("garbled_item", f"holds {dataset.dtype} instead of {kind} in {name}")
        if shape is not None and dataset.shape != shape:
            self.fail("wrong_shape", f"has {name} of shape {dataset.shape} instead of {shape}")
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.asarray(self._read(name, dataset), np.int64 if integer else np.float64)
        if finite and not np.all(np.isfinite(values)):
            self.fail("garbled_item", f"has values that are not finite in {name}")
        return values

    def number(self, name: str, low: float, high: float) -> float:
        """Read one number between two limits.

        Parameters
        ----------
        name : str
            Path in the file.
        low, high : float
            The limits, inclusive.

        Returns
        -------
        float
            The number.

        Raises
        ------
        InputError
            If it is absent, not a number or beyond the limits.
        """
        value = float(self.numbers(name, ()))
        if not low <= value <= high:
            self.fail("garbled_item", f"has {name} = {value:g}, beyond {low:g} to {high:g}")
        return value

    def count(self, name: str) -> int:
        """Read a count, at least 1.

        Parameters
        ----------
        name : str
            Path in the file.

        Returns
        -------
        int
            The count.

        Raises
        ------
        InputError
            If it is absent, not an integer or less than 1.
        """
        value = int(self.numbers(name, (), integer=True))
        if value < 1:
            self.fail("garbled_item", f"has {name} = {value}")
        return value

    def first(self, name: str, nrows: int) -> float:
        """Read only the first of `nrows` numbers.

        Parameters
        ----------
        name : str
            Path in the file.
        nrows : int
            The length that the array must have.

        Returns
        -------
        float
            The number.

        Raises
        ------
        InputError
            If it is absent, of another type or length, or not finite.
        """
        dataset = self.dataset(name)
        if dataset.dtype.kind != "f" or dataset.shape != (nrows,):
            self.fail(
                "wrong_shape",
                f"has {name} of type {dataset.dtype} and shape {dataset.shape} "
                f"instead of {nrows} floating-point numbers",
            )
        value = float(dataset[0])
        if not np.isfinite(value):
            self.fail("garbled_item", f"has values that are not finite in {name}")
        return value

    def text(self, name: str) -> str:
        """Read a string.

        Parameters
        ----------
        name : str
            Path in the file.

        Returns
        -------
        str
            The string.

        Raises
        ------
        InputError
            If it is absent or not text.
        """
        return self._decode(name, self._read(name, self.dataset(name)))

    def texts(self, name: str, length: int) -> tuple[str, ...]:
        """Read a list of strings.

        Parameters
        ----------
        name : str
            Path in the file.
        length : int
            How many there must be.

        Returns
        -------
        tuple of str
            The strings.

        Raises
        ------
        InputError
            If they are absent, of another number or not text.
        """
        dataset = self.dataset(name)
        if dataset.shape != (length,):
            self.fail("wrong_shape", f"has {name} of shape {dataset.shape} instead of ({length},)")
        return tuple(self._decode(name, item) for item in self._read(name, dataset))

    def _read(self, name: str, dataset: h5py.Dataset) -> Any:
        """Read a whole item, unless its garbled shape would fill the memory."""
        if dataset.nbytes > _MAX_ITEM_BYTES:
            self.fail("wrong_shape", f"has {name} of shape {dataset.shape}")
        return dataset[()]

    def _decode(self, name: str, value: object) -> str:
        """Turn bytes into text."""
        if isinstance(value, str):
            return value
        if not isinstance(value, bytes):
            self.fail("garbled_item", f"has no text in {name}")
        try:
            return value.decode()
        except UnicodeDecodeError:
            self.fail("garbled_item", f"has garbled text in {name}")


@contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5Header]:
    """Open a file for reading; what goes wrong inside the block is named as well.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    Hdf5Header
        Access to its items.

    Raises
    ------
    InputError
        If it is missing, empty, unreadable, truncated, not HDF5 or damaged.
    TransientError
        If this process or the file server, not the file, is at fault.
    """
    with named_errors(path):
        _check_regular(path)
        with open_unlocked(path) as file:
            yield Hdf5Header(path, file)


def open_unlocked(path: Path) -> h5py.File:
    """Open an input file, which is only read, without HDF5's lock.

    Not every file system has locks, and a reader's lock would turn a writer away. That a file is
    still being written is told by its name, its length and its own flags.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    h5py.File
        Open for reading.
    """
    return h5py.File(path, "r", locking=False)


def _has_filter(number: int) -> bool:
    """Whether HDF5 can undo a filter, with the help of hdf5plugin where that is installed."""
    if not h5py.h5z.filter_avail(number):
        with suppress(ImportError):
            importlib.import_module("hdf5plugin")  # registers what it brings
    return bool(h5py.h5z.filter_avail(number))


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Name what goes wrong while a file is opened or read.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    None
        The body uses the file.

    Raises
    ------
    InputError
        If it is missing, empty, unreadable, truncated, not HDF5 or damaged.
    TransientError
        If this process or the file server, not the file, is at fault.
    """
    try:
        yield
    except OSError as error:
        raise _named_os_error(path, error) from error
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        # h5py's answers to a damaged index, link, type or attribute; str() of a KeyError quotes.
        text = error.args[0] if error.args else type(error).__name__
        raise InputError(
            f"{path} is damaged: {text}", reason="damaged_file", remedy=COPY_AGAIN
        ) from error


def _check_regular(path: Path) -> None:
    """Refuse what is not a file with something in it, in better words than HDF5's."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a regular file", reason="not_a_file", remedy="remove it")
    if status.st_size == 0:
        raise InputError(f"{path} is empty", reason="empty_file", remedy=COPY_AGAIN)


def _named_os_error(path: Path, error: OSError) -> InputError | TransientError:
    """Tell the ways apart in which opening or reading a file fails."""
    text = str(error).splitlines()[0]
    if error.errno in _NOT_THE_FILE:
        return TransientError(f"{path} could not be read now: {text}", reason="read_failed")
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path} does not exist", reason="missing_file")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path} is a directory", reason="is_directory", remedy="remove it")
    if isinstance(error, PermissionError):
        return InputError(
            f"{path} may not be read by this user",
            reason="permission_denied",
            remedy="grant read permission on the file and its directories",
        )
    for fragment, reason, sentence, remedy in _MESSAGES:
        if fragment in text:
            return InputError(f"{path} {sentence}", reason=reason, remedy=remedy)
    reason = "damaged_file" if error.errno is None else "unreadable"
    return InputError(f"{path} cannot be read: {text}", reason=reason, remedy=_WAIT)
