"""The base of every options and result model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
"""Paths cross into a child process that stands in another directory."""


class Model(BaseModel):
    """A frozen, typed record that refuses unknown fields and survives JSON unchanged.

    Every field carries a ``description``: it is the documentation, the CLI's help and the
    form in the Airflow UI at once.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        ser_json_inf_nan="strings",  # the default, null, would not be read back
        hide_input_in_errors=True,
    )


def first_problem(error: ValidationError) -> tuple[str | None, str]:
    """Say what a model refuses first.

    Parameters
    ----------
    error : ValidationError
        The refusal.

    Returns
    -------
    field : str or None
        The field, None if fields do not go together.
    words : str
        What is wrong with it, and the value, with nothing in it that steers a terminal.
    """
    problem = error.errors(include_url=False)[0]
    words = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    field = ".".join(str(part) for part in problem["loc"]) or None
    if problem["type"] == "missing":
        return field, "is needed"
    if field is None or problem["type"] == "value_error":
        return field, words
    return field, f"{words}, not {ascii(problem['input'])[:80]}"


def explain(error: ValidationError) -> str:
    """Say in a sentence what a model refuses first.

    Parameters
    ----------
    error : ValidationError
        The refusal.

    Returns
    -------
    str
        The field, what is wrong with it, and the value.
    """
    return ": ".join(filter(None, first_problem(error)))
