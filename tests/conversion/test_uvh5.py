"""Headers: read as written, and every defect refused by name."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import shutil
import warnings
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.permissions import permissions_enforced
from support.subband_files import (
    DEC_RAD,
    Mutation,
    apply,
    edit,
    file_name,
    put,
    start_to_jd,
    write_tiny,
)

from dsa110_contimg import instrument
from dsa110_contimg.conversion.uvh5 import (
    jd_to_utc,
    read_header,
    read_quick_header,
)
from dsa110_contimg.errors import InputError, TransientError

pytestmark = pytest.mark.unit

START = datetime(2026, 1, 25, 12, tzinfo=UTC)
READERS = [read_quick_header, read_header]
FREQS_HZ = instrument.subband_channel_freqs_hz(3)[None, :]
SHAPE = (20, 1, 48, 2)


@pytest.fixture
def sb03(tmp_path: Path) -> Path:
    """A sound file."""
    return write_tiny(tmp_path / file_name(START, 3), 3, START)


def write_part(rows: int, chunks: tuple[int, ...] | None) -> Mutation:
    """Leave visibilities of which only the first rows were ever written."""

    def mutate(file: h5py.File) -> None:
        del file["Data/visdata"]
        data = file["Data"].create_dataset("visdata", SHAPE, np.complex64, chunks=chunks)
        if rows:
            data[:rows] = 1

    return mutate


def write_filtered(file: h5py.File) -> None:
    """Leave visibilities as bitshuffle compresses them; without its plugin they are bytes."""
    del file["Data/visdata"]
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dcpl.set_chunk(SHAPE)
    dcpl.set_filter(32008, h5py.h5z.FLAG_OPTIONAL)
    space, kind = h5py.h5s.create_simple(SHAPE), h5py.h5t.py_create(np.dtype(np.complex64))
    h5py.h5d.create(file["Data"].id, b"visdata", kind, space, dcpl=dcpl)


def with_nan(blocks: np.ndarray, block: int) -> np.ndarray:
    """Spoil the first value of an integration."""
    blocks = blocks.copy()
    blocks[block, 0] = np.nan
    return blocks


def test_quick_header_says_what_was_written(sb03):
    header = read_quick_header(sb03)
    assert (header.subband, header.label, header.ntimes, header.nbls) == (3, "sb03", 2, 10)
    assert header.first_time_jd == start_to_jd(START)
    assert header.pointing_dec_rad == DEC_RAD
    # A Julian date in float64 resolves 40 microseconds.
    assert abs((header.start_utc - START).total_seconds()) < 1e-4


def test_full_header_agrees_with_pyuvdata(small_night):
    """The field's own reader is the oracle; it knows nothing of ours."""
    from pyuvdata import UVData

    path = Path(next(file for file in small_night.files if file.endswith("_sb05.hdf5")))
    header = read_header(path)
    uvd = UVData()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyuvdata has remarks on every real file
        uvd.read_uvh5(str(path), run_check=False)
    nbls = uvd.Nbls
    assert header.data_shape == (uvd.Nblts, 1, uvd.Nfreqs, uvd.Npols)
    assert np.array_equal(header.times_jd, uvd.time_array[::nbls])
    assert np.array_equal(header.freqs_hz, uvd.freq_array)
    assert np.array_equal(header.freqs_hz, instrument.subband_channel_freqs_hz(5))
    assert np.array_equal(header.ant_1_array, uvd.ant_1_array[:nbls])
    assert np.array_equal(header.ant_2_array, uvd.ant_2_array[:nbls])
    assert np.array_equal(header.antenna_numbers, uvd.telescope.antenna_numbers)
    assert list(header.antenna_names) == list(uvd.telescope.antenna_names)
    assert np.array_equal(header.antenna_positions_m, uvd.telescope.antenna_positions)
    assert np.array_equal(header.uvw_m, uvd.uvw_array[:nbls].astype(np.float64))
    assert np.array_equal(header.polarization_array, uvd.polarization_array)
    assert header.pointing_dec_rad == uvd.extra_keywords["phase_center_dec"]
    assert header.telescope_name == uvd.telescope.name
    lat, lon, alt = uvd.telescope.location_lat_lon_alt_degrees
    site = (header.latitude_deg, header.longitude_deg, header.altitude_m)
    # pyuvdata takes the site through geocentric metres and back.
    assert site == pytest.approx((lat, lon, alt), abs=1e-6)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["1 ", "pad-2", "3\t", "D.4"], dtype=h5py.string_dtype()),
        np.array([b"1", b"pad-2 ", b" 3", b"D.4\0\0"], dtype="S8"),
    ],
)
def test_names_of_any_string_type_without_their_padding(sb03, names):
    apply(sb03, put("Header/antenna_names", names))
    apply(sb03, put("Header/telescope_name", np.bytes_("OVRO_MMA  ")))
    header = read_header(sb03)
    assert header.antenna_names == ("1", "pad-2", "3", "D.4")
    assert header.telescope_name == "OVRO_MMA"


def test_julian_date_of_the_real_example():
    # JD .5 is midnight, so .9923315 is 0.4923315 d after it: 11:48:57.4.
    assert jd_to_utc(2460951.9923315).isoformat(timespec="seconds") == "2025-10-03T11:48:57+00:00"


@pytest.mark.parametrize("read", READERS)
class TestFilesThatCannotBeRead:
    def test_missing(self, read, tmp_path):
        with pytest.raises(InputError, match="does not exist") as error:
            read(tmp_path / file_name(START, 3))
        assert error.value.reason == "missing_file"

    def test_empty(self, read, sb03):
        sb03.write_bytes(b"")
        with pytest.raises(InputError, match="is empty") as error:
            read(sb03)
        assert error.value.reason == "empty_file"

    def test_directory(self, read, tmp_path):
        path = tmp_path / file_name(START, 3)
        path.mkdir()
        with pytest.raises(InputError, match="is a directory") as error:
            read(path)
        assert error.value.reason == "is_directory"

    def test_pipe_does_not_block(self, read, tmp_path):
        path = tmp_path / file_name(START, 3)
        os.mkfifo(path)
        with pytest.raises(InputError) as error:
            read(path)
        assert error.value.reason == "not_a_file"

    def test_not_hdf5(self, read, sb03):
        sb03.write_bytes(b"SIMPLE  =                    T" * 1000)
        with pytest.raises(InputError, match="is not an HDF5 file") as error:
            read(sb03)
        assert error.value.reason == "not_hdf5"

    @pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9, 0.9999])
    def test_truncated(self, read, sb03, fraction):
        os.truncate(sb03, int(sb03.stat().st_size * fraction))
        with pytest.raises(InputError, match="is truncated") as error:
            read(sb03)
        assert error.value.reason == "truncated_file"
        assert "copy it again" in error.value.remedy

    def test_not_permitted(self, read, sb03):
        sb03.chmod(0)
        with permissions_enforced(), pytest.raises(InputError) as error:
            read(sb03)
        assert error.value.reason == "permission_denied"

    def test_a_lock_says_nothing(self, read, sb03):
        """Not every file system has locks; what is only read is read without one."""
        with sb03.open("rb+") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            assert read(sb03).subband == 3

    @pytest.mark.parametrize("flush", [False, True])
    def test_a_file_says_itself_that_it_is_being_written(self, read, tmp_path, flush):
        path = tmp_path / file_name(START, 3)
        with h5py.File(tmp_path / "open.hdf5", "w", libver="latest") as file:
            file.create_dataset("times", (0,), "f4", maxshape=(None,)).resize(1000, axis=0)
            if flush:
                file.flush()
            # Within one process HDF5 would share the open file.
            shutil.copy(file.filename, path)
        with pytest.raises(InputError, match="is being written") as error:
            read(path)
        assert error.value.reason == ("unclosed_file" if flush else "truncated_file")

    def test_out_of_descriptors_is_not_the_files_fault(self, read, sb03):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            with pytest.raises(TransientError, match="Too many open files"):
                read(sb03)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_misnamed(self, read, sb03):
        with pytest.raises(InputError) as error:
            read(sb03.rename(sb03.with_name("2026-01-25T12:00:00_sb16.hdf5")))
        assert error.value.reason == "bad_name"


QUICK_ITEMS = [
    "Ntimes",
    "Nbls",
    "Nblts",
    "time_array",
    "integration_time",
    "freq_array",
    "extra_keywords/phase_center_dec",
]
FULL_ITEMS = [
    "ant_1_array",
    "ant_2_array",
    "Nants_telescope",
    "antenna_numbers",
    "antenna_names",
    "antenna_positions",
    "latitude",
    "longitude",
    "altitude",
    "telescope_name",
    "phase_type",
    "polarization_array",
    "uvw_array",
]


@pytest.mark.parametrize(
    ("item", "read"),
    [(item, read) for item in QUICK_ITEMS for read in READERS]
    + [(item, read_header) for item in FULL_ITEMS],
)
@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        (None, {"missing_item"}),
        (np.array(b"\xff\xfe"), {"garbled_item", "wrong_shape"}),
        (np.float32(np.nan), {"garbled_item", "wrong_shape", "wrong_channels"}),
    ],
    ids=["missing", "bytes", "NaN"],
)
def test_missing_or_garbled_item(sb03, item, read, value, reasons):
    apply(sb03, put(f"Header/{item}", value))
    with pytest.raises(InputError, match=str(sb03)) as error:
        read(sb03)
    assert error.value.reason in reasons
    assert item in error.value.message


QUICK_DEFECTS: dict[str, tuple[str, Mutation]] = {
    "47 channels": ("wrong_channels", put("Header/freq_array", FREQS_HZ[:, 1:])),
    "another subband": (
        "wrong_frequencies",
        put("Header/freq_array", instrument.subband_channel_freqs_hz(4)[None, :]),
    ),
    "a fifth of a channel off": (
        "wrong_frequencies",
        put("Header/freq_array", FREQS_HZ + instrument.CHANNEL_WIDTH_HZ / 5),
    ),
    "ascending frequencies": ("wrong_frequencies", put("Header/freq_array", FREQS_HZ[:, ::-1])),
    "rows missing": ("irregular_rows", put("Header/Nblts", 19)),
    "no integrations": ("garbled_item", put("Header/Ntimes", 0)),
    "half an integration": ("garbled_item", put("Header/Ntimes", 0.5)),
    "first time NaN": ("garbled_item", edit("time_array", lambda t: with_nan(t, 0))),
    "modified Julian dates": ("garbled_item", edit("time_array", lambda t: t - 2400000.5)),
    "integrations of 1 s": ("wrong_integration_time", edit("integration_time", np.ones_like)),
    "degrees": ("garbled_item", put("Header/extra_keywords/phase_center_dec", 54.573)),
}

FULL_DEFECTS: dict[str, tuple[str, Mutation]] = {
    "baseline-major": (
        "irregular_rows",
        edit("time_array", lambda t: np.sort(t.ravel())[np.arange(20).reshape(10, 2).T.ravel()]),
    ),
    "time reversed": ("irregular_rows", edit("time_array", lambda t: t[::-1])),
    "a time twice": ("irregular_rows", edit("time_array", lambda t: t[[0, 0]])),
    "a later NaN": ("garbled_item", edit("time_array", lambda t: with_nan(t, 1))),
    "an integration of another length": (
        "irregular_rows",
        edit("integration_time", lambda t: t * [[1.0], [1.001]]),
    ),
    "another baseline order": (
        "irregular_rows",
        edit("ant_1_array", lambda a: np.stack([a[0], a[1, ::-1]])),
    ),
    "a baseline twice": ("irregular_rows", edit("ant_2_array", lambda a: np.full_like(a, 3))),
    "an antenna without position": ("garbled_item", edit("ant_2_array", lambda a: a + 1)),
    "an antenna number twice": (
        "garbled_item",
        put("Header/antenna_numbers", np.array([0, 1, 2, 2])),
    ),
    **{
        f"an antenna named {name!r}": (
            "bad_antenna_name",
            put("Header/antenna_names", np.array(["1", name, "3", "4"], h5py.string_dtype())),
        )
        for name in (
            "3",
            " 3",
            " ",
            "pad 2",
            "../2",
            "-2",
            "`id`",
            "[b]",
            "é",
            "2" * 33,
            *"*!&,~;@$",
        )
    },
    "antennas with numbers for names": ("garbled_item", put("Header/antenna_names", np.arange(4))),
    "a telescope without a name": ("bad_telescope_name", put("Header/telescope_name", b" ")),
    "a telescope with mark-up": ("bad_telescope_name", put("Header/telescope_name", b"<b>DSA")),
    "YY before XX": ("wrong_polarizations", put("Header/polarization_array", np.array([-6, -5]))),
    "UVW that follow a source": (
        "wrong_phase_state",
        edit("uvw_array", lambda u: u * np.array([1, 1.01], u.dtype)[:, None, None]),
    ),
    "phased": ("wrong_phase_state", put("Header/phase_type", np.bytes_("phased"))),
    "hour angle of a degree": (
        "wrong_phase_state",
        put("Header/extra_keywords/ha_phase_center", np.deg2rad(1.0)),
    ),
    "latitude 123 deg": ("garbled_item", put("Header/latitude", 123.0)),
    "no visibilities": ("missing_item", put("Data/visdata")),
    "future shape of one array": (
        "wrong_shape",
        put("Data/visdata", np.zeros((20, 48, 2), np.complex64)),
    ),
    "no phase state": ("missing_item", put("Header/phase_type")),
    "phased by pyuvdata": (
        "wrong_phase_state",
        lambda file: (
            put("Header/phase_type")(file),
            file.__setitem__("Header/phase_center_catalog/0/cat_type", b"sidereal"),
        ),
    ),
    "a baseline in both orders": (
        "irregular_rows",
        lambda file: (
            file["Header/ant_1_array"].__setitem__([1, 11], 2),
            file["Header/ant_2_array"].__setitem__([1, 11], 0),
        ),
    ),
    "an antenna with data at NaN": (
        "garbled_item",
        lambda file: file["Header/antenna_positions"].__setitem__((1, 2), np.nan),
    ),
    "a filter that is not installed": ("missing_filter", write_filtered),
    "double precision": ("wrong_type", put("Data/visdata", np.zeros(SHAPE, np.complex128))),
    "flags of one polarization": ("wrong_shape", put("Data/flags", np.zeros((20, 1, 48, 1), bool))),
    "never written": ("missing_data", write_part(0, chunks=None)),
    "half written": ("missing_data", write_part(10, chunks=(5, 1, 48, 2))),
}


def test_what_is_missing_or_twice_is_named(sb03):
    apply(sb03, FULL_DEFECTS["a filter that is not installed"][1])
    with pytest.raises(InputError, match=r"'bitshuffle' \(HDF5 filter 32008\)") as error:
        read_header(sb03)
    assert error.value.remedy == "install the package hdf5plugin"
    write_tiny(sb03, 3, START)
    apply(sb03, FULL_DEFECTS["a baseline in both orders"][1])
    with pytest.raises(InputError, match="in both orders: antennas 0 and 2"):
        read_header(sb03)
    apply(sb03, put("Header/freq_array", FREQS_HZ[:, ::-1]))
    with pytest.raises(InputError, match="sb03 in ascending order") as error:
        read_header(sb03)
    assert error.value.remedy == "use the file as the correlator wrote it"


def test_a_station_without_data_and_without_a_position(sb03):
    def mutate(file: h5py.File) -> None:
        for name, value in {"antenna_numbers": 9, "antenna_names": b"9"}.items():
            values = np.append(file[f"Header/{name}"][()], value)
            put(f"Header/{name}", values)(file)
        positions = file["Header/antenna_positions"][()]
        put("Header/antenna_positions", np.vstack([positions, [np.nan] * 3]))(file)
        put("Header/Nants_telescope", 5)(file)

    apply(sb03, mutate)
    assert read_header(sb03).antenna_positions_m[4].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("defect", QUICK_DEFECTS)
def test_defect_that_both_readers_see(sb03, defect, read):
    reason, mutate = QUICK_DEFECTS[defect]
    apply(sb03, mutate)
    with pytest.raises(InputError, match=str(sb03)) as error:
        read(sb03)
    assert error.value.reason == reason


@pytest.mark.parametrize("defect", FULL_DEFECTS)
def test_defect_that_only_conversion_sees(sb03, defect):
    reason, mutate = FULL_DEFECTS[defect]
    apply(sb03, mutate)
    with pytest.raises(InputError, match=str(sb03)) as error:
        read_header(sb03)
    assert error.value.reason == reason


def test_damage_anywhere_is_named_or_harmless(sb03):
    """Garbage over any part of the structure never escapes as an error of h5py."""
    rng = np.random.default_rng(2)
    sound = sb03.read_bytes()
    with h5py.File(sb03) as file:
        structure = min(file[f"Data/{name}"].id.get_offset() for name in file["Data"])
    reasons = Counter()
    for _ in range(500):
        damaged = bytearray(sound)
        place = int(rng.integers(0, structure))
        damaged[place : place + 16] = rng.bytes(16)
        sb03.write_bytes(damaged)
        try:
            read_header(sb03)
        except InputError as error:
            reasons[error.reason] += 1
    assert reasons["damaged_file"] > 50
    assert reasons["garbled_item"] > 0


def test_damaged_index_of_groups_and_chunks_is_named(sb03):
    """Of every B-tree in the file, h5py answers with KeyError, OSError or RuntimeError."""
    apply(sb03, write_part(20, chunks=(1, 1, 12, 1)))
    sound = sb03.read_bytes()
    trees = [match.start() for match in re.finditer(b"TREE", sound)]
    assert len(trees) >= 4  # Header, extra_keywords, Data and the chunks
    for place in trees:
        sb03.write_bytes(sound[:place] + b"EERT" + sound[place + 4 :])
        with pytest.raises(InputError, match="is damaged") as error:
            read_header(sb03)
        assert error.value.reason == "damaged_file"


def test_garbled_shape_does_not_fill_the_memory(sb03):
    with h5py.File(sb03, "a") as file:
        del file["Header/freq_array"]
        file["Header"].create_dataset("freq_array", (1, 10**12), np.float64)
    with pytest.raises(InputError) as error:
        read_quick_header(sb03)
    assert error.value.reason == "wrong_shape"
