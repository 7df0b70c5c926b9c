"""Point sources: the model, and reading and writing catalogue files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, model_validator

from dsa110_contimg.catalog.columns import unit_of
from dsa110_contimg.catalog.tables import list_briefly, load_table, read_rows, repeated_names
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import REFERENCE_FREQ_HZ
from dsa110_contimg.models import Model

BRIGHTEST_JY: Final = 3000.0
"""At 1.4 GHz no source is brighter, save the Sun: Cassiopeia A had 2410 Jy in 1965, and fades
(Baars et al. 1977, A&A 61, 99)."""


OF_FIELD_MODEL: Final = ".of_field_model"
"""Stands behind the name of a known source that is also a target's, elsewhere in the field."""


def _check_name(name: str) -> str:
    """Refuse a name that is none for a file, a directory or an argument."""
    if not re.fullmatch(r"[A-Za-z0-9+][A-Za-z0-9+._-]{0,63}", name.removesuffix(OF_FIELD_MODEL)):
        raise ValueError(
            f"the name {name[:80]!a} must consist of at most 64 letters, digits and + - . _, and "
            "begin with a letter, a digit or +"
        )
    return name


class Source(Model):
    """A point source with a power-law spectrum."""

    name: Annotated[str, AfterValidator(_check_name)]
    """Name, fit for the name of a file that is not hidden and of no option."""
    ra_deg: float = Field(ge=0.0, lt=360.0)
    """Right ascension (ICRS) in degrees."""
    dec_deg: float = Field(ge=-90.0, le=90.0)
    """Declination (ICRS) in degrees."""
    flux_jy: float | None = Field(None, ge=0.0, allow_inf_nan=False)
    """Stokes I flux density at `ref_freq_hz` in Jy, where known."""
    ref_freq_hz: float = Field(REFERENCE_FREQ_HZ, ge=1e7, le=1e12)
    """Frequency of `flux_jy` in Hz, 10 MHz to 1 THz: 1.4 or 1400 were meant in another unit."""
    spectral_index: float = Field(0.0, ge=-5.0, le=5.0)
    """alpha in S proportional to frequency ** alpha: -4 for the steepest pulsars, +2.5 for
    synchrotron radiation that absorbs itself."""

    @model_validator(mode="after")
    def _check_brightness(self) -> Self:
        """Refuse a flux density that the sky does not have, as of one in mJy taken for Jy."""
        flux_jy = float(self.flux_at(REFERENCE_FREQ_HZ))
        if flux_jy > BRIGHTEST_JY:
            raise ValueError(
                f"the flux density {self.flux_jy:g} Jy at {self.ref_freq_hz:g} Hz is {flux_jy:.4g} "
                f"Jy at 1.4 GHz, and no source beyond the Sun has {BRIGHTEST_JY:g} Jy"
            )
        return self

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
        ``flux_jy, ref_freq_hz, spectral_index``, or as VizieR names them; other columns are
        ignored. A column with a unit is converted, and angles may be sexagesimal.

    Returns
    -------
    list of Source
        The sources in the order of the file.

    Raises
    ------
    InputError
        If the file is absent, unreadable, lacks a column or holds a bad value.
    TransientError
        If the file cannot be read now.
    """
    return read_table(path, Source)


def read_table(path: Path, model: type[SourceT]) -> list[SourceT]:
    """Read a catalogue of sources of some kind.

    Parameters
    ----------
    path : Path
        Table as `read_rows` takes it.
    model : type
        `Source`, or a kind of source.

    Returns
    -------
    list of SourceT
        The sources in the order of the file.

    Raises
    ------
    InputError
        If the file is absent or unreadable, lacks a column, holds a bad value or repeats a name.
    TransientError
        If the file cannot be read now.
    """
    sources = read_rows(path, load_table(path), model)
    repeated = repeated_names((f"row {n}", one.name) for n, one in enumerate(sources, start=1))
    if repeated:
        raise InputError(
            f"{path} repeats names: {list_briefly(repeated)}",
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

    table = Table(rows=[source.model_dump() for source in sources], names=list(Source.model_fields))
    for name in table.colnames:
        table[name].unit = unit_of(name) if unit_of(name) != "" else None
    table.write(path, format="ascii.ecsv", overwrite=True)
