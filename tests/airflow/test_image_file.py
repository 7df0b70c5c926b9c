"""The Dockerfile leaves nothing to chance; there is no engine here to build its image."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """Keyword and arguments of each instruction, on one line."""
    text = (ROOT / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [
        (keyword.upper(), rest.strip())
        for keyword, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def arguments(keyword: str) -> list[str]:
    """The arguments of every instruction of a kind."""
    return [rest for found, rest in instructions() if found == keyword]


def test_only_known_instructions() -> None:
    known = {"ARG", "COPY", "ENV", "FROM", "RUN", "USER", "WORKDIR"}
    assert {keyword for keyword, _ in instructions()} == known  # ADD could fetch from anywhere


def test_base_is_pinned_and_from_no_other_registry() -> None:
    [base] = arguments("FROM")
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_ends_as_an_ordinary_user() -> None:
    *_, user = arguments("USER")
    assert re.fullmatch(r"[1-9]\d*:0", user)
    last_run = max(k for k, (keyword, _) in enumerate(instructions()) if keyword == "RUN")
    assert all(keyword != "USER" for keyword, _ in instructions()[:last_run])


def test_everything_installed_is_pinned_by_hash() -> None:
    installs = [run for run in arguments("RUN") if "pip install" in run]
    assert len(installs) == 2
    for run in installs:
        assert "--require-hashes" in run or "--no-deps" in run
        assert "://" not in run


def test_what_is_copied_exists_and_is_under_version_control() -> None:
    copied = [name for rest in arguments("COPY") for name in rest.split()[:-1]]
    assert {"requirements.txt", "dsa110_contimg", "dags", "plugins"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--", *copied], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in copied:
        assert any(file == name or file.startswith(f"{name}/") for file in listed), name


def test_the_builder_is_sent_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = {name for rest in arguments("COPY") for name in rest.split()[:-1]}
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_no_secret_is_baked_in() -> None:
    for keyword in ("ARG", "ENV"):
        for rest in arguments(keyword):
            assert not re.search("SECRET|PASSWORD|TOKEN|KEY", rest)


def test_requirements_name_no_index() -> None:
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        assert "://" not in line
        assert re.match(r"[a-z0-9].*==.+ \\$|    --hash=sha256:[0-9a-f]{64}( \\)?$", line), line
