"""Damaged files by the hundred: refused with a reason, or converted to what they really hold.

What is published is compared with the samples as they stand in the file (read from their
places without HDF5) and with the geometry of the intact group by pyuvdata. So a flipped bit
of a sample, which nobody can know, must be in the MS as it is in the file; one in the header
must not be in the MS at all.

One thing nobody can know either: the address of a chunk with a bit flipped so that it begins
a little later and ends in the index behind it, without touching another chunk. These are
counted, not compared; a few dozen bits of a file can do it.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.damage import (
    BitFlips,
    Damage,
    Garbage,
    IntactFile,
    OneElement,
    Replaced,
    Shift,
    Stranger,
    Truncation,
)
from support.damage_tasks import (
    DamagedHeaders,
    NightOptions,
    NightOutcome,
    convert_night,
    read_damaged_headers,
)
from support.faults import LONG_FORM, report_figures
from support.pyuvdata_oracle import phase_to, read_on_meridian

from dsa110_contimg.conversion.groups import find_groups
from dsa110_contimg.conversion.models import SubbandGroup
from dsa110_contimg.instrument import (
    CHANNEL_WIDTH_HZ,
    N_SUBBANDS,
    SPEED_OF_LIGHT_M_S,
    subband_channel_freqs_hz,
)
from dsa110_contimg.processes import run_in_child
from dsa110_contimg.simulation.night import DEFAULT_START, SimulationOptions, simulate
from dsa110_contimg.storage.publish import read_manifest

pytestmark = [pytest.mark.fault, pytest.mark.alone, pytest.mark.slow]

N_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1500" if LONG_FORM else "25"))
N_HEADERS = 20_000 if LONG_FORM else 300
FREQ_TOLERANCE_HZ = CHANNEL_WIDTH_HZ / 10
"""What a file may be off in frequency; its window then bears what the file says."""
VISIBILITY_TOLERANCE = 1e-5
"""Relative; the rotation is in single precision, 6e-8 per operation."""
SHIFTED_TOLERANCE = 3e-3
"""Relative, where a frequency is off: 3 kHz on 30 m between meridian and centre, in radians."""
UVW_TOLERANCE_M = 1e-6
WEIGHT_TOLERANCE = 1e-5
"""Relative: a sum of 48 numbers in single precision."""
LARGEST_VISIBILITY, MOST_COUNTS = 1e38, 1e6
"""What is beyond counts as not finite, or as no count."""
MAX_GAP_BYTES = 12000
"""Between the chunks of these files stand their indexes."""
STRANGERS = ("another subband", "another array", "another time", "another declination")


@dataclass(frozen=True, repr=False)
class Truth:
    """The intact group as pyuvdata sees it, and its files."""

    folder: Path
    files: dict[str, IntactFile]
    """Subband to file."""
    freqs_hz: dict[str, np.ndarray]
    """Subband to channels, ascending."""
    delta_w_s: np.ndarray
    """By row: the way from the meridian to the phase centre, in seconds of light."""
    columns: dict[str, np.ndarray]
    """Columns of the MS that are the same for every window."""
    center_rad: np.ndarray
    """Phase centre."""


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    """Make the intact group, strangers for all its files, and what its MS must hold."""
    root = tmp_path_factory.mktemp("damaged")
    nights: dict[str, dict[str, object]] = {
        "intact": {},
        "another array": {"n_antennas": 3},
        "another time": {"start": DEFAULT_START + timedelta(seconds=12.88)},
        "another declination": {"dec_deg": 40.0},
    }
    made = {}
    for kind, options in nights.items():
        place = root / f"made for {kind}"
        simulate(
            SimulationOptions(output_dir=place, **{"n_antennas": 4, "sefd_jy": 10.0, **options})
        )
        made[kind] = find_groups(place).groups[0]
    intact = made["intact"]
    made["another subband"] = intact.model_copy(
        update={"files": intact.files[1:] + intact.files[:1]}
    )
    for kind, group in made.items():
        (root / kind).mkdir()
        for path, stands_for in zip(group.files, intact.files, strict=True):
            os.link(path, root / kind / Path(stands_for).name)
    return look_at_intact(root / "intact")


def look_at_intact(folder: Path) -> Truth:
    """Have pyuvdata say what the MS must hold; only the choice of the phase centre is ours."""
    (group,) = find_groups(folder).groups
    output = folder.with_name("converted")
    run_night(folder, output)
    (ms,) = output.glob("*/*.ms")
    manifest = read_manifest(ms)
    center_rad = np.deg2rad([manifest.phase_center_ra_deg, manifest.phase_center_dec_deg])
    uvd = read_on_meridian(Path(group.files[0]))
    w_before = uvd.uvw_array[:, 2].copy()
    phase_to(uvd, *center_rad)
    files = {
        sb: IntactFile(Path(path)) for sb, path in zip(group.present, group.files, strict=True)
    }
    return Truth(
        folder=folder,
        files=files,
        freqs_hz={
            sb: subband_channel_freqs_hz(number)[::-1] for number, sb in enumerate(group.present)
        },
        delta_w_s=(uvd.uvw_array[:, 2] - w_before) / SPEED_OF_LIGHT_M_S,
        columns={
            "UVW": -uvd.uvw_array,
            "TIME": (uvd.time_array - 2400000.5) * 86400,
            "ANTENNA1": uvd.ant_1_array,
            "ANTENNA2": uvd.ant_2_array,
            "INTERVAL": uvd.integration_time,
        },
        center_rad=center_rad,
    )


def run_night(folder: Path, output: Path) -> NightOutcome:
    """Find and convert in a child: whatever HDF5 does there, its end is seen."""
    return run_in_child(
        convert_night,
        NightOptions(input_dir=folder, output_dir=output, sandbox_root=output / "sandboxes"),
        timeout_s=120.0,
        log_path=output / "night.log",
        warm=True,
    )


# ---- what can happen to a file ----

FRACTIONS = st.floats(0, 1, allow_nan=False)
OFFSETS_S = st.sampled_from([1e-4, 5e-4, 2e-3, 0.1, 1.0, 6.0, 12.88, 300.0, 86400.0])
SIGNS = st.sampled_from([-1.0, 1.0])
ARRAYS = (
    "time_array",
    "integration_time",
    "freq_array",
    "ant_1_array",
    "ant_2_array",
    "antenna_numbers",
    "antenna_positions",
    "uvw_array",
    "polarization_array",
)
ITEMS = (
    *(f"Header/{name}" for name in ARRAYS),
    "Header/Ntimes",
    "Header/Nbls",
    "Header/Nblts",
    "Header/Nants_telescope",
    "Header/antenna_names",
    "Header/latitude",
    "Header/telescope_name",
    "Header/phase_type",
    "Header/extra_keywords/phase_center_dec",
    "Data/visdata",
    "Data/flags",
    "Data/nsamples",
)


def shifts() -> st.SearchStrategy[Damage]:
    """Times, frequencies and pointings beside the right ones, by little and by much."""
    by_item = {
        "time_array": OFFSETS_S.map(lambda seconds: seconds / 86400),
        "freq_array": st.sampled_from([1.0, 1e3, 2.9e3, 5e3, 30.5e3, 1.46e6, 11.7e6]),
        "extra_keywords/phase_center_dec": st.sampled_from([5e-7, 2e-6, 1e-3, 0.3]),
        "antenna_positions": st.sampled_from([5e-4, 2e-3, 1.0, 1e6]),
        "latitude": st.sampled_from([5e-9, 1e-6, 1.0]),
        "integration_time": st.sampled_from([5e-4, 5e-3, 1.0, 12.0]),
    }
    return st.one_of(
        st.builds(Shift, st.just(item), st.builds(float.__mul__, SIGNS, sizes))
        for item, sizes in by_item.items()
    )


def elements() -> st.SearchStrategy[Damage]:
    """One wrong element of an array."""
    values = st.sampled_from([0.0, 1.0, -1.0, 1e-3, 7.0, 1e6, 1e18])
    return st.builds(OneElement, st.sampled_from(ARRAYS), FRACTIONS, values, st.booleans())


def strange_items() -> st.SearchStrategy[Damage]:
    """Items that are gone, or of another type or shape."""
    values = st.sampled_from([None, b"text", -1, 0, 10**6, 1.5, float("nan"), [], [[1, 2], [3, 4]]])
    return st.builds(Replaced, st.sampled_from(ITEMS), values)


def flips(*, in_data: bool) -> st.SearchStrategy[Damage]:
    """A few wrong bits."""
    places = st.lists(st.tuples(FRACTIONS, st.integers(0, 7)), min_size=1, max_size=6)
    return st.builds(BitFlips, st.just(in_data), places.map(tuple))


DAMAGES = st.one_of(
    flips(in_data=False),
    flips(in_data=True),
    st.builds(Truncation, FRACTIONS),
    st.builds(Garbage, FRACTIONS, st.sampled_from([1, 8, 512, 4096, 60000]), st.integers(0, 99)),
    shifts(),
    elements(),
    strange_items(),
    st.builds(Stranger, st.sampled_from(STRANGERS)),
)
DAMAGED_FILES = st.dictionaries(st.integers(0, N_SUBBANDS - 1), DAMAGES, min_size=1, max_size=3)
ALL_OVER_THE_SAMPLES = tuple((step / 199, step % 8) for step in range(200))
OUTCOMES: Counter[str] = Counter()


@settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(damages=DAMAGED_FILES)
@example(damages={})
@example(damages=dict.fromkeys((0, 7, 15), Stranger("another declination")))
@example(damages=dict.fromkeys((0, 7, 15), Stranger("another array")))
@example(damages=dict.fromkeys((0, 7, 15), Stranger("another time")))
@example(damages=dict.fromkeys((0, 7, 15), Stranger("another subband")))
@example(damages={15: Shift("antenna_positions", 5e-4)})
@example(damages={15: Shift("time_array", 5e-4 / 86400)})
@example(damages={15: Shift("extra_keywords/phase_center_dec", 5e-7)})
@example(damages=dict.fromkeys(range(16), BitFlips(True, ALL_OVER_THE_SAMPLES)))
def test_damaged_files_never_make_a_wrong_ms(truth, damages):
    with tempfile.TemporaryDirectory(prefix="damaged-") as scratch:
        incoming, output = Path(scratch) / "incoming", Path(scratch) / "ms"
        incoming.mkdir()
        damaged = {}
        for number, intact in enumerate(truth.files.values()):
            path = incoming / intact.path.name
            if number in damages:
                damages[number].apply(path, intact)
                damaged[path.name] = damages[number]
            else:
                os.link(intact.path, path)
        check_night(truth, run_night(incoming, output), damaged)


def test_damaged_headers_are_read_or_refused(truth, tmp_path):
    """Bits flipped outside the samples: HDF5 neither crashes nor hangs, whatever it meets."""
    intact = next(iter(truth.files.values()))
    answer = run_in_child(
        read_damaged_headers,
        DamagedHeaders(intact=intact.path, scratch=tmp_path, count=N_HEADERS),
        timeout_s=60 + 0.2 * N_HEADERS,
        log_path=tmp_path / "log",
        warm=True,
    )
    report_figures(f"{N_HEADERS} damaged headers: {answer.outcomes}")
    assert sum(answer.outcomes.values()) == N_HEADERS
    assert answer.outcomes["read"] > N_HEADERS / 10
    assert answer.outcomes["damaged_file"] > 0


def test_figures_of_the_fuzz():
    """Comes last: what became of the damaged files."""
    report_figures(f"damaged inputs, {N_EXAMPLES} examples: {dict(OUTCOMES.most_common())}")
    assert OUTCOMES["converted"] > 0
    assert OUTCOMES["file refused"] > 0


def check_night(truth: Truth, outcome: NightOutcome, damaged: dict[str, Damage]) -> None:
    """Check that every file is accounted for, every failure named and every MS right."""
    listed = [Path(file) for group in outcome.groups for file in group.group.files]
    refused = {Path(reject.file): reject.reason for reject in outcome.rejects}
    assert {path.name for path in [*listed, *refused]} == {
        f.path.name for f in truth.files.values()
    }
    for path, reason in refused.items():
        assert path.name in damaged, f"{path.name} is intact, but: {reason}"
        assert len(reason) > 10
        OUTCOMES["file refused"] += 1
    for group in outcome.groups:
        OUTCOMES[group.outcome + (f" {group.reason}" if group.reason else "")] += 1
        if group.outcome == "converted":
            check_ms(truth, group.group, damaged)
        elif group.outcome != "rejected":
            assert group.outcome == "InputError", f"taken for transient: {group.message}"
            culprits = {Path(file).name for file in group.group.files} & set(damaged)
            assert any(name in group.message for name in culprits), group.message


def check_ms(truth: Truth, group: SubbandGroup, damaged: dict[str, Damage]) -> None:
    """Compare an MS with the samples in its files and the geometry of the intact group."""
    folder = Path(group.files[0]).parents[1] / "ms"
    (ms,) = (path for path in folder.glob(f"*/{group.group_id}.ms"))
    assert read_manifest(ms) is not None
    subbands = list(reversed(group.present))
    n_rows = len(truth.delta_w_s)
    with table(f"{ms}::FIELD", ack=False) as field:
        center_rad = field.getcol("PHASE_DIR")[0, 0] % (2 * np.pi)
    np.testing.assert_allclose(center_rad, truth.center_rad, atol=1e-12)
    with table(f"{ms}::SPECTRAL_WINDOW", ack=False) as windows:
        assert windows.getcol("NAME") == subbands
        freqs_hz = windows.getcol("CHAN_FREQ")
    with table(str(ms), ack=False) as main:
        assert main.nrows() == n_rows * len(subbands)
        for spw, subband in enumerate(subbands):
            names = ("DATA", "FLAG", "WEIGHT", "SIGMA", "DATA_DESC_ID", *truth.columns)
            found = {name: main.getcol(name, spw * n_rows, n_rows) for name in names}
            assert set(found["DATA_DESC_ID"]) == {spw}
            is_exact = np.array_equal(freqs_hz[spw], truth.freqs_hz[subband])
            np.testing.assert_allclose(
                freqs_hz[spw], truth.freqs_hz[subband], atol=FREQ_TOLERANCE_HZ, rtol=0
            )
            for name, values in truth.columns.items():
                tolerance = UVW_TOLERANCE_M if name == "UVW" else 0
                np.testing.assert_allclose(found[name], values, atol=tolerance, rtol=0)
            path = Path(group.files[group.present.index(subband)])
            if path.name in damaged and is_moved_unseen(truth.files[subband], path):
                OUTCOMES["chunk moved into its index"] += 1
                continue
            check_samples(truth, subband, path.read_bytes(), found, is_exact=is_exact)


def is_moved_unseen(intact: IntactFile, path: Path) -> bool:
    """Tell whether a chunk begins a little later, in a gap of the file."""
    distances = [d for moved in intact.moved_chunks(path).values() for d in moved]
    assert all(0 < distance < MAX_GAP_BYTES for distance in distances), "far from its place"
    return bool(distances)


def check_samples(
    truth: Truth, subband: str, content: bytes, found: dict[str, np.ndarray], *, is_exact: bool
) -> None:
    """Compare the rows of one window with the bytes of its file."""
    stored = truth.files[subband].samples(content)
    with np.errstate(all="ignore"):
        vis = stored["visdata"][:, ::-1].astype(np.complex128)
        bad = ~(np.abs(vis.real) + np.abs(vis.imag) < LARGEST_VISIBILITY)
        vis[bad] = 0
        turns = np.outer(truth.delta_w_s, truth.freqs_hz[subband])
        expected = np.conj(vis * np.exp(-2j * np.pi * turns)[:, :, None])
        counts = stored["nsamples"].astype(np.float64)
        weight = np.where((counts > 0) & (counts < MOST_COUNTS), counts, 0).mean(axis=1)
        sigma = np.where(weight > 0, weight**-0.5, 0)
    np.testing.assert_array_equal(found["FLAG"], (stored["flags"][:, ::-1] != 0) | bad)
    tolerance = VISIBILITY_TOLERANCE if is_exact else SHIFTED_TOLERANCE
    error = np.abs(found["DATA"] - expected)
    assert np.all(error <= tolerance * np.abs(expected) + 1e-37), f"{subband}: other data"
    np.testing.assert_allclose(found["WEIGHT"], weight, rtol=WEIGHT_TOLERANCE)
    np.testing.assert_allclose(found["SIGMA"], sigma, rtol=WEIGHT_TOLERANCE)
