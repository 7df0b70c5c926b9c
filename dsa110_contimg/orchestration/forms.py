"""The forms that the UI shows before a run is triggered by hand."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa110_contimg.orchestration.request_paths import find_roots
from dsa110_contimg.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Param

_MANIFEST_SUFFIX = ".manifest.json"
_N_SUGGESTED = 40
_SUGGESTION_STEP_S = 3600.0
"""A DAG that changes gets a new version, which every run has to take up: not with every MS."""

SOURCE_SCHEMA = {
    "type": "object",
    "required": ["name", "ra_deg", "dec_deg"],
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9+._-]+$"},
        "ra_deg": {"type": "number", "minimum": 0, "exclusiveMaximum": 360},
        "dec_deg": {"type": "number", "minimum": -90, "maximum": 90},
    },
}


def night_form(settings: Settings) -> dict[str, Param]:
    """Describe the parameters of `nightly_transit`.

    Parameters
    ----------
    settings : Settings
        Defaults and places that the descriptions name.

    Returns
    -------
    dict of str to airflow.sdk.Param
        Name to schema, default and words.
    """
    from airflow.sdk import Param

    return {
        "date": _optional(
            "string",
            format="date",
            title="Night",
            description="UTC date. Empty: the time range, or else the data interval of the run.",
        ),
        "start": _optional(
            "string",
            format="date-time",
            title="Or a time range: from",
            description="Groups that start at this time or later, e.g. 2026-01-25T08:00:00Z. They "
            "are filed under the UTC date of this time.",
        ),
        "end": _optional(
            "string",
            format="date-time",
            title="To",
            description="Groups that start before this time; at most a day after the start.",
        ),
        "input_dir": _optional(
            "string",
            title="Input directory",
            description=f"Raw UVH5 subband files, below {_name_roots(settings)}. "
            f"Empty: {settings.raw_dir}",
        ),
        "dec_deg": _optional(
            "number",
            minimum=-90,
            maximum=90,
            title="Declination",
            description="Only groups that point there, in degrees (of date). Empty: all.",
        ),
        "dec_tolerance_deg": Param(
            0.5,
            type="number",
            exclusiveMinimum=0,
            title="Tolerance",
            description="How far from that declination a group may point, in degrees.",
        ),
        "sources_file": _optional(
            "string",
            title="Source catalogue",
            description="Table with name, ra_deg and dec_deg (ECSV, CSV, VOTable or FITS), below "
            f"{_name_roots(settings)}. Empty: {settings.sources_path}",
        ),
        "reprocess": Param(
            False,
            type="boolean",
            title="Reprocess",
            description="Do all work again, from the raw files on, and replace its results.",
        ),
    }


def _optional(kind: str, **words: Any) -> Param:
    """Describe a parameter that may be left empty."""
    from airflow.sdk import Param

    return Param(None, type=["null", kind], **words)


def _name_roots(settings: Settings) -> str:
    """Name the directories that a run may name."""
    return " or ".join(map(str, find_roots(settings)))


def suggest_ms(ms_dir: Path, now_s: float) -> list[str]:
    """List the newest published MSs, those of the running hour left out.

    Only names are looked at, in as few directories as it takes: DAG files are read often.

    Parameters
    ----------
    ms_dir : Path
        Root of the MSs.
    now_s : float
        The present time in seconds since 1970.

    Returns
    -------
    list of str
        Paths, the newest observation first; none if nothing can be read.
    """
    latest_s = now_s // _SUGGESTION_STEP_S * _SUGGESTION_STEP_S
    found: list[str] = []
    for date_dir in _listed(ms_dir):
        for manifest in _listed(date_dir):
            ms_path = manifest.with_name(manifest.name.removesuffix(_MANIFEST_SUFFIX))
            if ms_path == manifest or manifest.name.startswith("."):
                continue
            # Retention removes an MS, but leaves its manifest.
            if _changed_s(manifest) < latest_s and ms_path.is_dir():
                found.append(str(ms_path))
            if len(found) == _N_SUGGESTED:
                return found
    return found


def _listed(directory: Path) -> list[Path]:
    """List a directory against the order of name."""
    try:
        return sorted(directory.iterdir(), reverse=True)
    except OSError:
        return []


def _changed_s(path: Path) -> float:
    """Say when a file was last written, in seconds since 1970; one that is gone, never."""
    try:
        return path.stat().st_mtime
    except OSError:
        return math.inf


def image_form(settings: Settings) -> dict[str, Param]:
    """Describe the parameters of `image_ms`.

    Parameters
    ----------
    settings : Settings
        Defaults and places that the descriptions name.

    Returns
    -------
    dict of str to airflow.sdk.Param
        Name to schema, default and words.
    """
    from airflow.sdk import Param

    return {
        "ms": Param(
            type="string",
            minLength=1,
            examples=suggest_ms(settings.ms_dir, time.time()),
            title="Measurement Set",
            description="Absolute path of a published MS, chosen among the newest or typed: "
            f"{settings.ms_dir}/DATE/GROUP.ms",
        ),
        "sources_text": _optional(
            "string",
            format="multiline",
            title="Sources",
            description="A line for each: NAME RA DEC, sexagesimal (J0834+5534 08:34:54.9 "
            "+55:34:21) or in degrees (J0834+5534 128.7287 55.5725), ICRS. Empty: the JSON list, "
            "or else the sources of the catalogue that lie in the field.",
        ),
        "sources": _optional(
            "array",
            items=SOURCE_SCHEMA,
            title="Sources as JSON",
            description='E.g. [{"name": "J0834+5534", "ra_deg": 128.7287, "dec_deg": 55.5725}].',
        ),
        "sources_file": _optional(
            "string",
            title="Source catalogue",
            description="Table with name, ra_deg and dec_deg, used if no sources are given; below "
            f"{_name_roots(settings)}. Empty: {settings.sources_path}",
        ),
        "photometry": Param(
            settings.photometry,
            enum=["uvfit", "image"],
            title="Photometry",
            description="uvfit: all sources of the field are fitted together in the uv plane. "
            "image: each source is imaged in each window after the others were subtracted.",
        ),
        "backend": Param(
            settings.backend,
            enum=["tclean", "wsclean", "ducc0"],
            title="Imaging program",
            description="With the photometry 'image'.",
        ),
        "target_snr": Param(
            5.0,
            type="number",
            exclusiveMinimum=0,
            title="Target SNR",
            description="A run of spectral windows at or above it is a detection.",
        ),
        "min_width": Param(1, type="integer", minimum=1, title="Smallest bin, in windows"),
        "max_width": Param(16, type="integer", minimum=1, title="Largest bin, in windows"),
        "max_spws": _optional(
            "integer",
            minimum=1,
            title="Number of windows",
            description="Image only the first so many. Empty: all.",
        ),
        "reprocess": Param(
            False,
            type="boolean",
            title="Reprocess",
            description="Do the work again even if the products are there.",
        ),
        "night": _optional(
            "string",
            format="date",
            title="Night",
            description="Night that the results are filed under. Empty: the date of the MS.",
        ),
    }
