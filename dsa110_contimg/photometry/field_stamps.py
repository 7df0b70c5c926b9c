"""Stamps of sources, cut from the image of their field."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.imaging.field_products import FIELD_DIR, FIELD_IMAGE_FILE, FieldImage
from dsa110_contimg.photometry.field import FieldRecord
from dsa110_contimg.photometry.field_results import FieldResults
from dsa110_contimg.photometry.models import BinningOptions, SourceResult
from dsa110_contimg.provenance import Provenance

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from dsa110_contimg.imaging.field_fits import FieldMaps

MAX_STAMPS = 100
"""So many targets get a stamp, those with the best detections first; the picture of the field
shows all."""
_REPLACED = (
    "No stamp was drawn: a measurement of other sources into the same directory has replaced the "
    "image of the field."
)


class FieldStamps:
    """Draws the stamps of a field's targets.

    Parameters
    ----------
    products_dir : Path
        Where the field's products are.
    results : FieldResults
        The results of its sources.
    record : FieldRecord
        The fit.
    model : list of Source
        All sources that were fitted.
    """

    def __init__(
        self,
        products_dir: Path,
        results: FieldResults,
        record: FieldRecord,
        model: list[Source],
    ):
        self._path = products_dir / FIELD_DIR / FIELD_IMAGE_FILE
        self._results, self._record, self._model = results, record, model
        self._chosen: set[str] = set()
        self._image: tuple[FieldMaps, WCS] | None = None

    def choose(
        self, targets: Collection[str], binning: BinningOptions, provenance: Provenance
    ) -> None:
        """Choose the targets that get a stamp.

        Parameters
        ----------
        targets : collection of str
            Their names.
        binning : BinningOptions
            Search for detections, by which they are ranked.
        provenance : Provenance
            Of their results.
        """
        best: dict[str, float] = {}
        for index, source in enumerate(self._model):
            if source.name in targets:
                best[source.name] = 0.0
                if len(targets) > MAX_STAMPS:
                    result = self._results.result(index, binning, provenance)
                    best[source.name] = max((d.snr for d in result.detections), default=0.0)
        self._chosen = set(sorted(best, key=lambda name: -best[name])[:MAX_STAMPS])

    def draw(
        self, path: Path, source: Source, result: SourceResult, metadata: dict[str, str]
    ) -> list[str]:
        """Draw the stamp of a target, if it was chosen and its field has an image.

        Parameters
        ----------
        path : Path
            The file.
        source : Source
            The target.
        result : SourceResult
            What was measured.
        metadata : dict of str to str
            PNG text chunks.

        Returns
        -------
        list of str
            Why there is none, though it was chosen, a sentence each.
        """
        about = self._record.measurement.image
        if about is None or source.name not in self._chosen:
            return []
        from dsa110_contimg.imaging.field_stamp_plot import plot_field_stamp

        opened = self._open(about)
        if opened is None:
            return [_REPLACED]
        maps, wcs = opened
        plot_field_stamp(
            path,
            maps,
            wcs,
            source,
            [other for other in self._model if other.name != source.name],
            mean_jy=_mean_jy(result),
            metadata=metadata,
        )
        return []

    def _open(self, about: FieldImage) -> tuple[FieldMaps, WCS] | None:
        """Read the image of the field, once; None if that of another fit took its place."""
        from astropy.wcs import WCS

        from dsa110_contimg.imaging.field_fits import read_field_image
        from dsa110_contimg.imaging.fits_provenance import is_made_by

        if self._image is None:
            try:
                maps = read_field_image(self._path, about)
            except FileNotFoundError:
                return None
            if not is_made_by(maps.header, self._record.provenance):
                return None
            self._image = maps, WCS(maps.header, fix=False).celestial
        return self._image


def _mean_jy(result: SourceResult) -> tuple[float, float] | None:
    """Inverse-variance mean of the windows and its error in Jy; None if there are none."""
    if not result.spws:
        return None
    weights = np.array([spw.rms_jy for spw in result.spws]) ** -2.0
    mean_jy = np.average([spw.flux_jy for spw in result.spws], weights=weights)
    return float(mean_jy), float(weights.sum() ** -0.5)
