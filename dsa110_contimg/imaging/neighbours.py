"""The field's other sources, whose side lobes would lie on the one that is imaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError, ScienceQualityError, name_os_error
from dsa110_contimg.imaging.models import ImagingOptions
from dsa110_contimg.photometry.models import FieldFit, FittedSource
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.visibilities.models import MsInfo
from dsa110_contimg.visibilities.subtract import subtract_sources
from dsa110_contimg.visibilities.window import Window

_SAME_SOURCE_ARCSEC = 5.0
"""Two names for positions this close mean one source: the beam is several times as wide."""


@dataclass(frozen=True)
class Neighbours:
    """What is subtracted around one source.

    Attributes
    ----------
    path : Path
        The field fit that they are from.
    fitted : tuple of FittedSource
        Sources and their flux densities per window.
    """

    path: Path
    fitted: tuple[FittedSource, ...]

    def subtract_from(self, window: Window, info: MsInfo) -> Window:
        """Subtract them from a window.

        Parameters
        ----------
        window : Window
            As read.
        info : MsInfo
            The MS.

        Returns
        -------
        Window
            The same window with other data.

        Raises
        ------
        ScienceQualityError
            If the fit lacks a flux density in this window.
        """
        spw_id = window.spw.spw_id
        flux_jy = [source.flux_jy.get(spw_id, float("nan")) for source in self.fitted]
        unknown = [
            item.source.name
            for item, flux in zip(self.fitted, flux_jy, strict=True)
            if not np.isfinite(flux)
        ]
        if unknown:
            raise ScienceQualityError(
                f"{self.path} has no flux density of {', '.join(unknown)} in this window, so "
                f"they cannot be subtracted",
                reason="not_in_field_fit",
            )
        return subtract_sources(window, info, [item.source for item in self.fitted], flux_jy)


def read_field_fit(options: ImagingOptions) -> FieldFit | None:
    """Read the field fit that the options name.

    Parameters
    ----------
    options : ImagingOptions
        The MS and the fit.

    Returns
    -------
    FieldFit or None
        The fit; None if none is wanted.

    Raises
    ------
    InputError
        If it cannot be read, or is that of another MS.
    """
    path = options.field_fit
    if path is None:
        return None
    try:
        fit = FieldFit.model_validate_json(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(
            f"{path} is no file: there is no field fit to subtract",
            reason="unreadable_field_fit",
            remedy="make it by photometry in the uv plane",
        ) from error
    except OSError as error:
        raise name_os_error(
            error, f"cannot read the field fit {path}", denied="unreadable_field_fit"
        ) from error
    except ValidationError as error:
        raise InputError(
            f"{path} is no field fit: {error.errors()[0]['msg']}",
            reason="unreadable_field_fit",
            remedy="make it again by photometry in the uv plane",
        ) from error
    if canonical_ms(Path(fit.ms_path)) != canonical_ms(options.ms_path):
        raise InputError(
            f"{path} is a fit of {fit.ms_path}, not of {options.ms_path}",
            reason="field_fit_of_another_ms",
            remedy="fit the sources of this MS",
        )
    return fit


def find_neighbours(options: ImagingOptions, source: Source) -> Neighbours | None:
    """Find the sources to subtract around one: all of the fit but that of the same name.

    Parameters
    ----------
    options : ImagingOptions
        The MS and the fit.
    source : Source
        What is imaged.

    Returns
    -------
    Neighbours or None
        The others; None if no fit was named.

    Raises
    ------
    InputError
        As `read_field_fit` raises it, or if the source stands in the fit under another name
        only and would be subtracted itself.
    """
    fit = read_field_fit(options)
    if fit is None or options.field_fit is None:
        return None
    others = tuple(item for item in fit.sources if item.source.name != source.name)
    if len(others) == len(fit.sources):
        _refuse_twins(options.field_fit, source, others)
    return Neighbours(options.field_fit, others)


def _refuse_twins(path: Path, source: Source, others: tuple[FittedSource, ...]) -> None:
    """Refuse to subtract the source that is to be imaged."""
    for item in others:
        turn_deg = (item.source.ra_deg - source.ra_deg + 180.0) % 360.0 - 180.0
        east_deg = turn_deg * np.cos(np.deg2rad(source.dec_deg))
        separation_deg = np.hypot(east_deg, item.source.dec_deg - source.dec_deg)
        if separation_deg * 3600.0 < _SAME_SOURCE_ARCSEC:
            raise InputError(
                f"{path} has {source.name} under the name {item.source.name}: subtracting it "
                f"would leave nothing to measure",
                reason="target_renamed",
                remedy="use the name that the fit has",
            )
