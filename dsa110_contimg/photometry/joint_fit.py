"""Flux densities of all sources of a field at once, by least squares in the uv plane.

A dirty image shows each source together with the side lobes of all others. The joint fit solves
for all flux densities together: with visibilities V, weights W, and in the columns of A what
each source gives at 1 Jy,

    S = (Re A^H W A)^-1 Re A^H W V,    cov S = s^2 (Re A^H W A)^-1

where s^2 is the variance of a visibility of weight one: ordinary weighted least squares, whose
errors allow for every neighbour that has to be told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.visibilities.cells import MAX_INTEGRATIONS, Cells
from dsa110_contimg.visibilities.field import place_sources
from dsa110_contimg.visibilities.model_kernel import PointSources, fill_design
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo

FloatArray = npt.NDArray[np.float64]

_RIDGE = 1e-6
"""Added to the unit diagonal, so that sources at one position can be inverted: their common flux
is not touched, and their errors come out too large to be overlooked. Well above the rounding of
the products' single precision, which can make the matrix of such sources indefinite."""
_LEAST_VARIANCE = 1e-30
"""In Jy^2; keeps the errors of noise-free data positive."""
_DESIGN_BYTES = 1 << 25
"""What is worked on at once: large enough for the matrix product to be fast."""


@dataclass(frozen=True)
class JointFit:
    """The flux densities of all sources in one window.

    Attributes
    ----------
    flux_jy : ndarray of float64, shape (nsource,)
        Flux density, corrected for the primary beam.
    covariance_jy2 : ndarray of float64, shape (nsource, nsource)
        Its covariance.
    inflation : ndarray of float64, shape (nsource,)
        How many times larger the error is than if no other source had to be told apart.
    overlap : ndarray of float64, shape (nsource, nsource)
        What one source gives at the position of another, as a fraction: the dirty beam.
    reduced_chi2 : float
        Squared residuals over what noise alone would leave; above 1, the model lacks something.
    """

    flux_jy: FloatArray
    covariance_jy2: FloatArray
    inflation: FloatArray
    overlap: FloatArray
    reduced_chi2: float

    @property
    def rms_jy(self) -> FloatArray:
        """Error of each flux density, shape (nsource,)."""
        return np.sqrt(np.diag(self.covariance_jy2))

    @property
    def correlation(self) -> FloatArray:
        """Correlation of the flux densities, shape (nsource, nsource)."""
        rms_jy = self.rms_jy
        return self.covariance_jy2 / np.outer(rms_jy, rms_jy)


def fit_jointly(cells: Cells, info: MsInfo, spw: SpwInfo, sources: Sequence[Source]) -> JointFit:
    """Fit the flux densities of all sources of a field in one window.

    Parameters
    ----------
    cells : Cells
        The window, averaged no further than these sources allow.
    info : MsInfo
        The MS.
    spw : SpwInfo
        The window.
    sources : sequence of Source
        Every source that matters; only their positions are used.

    Returns
    -------
    JointFit
        Flux densities and errors.

    Raises
    ------
    ScienceQualityError
        If there are more sources than data, or the primary beam does not reach one.
    """
    placed = place_sources(sources, info, spw, cells.n_times, MAX_INTEGRATIONS)
    normal, right_side = _normal_equations(cells, placed)
    n_free = 2 * int(np.count_nonzero(cells.arrays.weight)) - len(sources)
    if n_free <= 0:
        raise ScienceQualityError("fewer visibilities than sources", reason="too_few_data")
    unit = np.sqrt(np.diag(normal))
    if not unit.all():
        raise ScienceQualityError(
            "the primary beam does not reach every source", reason="outside_primary_beam"
        )
    overlap = normal / np.outer(unit, unit)
    inverse = np.linalg.inv(overlap + _RIDGE * np.eye(len(unit)))
    flux_jy = inverse @ (right_side / unit) / unit
    # Rounding leaves a little of noise-free data, of either sign.
    left = max(float(_sum_of_squares(cells) - flux_jy @ right_side) / n_free, _LEAST_VARIANCE)
    noise = cells.noise_scale if cells.noise_scale > 0.0 else left
    reduced_chi2 = left / noise
    # What the model lacks is noise to the sources that it has.
    scale = noise * max(1.0, reduced_chi2)
    return JointFit(
        flux_jy=flux_jy,
        covariance_jy2=scale * inverse / np.outer(unit, unit),
        inflation=np.sqrt(np.diag(inverse)),
        overlap=overlap,
        reduced_chi2=reduced_chi2,
    )


def _normal_equations(cells: Cells, sources: PointSources) -> tuple[FloatArray, FloatArray]:
    """Add up matrix and right side of the normal equations, some rows at a time."""
    arrays, n_sources = cells.arrays, sources.directions.shape[1]
    normal, right_side = np.zeros((n_sources, n_sources)), np.zeros(n_sources)
    at_once = max(1, _DESIGN_BYTES // (8 * n_sources))
    row = 0
    while row < len(arrays.freq_hz):
        begin = arrays.start[row]
        last = max(row + 1, int(np.searchsorted(arrays.start, begin + at_once, "right")) - 1)
        cells_here = slice(begin, arrays.start[last])
        root = np.sqrt(arrays.weight[cells_here])
        design = np.empty((2, len(root), n_sources), np.float32)
        fill_design(arrays, row, last, sources, design)
        stacked = design.reshape(-1, n_sources)
        vis = arrays.vis[cells_here]
        # Of a matrix with its own transpose numpy computes one half only.
        normal += stacked.T @ stacked
        right_side += np.concatenate([root * vis.real, root * vis.imag]) @ stacked
        row = last
    return normal, right_side


def _sum_of_squares(cells: Cells) -> float:
    """Weighted sum of the squared visibilities."""
    vis = cells.arrays.vis
    return float(np.sum(cells.arrays.weight * (vis.real**2 + vis.imag**2), dtype=np.float64))
