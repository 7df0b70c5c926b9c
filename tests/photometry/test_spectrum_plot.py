"""The plot of flux density against frequency."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from dsa110_contimg.photometry import plots
from dsa110_contimg.photometry.binning import find_detections
from dsa110_contimg.photometry.models import (
    BinningOptions,
    Blend,
    SourceResult,
    SpwFailure,
    SpwMeasurement,
)
from dsa110_contimg.photometry.plots import plot_spectrum
from dsa110_contimg.photometry.spectrum import fit_power_law
from dsa110_contimg.provenance import Provenance

pytestmark = pytest.mark.unit


def make_result(fluxes_jy: list[float | None], **fields: object) -> SourceResult:
    """A result of one flux density per window; None is a window that failed."""
    spws = [
        SpwMeasurement(
            spw_id=i,
            freq_hz=1.31e9 + i * 1.2e7,
            bandwidth_hz=1.2e7,
            flux_jy=flux_jy,
            rms_jy=0.001,
            snr=flux_jy / 0.001,
            flagged_fraction=0.0,
        )
        for i, flux_jy in enumerate(fluxes_jy)
        if flux_jy is not None
    ]
    failed = [k for k, flux_jy in enumerate(fluxes_jy) if flux_jy is None]
    return SourceResult(
        name="a",
        ra_deg=1.0,
        dec_deg=2.0,
        success=True,
        n_spws=len(fluxes_jy),
        spws=spws,
        failed_spws=[SpwFailure(spw_id=k, reason="flagged") for k in failed],
        detections=find_detections(spws, BinningOptions()),
        power_law=fit_power_law(spws),
        ms_path="/a.ms",
        provenance=Provenance(created="", host="", versions={}, options={}, inputs=[]),
    ).model_copy(update=fields)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def note(figure: Figure, path: Path, **kwargs: object) -> None:
        figures.append(figure)
        save(figure, path, **kwargs)

    monkeypatch.setattr(Figure, "savefig", note)
    return figures


def lines_of(figure: Figure) -> dict[str, np.ndarray]:
    """Label to the coordinates of what is drawn as a line."""
    return {str(line.get_label()): line.get_xydata() for line in figure.axes[0].lines}


def test_points_and_bins_are_drawn_where_they_belong(tmp_path, monkeypatch):
    points, bins = [], []
    errorbar, hlines = Axes.errorbar, Axes.hlines

    def note_points(ax, x, y, yerr, **kwargs):
        points.append((x, y, yerr))
        return errorbar(ax, x, y, yerr, **kwargs)

    def note_bins(ax, y, low, high, **kwargs):
        bins.append((y, low, high))
        return hlines(ax, y, low, high, **kwargs)

    monkeypatch.setattr(Axes, "errorbar", note_points)
    monkeypatch.setattr(Axes, "hlines", note_bins)
    plot_spectrum(tmp_path / "a.png", make_result([0.004, 0.004, 0.0, 0.02]), {"Title": "a"})
    assert points == [
        (
            pytest.approx([1310.0, 1322.0, 1346.0]),
            pytest.approx([4.0, 4.0, 20.0]),
            pytest.approx([1.0] * 3),
        )
    ]
    assert bins == [
        (pytest.approx(4.0), pytest.approx(1304.0), pytest.approx(1328.0)),
        (pytest.approx(20.0), pytest.approx(1340.0), pytest.approx(1352.0)),
    ]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["Title"] == "a"


def test_weak_windows_are_upper_limits_of_three_sigma(tmp_path, drawn):
    plot_spectrum(tmp_path / "a.png", make_result([0.0029, -0.001, 0.0031, 0.02]), {})
    limits = lines_of(drawn[0])["upper limits, 3 sigma"]
    np.testing.assert_allclose(limits, [(1310.0, 3.0), (1322.0, 3.0)])
    low, high = drawn[0].axes[0].get_ylim()
    assert low < 0.0
    assert high > 21.0


def test_failed_windows_are_marked_on_the_axis(tmp_path, drawn):
    plot_spectrum(tmp_path / "a.png", make_result([None, 0.004, 0.004, None, 0.004, None]), {})
    ax = drawn[0].axes[0]
    marks = lines_of(drawn[0])["failed: spw 0, 3, 5"]
    np.testing.assert_allclose(marks[:, 0], [1310.0, 1346.0, 1370.0])
    assert ax.get_xlim()[0] < 1310.0
    assert ax.get_xlim()[1] > 1370.0


def test_the_power_law_is_drawn_with_its_index_and_its_error(tmp_path, drawn):
    freqs_hz = 1.31e9 + np.arange(16) * 1.2e7
    result = make_result(list(0.05 * (freqs_hz / 1.4e9) ** -1.2))
    plot_spectrum(tmp_path / "a.png", result, {})
    label = next(name for name in lines_of(drawn[0]) if "\N{GREEK SMALL LETTER ALPHA}" in name)
    assert "\N{GREEK SMALL LETTER ALPHA} = -1.20 ± 0." in label
    line = lines_of(drawn[0])[label]
    expected = 50.0 * (line[:, 0] / 1400.0) ** -1.2
    # The fit to a curve without noise is that curve.
    np.testing.assert_allclose(line[:, 1], expected, rtol=1e-3)
    bands = [c for c in drawn[0].axes[0].collections if len(c.get_paths()[0].vertices) > 100]
    (band,) = bands
    edges = band.get_paths()[0].vertices
    middle = edges[np.abs(edges[:, 0] - 1400.0) < 3.0, 1]
    # At the reference frequency the band is one error to either side: 1 mJy over the root of 16.
    assert np.ptp(middle) == pytest.approx(2 * 1.0 / 4, rel=0.5)


def test_blends_are_told_below_the_title(tmp_path, drawn):
    blends = [
        Blend(
            name=f"b{k}",
            separation_arcsec=9.0 + k,
            correlation=-0.8,
            sum_flux_jy=0.0123,
            sum_rms_jy=0.0004,
        )
        for k in range(4)
    ]
    plot_spectrum(tmp_path / "a.png", make_result([0.004] * 4, blends=blends), {})
    texts = [text.get_text() for text in drawn[0].texts]
    assert "blended with b0 (9″), b1 (10″) and 2 more; with the nearest 12.30 ± 0.40 mJy" in texts


def test_a_source_without_measurements_has_a_plot_all_the_same(tmp_path):
    for fluxes_jy in ([], [None, None], [float("nan")], [0.004], [0.004, None]):
        plot_spectrum(tmp_path / "a.png", make_result(fluxes_jy), {})
        with Image.open(tmp_path / "a.png") as picture:
            assert min(picture.size) > 300


def test_names_are_no_mathematics(tmp_path):
    plot_spectrum(tmp_path / "a.png", make_result([0.004] * 4, name="a$_b$^"), {})
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_a_thousand_spectra_do_not_hold_up_a_night(tmp_path):
    result = make_result([0.004, 0.001, None, 0.02] * 4)
    plot_spectrum(tmp_path / "a.png", result, {})
    times = []
    for _ in range(5):
        start = time.process_time()
        plot_spectrum(tmp_path / "a.png", result, {})
        times.append(time.process_time() - start)
    # 0.07 s of a 2020s processor; no constrained layout, which takes three times as long.
    assert min(times) < 0.2
    assert plots.LIMIT_SNR == 3.0
