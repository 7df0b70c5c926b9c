"""docker-compose.yaml as it would be run, for running it without containers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yaml"
_PLACE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<how>:?[-?])(?P<word>[^}]*))?\})")


def read_compose() -> dict[str, Any]:
    """The file as YAML has it, with its variables in it."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return content


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Put variables in their places, as Compose does."""

    def fill(place: re.Match[str]) -> str:
        if place["dollar"]:
            return "$"
        name, how, word = place["name"], place["how"] or "", place["word"] or ""
        value = variables.get(name)
        if value is None or (how.startswith(":") and not value):
            if how.endswith("?"):
                raise KeyError(f"{name}: {word}")
            return word
        return value

    return _PLACE.sub(fill, text)


class ComposeFile:
    """What the services are told, with the machine's own paths in the place of mounted ones.

    Parameters
    ----------
    variables : mapping of str to str
        What an operator would have in the environment.
    """

    def __init__(self, variables: Mapping[str, str]):
        self._variables = variables
        self.services: dict[str, dict[str, Any]] = read_compose()["services"]

    def environment(self, service: str) -> dict[str, str]:
        """The environment of a service."""
        given = self.services[service].get("environment", {})
        return {name: self._outside(service, value) for name, value in given.items()}

    def command(self, service: str) -> list[str]:
        """The whole command of a service."""
        content = self.services[service]
        words = [*content.get("entrypoint", []), *content["command"]]
        return [interpolate(word, self._variables) for word in words]

    def health_check(self, service: str) -> list[str]:
        """The command that says whether a service is healthy."""
        kind, *words = self.services[service]["healthcheck"]["test"]
        shell = ["sh", "-c"] if kind == "CMD-SHELL" else []
        return [*shell, *(interpolate(word, self._variables) for word in words)]

    def _outside(self, service: str, value: str) -> str:
        """Fill in variables, and undo the mounts and the copies of the image."""
        value = interpolate(value, self._variables)
        for volume in self.services[service].get("volumes", []):
            outside, inside = interpolate(volume, self._variables).split(":")[:2]
            value = re.sub(rf"^{re.escape(inside)}(?=/|$)", outside, value)
        return re.sub(r"^/opt/dsa110-contimg(?=/|$)", str(ROOT), value)
