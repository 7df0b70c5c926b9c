"""Where settings come from, and the one sentence that says what is wrong with one.

A value is never repeated: it may be a password that was written where another program wants it.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from dsa110_contimg.errors import SettingsError, name_os_error

PREFIX: Final = "DSA110_CONTIMG_"
CONFIG_FILE_VARIABLE: Final = f"{PREFIX}CONFIG"
DEFAULT_FILE: Final = "dsa110-contimg.toml"
_OTHER_VARIABLES: Final = {"CONFIG", "FORKSERVER", "AIRFLOW_USER", "AIRFLOW_PASSWORD", "IMAGE"}
"""Our variables that are no settings: places, a login, and the image of the compose file."""


def find_settings_file() -> Path:
    """Name the settings file: the one of ``DSA110_CONTIMG_CONFIG``, else the current directory's.

    Returns
    -------
    Path
        The file; the one in the current directory need not exist.
    """
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    return _expand(named) if named else Path(DEFAULT_FILE)


def read_settings_file() -> dict[str, Any]:
    """Read the settings file.

    Returns
    -------
    dict
        Its names and values; empty if there is none.

    Raises
    ------
    SettingsError
        If it was named and does not exist, cannot be read, or is not TOML.
    """
    path = find_settings_file()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if not os.environ.get(CONFIG_FILE_VARIABLE):
            return {}
        message = f"the settings file {path}, which {CONFIG_FILE_VARIABLE} names, does not exist"
        raise SettingsError(message, remedy="correct or unset the variable") from None
    except OSError as error:
        message = str(name_os_error(error, f"cannot read the settings file {path}"))
        raise SettingsError(message) from None
    except UnicodeDecodeError:
        raise SettingsError(f"the settings file {path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"the settings file {path} is not TOML: {error}",
            remedy="a line is: name = value, and text stands in quotes",
        ) from None


def refuse_unknown_variables(fields: Collection[str]) -> None:
    """Refuse variables with our prefix that are no setting: most are misspelled.

    Parameters
    ----------
    fields : collection of str
        Names of the settings.

    Raises
    ------
    SettingsError
        With the name that was meant, as far as it can be guessed.
    """
    known = {name.upper() for name in fields} | _OTHER_VARIABLES
    for variable in os.environ:
        name = variable.upper().removeprefix(PREFIX)
        if variable.upper().startswith(PREFIX) and name not in known:
            close = [f"{PREFIX}{match}" for match in difflib.get_close_matches(name, known, 1)]
            raise SettingsError(
                f"the environment variable {variable} is no setting",
                remedy=_suggest(close, "unset it; docs/operations/install.md lists the settings"),
            )


def expand_path(value: str | Path) -> Path:
    """Read a path, with ``~`` for the home.

    Parameters
    ----------
    value : str or Path
        As given.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    ValueError
        If it is empty, or the home is not known.
    """
    if not str(value).strip():
        raise ValueError("a path may not be empty")
    try:
        path = Path(value).expanduser()
        os.path.realpath(path).encode()
    except RuntimeError:
        raise ValueError("the home that ~ stands for is not known") from None
    except FileNotFoundError:
        raise ValueError("a relative path, but the current directory was deleted") from None
    except UnicodeEncodeError:
        raise ValueError("a path, and what it leads to, must be UTF-8") from None
    return path


def explain_settings(
    error: ValidationError, given: Collection[str], fields: Mapping[str, Any]
) -> SettingsError:
    """Say which settings were refused, where they stand, and what is allowed.

    Parameters
    ----------
    error : ValidationError
        What pydantic found.
    given : collection of str
        Names that the program itself, or a command line, gave.
    fields : mapping
        The settings by name, with their descriptions.

    Returns
    -------
    SettingsError
        One sentence, without the values.
    """
    problems, remedies = [], []
    for found in error.errors(include_input=False, include_url=False):
        name = ".".join(map(str, found["loc"]))
        if found["type"] == "extra_forbidden":
            problems.append(f"{find_settings_file()} has the unknown setting {name}")
            close = difflib.get_close_matches(name, fields, 1)
            remedies.append(_suggest(close, "docs/operations/install.md lists the settings"))
            continue
        words = found["msg"].removeprefix("Value error, ")
        place = f"the setting {name} ({_place(name, given)}): " if name else ""
        problems.append(f"{place}{words[:1].lower()}{words[1:]}")
        if name in fields and fields[name].description:
            remedies.append(f"{name}: {fields[name].description}")
    return SettingsError("; ".join(problems), remedy=" ".join(dict.fromkeys(remedies)) or None)


def _place(name: str, given: Collection[str]) -> str:
    """Say where a setting was made."""
    if name in given:
        return "as given"
    variables = {variable.upper(): variable for variable in os.environ}
    return variables.get(f"{PREFIX}{name.upper()}", str(find_settings_file()))


def _suggest(close: list[str], otherwise: str) -> str:
    """Name what was meant, as far as it can be guessed."""
    return f"did you mean {close[0]}?" if close else otherwise


def _expand(named: str) -> Path:
    """Read the path of the settings file."""
    try:
        return expand_path(named)
    except ValueError as error:
        raise SettingsError(f"{CONFIG_FILE_VARIABLE}: {error}") from None
