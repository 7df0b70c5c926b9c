"""What the calibration is measured against: casatasks, as their user calls them one by one.

All of them are called in a child of the door to CASA and report their own cost. The time to
import casatasks is told apart and is no part of it, as a user has a session open; ours, which
starts a child for each step, pays it each time.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from metering import Cost
from peers import Clock, remove

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.flagging.models import FlagStrategy
from dsa110_contimg.models import AbsolutePath, Model

BANDPASS, GAIN = "bandpass", "gain"
"""Names of the tables."""
IMPORT = "import, not counted"
"""Name of the part of a cost that is not in its sums."""
_BEFORE = "before"


class FlagJob(Model):
    """An MS to flag."""

    ms_path: AbsolutePath
    """The MS."""
    strategy: FlagStrategy
    """Thresholds."""
    clip_jy: float
    """Amplitudes above are clipped."""
    dead: list[str]
    """Names of the antennas that do not work: the user has looked at the data."""


class SolveJob(Model):
    """An MS to solve on."""

    ms_path: AbsolutePath
    """The MS, flagged."""
    calibrator: Source
    """The calibrator."""
    refant: str
    """Reference antenna, by name."""
    gain_interval_s: float
    """Length of a gain solution in seconds."""
    min_snr: float
    """Solutions below are flagged."""
    bridged_channels: int
    """Gaps in the bandpass up to so many channels are interpolated."""
    tables_dir: AbsolutePath
    """Receives the tables."""


class ApplyJob(Model):
    """An MS to correct."""

    ms_path: AbsolutePath
    """The MS, flagged."""
    bandpass: AbsolutePath
    """A table with solutions of each window."""
    gain: AbsolutePath
    """A table with solutions of all windows together, filed under the first."""
    n_windows: int
    """Windows of the MS."""


def flag_with_tasks(job: FlagJob) -> Cost:
    """Flag with one task after the other, from the flags as converted."""
    (casatasks, import_s), vis = _open(), str(job.ms_path)
    clock = Clock()
    _restore_or_save(casatasks, job.ms_path)
    clock.note("flag version")
    for name, parameters in _flag_calls(job).items():
        casatasks.flagdata(vis=vis, flagbackup=False, **parameters)
        clock.note(name)
    return _cost(clock, import_s)


def solve_with_tasks(job: SolveJob) -> Cost:
    """Predict the calibrator and solve at full resolution.

    A component list knows flux density, spectral index and direction, not the primary beam
    that the calibrator drifts through: CASA has no model of this telescope's.
    """
    (casatasks, import_s), vis = _open(), str(job.ms_path)
    tables = {name: job.tables_dir / name for name in (BANDPASS, GAIN)}
    components = job.tables_dir / "calibrator.cl"
    for path in (*tables.values(), components):
        remove(path)
    clock = Clock()
    _write_components(components, job.calibrator)
    casatasks.ft(vis=vis, complist=str(components), usescratch=True)
    clock.note("ft")
    shared = {"vis": vis, "refant": job.refant, "minsnr": job.min_snr, "parang": False}
    casatasks.bandpass(
        **shared,
        caltable=str(tables[BANDPASS]),
        bandtype="B",
        solint="inf",
        fillgaps=job.bridged_channels,
    )
    clock.note("bandpass")
    casatasks.gaincal(
        **shared,
        caltable=str(tables[GAIN]),
        gaintype="G",
        calmode="ap",
        solint=f"{job.gain_interval_s:.2f}s",
        combine="spw",
        gaintable=[str(tables[BANDPASS])],
    )
    clock.note("gaincal")
    cost = _cost(clock, import_s)
    # CASA returns as if all were well when it has left no table.
    for path in tables.values():
        if not (path / "table.dat").is_file():
            raise RuntimeError(f"CASA left no {path.name}")
    return cost


def apply_with_tasks(job: ApplyJob) -> Cost:
    """Correct the MS."""
    casatasks, import_s = _open()
    clock = Clock()
    casatasks.applycal(
        vis=str(job.ms_path),
        gaintable=[str(job.bandpass), str(job.gain)],
        spwmap=[[], [0] * job.n_windows],
        interp=["linear,linear"] * 2,
        calwt=False,
        applymode="calflag",
        flagbackup=False,
        parang=False,
    )
    clock.note("applycal")
    return _cost(clock, import_s)


def _open() -> tuple[Any, float]:
    """Import casatasks; return it, and the time that it took in seconds."""
    from dsa110_contimg.casa.door import open_casatasks

    start_s = time.perf_counter()
    return open_casatasks(), time.perf_counter() - start_s


def _cost(clock: Clock, import_s: float) -> Cost:
    """Say what the work took, and beside it what the import took."""
    cost = clock.cost()
    return cost.model_copy(update={"parts_s": {**cost.parts_s, IMPORT: import_s}})


def _restore_or_save(casatasks: Any, ms_path: Path) -> None:
    """Begin from the flags as converted, which the first run saves."""
    there = ms_path.with_name(f"{ms_path.name}.flagversions") / f"flags.{_BEFORE}"
    mode = "restore" if there.is_dir() else "save"
    casatasks.flagmanager(vis=str(ms_path), mode=mode, versionname=_BEFORE)


def _flag_calls(job: FlagJob) -> dict[str, dict[str, Any]]:
    """Give the parameters of each call of `flagdata`."""
    strategy = job.strategy
    automatic = {"datacolumn": "DATA", "ntime": "scan", "extendflags": False}
    calls: dict[str, dict[str, Any]] = {
        "autocorrelations": {"mode": "manual", "autocorr": True},
        "zeros": {"mode": "clip", "clipzeros": True},
        "dead antennas": {"mode": "manual", "antenna": ",".join(job.dead)},
        "clip": {
            "mode": "clip",
            "datacolumn": "DATA",
            "ntime": "scan",
            "clipminmax": [0.0, job.clip_jy],
        },
        "tfcrop": {
            "mode": "tfcrop",
            "timecutoff": strategy.tfcrop_time_sigma,
            "freqcutoff": strategy.tfcrop_freq_sigma,
            "maxnpieces": 3,
            **automatic,
        },
        "rflag": {
            "mode": "rflag",
            "timedevscale": strategy.rflag_sigma,
            "freqdevscale": strategy.rflag_sigma,
            **automatic,
        },
        "extend": {
            "mode": "extend",
            "growtime": strategy.grow_percent,
            "growfreq": strategy.grow_percent,
            "extendpols": True,
            "datacolumn": "DATA",
            "ntime": "scan",
        },
    }
    return {name: call for name, call in calls.items() if job.dead or name != "dead antennas"}


def _write_components(path: Path, source: Source) -> None:
    """Write a component list of one point source."""
    from casatools import componentlist, measures

    components, direction = componentlist(), measures()
    components.addcomponent(
        flux=source.flux_jy,
        fluxunit="Jy",
        shape="point",
        dir=direction.direction("ICRS", f"{source.ra_deg}deg", f"{source.dec_deg}deg"),
        freq=f"{source.ref_freq_hz}Hz",
        spectrumtype="spectral index",
        index=source.spectral_index,
    )
    components.rename(str(path))
    components.close()
