"""The one reader of tables: rows in any format of astropy's to models, judged cell by cell."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from dsa110_contimg.catalog.columns import OTHER_NAMES, ColumnError, find_column, read_column
from dsa110_contimg.errors import InputError, name_os_error
from dsa110_contimg.models import Model, first_problem

if TYPE_CHECKING:
    from astropy.table import Table

ModelT = TypeVar("ModelT", bound=Model)

_MOST_NAMED: Final = 3
"""Repeated names that an error lists."""


def load_table(path: Path, what: str = "the source catalogue") -> Table:
    """Read a table in a format that astropy recognizes.

    Parameters
    ----------
    path : Path
        ECSV, CSV, VOTable or FITS.
    what : str
        What the table is, for errors.

    Returns
    -------
    Table
        The table; texts are ``str``, and a name in a CSV file stays as it is written.

    Raises
    ------
    InputError
        If it is absent or cannot be read.
    TransientError
        If it cannot be read now.
    """
    from astropy.io.registry import IORegistryError
    from astropy.table import Table
    from astropy.utils.exceptions import AstropyWarning

    slug = what.rpartition(" ")[2]
    names = ("name", *OTHER_NAMES["name"])
    # As numbers, 007 would be 7 and 1e5 100000.0.
    options: dict[str, Any] = {}
    if path.suffix.lower() == ".csv":  # with a byte order mark, as spreadsheets write it
        options = {"converters": dict.fromkeys(names, str), "encoding": "utf-8-sig"}
    try:
        with warnings.catch_warnings():
            # Units that are not known are refused where they matter.
            warnings.simplefilter("ignore", AstropyWarning)
            warnings.filterwarnings("error", "hdu= was not specified but multiple tables")
            table = Table.read(path, **options)
            # Places and times, in one column, are no fields; they only stand beside them.
            table.keep_columns([one for one in table.colnames if hasattr(table[one], "dtype")])
            table.convert_bytestring_to_unicode()
    except FileNotFoundError as error:
        raise InputError(
            f"no {what.removeprefix('the ')} at {path}", reason=f"missing_{slug}"
        ) from error
    except AstropyWarning as error:
        raise InputError(
            f"{path} holds several tables", reason=f"unreadable_{slug}", remedy="leave one in it"
        ) from error
    except (OSError, ValueError, TypeError, SyntaxError, ImportError, IORegistryError) as error:
        if isinstance(error, OSError) and error.errno:
            raise name_os_error(
                error, f"cannot read {what} {path}", denied=f"unreadable_{slug}"
            ) from error
        raise InputError(
            f"cannot read {what} {path}: {(str(error).splitlines() or [type(error).__name__])[0]}",
            reason=f"unreadable_{slug}",
            remedy="write it as ECSV, CSV, VOTable or FITS",
        ) from error
    return table


def read_rows(path: Path, table: Table, model: type[ModelT]) -> list[ModelT]:
    """Turn the rows of a table into models.

    Parameters
    ----------
    path : Path
        Where the table was read, for errors.
    table : Table
        A column for each field of `model`, under its name or one of `OTHER_NAMES`; those of fields
        with a default may be left out, other columns are ignored. A column
        with a unit is converted to the unit that the field's name ends with.
    model : type
        What a row is; its fields have the ranges.

    Returns
    -------
    list of ModelT
        In the order of the table.

    Raises
    ------
    InputError
        If a column is missing or has no unit that fits, or a cell holds a bad value.
    """
    columns = _find_columns(path, table, model)
    cells = {field: _read(path, table, field, name) for field, name in columns.items()}
    rows = []
    for index in range(len(table)):
        # An empty cell is only no mistake where nothing is a value: a flux density may be unknown.
        given = {
            field: values[index]
            for field, values in cells.items()
            if values[index] is not None or model.model_fields[field].default is None
        }
        empty = [columns[field] for field in cells if field not in given]
        if empty:
            raise _bad_cell(path, index, given.get("name"), empty[0], "is empty")
        try:
            rows.append(model.model_validate(given))
        except ValidationError as error:
            field, words = first_problem(error)
            column = columns.get(field or "")
            raise _bad_cell(path, index, given.get("name"), column, words) from error
    return rows


def repeated_names(names: Iterable[tuple[str, str]]) -> list[str]:
    """List names that cannot be told apart where products are filed by name.

    Parameters
    ----------
    names : iterable of (str, str)
        Where each name stands, e.g. ``row 3``, and the name.

    Returns
    -------
    list of str
        A sentence for each that is another's before it, in capitals or not.
    """
    first: dict[str, tuple[str, str]] = {}
    problems = []
    for where, name in names:
        place, other = first.setdefault(name.casefold(), (where, name))
        if place != where:
            case = "" if name == other else f", {other}, but for capitals"
            problems.append(f"{where}: the name {name} is that of {place}{case}")
    return problems


def list_briefly(problems: list[str]) -> str:
    """Join the first few problems, and count the rest.

    Parameters
    ----------
    problems : list of str
        Sentences.

    Returns
    -------
    str
        For an error's message.
    """
    more = len(problems) - _MOST_NAMED
    return "; ".join(problems[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _find_columns(path: Path, table: Table, model: type[Model]) -> dict[str, str]:
    """Find the column of each field."""
    columns = {}
    missing = []
    unclear = []
    for field, info in model.model_fields.items():
        try:
            name = find_column(table, field)
        except ColumnError as error:
            unclear.append(error)
            continue
        if name is not None:
            columns[field] = name
        elif info.is_required():
            missing.append(field)
    if missing:
        also = [f"{field}: {', '.join(OTHER_NAMES.get(field, (field,)))}" for field in missing]
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}",
            reason="catalogue_columns",
            remedy=f"these would do, too: {'; '.join(also)}",
        )
    if unclear:
        raise InputError(f"{path}: {unclear[0]}", reason="catalogue_columns") from unclear[0]
    return columns


def _read(path: Path, table: Table, field: str, name: str) -> list[Any]:
    """Read one column; what is wrong is said with its place."""
    try:
        return read_column(table[name], field)
    except ColumnError as error:
        if error.row is not None:
            raise _bad_cell(path, error.row, None, name, str(error)) from error
        raise InputError(
            f"{path}, column {name}: {error}",
            reason="catalogue_unit",
            remedy=f"for {field} it is converted from any unit of that kind that astropy knows",
        ) from error


def _bad_cell(path: Path, index: int, name: object, column: str | None, words: str) -> InputError:
    """Name a cell and what is wrong with it."""
    named = f" ({str(name)[:40]!a})" if name and column != "name" else ""
    of_column = f", column {column}" if column else ""
    return InputError(
        f"{path}, row {index + 1}{named}{of_column}: {words}", reason="catalogue_value"
    )
