"""The operator page inside a real Airflow: behind its login, in a real browser."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import httpx
import pytest
from support.devtools import Tab, browse
from support.live_airflow import LiveAirflow
from support.login import log_in
from typer.testing import CliRunner, Result

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.cli.main import app
from dsa110_contimg.operator_page.late import PREFIX
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow, choose_port
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.qa.by_hand import name_run
from dsa110_contimg.qa.records import BY_HAND, NightLedger
from dsa110_contimg.settings import Settings
from dsa110_contimg.simulation.night import SimulationOptions, simulate
from dsa110_contimg.storage.files import remove_for_sure

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

DATE = "2026-01-25"
PASSWORDS = {"olga": "operators-own", "norbert": "has-no-role", "otto": "starts-runs"}
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAirflow]:
    """The embedded Airflow, after a night of one group and two sources."""
    names = ("bright", "faint")
    observed = simulate(
        SimulationOptions(
            output_dir=tmp_path_factory.mktemp("seen") / "incoming",
            start=datetime(2026, 1, 25, 8, 4, 54, tzinfo=UTC),
            n_groups=1,
            n_antennas=6,
            sefd_jy=10.0,
            sources=tuple(
                Source(name=name, ra_deg=128.55 + 0.2 * k, dec_deg=54.6, flux_jy=2.0 - k)
                for k, name in enumerate(names)
            ),
        )
    )
    settings = Settings(
        work_dir=tmp_path_factory.mktemp("seen") / "work",
        sandbox_root=tmp_path_factory.mktemp("seen") / "sandboxes",
        input_dir=observed.output_dir,
        sources_file=observed.sources_path,
        photometry="image",
        backend="ducc0",
        calibration="off",
    )
    with EmbeddedAirflow(settings, parallelism=4, schedule=False) as airflow:
        live = LiveAirflow(airflow, settings)
        live.client.set_paused(NIGHT_DAG, paused=False)
        assert live.finish(live.trigger(NIGHT_DAG, {"date": DATE})) == ["success"]
        yield live


@pytest.fixture(scope="module")
def guarded(processed: LiveAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A second api-server on the same database, which asks for passwords; its address."""
    home, port = processed.airflow.home, choose_port()
    passwords = tmp_path_factory.mktemp("secrets") / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    environment = {
        **home.environment(port=port, parallelism=1, schedule=False),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "olga:viewer,norbert:,otto:user",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
    url = f"http://127.0.0.1:{port}"
    with (passwords.parent / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "dsa110_contimg.orchestration.guard", "6"),
                *(sys.executable, "-P", "-m", "airflow", "api-server"),
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=home.path,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while not _is_up(url):
            assert server.poll() is None, (passwords.parent / "log").read_text()
            assert time.monotonic() < until, (passwords.parent / "log").read_text()
            time.sleep(0.5)
        yield url
    finally:
        assert server.stdin
        server.stdin.close()
        server.wait(timeout=30)


def _is_up(url: str) -> bool:
    """Whether the api-server answers."""
    try:
        return httpx.get(f"{url}/api/v2/monitor/health", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def viewer(guarded: str) -> Iterator[httpx.Client]:
    """A user who may read DAGs."""
    with log_in(guarded, "olga", PASSWORDS["olga"]) as client:
        yield client


@pytest.fixture(scope="module")
def addresses(processed: LiveAirflow) -> list[str]:
    """One of every kind."""
    report = processed.report(DATE)
    source = report["sources"][0]
    night = f"{PREFIX}/nights/{DATE}"
    group = f"{night}/groups/{quote(source['group_id'])}"
    picture = f"products/{DATE}/{quote(source['group_id'])}/{source['name']}/stamp.png"
    return [
        *(f"{PREFIX}/", f"{PREFIX}/now", night, f"{night}/sources", group),
        f"{group}/sources/{source['name']}",
        *(f"{night}/report.html", f"{night}/report.json", f"{PREFIX}/{picture}"),
        *(f"{PREFIX}/static/page.css", f"{PREFIX}/static/icon.svg"),
    ]


def test_nobody_comes_in_without_a_login(guarded: str, addresses: list[str]) -> None:
    forged = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJvbGdhIiwicm9sZSI6IkFETUlOIn0.x"
    for cookies in ({}, {"_token": "nonsense"}, {"_token": forged}):
        with httpx.Client(base_url=guarded, trust_env=False, timeout=60) as stranger:
            for address in [*addresses, f"{PREFIX}/nowhere"]:
                stranger.cookies.clear()
                stranger.cookies.update(cookies)
                answer = stranger.get(address)
                assert answer.status_code == 401, address
                assert answer.json() == {"detail": "Not authenticated"}
                stranger.cookies.update(cookies)
                login = stranger.get(address, headers=HTML)
                assert login.status_code == 303, address
                target = urlsplit(login.headers["location"])
                assert (target.netloc, target.path) == ("", "/api/v2/auth/login")
                assert [unquote(url) for url in parse_qs(target.query)["next"]] == [
                    unquote(address)
                ]
    answer = httpx.get(
        f"{guarded}{addresses[0]}", headers={"Authorization": f"Bearer {forged}"}, trust_env=False
    )
    assert answer.status_code == 401


def test_a_user_without_a_role_sees_nothing(guarded: str, addresses: list[str]) -> None:
    with log_in(guarded, "norbert", PASSWORDS["norbert"]) as client:
        for address in [*addresses, f"{PREFIX}/nowhere"]:
            assert client.get(address).status_code == 403, address
            page = client.get(address, headers=HTML)
            assert page.status_code == 403
            assert "You may not see this" in page.text


def test_a_viewer_sees_pages_and_pictures(
    viewer: httpx.Client, addresses: list[str], processed: LiveAirflow
) -> None:
    for address in addresses:
        answer = viewer.get(address)
        assert answer.status_code == 200, address
        assert "For one user only" not in answer.text
    picture = next(address for address in addresses if address.endswith(".png"))
    path = processed.settings.work_dir / picture.removeprefix(f"{PREFIX}/").replace("%3A", ":")
    assert viewer.get(picture).content == path.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/products/../airflow/secrets.json",
        "/products/../../../../../../../../etc/passwd",
        "/products/%2e%2e/airflow/secrets.json",
        f"/products/{DATE}/..%2f..%2fairflow%2fsecrets.json",
        f"/nights/{DATE}/../../airflow/secrets.json",
        f"/nights/{DATE}/records/discovery.json",
        f"/products/{DATE}//etc/passwd",
        "/airflow/secrets.json",
        "/static/../pages.py",
    ],
)
def test_no_other_file_is_handed_out(viewer: httpx.Client, path: str) -> None:
    """Sent as they stand: a well-behaved client would tidy these addresses up."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.base_url.port or 0, timeout=60)
    token = viewer.cookies["_token"]
    connection.request("GET", f"{PREFIX}{path}", headers={"Cookie": f"_token={token}"})
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    # What leads out of the prefix is Airflow's own, which answers with its empty shell.
    assert answer.status == 404 or '<div id="root">' in content
    assert "FERNET" not in content
    assert "root:x" not in content
    assert "group_id" not in content


def test_tasks_lead_to_their_logs(
    viewer: httpx.Client, addresses: list[str], processed: LiveAirflow
) -> None:
    """As Airflow's own `log_url` has it: DAG, run, task, map index and try."""
    html = viewer.get(addresses[4]).text
    links = re.findall(r'data-airflow href="([^"]+)"', html)
    tasks = {re.search(r"/tasks/([\w.%]+)", link)[1] for link in links}  # type: ignore[index]
    assert tasks >= {"process.convert", "process.image", "prepare", "image", "summary"}
    for link in links:
        dag_id, run_id, task_id, index, number = re.fullmatch(  # type: ignore[union-attr]
            r"/dags/(\w+)/runs/([^/]+)/tasks/([\w.]+)(?:/mapped/(\d+))?\?try_number=(\d+)", link
        ).groups()
        log = viewer.get(
            f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{number}",
            params={"map_index": index or -1},
        )
        assert log.status_code == 200, link
    source_html = viewer.get(addresses[5]).text
    assert "image_ms: image</a>" in source_html
    assert "image_ms: summary</a>" not in source_html


def test_pools_of_now(viewer: httpx.Client) -> None:
    html = viewer.get(f"{PREFIX}/now").text
    assert "default_pool" in html
    assert re.search(r"1\s*pool of Measurement Sets is idle", html)
    assert "Airflow did not answer" not in html
    assert "Airflow&#39;s database" not in html


def test_a_night_in_progress(viewer: httpx.Client, processed: LiveAirflow) -> None:
    """A second run finds its work done; while it lasts, the pages say so."""
    run = processed.trigger(NIGHT_DAG, {"date": DATE})

    def shows_tasks() -> bool:
        return "Table of Airflow's tasks" in viewer.get(f"{PREFIX}/now").text

    processed.wait_until(shows_tasks, "a task on the page", 60)
    assert "tone-running" in viewer.get(f"{PREFIX}/").text
    assert "In progress" in viewer.get(f"{PREFIX}/nights/{DATE}").text
    assert processed.finish(run) == ["success"]
    html = viewer.get(f"{PREFIX}/nights/{DATE}").text
    assert "In progress" not in html
    assert len(set(re.findall(r"/dags/nightly_transit/runs/([^\"]+)", html))) == 2


def test_the_embedded_airflow_says_whom_it_is_for(processed: LiveAirflow) -> None:
    html = httpx.get(f"{processed.airflow.url}{PREFIX}/", trust_env=False, timeout=60).text
    assert "For one user only" in html


FRAME = "document.querySelector('iframe').contentDocument"


@pytest.fixture
def tab(guarded: str, tmp_path: Path) -> Iterator[Tab]:
    """A browser in which olga has logged in by hand, having asked for a page of the operator's."""
    with browse(tmp_path / "profile") as opened:
        opened.open(f"{guarded}{PREFIX}/now")
        opened.click("document.querySelector('input[name=username]')")
        opened.write("olga")
        opened.click("document.querySelector('input[name=password]')")
        opened.write(PASSWORDS["olga"])
        opened.press("Enter")
        # The login leads back to what was asked for.
        opened.wait("document.querySelector('h1')?.innerText === 'What is running'")
        opened.complaints.clear()
        yield opened


def heading(tab: Tab) -> str:
    """The heading of the page inside Airflow's frame."""
    text: str = tab.run(f"{FRAME}.querySelector('h1').innerText")
    return text


@pytest.mark.needs("chromium")
def test_from_the_navigation_to_a_picture_and_a_log(
    tab: Tab, guarded: str, processed: LiveAirflow, tmp_path: Path
) -> None:
    """By mouse, inside Airflow's frame; the address bar follows."""
    source = processed.report(DATE)["sources"][0]
    tab.open(f"{guarded}/")
    tab.click("document.querySelector('[aria-label=Nights]')")
    tab.wait(f"{FRAME}.querySelector('h1')?.innerText === 'January 2026'")
    tab.photograph(tmp_path / "framed-calendar.png")
    tab.click(f"{FRAME}.querySelector('.month a')")
    tab.wait(f"{FRAME}.querySelector('.verdict') !== null")
    assert processed.report(DATE)["headline"] in heading(tab)
    tab.wait(f"location.pathname === '/plugin/nights{PREFIX}/nights/{DATE}'")
    tab.click(f"{FRAME}.querySelector('#groups tbody a')")
    tab.wait(f"{FRAME}.querySelector('h1').innerText.startsWith('Group {DATE}')")
    tab.click(f"[...{FRAME}.querySelectorAll('td, th a')].find(a => a.innerText === 'bright')")
    tab.wait(f"{FRAME}.querySelector('h1').innerText === 'bright'")
    tab.wait(f"[...{FRAME}.images].every(image => image.complete && image.naturalWidth > 300)")
    assert tab.run(f"{FRAME}.images.length") == 2
    tab.photograph(tmp_path / "framed-source.png")
    assert f"{source['spws'][0]['snr']:.1f}" in tab.run(f"{FRAME}.body.innerText")
    tab.click(f"{FRAME}.querySelector('a.pic')")
    tab.wait(f"{FRAME}.contentType === 'image/png'")
    tab.run("history.back()")
    tab.wait(f"{FRAME}.querySelector('h1')?.innerText === 'bright'")
    assert tab.complaints == []
    # The log opens in Airflow itself, not inside the frame.
    tab.click(f"{FRAME}.querySelector('a[data-airflow]')")
    tab.wait("location.pathname.startsWith('/dags/image_ms/runs/')")
    assert not tab.run("document.querySelector('iframe')")
    tab.wait("document.body.innerText.includes('Log message source details')", timeout_s=60)
    tab.photograph(tmp_path / "log.png")


@pytest.mark.needs("chromium")
def test_by_keyboard_alone(tab: Tab, guarded: str) -> None:
    """Every stop shows where it is, says what it is, and Enter follows it."""
    focus = "document.activeElement"

    def go_to(found: str, most: int = 60) -> None:
        for _ in range(most):
            tab.press("Tab")
            if tab.run(f"{focus} !== document.body && ({found})"):
                style = tab.run(f"getComputedStyle({focus}).outlineStyle")
                assert style != "none", found
                return
        raise AssertionError(f"no stop for {found}")

    def follow(title: str) -> None:
        tab.press("Enter")
        tab.wait(f"document.title.startsWith('{title}') && document.readyState === 'complete'")

    tab.open(f"{guarded}{PREFIX}/")
    go_to(f"{focus}.className === 'skip'", most=1)
    tab.press("Enter")
    assert tab.wait("location.hash") == "#main"
    go_to(f"{focus}.matches('.month a')", most=3)
    follow(DATE)
    go_to(f"{focus}.name === 'q'")
    tab.write("08:04")
    tab.press("Enter")
    tab.wait("location.search.includes('q=08%3A04')")
    go_to(f"{focus}.matches('#groups tbody a')")
    follow("Group")
    go_to(f"{focus}.innerText === 'bright'")
    follow("bright")
    go_to(f"{focus}.matches('a.pic')")
    # Whatever takes the focus has a name.
    assert tab.run(
        """[...document.querySelectorAll('a, button, input, select, [tabindex="0"]')].every(
             (e) => e.innerText?.trim() || e.ariaLabel || e.labels?.length ||
               e.querySelector('[alt]')
           )"""
    )
    assert tab.complaints == []


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_laptop_and_is_legible(
    tab: Tab, guarded: str, addresses: list[str], scheme: str, tmp_path: Path
) -> None:
    """No page scrolls sideways; text stands out from what is behind it (WCAG AA: 4.5 to 1)."""
    tab.prefer(scheme)
    for number, address in enumerate(addresses[:6]):
        tab.open(f"{guarded}{address}")
        tab.photograph(tmp_path / f"{scheme}{number}.png", whole=True)
        root = "document.documentElement"
        assert tab.run(f"{root}.scrollWidth <= {root}.clientWidth"), address
        assert tab.run(CONTRASTS) == [], address
    assert tab.complaints == []


@pytest.fixture(scope="module")
def by_hand(processed: LiveAirflow) -> dict[str, str]:
    """Runs of image_ms by hand: a name of the night elsewhere, a source of its own, and a slip of
    the pen, which is refused.
    """
    [ms] = (processed.settings.ms_dir / DATE).glob("*.ms")
    texts = {
        "moved": "bright 128.75 54.6",
        "other": "OTHER 128.75 54.6",
        "typo": "TYPO 8.6 54.96",
    }
    forms = {
        name: {"ms": str(ms), "sources_text": text, "max_spws": 2} for name, text in texts.items()
    }
    runs = {name: processed.trigger(IMAGE_DAG, form, name) for name, form in forms.items()}
    assert processed.finish(*runs.values()) == ["success", "success", "failed"]
    del runs["typo"]
    return {name: name_run(ms.stem, run_id) for name, (_, run_id) in runs.items()}


def command(processed: LiveAirflow, *arguments: str) -> Result:
    where = ["--work-dir", str(processed.settings.work_dir)]
    return CliRunner().invoke(app, ["by-hand", DATE, *where, *arguments])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the night's products."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and BY_HAND not in path.parts
    }


def measured(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What a night has measured, and where."""
    keys = ("name", "ra_deg", "dec_deg", "success", "best_snr", "n_images", "products")
    return [tuple(source[key] for key in keys) for source in report["sources"]]


def test_results_by_hand_leave_the_night_alone(
    processed: LiveAirflow, viewer: httpx.Client, request: pytest.FixtureRequest
) -> None:
    products = processed.settings.products_dir / DATE
    before, products_before = processed.report(DATE), contents(products)
    moved, other = (request.getfixturevalue("by_hand")[name] for name in ("moved", "other"))
    assert contents(products) == products_before
    assert processed.finish(processed.trigger(NIGHT_DAG, {"date": DATE})) == ["success"]
    after = processed.report(DATE)
    assert measured(after) == measured(before)
    assert (after["verdict"], after["failures"], after["losses"]) == ("complete", [], [])
    assert {run["run"]: run["verdict"] for run in after["by_hand"]} == {
        moved: "complete",
        other: "complete",
    }
    page = viewer.get(f"{PREFIX}/by_hand").text
    assert moved in page
    assert other in page
    assert "TYPO" not in page
    assert "Withdraw" not in page
    listed = json.loads(command(processed, "--json").stdout)
    assert [run["run"] for run in listed] == sorted([moved, other])


def test_what_a_night_started_goes_to_the_night_when_it_is_cleared(
    processed: LiveAirflow, by_hand: dict[str, str]
) -> None:
    run, *_ = [
        run["dag_run_id"]
        for run in processed.client.dag_runs(IMAGE_DAG)
        if run["run_type"] == "operator_triggered"
    ]
    night = NightLedger(processed.settings.nights_dir, DATE)
    [group] = night.load().sources
    assert remove_for_sure(night.records_dir / "sources" / group) == []
    assert night.load().sources == {}
    processed.clear((IMAGE_DAG, run), "measure", downstream=True)
    assert processed.finish((IMAGE_DAG, run)) == ["success"]
    assert {source.name for source in night.load().sources[group]} == {"bright", "faint"}
    assert night.list_by_hand() == sorted(by_hand.values())


def test_results_by_hand_are_withdrawn_by_those_who_may_start_runs(
    processed: LiveAirflow, guarded: str, viewer: httpx.Client, by_hand: dict[str, str]
) -> None:
    address = f"{PREFIX}/nights/{DATE}/by_hand/{quote(by_hand['other'])}/withdraw"
    here = {"Sec-Fetch-Site": "same-origin"}
    assert viewer.post(address, headers=here).status_code == 403
    with log_in(guarded, "otto", PASSWORDS["otto"]) as client:
        assert client.get(f"{PREFIX}/by_hand").text.count("Withdraw these results") == 2
        assert client.post(address).status_code == 403
        assert client.post(address, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert by_hand["other"] in client.get(f"{PREFIX}/by_hand").text
        assert client.post(address, headers=here).headers["location"] == f"{PREFIX}/by_hand"
        assert by_hand["other"] not in client.get(f"{PREFIX}/by_hand").text
        assert client.post(address, headers=here).status_code == 404
    refused = command(processed, "--withdraw", by_hand["other"])
    assert refused.exit_code == 1
    report = processed.report(DATE)
    assert [run["run"] for run in report["by_hand"]] == [by_hand["moved"]]
    assert report["verdict"] == "complete"


@pytest.mark.needs("chromium")
def test_results_by_hand_are_withdrawn_by_mouse(
    processed: LiveAirflow, by_hand: dict[str, str], tmp_path: Path
) -> None:
    """Inside Airflow's frame, which lets forms through."""
    with browse(tmp_path / "profile") as tab:
        tab.open(f"{processed.airflow.url}/")
        tab.click("document.querySelector('[aria-label=Nights]')")
        tab.click(f"[...{FRAME}.querySelectorAll('nav a')].find(a => a.innerText === 'By hand')")
        tab.wait(f"{FRAME}.body.innerText.includes('{by_hand['moved']}')")
        tab.click(f"{FRAME}.querySelector('details summary')")
        tab.click(f"{FRAME}.querySelector('form button')")
        tab.wait(f"{FRAME}.body.innerText.includes('There are no results by hand.')")
        assert tab.complaints == []
    assert "no results by hand" in command(processed).stdout
    assert processed.report(DATE)["by_hand"] == []


CONTRASTS = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color, under) => {
    canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const css = (c) => `rgb(${c[0]} ${c[1]} ${c[2]})`;
  const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, k) => {
    const s = c[k] / 255;
    return sum + weight * (s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (element) => element
    ? css(rgb(getComputedStyle(element).backgroundColor, behind(element.parentElement)))
    : css(rgb("Canvas", "white"));
  const poor = [];
  for (const element of document.querySelectorAll("main *, header *, footer *")) {
    const says = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!says || element.closest("svg, .off") || !element.getClientRects().length) continue;
    const under = behind(element);
    const [a, b] = [rgb(getComputedStyle(element).color, under), rgb(under, under)].map(luminance);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.innerText.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
})()
"""
