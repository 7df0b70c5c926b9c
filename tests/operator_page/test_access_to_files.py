"""Who is let in, and which files are handed out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi import HTTPException, Request
from fastapi.routing import APIRoute
from support.night_records import DATE, NightMaker, draw_plain
from support.operator_desk import GivenFacts, Reader, post

from dsa110_contimg.operator_page.access import NotLoggedInError
from dsa110_contimg.operator_page.app import create_app
from dsa110_contimg.operator_page.late import PREFIX, LateApp
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit


def refuse(request: Request) -> None:
    raise NotLoggedInError


def forbid(request: Request) -> None:
    raise HTTPException(403, "Forbidden")


@pytest.fixture
def addresses(mixed_night: NightMaker, settings: Settings) -> list[str]:
    """One of every route, pictures and style included."""
    source = write_report(mixed_night.ledger).sources[0]
    night, group = f"/nights/{DATE}", f"/nights/{DATE}/groups/{source.group_id}"
    found = [
        "/",
        "/now",
        "/by_hand",
        night,
        f"{night}/sources",
        group,
        f"{group}/sources/{source.name}",
        f"{night}/report.html",
        f"{night}/report.json",
        f"/products/{DATE}/{source.group_id}/{source.name}/stamp.png",
        "/static/page.css",
        "/nowhere",
    ]
    app = create_app(settings, refuse, GivenFacts(), prefix=PREFIX)
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    readable = [route for route in routes if "GET" in route.methods]
    assert len(found) == len(readable) == len(routes) - 1 == len(app.routes) - 1  # none is missing
    return found


def test_every_route_is_behind_the_guard(addresses: list[str], settings: Settings) -> None:
    stranger, outsider = Reader(settings, admit=refuse), Reader(settings, admit=forbid)
    for address in addresses:
        assert stranger.get(address, headers={}).status_code == 401
        login = stranger.get(f"{address}?a=b")
        assert login.status_code == 303
        assert login.headers["location"].startswith("/api/v2/auth/login?next=%2Foperator%2F")
        assert login.headers["location"].endswith("%3Fa%3Db")
        refused = outsider.get(address)
        assert refused.status_code == 403
        assert "You may not see this" in refused.text
        assert outsider.get(address, headers={}).json() == {"detail": "Forbidden"}


def test_whoever_is_let_in_gets_them_all(addresses: list[str], reader: Reader) -> None:
    codes = {address: reader.get(address).status_code for address in addresses}
    assert codes.pop("/nowhere") == 404
    assert set(codes.values()) == {200}


def test_nothing_can_be_changed_but_results_by_hand(settings: Settings) -> None:
    """Their button is behind the guard, too, and asks for more: `test_by_hand_page`."""
    app = create_app(settings, refuse, GivenFacts(), prefix=PREFIX)
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    [writing] = [route for route in routes if not route.methods <= {"GET", "HEAD"}]
    assert (writing.methods, writing.path) == (
        {"POST"},
        "/nights/{date}/by_hand/{run}/withdraw",
    )
    assert post(Reader(settings, admit=refuse), "run", {}) == 401
    assert post(Reader(settings, admit=forbid), "run", {}) == 403


@pytest.fixture
def treasure(mixed_night: NightMaker) -> Path:
    """What nobody may read, inside and beside the directories that are served."""
    write_report(mixed_night.ledger)
    root = mixed_night.root
    secret = root / "airflow" / "secrets.json"
    secret.parent.mkdir()
    secret.write_text('{"fernet": "treasure"}')
    for folder in ("products", "ms", "nights", "calibration"):
        (root / folder / DATE / "stamp.png").write_text("treasure")
    return root


@pytest.mark.parametrize(
    "path",
    [
        "/products/../airflow/secrets.json",
        "/products/%2e%2e/airflow/secrets.json",
        "/products/..%2fairflow%2fsecrets.json",
        "/products/x/..%2f..%2fairflow/secrets.json",
        f"/products/{DATE}/..%2f..%2fairflow%2fsecrets.json",
        f"/products/{DATE}/..%5c..%5cairflow%5csecrets.json",
        f"/products/{DATE}//etc/passwd",
        f"/products/{DATE}/%2fetc%2fpasswd",
        f"/products/{DATE}/stamp.png",
        f"/products/{DATE}/stamp.png%00.json",
        f"/ms/{DATE}/stamp.png",
        f"/calibration/{DATE}/stamp.png",
        f"/nights/{DATE}/stamp.png",
        f"/nights/{DATE}/records/discovery.json",
        f"/nights/{DATE}/..%2f..%2fairflow%2fsecrets.json",
        "/nights/..%2fairflow/report.json",
        "/airflow/secrets.json",
        "/airflow/x/secrets.json",
        "/static/..%2fbase.html.j2",
        f"/products/..%2fairflow/secrets.json?night={DATE}",
        f"/products/{DATE}/x.png?night=..",
    ],
)
def test_only_files_on_record_are_handed_out(treasure: Path, reader: Reader, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 404
    assert "treasure" not in answer.text
    assert "root:" not in answer.text


def test_links_that_lead_out_are_not_followed(
    treasure: Path, night: NightMaker, reader: Reader
) -> None:
    group = night.add_group(0)
    target = treasure.parent / "outside"
    target.mkdir()
    (target / "stamp.png").write_text("treasure")
    folder = treasure / "products" / DATE / group / "linked"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(target)
    result = night.measure(group, "linked", 0.02)
    night.plan(group, [*night.planned.get(group, []), "linked"])
    night.ledger.save_source(group, result)
    report = write_report(night.ledger)
    assert any("linked/stamp.png" in one.products.get("stamp", "") for one in report.sources)
    answer = reader.get(f"/products/{DATE}/{group}/linked/stamp.png")
    assert answer.status_code == 404


def test_products_outside_of_the_work_directory_are_not_handed_out(
    night: NightMaker, reader: Reader, tmp_path: Path
) -> None:
    group = night.add_group(0)
    night.convert(group)
    elsewhere = tmp_path / "elsewhere"
    night.image(group, "J1", draw=draw_plain, products_dir=str(elsewhere))
    write_report(night.ledger)
    html = reader.page(f"/nights/{DATE}/groups/{group}/sources/J1")
    assert "stamp.png is listed but cannot be opened" in html
    assert reader.get(f"/products/..%2f..%2felsewhere/stamp.png?night={DATE}").status_code == 404


def test_the_application_is_built_once_when_first_asked() -> None:
    built = []

    async def answer(scope: object, receive: object, send: object) -> None:
        built.append("answered")

    def build() -> object:
        built.append("built")
        return answer

    app = LateApp(build)  # type: ignore[arg-type]
    assert built == []

    async def ask() -> None:
        await asyncio.gather(*(app({}, None, None) for _ in range(5)))  # type: ignore[arg-type]

    asyncio.run(ask())
    assert built == ["built", *["answered"] * 5]
