"""The field's other sources, whose side lobes would lie on the one that is imaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from dsa110_contimg.calibration.snapshot import MsSnapshot, changed_ms
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError, ScienceQualityError, name_os_error
from dsa110_contimg.imaging.models import ImagingOptions
from dsa110_contimg.photometry.blends import MAX_INFLATION, only_the_sum, separation_arcsec
from dsa110_contimg.photometry.models import Blend, FieldFit, FittedSource
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.visibilities.models import MsInfo
from dsa110_contimg.visibilities.subtract import subtract_sources
from dsa110_contimg.visibilities.window import Window

_SAME_POSITION_ARCSEC = 1.0
"""A source stands in a fit if its position does, to much less than a beam."""
_ONE_BEAM_ARCSEC = 60.0
"""Sources this close may be within one beam, whatever the array: the fit must know of both."""


@dataclass(frozen=True)
class Neighbours:
    """What is subtracted around one source.

    Attributes
    ----------
    path : Path
        The field fit that they are from.
    fitted : tuple of FittedSource
        Sources to subtract and their flux densities per window; none from the MS itself.
    target : FittedSource or None
        What the fit says of the source itself; None where it has none within a beam of it.
    private : bool
        Whether a private copy is imaged, from which the others are subtracted.
    """

    path: Path
    fitted: tuple[FittedSource, ...]
    target: FittedSource | None
    private: bool

    @property
    def blends(self) -> list[Blend]:
        """Neighbours that the source is hard to tell from."""
        return [] if self.target is None else self.target.blends

    def inflation(self, spw_id: int) -> float | None:
        """Say how many times larger the error is for the neighbours that had to be told apart.

        Parameters
        ----------
        spw_id : int
            The window.

        Returns
        -------
        float or None
            As the fit has it; None where it does not say.
        """
        return None if self.target is None else self.target.inflation.get(spw_id)

    def require_apart(self, spw_id: int) -> None:
        """Refuse a window in which the source cannot be told from a neighbour.

        Parameters
        ----------
        spw_id : int
            The window.

        Raises
        ------
        ScienceQualityError
            If only the sum is known; in images of the MS itself, if there is any blend.
        """
        if self.blends and not self.private:
            raise ScienceQualityError(
                f"{only_the_sum(self.blends)}; an image of the MS itself holds them together",
                reason="blended",
                remedy="image a private copy",
            )
        inflation = self.inflation(spw_id)
        if inflation is not None and not inflation <= MAX_INFLATION:
            raise ScienceQualityError(only_the_sum(self.blends), reason="blended")

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


def find_neighbours(
    options: ImagingOptions, source: Source, snapshot: MsSnapshot
) -> Neighbours | None:
    """Find the sources to subtract around one: all of the fit but itself.

    Parameters
    ----------
    options : ImagingOptions
        The MS and the fit.
    source : Source
        What is imaged.
    snapshot : MsSnapshot
        What the MS holds.

    Returns
    -------
    Neighbours or None
        The others; None if no fit was named.

    Raises
    ------
    InputError
        As `read_field_fit` raises it, or if the fit lacks the source, but has one within a beam
        of it, from which it could not be told.
    TransientError
        If the MS was flagged, calibrated or converted again since it was fitted.
    """
    fit = read_field_fit(options)
    if fit is None or options.field_fit is None:
        return None
    if fit.ms_file is not None and not fit.ms_file.is_unchanged(snapshot.file):
        raise changed_ms(options.ms_path, f"{options.field_fit} was made")
    apart_arcsec = [separation_arcsec(source, item.source) for item in fit.sources]
    target = None
    for item, apart in zip(fit.sources, apart_arcsec, strict=True):
        if item.source.name == source.name and apart <= _SAME_POSITION_ARCSEC:
            target = item
    if target is None and min(apart_arcsec, default=np.inf) < _ONE_BEAM_ARCSEC:
        nearest = fit.sources[int(np.argmin(apart_arcsec))].source
        raise InputError(
            f"{options.field_fit} lacks {source.name} where it is now, but has {nearest.name} "
            f"{min(apart_arcsec):.1f} arcsec from it: subtracting that would take the flux "
            f"density away",
            reason="target_not_in_fit",
            remedy="fit the field with this source in it, or use the name that the fit has",
        )
    private = options.private_copy is not None
    others = tuple(item for item in fit.sources if item is not target) if private else ()
    return Neighbours(options.field_fit, others, target, private)
