"""The registry of solutions, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import math
import multiprocessing
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Executable, create_engine, text
from support.permissions import permissions_enforced
from support.postgres import PostgresServer, running_postgres
from support.solution_sets import GOOD, MID_MJD, make_set

from dsa110_contimg.calibration import registry_database
from dsa110_contimg.calibration.models import CalTable
from dsa110_contimg.calibration.registry import Registry, SetState, SolvedTransit, array_digest
from dsa110_contimg.calibration.registry_schema import schema_table, sets_table
from dsa110_contimg.errors import InputError, TransientError

pytestmark = pytest.mark.unit

N_PROCESSES = 8
N_ADDS = 25
TRANSIT = SolvedTransit(
    set_id="near", calibrator="0834+555", group_id="group", mid_mjd=MID_MJD, dec_deg=54.57
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a registry that does not exist yet, in each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'not' / 'yet' / 'registry.sqlite'}"
    return request.getfixturevalue("postgres").new_database()


def run_at_once(work: Callable[..., None], *arguments: object) -> list[str | None]:
    """Run a function in several processes that start together; what went wrong in them."""
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(N_PROCESSES), context.Queue()
    processes = [
        context.Process(target=_answer, args=(work, start, answers, number, *arguments))
        for number in range(N_PROCESSES)
    ]
    for process in processes:
        process.start()
    said = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    return [error for error in said if error]


def _answer(work, start, answers, number, *arguments) -> None:
    """Run in a child."""
    start.wait()
    try:
        work(number, *arguments)
    except Exception as error:  # noqa: BLE001 - the parent judges it
        answers.put(repr(error))
    else:
        answers.put(None)


def _add_own_and_shared(number: int, url: str) -> None:
    """Add sets of its own, and now and then one that all the others add, too."""
    registry = Registry(url)
    for index in range(N_ADDS):
        registry.add(make_set(f"p{number}-{index:02d}", hours=index))
        if index % 5 == 0:
            registry.add(make_set("shared", refant=f"pad{number}-{index}"))


def test_a_set_comes_back_as_it_went_in(url):
    quality = GOOD.model_copy(update={"median_snr": math.inf, "phase_scatter_deg": 0.1 + 0.2})
    table = CalTable(kind="gain", name="g.cal", files={"table.dat": "ab"}, quality=quality)
    given = make_set(tables=[table], notes=['quotes " and \\ and µ'], mid_mjd=61065.1 + 0.2)
    registry = Registry(url)
    added = registry.add(given)
    assert added.solution_set == given
    found = Registry(url).get("near")
    assert found == added
    assert (found.state, found.reason, found.problem) == (SetState.GOOD, None, None)
    assert (found.calibrator, found.mid_mjd, found.dec_deg) == ("0834+555", given.mid_mjd, 54.57)
    assert registry.get("another") is None


def test_columns_can_be_queried_without_reading_the_document(url):
    Registry(url).add(make_set())
    query = "SELECT calibrator, group_id, state, array_digest FROM calibration_sets"
    engine = create_engine(url)
    with engine.connect() as connection:
        row = tuple(connection.execute(text(query)).one())
    engine.dispose()
    assert row == ("0834+555", "group-of-near", "good", array_digest(make_set().array))
    assert array_digest(["a", "b"]) != array_digest(["b", "a"]) != array_digest(["ba"])


def test_the_same_set_replaces_what_was_there(url):
    registry = Registry(url)
    first = registry.add(make_set(refant="pad1"))
    second = registry.add(make_set(refant="pad2"))
    assert [record.solution_set.refant for record in registry.list_sets()] == ["pad2"]
    assert first.created == second.created <= second.changed


def test_processes_at_once_lose_nothing_and_make_the_schema_once(url):
    assert run_at_once(_add_own_and_shared, url) == []
    found = {record.set_id: record for record in Registry(url).list_sets()}
    own = {f"p{number}-{index:02d}" for number in range(N_PROCESSES) for index in range(N_ADDS)}
    assert set(found) == own | {"shared"}
    last = {f"pad{number}-20" for number in range(N_PROCESSES)}
    assert found["shared"].solution_set.refant in last
    engine = create_engine(url)
    with engine.connect() as connection:
        versions = connection.execute(text("SELECT version FROM calibration_schema")).all()
    engine.dispose()
    assert [tuple(row) for row in versions] == [(1,)]


def test_a_refused_transit_is_told_with_its_reason(url):
    registry = Registry(url)
    registry.refuse(TRANSIT, "the bandpass solve found no solution")
    found = registry.get("near")
    assert (found.state, found.solution_set) == (SetState.REFUSED, None)
    assert found.reason == "the bandpass solve found no solution"
    registry.refuse(make_set(), "SNR 2.1 is below 5")
    assert registry.get("near").solution_set == make_set()
    registry.add(make_set())
    assert (registry.get("near").state, registry.get("near").reason) == (SetState.GOOD, None)
    registry.refuse(TRANSIT, "no data")
    assert (registry.get("near").state, registry.get("near").solution_set) == ("refused", None)


def test_only_an_operator_undoes_a_withdrawal(url):
    registry = Registry(url)
    registry.add(make_set(refant="pad1"))
    assert registry.withdraw("near", "wind").reason == "wind"
    solved_again = registry.add(make_set(refant="pad2"))
    assert (solved_again.state, solved_again.reason) == (SetState.WITHDRAWN, "wind")
    assert registry.withdraw("near", "much wind").reason == "much wind"
    back = registry.reinstate("near")
    assert (back.state, back.reason, back.solution_set.refant) == (SetState.GOOD, None, "pad2")
    assert registry.reinstate("near").state is SetState.GOOD


def test_an_operator_cannot_make_a_poor_set_good(url):
    registry = Registry(url)
    registry.refuse(make_set(), "SNR 2.1 is below 5")
    with pytest.raises(InputError, match=r"near was refused .* SNR 2.1 is below 5") as caught:
        registry.reinstate("near")
    assert caught.value.reason == "refused_set"
    assert registry.get("near").state is SetState.REFUSED


@pytest.mark.parametrize("change", [lambda r: r.withdraw("far", "x"), lambda r: r.reinstate("far")])
def test_an_unknown_set_cannot_be_changed(url, change):
    with pytest.raises(InputError, match="no set far is on record") as caught:
        change(Registry(url))
    assert caught.value.reason == "unknown_set"


def test_listing_by_time_calibrator_and_state(url):
    registry = Registry(url)
    for name, hours, calibrator in (("c", 2.0, "3C286"), ("b", -3.0, "x"), ("a", 2.0, "x")):
        registry.add(make_set(name, hours, calibrator=calibrator))
    registry.withdraw("b", "wind")

    def names(**selection: object) -> list[str]:
        return [record.set_id for record in registry.list_sets(**selection)]

    assert names() == ["b", "a", "c"]
    edge_mjd = make_set("a", 2.0).mid_mjd
    assert names(start_mjd=edge_mjd) == ["a", "c"]
    assert names(end_mjd=edge_mjd) == ["b"]
    assert names(calibrator="x") == ["b", "a"]
    assert names(calibrator="x", state=SetState.GOOD) == ["a"]


def test_neighbours_come_in_order_of_distance(url):
    registry = Registry(url)
    for name, hours in (("far", 40.0), ("b", 5.0), ("a", -5.0), ("later", 6.0), ("near", 0.5)):
        registry.add(make_set(name, hours))
    registry.withdraw("b", "wind")
    assert [r.set_id for r in registry.near(MID_MJD, 5.5)] == ["near", "a", "b"]
    assert [r.set_id for r in registry.nearest(MID_MJD, 2)] == ["near", "a"]
    assert len(registry.nearest(MID_MJD, 99)) == 5


@pytest.mark.parametrize("field", ["mid_mjd", "dec_deg"])
def test_a_set_without_time_or_place_is_not_registered(url, field):
    registry = Registry(url)
    with pytest.raises(InputError, match="near cannot be registered") as caught:
        registry.add(make_set(**{field: math.nan}))
    assert caught.value.reason == "bad_set"
    assert registry.list_sets() == []


def test_a_newer_schema_is_refused(url):
    Registry(url).add(make_set())
    _execute(url, schema_table.update().values(version=2))
    with pytest.raises(InputError, match=r"has version 2 .* knows version 1") as caught:
        Registry(url).list_sets()
    assert caught.value.reason == "registry_version"


@pytest.mark.parametrize("document", [{"set_id": "near"}, "text", 7])
def test_a_damaged_record_keeps_nobody_from_the_others(url, document):
    registry = Registry(url)
    registry.add(make_set("near"))
    registry.add(make_set("other", 3.0))
    damage = sets_table.update().where(sets_table.c.set_id == "near")
    _execute(url, damage.values(solution_set=document))
    damaged, whole = registry.list_sets()
    assert damaged.solution_set is None
    assert damaged.problem.startswith("the record of near cannot be read: ")
    assert whole.solution_set == make_set("other", 3.0)


def test_a_record_that_is_not_even_json(tmp_path):
    url = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    registry = Registry(url)
    registry.add(make_set())
    _execute(url, text("UPDATE calibration_sets SET solution_set = '{'"))
    assert "cannot be read" in registry.get("near").problem


def test_nothing_is_kept_of_a_transaction_that_fails(url):
    registry = Registry(url)
    registry.add(make_set(refant="pad1"))

    def delete_and_fail() -> None:
        with registry_database.Database(url).transaction(write=True) as connection:
            connection.execute(sets_table.delete())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        delete_and_fail()
    assert registry.get("near").solution_set.refant == "pad1"


def test_a_lock_that_is_not_given_up(url, monkeypatch):
    monkeypatch.setattr(registry_database, "_LOCK_TIMEOUT_S", 1)
    Registry(url).add(make_set())
    other = registry_database.Database(url)
    with other.transaction(write=True) as connection:
        connection.execute(text("UPDATE calibration_sets SET reason = 'held'"))
        with pytest.raises(TransientError, match="is locked") as caught:
            Registry(url).withdraw("near", "wind")
    assert caught.value.reason == "registry_locked"
    assert Registry(url).withdraw("near", "wind").state is SetState.WITHDRAWN


def test_readers_do_not_wait_for_a_writer_that_works(url, monkeypatch):
    monkeypatch.setattr(registry_database, "_LOCK_TIMEOUT_S", 1)
    Registry(url).add(make_set())
    with registry_database.Database(url).transaction(write=True) as connection:
        connection.execute(text("UPDATE calibration_sets SET reason = 'held'"))
        assert Registry(url).get("near").reason is None


@pytest.mark.parametrize(
    ("bad_url", "reason", "words"),
    [
        ("registry.sqlite", "bad_registry_url", "cannot be read"),
        ("", "bad_registry_url", "cannot be read"),
        ("postgresql://u:hush@host:port/db", "bad_registry_url", "cannot be read"),
        ("mysql://u:hush@host/db", "bad_registry_url", "cannot be kept in mysql"),
        ("sqlite://", "bad_registry_url", "names no file"),
        ("sqlite:///:memory:", "bad_registry_url", "names no file"),
        ("postgresql://u@host/db?password=hush", "bad_registry_url", "behind the question mark"),
    ],
)
def test_a_bad_url(bad_url, reason, words):
    with pytest.raises(InputError, match=words) as caught:
        Registry(bad_url)
    assert caught.value.reason == reason
    assert "hush" not in str(caught.value)


def test_a_server_that_is_not_there_is_named_without_its_password():
    registry = Registry("postgresql://night:hush@127.0.0.1:1/contimg")
    assert registry.name == "postgresql+psycopg://night:***@127.0.0.1:1/contimg"
    with pytest.raises(TransientError, match=r"night:\*\*\*@127.0.0.1:1/contimg is out") as caught:
        registry.list_sets()
    assert caught.value.reason == "registry_unreachable"
    assert "hush" not in str(caught.value)


def test_a_driver_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"night:\*\*\*@host/db needs psycopg") as caught:
        Registry("postgresql://night:hush@host/db")
    assert caught.value.reason == "missing_driver"


def test_a_server_whose_tables_may_not_be_read(postgres):
    url = postgres.new_database()
    Registry(url).add(make_set())
    _execute(url, text("CREATE ROLE stranger LOGIN"))
    with pytest.raises(InputError, match="permission denied") as caught:
        Registry(url.replace("contimg@", "stranger@")).list_sets()
    assert caught.value.reason == "registry_refused"


def test_a_file_that_is_no_registry(tmp_path):
    file = tmp_path / "registry.sqlite"
    file.write_bytes(b"not a database " * 400)
    with pytest.raises(InputError, match=rf"{file} is damaged: file is not a database") as caught:
        Registry(f"sqlite:///{file}").list_sets()
    assert caught.value.reason == "damaged_registry"


def test_a_registry_whose_pages_were_overwritten(tmp_path):
    file = tmp_path / "registry.sqlite"
    Registry(f"sqlite:///{file}").add(make_set())
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(InputError, match="is damaged") as caught:
        Registry(f"sqlite:///{file}").list_sets()
    assert caught.value.reason == "damaged_registry"


def test_a_registry_that_may_only_be_read(tmp_path):
    folder = tmp_path / "calibration"
    registry = Registry(f"sqlite:///{folder / 'registry.sqlite'}")
    registry.add(make_set())
    (folder / "registry.sqlite").chmod(0o444)
    folder.chmod(0o555)
    with permissions_enforced():
        assert Registry(f"sqlite:///{folder / 'registry.sqlite'}").get("near") is not None
        with pytest.raises(InputError, match=r"registry\.sqlite") as caught:
            registry.withdraw("near", "wind")
        with pytest.raises(InputError) as caught_new:
            Registry(f"sqlite:///{folder / 'new.sqlite'}").list_sets()
    assert {caught.value.reason, caught_new.value.reason} == {"registry_not_writable"}


def test_a_relative_file_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    registry = Registry("sqlite:///here/registry.sqlite")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    registry.add(make_set())
    assert registry.name == str(tmp_path / "here" / "registry.sqlite")
    assert (tmp_path / "here" / "registry.sqlite").is_file()


def test_the_journal_works_on_network_file_systems(tmp_path):
    file = tmp_path / "registry.sqlite"
    Registry(f"sqlite:///{file}").add(make_set())
    with sqlite3.connect(file) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert mode == "delete"
    assert [path.name for path in tmp_path.iterdir()] == ["registry.sqlite"]


def _execute(url: str, statement: Executable) -> None:
    """Do something to the database that the registry would not do."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(statement)
    engine.dispose()
