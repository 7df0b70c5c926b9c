"""Find out whether the products of a source are there already."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dsa110_contimg.imaging.products import RESULT_FILE
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.provenance import Provenance


def find_earlier(
    target: Path, provenance: Provenance, without_effect: Collection[str] = ()
) -> SourceResult | None:
    """Read the result of an earlier run, if it was made from the same and is whole.

    Parameters
    ----------
    target : Path
        Directory of the source's products.
    provenance : Provenance
        What the products would be made from now.
    without_effect : collection of str, optional
        Options that do not change what the products hold.

    Returns
    -------
    SourceResult or None
        The result, marked as skipped; None if there is none, inputs or options differ, a
        product is gone, or a window failed that may succeed when it is tried again.
    """

    def that_matter(options: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name not in without_effect}

    try:
        earlier = SourceResult.model_validate_json((target / RESULT_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    same = (
        earlier.provenance.inputs == provenance.inputs
        and that_matter(earlier.provenance.options) == that_matter(provenance.options)
        and all((target / name).is_file() for name in earlier.products)
        and not any(failure.retryable for failure in earlier.failed_spws)
    )
    if not same:
        return None
    return earlier.model_copy(update={"skipped": True, "products_dir": str(target)})
