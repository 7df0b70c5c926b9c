"""A janitor that comes without pause, and keeps nothing longer than it must, harms no work."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.faults import Site, failure_of

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.housekeeping.keep_house import keep_house
from dsa110_contimg.housekeeping.models import Fate, HousekeepingOptions, Retention
from dsa110_contimg.imaging.image_source import image_source
from dsa110_contimg.imaging.models import Backend, CleanOptions, ImageSourceOptions
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.processes import run_in_child

pytestmark = [pytest.mark.fault, pytest.mark.alone]


def options_for(root: Path, tmpfs: Path) -> HousekeepingOptions:
    """Where everything is; all that may go for its age goes as soon as it may."""
    return HousekeepingOptions(
        sandbox_roots=[tmpfs, root / "ms" / ".sandboxes"],
        ms_dir=root / "ms",
        products_dir=root / "products",
        calibration_dir=root / "calibration",
        nights_dir=root / "nights",
        logs_dir=root / "logs",
        temporary_dir=tmpfs,
        retention=Retention(ms_days=1, products_days=1, logs_days=2),
        apply=True,
    )


def test_conversions_and_images_beside_a_busy_janitor(make_site, reference):
    """Sandboxes in tmpfs and beside the products, publications, records and logs."""
    sites: list[Site] = [make_site(f"busy{n}") for n in range(3)]
    beside = sites[2].root / "ms" / ".sandboxes"
    sites[2].overrides["sandbox_roots"] = [beside]
    over = threading.Event()

    def clean() -> int:
        visits = 0
        while not over.is_set():
            for site in sites:
                result = keep_house(options_for(site.root, site.sandbox_root))
                assert result.problems == []
                assert result.select(Fate.REMOVED) == []
                visits += 1
        return visits

    def work(site: Site) -> SourceResult:
        assert site.run().state == "converted"
        return run_in_child(
            image_source,
            ImageSourceOptions(
                ms_path=site.ms,
                products_dir=site.root / "products" / site.ms.parent.name / site.ms.stem,
                sandbox_roots=[site.sandbox_root],
                log_dir=site.root / "logs" / "imaging",
                source=Source(name="target", ra_deg=128.7, dec_deg=54.6),
                backend=Backend.DUCC0,
                max_spws=1,
                clean=CleanOptions(image_size_px=64),
            ),
            timeout_s=120,
            log_path=site.root / "logs" / "imaging.log",
        )

    with ThreadPoolExecutor(len(sites) + 1) as pool:
        janitor = pool.submit(clean)
        try:
            results = list(pool.map(work, sites))
        finally:
            over.set()
        assert janitor.result() > 20
    for site, result in zip(sites, results, strict=True):
        assert result.success, result.error
        assert (Path(result.products_dir) / "result.json").exists()
        site.assert_finished(reference)


def test_what_a_killed_conversion_leaves_is_gone_after_one_visit(site, reference):
    """The sandbox and the copy beside the good name; the next attempt finds a tidy place."""
    site.set_fault("copy", "kill -KILL $(cat " + str(site.pid_file) + ")")
    failure_of(site.run)
    keep_house(options_for(site.root, site.sandbox_root))
    assert list(site.sandbox_root.iterdir()) == []
    assert {entry.name for entry in site.ms.parent.iterdir()} <= {f".{site.ms.name}.lock"}
    site.assert_nothing_lost(reference)
