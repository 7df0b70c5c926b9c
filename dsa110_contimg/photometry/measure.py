"""Measure sources in a Measurement Set: the stage that Python, the CLI and the DAG call."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from dsa110_contimg.calibration.snapshot import MsSnapshot
from dsa110_contimg.catalog.sources import OF_FIELD_MODEL, Source
from dsa110_contimg.errors import ContimgError, InputError
from dsa110_contimg.imaging.field_products import FIELD_DIR
from dsa110_contimg.imaging.image_source import image_sources
from dsa110_contimg.imaging.models import ImageSourcesOptions
from dsa110_contimg.imaging.products import (
    DETECTIONS_FILE,
    RESULT_FILE,
    SPECTRUM_FILE,
    STAMP_FILE,
    write_detections,
)
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.earlier import find_earlier
from dsa110_contimg.photometry.failures import unmeasured
from dsa110_contimg.photometry.field import (
    FIELD_FIT_FILE,
    FieldKey,
    FieldRecord,
    measure_field,
)
from dsa110_contimg.photometry.field_results import FieldResults
from dsa110_contimg.photometry.field_stamps import FieldStamps
from dsa110_contimg.photometry.models import BinningOptions, Photometry, SourceResult
from dsa110_contimg.provenance import make_provenance
from dsa110_contimg.storage.ms_access import exclusive_ms
from dsa110_contimg.storage.publish import publish_tree
from dsa110_contimg.storage.sandbox import open_sandbox
from dsa110_contimg.visibilities.directions import require_off_pole
from dsa110_contimg.visibilities.known_sources import other_sources, problem_of
from dsa110_contimg.visibilities.models import MsInfo
from dsa110_contimg.visibilities.ms_info import select_spws

_LEAST_TO_SUBTRACT = 2
"""Sources in a field: one of them is the target itself."""
_PRODUCT_BYTES = 4 << 20


class MeasureOptions(ImageSourcesOptions):
    """How several sources in one MS are measured."""

    photometry: Photometry = Photometry.UVFIT
    """``uvfit``: joint fit in the uv plane; ``image``: forced photometry on images."""
    field_model: list[Source] = Field(default_factory=list)
    """The field's other known sources, fitted along with the targets."""
    plots: bool = True
    """Draw the field, a spectrum for each source and a stamp for the first hundred (``uvfit``;
    images always get their plots)."""


class UvfitKey(Model):
    """What a source's products depend on, besides the MS."""

    photometry: Photometry
    """The method."""
    binning: BinningOptions
    """Search for detections."""
    field: str
    """Digest of model and windows of the joint fit."""
    plots: bool
    """Whether there are pictures."""


def measure_sources(
    options: MeasureOptions, on_done: Callable[[SourceResult], None] | None = None
) -> list[SourceResult]:
    """Measure several sources in one MS; one that fails does not hold up the others.

    Parameters
    ----------
    options : MeasureOptions
        The MS, the sources, where to write and how to measure.
    on_done : callable, optional
        Called with each result as it is there, in the order of the sources.

    Returns
    -------
    list of SourceResult
        In the order of the sources; one that could not be measured has ``success`` False.

    Raises
    ------
    InputError
        If the MS cannot be read, was left in the middle of a change, is not calibrated, lacks
        a window that was asked for, or products cannot be written.
    TransientError
        If the joint fit ran out of time or space, or the MS was held for too long, or changed
        between the plan and the fit.
    """
    if any(source.name.startswith(FIELD_DIR) for source in options.sources):
        raise InputError(
            f"a source may not have a name that begins with {FIELD_DIR}", reason="source_name"
        )
    snapshot = options.take_snapshot(_doing(options))
    if options.photometry is Photometry.IMAGE:
        fit = fit_for_images(options, snapshot)
        # Imaging one source refuses what only the photometry of several has.
        shared = options.model_dump(include=set(ImageSourcesOptions.model_fields))
        imaging = {**shared, "field_fit": fit}
        return image_sources(ImageSourcesOptions.model_validate(imaging), on_done, snapshot)
    return _Uvfit(options, snapshot).run(on_done)


def _doing(options: MeasureOptions) -> str:
    """Say what is done, to those who wait for the MS."""
    return f"measuring {len(options.sources)} sources"


def fit_for_images(options: MeasureOptions, snapshot: MsSnapshot | None = None) -> Path | None:
    """Fit the field for images to subtract, if it has more than one source.

    Parameters
    ----------
    options : MeasureOptions
        The MS and all sources that will be imaged.
    snapshot : MsSnapshot, optional
        What the MS holds; None: look.

    Returns
    -------
    Path or None
        The fit, in a directory named after its model, so that another request does not replace
        it while images are being made; None if there is nothing to subtract. Where the MS
        itself is imaged, it only says which sources cannot be told apart.

    Raises
    ------
    ContimgError
        As `measure_sources` raises it.
    """
    if snapshot is None:
        snapshot = options.take_snapshot(_doing(options))
    model = model_of_field(options, snapshot.info)
    if len(model) < _LEAST_TO_SUBTRACT:
        return None
    spws = select_spws(snapshot.info, options.spws, options.max_spws)
    digest = FieldKey(spws=[spw.spw_id for spw in spws], sources=model).digest
    directory = f"{FIELD_DIR}-{digest}"
    measure_field(options, snapshot, spws, model, directory=directory)
    return options.products_dir / directory / FIELD_FIT_FILE


def failed_measurement(
    options: MeasureOptions, source: Source, error: ContimgError
) -> SourceResult:
    """Make the result of a source that could not be measured.

    Parameters
    ----------
    options : MeasureOptions
        What was asked for.
    source : Source
        The source.
    error : ContimgError
        Why.

    Returns
    -------
    SourceResult
        Without measurements and products, and made from nothing.
    """
    return unmeasured(
        source,
        f"{error.reason}: {error}",
        ms_path=str(options.ms_path),
        provenance=make_provenance(options, []),
    )


def model_of_field(options: MeasureOptions, info: MsInfo) -> list[Source]:
    """Collect the sources that have to be fitted together.

    Parameters
    ----------
    options : MeasureOptions
        Targets and the field's other sources.
    info : MsInfo
        The MS.

    Returns
    -------
    list of Source
        The targets in the field and the other sources that are not one of them and that the
        primary beam reaches, by name: the fit does not depend on who asked in which order. A
        known source that has the name of a target elsewhere gets another one.

    Raises
    ------
    InputError
        If the phase centre is too near the pole.
    """
    require_off_pole(info)
    targets = [source for source in options.sources if problem_of(source, info) is None]
    names = {source.name for source in options.sources}
    others = [
        source.model_copy(update={"name": f"{source.name}{OF_FIELD_MODEL}"})
        if source.name in names
        else source
        for source in other_sources(options.field_model, targets, info)
    ]
    return sorted(targets + others, key=lambda source: source.name)


class _Uvfit:
    """The joint fit of one field, and the products of its targets."""

    def __init__(self, options: MeasureOptions, snapshot: MsSnapshot):
        self._options, self._snapshot = options, snapshot
        self._spws = select_spws(snapshot.info, options.spws, options.max_spws)
        self._model = model_of_field(options, snapshot.info)
        self._stamps: FieldStamps | None = None
        key = UvfitKey(
            photometry=options.photometry,
            binning=options.binning,
            field=FieldKey(spws=[spw.spw_id for spw in self._spws], sources=self._model).digest,
            plots=options.plots,
        )
        self._provenance = snapshot.provenance(key)

    def run(self, on_done: Callable[[SourceResult], None] | None) -> list[SourceResult]:
        """Fit the field, then make the products of each target."""
        start = time.perf_counter()
        field: tuple[FieldResults, FieldRecord] | None = None
        if self._model:
            targets = {source.name for source in self._options.sources}
            field = measure_field(
                self._options,
                self._snapshot,
                self._spws,
                self._model,
                targets=targets if self._options.plots else None,
            )
            if self._options.plots:
                self._stamps = FieldStamps(self._options.products_dir, *field, self._model)
                self._stamps.choose(targets, self._options.binning, self._provenance)
        share_s = (time.perf_counter() - start) / max(1, len(self._options.sources))
        place = {source.name: index for index, source in enumerate(self._model)}
        results = []
        for source in self._options.sources:
            start = time.perf_counter()
            if field is None or source.name not in place:
                result = self._outside(source)
            else:
                result = self._finish(source, place[source.name], *field)
            seconds = share_s + time.perf_counter() - start
            results.append(result.model_copy(update={"seconds": seconds}))
            if on_done is not None:
                on_done(results[-1])
        return results

    def _outside(self, source: Source) -> SourceResult:
        """Make the result of a source that is not in the field."""
        return unmeasured(
            source,
            problem_of(source, self._snapshot.info),
            ms_path=self._snapshot.info.ms_path,
            provenance=self._provenance,
            n_spws=len(self._spws),
        )

    def _finish(
        self, source: Source, index: int, results: FieldResults, record: FieldRecord
    ) -> SourceResult:
        """Make the products of a target, unless they are there."""
        target = self._options.products_dir / source.name
        earlier = None if self._options.reprocess else find_earlier(target, self._provenance)
        if earlier is not None:
            return earlier
        purpose = f"writing {source.name}"
        with exclusive_ms(target, purpose, timeout_s=self._options.lock_timeout_s):
            result = results.result(index, self._options.binning, self._provenance)
            result = result.model_copy(
                update={
                    "products_dir": str(target),
                    "stage_seconds": record.measurement.stage_seconds,
                }
            )
            return self._publish(source, result)

    def _publish(self, source: Source, result: SourceResult) -> SourceResult:
        """Write the products of a target in a sandbox, and publish them."""
        from dsa110_contimg.imaging.plots import png_metadata
        from dsa110_contimg.photometry.plots import plot_spectrum

        roots = self._options.find_sandbox_roots(self._options.products_dir)
        with open_sandbox(f"photometry_{source.name}", roots, _PRODUCT_BYTES) as sandbox:
            tree = sandbox.path / "products"
            tree.mkdir()
            write_detections(
                tree / DETECTIONS_FILE,
                result.detections,
                source=source,
                provenance=self._provenance,
            )
            if self._options.plots:
                metadata = png_metadata(source, self._provenance)
                plot_spectrum(tree / SPECTRUM_FILE, result, metadata)
                if self._stamps is not None:
                    notes = self._stamps.draw(tree / STAMP_FILE, source, result, metadata)
                    result = result.model_copy(update={"notes": result.notes + notes})
            names = sorted(file.name for file in tree.iterdir())
            result = result.model_copy(update={"products": names})
            (tree / RESULT_FILE).write_text(result.model_dump_json(indent=1), encoding="utf-8")
            publish_tree(tree, self._options.products_dir / source.name)
        return result.model_copy(update={"notes": result.notes + sandbox.warnings})
