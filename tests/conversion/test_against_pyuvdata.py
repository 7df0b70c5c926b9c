"""The converted MS against an independent conversion of the same files by pyuvdata."""

from __future__ import annotations

import fcntl
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from casacore.tables import table
from support.casa_child import CasaRequest, image_peak, in_casa, read_metadata
from support.pyuvdata_oracle import phase_to, read_on_meridian, rewrite

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.write_ms import WriteMsOptions, WriteMsReport, write_ms
from dsa110_contimg.instrument import primary_beam_attenuation

pytestmark = pytest.mark.casa

TESTS = Path(__file__).resolve().parents[1]
N_SUBBANDS = 16
VISIBILITY_TOLERANCE = 1e-5
"""Relative to the visibility: the rotation is single precision (6e-8 per operation)."""
UVW_TOLERANCE_M = 1e-6
"""A thousandth of a turn at 1.5 GHz is 2e-4 m; double precision allows far better."""


@pytest.fixture(scope="module")
def converted(small_night, tmp_path_factory) -> tuple[WriteMsReport, Path, list[Path]]:
    """The first group of the small night, written in this process."""
    files = [Path(f) for f in small_night.files[:N_SUBBANDS]]
    ms = tmp_path_factory.mktemp("converted") / "group.ms"
    report = write_ms(WriteMsOptions(group_id="group", files=files, ms_path=ms, workers=2))
    return report, ms, sorted(files, key=lambda f: f.name[-7:-5], reverse=True)


@pytest.fixture(scope="module")
def oracle(converted):
    """pyuvdata's view of the same group, one object per window, lowest frequency first."""
    report, _, files = converted
    center = np.deg2rad([report.phase_center_ra_deg, report.phase_center_dec_deg])
    return [phase_to(read_on_meridian(path), *center) for path in files]


def test_windows_ascend_in_frequency(converted):
    _, ms, _ = converted
    with table(f"{ms}::SPECTRAL_WINDOW", ack=False) as windows:
        freqs = windows.getcol("CHAN_FREQ")
        assert windows.getcol("NAME") == [f"sb{k:02d}" for k in reversed(range(N_SUBBANDS))]
        assert (windows.getcol("CHAN_WIDTH") > 0).all()
    assert freqs.shape == (N_SUBBANDS, 48)
    assert (np.diff(freqs.ravel()) > 0).all()


def test_files_that_pyuvdata_wrote_anew(converted, tmp_path):
    """Without the axis of windows, compressed flags, a catalogue of phase centres; and locked."""
    _, expected, files = converted
    mixed = [rewrite(path, tmp_path) if spw in (3, 4) else path for spw, path in enumerate(files)]
    with ExitStack() as held:
        for path in mixed:
            fcntl.flock(held.enter_context(path.open("rb")), fcntl.LOCK_EX)
        write_ms(WriteMsOptions(group_id="g", files=mixed, ms_path=tmp_path / "g.ms", workers=2))
    with table(str(expected), ack=False) as one, table(str(tmp_path / "g.ms"), ack=False) as other:
        for name in ("DATA", "FLAG", "UVW", "WEIGHT", "TIME"):
            # The site goes through geocentric metres and back.
            assert np.allclose(one.getcol(name), other.getcol(name), rtol=1e-6, atol=1e-6), name


def test_every_row_agrees_with_pyuvdata(converted, oracle):
    _, ms, _ = converted
    with table(str(ms), ack=False) as main:
        for spw, uvd in enumerate(oracle):
            rows = slice(spw * uvd.Nblts, (spw + 1) * uvd.Nblts)
            part = {
                name: main.getcol(name, rows.start, uvd.Nblts)
                for name in ("DATA", "UVW", "FLAG", "TIME", "INTERVAL", "ANTENNA1", "ANTENNA2")
            }
            # pyuvdata writes ant1 < ant2 to an MS conjugated, with the UVW reversed.
            expected = np.conj(uvd.data_array[:, ::-1])
            assert (
                np.abs(part["DATA"] - expected).max()
                < VISIBILITY_TOLERANCE * np.abs(expected).max()
            )
            error = np.abs(part["DATA"] - expected) / np.maximum(np.abs(expected), 1e-3)
            assert error.max() < VISIBILITY_TOLERANCE
            assert np.abs(part["UVW"] + uvd.uvw_array).max() < UVW_TOLERANCE_M
            np.testing.assert_array_equal(part["FLAG"], uvd.flag_array[:, ::-1])
            np.testing.assert_array_equal(part["ANTENNA1"], uvd.ant_1_array)
            np.testing.assert_array_equal(part["ANTENNA2"], uvd.ant_2_array)
            np.testing.assert_array_equal(part["INTERVAL"], uvd.integration_time)
            mjd_s = (uvd.time_array - 2400000.5) * 86400
            np.testing.assert_array_equal(part["TIME"], mjd_s)
            assert set(main.getcol("DATA_DESC_ID", rows.start, uvd.Nblts)) == {spw}


def test_frequencies_are_exact(converted, oracle):
    _, ms, _ = converted
    with table(f"{ms}::SPECTRAL_WINDOW", ack=False) as windows:
        for freqs, uvd in zip(windows.getcol("CHAN_FREQ"), oracle, strict=True):
            np.testing.assert_array_equal(freqs, uvd.freq_array[::-1])


@pytest.mark.filterwarnings("ignore")
def test_pyuvdata_reads_the_ms_back(converted, oracle):
    from pyuvdata import UVData

    _, ms, _ = converted
    back = UVData()
    back.read_ms(str(ms))
    assert back.Nspws == N_SUBBANDS
    assert back.telescope.name == "OVRO_MMA"
    first = oracle[0]
    assert back.vis_units == first.vis_units == "Jy"
    order = np.lexsort((back.ant_2_array, back.ant_1_array, back.time_array))
    # The MS holds no sign of pyuvdata, which then undoes the conjugation itself.
    window = back.data_array[order][:, back.flex_spw_id_array == 0]
    reference = np.lexsort((first.ant_2_array, first.ant_1_array, first.time_array))
    expected = first.data_array[reference][:, ::-1]
    assert np.abs(window - expected).max() < VISIBILITY_TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(
        back.uvw_array[order], first.uvw_array[reference], atol=UVW_TOLERANCE_M
    )


def test_casatools_reads_the_ms(converted, tmp_path, monkeypatch):
    report, ms, _ = converted
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    seen = in_casa(read_metadata, CasaRequest(ms=ms), tmp_path)
    assert seen.n_spws == N_SUBBANDS
    assert seen.n_rows == N_SUBBANDS * 24 * 36
    assert seen.n_fields == 1
    assert seen.observatory == "OVRO_MMA"
    assert seen.phase_center_deg == pytest.approx(
        (report.phase_center_ra_deg, report.phase_center_dec_deg), abs=1e-9
    )


@pytest.mark.parametrize(("north_deg", "east_deg"), [(0.3, 0.0), (-0.6, 0.8)])
def test_off_centre_source_is_imaged_in_its_place(
    simulate_night, tmp_path, monkeypatch, north_deg, east_deg
):
    """Noise-free, 24 antennas with the outriggers: tclean puts it within one pixel."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    probe = simulate_night(n_antennas=2, sefd_jy=0.0)
    center = Table.read(probe.truth_path)
    ra0_deg, dec0_deg = (
        float(center["phase_center_ra_deg"][0]),
        float(center["phase_center_dec_deg"][0]),
    )
    source = Source(
        name="off",
        ra_deg=ra0_deg + east_deg / np.cos(np.deg2rad(dec0_deg)),
        dec_deg=dec0_deg + north_deg,
        flux_jy=1.0,
    )
    night = simulate_night(n_antennas=24, sefd_jy=0.0, sources=(source,))
    ms = tmp_path / "off.ms"
    files = [Path(f) for f in night.files]
    write_ms(WriteMsOptions(group_id="off", files=files, ms_path=ms, workers=2))
    cell_arcsec = 3.0
    shifted_deg = 40 * cell_arcsec / 3600
    request = CasaRequest(
        ms=ms,
        image_dir=tmp_path,
        ra_deg=source.ra_deg + shifted_deg / np.cos(np.deg2rad(source.dec_deg)),
        dec_deg=source.dec_deg - shifted_deg,
        n_pixels=256,
        cell_arcsec=cell_arcsec,
    )
    peak = in_casa(image_peak, request, tmp_path)
    offset_arcsec = 3600 * np.array(
        [
            (peak.ra_deg - source.ra_deg) * np.cos(np.deg2rad(source.dec_deg)),
            peak.dec_deg - source.dec_deg,
        ]
    )
    assert np.abs(offset_arcsec).max() <= cell_arcsec
    # Below the truth by the primary beam, and by bandwidth and time smearing of a few per cent.
    separation_deg = np.hypot(north_deg, east_deg)
    expected_jy = primary_beam_attenuation(separation_deg, 1.405e9)
    assert peak.flux_jy == pytest.approx(float(expected_jy), rel=0.06)
