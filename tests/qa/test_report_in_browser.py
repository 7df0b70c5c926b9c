"""The page in a real browser: drawn, silent on its console, and its script at work."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.calibration_records import (
    draw_flags,
    make_transit,
    save_applied,
    save_flags,
    save_plan,
    save_solve,
)
from support.html_pages import open_in_browser
from support.night_records import NightMaker, draw_plain

from dsa110_contimg.calibration.models import SolveState
from dsa110_contimg.conversion.models import ConversionState, RejectedFile
from dsa110_contimg.qa.report import write_report

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture
def page(night: NightMaker) -> Path:
    groups = [night.add_group(k) for k in range(4)]
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    night.rejects.append(RejectedFile(file="/in/core.1", reason=attack))
    night.save_listing()
    for k, group in enumerate(groups[:3]):
        night.convert(group)
        night.image(group, f"J{k}", flux_jy=0.01 * (3 - k), draw=draw_plain)
    night.convert(groups[3], ConversionState.FAILED, reason="no_space: tmpfs is full")
    write_report(night.ledger)
    return night.ledger.report_html


def run_probe(page: Path, probe: str, tmp_path: Path) -> str:
    """Run a script in the page, whose policy is lifted for it; return the DOM it leaves."""
    html = page.read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    probed = page.with_name("probed.html")
    probed.write_text(html.replace("</body>", f"<script>{probe}</script></body>"), "utf-8")
    dom, console = open_in_browser(probed, tmp_path / "profile")
    assert console == []
    return dom


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_drawn_without_complaint(page: Path, tmp_path: Path, dark: bool) -> None:
    picture = tmp_path / "page.png"
    _, console = open_in_browser(page, tmp_path / "profile", screenshot=picture, dark=dark)
    assert console == []
    pixels = np.asarray(Image.open(picture).convert("L"), dtype=float)
    assert (np.median(pixels) < 64) == dark
    assert pixels.std() > 10  # a blank page has none
    # Text and drawings reach down the page, not only its head.
    assert all(part.std() > 3 for part in np.array_split(pixels, 4))


def test_the_script_sorts_filters_and_shows_pictures(page: Path, tmp_path: Path) -> None:
    """Clicks as a reader would."""
    probe = """
      const out = {};
      const names = () => [...document.querySelectorAll('#sources tbody tr')]
        .filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
      const header = [...document.querySelectorAll('#sources thead th')]
        .find((cell) => cell.textContent.includes('Best SNR'));
      header.querySelector('button').click();
      out.falling = names();
      header.querySelector('button').click();
      out.rising = names();
      const search = document.querySelector('#sources input');
      search.value = 'j1';
      search.dispatchEvent(new Event('input'));
      out.found = names();
      out.count = document.querySelector('#sources output').textContent;
      const chip = document.querySelector('#groups button[data-state=failed]');
      chip.click();
      out.failed = [...document.querySelectorAll('#groups tbody tr')]
        .filter((row) => !row.hidden).length;
      document.querySelector('a.pic').click();
      out.dialog = document.querySelector('dialog').open;
      out.enlarged = document.querySelector('dialog img').naturalWidth;
      document.querySelector('#close').click();
      out.closed = !document.querySelector('dialog').open;
      out.ready = document.documentElement.dataset.ready;
      document.body.innerHTML = '<pre>' + JSON.stringify(out) + '</pre>';
    """
    dom = run_probe(page, probe, tmp_path)
    assert '"falling":["J0","J1","J2"]' in dom
    assert '"rising":["J2","J1","J0"]' in dom
    assert '"found":["J1"]' in dom
    assert '"count":"1 of 3 rows"' in dom
    assert '"failed":1' in dom
    assert '"dialog":true' in dom
    assert '"enlarged":640' in dom
    assert '"closed":true' in dom
    assert '"ready":"yes"' in dom


def test_calibration_fits_a_laptop_and_answers_clicks(night: NightMaker, tmp_path: Path) -> None:
    groups = [night.add_group(k) for k in range(3)]
    night.save_listing()
    for group in groups:
        night.convert(group)
    save_plan(night, [make_transit(group) for group in groups[:2]])
    own = save_solve(night, groups[0])
    long = "poor_solutions: " + "; ".join(["the phases of the gain scatter by 11.3 deg"] * 4)
    save_solve(night, groups[1], state=SolveState.REFUSED, reason=long)
    assert own
    for k, group in enumerate(groups):
        plot = str(draw_flags(night, group))
        save_flags(night, group, dead=tuple(f"pad{number}" for number in range(12)), plot=plot)
        notes = ["antennas pad12, pad14, pad15, pad16 have no solutions and are flagged"]
        save_applied(night, group, [(own, -0.1 * k)], notes=notes)
    write_report(night.ledger)
    probe = """
      const out = {};
      const inside = (outer, inner) => [...document.querySelectorAll(inner)].every((part) =>
        part.getBoundingClientRect().right <=
        part.closest(outer).getBoundingClientRect().right + 1);
      const root = document.documentElement;
      out.page = root.scrollWidth <= root.clientWidth;
      out.scrollers = [...document.querySelectorAll('#calibration .scroll')]
        .every((part) => part.scrollWidth <= part.clientWidth);
      out.cards = inside('.card', '#calibration .card *');
      document.querySelector('#calibration button[data-state=own]').click();
      const tables = document.querySelectorAll('#calibration .sortable');
      out.own = [...tables[1].tBodies[0].rows].filter((row) => !row.hidden).length;
      document.querySelector('#c0 a.pic').click();
      out.dialog = document.querySelector('dialog').open;
      out.said = document.querySelector('dialog span').textContent;
      document.body.innerHTML = '<pre>' + JSON.stringify(out) + '</pre>';
    """
    dom = run_probe(night.ledger.report_html, probe, tmp_path)
    assert '"page":true' in dom
    assert '"scrollers":true' in dom
    assert '"cards":true' in dom
    assert '"own":1' in dom
    assert '"dialog":true' in dom
    assert f'"said":"bandpass of {own.set_id}"' in dom
