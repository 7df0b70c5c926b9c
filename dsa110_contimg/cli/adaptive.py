"""The command ``adaptive``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from dsa110_contimg.models import explain

if TYPE_CHECKING:
    from dsa110_contimg.catalog.sources import Source
    from dsa110_contimg.photometry.measure import MeasureOptions
    from dsa110_contimg.photometry.models import SourceResult


def adaptive(
    ms: Annotated[Path, typer.Argument(help="The Measurement Set; only read.", show_default=False)],
    output_dir: Annotated[
        Path,
        typer.Option(help="Gets one directory of products per source.", show_default=False),
    ],
    ra: Annotated[
        float | None,
        typer.Option(help="Right ascension of one source (ICRS) in degrees.", show_default=False),
    ] = None,
    dec: Annotated[
        float | None,
        typer.Option(help="Its declination in degrees.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Its name.  [default: made from the position]")
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            help="Instead of one position: a table (ECSV, CSV, VOTable, FITS) with the columns "
            "name, ra_deg, dec_deg.",
            show_default=False,
        ),
    ] = None,
    target_snr: Annotated[
        float, typer.Option(help="A bin is a detection from this signal-to-noise ratio on.")
    ] = 5.0,
    min_width: Annotated[int, typer.Option(help="Smallest number of windows in a bin.")] = 1,
    max_width: Annotated[int, typer.Option(help="Largest number of windows in a bin.")] = 16,
    bridge_gaps: Annotated[
        bool,
        typer.Option(
            "--bridge-gaps", help="Let bins reach across windows that are missing or failed."
        ),
    ] = False,
    spws: Annotated[
        str | None,
        typer.Option(help="Windows to image, e.g. 0-7,12.  [default: all]", show_default=False),
    ] = None,
    max_spws: Annotated[
        int | None,
        typer.Option(help="Image only the first so many of them.", show_default=False),
    ] = None,
    max_workers: Annotated[
        int, typer.Option(help="Sources imaged at once; 1: strictly one after the other.")
    ] = 4,
    photometry: Annotated[
        str,
        typer.Option(
            help="uvfit: least squares in the uv plane, all sources of the field together; image: "
            "the pixel at the source in an image of each window, made after the field's other "
            "sources have been subtracted."
        ),
    ] = "uvfit",
    field_model: Annotated[
        Path | None,
        typer.Option(
            help="Table of the field's other known sources (same columns as --sources; flux_jy "
            "helps for sources far out in the beam). They are fitted along, and no longer spoil "
            "the targets with their side lobes.",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            help="Program that makes the images: tclean, wsclean (a Debian package) or ducc0 "
            "(not CLEANed; the fastest)."
        ),
    ] = "tclean",
    private_copy: Annotated[
        bool,
        typer.Option(
            help="Image a copy that is rotated to the source and averaged; without it the MS "
            "itself, at about seven times the cost."
        ),
    ] = True,
    serialize_ms_access: Annotated[
        bool, typer.Option(help="Hold the lock of the MS while it is open.")
    ] = True,
    assume_calibrated: Annotated[
        bool,
        typer.Option(
            "--assume-calibrated",
            help="Measure DATA as they are where nothing shows that they are calibrated: neither "
            "CORRECTED_DATA, nor the input's own statement that they are in Jy.",
        ),
    ] = False,
    plots: Annotated[
        bool, typer.Option(help="Draw the field, and each source's spectrum and stamp.")
    ] = True,
    again: Annotated[bool, typer.Option("--again", help="Do also what is there already.")] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON on standard output.")
    ] = False,
) -> None:
    """Measure sources in a Measurement Set and search their spectra with adaptive bins.

    The flux density of each source is measured in each spectral window. Runs of adjacent windows
    are then averaged, the narrowest first, until they reach the target signal-to-noise ratio.
    Products per source: a plot of flux density against frequency, detections.ecsv, result.json
    and, with --photometry image, FITS images and a postage stamp; _field holds the joint fit of
    all sources.

    An MS that was never calibrated is refused: flag, solve and apply first. What is measured is
    what the MS holds once other processes have ended their work on it.

    Several processes that write one MS deadlock in CASA. Any of these avoids it:
    --serialize-ms-access (the default), the private copy of each process (the default with
    --photometry image), --backend wsclean or ducc0, or --max-workers 1.

    Exit status 0: every source was measured; 1: one was not, or not in every window; 2: wrong
    usage.

    Example: dsa110-contimg adaptive 2026-01-25T22:26:05.ms --sources targets.ecsv --field-model
    nvss.vot --output-dir products --target-snr 5
    """
    from dsa110_contimg.catalog.sources import read_sources
    from dsa110_contimg.cli.output import print_json, working
    from dsa110_contimg.photometry.measure import measure_sources

    options = _make_options(
        ms_path=ms,
        products_dir=output_dir,
        sources=_choose_sources(ra, dec, name, sources),
        photometry=photometry,
        field_model=[] if field_model is None else read_sources(field_model),
        plots=plots,
        backend=backend,
        binning={
            "target_snr": target_snr,
            "min_width": min_width,
            "max_width": max_width,
            "bridge_gaps": bridge_gaps,
        },
        spws=_parse_spws(spws),
        max_spws=max_spws,
        max_workers=max_workers,
        serialize_ms_access=serialize_ms_access,
        reprocess=again,
        calibration="assumed" if assume_calibrated else "stated",
        **({} if private_copy else {"private_copy": None}),
    )
    with working(f"measuring {len(options.sources)} source(s) in {ms.name}"):
        results = measure_sources(options, on_done=_show)
    if json_output:
        print_json([result.model_dump(mode="json", exclude={"provenance"}) for result in results])
    if not all(result.success for result in results):
        raise typer.Exit(1)


def _choose_sources(
    ra: float | None, dec: float | None, name: str | None, sources: Path | None
) -> list[Source]:
    """Take the sources from the position or from the file, whichever was given."""
    from dsa110_contimg.catalog.sources import Source, position_name, read_sources

    if (ra is None) != (dec is None) or (ra is None) == (sources is None):
        raise typer.BadParameter("give either --ra and --dec, or --sources")
    if sources is not None:
        if name is not None:
            raise typer.BadParameter("--name goes with --ra and --dec")
        return read_sources(sources)
    try:
        position = Source.model_validate({"name": name or "unnamed", "ra_deg": ra, "dec_deg": dec})
    except ValidationError as error:
        raise typer.BadParameter(explain(error)) from error
    if name is not None:
        return [position]
    named = position_name(position.ra_deg, position.dec_deg)
    return [position.model_copy(update={"name": named})]


def _parse_spws(text: str | None) -> tuple[int, ...] | None:
    """Read a selection such as ``0-7,12``."""
    if text is None:
        return None
    spws: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            spws += range(int(first), int(last or first) + 1)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a selection such as 0-7,12") from None
    return tuple(spws)


def _make_options(**values: Any) -> MeasureOptions:
    """Check the options; a bad value is wrong usage."""
    from dsa110_contimg.photometry.measure import MeasureOptions

    try:
        return MeasureOptions.model_validate(values)
    except ValidationError as error:
        raise typer.BadParameter(explain(error)) from error


def _show(result: SourceResult) -> None:
    """Print what was found for one source, as a table on standard error."""
    from dsa110_contimg.cli.output import Column, console, print_table, say

    measured = f"in {len(result.spws)} of {result.n_spws} windows"
    if result.success:
        state, style = f"measured {measured}", "green"
    elif result.spws:
        state, style = f"measured in part, {measured}", "yellow"
    else:
        state, style = "failed", "bold red"
    before = ", done before" if result.skipped else ""
    say(f"{result.name}: {state}{before} ({result.seconds:.1f} s)", style=style)
    for line in (*(result.error or "").splitlines(), result.products_dir):
        if line:
            say(f"    {line}")
    if result.detections:
        titles = ("windows", "MHz", "mJy", "error", "SNR", "false alarm")
        print_table(
            [Column(title) for title in titles],
            [
                (
                    _span(found.spw_ids),
                    f"{found.center_freq_hz / 1e6:.1f}",
                    f"{1e3 * found.flux_jy:.2f}",
                    f"{1e3 * found.rms_jy:.2f}",
                    f"{found.snr:.1f}",
                    f"{found.false_alarm_probability:.1e}",
                )
                for found in result.detections
            ],
            console,
        )


def _span(spw_ids: Sequence[int]) -> str:
    """Write a run of windows."""
    first, last = spw_ids[0], spw_ids[-1]
    return f"{first}-{last}" if last > first else f"{first}"
