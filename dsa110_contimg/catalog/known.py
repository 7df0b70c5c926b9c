"""All catalogues that tell which sources are in a field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dsa110_contimg.catalog.sources import Source, read_sources

if TYPE_CHECKING:
    from dsa110_contimg.settings import Settings


def read_known_sources(
    settings: Settings, *, sources_file: Path | None = None, calibrators_file: Path | None = None
) -> list[Source]:
    """Read the calibrators, the field model and the catalogue of sources.

    Parameters
    ----------
    settings : Settings
        Where the catalogues are.
    sources_file : Path, optional
        Catalogue of sources to take in place of the one of the settings.
    calibrators_file : Path, optional
        Likewise, of calibrators.

    Returns
    -------
    list of Source
        The sources; of entries with one name the last.

    Raises
    ------
    InputError
        If a catalogue that is named cannot be read.
    """
    from dsa110_contimg.catalog.calibrators import read_calibrators

    known: dict[str, Source] = {}
    calibrators = calibrators_file or settings.calibrators_path
    if calibrators.exists():
        known |= {source.name: source for source in read_calibrators(calibrators)}
    catalogues = [path for path in (sources_file, settings.field_model_file) if path]
    if sources_file is None and settings.sources_path.exists():
        # Sources typed in by hand need no catalogue; one that is named must be there.
        catalogues.append(settings.sources_path)
    known |= {source.name: source for path in catalogues for source in read_sources(path)}
    return list(known.values())
