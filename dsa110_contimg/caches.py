"""Where libraries keep what they compile and look up.

numba, matplotlib and astropy use the home. A service account may have none that it can write:
numba then refuses to compile a kernel, and matplotlib builds its list of fonts at each start.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from dsa110_contimg.settings import get_settings


def cache_variables(root: Path) -> dict[str, str]:
    """List the variables that send the libraries' caches to a directory.

    Parameters
    ----------
    root : Path
        Absolute path of the directory.

    Returns
    -------
    dict of str to str
        Variables and their values.
    """
    return {
        "XDG_CACHE_HOME": str(root),
        "XDG_CONFIG_HOME": str(root),
        "MPLCONFIGDIR": str(root / "matplotlib"),
        "NUMBA_CACHE_DIR": str(root / "numba"),
    }


def settle_caches() -> None:
    """Send the caches of this process and its children elsewhere if the home cannot be written.

    They go to ``cache`` in the work directory, or to a temporary directory where that cannot be
    written either. What the environment says already stays as it is. To be called before the
    libraries are imported.
    """
    try:
        home = Path.home()
    except RuntimeError:  # no variable, and no such user
        home = Path(os.devnull)
    if not _is_writable(home):
        root = _make_root()
        for name, value in cache_variables(root).items():
            os.environ.setdefault(name, value)


def _make_root() -> Path:
    """Make a directory for caches."""
    root = get_settings().work_dir.absolute() / "cache"
    try:
        # Without a directory of its own in XDG_CACHE_HOME, astropy goes to the home.
        (root / "astropy").mkdir(parents=True, exist_ok=True)
    except OSError:
        pass
    else:
        if _is_writable(root):
            return root
    root = Path(tempfile.mkdtemp(prefix="dsa110-contimg-cache-"))
    (root / "astropy").mkdir()
    atexit.register(_remove, root, os.getpid())
    return root


def _is_writable(folder: Path) -> bool:
    """Try it with a file that has no name: permissions alone do not tell."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _remove(folder: Path, owner_pid: int) -> None:
    """Remove what this process made; its forks leave it alone."""
    if os.getpid() == owner_pid:
        shutil.rmtree(folder, ignore_errors=True)
