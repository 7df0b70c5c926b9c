"""Reading, rotating and averaging one window, against the measurement equation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from support.point_source import TARGET

from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.imaging.image_source import image_source
from dsa110_contimg.imaging.models import CleanOptions, ImageSourceOptions
from dsa110_contimg.instrument import SPEED_OF_LIGHT_M_S
from dsa110_contimg.storage.files import make_writable
from dsa110_contimg.visibilities.directions import uvw_axes, uvw_rotation
from dsa110_contimg.visibilities.models import Averaging
from dsa110_contimg.visibilities.ms_info import read_ms_info
from dsa110_contimg.visibilities.primary_beam import source_response
from dsa110_contimg.visibilities.window import (
    Window,
    average_window,
    read_window,
)

pytestmark = [pytest.mark.casa, pytest.mark.usefixtures("private_places")]

SPW = 8


@pytest.fixture(scope="module")
def info(point_source_ms):
    return read_ms_info(point_source_ms)


@pytest.fixture(scope="module")
def window(point_source_ms, info) -> Window:
    return read_window(point_source_ms, info, info.spws[SPW])


def to_target(info, ra_deg=TARGET.ra_deg, dec_deg=TARGET.dec_deg):
    """By the textbook; `directions.uvw_rotation` allows for the moving Earth as well."""
    return uvw_axes(ra_deg, dec_deg) @ uvw_axes(info.center_ra_deg, info.center_dec_deg).T


def weighted_mean(window: Window) -> complex:
    return complex(np.sum(window.data * window.weight) / np.sum(window.weight))


def direct_fourier_sum(window: Window, info) -> complex:
    """Flux density at the target: mean of V exp(-2 pi i (u l + v m + w (n - 1)) nu / c)."""
    ra, dec = np.deg2rad([TARGET.ra_deg, TARGET.dec_deg])
    ra_0, dec_0 = np.deg2rad([info.center_ra_deg, info.center_dec_deg])
    l_cos = np.cos(dec) * np.sin(ra - ra_0)
    m_cos = np.sin(dec) * np.cos(dec_0) - np.cos(dec) * np.sin(dec_0) * np.cos(ra - ra_0)
    lmn = np.array([l_cos, m_cos, np.sqrt(1 - l_cos**2 - m_cos**2) - 1])
    cycles = (window.uvw_m @ lmn)[:, None] * window.freqs_hz / SPEED_OF_LIGHT_M_S
    rotated = window.data * np.exp(-2j * np.pi * cycles)[:, :, None]
    return complex(np.sum(rotated * window.weight) / np.sum(window.weight))


def test_window_is_what_the_table_holds(point_source_ms, window):
    with table(str(point_source_ms), ack=False) as ms:
        rows = np.flatnonzero(ms.getcol("DATA_DESC_ID") == SPW)
        data, uvw = ms.getcol("DATA")[rows], ms.getcol("UVW")[rows]
    cross = window.antenna1 != window.antenna2
    assert np.array_equal(window.data[cross], data[cross])
    assert np.array_equal(window.uvw_m, uvw)
    assert (window.weight[cross] > 0).all()
    assert not window.weight[~cross].any()
    assert window.flagged_fraction == 0.0


def test_rotation_is_a_rotation_that_takes_w_to_the_source(info):
    rotation = uvw_rotation(info, TARGET)
    # Aberration and the frame's turn: half an arcsec for a source a degree away.
    assert rotation == pytest.approx(to_target(info), abs=1e-4)
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-10)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@pytest.mark.parametrize("averaging", [(1, 1), (12, 4), (48, 24), (7, 5)])
def test_averaging_keeps_the_flux_density_at_the_source(window, info, averaging):
    channels, integrations = averaging
    averaged = average_window(
        window, to_target(info), Averaging(channels=channels, integrations=integrations)
    )
    expected = direct_fourier_sum(window, info)
    # Single precision; and nothing is lost by averaging what is constant.
    assert weighted_mean(averaged) == pytest.approx(expected, rel=3e-6)
    truth_jy = float(TARGET.flux_at(info.spws[SPW].freq_hz)) * source_response(
        TARGET, info, info.spws[SPW].freq_hz
    )
    assert expected.real == pytest.approx(truth_jy, rel=0.003)
    n_baselines = 16 * 17 // 2
    assert averaged.data.shape == (-(-24 // integrations) * n_baselines, -(-48 // channels), 2)
    assert averaged.weight.sum() == pytest.approx(window.weight.sum(), rel=1e-6)
    assert averaged.widths_hz.sum() == pytest.approx(window.widths_hz.sum())
    total_s = n_baselines * 24 * window.interval_s[0]
    assert averaged.interval_s.sum() == pytest.approx(total_s)


def test_no_averaging_and_no_rotation_change_nothing(window):
    same = average_window(window, np.eye(3), Averaging(channels=1, integrations=1))

    def key(w: Window):
        return np.lexsort((w.antenna2, w.antenna1, w.time_mjd_s))

    old, new = key(window), key(same)
    assert np.array_equal(same.uvw_m[new], window.uvw_m[old])
    assert np.array_equal(same.weight[new], window.weight[old])
    assert same.data[new] == pytest.approx(window.data[old], rel=1e-6)
    assert np.array_equal(same.freqs_hz, window.freqs_hz)


def test_flags_take_no_part(window, info):
    weight = window.weight.copy()
    weight[:, ::3] = 0.0
    weight[::7] = 0.0
    spoilt = window.data.copy()
    spoilt[weight == 0.0] = 1e6
    flagged = Window(**{**vars(window), "weight": weight, "data": spoilt})
    averaged = average_window(flagged, to_target(info), Averaging())
    assert weighted_mean(averaged) == pytest.approx(direct_fourier_sum(flagged, info), rel=3e-6)
    assert flagged.flagged_fraction == pytest.approx(1 - (2 / 3) * (6 / 7), abs=0.002)


def test_rows_in_any_order_give_the_same(own_ms, window, info):
    """The rows of a window need not be contiguous, nor in order of time."""
    rng = np.random.default_rng(5)
    with table(str(own_ms), readonly=False, ack=False) as ms:
        order = rng.permutation(ms.nrows())
        for name in ("DATA_DESC_ID", "TIME", "ANTENNA1", "ANTENNA2", "UVW", "DATA", "INTERVAL"):
            ms.putcol(name, ms.getcol(name)[order])
    shuffled = read_window(own_ms, read_ms_info(own_ms), info.spws[SPW])
    options = Averaging()
    first = average_window(window, to_target(info), options)
    second = average_window(shuffled, to_target(info), options)
    assert np.array_equal(first.antenna1, second.antenna1)
    assert np.array_equal(first.antenna2, second.antenna2)
    assert second.uvw_m == pytest.approx(first.uvw_m, abs=1e-9)
    assert second.data == pytest.approx(first.data, abs=1e-5)


def test_weights_per_channel_are_used(own_ms, info):
    spectrum = np.linspace(0.5, 1.5, 48, dtype=np.float32)
    with table(str(own_ms), readonly=False, ack=False) as ms:
        description = ms.getcoldesc("DATA")
        description.update(valueType="float", dataManagerGroup="w", dataManagerType="")
        ms.addcols({"WEIGHT_SPECTRUM": description}, {"TYPE": "TiledShapeStMan", "NAME": "w"})
        shape = (ms.nrows(), 48, 2)
        ms.putcol("WEIGHT_SPECTRUM", np.broadcast_to(spectrum[:, None], shape).copy())
    window = read_window(own_ms, info, info.spws[SPW])
    row = np.flatnonzero(window.antenna1 != window.antenna2)[0]
    assert np.array_equal(window.weight[row, :, 0], spectrum)


def test_a_window_without_rows_is_refused(own_ms, info):
    with table(str(own_ms), readonly=False, ack=False) as ms:
        ids = ms.getcol("DATA_DESC_ID")
        ms.putcol("DATA_DESC_ID", np.where(ids == SPW, SPW + 1, ids))
    with pytest.raises(ScienceQualityError) as caught:
        read_window(own_ms, info, info.spws[SPW])
    assert caught.value.reason == "no_rows"


@pytest.mark.parametrize("by", ["FLAG", "FLAG_ROW", "DATA"])
def test_a_window_without_good_data_is_refused(own_ms, info, by):
    with table(str(own_ms), readonly=False, ack=False) as ms:
        values = ms.getcol(by)
        ms.putcol(by, np.full_like(values, np.nan if by == "DATA" else True))
    with pytest.raises(ScienceQualityError) as caught:
        read_window(own_ms, info, info.spws[SPW])
    assert caught.value.reason == "all_flagged"


def test_descending_channels_are_sorted(point_source_ms, window, tmp_path):
    """As pyuvdata writes the files of this telescope: all that comes after takes them ascending."""
    ms = Path(shutil.copytree(point_source_ms, tmp_path / "descending.ms"))
    make_writable(ms)
    with table(str(ms / "SPECTRAL_WINDOW"), readonly=False, ack=False) as windows:
        windows.putcell("CHAN_FREQ", SPW, windows.getcell("CHAN_FREQ", SPW)[::-1])
        windows.putcell("CHAN_WIDTH", SPW, -windows.getcell("CHAN_WIDTH", SPW))
    with table(str(ms), readonly=False, ack=False) as main:
        rows = main.selectrows(np.flatnonzero(main.getcol("DATA_DESC_ID") == SPW))
        for column in ("DATA", "FLAG"):
            rows.putcol(column, rows.getcol(column)[:, ::-1])
        flag = rows.getcol("FLAG")
        flag[:, :3] = True  # the three highest channels
        rows.putcol("FLAG", flag)
    info = read_ms_info(ms)
    found = read_window(ms, info, info.spws[SPW])
    assert np.array_equal(found.freqs_hz, window.freqs_hz)
    assert np.array_equal(found.widths_hz, window.widths_hz)
    assert np.array_equal(found.data[:, :-3], window.data[:, :-3])
    assert np.array_equal(found.weight[:, :-3], window.weight[:, :-3])
    assert not found.weight[:, -3:].any()
    imaging = {
        "ms_path": ms,
        "source": TARGET,
        "spws": (SPW,),
        "clean": CleanOptions(image_size_px=128),
    }
    for backend in ("ducc0", "tclean"):
        result = image_source(
            ImageSourceOptions.model_validate(
                {**imaging, "backend": backend, "products_dir": tmp_path / backend}
            )
        )
        assert result.success, result.error
        truth_jy = float(TARGET.flux_at(result.spws[0].freq_hz))
        assert result.spws[0].flux_jy == pytest.approx(truth_jy, rel=0.01)
