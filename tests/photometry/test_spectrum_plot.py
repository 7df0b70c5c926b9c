"""The plot of flux density against frequency."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from PIL import Image

from dsa110_contimg.photometry.binning import find_detections
from dsa110_contimg.photometry.models import BinningOptions, SourceResult, SpwMeasurement
from dsa110_contimg.photometry.plots import plot_spectrum
from dsa110_contimg.provenance import Provenance

pytestmark = pytest.mark.unit


def make_result(fluxes_jy: list[float]) -> SourceResult:
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
    ]
    return SourceResult(
        name="a",
        ra_deg=1.0,
        dec_deg=2.0,
        success=True,
        n_spws=4,
        spws=spws,
        detections=find_detections(spws, BinningOptions()),
        ms_path="/a.ms",
        provenance=Provenance(created="", host="", versions={}, options={}, inputs=[]),
    )


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
            pytest.approx([1310.0, 1322.0, 1334.0, 1346.0]),
            pytest.approx([4.0, 4.0, 0.0, 20.0]),
            pytest.approx([1.0] * 4),
        )
    ]
    assert bins == [
        (pytest.approx(4.0), pytest.approx(1304.0), pytest.approx(1328.0)),
        (pytest.approx(20.0), pytest.approx(1340.0), pytest.approx(1352.0)),
    ]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["Title"] == "a"


def test_a_source_without_measurements_has_a_plot_all_the_same(tmp_path):
    plot_spectrum(tmp_path / "a.png", make_result([]), {})
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 300
