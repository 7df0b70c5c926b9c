"""The part of flagging that runs in a child of the door to CASA."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from dsa110_contimg.casa.door import open_casatasks
from dsa110_contimg.errors import TransientError
from dsa110_contimg.flagging.antennas import find_dead_antennas
from dsa110_contimg.flagging.aoflagger import run_aoflagger
from dsa110_contimg.flagging.models import DeadAntenna, Flagger, FlagStrategy, FlagSummary
from dsa110_contimg.flagging.summary import summarize_flags
from dsa110_contimg.models import AbsolutePath, Model
from dsa110_contimg.stages import StageClock
from dsa110_contimg.visibilities.models import SpwInfo
from dsa110_contimg.visibilities.ms_info import open_table

AS_CONVERTED: Final = "contimg_as_converted"
"""Flag version to which flagging can be undone."""
AS_FLAGGED: Final = "contimg_as_flagged"
"""Flag version that calibration begins from."""
_MAX_WINDOWS = 4
_ROW_STEP = 16
_MAD_TO_SIGMA = 1.4826


class FlagWork(Model):
    """What the child is told."""

    ms_path: AbsolutePath
    """The MS, held and writable."""
    spws: list[SpwInfo]
    """Its windows."""
    strategy: FlagStrategy
    """What is flagged."""


class Flagged(Model):
    """What the child did."""

    dead: list[DeadAntenna]
    """Antennas flagged as a whole."""
    before: FlagSummary
    """As converted."""
    after: FlagSummary
    """As flagged."""
    stage_seconds: dict[str, float]
    """Wall time per step."""


class Restored(Model):
    """Answer of `restore_in_child`."""

    version: str
    """Flag version that is in force."""


def flag_in_child(work: FlagWork) -> Flagged:
    """Flag an MS, from the flags as converted.

    Parameters
    ----------
    work : FlagWork
        The MS and what is flagged.

    Returns
    -------
    Flagged
        Dead antennas, fractions before and after, times.

    Raises
    ------
    TransientError
        If a program failed.
    """
    clock = StageClock(work.ms_path.stem)
    casatasks = open_casatasks()
    try:
        with clock.stage("flag versions"):
            restore_or_save(casatasks, work.ms_path, AS_CONVERTED)
        with clock.stage("dead antennas"):
            dead = find_dead_antennas(
                work.ms_path, work.spws, power_ratio=work.strategy.dead_power_ratio
            )
            before = summarize_flags(work.ms_path, work.spws)
        if work.strategy.flagger is Flagger.AOFLAGGER:
            with clock.stage("aoflagger"):
                run_aoflagger(work.ms_path)
        with clock.stage("flagdata"):
            casatasks.flagdata(
                vis=str(work.ms_path), mode="list", inpfile=_commands(work, dead), flagbackup=False
            )
        with clock.stage("flag versions again"):
            casatasks.flagmanager(vis=str(work.ms_path), mode="save", versionname=AS_FLAGGED)
    except (RuntimeError, OSError, ValueError) as error:  # as casatasks raises them
        raise TransientError(
            f"flagging {work.ms_path} failed: {error}", reason="flagging_failed"
        ) from error
    with clock.stage("summary"):
        after = summarize_flags(work.ms_path, work.spws)
    return Flagged(dead=dead, before=before, after=after, stage_seconds=clock.seconds)


def restore_in_child(work: FlagWork) -> Restored:
    """Undo the flagging of an MS.

    Parameters
    ----------
    work : FlagWork
        The MS.

    Returns
    -------
    Restored
        The flag version that was restored.
    """
    restore_or_save(open_casatasks(), work.ms_path, AS_CONVERTED)
    return Restored(version=AS_CONVERTED)


def restore_or_save(casatasks: Any, ms_path: Path, version: str) -> None:
    """Restore a flag version, or save the flags under its name if there is none yet.

    Parameters
    ----------
    casatasks : module
        As `casa.door.open_casatasks` gives it.
    ms_path : Path
        The MS, held and writable.
    version : str
        Name of the version.
    """
    listed = casatasks.flagmanager(vis=str(ms_path), mode="list") or {}
    names = {entry["name"] for entry in listed.values() if isinstance(entry, dict)}
    mode = "restore" if version in names else "save"
    casatasks.flagmanager(vis=str(ms_path), mode=mode, versionname=version)


def _commands(work: FlagWork, dead: list[DeadAntenna]) -> list[str]:
    """Write the commands of `flagdata`: each sees what the ones before it flagged."""
    strategy = work.strategy
    commands = ["mode='manual' autocorr=True", "mode='clip' clipzeros=True"]
    if dead:
        # CASA takes a number for the name of an antenna before it takes it for an id.
        commands.append(f"mode='manual' antenna='{','.join(antenna.name for antenna in dead)}'")
    commands.append(_command("clip", clipminmax=f"[0,{_clip_limit(work):.6g}]"))
    if strategy.flagger is Flagger.CASA:
        commands += [
            _command(
                "tfcrop",
                timecutoff=strategy.tfcrop_time_sigma,
                freqcutoff=strategy.tfcrop_freq_sigma,
                maxnpieces=3,
                extendflags=False,
            ),
            _command(
                "rflag",
                timedevscale=strategy.rflag_sigma,
                freqdevscale=strategy.rflag_sigma,
                extendflags=False,
            ),
        ]
    grow = strategy.grow_percent
    commands.append(_command("extend", growtime=grow, growfreq=grow, extendpols=True))
    return commands


def _command(mode: str, **parameters: object) -> str:
    """Write one command on the raw data; an observation is one stretch of time."""
    written = " ".join(f"{name}={value}" for name, value in parameters.items())
    return f"mode='{mode}' datacolumn='DATA' ntime='scan' {written}"


def _clip_limit(work: FlagWork) -> float:
    """Find the largest amplitude that is no interference, from some of the data."""
    limits = []
    with open_table(work.ms_path) as ms:
        description = ms.getcol("DATA_DESC_ID")
        own = ms.getcol("ANTENNA1") == ms.getcol("ANTENNA2")
        for spw in work.spws[:: -(-len(work.spws) // _MAX_WINDOWS)]:
            rows = np.flatnonzero((description == spw.data_desc_id) & ~own)[::_ROW_STEP]
            amplitude = np.abs(ms.selectrows(rows).getcol("DATA"))
            amplitude = amplitude[amplitude > 0.0]
            if amplitude.size:
                median = float(np.median(amplitude))
                sigma = _MAD_TO_SIGMA * float(np.median(np.abs(amplitude - median)))
                limits.append(median + work.strategy.clip_sigma * sigma)
    return max(limits, default=float(np.finfo(np.float32).max))
