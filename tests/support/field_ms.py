"""A small field in an MS, made by the real simulator and the real converter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from casacore.tables import table

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.direct_subband import DirectSubbandWriter
from dsa110_contimg.instrument import primary_beam_attenuation
from dsa110_contimg.simulation.night import DEFAULT_DEC_DEG, SimulationOptions, simulate
from dsa110_contimg.visibilities.ms_info import read_ms_info

SPEED_OF_LIGHT_M_S = 299792458.0


def make_ms(
    root: Path,
    sources: Sequence[Source],
    n_antennas: int,
    sefd_jy: float,
    *,
    dec_deg: float = DEFAULT_DEC_DEG,
) -> Path:
    """Simulate and convert a group of 16 windows."""
    night = simulate(
        SimulationOptions(
            output_dir=root / "incoming",
            n_antennas=n_antennas,
            sefd_jy=sefd_jy,
            sources=tuple(sources),
            dec_deg=dec_deg,
            jitter=False,
        )
    )
    ms = root / "field.ms"
    files = [Path(file) for file in night.files]
    writer = DirectSubbandWriter(
        files, ms, sandbox_roots=[root / "sandboxes"], log_dir=root / "logs"
    )
    writer.write()
    return ms


def add_source(ms: Path, source: Source, spw_ids: Sequence[int]) -> None:
    """Add a source to the DATA of some windows of a writable MS, by plain numpy."""
    info = read_ms_info(ms)
    ra, dec, ra0, dec0 = np.deg2rad(
        [source.ra_deg, source.dec_deg, info.center_ra_deg, info.center_dec_deg]
    )
    direction = [
        np.cos(dec) * np.sin(ra - ra0),
        np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0),
        np.sin(dec) * np.sin(dec0) + np.cos(dec) * np.cos(dec0) * np.cos(ra - ra0) - 1.0,
    ]
    with table(str(ms), readonly=False, ack=False) as opened:
        for spw in info.spws:
            if spw.spw_id not in spw_ids:
                continue
            rows = np.flatnonzero(opened.getcol("DATA_DESC_ID") == spw.data_desc_id)
            selected = opened.selectrows(rows)
            with table(str(ms / "SPECTRAL_WINDOW"), ack=False) as windows:
                freqs_hz = windows.getcell("CHAN_FREQ", spw.spw_id)
            path_m = selected.getcol("UVW") @ direction
            times_s = selected.getcol("TIME")
            drift_rad = 2 * np.pi / 86164.0905 * (times_s - (times_s.min() + times_s.max()) / 2)
            apart_deg = np.rad2deg(np.hypot((ra - ra0 - drift_rad) * np.cos(dec0), dec - dec0))
            beam = primary_beam_attenuation(apart_deg, spw.freq_hz)
            turns = path_m[:, None] * freqs_hz / SPEED_OF_LIGHT_M_S
            vis = beam[:, None] * source.flux_at(freqs_hz) * np.exp(2j * np.pi * turns)
            selected.putcol("DATA", (selected.getcol("DATA") + vis[:, :, None]).astype("c8"))


def flag_windows(ms: Path, spw_ids: Sequence[int]) -> None:
    """Flag all of some windows of a writable MS."""
    info = read_ms_info(ms)
    ids = [spw.data_desc_id for spw in info.spws if spw.spw_id in spw_ids]
    with table(str(ms), readonly=False, ack=False) as opened:
        rows = np.flatnonzero(np.isin(opened.getcol("DATA_DESC_ID"), ids))
        selected = opened.selectrows(rows)
        selected.putcol("FLAG", np.ones_like(selected.getcol("FLAG")))
