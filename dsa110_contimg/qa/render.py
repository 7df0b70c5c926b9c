"""The report as one HTML file that needs nothing else: no network, no server, no fonts.

Everything that comes from a record is escaped by the template engine. Should something slip
through nevertheless, the page's content policy lets the browser load nothing and run no
script but the page's own, which it knows by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dsa110_contimg.qa import figures
from dsa110_contimg.qa.calibration_models import MsCalibrationReport, TransitReport
from dsa110_contimg.qa.flag_strip import draw_flag_strip
from dsa110_contimg.qa.models import Failure, FailureKind, NightReport, Verdict
from dsa110_contimg.qa.reasons import split_reason
from dsa110_contimg.qa.thumbnails import (
    make_field_gallery,
    make_flag_gallery,
    make_gallery,
    make_solution_gallery,
)
from dsa110_contimg.qa.verdict import plural

if TYPE_CHECKING:
    import jinja2

MAX_DETECTION_ROWS = 6000
"""Rows in the table of detections, strongest first; all are in the JSON and the ECSV files."""

VERDICT_WORDS = {
    Verdict.COMPLETE: "Complete",
    Verdict.LOSSES: "Complete, with losses",
    Verdict.PARTIAL: "Partly failed",
    Verdict.FAILED: "Failed",
    Verdict.EMPTY: "Nothing observed",
}
"""What the reader is told."""

_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Cause:
    """Failures that differ in names and numbers only."""

    kind: FailureKind
    """What kind of thing failed."""
    failures: list[Failure]
    """The failures, at least one."""


def render_html(report: NightReport, night_dir: Path) -> str:
    """Render the report.

    Parameters
    ----------
    report : NightReport
        The report.
    night_dir : Path
        Where the file will stand; products are linked relative to it.

    Returns
    -------
    str
        A complete HTML document.
    """
    environment = make_environment()
    environment.filters["beside"] = lambda path: quote(os.path.relpath(path, night_dir.absolute()))
    detections = sorted(
        (
            (position, detection)
            for position, source in enumerate(report.sources)
            for detection in source.detections
        ),
        key=lambda item: -item[1].snr if math.isfinite(item[1].snr) else 0.0,
    )
    # What holds for a whole field is told once, with its picture.
    field_notes = {note for field in report.fields if field.image for note in field.image.notes}
    common_notes = [note for note in _common_notes(report) if note not in field_notes]
    calibration = report.calibration
    script = _read_template("report.js")
    return environment.get_template("report.html.j2").render(
        report=report,
        causes=group_by_cause(report.failures),
        group_by_cause=group_by_cause,
        timeline=figures.draw_timeline(report),
        bar_link=lambda bar: f"#g{bar.position}",
        gallery=make_gallery(report.sources, night_dir),
        field_pictures=make_field_gallery(report.fields, night_dir),
        solution_pictures=make_solution_gallery(calibration, night_dir) if calibration else {},
        flag_pictures=make_flag_gallery(calibration, night_dir) if calibration else {},
        common_notes=common_notes,
        told_notes=field_notes.union(common_notes),
        detections=detections[:MAX_DETECTION_ROWS],
        detections_left_out=max(0, len(detections) - MAX_DETECTION_ROWS),
        style=_read_template("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def make_environment(*packages: str) -> jinja2.Environment:
    """Make the template engine, which escapes everything, with this package's filters.

    Parameters
    ----------
    *packages : str
        Packages with templates of their own, which go before the report's.

    Returns
    -------
    jinja2.Environment
        The environment.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package) for package in (*packages, "dsa110_contimg.qa")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        fixed=fixed,
        ra=format_ra,
        dec=format_dec,
        spws=format_spws,
        seconds=format_seconds,
        chance=format_chance,
        link=quote,
        split_reason=split_reason,
        pretty=partial(json.dumps, indent=1, ensure_ascii=False),
    )
    environment.globals.update(
        plural=plural,
        figures=figures,
        draw_flag_strip=draw_flag_strip,
        states_of=_states_of,
        told_by=_told_by,
        verdict_words=VERDICT_WORDS,
    )
    return environment


def _common_notes(report: NightReport) -> list[str]:
    """Find the notes that all sources bear, so that they are told once."""
    notes = report.sources[0].notes if report.sources else []
    return [note for note in notes if all(note in source.notes for source in report.sources)]


def _states_of(items: Sequence[TransitReport] | Sequence[MsCalibrationReport]) -> Counter[str]:
    """Count items by state."""
    return Counter(item.state.value for item in items)


def _told_by(failures: Sequence[Failure]) -> dict[str, str | None]:
    """Map the sentences that a list of failures tells to the names of their reasons."""
    return {failure.reason.partition("\n")[0]: failure.code for failure in failures}


def _read_template(name: str) -> str:
    """Read a file that stands in the page as it is."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def group_by_cause(failures: Sequence[Failure]) -> list[Cause]:
    """Put failures together that differ in names and numbers only.

    Parameters
    ----------
    failures : sequence of Failure
        All failures of a night.

    Returns
    -------
    list of Cause
        In order of their first failure.
    """
    causes: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        first_line = failure.reason.partition("\n")[0].replace(failure.subject, "#")
        pattern = re.sub(r"\S*/\S*|\d+", "#", first_line)
        key = (failure.kind, failure.code or pattern, failure.remedy)
        causes.setdefault(key, []).append(failure)
    return [Cause(kind=group[0].kind, failures=group) for group in causes.values()]


def fixed(value: float | None, digits: int = 1, scale: float = 1.0) -> str:
    """Write a number with a fixed number of digits.

    Parameters
    ----------
    value : float or None
        The number.
    digits : int, optional
        Digits after the point.
    scale : float, optional
        Factor, e.g. 1000 from Jy to mJy.

    Returns
    -------
    str
        The number, or a dash where there is none.
    """
    if value is None or not math.isfinite(value):
        return _NOTHING
    separator = "," if abs(value * scale) >= 10_000 else ""
    text = f"{value * scale:{separator}.{digits}f}"
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")


def format_chance(probability: float) -> str:
    """Write a probability that may be very small.

    Parameters
    ----------
    probability : float
        Between 0 and 1.

    Returns
    -------
    str
        Two digits, e.g. ``0.012`` or ``3.1e-07``; a bound where the number underflows.
    """
    if not math.isfinite(probability):
        return _NOTHING
    return f"{probability:.2g}" if probability >= 1e-99 else "< 1e-99"


def format_ra(ra_deg: float | None) -> str:
    """Write a right ascension.

    Parameters
    ----------
    ra_deg : float or None
        In degrees.

    Returns
    -------
    str
        ``HH:MM:SS.ss``, or a dash.
    """
    if ra_deg is None or not math.isfinite(ra_deg):
        return _NOTHING
    hundredths = round(ra_deg % 360.0 / 15.0 * 360_000) % (24 * 360_000)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 100:02d}.{rest % 100:02d}"


def format_dec(dec_deg: float | None) -> str:
    """Write a declination.

    Parameters
    ----------
    dec_deg : float or None
        In degrees.

    Returns
    -------
    str
        ``+DD:MM:SS.s``, or a dash.
    """
    if dec_deg is None or not math.isfinite(dec_deg):
        return _NOTHING
    tenths = round(abs(dec_deg) * 36_000)
    minutes, rest = divmod(tenths, 600)
    sign = "\N{MINUS SIGN}" if dec_deg < 0 and tenths else "+"
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}:{rest // 10:02d}.{rest % 10}"


def format_spws(spw_ids: Sequence[int]) -> str:
    """Write spectral windows as runs.

    Parameters
    ----------
    spw_ids : sequence of int
        Ids, ascending.

    Returns
    -------
    str
        E.g. ``3-6, 8``, with en dashes.
    """
    runs: list[list[int]] = []
    for spw in spw_ids:
        if runs and spw == runs[-1][1] + 1:
            runs[-1][1] = spw
        else:
            runs.append([spw, spw])
    return ", ".join(f"{a}" if a == b else f"{a}\N{EN DASH}{b}" for a, b in runs)


def format_seconds(seconds: float) -> str:
    """Write a duration as one reads it.

    Parameters
    ----------
    seconds : float
        In seconds.

    Returns
    -------
    str
        E.g. ``8.4 s``, ``3 min 05 s``, ``2 h 07 min``.
    """
    if not math.isfinite(seconds):
        return _NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 0.1 or not seconds else f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
