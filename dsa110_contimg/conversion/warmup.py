"""What every conversion needs once per process, done before there is anything to convert."""

from __future__ import annotations

import importlib

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.coordinates import EarthLocation
from astropy.time import Time

from dsa110_contimg import instrument
from dsa110_contimg.conversion.geometry import antenna_phasors, group_geometry
from dsa110_contimg.conversion.kernel import gather, rotate_and_flag, weigh


def warm_up() -> None:
    """Import the writer, compile its kernels and load the earth-orientation tables.

    No file of the observatory is touched and no table opened: a process that did this can
    be forked.
    """
    for module in ("casacore.tables", "dsa110_contimg.conversion.write_ms"):
        importlib.import_module(module)
    site = EarthLocation.from_geodetic(
        instrument.SITE_LONGITUDE_DEG * units.deg, instrument.SITE_LATITUDE_DEG * units.deg
    )
    geometry = group_geometry(Time.now().jd + np.arange(2.0) / 86400, np.eye(3), site, 0.9)
    phasors = antenna_phasors(geometry.antenna_delta_w_m, np.full(8, 1.4e9))
    shape = (1, 8, 2)
    start = np.zeros((1, 1, 1), dtype=np.int64)
    chunk = np.array(shape)
    bits = np.zeros((1, 2), dtype=np.uint8)
    baselines = np.zeros((1, 3), dtype=np.int32)
    weight, sigma = np.zeros((1, 2), dtype=np.float32), np.zeros((1, 2), dtype=np.float32)
    for kind in (np.complex64, np.uint8, np.float32):
        samples = np.zeros(16, kind)
        for view in (samples, _read_only(samples)):
            gather(view, start, chunk, 0, 0, np.zeros(shape, kind))
    flags, vis = np.zeros(shape, np.uint8), np.zeros(shape, np.complex64)
    rotate_and_flag(0, baselines, phasors, vis, flags, bits)
    weigh(np.zeros(shape, np.float32), weight, sigma)


def _read_only(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """View an array as the kernels see a memory map."""
    view = samples.view()
    view.flags.writeable = False
    return view
