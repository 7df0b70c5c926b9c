"""Solve for gains on a calibrator: the stage that Python, the command and the DAG call."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from dsa110_contimg.calibration.models import CALIBRATOR_ALONE, CalTable, SolutionSet, TableKind
from dsa110_contimg.calibration.need import middle_mjd, window_keys
from dsa110_contimg.calibration.plots import plot_table
from dsa110_contimg.calibration.quality import QualityLimits, find_faults, measure_quality
from dsa110_contimg.calibration.registry import Registry, SolvedTransit
from dsa110_contimg.calibration.set_files import SET_FILE, read_set, set_dir
from dsa110_contimg.calibration.snapshot import MsSnapshot, hold_ms
from dsa110_contimg.calibration.solve_work import Solved, SolveStrategy, SolveWork, solve_in_child
from dsa110_contimg.calibration.tables import read_solutions
from dsa110_contimg.calibration.verify import fingerprint, verify_tables
from dsa110_contimg.casa.door import run_in_casa
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError, ScienceQualityError
from dsa110_contimg.flagging.versions import AS_FLAGGED, flag_version
from dsa110_contimg.instrument import BAND_CENTER_FREQ_HZ
from dsa110_contimg.models import AbsolutePath, Model
from dsa110_contimg.provenance import Provenance, make_provenance
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_access import canonical_ms, exclusive_ms
from dsa110_contimg.storage.ms_work import MsWorkOptions
from dsa110_contimg.storage.publish import publish_tree
from dsa110_contimg.storage.sandbox import open_sandbox
from dsa110_contimg.visibilities.directions import require_off_pole
from dsa110_contimg.visibilities.known_sources import other_sources
from dsa110_contimg.visibilities.models import MsInfo
from dsa110_contimg.visibilities.ms_info import read_antennas
from dsa110_contimg.visibilities.primary_beam import check_in_field

_BYTES_PER_CELL = 60
"""Data, weights and flags of the averaged MS, and CASA's own, per polarization and channel."""


class SolveOptions(MsWorkOptions):
    """How a calibrator is solved on."""

    calibrator: Source
    """The calibrator, with its flux density and spectral index."""
    known_sources: list[Source] = Field(default_factory=list)
    """Other sources with known flux densities; those in the field go into the model."""
    solutions_dir: AbsolutePath = Field(default_factory=lambda: get_settings().calibration_dir)
    """Root of the solutions: ``date/set``."""
    registry_url: str = Field(default_factory=lambda: get_settings().registry_url)
    """SQLAlchemy URL of the registry."""
    strategy: SolveStrategy = SolveStrategy()
    """How solutions are found."""
    limits: QualityLimits = QualityLimits()
    """What they must reach."""
    timeout_s: float = Field(default_factory=lambda: get_settings().calibration_timeout_s, gt=0)
    """Limit in seconds, not counting the wait for the MS."""


class SolveKey(Model):
    """What solutions depend on.

    The MS counts as it was flagged: that solutions are applied to it makes no others of it.
    """

    ms_created: str
    """When the MS was published, UTC, ISO 8601."""
    flagged: str
    """When it was flagged, likewise."""
    calibrator: Source
    """The calibrator."""
    others: list[Source]
    """The field's other sources."""
    strategy: SolveStrategy
    """How solutions are found."""
    limits: QualityLimits
    """What they must reach."""


def solve_ms(options: SolveOptions) -> SolutionSet:
    """Solve for bandpass and gains on a calibrator's transit, judge, keep and register them.

    Parameters
    ----------
    options : SolveOptions
        The MS, the calibrator, the field, and what solutions must reach.

    Returns
    -------
    SolutionSet
        The solutions, published and registered.

    Raises
    ------
    InputError
        If the MS cannot be read, has not been flagged or does not reach the calibrator, if the
        reference antenna is not one of its antennas, or the solutions cannot be kept.
    ScienceQualityError
        If the solutions are poor: ``poor_solutions``, with every fault. They are kept for
        inspection under a name that begins with ``refused-``, and registered as refused.
    TransientError
        If time, space or the child ran out, or the MS was held for too long.
    """
    ms_path = canonical_ms(options.ms_path)
    # The MS first: who applies a set holds an MS, too, while it waits for the set.
    with hold_ms(
        ms_path,
        options.purpose or f"solving on {options.calibrator.name}",
        timeout_s=options.lock_timeout_s,
        access_log=options.access_log,
    ) as snapshot:
        # Solutions are of the data as observed, also where others have been applied to them.
        info = snapshot.info.model_copy(update={"data_column": "DATA"})
        check_in_field(options.calibrator, info)
        require_off_pole(info)
        _check_refant(options)
        transit = _describe(ms_path, info, options.calibrator)
        key = _make_key(options, snapshot)
        provenance = make_provenance(key, [snapshot.file])
        registry = Registry(options.registry_url)
        target = set_dir(options.solutions_dir, transit.set_id)
        with exclusive_ms(target, f"solving {transit.set_id}", timeout_s=options.lock_timeout_s):
            earlier = None if options.reprocess else _read_earlier(options, target, provenance)
            if earlier is not None:
                registry.add(earlier)
                return earlier
            try:
                solutions, faults = _solve(options, transit, info, key, provenance, target)
            except ScienceQualityError as error:
                registry.refuse(transit, error.message)
                raise
            if not faults:
                registry.add(solutions)
                return solutions
            registry.refuse(transit, "; ".join(faults))
    raise ScienceQualityError(
        f"the solutions on {options.calibrator.name} in {ms_path.name} are refused: "
        + "; ".join(faults),
        reason="poor_solutions",
        remedy=f"see the plots in {solutions.directory}",
    )


def _describe(ms_path: Path, info: MsInfo, calibrator: Source) -> SolvedTransit:
    """Say which transit is solved."""
    return SolvedTransit(
        set_id=f"{ms_path.stem}_{calibrator.name}",
        calibrator=calibrator.name,
        group_id=ms_path.stem,
        mid_mjd=middle_mjd(info),
        dec_deg=info.center_dec_deg,
    )


def _check_refant(options: SolveOptions) -> None:
    """Refuse a reference antenna that is not there: CASA would say that the solve failed."""
    wanted = options.strategy.refant
    names, used = read_antennas(options.ms_path)
    present = [names[antenna] for antenna in used]
    if wanted is not None and wanted not in present:
        raise InputError(
            f"{options.ms_path} has no data of an antenna {wanted}",
            reason="unknown_refant",
            remedy=f"it has {', '.join(present)}",
        )


def _make_key(options: SolveOptions, snapshot: MsSnapshot) -> SolveKey:
    """Say what the solutions will depend on; the MS is held."""
    ms_path, flagging = snapshot.path, snapshot.flagging
    # Not only whole ones: a calibration that was killed leaves data and flags as they were, and
    # may be waiting for these very solutions.
    if flagging is None or not flag_version(ms_path, AS_FLAGGED).is_dir():
        raise InputError(
            f"{ms_path} has not been flagged", reason="not_flagged", remedy="flag it first"
        )
    return SolveKey(
        ms_created=flagging.ms_created,
        flagged=flagging.provenance.created,
        calibrator=options.calibrator,
        others=other_sources(
            [known for known in options.known_sources if known.name != options.calibrator.name],
            [options.calibrator],
            snapshot.info,
        ),
        strategy=options.strategy,
        limits=options.limits,
    )


def _read_earlier(
    options: SolveOptions, target: Path, provenance: Provenance
) -> SolutionSet | None:
    """Read solutions that were made in the same way from the same data and flags, if whole."""
    earlier = read_set(target)
    if (
        earlier is None
        or earlier.provenance.options != provenance.options
        or earlier.directory != str(target)
        or verify_tables(earlier, options.limits.min_unflagged_fraction) is not None
    ):
        return None
    return earlier


def _solve(
    options: SolveOptions,
    transit: SolvedTransit,
    info: MsInfo,
    key: SolveKey,
    provenance: Provenance,
    target: Path,
) -> tuple[SolutionSet, list[str]]:
    """Solve in a sandbox and a child, judge, and publish under a name that tells."""
    ms_path = canonical_ms(options.ms_path)
    roots = options.find_sandbox_roots(options.solutions_dir)
    needed = _BYTES_PER_CELL * 2 * info.spws[0].n_channels * info.n_rows
    with open_sandbox(
        f"solve_{transit.set_id}", roots, needed // options.strategy.integrations
    ) as sandbox:
        tree, scratch = sandbox.path / "set", sandbox.path / "scratch"
        tree.mkdir()
        scratch.mkdir()
        solved = run_in_casa(
            solve_in_child,
            SolveWork(
                ms_path=ms_path,
                info=info,
                calibrator=options.calibrator,
                others=key.others,
                strategy=options.strategy,
                scratch_dir=scratch,
                tables_dir=tree,
            ),
            timeout_s=options.timeout_s,
            log_path=options.find_log(options.solutions_dir, transit.set_id),
            scratch_dir=scratch,
        )
        solutions, faults = _judge(options, transit, info, solved, key.others, provenance, tree)
        if faults:
            target = set_dir(options.solutions_dir, transit.set_id, is_refused=True)
        solutions = solutions.model_copy(
            update={"directory": str(target), "notes": solutions.notes + sandbox.warnings + faults}
        )
        (tree / SET_FILE).write_text(solutions.model_dump_json(indent=1), encoding="utf-8")
        publish_tree(tree, target)
    return solutions, faults


def _judge(
    options: SolveOptions,
    transit: SolvedTransit,
    info: MsInfo,
    solved: Solved,
    others: list[Source],
    provenance: Provenance,
    tree: Path,
) -> tuple[SolutionSet, list[str]]:
    """Judge what was solved; give the set and all its faults."""
    names, used = read_antennas(Path(info.ms_path))
    tables, faults = _judge_tables(options.limits, transit, solved, names, tree)
    lost = {name for table in tables for name in table.quality.antennas_without}
    antennas = [names[antenna] for antenna in solved.antennas if names[antenna] not in lost]
    least = options.limits.min_antenna_fraction
    if len(antennas) < least * len(used):
        faults.append(
            f"only {len(antennas)} of {len(used)} antennas have solutions (limit {least:.0%})"
        )
    refant = names[read_solutions(tree / TableKind.GAIN, TableKind.GAIN).reference[0]]
    if refant not in solved.references:
        faults.append(f"CASA took antenna {refant} as reference, which was not offered")
    solutions = SolutionSet(
        **transit.model_dump(),
        calibrator_flux_jy=float(options.calibrator.flux_at(BAND_CENTER_FREQ_HZ)),
        ms_path=info.ms_path,
        duration_s=info.duration_s,
        array=names,
        antennas=antennas,
        windows=window_keys(info),
        refant=refant,
        directory=str(tree),
        tables=tables,
        notes=_note(solved, refant, options.strategy.refant) + _note_model(others),
        provenance=provenance,
    )
    return solutions, faults


def _judge_tables(
    limits: QualityLimits, transit: SolvedTransit, solved: Solved, names: list[str], tree: Path
) -> tuple[list[CalTable], list[str]]:
    """Judge each table and draw it; give all their faults."""
    tables, faults = [], []
    for kind in solved.kinds:
        quality = measure_quality(tree / kind, kind, solved.antennas, names)
        plot = f"{kind}.png"
        plot_table(tree / plot, tree / kind, kind, names, title=f"{transit.set_id}: {kind}")
        files = fingerprint(tree / kind)
        tables.append(CalTable(kind=kind, name=kind.value, files=files, quality=quality, plot=plot))
        faults += find_faults(kind, quality, limits)
    return tables, faults


def _note_model(others: list[Source]) -> list[str]:
    """Say what the model lacks, if it is the calibrator alone."""
    if others:
        return []
    lacking = (
        f"{CALIBRATOR_ALONE}: the field's other sources bias gains and flux scale, by per cents "
        "where they are bright; name them with --sources, or in the settings sources_file or "
        "field_model_file"
    )
    return [lacking]


def _note(solved: Solved, refant: str, wanted: str | None) -> list[str]:
    """Say what is not as it was asked for."""
    notes = [
        f"spectral window {spw_id} has no solutions: {why}"
        for spw_id, why in solved.failures.items()
    ]
    if wanted not in (None, refant):
        notes.append(f"reference antenna {refant} took the place of {wanted}")
    return notes
