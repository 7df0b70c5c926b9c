"""Where logs go, and where products are put together."""

from __future__ import annotations

from pathlib import Path

from dsa110_contimg.imaging.models import ImagingOptions
from dsa110_contimg.settings import get_settings


def log_path(options: ImagingOptions, name: str) -> Path:
    """Name the log of one piece of work.

    Parameters
    ----------
    options : ImagingOptions
        Where logs go.
    name : str
        The source or the field.

    Returns
    -------
    Path
        The file.
    """
    return (options.log_dir or options.products_dir / ".logs") / f"{name}.log"


def product_sandbox_roots(options: ImagingOptions) -> list[Path]:
    """List where products may be put together.

    Parameters
    ----------
    options : ImagingOptions
        May name the places.

    Returns
    -------
    list of Path
        In order of preference: the tmpfs of the settings, then beside the products.
    """
    return options.sandbox_roots or [
        get_settings().sandbox_root,
        options.products_dir / ".sandboxes",
    ]
