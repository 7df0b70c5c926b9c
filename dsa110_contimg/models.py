"""The base of every options and result model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

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
    )
