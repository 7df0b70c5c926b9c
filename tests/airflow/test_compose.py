"""docker-compose.yaml is valid, holds no secret, and says what the pipeline relies on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.compose_file import ROOT, interpolate, read_compose

from dsa110_contimg.orchestration.queues import CASA, CONVERT, LIGHT

pytestmark = pytest.mark.unit

WORKERS = {"airflow-worker-casa", "airflow-worker-convert", "airflow-worker-light"}
AIRFLOW = WORKERS | {
    "airflow-apiserver",
    "airflow-dag-processor",
    "airflow-init",
    "airflow-scheduler",
    "airflow-triggerer",
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
    "required": ["image", "restart", "user", "mem_limit", "pids_limit"],
    "properties": {
        "image": {"type": "string"},
        "build": {"const": "."},
        "user": {"type": "string"},
        "init": {"type": "boolean"},
        "cap_drop": STRINGS,
        "security_opt": STRINGS,
        "restart": {"enum": ["no", "unless-stopped"]},
        "env_file": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "required"],
                "properties": {"path": {"type": "string"}, "required": {"type": "boolean"}},
                "additionalProperties": False,
            },
        },
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "volumes": STRINGS,
        "ports": STRINGS,
        "entrypoint": STRINGS,
        "command": STRINGS,
        "healthcheck": HEALTHCHECK,
        "depends_on": {"type": "object", "additionalProperties": DEPENDENCY},
        "shm_size": {"type": "string"},
        "mem_limit": {"type": "string"},
        "pids_limit": {"type": "integer"},
        "stop_grace_period": {"type": "string", "pattern": r"^\d+[sm]$"},
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
    return read_compose()


def test_schema(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, SCHEMA)


def test_every_part_is_there(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == AIRFLOW | {"postgres", "redis", "registry-init"}


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
    for name in {"airflow-scheduler"} | WORKERS:
        assert "airflow-apiserver" in services[name]["depends_on"]


def test_images_of_others_are_pinned(compose: dict[str, Any]) -> None:
    """By minor version, which a person reads, and by digest, which cannot be moved."""
    for name in set(compose["services"]) - AIRFLOW:
        image = compose["services"][name]["image"]
        assert re.fullmatch(r"\w+:\d+(\.\d+)+@sha256:[0-9a-f]{64}", image), name


def test_every_service_is_contained(compose: dict[str, Any]) -> None:
    """No capabilities, no way to more, not root, bounded memory and processes."""
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].partition(":")[0] not in {"0", "root"}, name


def test_memory_is_enough_for_tmpfs_too(compose: dict[str, Any]) -> None:
    """What is in /dev/shm counts against the memory of the container."""
    for name, service in compose["services"].items():
        tmpfs, memory = (
            int(re.sub("mb$", "", interpolate(service.get(key, "0gb"), {}).replace("gb", "000mb")))
            for key in ("shm_size", "mem_limit")
        )
        assert memory >= tmpfs + 1000, name


def test_workers_have_no_keys_of_airflow(compose: dict[str, Any]) -> None:
    """Not its database, not what signs tokens or decrypts connections: a task runs others' data."""
    keys = re.compile(r"FERNET|SECRET|POSTGRES_PASSWORD|SQL_ALCHEMY")
    for name in WORKERS:
        given = compose["services"][name]["environment"]
        assert [item for item in given.items() if keys.search(" ".join(item))] == [], name


def test_no_secret_is_in_the_file(compose: dict[str, Any]) -> None:
    """Whatever is named like a secret, or holds a password, must be asked for."""
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD|FERNET", name):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), name
            if re.search(r"://[^/]*:[^/]*@", value):
                assert re.search(r":\$\{[A-Z]+_PASSWORD:\?[^}]+\}@", value), name


def test_no_secret_is_in_an_argument(compose: dict[str, Any]) -> None:
    """All on the machine can read a process's arguments; a builtin of the shell has none."""
    for name, service in compose["services"].items():
        for word in [*service.get("command", []), *service.get("entrypoint", [])]:
            for line in word.splitlines():
                if re.search(r"\$\w*(PASSWORD|SECRET)", line):
                    assert line.lstrip().startswith("printf "), (name, line)


def test_published_on_loopback_only(compose: dict[str, Any]) -> None:
    published = [
        port for service in compose["services"].values() for port in service.get("ports", [])
    ]
    assert published
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in published)


def test_all_parts_of_airflow_agree(compose: dict[str, Any]) -> None:
    """The api-server and the scheduler work the pools out, from the same paths as the workers."""
    services = [compose["services"][name] for name in AIRFLOW]
    shared = set.intersection(*(set(service["environment"]) for service in services))
    assert {"AIRFLOW__CORE__PLUGINS_FOLDER", "DSA110_CONTIMG_WORK_DIR"} <= shared
    concurrency = "AIRFLOW__CELERY__WORKER_CONCURRENCY"
    for name in shared - {concurrency}:
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
        for name in compose["services"]["airflow-worker-casa"]["environment"]
        if name.startswith("DSA110_CONTIMG_")
    }
    assert given <= set(Settings.model_fields)


def test_every_queue_has_its_workers(compose: dict[str, Any]) -> None:
    """A task in a queue that nobody serves would wait for ever."""
    queues = {}
    for name in WORKERS:
        *_, option, queue = compose["services"][name]["command"]
        assert option == "--queues"
        queues[name] = queue
    assert sorted(queues.values()) == sorted((CASA, CONVERT, LIGHT))
    for name, queue in queues.items():
        assert ("shm_size" in compose["services"][name]) == (queue != LIGHT)


def test_nothing_listens_without_need(compose: dict[str, Any]) -> None:
    """Servers of logs listen to everybody, whatever they are told."""
    for name in WORKERS | {"airflow-scheduler", "airflow-triggerer"}:
        assert "--skip-serve-logs" in compose["services"][name]["command"]


def test_more_may_wait_than_there_are_workers_for(compose: dict[str, Any]) -> None:
    services = compose["services"]
    slots = [
        int(interpolate(services[name]["environment"]["AIRFLOW__CELERY__WORKER_CONCURRENCY"], {}))
        for name in WORKERS
    ]
    environment = services["airflow-scheduler"]["environment"]
    assert int(interpolate(environment["AIRFLOW__CORE__PARALLELISM"], {})) > sum(slots)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}-${B}", "1-"),
        ("${A:-x} ${B:-x} ${C:-x}", "1 x x"),
        ("${A-x} ${B-x} ${C-x y}", "1  x y"),
        ("$$HOME ${A:?needed}", "$HOME 1"),
    ],
)
def test_variables_are_read_as_compose_reads_them(text: str, expected: str) -> None:
    assert interpolate(text, {"A": "1", "B": ""}) == expected


def test_a_variable_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match="B: needed"):
        interpolate("${B:?needed}", {"B": ""})


def test_one_image_is_built_once(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name in services if "build" in services[name]] == ["airflow-init"]
    assert len({services[name]["image"] for name in AIRFLOW}) == 1


@pytest.mark.parametrize("name", [".env", "settings.env"])
@pytest.mark.parametrize(("mode", "starts"), [(0o600, True), (0o640, False), (0o604, False)])
def test_secrets_that_others_can_read_start_nothing(
    tmp_path: Path, name: str, mode: int, starts: bool
) -> None:
    """Through `make cluster`, with a program in the place of Docker that only notes its calls."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / name).touch(mode)
    (tmp_path / name).chmod(mode)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\necho "$*" >> calls\n')
    docker.chmod(0o755)
    done = subprocess.run(
        ["make", "cluster"],
        cwd=tmp_path,
        env={"PATH": f"{docker.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == starts
    assert (tmp_path / "calls").exists() == starts
    assert (f"(chmod 600): ./{name}" in done.stderr) != starts
