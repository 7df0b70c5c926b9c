"""Point sources: the model, and reading and writing catalogue files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import REFERENCE_FREQ_HZ
from dsa110_contimg.models import Model


class Source(Model):
    """A point source with a power-law spectrum."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9+_-][A-Za-z0-9+._-]*$")
    """Name, fit for the name of a file that is not hidden."""
    ra_deg: float = Field(ge=0.0, lt=360.0)
    """Right ascension (ICRS) in degrees."""
    dec_deg: float = Field(ge=-90.0, le=90.0)
    """Declination (ICRS) in degrees."""
    flux_jy: float | None = None
    """Stokes I flux density at `ref_freq_hz` in Jy, where known."""
    ref_freq_hz: float = REFERENCE_FREQ_HZ
    """Frequency of `flux_jy` in Hz."""
    spectral_index: float = 0.0
    """alpha in S proportional to frequency ** alpha."""

    def flux_at(self, freq_hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Flux density at given frequencies.

        Parameters
        ----------
        freq_hz : array_like
            Frequencies in Hz.

        Returns
        -------
        ndarray of float64
            Flux densities in Jy, zero where the flux is not known.
        """
        ratio = np.asarray(freq_hz, dtype=float) / self.ref_freq_hz
        return np.asarray((self.flux_jy or 0.0) * ratio**self.spectral_index)


SourceT = TypeVar("SourceT", bound=Source)


def position_name(ra_deg: float, dec_deg: float) -> str:
    """Name a source by its position, as the IAU recommends: truncated, not rounded.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Position (ICRS) in degrees.

    Returns
    -------
    str
        ``JHHMMSS.ss+DDMMSS.s``.
    """
    # The guard keeps a value that was written with few digits from losing its last one.
    ra_cs = int(ra_deg / 15.0 * 360000.0 + 1e-6)
    dec_ds = int(abs(dec_deg) * 36000.0 + 1e-6)
    ra = f"{ra_cs // 360000:02d}{ra_cs // 6000 % 60:02d}{ra_cs // 100 % 60:02d}.{ra_cs % 100:02d}"
    dec = f"{dec_ds // 36000:02d}{dec_ds // 600 % 60:02d}{dec_ds // 10 % 60:02d}.{dec_ds % 10}"
    return f"J{ra}{'-' if dec_deg < 0 else '+'}{dec}"


def read_sources(path: Path) -> list[Source]:
    """Read a catalogue in a format that astropy recognizes (ECSV, CSV, VOTable, FITS).

    Parameters
    ----------
    path : Path
        Table with columns ``name, ra_deg, dec_deg`` and optionally
        ``flux_jy, ref_freq_hz, spectral_index``; other columns are ignored.

    Returns
    -------
    list of Source
        The sources in the order of the file.

    Raises
    ------
    InputError
        If the file is absent, unreadable, lacks a column or holds a bad value.
    """
    return read_table(path, Source)


def read_table(path: Path, model: type[SourceT]) -> list[SourceT]:
    """Read a catalogue of sources of some kind.

    Parameters
    ----------
    path : Path
        Table with a column for each field of `model`; those of fields with a default may be
        left out, other columns are ignored.
    model : type
        `Source`, or a kind of source.

    Returns
    -------
    list of SourceT
        The sources in the order of the file.

    Raises
    ------
    InputError
        If the file is absent, unreadable, lacks a column or holds a bad value.
    """
    from astropy.io.registry import IORegistryError
    from astropy.table import Table

    try:
        table = Table.read(path)
    except FileNotFoundError as error:
        raise InputError(f"no source catalogue at {path}", reason="missing_catalogue") from error
    except (OSError, ValueError, TypeError, IORegistryError) as error:
        raise InputError(
            f"cannot read the source catalogue {path}: {str(error).splitlines()[0]}",
            reason="unreadable_catalogue",
            remedy="write it as ECSV, CSV, VOTable or FITS",
        ) from error
    needed = [name for name, info in model.model_fields.items() if info.is_required()]
    missing = set(needed) - set(table.colnames)
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(sorted(missing))}",
            reason="catalogue_columns",
            remedy=f"{', '.join(needed[:-1])} and {needed[-1]} are needed",
        )
    known = [name for name in model.model_fields if name in table.colnames]
    sources = []
    for number, row in enumerate(table, start=1):
        values = {name: row[name] for name in known if not np.ma.is_masked(row[name])}
        try:
            sources.append(model.model_validate({**values, "name": str(values.get("name", ""))}))
        except ValidationError as error:
            problem = error.errors()[0]
            raise InputError(
                f"{path}, source {number}: {problem['loc'][0]}: {problem['msg']}",
                reason="catalogue_value",
            ) from error
    repeated = {s.name for s in sources if [t.name for t in sources].count(s.name) > 1}
    if repeated:
        raise InputError(
            f"{path} repeats the name(s) {', '.join(sorted(repeated))}",
            reason="catalogue_value",
            remedy="products are filed by name: make the names unique",
        )
    return sources


def write_sources(sources: list[Source], path: Path) -> None:
    """Write a catalogue as ECSV.

    Parameters
    ----------
    sources : list of Source
        What to write.
    path : Path
        The file; replaced if present.
    """
    from astropy.table import Table

    rows = [source.model_dump() for source in sources]
    Table(rows=rows, names=list(Source.model_fields)).write(
        path, format="ascii.ecsv", overwrite=True
    )
