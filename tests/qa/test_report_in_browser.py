"""The page in a real browser: drawn, silent on its console, and its script at work."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.html_pages import find_browser, open_in_browser
from support.night_records import NightMaker, draw_plain

from dsa110_contimg.conversion.models import ConversionState, RejectedFile
from dsa110_contimg.qa.report import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine"),
]


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
    """Clicks as a reader would; the page's policy is lifted so that the test may add a script."""
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
    html = page.read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    probed = page.with_name("probed.html")
    probed.write_text(html.replace("</body>", f"<script>{probe}</script></body>"), "utf-8")
    dom, console = open_in_browser(probed, tmp_path / "profile")
    assert console == []
    assert '"falling":["J0","J1","J2"]' in dom
    assert '"rising":["J2","J1","J0"]' in dom
    assert '"found":["J1"]' in dom
    assert '"count":"1 of 3 rows"' in dom
    assert '"failed":1' in dom
    assert '"dialog":true' in dom
    assert '"enlarged":640' in dom
    assert '"closed":true' in dom
    assert '"ready":"yes"' in dom
