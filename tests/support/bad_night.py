"""A night in which nearly everything is wrong that can be wrong with files."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.simulation.night import SimulationOptions, simulate

START = datetime(2026, 1, 25, 1, 0, 0, tzinfo=UTC)
DATE = "2026-01-25"
STEP = timedelta(hours=2)
"""Far enough for the source of one group to be outside the beam of the next."""
SOURCE = Source(name="survivor", ra_deg=22.4, dec_deg=54.6, flux_jy=3.0)
"""Near the meridian during the good group, and outside the beam during the others."""


def make_bad_night(root: Path) -> dict[str, str]:
    """Write the night; return what is wrong by the id of the group."""
    ids: dict[str, str] = {}

    def add(what: str, n_groups: int = 1, **options: object) -> list[Path]:
        """Simulate one group or more, a step after the last."""
        start = START + STEP * len(ids)
        made = simulate(
            SimulationOptions.model_validate(
                {
                    "output_dir": root.parent / f"parts-{what}",
                    "start": start,
                    "n_groups": n_groups,
                    "n_antennas": 4,
                    "sources": [SOURCE],
                    "sefd_jy": 10.0,
                    **options,
                }
            )
        )
        for group in made.groups:
            ids[group.start_utc[:19]] = what
        root.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.move(file, root)) for file in made.files]

    def subband(files: list[Path], number: int) -> Path:
        """Find the file of one subband."""
        return next(file for file in files if f"_sb{number:02d}" in file.name)

    add("good")
    spoilt = add("spoilt", missing=("sb05",))
    os.truncate(subband(spoilt, 3), subband(spoilt, 3).stat().st_size * 2 // 3)
    subband(spoilt, 4).write_bytes(b"")
    subband(spoilt, 7).write_text("502 Bad Gateway\n" * 100)
    strange = add("strange")
    duplicated = subband(strange, 6)
    stamp = datetime.fromisoformat(duplicated.name[:19]) + timedelta(seconds=7)
    shutil.copy(duplicated, root / f"{stamp:%Y-%m-%dT%H:%M:%S}_sb06.hdf5")
    _write_nans(subband(strange, 8))
    _lose_flags(subband(add("no-flags"), 9))
    add("incomplete", missing=tuple(f"sb{k:02d}" for k in range(6)))
    _interleave_names(add("interleaved", n_groups=2, jitter=False))
    return ids


def _write_nans(path: Path) -> None:
    """Put values that are not finite where there should be data."""
    with h5py.File(path, "a") as file:
        file["Data/visdata"][:8, :, :4] = np.nan


def _lose_flags(path: Path) -> None:
    """Delete a dataset that discovery does not look at."""
    with h5py.File(path, "a") as file:
        del file["Data/flags"]


def _interleave_names(files: list[Path]) -> None:
    """Swap the stamps of every other file of two consecutive groups, but for 20 s."""
    stamps = sorted({datetime.fromisoformat(file.name[:19]) for file in files})
    first, second = stamps[0], stamps[-1]
    shift = timedelta(seconds=20)
    swapped = {first: second - shift, second: first + shift}
    for file in files:
        number = int(file.name.partition("_sb")[2][:2])
        stamp = swapped.get(datetime.fromisoformat(file.name[:19]))
        if stamp is not None and number % 2:
            file.rename(file.with_name(f"{stamp:%Y-%m-%dT%H:%M:%S}_sb{number:02d}.hdf5"))
