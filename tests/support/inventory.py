"""The inventory of real DSA-110 groups, where it is at hand."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

INVENTORY = (
    Path(__file__).resolve().parents[2].parent / "shared" / "data" / "real_group_inventory.csv"
)


@dataclass(frozen=True)
class InventoryRow:
    """So many subband files bore this time in their names.

    ``from_listing`` tells rows made from listings of file names, a row per stamp, from those
    of a database, a row per group.
    """

    stamp: datetime
    n_subbands: int
    from_listing: bool


def read_inventory() -> list[InventoryRow]:
    """All rows in order of time, outliers included; skips the test where there is no file."""
    if not INVENTORY.exists():
        pytest.skip(f"no {INVENTORY.name} beside the checkout")
    with INVENTORY.open(newline="") as file:
        rows = [
            InventoryRow(
                datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC),
                int(row["n_subbands_found"]),
                row["group_source"] == "fs",
            )
            for row in csv.DictReader(file)
        ]
    return sorted(rows, key=lambda row: row.stamp)
