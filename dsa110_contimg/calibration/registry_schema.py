"""The tables of the registry, in the SQL that SQLite and PostgreSQL share."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, Column, Double, Integer, MetaData, String, Table

SCHEMA_VERSION: Final = 1
"""Raised with every change of the tables that an older program could not live with."""

metadata = MetaData()

schema_table = Table(
    "calibration_schema",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)
"""One row: the version of the tables."""

sets_table = Table(
    "calibration_sets",
    metadata,
    Column("set_id", String, primary_key=True),
    Column("calibrator", String, nullable=False, index=True),
    Column("group_id", String, nullable=False),
    Column("mid_mjd", Double, nullable=False, index=True),
    Column("dec_deg", Double, nullable=False),
    Column("array_digest", String, nullable=True),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=True),
    Column("created", String, nullable=False),
    Column("changed", String, nullable=False),
    Column("solution_set", JSON(none_as_null=True), nullable=True),
)
"""One row for each transit that was solved, well or not."""
