"""The registry is lost, and made again from the sets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.solution_sets import publish_set

from dsa110_contimg.calibration.models import SolutionSet
from dsa110_contimg.calibration.rebuild import rebuild_registry
from dsa110_contimg.calibration.registry import Registry, SetState
from dsa110_contimg.calibration.set_files import SET_FILE, set_dir

pytestmark = pytest.mark.casa

DATE = "2026-01-25"
KEPT, POOR, WITHDRAWN = (f"{DATE}T{hour}:06:19_0834+555" for hour in ("08", "09", "10"))

Solve = Callable[..., SolutionSet]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "calibration"


@pytest.fixture
def solve(root: Path) -> Solve:
    """What a solve leaves on disk."""

    def make(name: str, *, refused: bool = False, created: str = "", **changes: Any) -> SolutionSet:
        directory = set_dir(root, name, is_refused=refused)
        made = publish_set(directory.parent, directory.name, set_id=name, **changes)
        if created:
            provenance = made.provenance.model_copy(update={"created": created})
            made = made.model_copy(update={"provenance": provenance})
        (directory / SET_FILE).write_text(made.model_dump_json())
        return made

    return make


def lost(root: Path) -> Registry:
    """An empty registry beside the sets."""
    return Registry(f"sqlite:///{root / 'registry.sqlite'}")


def test_what_stands_on_disk_is_registered(root: Path, solve: Solve) -> None:
    good = solve(KEPT)
    solve(POOR, refused=True, notes=["[SNR] 2.1 is below 5"])
    registry = lost(root)
    rebuilt = rebuild_registry(registry, root)
    assert (rebuilt.known, rebuilt.passed_over) == (0, [])
    assert {record.set_id: record.state for record in rebuilt.registered} == {
        KEPT: SetState.GOOD,
        POOR: SetState.REFUSED,
    }
    assert registry.get(KEPT).solution_set == good  # type: ignore[union-attr]
    assert registry.get(POOR).reason == "[SNR] 2.1 is below 5"  # type: ignore[union-attr]
    again = rebuild_registry(registry, root)
    assert (again.registered, again.known) == ([], 2)


def test_what_is_on_record_stays(root: Path, solve: Solve) -> None:
    registry = lost(root)
    registry.add(solve(WITHDRAWN))
    before = registry.withdraw(WITHDRAWN, "wind")
    assert rebuild_registry(registry, root).known == 1
    assert registry.get(WITHDRAWN) == before


@pytest.mark.parametrize(
    ("poor_is_later", "state"), [(True, SetState.REFUSED), (False, SetState.GOOD)]
)
def test_the_last_solve_of_a_transit_counts(
    root: Path, solve: Solve, poor_is_later: bool, state: SetState
) -> None:
    early, late = "2026-01-25T09:00:00.000+00:00", "2026-01-26T09:00:00.000+00:00"
    solve(KEPT, created=early if poor_is_later else late)
    solve(KEPT, refused=True, created=late if poor_is_later else early)
    [record] = rebuild_registry(lost(root), root).registered
    assert record.state is state


def test_what_cannot_be_used_is_named(root: Path, solve: Solve) -> None:
    """A damaged table, a damaged description, and a set that was moved."""
    table = Path(solve(KEPT).directory) / "gain.cal" / "table.dat"
    table.write_bytes(table.read_bytes()[:-1])
    (Path(solve(POOR).directory) / SET_FILE).write_text("{")
    Path(solve(WITHDRAWN).directory).rename(root / DATE / "elsewhere")
    registry = lost(root)
    rebuilt = rebuild_registry(registry, root)
    assert rebuilt.registered == registry.list_sets() == []
    reasons = " ".join(one.reason for one in rebuilt.passed_over)
    assert len(rebuilt.passed_over) == 3
    for words in ("hashes differ", "cannot be read", "was solved into"):
        assert words in reasons


def test_nothing_on_disk(root: Path) -> None:
    rebuilt = rebuild_registry(lost(root), root)
    assert (rebuilt.registered, rebuilt.known, rebuilt.passed_over) == ([], 0, [])
