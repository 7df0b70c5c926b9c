"""Which files the parameters of a run may name: those below the roots of the settings."""

from __future__ import annotations

import os
from pathlib import Path

from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.pools import MAX_PATH
from dsa110_contimg.settings import Settings


def find_roots(settings: Settings) -> list[Path]:
    """List the directories below which a run may name files.

    Parameters
    ----------
    settings : Settings
        The settings in force.

    Returns
    -------
    list of Path
        Without symbolic links, and none below another.
    """
    roots = dict.fromkeys(Path(os.path.realpath(root)) for root in settings.path_roots)
    return [root for root in roots if roots.keys().isdisjoint(root.parents)]


def allowed_path(text: str, what: str, settings: Settings) -> Path:
    """Take a path from the parameters of a run.

    Whoever may trigger a run may not thereby read all that the pipeline can.

    Parameters
    ----------
    text : str
        The path as given; absolute, for tasks run in directories of their own.
    what : str
        What it is, in words that begin a sentence, e.g. ``"the input directory"``.
    settings : Settings
        The settings in force; the path must lie below one of their `path_roots`.

    Returns
    -------
    Path
        Without symbolic links: it is what was checked. It need not exist.

    Raises
    ------
    InputError
        If it is no absolute path, or leads out of the roots.
    """
    if len(text) > MAX_PATH:
        raise InputError(
            f"{what} has {len(text)} characters, more than the {MAX_PATH} of a path",
            reason="bad_path",
            remedy="type it anew",
        )
    if not Path(text).is_absolute():
        raise InputError(
            f"{what} {text!r} is not an absolute path",
            reason="relative_path",
            remedy="begin it with /",
        )
    try:
        path = Path(os.path.realpath(text))
    except ValueError as error:
        raise InputError(
            f"{what} {text!r} is not a path: {error}", reason="bad_path", remedy="type it anew"
        ) from None
    roots = find_roots(settings)
    # Airflow's home is below the work directory, and holds secrets.
    secret = os.path.realpath(settings.work_dir / "airflow")
    is_inside = any(path.is_relative_to(root) for root in roots)
    if not is_inside or path.is_relative_to(secret):
        leads = "" if str(path) == text else f", which leads to {path},"
        raise InputError(
            f"{what} {text}{leads} lies outside the directories that a run may name: "
            f"{', '.join(map(str, roots))}",
            reason="path_not_allowed",
            remedy="an administrator can add its directory to the setting allowed_roots "
            "(DSA110_CONTIMG_ALLOWED_ROOTS)",
        )
    return path
