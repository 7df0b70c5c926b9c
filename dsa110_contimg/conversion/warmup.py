"""What every conversion needs once per process, done before there is anything to convert."""

from __future__ import annotations

import gc
import importlib

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.coordinates import EarthLocation

from dsa110_contimg import instrument
from dsa110_contimg.conversion.chunks import ChunkTable
from dsa110_contimg.conversion.geometry import antenna_phasors, group_geometry
from dsa110_contimg.conversion.kernel import fill_rows

_ANY_JD = 2461065.5
"""Not the present: the Earth orientation tables may be too old for that."""


def warm_up() -> None:
    """Import the writer, compile its kernels and load the earth-orientation tables.

    No file of the observatory is touched and no table opened: a process that did this can
    be forked. The garbage collector of its children passes over what they inherit.
    """
    for module in ("casacore.tables", "dsa110_contimg.conversion.write_ms"):
        importlib.import_module(module)
    site = EarthLocation.from_geodetic(
        instrument.SITE_LONGITUDE_DEG * units.deg, instrument.SITE_LATITUDE_DEG * units.deg
    )
    geometry = group_geometry(_ANY_JD + np.arange(2.0) / 86400, np.eye(3), site, 0.9)
    n_chan, n_pol = instrument.N_CHANNELS_PER_SUBBAND, len(instrument.POLARIZATIONS_CASA)
    phasors = antenna_phasors(geometry.antenna_delta_w_m, np.full(n_chan, 1.4e9))
    shape = (1, n_chan, n_pol)
    starts = np.zeros((1, 1, 1), dtype=np.int64)
    bits = np.zeros((1, n_chan * n_pol // 8), dtype=np.uint8)
    baselines = np.zeros((1, 3), dtype=np.int32)
    weight, sigma = np.zeros((2, 1, n_pol), dtype=np.float32)
    samples = [np.zeros(n_chan * n_pol, kind) for kind in (np.complex64, np.uint8, np.float32)]
    for view in (np.asarray, _read_only):
        vis, flags, counts = (ChunkTable(view(values), starts, shape, 0) for values in samples)
        # No rows: all is compiled and nothing written.
        fill_rows(0, 0, baselines, phasors, vis, flags, counts, -1, 0, bits, weight, sigma)
    gc.collect()
    gc.freeze()


def _read_only(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """View an array as the kernels see a memory map."""
    view = samples.view()
    view.flags.writeable = False
    return view
