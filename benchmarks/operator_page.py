"""Time of the operator page's answers, beside merely reading the night's report as JSON.

A night of 300 groups and 3,000 sources is put on record with the real models and manifests; the
application answers in this process, as Airflow's api-server mounts it, without the network.
"First" is the answer with nothing in memory, "again" the median of those that follow.

    python benchmarks/operator_page.py [--groups 300] [--sources 10]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.night_records import DATE, NightMaker
from support.operator_desk import Reader

from dsa110_contimg.qa.report import write_report
from dsa110_contimg.settings import Settings

REPEATS = 7


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def record_night(root: Path, groups: int, sources: int) -> NightMaker:
    """Put a night on record: groups with an MS each, sources in each of them."""
    night = NightMaker(root)
    for number in range(groups):
        group = night.add_group(number, missing=["sb07"] if number % 9 == 0 else ())
        night.convert(group)
        for k in range(sources):
            night.image(group, f"J{number:04d}+{k:02d}", flux_jy=0.002 * k)
    night.save_listing()
    return night


def time_pages(settings: Settings, night: NightMaker, yardstick_s: float) -> None:
    """Time every kind of page, and print it."""
    group = night.group_id(7)
    paths = {
        "night": f"/nights/{DATE}",
        "night, filtered": f"/nights/{DATE}?q=sb07&state=converted",
        "sources": f"/nights/{DATE}/sources?page=30",
        "group": f"/nights/{DATE}/groups/{group}",
        "source": f"/nights/{DATE}/groups/{group}/sources/J0007+04",
        "calendar": "/",
    }
    reader = Reader(settings)
    print(f"{'page':18}{'first':>10}{'again':>10}{'again / JSON':>14}")
    for name, path in paths.items():
        first_s = seconds(lambda path=path: reader.page(path))
        again_s = median(seconds(lambda path=path: reader.page(path)) for _ in range(REPEATS))
        ratio = again_s / yardstick_s
        print(f"{name:18}{1e3 * first_s:7.0f} ms{1e3 * again_s:7.0f} ms{ratio:14.3f}")


def main() -> None:
    """Make the night, and time the pages of its report, and of its records alone."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--groups", type=int, default=300)
    parser.add_argument("--sources", type=int, default=10, help="in each group")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "work"
        settings = Settings(work_dir=root, sandbox_root=Path(folder) / "sandboxes")
        night = record_night(root, options.groups, options.sources)
        write_report(night.ledger)
        path = night.ledger.report_json
        yardstick_s = median(seconds(lambda: json.loads(path.read_bytes())) for _ in range(REPEATS))
        size_mb = path.stat().st_size / 1e6
        print(f"report.json: {size_mb:.1f} MB, read as JSON in {1e3 * yardstick_s:.0f} ms\n")
        time_pages(settings, night, yardstick_s)
        path.unlink()
        print("\nThe same night while it is open, from its records:")
        time_pages(settings, night, yardstick_s)


if __name__ == "__main__":
    main()
