"""Register sets of solutions again that stand on disk, after the registry was lost."""

from __future__ import annotations

from pathlib import Path

from dsa110_contimg.calibration.models import SolutionSet
from dsa110_contimg.calibration.registry import RegisteredSet, Registry
from dsa110_contimg.calibration.set_files import SET_FILE, read_set, set_dir
from dsa110_contimg.calibration.verify import verify_tables
from dsa110_contimg.models import Model


class PassedOver(Model):
    """A set that was not registered."""

    directory: str
    """Where it stands."""
    reason: str
    """Why, in a sentence."""


class RebuiltRegistry(Model):
    """What was registered again."""

    registered: list[RegisteredSet]
    """As they are on record now, in order of directory."""
    known: int
    """Transits that were on record already; their records stay as they are."""
    passed_over: list[PassedOver]
    """Sets that cannot be used."""


def rebuild_registry(registry: Registry, solutions_dir: Path) -> RebuiltRegistry:
    """Register every set on disk that is not on record.

    That an operator has withdrawn a set is on record nowhere else: it has to be withdrawn again.
    A transit of which no solutions came left nothing on disk, and is not registered.

    Parameters
    ----------
    registry : Registry
        The registry; what it holds is not changed.
    solutions_dir : Path
        Root of the solutions: ``date/set``.

    Returns
    -------
    RebuiltRegistry
        What was registered, and what was not.

    Raises
    ------
    InputError, TransientError
        If the registry cannot be written, or tables cannot be read at the moment.
    """
    root = solutions_dir.absolute()
    passed_over: list[PassedOver] = []
    latest: dict[str, SolutionSet] = {}
    for directory in sorted(path.parent for path in root.glob(f"*/*/{SET_FILE}")):
        found = read_set(directory)
        problem = _problem_of(found, directory, root)
        if found is None or problem is not None:
            passed_over.append(PassedOver(directory=str(directory), reason=problem or ""))
            continue
        # A transit may have poor solutions beside good ones: as ever, the last solve counts.
        rival = latest.get(found.set_id)
        if rival is None or rival.provenance.created < found.provenance.created:
            latest[found.set_id] = found
    lost = [found for found in latest.values() if registry.get(found.set_id) is None]
    registered = [_register(registry, found, root) for found in lost]
    known = len(latest) - len(lost)
    return RebuiltRegistry(registered=registered, known=known, passed_over=passed_over)


def _register(registry: Registry, found: SolutionSet, root: Path) -> RegisteredSet:
    """Register a set as its solve did."""
    if _is_refused(found, root):
        return registry.refuse(found, "; ".join(found.notes) or "its solutions are poor")
    return registry.add(found)


def _problem_of(found: SolutionSet | None, directory: Path, root: Path) -> str | None:
    """Say why a set cannot be registered."""
    if found is None:
        return f"its {SET_FILE} cannot be read"
    if found.directory != str(directory):
        return f"it was solved into {found.directory}: solve its transit again"
    if _is_refused(found, root):
        return None
    refusal = verify_tables(found)
    return refusal.sentence if refusal else None


def _is_refused(found: SolutionSet, root: Path) -> bool:
    """Whether a set is kept for inspection only."""
    return found.directory == str(set_dir(root, found.set_id, is_refused=True))
