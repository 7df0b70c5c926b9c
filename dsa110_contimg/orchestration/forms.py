"""The forms that the UI shows before a run is triggered by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsa110_contimg.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Param

SOURCE_SCHEMA = {
    "type": "object",
    "required": ["name", "ra_deg", "dec_deg"],
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9+._-]+$"},
        "ra_deg": {"type": "number", "minimum": 0, "exclusiveMaximum": 360},
        "dec_deg": {"type": "number", "minimum": -90, "maximum": 90},
    },
}


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
            title="Measurement Set",
            description=f"Absolute path of a published MS, e.g. {settings.ms_dir}/DATE/GROUP.ms",
        ),
        "sources": Param(
            None,
            type=["null", "array"],
            items=SOURCE_SCHEMA,
            title="Sources",
            description='JSON list, e.g. [{"name": "J0834+5534", "ra_deg": 128.7287, '
            '"dec_deg": 55.5725}]. Empty: the sources of the catalogue that lie in the field.',
        ),
        "sources_file": Param(
            None,
            type=["null", "string"],
            title="Source catalogue",
            description=f"Used if no sources are given. Empty: {settings.sources_path}",
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
        "max_spws": Param(
            None,
            type=["null", "integer"],
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
        "night": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Night",
            description="Night that the results are filed under. Empty: the date of the MS.",
        ),
    }
