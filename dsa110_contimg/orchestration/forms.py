"""The forms that the UI shows before a run is triggered by hand.

They depend on the settings alone: a form that changes is a new version of its DAG, which every run
has to take up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsa110_contimg.orchestration.pools import MAX_PATH
from dsa110_contimg.orchestration.request_paths import find_roots
from dsa110_contimg.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Param

# A pattern holds for an empty text, too: the form sends one for what is left empty.
_PATH = "^(/|$)"
_TIME = "^([0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}.*)?)?$"
_TEXT = "^[^\\x00]*$"

SOURCE_SCHEMA = {
    "type": "object",
    "required": ["name", "ra_deg", "dec_deg"],
    "properties": {
        "name": {
            "type": "string",
            "maxLength": 64,
            "pattern": "^[A-Za-z0-9+][A-Za-z0-9+._-]*$",
        },
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
            maxLength=10,
            pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            title="Night",
            description="UTC date. Empty: the time range, or else the data interval of the run.",
        ),
        "start": _optional(
            "string",
            format="date-time",
            maxLength=40,
            pattern=_TIME,
            title="Or a time range: from",
            description="Groups that start at this time or later, e.g. 2026-01-25T08:00:00Z. They "
            "are filed under the UTC date of this time.",
        ),
        "end": _optional(
            "string",
            format="date-time",
            maxLength=40,
            pattern=_TIME,
            title="To",
            description="Groups that start before this time; at most a day after the start.",
        ),
        "input_dir": _optional(
            "string",
            maxLength=MAX_PATH,
            pattern=_PATH,
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
            maximum=180,
            title="Tolerance",
            description="How far from that declination a group may point, in degrees.",
        ),
        "sources_file": _optional(
            "string",
            maxLength=MAX_PATH,
            pattern=_PATH,
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
            maxLength=MAX_PATH,
            pattern="^/",
            title="Measurement Set",
            description=f"Absolute path of a published MS: {settings.ms_dir}/DATE/GROUP.ms. The "
            "page of a group shows that of its own.",
        ),
        "sources_text": _optional(
            "string",
            format="multiline",
            maxLength=200_000,
            pattern=_TEXT,
            title="Sources",
            description="A line for each: NAME RA DEC, sexagesimal (J0834+5534 08:34:54.9 "
            "+55:34:21) or in degrees (J0834+5534 128.7287 55.5725), ICRS. Empty: the JSON list, "
            "or else the sources of the catalogue that lie in the field.",
        ),
        "sources": _optional(
            "array",
            items=SOURCE_SCHEMA,
            maxItems=10_000,
            title="Sources as JSON",
            description='E.g. [{"name": "J0834+5534", "ra_deg": 128.7287, "dec_deg": 55.5725}].',
        ),
        "sources_file": _optional(
            "string",
            maxLength=MAX_PATH,
            pattern=_PATH,
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
            maximum=1e6,
            title="Target SNR",
            description="A run of spectral windows at or above it is a detection.",
        ),
        "min_width": Param(
            1, type="integer", minimum=1, maximum=1024, title="Smallest bin, in windows"
        ),
        "max_width": Param(
            16, type="integer", minimum=1, maximum=1024, title="Largest bin, in windows"
        ),
        "max_spws": _optional(
            "integer",
            minimum=1,
            maximum=1024,
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
            maxLength=10,
            pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            title="Night",
            description="Night that the results are filed under. Empty: the date of the MS.",
        ),
    }
