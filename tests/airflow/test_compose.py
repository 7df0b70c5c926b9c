"""docker-compose.yaml is valid, holds no secret, and says what the pipeline relies on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

pytestmark = pytest.mark.unit

FILE = Path(__file__).resolve().parents[2] / "docker-compose.yaml"
AIRFLOW = {
    "airflow-apiserver",
    "airflow-dag-processor",
    "airflow-init",
    "airflow-scheduler",
    "airflow-triggerer",
    "airflow-worker",
}

STRINGS = {"type": "array", "items": {"type": "string"}}
HEALTHCHECK = {
    "type": "object",
    "required": ["test"],
    "properties": {
        "test": STRINGS,
        "retries": {"type": "integer"},
        **{
            name: {"type": "string", "pattern": r"^\d+[sm]$"}
            for name in ("interval", "timeout", "start_period")
        },
    },
    "additionalProperties": False,
}
DEPENDENCY = {
    "type": "object",
    "required": ["condition"],
    "properties": {"condition": {"enum": ["service_healthy", "service_completed_successfully"]}},
    "additionalProperties": False,
}
SERVICE = {
    "type": "object",
    "required": ["image", "restart"],
    "properties": {
        "image": {"type": "string", "pattern": r":[^/:]+$"},
        "user": {"type": "string"},
        "init": {"type": "boolean"},
        "restart": {"enum": ["no", "unless-stopped"]},
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "volumes": STRINGS,
        "ports": STRINGS,
        "entrypoint": STRINGS,
        "command": STRINGS,
        "healthcheck": HEALTHCHECK,
        "depends_on": {"type": "object", "additionalProperties": DEPENDENCY},
        "shm_size": {"type": "string"},
        "stop_grace_period": {"type": "string"},
    },
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "required": ["services"],
    "properties": {
        "name": {"type": "string"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object"},
    },
    "patternProperties": {"^x-": {}},
    "additionalProperties": False,
}
"""The part of the Compose specification that is used here: anything else is a mistake."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return content


def test_schema(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, SCHEMA)


def test_every_part_is_there(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == AIRFLOW | {"postgres", "redis"}


def test_dependencies_can_be_met(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, dependency in service.get("depends_on", {}).items():
            if dependency["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
            else:
                assert services[name]["restart"] == "no"
    for name in AIRFLOW - {"airflow-init"}:
        assert "healthcheck" in services[name]
    for name in ("airflow-scheduler", "airflow-worker"):
        assert "airflow-apiserver" in services[name]["depends_on"]


def test_no_secret_is_in_the_file(compose: dict[str, Any]) -> None:
    """Whatever is named like a secret, or holds a password, must be asked for."""
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD|FERNET", name):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), name
            if re.search(r"://[^/]*:[^/]*@", value):
                assert re.search(r":\$\{[A-Z]+_PASSWORD:\?[^}]+\}@", value), name


def test_published_on_loopback_only(compose: dict[str, Any]) -> None:
    published = [
        port for service in compose["services"].values() for port in service.get("ports", [])
    ]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_all_parts_of_airflow_agree(compose: dict[str, Any]) -> None:
    """The api-server and the scheduler work the pools out, from the same paths as the workers."""
    services = [compose["services"][name] for name in AIRFLOW]
    shared = services[0]["environment"].keys() & services[1]["environment"].keys()
    assert {"AIRFLOW__CORE__PLUGINS_FOLDER", "DSA110_CONTIMG_WORK_DIR"} <= shared
    for name in shared:
        assert len({service["environment"][name] for service in services}) == 1, name
    assert len({tuple(service["volumes"]) for service in services}) == 1
    assert all(not re.match(r"\$\{AIRFLOW_UID:-0\}|0:", service["user"]) for service in services)


def test_only_the_work_directory_is_writable(compose: dict[str, Any]) -> None:
    for name in AIRFLOW:
        writable = [
            volume for volume in compose["services"][name]["volumes"] if not volume.endswith(":ro")
        ]
        assert [volume.rpartition(":")[2] for volume in writable] == ["/data/contimg"]


def test_settings_are_known(compose: dict[str, Any]) -> None:
    from dsa110_contimg.settings import Settings

    given = {
        name.removeprefix("DSA110_CONTIMG_").lower()
        for name in compose["services"]["airflow-worker"]["environment"]
        if name.startswith("DSA110_CONTIMG_")
    }
    assert given <= set(Settings.model_fields)
