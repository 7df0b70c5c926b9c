"""Radio-frequency interference (RFI) from the ground, and antennas that receive nothing.

An emitter on the ground does not move over the array, and neither does the phase centre of a
file, hour angle zero at one declination. So its visibility on a baseline is constant for as
long as it is on: a fixed complex amplitude per antenna, through the antenna's gain.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from dsa110_contimg.instrument import (
    ACTIVE_STATIONS,
    CHANNEL_WIDTH_HZ,
    INTEGRATION_TIME_S,
    N_CHANNELS_PER_SUBBAND,
    N_SUBBANDS,
    N_TIMES,
    subband_channel_freqs_hz,
)
from dsa110_contimg.models import Model
from dsa110_contimg.simulation.schedule import PlannedGroup

Floats = npt.NDArray[np.float64]

_BAND_HZ: Final = np.sort(np.concatenate([subband_channel_freqs_hz(n) for n in range(N_SUBBANDS)]))
_SECONDS_PER_DAY: Final = 86400.0

_CARRIER_CHANNELS: Final = (1, 3)
_CARRIERS_TOTAL_CHANNELS: Final = (16, 30)
"""Of the 768 channels: 2 % to 4 %."""
_PERSISTENT_SHARE: Final = 0.5
_MOST_APPEARANCES: Final = 3
"""How often a carrier that is not persistent comes on in a group."""
_CARRIER_JY: Final = (30.0, 300.0)
_BURSTS: Final = 2
_BURST_TIMES: Final = (1, 3)
_BURST_SUBBANDS: Final = (1, 6)
_BURST_JY: Final = (20.0, 200.0)
_ANTENNA_SCATTER: Final = 0.3
"""Of the natural logarithm of an antenna's amplitude."""

_NO_EVENT: Final = -1


class RfiKind(StrEnum):
    """What an emitter is like."""

    CARRIER = "carrier"
    BURST = "burst"


class RfiEvent(Model):
    """A rectangle of channels and integrations in which an emitter is on."""

    model_config = ConfigDict(allow_inf_nan=False)

    group: int
    """Index of the group in the night."""
    emitter: int
    """Number of the emitter in its group: a carrier that comes and goes has several events."""
    kind: RfiKind
    """A narrow-band carrier or a broad-band burst."""
    first_freq_hz: float = Field(gt=0.0)
    """Centre of its lowest channel in Hz."""
    last_freq_hz: float = Field(gt=0.0)
    """Centre of its highest channel in Hz."""
    first_time_jd: float = Field(gt=0.0)
    """Centre of its first integration, a Julian date (UTC)."""
    last_time_jd: float = Field(gt=0.0)
    """Centre of its last integration, a Julian date (UTC)."""
    flux_jy: float = Field(ge=0.0)
    """Visibility amplitude of the median baseline in Jy, in XX and in YY, before the gains."""


class RfiTruth(Model):
    """What a night holds that is not of the sky."""

    events: list[RfiEvent]
    """By group and emitter; subbands that were left out of the night are described as well."""
    dead_stations: list[int]
    """Station numbers (1-based) of the antennas that receive nothing."""

    def flux_jy(self, group: int, freq_hz: npt.ArrayLike, times_jd: npt.ArrayLike) -> Floats:
        """Give the interference that was injected into each cell of a group.

        Parameters
        ----------
        group : int
            Index of the group in the night.
        freq_hz : array_like, shape (nchan,)
            Channel centres in Hz, in any order, to within half a channel.
        times_jd : array_like, shape (ntimes,)
            Bin centres, Julian dates (UTC), to within half an integration.

        Returns
        -------
        ndarray of float64, shape (ntimes, nchan)
            Visibility amplitude of the median baseline in Jy, in XX and in YY, before the
            gains; zero where there is none. Power, the autocorrelations', is linear in it.
        """
        events = [event for event in self.events if event.group == group]
        strongest = _strongest_event(events, np.asarray(freq_hz), np.asarray(times_jd))
        # The last entry stands for the cells without an event, whose index is -1.
        return np.array([*(event.flux_jy for event in events), 0.0])[strongest]

    def mask(
        self, group: int, freq_hz: npt.ArrayLike, times_jd: npt.ArrayLike
    ) -> npt.NDArray[np.bool_]:
        """Give the cells of a group that hold interference.

        Parameters
        ----------
        group : int
            Index of the group in the night.
        freq_hz : array_like, shape (nchan,)
            Channel centres in Hz, in any order, to within half a channel.
        times_jd : array_like, shape (ntimes,)
            Bin centres, Julian dates (UTC), to within half an integration.

        Returns
        -------
        ndarray of bool, shape (ntimes, nchan)
            True on every baseline between antennas that are not dead.
        """
        return np.asarray(self.flux_jy(group, freq_hz, times_jd) > 0)


def draw_events(group: PlannedGroup, seed: int) -> list[RfiEvent]:
    """Draw the interference of one group: carriers on 2-4 % of the channels, and two bursts.

    Parameters
    ----------
    group : PlannedGroup
        The group.
    seed : int
        Seed of the draw; the number of antennas does not matter.

    Returns
    -------
    list of RfiEvent
        By emitter.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(5, group.index)))
    emitters = [(RfiKind.CARRIER, *carrier) for carrier in _draw_carriers(rng)]
    emitters += [(RfiKind.BURST, *_draw_burst(rng)) for _ in range(_BURSTS)]
    times_jd = group.times_jd()
    return [
        RfiEvent(
            group=group.index,
            emitter=emitter,
            kind=kind,
            first_freq_hz=float(_BAND_HZ[channels.start]),
            last_freq_hz=float(_BAND_HZ[channels.stop - 1]),
            first_time_jd=float(times_jd[on.start]),
            last_time_jd=float(times_jd[on.stop - 1]),
            flux_jy=flux_jy,
        )
        for emitter, (kind, channels, appearances, flux_jy) in enumerate(emitters)
        for on in appearances
    ]


def draw_dead_stations(stations: tuple[int, ...], n_dead: int, seed: int) -> tuple[int, ...]:
    """Choose the antennas that receive nothing.

    Parameters
    ----------
    stations : tuple of int
        Station numbers (1-based) of the array.
    n_dead : int
        How many of them are dead.
    seed : int
        Seed of the choice.

    Returns
    -------
    tuple of int
        Station numbers, ascending.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7,)))
    ranking = [int(station) for station in rng.permutation(ACTIVE_STATIONS)]
    return tuple(sorted([station for station in ranking if station in stations][:n_dead]))


def rfi_phasors(
    events: list[RfiEvent],
    stations: tuple[int, ...],
    freq_hz: Floats,
    times_jd: Floats,
    seed: int,
) -> npt.NDArray[np.complex64]:
    """Each antenna's share in the interference, in the place of one source.

    Parameters
    ----------
    events : list of RfiEvent
        Those of one group; where two meet, the stronger is received.
    stations : tuple of int
        Station numbers (1-based).
    freq_hz : ndarray of float64, shape (nchan,)
        Channel centres in Hz.
    times_jd : ndarray of float64, shape (ntimes,)
        Bin centres, Julian dates (UTC).
    seed : int
        Seed of the antennas' amplitudes; a station's do not depend on the rest of the array.

    Returns
    -------
    ndarray of complex64, shape (ntimes, nants, 1, nchan)
        A baseline's visibility is the second antenna's value times the first's conjugate.
    """
    strongest = _strongest_event(events, freq_hz, times_jd)
    if not events or (strongest == _NO_EVENT).all():
        return np.zeros((len(times_jd), len(stations), 1, len(freq_hz)), dtype=np.complex64)
    amplitudes = np.array(
        [_antenna_amplitudes(events, station, seed) for station in stations], dtype=np.complex64
    )
    phasors = np.where(strongest == _NO_EVENT, np.complex64(0), amplitudes[:, strongest])
    return np.ascontiguousarray(phasors.transpose(1, 0, 2)[:, :, None])


def _draw_carriers(rng: np.random.Generator) -> list[tuple[range, list[range], float]]:
    """Draw channels, spells of integrations and flux density of the carriers of a group."""
    carriers = []
    wanted = int(rng.integers(*_CARRIERS_TOTAL_CHANNELS, endpoint=True))
    while wanted > 0:
        width = min(wanted, int(rng.integers(*_CARRIER_CHANNELS, endpoint=True)))
        wanted -= width
        first = int(rng.integers(len(_BAND_HZ) - width + 1))
        appearances = [range(N_TIMES)]
        if rng.random() > _PERSISTENT_SHARE:
            n_edges = 2 * int(rng.integers(1, _MOST_APPEARANCES, endpoint=True))
            edges = np.sort(rng.choice(N_TIMES + 1, n_edges, replace=False)).tolist()
            appearances = [range(*spell) for spell in list(pairwise(edges))[::2]]
        carriers.append((range(first, first + width), appearances, _draw_flux(rng, _CARRIER_JY)))
    return carriers


def _draw_burst(rng: np.random.Generator) -> tuple[range, list[range], float]:
    """Draw channels, integrations and flux density of a burst: whole adjacent subbands."""
    n_subbands = int(rng.integers(*_BURST_SUBBANDS, endpoint=True))
    first = int(rng.integers(N_SUBBANDS - n_subbands + 1)) * N_CHANNELS_PER_SUBBAND
    n_times = int(rng.integers(*_BURST_TIMES, endpoint=True))
    start = int(rng.integers(N_TIMES - n_times + 1))
    channels = range(first, first + n_subbands * N_CHANNELS_PER_SUBBAND)
    return channels, [range(start, start + n_times)], _draw_flux(rng, _BURST_JY)


def _draw_flux(rng: np.random.Generator, limits_jy: tuple[float, float]) -> float:
    """Draw a flux density, evenly in its logarithm."""
    return float(np.exp(rng.uniform(*np.log(limits_jy))))


def _antenna_amplitudes(
    events: list[RfiEvent], station: int, seed: int
) -> npt.NDArray[np.complex128]:
    """One station's complex amplitude of each event, equal for the events of an emitter."""
    stream = np.random.SeedSequence(seed, spawn_key=(6, events[0].group, station))
    rng = np.random.default_rng(stream)
    # Drawn by emitter and not by array of strengths and phases: more emitters change nothing.
    n_emitters = max(event.emitter for event in events) + 1
    draws = np.array([(rng.normal(), rng.uniform()) for _ in range(n_emitters)])
    unit = np.exp(_ANTENNA_SCATTER * draws[:, 0] + 2j * np.pi * draws[:, 1])
    return np.array([np.sqrt(event.flux_jy) * unit[event.emitter] for event in events])


def _strongest_event(
    events: list[RfiEvent], freq_hz: Floats, times_jd: Floats
) -> npt.NDArray[np.int64]:
    """Index of the strongest event of each cell, or -1; shape (ntimes, nchan)."""
    half_channel_hz = CHANNEL_WIDTH_HZ / 2
    half_integration_d = INTEGRATION_TIME_S / _SECONDS_PER_DAY / 2
    strongest = np.full((len(times_jd), len(freq_hz)), _NO_EVENT, dtype=np.int64)
    # A stronger event overwrites a weaker one.
    for index in sorted(range(len(events)), key=lambda index: events[index].flux_jy):
        event = events[index]
        in_time = (times_jd > event.first_time_jd - half_integration_d) & (
            times_jd < event.last_time_jd + half_integration_d
        )
        in_freq = (freq_hz > event.first_freq_hz - half_channel_hz) & (
            freq_hz < event.last_freq_hz + half_channel_hz
        )
        strongest[np.ix_(in_time, in_freq)] = index
    return strongest
