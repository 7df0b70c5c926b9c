"""DAG files and plugins are read every half minute, in processes that fork: they stay light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("dags/*.py"), *ROOT.glob("plugins/*.py")])
HEAVY = {
    "astropy",
    "casacore",
    "casatasks",
    "casatools",
    "h5py",
    "matplotlib",
    "numba",
    "pyuvdata",
    "scipy",
}

IMPORT_AND_LIST = """
import importlib.util, json, sys
import airflow.sdk, airflow.models.dagrun, airflow.providers.standard.operators.trigger_dagrun
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("file_under_test", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
from airflow.sdk import DAG
dags = sorted(value.dag_id for value in vars(module).values() if isinstance(value, DAG))
print("\\n" + json.dumps({
    "all": sorted({name.partition(".")[0] for name in sys.modules}),
    "own": sorted(name for name in set(sys.modules) - before if name.startswith("dsa110_contimg")),
    "dags": dags,
}))
"""


def import_alone(file: Path, home: Path) -> dict[str, list[str]]:
    """Import a file in a fresh interpreter; return the modules it loaded."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_AND_LIST, str(file)],
        env={**os.environ, "AIRFLOW_HOME": str(home), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return loaded


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_imports_nothing_heavy(file: Path, tmp_path: Path) -> None:
    loaded = import_alone(file, tmp_path)
    assert "airflow" in loaded["all"]
    assert loaded["own"]
    assert HEAVY.isdisjoint(loaded["all"])


def test_a_heavy_import_would_be_seen(tmp_path: Path) -> None:
    file = tmp_path / "heavy.py"
    file.write_text("import h5py\n")
    assert "h5py" in import_alone(file, tmp_path)["all"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_stays_thin(file: Path) -> None:
    assert len(file.read_text().splitlines()) < 150
