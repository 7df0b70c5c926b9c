"""The registry of solutions: what became of each calibrator transit, in one database.

A night has many processes, on one machine or several, that add and look up at once; so each
change is one transaction, and what a reader sees is whole.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from dsa110_contimg.calibration.models import SolutionSet
from dsa110_contimg.calibration.registry_database import Database
from dsa110_contimg.calibration.registry_schema import sets_table
from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model

_HOURS_PER_DAY = 24.0
_columns = sets_table.c


class SetState(StrEnum):
    """What a set may be used for."""

    GOOD = "good"
    """It may be applied."""
    WITHDRAWN = "withdrawn"
    """An operator took it out of use, and can put it back."""
    REFUSED = "refused"
    """The solve failed, or its solutions were judged poor."""


class SolvedTransit(Model):
    """A calibrator transit of which no solutions came."""

    set_id: str
    """``GROUP_CALIBRATOR``, as its set would be called."""
    calibrator: str
    """Name of the calibrator."""
    group_id: str
    """The group that it was in."""
    mid_mjd: float
    """Middle of the observation, MJD (UTC)."""
    dec_deg: float
    """Declination of its phase centre (ICRS) in degrees."""


class RegisteredSet(SolvedTransit):
    """What is on record of a transit."""

    state: SetState
    """good, withdrawn or refused."""
    reason: str | None = None
    """Why it is not good, in a sentence."""
    created: str
    """When it was first registered, UTC, ISO 8601."""
    changed: str
    """When it was last changed, likewise."""
    solution_set: SolutionSet | None = None
    """The solutions; None if there are none, or `problem` says why they cannot be read."""
    problem: str | None = None
    """What is wrong with the record, if it is damaged."""


def array_digest(array: Sequence[str]) -> str:
    """Shorten an array to what can be compared in a query.

    Parameters
    ----------
    array : sequence of str
        Names of the stations, in the order of their ids.

    Returns
    -------
    str
        16 hexadecimal digits, which depend on names and order.
    """
    return hashlib.sha256(json.dumps(list(array)).encode()).hexdigest()[:16]


class Registry:
    """The sets of solutions in one database.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, `Settings.registry_url`. The file of an SQLite database, its directory
        and the tables are made when they are first needed.

    Raises
    ------
    InputError
        If the URL is wrong. Every method raises `TransientError` if the database is locked or
        out of reach, and `InputError` if it is damaged, of another version, or may not be
        read or written.
    """

    def __init__(self, url: str):
        self._database = Database(url)

    @property
    def name(self) -> str:
        """The file, or the URL without its password."""
        return self._database.name

    def add(self, solution_set: SolutionSet) -> RegisteredSet:
        """Register good solutions in place of what is on record under the same name.

        A set that an operator has withdrawn stays so, for nothing shows that a new solve mended
        what was seen to be wrong: it has to be reinstated.

        Parameters
        ----------
        solution_set : SolutionSet
            The solutions, published already.

        Returns
        -------
        RegisteredSet
            What is on record now.

        Raises
        ------
        InputError
            If time or declination is not a number.
        """
        is_withdrawn = _columns.state == SetState.WITHDRAWN
        return self._put(
            _row_of(solution_set, SetState.GOOD, None),
            state=case((is_withdrawn, _columns.state), else_=SetState.GOOD.value),
            reason=case((is_withdrawn, _columns.reason), else_=None),
        )

    def refuse(self, transit: SolutionSet | SolvedTransit, reason: str) -> RegisteredSet:
        """Register that a transit gave no solutions fit for use, so that none waits for them.

        What is on record under the same name is replaced: the last solve counts.

        Parameters
        ----------
        transit : SolutionSet or SolvedTransit
            The solutions that were judged poor, or the transit if there are none.
        reason : str
            Why, in a sentence.

        Returns
        -------
        RegisteredSet
            What is on record now.

        Raises
        ------
        InputError
            If time or declination is not a number.
        """
        return self._put(_row_of(transit, SetState.REFUSED, reason))

    def withdraw(self, set_id: str, reason: str) -> RegisteredSet:
        """Take a set out of use.

        Parameters
        ----------
        set_id : str
            The set; one that is withdrawn already gets the new reason.
        reason : str
            Why, in a sentence.

        Returns
        -------
        RegisteredSet
            What is on record now.

        Raises
        ------
        InputError
            If there is no such set, or it was refused anyway.
        """
        return self._change(set_id, SetState.WITHDRAWN, reason)

    def reinstate(self, set_id: str) -> RegisteredSet:
        """Put a withdrawn set back into use.

        Parameters
        ----------
        set_id : str
            The set; one that is good already stays so.

        Returns
        -------
        RegisteredSet
            What is on record now.

        Raises
        ------
        InputError
            If there is no such set, or it was refused.
        """
        return self._change(set_id, SetState.GOOD, None)

    def get(self, set_id: str) -> RegisteredSet | None:
        """Look a set up.

        Parameters
        ----------
        set_id : str
            Its name.

        Returns
        -------
        RegisteredSet or None
            What is on record; None if nothing is.
        """
        found = self._find(select(sets_table).where(_columns.set_id == set_id))
        return found[0] if found else None

    def list_sets(
        self,
        start_mjd: float | None = None,
        end_mjd: float | None = None,
        *,
        calibrator: str | None = None,
        state: SetState | None = None,
    ) -> list[RegisteredSet]:
        """List what is on record.

        Parameters
        ----------
        start_mjd, end_mjd : float, optional
            Only transits whose middle lies in this interval, the end excluded; MJD (UTC).
        calibrator : str, optional
            Only transits of this calibrator.
        state : SetState, optional
            Only sets in this state.

        Returns
        -------
        list of RegisteredSet
            In order of time.
        """
        query = select(sets_table).order_by(_columns.mid_mjd, _columns.set_id)
        if start_mjd is not None:
            query = query.where(_columns.mid_mjd >= start_mjd)
        if end_mjd is not None:
            query = query.where(_columns.mid_mjd < end_mjd)
        if calibrator is not None:
            query = query.where(_columns.calibrator == calibrator)
        if state is not None:
            query = query.where(_columns.state == state.value)
        return self._find(query)

    def near(self, mid_mjd: float, hours: float) -> list[RegisteredSet]:
        """List what is on record around a time, whatever its state.

        Parameters
        ----------
        mid_mjd : float
            The time, MJD (UTC).
        hours : float
            How far before and after it to look.

        Returns
        -------
        list of RegisteredSet
            The nearest first; of two as near, by name.
        """
        days = hours / _HOURS_PER_DAY
        within = _columns.mid_mjd.between(mid_mjd - days, mid_mjd + days)
        return self._find(_by_distance(mid_mjd).where(within))

    def nearest(self, mid_mjd: float, limit: int) -> list[RegisteredSet]:
        """List the nearest that is on record, however far it is and whatever its state.

        Parameters
        ----------
        mid_mjd : float
            The time, MJD (UTC).
        limit : int
            How many at most.

        Returns
        -------
        list of RegisteredSet
            The nearest first; of two as near, by name.
        """
        return self._find(_by_distance(mid_mjd).limit(limit))

    def _find(self, query: Select[Any]) -> list[RegisteredSet]:
        """Read the sets that a query selects."""
        with self._database.transaction(write=False) as connection:
            rows = connection.execute(query).mappings().all()
        return [_read_row(row) for row in rows]

    def _put(self, row: dict[str, Any], **replaced: ColumnElement[Any]) -> RegisteredSet:
        """Write a row in place of that of the same set, some columns by an expression."""
        with self._database.transaction(write=True) as connection:
            # Both dialects speak of conflicts alike.
            module = postgresql if connection.dialect.name == "postgresql" else sqlite
            insert = cast("Any", module).insert(sets_table).values(row)
            kept = {
                name: insert.excluded[name] for name in row if name not in ("set_id", "created")
            }
            upsert = insert.on_conflict_do_update(index_elements=["set_id"], set_=kept | replaced)
            written = connection.execute(upsert.returning(sets_table)).mappings().one()
        return _read_row(written)

    def _change(self, set_id: str, state: SetState, reason: str | None) -> RegisteredSet:
        """Let an operator change the state of a set that was not refused."""
        statement = (
            update(sets_table)
            .where(_columns.set_id == set_id, _columns.state != SetState.REFUSED.value)
            .values(state=state.value, reason=reason, changed=_now())
            .returning(sets_table)
        )
        with self._database.transaction(write=True) as connection:
            row = connection.execute(statement).mappings().one_or_none()
            if row is None:
                raise self._unchangeable(connection, set_id)
        return _read_row(row)

    def _unchangeable(self, connection: Connection, set_id: str) -> InputError:
        """Say why an operator cannot change a set."""
        query = select(_columns.reason).where(_columns.set_id == set_id)
        row = connection.execute(query).one_or_none()
        if row is None:
            return InputError(
                f"no set {set_id} is on record in {self.name}",
                reason="unknown_set",
                remedy="list the sets with: dsa110-contimg calibrations",
            )
        return InputError(
            f"the set {set_id} was refused when it was solved: {row.reason}",
            reason="refused_set",
            remedy="solve its transit again",
        )


def _by_distance(mid_mjd: float) -> Select[Any]:
    """Select sets, the nearest in time first."""
    distance = func.abs(_columns.mid_mjd - mid_mjd)
    return select(sets_table).order_by(distance, _columns.set_id)


def _row_of(
    transit: SolutionSet | SolvedTransit, state: SetState, reason: str | None
) -> dict[str, Any]:
    """Make the row of a transit."""
    if not (math.isfinite(transit.mid_mjd) and math.isfinite(transit.dec_deg)):
        raise InputError(
            f"the set {transit.set_id} cannot be registered: its time (MJD {transit.mid_mjd}) or "
            f"its declination ({transit.dec_deg} deg) is not a number",
            reason="bad_set",
        )
    solved = transit if isinstance(transit, SolutionSet) else None
    now = _now()
    return {
        "set_id": transit.set_id,
        "calibrator": transit.calibrator,
        "group_id": transit.group_id,
        "mid_mjd": transit.mid_mjd,
        "dec_deg": transit.dec_deg,
        "array_digest": array_digest(solved.array) if solved else None,
        "state": state.value,
        "reason": reason,
        "created": now,
        "changed": now,
        # Not model_dump: only its JSON writes what is not a number so that it can be read back.
        "solution_set": json.loads(solved.model_dump_json()) if solved else None,
    }


def _read_row(row: RowMapping) -> RegisteredSet:
    """Read a row; a damaged record keeps nobody from the others."""
    values = {name: row[name] for name in RegisteredSet.model_fields if name in row}
    document = values.pop("solution_set")
    solution_set, problem = None, None
    if document is not None:
        try:
            solution_set = SolutionSet.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            problem = f"the record of {row['set_id']} cannot be read: {where}: {first['msg']}"
    return RegisteredSet(**values, solution_set=solution_set, problem=problem)


def _now() -> str:
    """Write the time as provenance does."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
