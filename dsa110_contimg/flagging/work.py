"""The part of flagging that runs in a child of the door to CASA."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from dsa110_contimg.casa.door import open_casatasks
from dsa110_contimg.errors import ScienceQualityError, TransientError
from dsa110_contimg.flagging.antennas import find_dead_antennas, flag_antennas
from dsa110_contimg.flagging.aoflagger import run_aoflagger
from dsa110_contimg.flagging.clip import find_clip_limit
from dsa110_contimg.flagging.models import DeadAntenna, Flagger, FlagStrategy, FlagSummary
from dsa110_contimg.flagging.quorum import extend_to_all_baselines
from dsa110_contimg.flagging.summary import summarize_flags
from dsa110_contimg.flagging.versions import AS_CONVERTED, begin_from_converted, save_flagged
from dsa110_contimg.models import AbsolutePath, Model
from dsa110_contimg.stages import StageClock
from dsa110_contimg.visibilities.models import SpwInfo

_log = logging.getLogger(__name__)
_CORRECTED: Final = "CORRECTED_DATA"


class FlagWork(Model):
    """What the child is told."""

    ms_path: AbsolutePath
    """The MS, held and writable."""
    ms_created: str
    """When it was published."""
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
    ScienceQualityError
        If dead antennas are not flagged, although no program complained.
    TransientError
        If a program failed.
    """
    clock = StageClock(work.ms_path.stem)
    casatasks = open_casatasks()

    def flagdata(commands: list[str]) -> None:
        modes = ", ".join(command.split("'")[1] for command in commands)
        _log.info("%s: flagdata %s", work.ms_path.stem, modes)
        casatasks.flagdata(vis=str(work.ms_path), mode="list", inpfile=commands, flagbackup=False)

    try:
        with clock.stage("flag versions"):
            begin_from_converted(casatasks, work.ms_path, work.ms_created)
            _remove_corrected(work)
        with clock.stage("dead antennas"):
            dead = find_dead_antennas(
                work.ms_path, work.spws, power_ratio=work.strategy.dead_power_ratio
            )
            before = summarize_flags(work.ms_path, work.spws)
            ids = [antenna.antenna_id for antenna in dead if antenna.antenna_id is not None]
            flag_antennas(work.ms_path, work.spws, ids)
        # tfcrop and rflag only see flags that are in the MS. Without the strong interference
        # they are more sensitive, and spare its neighbours in time, which share its window.
        with clock.stage("clip"):
            flagdata(_obvious(work))
        with clock.stage(work.strategy.flagger.value):
            _find_interference(work, flagdata)
        with clock.stage("flag versions again"):
            save_flagged(casatasks, work.ms_path)
    except (RuntimeError, OSError, ValueError) as error:  # as casatasks raises them
        raise TransientError(
            f"flagging {work.ms_path} failed: {error}", reason="flagging_failed"
        ) from error
    with clock.stage("summary"):
        after = summarize_flags(work.ms_path, work.spws)
    _check(work, dead, after)
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

    Raises
    ------
    TransientError
        If CASA failed.
    """
    try:
        begin_from_converted(open_casatasks(), work.ms_path, work.ms_created)
        _remove_corrected(work)
    except (RuntimeError, OSError, ValueError) as error:  # as casatasks raises them
        raise TransientError(
            f"undoing the flags of {work.ms_path} failed: {error}", reason="flagging_failed"
        ) from error
    return Restored(version=AS_CONVERTED)


def _remove_corrected(work: FlagWork) -> None:
    """Take away what an earlier calibration left: its flags on what it could not correct are gone.

    An MS that is not of this pipeline may have been calibrated by others: it is left alone.
    """
    from casacore.tables import table

    if work.ms_created:
        with table(str(work.ms_path), readonly=False, ack=False) as ms:
            if _CORRECTED in ms.colnames():
                ms.removecols(_CORRECTED)


def _check(work: FlagWork, dead: list[DeadAntenna], after: FlagSummary) -> None:
    """See that what was to be flagged whole is."""
    missed = [antenna.name for antenna in dead if after.by_antenna.get(antenna.name, 1.0) < 1.0]
    if missed:
        raise ScienceQualityError(
            f"no program complained, but data are unflagged of the dead antenna(s) "
            f"{', '.join(missed)} of {work.ms_path}",
            reason="not_flagged",
        )


def _obvious(work: FlagWork) -> list[str]:
    """Write the commands for what needs no search."""
    commands = ["mode='manual' autocorr=True", "mode='clip' clipzeros=True"]
    limit = find_clip_limit(work.ms_path, work.spws, sigma=work.strategy.clip_sigma)
    return [*commands, _command("clip", clipminmax=f"[0,{limit:.6g}]")]


def _find_interference(work: FlagWork, flagdata: Callable[[list[str]], None]) -> None:
    """Search for interference with the program that was chosen, and extend what was found."""
    strategy = work.strategy

    def extend_to_all() -> None:
        _log.info("%s: extend to all baselines", work.ms_path.stem)
        extend_to_all_baselines(work.ms_path, work.spws, strategy.quorum)

    if strategy.flagger is Flagger.AOFLAGGER:
        run_aoflagger(
            work.ms_path,
            threshold=strategy.aoflagger_threshold,
            rank_level=strategy.aoflagger_rank_level,
        )
    else:
        tfcrop = _command(
            "tfcrop",
            timecutoff=strategy.tfcrop_time_sigma,
            freqcutoff=strategy.tfcrop_freq_sigma,
            maxnpieces=3,
            extendflags=False,
        )
        flagdata([tfcrop])
        # rflag takes the scatter of three integrations: what is left on faint baselines would
        # cost the integrations beside it, on so many of them that they make a quorum.
        extend_to_all()
        rflag = _command(
            "rflag",
            timedevscale=strategy.rflag_sigma,
            freqdevscale=strategy.rflag_sigma,
            extendflags=False,
        )
        flagdata([rflag])
    # Before flags grow: rflag finds more than there is at the edges of a window with a bright
    # source, on some of the baselines, and twice as many after growing.
    extend_to_all()
    grow = strategy.grow_percent
    flagdata([_command("extend", growtime=grow, growfreq=grow, extendpols=True)])


def _command(mode: str, **parameters: object) -> str:
    """Write one command on the raw data; an observation is one stretch of time."""
    written = " ".join(f"{name}={value}" for name, value in parameters.items())
    return f"mode='{mode}' datacolumn='DATA' ntime='scan' {written}"
