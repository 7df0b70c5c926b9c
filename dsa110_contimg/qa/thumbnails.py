"""Pictures inside the report: scaled down and bounded, so that any night stays usable.

The policy, by the number of sources in the night:

=============  ==========================  ====================
sources        pictures                    longest edge
=============  ==========================  ====================
up to 24       stamp and spectrum, cards   1000 pixels
up to 300      stamp and spectrum          360 pixels
more           stamp                       144 pixels
=============  ==========================  ====================

All pictures of sources together take at most `IMAGE_BUDGET_BYTES`; it is spent on the highest
SNR first, and what is left out is linked. Pictures of fields are up to 1000 pixels wide (up to
12 fields) or 400, and take at most `FIELD_BUDGET_BYTES`, fields that lack a source first; of
more than `MAX_FIELD_PICTURES` the rest are linked, for each takes 0.05 s to scale down. The flux
densities are drawn for every source anyway, see `figures`.

Plots of solutions are treated like those of fields, refused ones first. Plots of flags are shown
of up to `MAX_FLAG_PICTURES` MSs; of more, they are linked.
"""

from __future__ import annotations

import base64
import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from dsa110_contimg.calibration.models import SolveState
from dsa110_contimg.qa.calibration_models import CalibrationReport
from dsa110_contimg.qa.models import FieldReport, SourceReport

KeyT = TypeVar("KeyT", bound=Hashable)

IMAGE_BUDGET_BYTES = 12_000_000
"""Encoded pictures, before base64 adds a third."""
FIELD_BUDGET_BYTES = 5_000_000
"""The same for the pictures of fields."""
MAX_FIELD_PICTURES = 100
SOLUTION_BUDGET_BYTES = 5_000_000
"""The same for the plots of solutions."""
MAX_SOLUTION_PICTURES = 60
FLAG_BUDGET_BYTES = 3_000_000
"""The same for the plots of flags."""
MAX_FLAG_PICTURES = 24
MAX_PIXELS = 40_000_000
"""A picture of more is not decoded: the pipeline's own are a hundred times smaller."""
_QUALITY = 82
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error)
"""What Pillow raises for damaged files."""


@dataclass(frozen=True)
class PicturePolicy:
    """Which pictures a report holds and how large."""

    kinds: tuple[str, ...]
    """Kinds of product."""
    edge_px: int
    """Longest edge in pixels."""
    cards: bool
    """Whether each source gets a card of its own with its pictures side by side."""


@dataclass(frozen=True)
class Picture:
    """A picture as it stands in the report."""

    data: bytes
    """WebP."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""

    @property
    def uri(self) -> str:
        """The picture as a ``data:`` URI."""
        return f"data:image/webp;base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True)
class Gallery:
    """The pictures of a report."""

    policy: PicturePolicy
    """What was meant to be in it."""
    pictures: dict[tuple[int, str], Picture] = field(default_factory=dict)
    """Position of the source in the report and kind of product to its picture."""
    unreadable: set[tuple[int, str]] = field(default_factory=set)
    """The pictures that are damaged."""
    left_out: int = 0
    """Pictures that did not fit the budget."""


def choose_policy(n_sources: int) -> PicturePolicy:
    """Choose which pictures a report holds and how large.

    Parameters
    ----------
    n_sources : int
        Sources in the night, counted once per MS.

    Returns
    -------
    PicturePolicy
        See the table above.
    """
    if n_sources <= 24:
        return PicturePolicy(kinds=("stamp", "spectrum"), edge_px=1000, cards=True)
    if n_sources <= 300:
        return PicturePolicy(kinds=("stamp", "spectrum"), edge_px=360, cards=False)
    return PicturePolicy(kinds=("stamp",), edge_px=144, cards=False)


def make_gallery(
    sources: Sequence[SourceReport],
    night_dir: Path,
    *,
    budget_bytes: int = IMAGE_BUDGET_BYTES,
) -> Gallery:
    """Scale down the pictures of the night's sources.

    Parameters
    ----------
    sources : sequence of SourceReport
        The sources, with their products relative to `night_dir`.
    night_dir : Path
        Where the report stands.
    budget_bytes : int, optional
        Limit of the encoded pictures together.

    Returns
    -------
    Gallery
        The pictures; a missing or damaged file leaves a gap, never an error.
    """
    policy = choose_policy(len(sources))
    strongest_first = sorted(range(len(sources)), key=lambda k: -_interest(sources[k]))
    paths = {
        (k, kind): night_dir / sources[k].products[kind]
        for k in strongest_first
        for kind in policy.kinds
        if kind in sources[k].products
    }
    pictures, unreadable = _scale_all(paths, policy.edge_px, budget_bytes)
    left_out = len(paths) - len(pictures) - len(unreadable)
    return Gallery(policy=policy, pictures=pictures, unreadable=unreadable, left_out=left_out)


def make_field_gallery(
    fields: Sequence[FieldReport],
    night_dir: Path,
    *,
    budget_bytes: int = FIELD_BUDGET_BYTES,
) -> dict[str, Picture]:
    """Scale down the pictures of the night's fields.

    Parameters
    ----------
    fields : sequence of FieldReport
        The fields, with their pictures relative to `night_dir`.
    night_dir : Path
        Where the report stands.
    budget_bytes : int, optional
        Limit of the encoded pictures together.

    Returns
    -------
    dict of str to Picture
        Group to picture; a missing or damaged file, or one beyond the budget, leaves a gap.
    """
    shown = [one for one in fields if one.picture is not None]
    shown.sort(key=lambda one: one.image is None or not one.image.lacks_source)
    edge_px = 1000 if len(shown) <= 12 else 400
    paths = {one.group_id: night_dir / str(one.picture) for one in shown[:MAX_FIELD_PICTURES]}
    return _scale_all(paths, edge_px, budget_bytes)[0]


def make_solution_gallery(
    calibration: CalibrationReport,
    night_dir: Path,
    *,
    budget_bytes: int = SOLUTION_BUDGET_BYTES,
) -> dict[str, Picture]:
    """Scale down the plots of the night's solutions.

    Parameters
    ----------
    calibration : CalibrationReport
        The sets, with their plots relative to `night_dir`.
    night_dir : Path
        Where the report stands.
    budget_bytes : int, optional
        Limit of the encoded pictures together.

    Returns
    -------
    dict of str to Picture
        Path of the plot, as the report has it, to picture; a missing or damaged file, or one
        beyond the budget, leaves a gap.
    """
    ordered = sorted(
        calibration.sets, key=lambda one: (one.state is SolveState.SOLVED, not one.is_own)
    )
    plots = [table.plot for one in ordered for table in one.tables if table.plot]
    edge_px = 1000 if len(plots) <= 24 else 400
    paths = {plot: night_dir / plot for plot in plots[:MAX_SOLUTION_PICTURES]}
    return _scale_all(paths, edge_px, budget_bytes)[0]


def make_flag_gallery(
    calibration: CalibrationReport,
    night_dir: Path,
    *,
    budget_bytes: int = FLAG_BUDGET_BYTES,
) -> dict[str, Picture]:
    """Scale down the plots of flags, in a night of few MSs.

    Parameters
    ----------
    calibration : CalibrationReport
        The MSs, with their plots relative to `night_dir`.
    night_dir : Path
        Where the report stands.
    budget_bytes : int, optional
        Limit of the encoded pictures together.

    Returns
    -------
    dict of str to Picture
        As `make_solution_gallery` gives them; empty in a night of many MSs.
    """
    plots = [ms.flag_plot for ms in calibration.measurement_sets if ms.flag_plot]
    if len(plots) > MAX_FLAG_PICTURES:
        return {}
    return _scale_all({plot: night_dir / plot for plot in plots}, 1000, budget_bytes)[0]


def _interest(source: SourceReport) -> float:
    """Rank a source by its best detection."""
    snr = source.best_snr
    return snr if snr is not None and math.isfinite(snr) else 0.0


def _scale_all(
    paths: Mapping[KeyT, Path], edge_px: int, budget_bytes: int
) -> tuple[dict[KeyT, Picture], set[KeyT]]:
    """Scale down pictures in order until the budget is spent; name the damaged ones."""
    pictures: dict[KeyT, Picture] = {}
    unreadable: set[KeyT] = set()
    spent = 0
    # Pillow leaves the interpreter to other threads while it decodes and encodes.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        scaled = pool.map(partial(_scale_down, edge_px=edge_px), paths.values())
        for key, picture in zip(paths, scaled, strict=True):
            if picture is None:
                unreadable.add(key)
            elif spent + len(picture.data) <= budget_bytes:
                spent += len(picture.data)
                pictures[key] = picture
    return pictures, unreadable


def _scale_down(path: Path, edge_px: int) -> Picture | None:
    """Make a small WebP of a picture, or None if it is damaged."""
    from PIL import Image

    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # bounded here
            picture = Image.open(path)
        with picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None
            picture.thumbnail((edge_px, edge_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
            paper = Image.new("RGBA", picture.size, "white")
            small = Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")
        small.save(buffer, "WEBP", quality=_QUALITY, method=2)
    except (*_DAMAGE, Image.DecompressionBombError):
        return None
    return Picture(data=buffer.getvalue(), width=small.width, height=small.height)
