"""Image sources in a Measurement Set: the stage that Python, the CLI and the DAG call."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dsa110_contimg.calibration.snapshot import MsSnapshot
from dsa110_contimg.casa.door import run_in_casa
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ContimgError
from dsa110_contimg.imaging.backends import check_backend
from dsa110_contimg.imaging.measure_stamps import measure_stamps
from dsa110_contimg.imaging.models import ImageSourceOptions, ImageSourcesOptions
from dsa110_contimg.imaging.neighbours import find_neighbours, read_field_fit
from dsa110_contimg.imaging.prepare import StampWork
from dsa110_contimg.imaging.products import RESULT_FILE
from dsa110_contimg.photometry.earlier import find_earlier
from dsa110_contimg.photometry.failures import unmeasured
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.provenance import Provenance, describe_input, make_provenance
from dsa110_contimg.stages import StageClock
from dsa110_contimg.storage.ms_access import exclusive_ms
from dsa110_contimg.storage.publish import check_target, publish_tree
from dsa110_contimg.storage.sandbox import open_sandbox
from dsa110_contimg.visibilities.directions import require_catalogue_frame, require_off_pole
from dsa110_contimg.visibilities.models import SpwInfo
from dsa110_contimg.visibilities.ms_info import select_spws
from dsa110_contimg.visibilities.primary_beam import check_in_field

_WITHOUT_EFFECT = {
    "access_log",
    "calibration",
    "lock_timeout_s",
    "log_dir",
    "max_workers",
    "products_dir",
    "purpose",
    "reprocess",
    "sandbox_roots",
    "serialize_ms_access",
    "sources",
    "timeout_s",
}
"""Options that do not change what the products hold."""

_BYTES_PER_PIXEL = 4
"""A float; one FITS file per window stays."""
_OVERHEAD_BYTES = 192 << 20
"""The private copy (120 MB for a full-size MS), ten images of one window, plots."""


def image_source(options: ImageSourceOptions, snapshot: MsSnapshot | None = None) -> SourceResult:
    """Image one source in one MS, measure it in every window and search for detections.

    The work is done in a child and a sandbox; the products appear under
    ``products_dir/<name>`` all at once, ``result.json`` among them. If they are there
    already, made from the same MS with the same options, nothing is done.

    Parameters
    ----------
    options : ImageSourceOptions
        The MS, the source, where to write and how to image.
    snapshot : MsSnapshot, optional
        What the MS holds; None: look.

    Returns
    -------
    SourceResult
        What was measured, found and failed.

    Raises
    ------
    InputError
        If the MS cannot be read, was left in the middle of a change, is not calibrated, lacks a
        window that was asked for, or does not reach the source; if the backend is not installed
        or cannot do what is asked, or the field fit cannot be used.
    TransientError
        If time, space or the child ran out, the MS or the products are held by another process
        for too long, or the MS has changed since this was planned, or since the field was fitted;
        nothing is left under the good name.
    """
    start = time.perf_counter()
    check_backend(options)
    if snapshot is None:
        snapshot = options.take_snapshot(f"imaging {options.source.name}")
    find_neighbours(options, options.source, snapshot)
    spws = select_spws(snapshot.info, options.spws, options.max_spws)
    check_in_field(options.source, snapshot.info)
    require_off_pole(snapshot.info)
    if options.private_copy is None:
        require_catalogue_frame(options.source, snapshot.info)
    provenance = _provenance(options, snapshot)
    target = options.products_dir / options.source.name
    result = _earlier_result(target, options, provenance)
    if result is None:
        check_target(target, _bytes_needed(options, len(spws)))
        purpose = options.purpose or f"imaging {options.source.name}"
        with exclusive_ms(target, purpose, timeout_s=options.lock_timeout_s):
            # Whoever held the lock before may have done the work.
            result = _earlier_result(target, options, provenance)
            if result is None:
                result = _image(options, snapshot, spws, provenance, start)
    return result.model_copy(update={"seconds": time.perf_counter() - start})


def image_sources(
    options: ImageSourcesOptions,
    on_done: Callable[[SourceResult], None] | None = None,
    snapshot: MsSnapshot | None = None,
) -> list[SourceResult]:
    """Image several sources in one MS; one that fails does not hold up the others.

    Parameters
    ----------
    options : ImageSourcesOptions
        The MS, the sources, where to write and how to image.
    on_done : callable, optional
        Called with each result as it is there, in the order of the sources.
    snapshot : MsSnapshot, optional
        What the MS holds; None: look.

    Returns
    -------
    list of SourceResult
        In the order of the sources; one that could not be imaged has ``success`` False.

    Raises
    ------
    InputError
        If no source can be imaged: the MS cannot be read, is not calibrated or lacks a window
        that was asked for, the backend is not installed or cannot do what is asked, or the field
        fit is not usable.
    TransientError
        If the MS is held for too long.
    """
    check_backend(options)
    read_field_fit(options)
    if snapshot is None:
        snapshot = options.take_snapshot(f"imaging {len(options.sources)} sources")
    n_spws = len(select_spws(snapshot.info, options.spws, options.max_spws))
    shared = options.model_dump(exclude={"sources", "max_workers"})

    def image_one(source: Source) -> SourceResult:  # numpydoc ignore=PR01
        """Image one source, and turn its named error into a result."""
        one = ImageSourceOptions.model_validate({**shared, "source": source})
        start = time.perf_counter()
        try:
            return image_source(one, snapshot)
        except ContimgError as error:
            return failed_result(one, str(error), n_spws, time.perf_counter() - start)

    results = []
    with ThreadPoolExecutor(options.max_workers) as pool:
        for result in pool.map(image_one, options.sources):
            results.append(result)
            if on_done is not None:
                on_done(result)
    return results


def failed_result(
    options: ImageSourceOptions, error: str, n_spws: int = 0, seconds: float = 0.0
) -> SourceResult:
    """Make the result of a source that could not be imaged.

    Parameters
    ----------
    options : ImageSourceOptions
        What was asked for.
    error : str
        Why it failed, in a sentence.
    n_spws : int, optional
        Windows asked for, where known.
    seconds : float, optional
        Wall time.

    Returns
    -------
    SourceResult
        Without measurements and products, and made from nothing.
    """
    return unmeasured(
        options.source,
        error,
        ms_path=str(options.ms_path),
        provenance=make_provenance(options, []),
        n_spws=n_spws,
        seconds=seconds,
    )


def _provenance(options: ImageSourceOptions, snapshot: MsSnapshot) -> Provenance:
    """Record the options and what the MS holds."""
    provenance = snapshot.provenance(options)
    if options.field_fit is None or not options.field_fit.exists():
        return provenance
    inputs = [*provenance.inputs, describe_input(options.field_fit)]
    return provenance.model_copy(update={"inputs": inputs})


def _earlier_result(
    target: Path, options: ImageSourceOptions, provenance: Provenance
) -> SourceResult | None:
    """Return the result of an earlier run if it still holds and is not to be done again."""
    return None if options.reprocess else find_earlier(target, provenance, _WITHOUT_EFFECT)


def _bytes_needed(options: ImageSourceOptions, n_spws: int) -> int:
    """Estimate the space that the work takes."""
    return _OVERHEAD_BYTES + n_spws * _BYTES_PER_PIXEL * options.clean.image_size_px**2


def _image(
    options: ImageSourceOptions,
    snapshot: MsSnapshot,
    spws: list[SpwInfo],
    provenance: Provenance,
    start: float,
) -> SourceResult:
    """Do the work in a sandbox and a child, and publish the products."""
    roots = options.find_sandbox_roots(options.products_dir)
    name, need_bytes = options.source.name, _bytes_needed(options, len(spws))
    wait_s = options.lock_timeout_s if options.serialize_ms_access else 0.0
    with open_sandbox(f"imaging_{name}", roots, need_bytes) as sandbox:
        tree, scratch = sandbox.path / "products", sandbox.path / "scratch"
        tree.mkdir()
        scratch.mkdir()
        result = run_in_casa(
            measure_stamps,
            StampWork(
                options=options,
                snapshot=snapshot,
                spws=spws,
                provenance=provenance,
                scratch_dir=scratch,
                tree_dir=tree,
            ),
            timeout_s=options.timeout_s + wait_s,
            log_path=options.find_log(options.products_dir, name),
            scratch_dir=scratch,
        )
        result = result.model_copy(update={"seconds": time.perf_counter() - start})
        (tree / RESULT_FILE).write_text(result.model_dump_json(indent=1), encoding="utf-8")
        publish_tree(tree, options.products_dir / name, StageClock(name))
    return result.model_copy(update={"notes": result.notes + sandbox.warnings})
