"""The night that the benchmark of the calibration looks at, and the MSs made of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from dsa110_contimg.catalog.calibrators import read_calibrators
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.direct_subband import DirectSubbandWriter
from dsa110_contimg.simulation.gains import AntennaGain
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult, simulate
from dsa110_contimg.simulation.schedule import PlannedGroup
from dsa110_contimg.simulation.truth import read_gains, read_rfi
from dsa110_contimg.storage.files import make_writable

CALIBRATOR_JY = 8.8
"""As bright as 0834+555."""
_N_GROUPS = 2
_SECONDS = len("2026-01-25T08:06:19")
"""Of a time, as groups are named."""


@dataclass(frozen=True)
class Night:
    """Two groups, of which the first holds the calibrator's transit.

    Attributes
    ----------
    ms : tuple of Path
        MSs of the groups, with interference, gain errors and a dead antenna.
    clean : tuple of Path
        The same without interference, noise for noise.
    groups : tuple of PlannedGroup
        When they were.
    calibrator : Source
        The calibrator.
    sources : list of Source
        Everything else in the sky.
    gains : list of AntennaGain
        The gain errors.
    dead : list of int
        Ids of the dead antennas: stations counted from 0.
    """

    ms: tuple[Path, ...]
    clean: tuple[Path, ...]
    groups: tuple[PlannedGroup, ...]
    calibrator: Source
    sources: list[Source]
    gains: list[AntennaGain]
    dead: list[int]


def make_night(ram: Path, n_antennas: int) -> Night:
    """Simulate the night with and without interference, and convert both; raw files are removed.

    Parameters
    ----------
    ram : Path
        Directory in tmpfs: it receives four MSs, and the raw files of two at a time.
    n_antennas : int
        Antennas of the array.

    Returns
    -------
    Night
        MSs and truth.
    """
    options = SimulationOptions(
        output_dir=ram / "incoming",
        n_groups=_N_GROUPS,
        n_antennas=n_antennas,
        gain_errors=True,
        rfi=True,
        dead_antennas=1,
        calibrator_jy=CALIBRATOR_JY,
        jitter=False,
    )
    simulation = simulate(options)
    assert simulation.gains_path is not None
    assert simulation.rfi_path is not None
    assert simulation.calibrators_path is not None
    gains = read_gains(Path(simulation.gains_path))
    (calibrator,) = read_calibrators(Path(simulation.calibrators_path))
    sources = _read_sky(Path(simulation.truth_path))
    dead = [station - 1 for station in read_rfi(Path(simulation.rfi_path)).dead_stations]
    ms = _convert(simulation, ram / "ms")
    # The same seed draws the same noise, gains and dead antenna.
    without = simulate(options.model_copy(update={"rfi": False}))
    return Night(
        ms=ms,
        clean=_convert(without, ram / "clean"),
        groups=tuple(simulation.groups),
        calibrator=Source.model_validate(calibrator.model_dump(include=set(Source.model_fields))),
        sources=[source for source in sources if source.name != calibrator.name],
        gains=gains,
        dead=dead,
    )


def copy_ms(ms: Path, copy: Path) -> Path:
    """Copy an MS, to be changed at will.

    Parameters
    ----------
    ms : Path
        A published MS.
    copy : Path
        The MS to make.

    Returns
    -------
    Path
        The copy.
    """
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ms, copy)
    make_writable(copy)
    return copy


def _read_sky(truth: Path) -> list[Source]:
    """Read every source of the night once."""
    from astropy.table import Table

    table = Table.read(truth, format="ascii.ecsv")[list(Source.model_fields)]
    rows = (dict(zip(table.colnames, row, strict=True)) for row in table)
    return list({row["name"]: Source.model_validate(row) for row in rows}.values())


def _convert(simulation: SimulationResult, folder: Path) -> tuple[Path, ...]:
    """Convert the groups of a night, and remove its files."""
    folder.mkdir()
    converted = []
    for group in simulation.groups:
        files = [Path(simulation.output_dir) / name for name in group.file_names.values()]
        ms = folder / f"{group.start_utc[:_SECONDS]}.ms"
        DirectSubbandWriter(
            files, ms, sandbox_roots=[folder / ".sandboxes"], log_dir=folder / ".logs"
        ).write()
        converted.append(ms)
        for file in files:
            file.unlink()
    shutil.rmtree(simulation.output_dir)
    return tuple(converted)
