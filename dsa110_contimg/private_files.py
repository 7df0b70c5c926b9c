"""A file that holds a password is its owner's alone, or it is refused, as ssh refuses such keys."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsa110_contimg.errors import SettingsError

_SECRET_NAME = re.compile(r"password|passwd|secret|token|webhook", re.IGNORECASE)
_URL_WITH_PASSWORD = re.compile(r"://[^/?#@\s]*:[^/?#@\s]+@")


def require_private(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a configuration file with a secret that other users of the machine can read.

    Parameters
    ----------
    path : Path
        The file; need not exist.
    content : mapping
        What it says, by name: a value is a secret by its name, or if it is a URL with a password.

    Raises
    ------
    SettingsError
        If a secret can be read, or replaced, by others. The message does not repeat it.
    """
    secrets = [name for name, value in content.items() if _is_secret(name, value)]
    if not secrets or not path.exists():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(
            f"{path} holds a secret ({', '.join(secrets)}) and is open to others: mode {mode:04o}",
            reason="readable_secret",
            remedy=f"chmod 600 {path}, or give the secret in the environment",
        )


def _is_secret(name: str, value: Any) -> bool:
    """Tell a secret from what everyone may know."""
    return bool(value) and (
        _SECRET_NAME.search(name) is not None
        or (isinstance(value, str) and _URL_WITH_PASSWORD.search(value) is not None)
    )
