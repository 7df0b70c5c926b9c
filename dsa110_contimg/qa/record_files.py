"""The files of a night's records: read whole or as damaged, and changed by one run at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from dsa110_contimg.errors import InputError, TransientError, name_os_error
from dsa110_contimg.models import Model
from dsa110_contimg.qa.record_models import UnreadableRecord

RecordT = TypeVar("RecordT", bound=Model)

_PATIENCE_S = 60.0
"""Records are small: who holds them longer hangs."""


def file_name(name: str, suffix: str = ".json") -> str:
    """Turn the name of a group, source or stage into that of its record.

    Parameters
    ----------
    name : str
        The name.
    suffix : str, optional
        What ends the name of the file.

    Returns
    -------
    str
        Name of a file.

    Raises
    ------
    InputError
        If it would lead elsewhere.
    """
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise InputError(
            f"{name!r} cannot be filed: it is not fit for a file name", reason="bad_name"
        )
    return f"{name}{suffix}"


def read_all(
    folder: Path, model: type[RecordT], unreadable: list[UnreadableRecord]
) -> list[RecordT]:
    """Read the records in a folder, leaving out those that are being written.

    Parameters
    ----------
    folder : Path
        The folder; it need not exist.
    model : type
        What they are.
    unreadable : list of UnreadableRecord
        Gets the damaged ones.

    Returns
    -------
    list of RecordT
        In order of name.
    """
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    return read_paths(paths, model, unreadable)


def read_paths(
    paths: list[Path], model: type[RecordT], unreadable: list[UnreadableRecord]
) -> list[RecordT]:
    """Read records, and pass over absent ones.

    Parameters
    ----------
    paths : list of Path
        The files.
    model : type
        What they are.
    unreadable : list of UnreadableRecord
        Gets the damaged ones.

    Returns
    -------
    list of RecordT
        In the order of `paths`.
    """
    records = []
    for path in paths:
        try:
            records.append(model.model_validate_json(path.read_bytes()))
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = error.strerror or str(error)
            unreadable.append(UnreadableRecord(file=str(path.absolute()), reason=reason))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = f"{where}: {first['msg']}" if where else first["msg"]
            unreadable.append(UnreadableRecord(file=str(path.absolute()), reason=reason))
    return records


@contextmanager
def only_writer(records_dir: Path) -> Iterator[None]:
    """Keep other runs on the same night from writing between a look and the write.

    Parameters
    ----------
    records_dir : Path
        Directory of the night's records; made if it is not there.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    TransientError
        If another run does not let go, or there is no space.
    InputError
        If the directory may not be written.
    """
    try:
        records_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(records_dir / ".writer.lock", timeout=_PATIENCE_S)
        lock.acquire()
    except Timeout as error:
        raise TransientError(
            f"another run has been writing to {records_dir} for {_PATIENCE_S:.0f} s",
            reason="record_held",
        ) from error
    except OSError as error:
        raise name_os_error(error, f"cannot write records to {records_dir}") from error
    try:
        yield
    finally:
        lock.release()
