"""What the pages say, of whole nights, open ones and damaged ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import urljoin, urlsplit

import pytest
from support.calibration_records import save_solve
from support.html_pages import Page
from support.night_records import DATE, NightMaker, draw_plain
from support.operator_desk import STARTED, GivenFacts, Reader, make_pool, make_run, make_task

from dsa110_contimg.calibration.models import SolveState
from dsa110_contimg.conversion.models import ConversionState, RejectedFile
from dsa110_contimg.operator_page.late import PREFIX
from dsa110_contimg.operator_page.waits import Wait
from dsa110_contimg.orchestration.pace import Pace
from dsa110_contimg.qa.by_hand import name_run
from dsa110_contimg.qa.record_models import ImagingPlan, MsFailure
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.qa.report import write_report

pytestmark = pytest.mark.unit

NIGHT = f"/nights/{DATE}"


def words(html: str) -> str:
    """The text of a page as one reads it; its tags are in order."""
    return re.sub(r"\s+", " ", Page(html).text)


def rows(html: str, label: str) -> list[str]:
    """The lines of a table."""
    table = html[html.index(f'aria-label="{label}"') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    return [re.sub(r"<[^>]*>|\s+", " ", unescape(line)) for line in body.split("<tr")[1:]]


def crawl(reader: Reader, *starts: str) -> Iterator[tuple[str, int, str]]:
    """Follow every link of every page below the prefix; yield address, status and content."""
    waiting, seen = [f"{PREFIX}{start}" for start in starts], set()
    while waiting:
        url = waiting.pop()
        if url in seen:
            continue
        seen.add(url)
        answer = reader.get(url)
        is_page = answer.headers["content-type"].startswith("text/html")
        yield url, answer.status_code, answer.text if is_page else ""
        if not is_page or url.endswith("report.html"):
            continue
        page = Page(answer.text)
        followed = [attrs for tag, attrs in page.tags if tag in {"a", "img", "link", "script"}]
        for attrs in followed:
            target = urljoin(url, attrs.get("href") or attrs.get("src") or "")
            if "data-airflow" not in attrs and target.startswith(PREFIX):
                waiting.append(target.partition("#")[0])


@pytest.mark.parametrize("is_reported", [True, False], ids=["reported", "open"])
def test_every_link_leads_somewhere(
    mixed_night: NightMaker, reader: Reader, facts: GivenFacts, is_reported: bool
) -> None:
    if is_reported:
        write_report(mixed_night.ledger)
    facts.runs = [make_run(DATE)]
    facts.tasks = [make_task("J0812+541")]
    facts.pools = [make_pool("ms-1", running=1), make_pool("default_pool", slots=128)]
    found = {urlsplit(url).path: status for url, status, _ in crawl(reader, "/", "/now")}
    assert set(found.values()) == {200}
    # Pages of five groups and of five sources, pictures of sources, flags and solutions.
    assert sum("/groups/" in path and "/sources/" not in path for path in found) == 5
    assert sum(path.count("/sources/") for path in found) == 5
    assert sum(path.startswith(f"{PREFIX}/products/") for path in found) >= 8
    assert sum(path.startswith(f"{PREFIX}/calibration/") for path in found) == 2
    assert sum(path.startswith(f"{PREFIX}/ms/") for path in found) == 1


def test_links_inside_the_night_report_hold(mixed_night: NightMaker, reader: Reader) -> None:
    write_report(mixed_night.ledger)
    report = Page(reader.page(f"{NIGHT}/report.html"))
    pictures = [url for url in report.attributes("href") if url.endswith(".png")]
    assert len(pictures) >= 8
    for url in pictures:
        answer = reader.get(urljoin(f"{PREFIX}{NIGHT}/report.html", url))
        assert answer.status_code == 200, url
        assert answer.headers["content-type"] == "image/png"


def test_the_calendar_says_what_each_night_came_to(
    mixed_night: NightMaker, reader: Reader, facts: GivenFacts
) -> None:
    write_report(mixed_night.ledger)
    (mixed_night.root / "nights/2026-01-20/records").mkdir(parents=True)
    (mixed_night.root / "nights/2026-01-21").mkdir()
    (mixed_night.root / "nights/2026-01-21/report.json").write_text("{ spoilt")
    (mixed_night.root / "nights/lost+found").mkdir()
    facts.runs = [make_run("2026-01-26"), make_run("2026-01-20", state="failed")]
    html = reader.page("/")
    text = words(html)
    cells = dict(re.findall(r'class="tone-(\w+)" href="[^"]*/nights/([-\d]+)"', html))
    assert {date: state for state, date in cells.items()} == {
        "2026-01-20": "open",
        "2026-01-21": "unreadable",
        "2026-01-25": "partial",
        "2026-01-26": "running",
    }
    for word in ("No report yet", "Unreadable", "Partly failed", "In progress"):
        assert word in text
    assert "lost+found is no night" in text
    assert "report.json cannot be read" in text
    # A month without nights is shown as such, and leads back.
    empty = reader.page("/?month=2026-03")
    assert "March 2026" in words(empty)
    assert "month=2026-01" in empty
    assert "January 2026" in words(reader.page("/?month=99"))


WAITS = "waits for files: last change 20:43:10 UTC, closes at 20:53:10"


def make_wait(date: str | None, sentence: str = WAITS, group_id: str | None = None) -> Wait:
    return Wait(sentence, STARTED, "/dags/nightly_transit/runs/manual__1", date, group_id)


@pytest.mark.parametrize("state", ["running", "queued", "failed"])
def test_the_night_of_a_run_that_has_nothing_recorded(
    reader: Reader, facts: GivenFacts, state: str
) -> None:
    """It has a page from the moment its run exists, which says what is awaited."""
    assert reader.get("/nights/2026-02-01").status_code == 404
    facts.runs = [make_run("2026-02-01", state=state)]
    html = reader.page("/nights/2026-02-01")
    assert "/dags/nightly_transit/runs/manual__1" in html
    assert "No group is recorded so far." in words(html)
    assert "No source is recorded." in words(reader.page("/nights/2026-02-01/sources"))
    assert reader.get("/nights/2026-02-02").status_code == 404


def test_what_is_awaited_is_said_on_every_page(
    mixed_night: NightMaker, reader: Reader, facts: GivenFacts
) -> None:
    """And how long the rest takes; on a group's page nothing of other groups or nights."""
    first, second = mixed_night.group_id(0), mixed_night.group_id(1)
    facts.runs = [make_run(DATE), make_run("2026-02-01")]
    facts.pace = Pace(groups=5, finished=1, began=datetime.now(UTC) - timedelta(minutes=3))
    facts.waits = [
        make_wait(None, "nightly_transit is paused in Airflow: its tasks wait"),
        make_wait("2026-02-01"),
        make_wait(DATE, f"awaits the solutions of {first}", second),
    ]
    for path in ("/", "/now", "/nights/2026-02-01"):
        assert WAITS[1:] in words(reader.page(path)), path
    night, group = (words(reader.page(path)) for path in (NIGHT, f"{NIGHT}/groups/{second}"))
    for text in (night, group):
        assert "nightly_transit is paused in Airflow" in text
        assert f"awaits the solutions of {first}" in text
        assert "(since 2026-01-25 13:04:05)" in text
        assert WAITS not in text
    assert "awaits the solutions" not in words(reader.page(f"{NIGHT}/groups/{first}"))
    assert "About 12 min left: 1 of 5 groups are done." in night
    assert "about 12 min left" in words(reader.page("/now"))
    facts.pace = Pace(groups=5)
    assert "Remaining time not known yet: none of 5 groups is done." in words(reader.page(NIGHT))


def test_solutions_are_awaited_while_the_night_goes_on(
    mixed_night: NightMaker, reader: Reader, facts: GivenFacts
) -> None:
    second = f"{NIGHT}/groups/{mixed_night.group_id(1)}"
    assert "awaited" in rows(reader.page(NIGHT), "Table of groups")[1]
    assert re.search(r"Solutions ?awaited", words(reader.page(second)))
    write_report(mixed_night.ledger)
    assert " none " in rows(reader.page(NIGHT), "Table of groups")[1]
    assert re.search(r"Solutions ?none", words(reader.page(second)))
    facts.runs = [make_run(DATE)]  # it is done again
    assert re.search(r"Solutions ?awaited", words(reader.page(second)))


def test_flags_in_force_on_the_pages(mixed_night: NightMaker, reader: Reader) -> None:
    first = mixed_night.group_id(0)
    html = reader.page(NIGHT)
    assert "flagged fraction per spectral window after calibration" in html
    assert "Flags: 1 after calibration, 1 as converted." in words(html)
    assert " 7.5 " in rows(html, "Table of groups")[0]
    group = words(reader.page(f"{NIGHT}/groups/{first}"))
    assert "7.50 % flagged after calibration" in group
    assert "SPW 5 (sb10): 30.0 %" in group


def test_plots_of_refused_solutions_are_shown(mixed_night: NightMaker, reader: Reader) -> None:
    """Where the advice is to look at them; the long reason stands there once."""
    second = mixed_night.group_id(1)
    long = "; ".join(f"antenna pad{k} has a phase scatter of 48 deg" for k in range(14))
    save_solve(
        mixed_night, second, state=SolveState.REFUSED, reason=f"poor_solutions: the set {long}"
    )
    mixed_night.ledger.save_ms_failure(
        MsFailure(group_id=second, reason=f"poor_solutions: the set {long}")
    )
    for is_reported in (False, True):
        if is_reported:
            write_report(mixed_night.ledger)
        html = reader.page(f"{NIGHT}/groups/{second}")
        pictures = [a["src"] for tag, a in Page(html).tags if tag == "img"]
        plots = [url for url in pictures if "/calibration/" in url]
        assert len(plots) == 2
        assert {reader.get(url).status_code for url in plots} == {200}
        assert "(refused)" in words(html)
        night = reader.page(NIGHT)
        assert (html.count(long), night.count(long)) == (1, 1)
        assert "poor_solutions" in rows(night, "Table of groups")[1]
    assert mixed_night.ledger.report_html.read_text("utf-8").count(long) == 1


def test_a_long_reason_of_many_sources_stands_there_once(
    mixed_night: NightMaker, reader: Reader
) -> None:
    first = mixed_night.group_id(0)
    long = "; ".join(f"window {k} has no visibility that is not flagged" for k in range(14))
    for name in ("J0812+541", "J0815+540", "J0816+530"):
        mixed_night.image(first, name, success=False, error=f"no_data: {long}\nlog of {name}")
    write_report(mixed_night.ledger)
    for path in (NIGHT, f"{NIGHT}/sources", f"{NIGHT}/groups/{first}", f"{NIGHT}/report.html"):
        assert reader.page(path).count(long) == 1, path


def test_states_of_tasks_and_times_are_told_as_they_are(
    mixed_night: NightMaker, reader: Reader, facts: GivenFacts
) -> None:
    """A task that is skipped had nothing to do; a group that is there already took no time."""
    first = mixed_night.group_id(0)
    mixed_night.convert(first, ConversionState.SKIPPED, seconds=19.4)
    unnamed = replace(make_task("3", "image", "queued"), subject=first)
    facts.tasks = [
        replace(make_task("", "flag", "skipped"), subject=first),
        make_task("J1"),
        unnamed,
    ]
    html = reader.page(f"{NIGHT}/groups/{first}")
    skipped, image, queued = rows(html, "Table of Airflow's tasks")
    assert re.search(rf"image_ms: flag\s+skipped\s+{first}", skipped)
    assert re.search(r"running\s+J1", image)
    assert f"{first} [3]" in queued
    assert "there already" in words(html)
    assert "19.4 s" not in words(html)


@pytest.mark.parametrize("path", ["/", "/now", NIGHT, f"{NIGHT}/report.html", "/static/page.css"])
def test_head_is_answered_as_get(mixed_night: NightMaker, reader: Reader, path: str) -> None:
    write_report(mixed_night.ledger)
    got = reader.get(path)
    head = reader.get(path, method="HEAD")
    assert (head.status_code, head.headers["content-type"]) == (200, got.headers["content-type"])
    assert reader.get("/nights/2026-03-03", method="HEAD").status_code == 404
    assert reader.get(path, method="POST").status_code == 405


def test_the_night_report_leads_back(mixed_night: NightMaker, reader: Reader) -> None:
    """Hidden until its script finds that the operator page serves it."""
    write_report(mixed_night.ledger)
    page = Page(reader.page(f"{NIGHT}/report.html"))
    links = [a["href"] for tag, a in page.tags if tag == "a" and a.get("class") == "operator"]
    urls = [urljoin(f"{PREFIX}{NIGHT}/report.html", link) for link in links]
    assert urls == [f"{PREFIX}/", f"{PREFIX}{NIGHT}"]


def test_groups_are_joined_with_ms_calibration_and_sources(
    mixed_night: NightMaker, reader: Reader
) -> None:
    report = write_report(mixed_night.ledger)
    html = reader.page(NIGHT)
    assert report.headline in words(html)
    lines = rows(html, "Table of groups")
    assert len(lines) == 5
    assert re.search(r"converted .*sound .*own .* 2 2? ?", lines[0])
    assert "2 of 3" not in lines[1]  # one of its three sources is done
    assert "1 of 3" in lines[1]
    assert "2 failed" in lines[1]
    assert "8 of 16 subbands are there" in lines[2]
    assert "tmpfs is full" in lines[3]
    assert "no_space" not in lines[3]
    assert "no outcome" in lines[4]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 5),
        ("?state=failed", 1),
        ("?state=converted", 2),
        ("?state=problems", 3),  # lost sources, failed, never converted
        ("?q=TMPFS+full", 1),
        ("?q=sb03", 2),
        ("?q=sb03&state=rejected", 1),
        ("?state=nonsense", 0),
        ("?page=7", 5),
        ("?page=minus", 5),
    ],
)
def test_groups_are_filtered(
    mixed_night: NightMaker, reader: Reader, query: str, count: int
) -> None:
    write_report(mixed_night.ledger)
    html = reader.page(f"{NIGHT}{query}")
    shown = rows(html, "Table of groups") if "Table of groups" in html else []
    assert len(shown) == count
    assert bool(shown) != ("No group passes the filter" in html)


def test_sources_are_filtered_and_paged(night: NightMaker, reader: Reader) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    for number in range(120):
        night.image(group, f"J{number:04d}", flux_jy=0.01)
    write_report(night.ledger)
    pages = [rows(reader.page(f"{NIGHT}/sources?page={k}"), "Table of sources") for k in (1, 2, 3)]
    assert [len(page) for page in pages] == [50, 50, 20]
    names = [re.findall(r"J\d{4}", line)[0] for page in pages for line in page]
    assert names == [f"J{number:04d}" for number in range(120)]
    assert "51\N{EN DASH}100 of 120 sources" in words(reader.page(f"{NIGHT}/sources?page=2"))
    found = reader.page(f"{NIGHT}/sources?q=J001&page=1")
    assert "1\N{EN DASH}10 of 10 sources, 120 in all" in words(found)
    assert "page=3" in reader.page(f"{NIGHT}/sources?page=2")


def test_a_source_shows_pictures_fluxes_and_calibration(
    mixed_night: NightMaker, reader: Reader
) -> None:
    report = write_report(mixed_night.ledger)
    source = report.sources[0]
    html = reader.page(f"{NIGHT}/groups/{source.group_id}/sources/{source.name}")
    page = Page(html)
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == [
        f"Image of {source.name}",
        f"Spectrum of {source.name}",
    ]
    windows = rows(html, "Table of spectral windows")
    assert len(windows) == len(source.spws)
    assert f"{source.spws[0].flux_jy * 1e3:.2f}" in windows[0]
    assert "0834+555" in words(html)
    # A source that was planned and never came.
    lost = reader.page(f"{NIGHT}/groups/{report.groups[1].group_id}/sources/J0820+545")
    assert "It was planned for this group, and has no outcome." in words(lost)


def test_a_picture_that_was_removed_is_named(mixed_night: NightMaker, reader: Reader) -> None:
    source = write_report(mixed_night.ledger).sources[0]
    (mixed_night.ledger.night_dir / source.products["stamp"]).unlink()
    text = words(reader.page(f"{NIGHT}/groups/{source.group_id}/sources/{source.name}"))
    assert "stamp.png is listed but cannot be opened" in text


def test_an_open_night_shows_what_is_there_so_far(
    mixed_night: NightMaker, reader: Reader, facts: GivenFacts
) -> None:
    """What has not come yet is no failure, as it will be in the report."""
    html = reader.page(NIGHT)
    text = words(html)
    assert "No report yet" in text
    assert "So far 2 Measurement Sets of 5 groups, and 4 source measurements of 5 planned" in text
    assert "Airflow does not work on it now" in text
    assert "no outcome yet" in rows(html, "Table of groups")[4]
    assert "tmpfs is full" in text
    assert "task is still running, or was killed" not in text
    facts.runs = [make_run(DATE)]
    text = words(reader.page(NIGHT))
    assert "In progress" in text
    assert "Airflow works on it" in text


def test_a_damaged_report_gives_way_to_the_records(mixed_night: NightMaker, reader: Reader) -> None:
    write_report(mixed_night.ledger)
    path = mixed_night.ledger.report_json
    path.write_bytes(path.read_bytes()[:-2000])
    text = words(reader.page(NIGHT))
    assert f"{path} cannot be read" in text
    assert "this page is drawn from the records" in text
    assert len(rows(reader.page(NIGHT), "Table of groups")) == 5


def test_damaged_records_are_named_and_the_rest_is_shown(
    mixed_night: NightMaker, reader: Reader
) -> None:
    records = mixed_night.ledger.records_dir
    conversion = min(records.glob("conversions/*.json"))
    conversion.write_text("{")
    (records / "solves" / "empty.json").write_text("")
    html = reader.page(NIGHT)
    assert str(conversion) in html
    assert "empty.json" in html
    lines = rows(html, "Table of groups")
    assert len(lines) == 5
    assert "sound" in lines[0]  # its sources name its MS


def test_a_night_without_a_listing(night: NightMaker, reader: Reader) -> None:
    night.ledger.save_plan(ImagingPlan(group_id=night.group_id(0), source_names=["J1"]))
    assert "J1" in reader.page(f"{NIGHT}/sources")
    assert night.group_id(0) in reader.page(NIGHT).replace(" ", "T")


def test_without_airflow_the_rest_is_shown(
    mixed_night: NightMaker, reader: Reader, facts: GivenFacts
) -> None:
    report = write_report(mixed_night.ledger)
    facts.is_down = True
    group = report.groups[0].group_id
    for path in ("/", "/now", NIGHT, f"{NIGHT}/groups/{group}"):
        text = words(reader.page(path))
        assert "Airflow's database does not answer: database is locked" in text
    assert "Airflow did not answer" in words(reader.page("/now"))
    assert report.headline in words(reader.page(NIGHT))


def test_records_are_shown_as_text(night: NightMaker, reader: Reader, facts: GivenFacts) -> None:
    """Nothing on record becomes markup, or an address that runs a script."""
    attack = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{7*7}}"
    group = night.add_group(0, problems=[attack])
    night.rejects.append(RejectedFile(file="/in/core.1", reason=attack))
    night.save_listing()
    night.convert(group, ConversionState.FAILED, reason=attack)
    name = 'J1"><script>alert(3)<'
    night.image(group, name, draw=draw_plain, notes=[attack], error=attack, success=False)
    run = NightLedger(night.root / "nights", DATE, name_run(group, attack))
    run.save_plan(ImagingPlan(group_id=group, source_names=[name]))
    failed = {"success": False, "error": attack, "notes": [attack]}
    run.save_source(group, night.measure(group, name, 0.3).model_copy(update=failed))
    facts.tasks = [replace(make_task(attack), run_id=attack, subject=attack)]
    assert "onerror" in reader.page("/by_hand")
    assert "onerror" in reader.page("/now")
    assert "core.1 (&lt;script" in reader.page(NIGHT)
    for url, status, html in crawl(reader, "/", f"{NIGHT}/sources?q={attack}&state={attack}"):
        assert status == 200, url
        assert "<script>" not in html
        assert "onerror=alert" not in html.replace("&lt;img src=x onerror=alert", "")
        assert "49" not in re.findall(r"`(\S*)", html)


@pytest.mark.parametrize(
    "path",
    [
        "/nights/2026-01-24",
        "/nights/today",
        "/nights/%2e%2e",
        f"{NIGHT}/groups/2026-01-25T00:00:00",
        f"{NIGHT}/groups/2026-01-25T02:41:07/sources/nobody",
        "/static/secrets.json",
        "/nowhere",
    ],
)
def test_what_is_not_there(mixed_night: NightMaker, reader: Reader, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 404
    assert "There is nothing here" in words(answer.text)
    assert reader.get(path, headers={}).json()["detail"]


def test_pages_load_nothing_from_elsewhere_and_are_not_kept(
    mixed_night: NightMaker, reader: Reader
) -> None:
    for url, _, html in crawl(reader, "/", "/now", NIGHT):
        if not html or url.endswith("report.html"):
            continue
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html), url
        headers = reader.get(url).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert " style=" not in html  # the policy would not let it
