"""What every joint fit needs once per process, done before there is anything to fit."""

from __future__ import annotations

import importlib

import numpy as np

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.instrument import CHANNEL_WIDTH_HZ, INTEGRATION_TIME_S, REFERENCE_FREQ_HZ
from dsa110_contimg.photometry.joint_fit import fit_jointly
from dsa110_contimg.visibilities.cells import make_cells
from dsa110_contimg.visibilities.directions import source_directions
from dsa110_contimg.visibilities.flags_kernel import apply_flags
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.window import Window

_N_CHANNELS, _N_POLARIZATIONS, _BASELINE_M = 4, 2, 100.0


def warm_up() -> None:
    """Import the joint fit and compile its kernels; no table is opened."""
    importlib.import_module("dsa110_contimg.photometry.uvfit")
    spw = SpwInfo(
        spw_id=0,
        data_desc_id=0,
        freq_hz=REFERENCE_FREQ_HZ,
        bandwidth_hz=_N_CHANNELS * CHANNEL_WIDTH_HZ,
        n_channels=_N_CHANNELS,
    )
    info = MsInfo(
        ms_path="",
        telescope="",
        telescope_itrf_m=(0.0, 0.0, 0.0),
        spws=[spw],
        center_ra_deg=0.0,
        center_dec_deg=0.0,
        frame="ICRS",
        start_mjd=61000.0,
        duration_s=INTEGRATION_TIME_S,
        integration_time_s=INTEGRATION_TIME_S,
        data_column="DATA",
        n_rows=1,
    )
    sources = [Source(name="any", ra_deg=0.0, dec_deg=0.0)]
    window = _one_baseline(spw)
    cells = make_cells(window, source_directions(sources, info))
    fit_jointly(cells, info, spw, sources)
    apply_flags(window.data, window.data != 0.0, np.zeros(1, bool), window.weight)


def _one_baseline(spw: SpwInfo) -> Window:
    """Make a window of one row."""
    shape = (1, _N_CHANNELS, _N_POLARIZATIONS)
    return Window(
        spw=spw,
        freqs_hz=np.linspace(spw.freq_hz, spw.freq_hz + spw.bandwidth_hz, _N_CHANNELS),
        widths_hz=np.full(_N_CHANNELS, CHANNEL_WIDTH_HZ),
        time_mjd_s=np.zeros(1),
        interval_s=np.full(1, INTEGRATION_TIME_S),
        antenna1=np.zeros(1, np.int32),
        antenna2=np.ones(1, np.int32),
        uvw_m=np.full((1, 3), _BASELINE_M),
        data=np.ones(shape, np.complex64),
        weight=np.ones(shape, np.float32),
    )
