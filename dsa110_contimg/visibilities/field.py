"""Point sources of a field, as a window of its Measurement Set saw them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.visibilities.directions import source_directions
from dsa110_contimg.visibilities.model_kernel import PointSources
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.primary_beam import drift_response


def place_sources(
    sources: Sequence[Source], info: MsInfo, spw: SpwInfo, n_times: int, max_span: int = 1
) -> PointSources:
    """Put sources behind the primary beam of one window.

    Parameters
    ----------
    sources : sequence of Source
        The sources.
    info : MsInfo
        The MS.
    spw : SpwInfo
        The window; the response is that at its centre.
    n_times : int
        Number of integrations, evenly spaced over the observation.
    max_span : int, optional
        Largest number of integrations that are averaged.

    Returns
    -------
    PointSources
        Directions, and responses at times half an integration apart.
    """
    step_s = info.duration_s / n_times
    time_s = (np.arange(2 * n_times - 1) - (n_times - 1)) * step_s / 2
    spans = [(np.arange(span) - (span - 1) / 2) * step_s for span in range(1, max_span + 1)]
    response = [
        np.mean([drift_response(sources, info, spw.freq_hz, time_s + o) for o in span_s], axis=0)
        for span_s in spans
    ]
    return PointSources(
        np.ascontiguousarray(source_directions(sources, info).T), np.stack(response)
    )
