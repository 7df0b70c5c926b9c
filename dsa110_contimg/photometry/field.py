"""The joint fit of a field: done once per MS, kept beside its sources, and used again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError

from dsa110_contimg.calibration.snapshot import MsSnapshot
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.imaging.field_products import (
    FIELD_DIR,
    FIELD_IMAGE_FILE,
    FIELD_PICTURE_FILE,
    FIELD_SUMMARY_FILE,
    FieldImageOptions,
)
from dsa110_contimg.imaging.models import ImagingOptions
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.field_results import FieldResults
from dsa110_contimg.photometry.uvfit import FieldMeasurement, UvfitWork, fit_field
from dsa110_contimg.processes import run_in_child
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.storage.ms_access import exclusive_ms
from dsa110_contimg.storage.publish import check_target, publish_tree
from dsa110_contimg.storage.sandbox import open_sandbox
from dsa110_contimg.visibilities.models import SpwInfo

FIELD_FILE = "field.json"
FIELD_FIT_FILE = "field_fit.json"
PHOTOMETRY_FILE = "photometry.ecsv"
_NEEDED_BYTES = 64 << 20


class FieldKey(Model):
    """What a fit depends on, besides the MS."""

    spws: list[int]
    """Ids of the windows."""
    sources: list[Source]
    """The model, in order."""

    @property
    def digest(self) -> str:
        """Short name of this model and these windows."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class FieldRecord(Model):
    """A fit, and what it was made from."""

    measurement: FieldMeasurement
    """Flux densities of all sources."""
    provenance: Provenance
    """Versions, options and inputs."""


def measure_field(
    options: ImagingOptions,
    snapshot: MsSnapshot,
    spws: list[SpwInfo],
    sources: list[Source],
    *,
    targets: Collection[str] | None = None,
    directory: str = FIELD_DIR,
) -> tuple[FieldResults, FieldRecord]:
    """Fit all sources of a field, or take the fit that is there.

    The work is done in a child process. ``products_dir/directory`` receives the fit
    (``field.json``), what imaging subtracts (``field_fit.json``), a table of all flux densities
    (``photometry.ecsv``) and, on request, an image (``field.image.fits``, ``field.png``), all at
    once.

    Parameters
    ----------
    options : ImagingOptions
        The MS, where to write, how to wait.
    snapshot : MsSnapshot
        What the MS holds.
    spws : list of SpwInfo
        The windows.
    sources : list of Source
        All sources of the model.
    targets : collection of str, optional
        Image the field too, with these sources marked by name. None: no image.
    directory : str, optional
        Name of the directory; a fit of another model in it is replaced.

    Returns
    -------
    FieldResults
        The results of its sources.
    FieldRecord
        The fit as it is stored.

    Raises
    ------
    InputError
        If the products cannot be written.
    TransientError
        If time, space or the child ran out, the MS or the products are held by another process
        for too long, or the MS does not hold any more what it did.
    """
    key = FieldKey(spws=[spw.spw_id for spw in spws], sources=sources)
    work = UvfitWork(
        ms_path=options.ms_path,
        snapshot=snapshot,
        spws=spws,
        sources=sources,
        serialize_ms_access=options.serialize_ms_access,
        lock_timeout_s=options.lock_timeout_s,
        access_log=options.access_log,
        purpose=options.purpose or f"measuring {len(sources)} sources",
    )
    provenance = snapshot.provenance(key)
    target = options.products_dir / directory

    def read_earlier() -> FieldRecord | None:
        if options.reprocess:
            return None
        return _read_record(target, provenance, with_picture=targets is not None)

    record = read_earlier()
    if record is None:
        check_target(target, _NEEDED_BYTES)
        with exclusive_ms(target, work.purpose, timeout_s=options.lock_timeout_s):
            # Whoever held the lock before may have done the work.
            record = read_earlier() or _make(options, work, provenance, targets, target)
    return FieldResults(work, record.measurement), record


def _read_record(target: Path, provenance: Provenance, *, with_picture: bool) -> FieldRecord | None:
    """Read an earlier fit of the same model to the same MS, if no window may do better now."""
    try:
        record = FieldRecord.model_validate_json((target / FIELD_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    same = (
        record.provenance.inputs == provenance.inputs
        and record.provenance.options == provenance.options
        and not any(failure.retryable for failure in record.measurement.failures)
        and (not with_picture or _has_picture(target, record))
    )
    return record if same else None


def _has_picture(target: Path, record: FieldRecord) -> bool:
    """Whether an earlier fit has the pictures that can be made of it."""
    if record.measurement.image is None:
        return not record.measurement.windows or bool(record.measurement.notes)
    names = (FIELD_IMAGE_FILE, FIELD_PICTURE_FILE, FIELD_SUMMARY_FILE)
    return all((target / name).is_file() for name in names)


def _make(
    options: ImagingOptions,
    work: UvfitWork,
    provenance: Provenance,
    targets: Collection[str] | None,
    target: Path,
) -> FieldRecord:
    """Fit the field, and store the fit."""
    roots = options.find_sandbox_roots(options.products_dir)
    with open_sandbox("field", roots, _NEEDED_BYTES) as sandbox:
        tree = sandbox.path / "products"
        tree.mkdir()
        if targets is not None:
            image = FieldImageOptions(path=tree / FIELD_IMAGE_FILE, provenance=provenance)
            work = work.model_copy(update={"image": image})
        measurement = run_in_child(
            fit_field,
            work,
            timeout_s=options.timeout_s + options.lock_timeout_s,
            log_path=options.find_log(options.products_dir, target.name),
            warm=True,
        )
        record = FieldRecord(measurement=measurement, provenance=provenance)
        results = FieldResults(work, measurement)
        (tree / FIELD_FILE).write_text(record.model_dump_json(indent=1), encoding="utf-8")
        (tree / FIELD_FIT_FILE).write_text(results.field_fit().model_dump_json(), encoding="utf-8")
        _write_table(tree / PHOTOMETRY_FILE, work, record)
        if targets is not None:
            _draw(tree, work, record, targets)
        publish_tree(tree, target)
    return record


def _draw(tree: Path, work: UvfitWork, record: FieldRecord, targets: Collection[str]) -> None:
    """Draw the field, and file what its image tells."""
    from dsa110_contimg.imaging.field_fits import read_field_image
    from dsa110_contimg.imaging.field_plots import plot_field
    from dsa110_contimg.imaging.plots import png_metadata

    about = record.measurement.image
    if about is None:
        return
    center = Source(
        name="field",
        ra_deg=work.info.center_ra_deg % 360.0,
        dec_deg=work.info.center_dec_deg,
    )
    plot_field(
        tree / FIELD_PICTURE_FILE,
        read_field_image(tree / FIELD_IMAGE_FILE, about),
        work.info,
        targets=[source for source in work.sources if source.name in targets],
        others=[source for source in work.sources if source.name not in targets],
        metadata=png_metadata(center, record.provenance),
    )
    (tree / FIELD_SUMMARY_FILE).write_text(about.model_dump_json(indent=1), encoding="utf-8")


def _write_table(path: Path, work: UvfitWork, record: FieldRecord) -> None:
    """Write all flux densities as one table, a row for each source and window."""
    from astropy import units
    from astropy.table import QTable

    rows = [
        (s.name, s.ra_deg, s.dec_deg, w.spw_id, w.flux_jy[k], w.rms_jy[k], w.inflation[k])
        for w in record.measurement.windows
        for k, s in enumerate(work.sources)
    ]
    names = ("name", "ra", "dec", "spw_id", "flux", "rms", "error_inflation")
    kinds = (str, float, float, int, float, float, float)
    table = QTable(rows=rows or None, names=names, dtype=kinds)
    for name, unit in (
        ("ra", units.deg),
        ("dec", units.deg),
        ("flux", units.Jy),
        ("rms", units.Jy),
    ):
        table[name] = table[name] * unit
    table.meta = {
        "reduced_chi2": {str(w.spw_id): w.reduced_chi2 for w in record.measurement.windows},
        # The options hold the whole model, which is the table's own columns.
        "provenance": record.provenance.model_dump(mode="json", exclude={"options"}),
    }
    table.write(path, format="ascii.ecsv")
