"""What every stage that works on a Measurement Set is told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from dsa110_contimg.models import AbsolutePath, Model
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.sandbox import FALL_BACK


class MsWorkOptions(Model):
    """Which MS, how long to wait for it, and where its work may leave traces."""

    ms_path: AbsolutePath
    """The Measurement Set."""
    access_log: AbsolutePath | None = None
    """JSON-lines file that records who held the MS when."""
    purpose: str = ""
    """Shown to those who wait for the MS; empty: says what is being done."""
    lock_timeout_s: float = Field(default_factory=lambda: get_settings().ms_lock_timeout_s, gt=0)
    """How long to wait for another holder of the MS, in seconds."""
    sandbox_roots: list[AbsolutePath] | None = None
    """Where temporary files may stand, in order of preference; None: the tmpfs of the settings,
    then a hidden directory beside the products."""
    log_dir: AbsolutePath | None = None
    """Directory of the logs; None: a hidden one beside the products."""
    reprocess: bool = False
    """Do the work again even if its result is there."""

    def find_sandbox_roots(self, beside: Path) -> list[Path]:
        """List where temporary files may stand.

        Parameters
        ----------
        beside : Path
            Directory of the products.

        Returns
        -------
        list of Path
            In order of preference.
        """
        return self.sandbox_roots or [get_settings().sandbox_root, beside / FALL_BACK]

    def find_log(self, beside: Path, name: str) -> Path:
        """Name the log of one piece of work.

        Parameters
        ----------
        beside : Path
            Directory of the products.
        name : str
            What is worked on.

        Returns
        -------
        Path
            The file.
        """
        return (self.log_dir or beside / ".logs") / f"{name}.log"
