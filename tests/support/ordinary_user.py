"""Steps on a read-only MS that are taken by a user to whom permissions apply."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
_LIMIT_S = 180.0


def give_away(folder: Path) -> None:
    """Let nobody own a tree, if root runs the tests; permissions stay as they are."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def as_ordinary_user(step: Callable[..., Any], *arguments: Path, home: Path) -> Any:
    """Call a function of this module in a process whose user is not root; what it returns."""
    module = f"from {__name__} import serve; serve()"
    done = subprocess.run(
        [*_prefix(), sys.executable, "-P", "-c", module, step.__name__, *map(str, arguments)],
        cwd=home,
        env={
            **os.environ,
            "HOME": str(home),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "DSA110_CONTIMG_WORK_DIR": str(home / "work"),
            "DSA110_CONTIMG_SANDBOX_ROOT": str(home / "sandboxes"),
            **{name: str(home / name) for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME")},
        },
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _prefix() -> list[str]:
    """Become nobody; the interpreter may stand in root's home, so reading stays allowed."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root runs the tests, and there is no setpriv to become somebody else")
    return [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
        "--",
    ]


def serve() -> None:
    """Take the step that the command line names."""
    assert os.geteuid() != 0
    answer = globals()[sys.argv[1]](*map(Path, sys.argv[2:]))
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


def find_caches() -> dict[str, Any]:
    """Compile a kernel for keeps, without a home, and where the code may not be written."""
    os.environ["HOME"] = "/nonexistent"
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NUMBA_CACHE_DIR"):
        os.environ.pop(name, None)
    from dsa110_contimg.compiled import numba

    add = numba.njit(cache=True)(_add)
    return {"sum": int(add(1, 2)), "numba": os.environ["NUMBA_CACHE_DIR"]}


def _add(one: int, other: int) -> int:
    return one + other


def write_by_mistake(ms: Path) -> dict[str, Any]:
    """Change the MS without the door, in the ways that casacore and Python offer."""
    from casacore.tables import makescacoldesc, table

    def put() -> None:
        with table(str(ms), readonly=False, ack=False) as opened:
            opened.putcell("SCAN_NUMBER", 0, 99)

    def add_column() -> None:
        with table(str(ms), readonly=False, ack=False) as opened:
            opened.addcols(makescacoldesc("NEW", 0))

    def make_file() -> None:
        (ms / "new").touch()

    def append() -> None:
        with (ms / "table.dat").open("ab"):
            pass

    errors, start = [], time.monotonic()
    for deed in (put, add_column, make_file, append):
        try:
            deed()
        except (RuntimeError, OSError) as error:
            errors.append(f"{type(error).__name__}: {error}")
    return {"errors": errors, "seconds": time.monotonic() - start}


def read(ms: Path) -> dict[str, Any]:
    """Read the MS as the imaging does, and by a table that locks by itself."""
    from casacore.tables import table

    from dsa110_contimg.visibilities.ms_info import read_ms_info
    from dsa110_contimg.visibilities.window import read_window

    info = read_ms_info(ms)
    window = read_window(ms, info, info.spws[0])
    with table(str(ms), ack=False, lockoptions="auto") as opened:
        n_rows = opened.nrows()
        opened.getcol("TIME")
    return {"windows": len(info.spws), "shape": list(window.data.shape), "rows": n_rows}


def image(ms: Path, home: Path) -> list[float]:
    """Image the source of the MS, directly and by a private copy."""
    from support.point_source import TARGET

    from dsa110_contimg.imaging.image_source import image_source
    from dsa110_contimg.imaging.models import CleanOptions, ImageSourceOptions

    fluxes_jy = []
    for name, more in (("direct", {"private_copy": None}), ("copy", {})):
        options = ImageSourceOptions(
            ms_path=ms,
            products_dir=home / name,
            source=TARGET,
            spws=(8,),
            clean=CleanOptions(image_size_px=128),
            **more,
        )
        result = image_source(options)
        assert result.success, result.error
        fluxes_jy.append(result.spws[0].flux_jy)
    return fluxes_jy


def write_through_the_door(ms: Path) -> int:
    """Change a value in a hold that may write; read it afterwards."""
    from casacore.tables import makescacoldesc, table

    from dsa110_contimg.storage.ms_access import exclusive_ms

    with (
        exclusive_ms(ms, "a writer", timeout_s=5, writable=True),
        table(str(ms), readonly=False, ack=False) as opened,
    ):
        opened.putcell("SCAN_NUMBER", 0, 42)
        opened.addcols(makescacoldesc("NEW", 0))
    with table(str(ms), ack=False, lockoptions="usernoread") as opened:
        assert "NEW" in opened.colnames()
        return int(opened.getcell("SCAN_NUMBER", 0))


def hold_somebody_elses(ms: Path) -> str:
    """Ask to write an MS of another owner."""
    from dsa110_contimg.errors import ContimgError
    from dsa110_contimg.storage.ms_access import exclusive_ms

    try:
        with exclusive_ms(ms, "a writer", timeout_s=5, writable=True):
            return "no error"
    except ContimgError as error:
        return f"{type(error).__name__} {error.reason}: {error}"


def replace_and_remove(ms: Path) -> list[str]:
    """Publish an MS over the read-only one, and remove that one too; what went wrong."""
    from dsa110_contimg.storage.files import make_writable, remove_for_sure
    from dsa110_contimg.storage.publish import LEFTOVER_NAME, publish_tree

    fresh = ms.with_name("fresh.ms")
    shutil.copytree(ms, fresh)
    make_writable(fresh)
    (fresh / "fresh").touch()
    problems = publish_tree(fresh, ms, read_only=True)
    assert (ms / "fresh").exists()
    left = [str(p) for p in ms.parent.iterdir() if LEFTOVER_NAME.fullmatch(p.name)]
    return problems + remove_for_sure(ms) + left
