"""The page: complete in itself, well formed, and safe whatever the records hold."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.html_pages import Page
from support.night_records import NightMaker, draw_plain

from dsa110_contimg.conversion.models import ConversionState, RejectedFile
from dsa110_contimg.photometry.models import SourceResult, SpwFailure
from dsa110_contimg.qa import render
from dsa110_contimg.qa.record_models import ImagingPlan, MsFailure, StageFailure
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.qa.thumbnails import choose_policy

pytestmark = pytest.mark.unit

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
HOSTILE = "\"'><img src=x onerror=alert(1)><!-- {{ 7*7 }} &amp; </td>"


def read(night: NightMaker) -> Page:
    write_report(night.ledger)
    return Page(night.ledger.report_html.read_text(encoding="utf-8"))


def fill(night: NightMaker) -> None:
    """A night with a bit of everything."""
    done, failed, lost = (night.add_group(k) for k in range(3))
    semi = night.add_group(3, missing=["sb05"], problems=["sb07 is there twice"])
    night.rejects.append(RejectedFile(file="/in/core.1234", reason="is not a subband file"))
    night.save_listing()
    night.convert(done)
    night.convert(failed, ConversionState.FAILED, reason="truncated_file: sb09 is short")
    night.convert(semi, warnings=["the sandbox could not be removed"])
    night.ledger.save_plan(ImagingPlan(group_id=done, source_names=["J1", "J2", "J3"]))
    night.image(done, "J1", draw=draw_plain, notes=["Fluxes carry side lobes."])
    night.image(
        done,
        "J2",
        success=False,
        error="1 window was not measured",
        failed_spws=[SpwFailure(spw_id=4, reason="all flagged")],
    )
    night.ledger.save_ms_failure(
        MsFailure(group_id=semi, reason="child_killed: tclean died\nfirst line of log\nKilled")
    )
    assert lost


def test_everything_that_went_wrong_is_told(night: NightMaker) -> None:
    fill(night)
    text = read(night).text
    for sentence in (
        "truncated_file",
        "sb09 is short",
        "no outcome is on record",
        "tclean died",
        "first line of log\nKilled",
        "1 window was not measured",
        "SPW 4: all flagged",
        "core.1234",
        "is not a subband file",
        "sb07 is there twice",
        "the sandbox could not be removed",
        "Fluxes carry side lobes.",
        "J3",
    ):
        assert sentence in text, sentence


def test_the_verdict_and_the_failures_stand_first(night: NightMaker) -> None:
    fill(night)
    page = read(night)
    order = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert order[0] == "failures"
    assert page.text.index("Partly failed") < page.text.index("What failed, and why")
    title = re.search(r"<title>(.*?)</title>", page.html)
    assert title is not None
    assert "Partly failed" in title[1]


def test_the_page_needs_nothing_else(night: NightMaker) -> None:
    fill(night)
    page = read(night)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    for url in page.urls():
        if url.startswith("#"):
            assert url == "#" or url[1:] in ids, url
        elif not url.startswith("data:"):
            target = os.path.normpath(night.ledger.night_dir / unquote(url))
            assert Path(target).exists(), url
    assert page.count("link") == 1  # the icon, a data URI
    style = "".join(re.findall(r"<style>(.*?)</style>", page.html, re.DOTALL))
    assert "@import" not in style
    assert "url(" not in style
    assert set(re.findall(r"url\((.)", page.html)) <= {"#"}
    assert set(re.findall(r"https?://[^\s'\"<]+", page.html)) <= {"http://www.w3.org/2000/svg"}


def test_only_the_pages_own_script_may_run(night: NightMaker) -> None:
    fill(night)
    page = read(night)
    scripts = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    assert len(scripts) == page.count("script") == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = next(a["content"] for t, a in page.tags if "content-security" in str(a).lower())
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_hostile_names_and_reasons_stay_text(night: NightMaker) -> None:
    script = "</script><script>alert(1)</script>"
    group = night.add_group(0, problems=[HOSTILE + script])
    odd = night.add_group(1, group_id="{{ 7*7 }}<b>", missing=["<i>"], present=["sb99", "sbx"])
    night.rejects.append(RejectedFile(file=f"/in/{HOSTILE}", reason=script))
    night.save_listing()
    night.convert(group, warnings=[HOSTILE])
    night.convert(odd, ConversionState.FAILED, reason=HOSTILE + script)
    night.image(group, HOSTILE.replace("/", "|"), draw=draw_plain, notes=[script])
    night.ledger.save_stage_failure(
        StageFailure(stage="discovery", reason=script, remedy=f"do `{HOSTILE}`")
    )
    page = read(night)
    assert page.count("script") == 1
    assert page.count("b") == 1  # the name of the page
    assert page.count("i") == len([a for t, a in page.tags if t == "i" and "sw" in a["class"]])
    assert all("onerror" not in attrs for _, attrs in page.tags)
    assert HOSTILE in page.text
    assert script in page.text
    assert "{{ 7*7 }}<b>" in page.text
    for url in page.urls():
        if not url.startswith(("#", "data:")):
            assert Path(night.ledger.night_dir / unquote(url)).exists(), url


def test_an_empty_night_is_a_page_too(night: NightMaker) -> None:
    night.save_listing()
    page = read(night)
    assert "No subband file was found" in page.text
    assert page.count("table") == 0


def test_missing_and_damaged_pictures_leave_a_gap(night: NightMaker) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)

    def draw_badly(result: SourceResult, folder: Path) -> None:
        (folder / "stamp.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")

    night.image(group, "J1", draw=draw_badly)
    night.image(group, "J2", products_dir=str(night.root / "nowhere"))
    night.image(group, "J3", products_dir=None)
    night.image(group, "J4", draw=draw_plain)
    page = read(night)
    assert "stamp.png is damaged" in page.text
    assert page.text.count("no stamp was made") == 2
    assert page.text.count("no spectrum was made") == 3
    assert sum(url.startswith("data:image/webp") for url in page.urls()) == 2


def test_more_sources_mean_a_table_of_small_pictures(night: NightMaker) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    for k in range(25):
        night.image(group, f"J{k:02d}", draw=draw_plain)
    page = read(night)
    policy = choose_policy(25)
    assert not policy.cards
    assert page.count("article") == 0
    pictures = [attrs for tag, attrs in page.tags if tag == "img" and "width" in attrs]
    assert len(pictures) == 25 * len(policy.kinds)
    assert max(int(picture["width"]) for picture in pictures) == policy.edge_px


def test_detections_beyond_the_limit_are_counted(
    night: NightMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    night.image(group, "weak", flux_jy=0.01)
    night.image(group, "strong", flux_jy=0.1)
    monkeypatch.setattr(render, "MAX_DETECTION_ROWS", 4)
    page = read(night)
    table = page.html.split('id="detections"')[1].split("</section>")[0]
    assert table.count(">strong</a>") == 4
    assert "weak" not in table
    assert "4 more stand in report.json" in page.text


def test_alike_failures_are_told_once_and_each_named(night: NightMaker) -> None:
    ids = [night.add_group(k) for k in range(12)]
    night.save_listing()
    for k, group in enumerate(ids):
        reason = f"no space left in /shm/x{k}: 1.6 GB needed, 0.{k} GB free"
        night.convert(group, ConversionState.FAILED, reason=reason)
    report = write_report(night.ledger)
    causes = render.group_by_cause(report.failures)
    assert [len(cause.failures) for cause in causes] == [12]
    page = Page(night.ledger.report_html.read_text(encoding="utf-8"))
    failures = page.html.split('id="failures"')[1].split("</section>")[0]
    for k, group in enumerate(ids):
        assert group in failures
        assert f"/shm/x{k}: 1.6 GB needed, 0.{k} GB free" in failures


@pytest.mark.parametrize(
    ("ra_deg", "text"),
    [
        (0.0, "00:00:00.00"),
        (124.526792, "08:18:06.43"),
        (359.99999999, "00:00:00.00"),
        (-15.0, "23:00:00.00"),
        (float("nan"), DASH),
        (None, DASH),
    ],
)
def test_right_ascensions_round_without_sixty(ra_deg: float | None, text: str) -> None:
    assert render.format_ra(ra_deg) == text


@pytest.mark.parametrize(
    ("dec_deg", "text"),
    [
        (54.620694, "+54:37:14.5"),
        (-0.00001, "+00:00:00.0"),
        (-0.5, f"{MINUS}00:30:00.0"),
        (29.999999, "+30:00:00.0"),
        (None, DASH),
    ],
)
def test_declinations_round_without_sixty(dec_deg: float | None, text: str) -> None:
    assert render.format_dec(dec_deg) == text


def test_numbers_are_written_as_one_reads_them() -> None:
    assert render.fixed(0.0123456, 2, 1e3) == "12.35"
    assert render.fixed(-1234.0, 0) == f"{MINUS}1234"
    assert render.fixed(1234567.0, 0) == "1\u202f234\u202f567"
    assert render.fixed(float("inf")) == DASH
    assert render.format_spws([3, 4, 5, 8, 10, 11]) == f"3{DASH}5, 8, 10{DASH}11"
    assert [render.format_seconds(s) for s in (0.0, 0.042, 8.44, 185.0, 7625.0)] == [
        "0.0 s",
        "0.042 s",
        "8.4 s",
        "3 min 05 s",
        "2 h 07 min",
    ]
    assert render.format_chance(3.14e-7) == "3.1e-07"
    assert render.format_chance(0.0) == "< 1e-99"


def test_a_note_that_all_sources_bear_is_told_once(night: NightMaker) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    for k in range(3):
        night.image(group, f"J{k}", notes=["Side lobes.", f"Only in J{k}."])
    text = read(night).text
    assert text.count("Side lobes.") == 1
    assert all(text.count(f"Only in J{k}.") == 1 for k in range(3))
