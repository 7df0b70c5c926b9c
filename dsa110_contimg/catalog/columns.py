"""Columns of tables: which field each one is, and its numbers in the unit of that field."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Column, Table
    from astropy.units import UnitBase

_UNITS: Final = {
    "deg": "deg", "rad": "rad", "jy": "Jy", "hz": "Hz", "s": "s", "ns": "ns", "jd": "d",
}  # fmt: skip
"""Last word of a field's name to its unit: what ends otherwise is a text or a pure number."""

OTHER_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "name": ("Name", "NAME", "Source", "NVSS", "FIRST"),
    "ra_deg": ("_RAJ2000", "RAJ2000", "_RA_icrs", "RA_ICRS", "RA", "ra"),
    "dec_deg": ("_DEJ2000", "DEJ2000", "_DE_icrs", "DE_ICRS", "DEC", "Dec", "dec"),
    "flux_jy": ("S1.4", "Fint"),
}
"""Names that surveys give to a field's column, as VizieR writes them; the first is preferred.
J2000 positions are taken as ICRS: the frames differ by 20 mas. ``S1.4`` and ``Fint`` are those of
NVSS and FIRST, at 1.4 GHz."""

_SEXAGESIMAL_UNITS: Final = {
    "h:m:s": "hourangle", "hms": "hourangle", "d:m:s": "deg", "dms": "deg",
}  # fmt: skip
"""What tables write as the unit of a text to astropy's name of the unit of its first number."""

_LIKELY: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "flux_jy": (r"flux|(?<![a-z])[mu\u00b5\u03bc]?jy(?![a-z])|^s_?\d", ("Jy", "Jy/beam")),
    "ref_freq_hz": (r"freq|^nu\d*(_|$)", ()),
    "spectral_index": (r"^alpha$|^sp(ec)?[-_]?(index|idx)", ()),
}
"""How columns that are probably the field's are called, in small letters, and their units."""


class ColumnError(ValueError):
    """A column, or one of its cells, that cannot be used.

    Parameters
    ----------
    words : str
        What is wrong.
    row : int, optional
        Index of the cell.
    """

    def __init__(self, words: str, row: int | None = None):
        super().__init__(words)
        self.row = row


def unit_of(field: str) -> UnitBase:
    """Name the unit of a field, which its name ends with.

    Parameters
    ----------
    field : str
        Name of the field, e.g. ``flux_jy``.

    Returns
    -------
    UnitBase
        Its unit; dimensionless for what has none.
    """
    from astropy import units

    return units.Unit(_UNITS.get(field.rpartition("_")[2], ""))


def find_column(table: Table, field: str) -> str | None:
    """Find the column of a field.

    Parameters
    ----------
    table : Table
        The table.
    field : str
        Name of the field.

    Returns
    -------
    str or None
        The column of that name, or of the first of `OTHER_NAMES`; None if there is none.

    Raises
    ------
    ColumnError
        If there is none, but one that seems to be meant: its numbers would be lost. Or if there are
        several of one name.
    """
    names = (field, *OTHER_NAMES.get(field, ()))
    for name in names:
        if name in table.colnames:
            # astropy renames the second of two equal columns of a CSV file to NAME_1.
            again = re.compile(rf"{re.escape(name)}(_\d+)?", re.IGNORECASE)
            for other in table.colnames:
                if other not in names and again.fullmatch(other):
                    raise ColumnError(f"there are two columns {name}, one read as {other}")
            return name
    for name in table.colnames:
        if _seems_meant(table[name], name, field):
            raise ColumnError(f"column {name} is not understood; {' or '.join(names)} would do")
    return None


def _seems_meant(column: Column, name: str, field: str) -> bool:
    """Whether a column of another name may be a field's: in other letters, or by its unit."""
    from astropy import units

    stem = field.rpartition("_")[0] if field.rpartition("_")[2] in _UNITS else field
    lower = name.casefold()
    if lower in {field, stem} or (stem != field and lower.startswith(f"{stem}_")):
        return True
    if field not in _LIKELY:
        return False
    unit = units.Unit(column.info.unit or "", parse_strict="silent")
    pattern, kinds = _LIKELY[field]
    return bool(re.search(pattern, lower)) or any(unit.is_equivalent(kind) for kind in kinds)


def read_column(column: Column, field: str) -> list[Any]:
    """Read a column in the unit of a field.

    Parameters
    ----------
    column : Column
        The column.
    field : str
        Name of the field; angles may be sexagesimal, right ascension in hours.

    Returns
    -------
    list
        Texts, or numbers in the field's unit; None where a cell is empty.

    Raises
    ------
    ColumnError
        If the column has a unit that cannot be converted, or none where its name does not tell
        it, or holds what is no number.
    """
    if column.ndim != 1:
        raise ColumnError("a cell holds several values")
    if column.dtype.kind not in "fiuUO":
        raise ColumnError(f"values of the type {column.dtype} are no numbers")
    unit = _unit(column)
    empty = np.ma.getmaskarray(column)
    cells = [
        None if is_empty else cell for cell, is_empty in zip(_plain(column), empty, strict=True)
    ]
    if unit_of(field) == "" and _are_texts(cells):
        return [None if cell is None else str(cell).strip() or None for cell in cells]
    if field == "name":
        return [None if cell is None else str(cell) for cell in cells]
    if field in {"ra_deg", "dec_deg"} and _are_texts(cells) and not _are_numbers(cells):
        return _angles(cells, field, unit)
    if column.info.name != field and unit is None:
        raise ColumnError(f"it has no unit; give it one, or name it {field} if it is that")
    return _convert(cells, field, unit)


def _plain(column: Column) -> Any:
    """Values without unit and mask."""
    return np.ma.getdata(getattr(column, "value", column)).tolist()


def _unit(column: Column) -> UnitBase | None:
    """Give the column's unit, None if it has none."""
    from astropy import units

    given = column.info.unit
    if given is None or str(given) == "":
        return None
    text = str(given).strip('"')
    unit = units.Unit(_SEXAGESIMAL_UNITS.get(text, given), parse_strict="silent")
    if isinstance(unit, units.UnrecognizedUnit):
        raise ColumnError(f"the unit {text!r} is not known; astropy's names are")
    return unit


def _are_texts(cells: list[Any]) -> bool:
    """Whether cells hold texts, not numbers."""
    return any(isinstance(cell, str) for cell in cells)


def _are_numbers(cells: list[Any]) -> bool:
    """Whether all texts are numbers."""
    try:
        _numbers(cells)
    except ColumnError:
        return False
    return True


def _numbers(cells: Sequence[Any]) -> list[float]:
    """Turn cells into numbers, NaN for an empty one."""
    numbers = []
    for row, cell in enumerate(cells):
        try:
            numbers.append(float("nan" if cell is None else cell))
        except (TypeError, ValueError):
            raise ColumnError(f"{str(cell)[:40]!a} is no number", row) from None
    return numbers


def _convert(cells: list[Any], field: str, unit: UnitBase | None) -> list[float | None]:
    """Convert numbers to the unit of a field."""
    from astropy import units

    numbers = np.array(_numbers(cells))
    if unit is not None:
        try:
            numbers = units.Quantity(numbers, unit).to_value(unit_of(field))
        except units.UnitsError:
            wanted = unit_of(field).to_string() or "a pure number"
            raise ColumnError(f"its unit is {unit}, which is not {wanted}") from None
    return [
        None if cell is None else number
        for cell, number in zip(cells, numbers.tolist(), strict=True)
    ]


def _angles(cells: list[Any], field: str, unit: UnitBase | None) -> list[float | None]:
    """Read angles that are sexagesimal, at least one of them."""
    from astropy import units
    from astropy.coordinates import Angle

    base = unit or (units.hourangle if field == "ra_deg" else units.deg)
    if not base.is_equivalent(units.deg):
        raise ColumnError(f"its unit is {base}, which is not of an angle")
    if all(cell is not None and not _are_numbers([cell]) for cell in cells):
        try:
            with warnings.catch_warnings(action="error"):
                return [float(angle) for angle in Angle(cells, unit=base).deg]
        except (ValueError, TypeError, Warning):
            pass  # one by one, to find the row
    return [_angle_of_row(row, cell, field, base) for row, cell in enumerate(cells)]


def _angle_of_row(row: int, cell: Any, field: str, base: UnitBase) -> float | None:
    """Read the angle of one row."""
    if cell is None:
        return None
    what = "right ascension" if field == "ra_deg" else "declination"
    try:
        return parse_angle(what, str(cell), base)
    except ValueError as error:
        raise ColumnError(str(error), row) from None


def parse_angle(what: str, text: str, unit: UnitBase) -> float:
    """Read an angle in degrees.

    Parameters
    ----------
    what : str
        What it is, for the error.
    text : str
        A plain number is in degrees, else it is sexagesimal.
    unit : UnitBase
        Unit of a sexagesimal angle's first number.

    Returns
    -------
    float
        The angle in degrees.

    Raises
    ------
    ValueError
        If it is none.
    """
    from astropy.coordinates import Angle

    try:
        return float(text)
    except ValueError:
        pass
    try:
        # Seconds of 60 and the like are only warned of.
        with warnings.catch_warnings(action="error"):
            return float(Angle(text, unit=unit).deg)
    except (ValueError, TypeError, Warning):
        raise ValueError(f"{text[:40]!a} is not a {what}") from None
