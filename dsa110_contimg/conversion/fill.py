"""The bulk of the MS, written by workers straight into the columns' files.

Window k owns the rows ``[k * Nblts, (k + 1) * Nblts)``, so each worker writes ranges that
nobody else touches: no table lock, no handle, no concat. The workers are threads, because
the kernels and the writes run outside the interpreter's lock; they share the geometry and
end with their process.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsa110_contimg.conversion.bulk import BulkFiles
from dsa110_contimg.conversion.chunks import SubbandSamples
from dsa110_contimg.conversion.geometry import GroupGeometry, antenna_phasors
from dsa110_contimg.conversion.kernel import fill_rows
from dsa110_contimg.conversion.layout import MsLayout
from dsa110_contimg.instrument import POLARIZATIONS_CASA

_COPIED_ROWS = 8192
"""Rows that are read at once where they cannot be mapped; 11 MB."""


@dataclass(frozen=True)
class SpwStatistics:
    """What the fill saw in one window.

    Attributes
    ----------
    flagged_fraction : float
        Fraction of visibilities flagged.
    nonfinite : int
        Visibilities that were not finite.
    """

    flagged_fraction: float
    nonfinite: int


@dataclass(frozen=True)
class BaselineTable:
    """The baselines of one integration, in the order of the rows.

    Attributes
    ----------
    rows : ndarray of int32, shape (nbls, 3)
        ANTENNA rows p <= q, and 1 where the file has them as (p, q), 0 as (q, p).
    """

    rows: npt.NDArray[np.int32]

    @classmethod
    def from_file(
        cls, first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]
    ) -> BaselineTable:
        """Order the antennas of each baseline.

        Parameters
        ----------
        first, second : ndarray of int, shape (nbls,)
            ANTENNA rows of the file's ``ant_1_array`` and ``ant_2_array``.

        Returns
        -------
        BaselineTable
            With ``p <= q``.
        """
        in_order = first <= second
        return cls(
            np.column_stack(
                [np.where(in_order, first, second), np.where(in_order, second, first), in_order]
            ).astype(np.int32)
        )

    def uvw_m(self, geometry: GroupGeometry) -> npt.NDArray[np.float64]:
        """Baseline coordinates in the sign of the MS.

        Parameters
        ----------
        geometry : GroupGeometry
            Antenna coordinates.

        Returns
        -------
        ndarray of float64, shape (ntimes * nbls, 3)
            Antenna p minus antenna q, which goes with the conjugated visibility, as
            pyuvdata writes it.
        """
        antennas = geometry.antenna_uvw_m
        uvw = antennas[:, self.rows[:, 0]] - antennas[:, self.rows[:, 1]]
        return np.ascontiguousarray(uvw.reshape(-1, 3))


def start_fill(
    pool: Executor,
    bulk: BulkFiles,
    layout: MsLayout,
    geometry: GroupGeometry,
    baselines: BaselineTable,
    inputs: Sequence[Path],
) -> list[Future[SpwStatistics]]:
    """Have the bulk columns of all windows written.

    Parameters
    ----------
    pool : Executor
        The workers.
    bulk : BulkFiles
        The files to write; must stay open until the work is done.
    layout : MsLayout
        The MS.
    geometry : GroupGeometry
        How to bring the data to the phase centre.
    baselines : BaselineTable
        The baselines of one integration.
    inputs : sequence of Path
        One subband file per window, in order of the windows.

    Returns
    -------
    list of Future of SpwStatistics
        One per window.
    """
    uvw = baselines.uvw_m(geometry)

    def work(spw: int) -> SpwStatistics:
        bulk.put("UVW", spw * layout.n_rows_per_spw, uvw)
        file_freqs_hz = layout.spw_freqs_hz[spw][::-1]
        phasors = antenna_phasors(geometry.antenna_delta_w_m, file_freqs_hz)
        return _fill_window(bulk, layout, spw, phasors, baselines, inputs[spw])

    return [pool.submit(work, spw) for spw in range(len(inputs))]


def _fill_window(
    bulk: BulkFiles,
    layout: MsLayout,
    spw: int,
    phasors: npt.NDArray[np.complex64],
    baselines: BaselineTable,
    path: Path,
) -> SpwStatistics:
    """Write one window."""
    n_rows, n_pol, row0 = (
        layout.n_rows_per_spw,
        len(POLARIZATIONS_CASA),
        spw * layout.n_rows_per_spw,
    )
    packed = np.empty((n_rows, layout.n_channels * n_pol // 8), dtype=np.uint8)
    weight, sigma = np.empty((2, n_rows, n_pol), dtype=np.float32)
    flagged = nonfinite = 0
    file, offset = bulk.place("DATA", row0)
    with SubbandSamples(path) as samples:
        step = n_rows if samples.is_mapped else _COPIED_ROWS
        for first in range(0, n_rows, step):
            last = min(first + step, n_rows)
            vis, flags, counts = (samples.block(name, first, last) for name in samples.names)
            done, new_flagged, new_nonfinite = fill_rows(
                first,
                last,
                baselines.rows,
                phasors,
                vis,
                flags,
                counts,
                file,
                offset,
                packed,
                weight,
                sigma,
            )
            if done != last:
                raise OSError(f"could not write row {row0 + done} of DATA")
            flagged, nonfinite = flagged + new_flagged, nonfinite + new_nonfinite
    for column, values in (("FLAG", packed), ("WEIGHT", weight), ("SIGMA", sigma)):
        bulk.put(column, row0, values)
    return SpwStatistics(flagged / (8 * packed.size), nonfinite)
