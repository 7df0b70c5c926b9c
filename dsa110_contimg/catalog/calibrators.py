"""Calibrators: the model, and reading them from the VLA calibrator manual or from a table."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import Field, ValidationError, field_validator

from dsa110_contimg.catalog.sources import Source, read_table
from dsa110_contimg.errors import InputError, name_os_error
from dsa110_contimg.models import Model, explain
from dsa110_contimg.text import make_visible

_log = logging.getLogger(__name__)

# The manual names bands, not frequencies. These are the means of the VLA's standard continuum
# settings of its time, 1385 and 1465 MHz, and 4835 and 4885 MHz. The list does not say which
# of them each flux density was measured at; half their spacing is 2 % of the flux density of a
# source of index -0.7.
VLA_20CM_FREQ_HZ: Final = 1.425e9
VLA_6CM_FREQ_HZ: Final = 4.86e9

DEFAULT_SPECTRAL_INDEX: Final = -0.7
"""Of an entry without a flux density at 6 cm, the usual one of optically thin synchrotron
radiation. The DSA-110's band is so near 20 cm that an error of 0.5 is 0.7 % of the flux density
at its middle and 4 % at its edge."""

Quality = Literal["P", "S", "W", "C", "X", "?"]

_CONFIGURATIONS: Final = "ABCD"
# Longest baselines: VLA C 3.4 km, B 11 km; DSA-110 2.6 km.
_CONFIGURATION: Final = _CONFIGURATIONS.index("C")

_ENTRY = re.compile(r"\s*(?P<name>\S+)\s+J2000\b(?P<rest>.*)")
_BAND = re.compile(r"\s*(?P<band>\d+(?:\.\d+)?)\s*cm\b\s*(?P<rest>.*)", re.IGNORECASE)
_IGNORED = re.compile(r"\s*(?:IAU NAME\b.*|BAND\s.*|[-=]{3,}\s*|\S+\s+B1950\b.*)$")
_MANUAL = re.compile(r"^\s*(?:IAU NAME\s+EQUINOX\b|\S+\s+J2000\s+[A-Z]\s)", re.MULTILINE)
_RA = re.compile(r"(?<!\S)(\d{1,2})h\s*(\d{1,2})m\s*(\d{1,2}(?:\.\d*)?)s")
# A sign that is a typographic minus, or stands apart, is one, too.
_DEC = re.compile(
    r"(?<!\S)([+\-\u2212\u2013]?)\s*(\d{1,3})d\s*(\d{1,2})['m]\s*(\d{1,2}(?:\.\d*)?)(?:\"|''|s)"
)


class Calibrator(Source):
    """A source of known flux density, bright and compact enough to solve on."""

    flux_jy: float = Field(gt=0.0, allow_inf_nan=False)
    """Stokes I flux density at `ref_freq_hz` in Jy."""
    quality: Quality | None = None
    """The VLA manual's code at 20 cm in the C configuration, whose longest baseline (3.4 km) is
    nearest this array's: P and S, closure errors below 3 % and 10 %; W, worse; C, confused; X,
    too resolved or too faint to use; ?, structure unknown. None where nobody judged."""

    @field_validator("quality", mode="before")
    @classmethod
    def _none_if_blank(cls, value: object) -> object:
        """Take an empty cell of a table as no judgement."""
        if isinstance(value, str):
            return value.strip().upper() or None
        return value


class SkipKind(StrEnum):
    """Why an entry of a catalogue is not among the calibrators."""

    GARBLED = "garbled"
    NO_FLUX = "no_flux"


class SkippedEntry(Model):
    """Something in a catalogue that could not be used."""

    line: int
    """Its line in the file, from 1."""
    name: str
    """The entry's name, or the beginning of the line."""
    kind: SkipKind
    """garbled, or no_flux: nothing is wrong with it, but it says nothing at 20 cm."""
    reason: str
    """What is wrong, in words."""


class CalibratorCatalogue(Model):
    """Everything in a catalogue: used, or skipped with a reason."""

    path: str
    """Absolute path of the file."""
    calibrators: list[Calibrator]
    """In the order of the file."""
    skipped: list[SkippedEntry] = Field(default_factory=list)
    """In the order of the file."""

    @property
    def garbled(self) -> list[SkippedEntry]:
        """What should be put right in the file."""
        return [entry for entry in self.skipped if entry.kind is SkipKind.GARBLED]


def read_calibrators(path: Path) -> list[Calibrator]:
    """Read calibrators; what had to be skipped goes to the log.

    Parameters
    ----------
    path : Path
        As `read_catalogue` takes it.

    Returns
    -------
    list of Calibrator
        In the order of the file.

    Raises
    ------
    InputError
        As `read_catalogue` raises it.
    TransientError
        If the file cannot be read now.
    """
    catalogue = read_catalogue(path)
    for entry in catalogue.garbled:
        _log.warning("%s, line %d, %s: %s", path, entry.line, entry.name, entry.reason)
    without = len(catalogue.skipped) - len(catalogue.garbled)
    if without:
        _log.info("%s: %d entries without a flux density at 20 cm are left out", path, without)
    return catalogue.calibrators


def read_catalogue(path: Path) -> CalibratorCatalogue:
    """Read a catalogue of calibrators; its content decides which format it has.

    Parameters
    ----------
    path : Path
        The VLA calibrator manual as text, or a table that astropy recognizes (ECSV, CSV,
        VOTable, FITS) with columns ``name, ra_deg, dec_deg, flux_jy`` and optionally
        ``ref_freq_hz, spectral_index, quality``.

    Returns
    -------
    CalibratorCatalogue
        The calibrators, and the entries of the manual that were skipped. A table that a
        person wrote for this pipeline is taken as a whole or refused.

    Raises
    ------
    InputError
        If the file is absent, unreadable, empty, holds no calibrator, or is a table that
        lacks a column or holds a bad value.
    TransientError
        If the file cannot be read now.
    """
    path = path.absolute()
    text = _read_text(path)
    if _MANUAL.search(text):
        calibrators, skipped = _read_manual(text)
    else:
        calibrators, skipped = read_table(path, Calibrator), []
    if not calibrators:
        raise InputError(
            f"{path} holds no calibrator"
            + (f": all {len(skipped)} entries were skipped" if skipped else ""),
            reason="empty_catalogue",
            remedy=f"the first: {skipped[0].reason}" if skipped else "put one in",
        )
    return CalibratorCatalogue(path=str(path), calibrators=calibrators, skipped=skipped)


def _read_text(path: Path) -> str:
    """Read a file that may hold anything, and name what keeps it from being read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"no catalogue of calibrators at {path}",
            reason="missing_catalogue",
            remedy="give the VLA calibrator manual as text, or a table with the columns name, "
            "ra_deg, dec_deg and flux_jy, as DSA110_CONTIMG_CALIBRATORS_FILE",
        ) from error
    except IsADirectoryError as error:
        raise InputError(
            f"the catalogue of calibrators {path} is a directory", reason="unreadable_catalogue"
        ) from error
    except OSError as error:
        raise name_os_error(
            error, f"cannot read the catalogue of calibrators {path}", denied="unreadable_catalogue"
        ) from error
    if not content.strip():
        raise InputError(
            f"the catalogue of calibrators {path} is empty",
            reason="empty_catalogue",
            remedy="copy it again",
        )
    return content.decode("utf-8-sig", errors="replace")


class _GarbledError(ValueError):
    """An entry that cannot be read; the message says what is wrong."""


@dataclass
class _Entry:
    """The lines of one calibrator in the manual.

    Parameters
    ----------
    line : int
        Number of the J2000 line.
    name : str
        Name.
    position : str
        What follows the equinox.
    bands : dict of str to list of (int, str)
        Number and rest of the lines of each band, by wavelength in cm.
    """

    line: int
    name: str
    position: str
    bands: dict[str, list[tuple[int, str]]] = field(default_factory=dict)


def _read_manual(text: str) -> tuple[list[Calibrator], list[SkippedEntry]]:
    """Read all entries; what cannot be read is listed and does not stop the rest."""
    entries, skipped = _split_manual(text)
    calibrators: dict[str, Calibrator] = {}
    for entry in entries:
        try:
            calibrator = _read_entry(entry, skipped)
            if calibrator is not None and calibrator.name.casefold() in calibrators:
                raise _GarbledError("repeats a name; the first entry is kept")
        except ValueError as error:  # _GarbledError, or pydantic's
            words = explain(error) if isinstance(error, ValidationError) else str(error)
            skipped.append(_garbled(entry.line, entry.name, words))
            continue
        if calibrator is not None:
            calibrators[calibrator.name.casefold()] = calibrator
    skipped.sort(key=lambda entry: entry.line)
    return list(calibrators.values()), skipped


def _split_manual(text: str) -> tuple[list[_Entry], list[SkippedEntry]]:
    """Sort lines into entries.

    A blank line or one that cannot be understood ends an entry: else the bands of a
    calibrator with a garbled first line would be taken for those of the one before it.
    """
    entries: list[_Entry] = []
    skipped: list[SkippedEntry] = []
    current: _Entry | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            current = None
        elif match := _ENTRY.fullmatch(line):
            current = _Entry(number, match["name"], match["rest"])
            entries.append(current)
        elif match := _BAND.fullmatch(line):
            if current is None:
                skipped.append(_garbled(number, line, "a band without the entry it belongs to"))
            else:
                current.bands.setdefault(match["band"], []).append((number, match["rest"]))
        elif not _IGNORED.fullmatch(line):
            skipped.append(_garbled(number, line, "the line cannot be understood"))
            current = None
    return entries, skipped


def _read_entry(entry: _Entry, skipped: list[SkippedEntry]) -> Calibrator | None:
    """Turn an entry into a calibrator, or list it as one without a flux density."""
    ra_deg, dec_deg = _read_position(entry.position)
    quality, flux_jy = _read_band(entry, "20")
    if not flux_jy:
        reason = "no flux density at 20 cm"
        skipped.append(
            SkippedEntry(
                line=entry.line, name=make_visible(entry.name), kind=SkipKind.NO_FLUX, reason=reason
            )
        )
        return None
    return Calibrator.model_validate(
        {
            "name": entry.name,
            "ra_deg": ra_deg,
            "dec_deg": dec_deg,
            "flux_jy": flux_jy,
            "ref_freq_hz": VLA_20CM_FREQ_HZ,
            "spectral_index": _read_index(entry, flux_jy, skipped),
            "quality": quality,
        }
    )


def _read_index(entry: _Entry, flux_jy: float, skipped: list[SkippedEntry]) -> float:
    """Spectral index between 20 cm and 6 cm."""
    try:
        _, flux_6cm_jy = _read_band(entry, "6")
    except _GarbledError as error:
        reason = f"{error}; the spectral index {DEFAULT_SPECTRAL_INDEX} is assumed"
        skipped.append(_garbled(entry.bands["6"][0][0], entry.name, reason))
        return DEFAULT_SPECTRAL_INDEX
    if not flux_6cm_jy:
        return DEFAULT_SPECTRAL_INDEX
    return float(np.log(flux_6cm_jy / flux_jy) / np.log(VLA_6CM_FREQ_HZ / VLA_20CM_FREQ_HZ))


def _read_position(text: str) -> tuple[float, float]:
    """Right ascension and declination in degrees.

    J2000 positions are taken as ICRS: the frames differ by 20 mas.
    """
    ra, dec = _RA.search(text), _DEC.search(text)
    if ra is None or dec is None:
        raise _GarbledError(f"no position can be read from {text.strip()!r}")
    hours, minutes, seconds = (float(part) for part in ra.groups())
    degrees, arcmin, arcsec = (float(part) for part in dec.groups()[1:])
    if hours >= 24 or degrees > 90 or max(minutes, seconds, arcmin, arcsec) >= 60:
        raise _GarbledError(f"the position {text.strip()!r} is beyond its range")
    sign = 1.0 if dec[1] in {"", "+"} else -1.0
    return (
        15.0 * (hours + minutes / 60 + seconds / 3600),
        sign * (degrees + arcmin / 60 + arcsec / 3600),
    )


def _read_band(entry: _Entry, band: str) -> tuple[str | None, float | None]:
    """Quality code and flux density (Jy) at a wavelength; None where the manual has none.

    The columns are not aligned in the real list, and a line may end after the codes or have a
    question mark, or 0.00, for the flux density.
    """
    lines = entry.bands.get(band, [])
    if not lines:
        return None, None
    if len(lines) > 1:
        raise _GarbledError(f"{len(lines)} lines for {band} cm")
    _, *words = lines[0][1].split() or [""]  # the first is the letter of the band
    codes, rest = words[: len(_CONFIGURATIONS)], words[len(_CONFIGURATIONS) :]
    if len(codes) < len(_CONFIGURATIONS) or not set(codes) <= set("PSWCX?"):
        raise _GarbledError(f"no quality codes can be read at {band} cm")
    code = codes[_CONFIGURATION]
    if not rest or rest[0] in {"?", "visplot"}:
        return code, None
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", rest[0]):
        raise _GarbledError(f"the flux density {rest[0]!r} at {band} cm is no number")
    return code, float(rest[0])


def _garbled(line: int, name: str, reason: str) -> SkippedEntry:
    """Note something that should be put right in the file."""
    short = make_visible(name.strip()[:40])
    return SkippedEntry(line=line, name=short, kind=SkipKind.GARBLED, reason=make_visible(reason))
