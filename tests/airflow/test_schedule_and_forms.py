"""The transit timetable of a running Airflow, files that come late, and both forms by REST."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.live_airflow import LiveAirflow, Run, seconds

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.catalog.sources import read_sources
from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.night import read_progress
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.orchestration.timetable import TransitSchedule
from dsa110_contimg.orchestration.waiting import read_obstacles
from dsa110_contimg.qa.by_hand import name_run, products_of_run
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import Settings
from dsa110_contimg.simulation.night import SimulationResult

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

DEC_DEG = 54.573
"""Of date, as the dishes point."""
HOURS = 0.3
"""Around the transit, which is in the middle of the second group: enough for the three."""
LATE = {1: ("sb03", "sb11"), 2: ("sb00", "sb01", "sb02", "sb03", "sb04")}
"""Subbands of the second and third group that are not there in time."""


class LateFiles:
    """A night some of whose files are held back at first."""

    def __init__(self, night: SimulationResult, incoming: Path):
        self.incoming = incoming
        incoming.mkdir()
        late = {night.groups[group].file_names[sb] for group, sbs in LATE.items() for sb in sbs}
        files = [Path(file) for file in night.files]
        self._late = [file for file in files if file.name in late]
        for file in files:
            if file.name not in late:
                self._deliver(file)

    def arrive(self) -> None:
        for file in self._late:
            self._deliver(file)

    def _deliver(self, file: Path) -> None:
        (self.incoming / file.name).symlink_to(file)


@pytest.fixture(scope="module")
def schedule(yesterday: SimulationResult) -> TransitSchedule:
    """Transits of what stood on the meridian in the middle of the second group."""
    ra_deg, dec_deg = meridian_icrs_deg(DEC_DEG, yesterday.groups[1].mid_jd)
    return TransitSchedule(ra_deg=ra_deg, dec_deg=dec_deg, hours=HOURS)


@pytest.fixture(scope="module")
def late_files(tmp_path_factory: pytest.TempPathFactory, yesterday: SimulationResult) -> LateFiles:
    return LateFiles(yesterday, tmp_path_factory.mktemp("late") / "incoming")


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory,
    yesterday: SimulationResult,
    schedule: TransitSchedule,
    late_files: LateFiles,
) -> Iterator[LiveAirflow]:
    """Airflow that has two nights to catch up with, or three, as the time of day has it."""
    first = datetime.fromisoformat(yesterday.groups[0].start_utc).date() - timedelta(days=1)
    settings = Settings(
        work_dir=tmp_path_factory.mktemp("transits") / "work",
        input_dir=late_files.incoming,
        sources_file=yesterday.sources_path,
        calibration="off",
        schedule="transit",
        schedule_ra_deg=schedule.ra_deg,
        schedule_dec_deg=schedule.dec_deg,
        schedule_transit_hours=HOURS,
        catchup_from=first,
        settle_s=1,
    )
    with EmbeddedAirflow(settings, parallelism=4) as airflow:
        yield LiveAirflow(airflow, settings)


@pytest.fixture(scope="module")
def caught_up(live: LiveAirflow) -> list[dict[str, Any]]:
    """The runs of the clock, in order of their intervals."""
    expected = _intervals_over(live.settings)
    live.client.set_paused(NIGHT_DAG, paused=False)

    def runs() -> list[dict[str, Any]]:
        return live.client.dag_runs(NIGHT_DAG, containing="scheduled__")

    live.wait_until(lambda: len(runs()) >= len(expected), "catching up", 60)
    live.finish(*((NIGHT_DAG, run["dag_run_id"]) for run in runs()))
    return sorted(runs(), key=lambda run: str(run["data_interval_start"]))


def _intervals_over(settings: Settings) -> list[tuple[int, int]]:
    """All intervals since the first date that are over."""
    assert settings.catchup_from is not None
    assert settings.schedule_ra_deg is not None
    schedule = TransitSchedule(
        ra_deg=settings.schedule_ra_deg, dec_deg=settings.schedule_dec_deg, hours=HOURS
    )
    midnight = datetime.combine(settings.catchup_from, datetime.min.time(), UTC)
    now_s = datetime.now(UTC).timestamp()
    numbers = range(
        schedule.first_starting_at(midnight.timestamp()), schedule.last_ended(now_s) + 1
    )
    return [schedule.interval(number) for number in numbers]


def outcomes(live: LiveAirflow, date: str) -> dict[str, tuple[str, str]]:
    """Outcome and reason of each group."""
    groups = live.report(date)["groups"]
    return {group["group_id"]: (group["outcome"], group["reason"] or "") for group in groups}


@pytest.fixture(scope="session")
def date(yesterday: SimulationResult) -> str:
    return yesterday.groups[0].start_utc[:10]


def test_every_transit_since_the_first_date_has_its_run(
    live: LiveAirflow, caught_up: list[dict[str, Any]], date: str
) -> None:
    found = [
        (seconds(run["data_interval_start"]), seconds(run["data_interval_end"]))
        for run in caught_up
    ]
    assert found == _intervals_over(live.settings)
    assert len(found) >= 2
    assert [run["state"] for run in caught_up] == ["success"] * len(found)
    dag = live.client.dag(NIGHT_DAG) or {}
    assert dag["timetable_description"].startswith("Transits of RA ")
    assert all(
        live.tasks(NIGHT_DAG, run["dag_run_id"])["settle", -1]["state"] == "success"
        for run in caught_up
    )
    nights = sorted(path.name for path in live.settings.nights_dir.iterdir())
    assert nights == sorted({run["data_interval_start"][:10] for run in caught_up})
    assert live.report(nights[0])["verdict"] == "empty"


def test_what_was_there_in_time_is_processed(
    live: LiveAirflow, caught_up: list[dict[str, Any]], date: str
) -> None:
    first, second, third = outcomes(live, date).values()
    assert first[0] == "converted"
    assert second == ("converted", "semi-complete: without sb03, sb11")
    assert third[0] == "rejected"


@pytest.fixture(scope="module")
def run_again(
    live: LiveAirflow, caught_up: list[dict[str, Any]], late_files: LateFiles, date: str
) -> Run:
    """A run by hand on the same night, once the late files are there."""
    late_files.arrive()
    run = live.trigger(NIGHT_DAG, {"date": date}, name="again")
    assert live.finish(run) == ["success"]
    return run


def test_a_rerun_picks_up_latecomers_only(live: LiveAirflow, run_again: Run, date: str) -> None:
    first, second, third = outcomes(live, date).values()
    assert first[0] == "skipped"
    assert second == ("converted", "made anew: sb03, sb11 arrived since")
    assert third == ("converted", "")
    report = live.report(date)
    assert (report["verdict"], report["losses"]) == ("complete", [])
    assert {source["success"] for source in report["sources"]} == {True}


def test_a_time_range_and_a_declination(live: LiveAirflow, run_again: Run, date: str) -> None:
    """The form of the night: one group of three, whose record leaves the others alone."""
    before = outcomes(live, date)
    second = sorted(before)[1]
    start = datetime.fromisoformat(second).replace(tzinfo=UTC)
    form = {
        "start": f"{start - timedelta(seconds=10):%Y-%m-%dT%H:%M:%SZ}",
        "end": f"{start + timedelta(seconds=10):%Y-%m-%dT%H:%M:%SZ}",
        "input_dir": str(live.settings.raw_dir),
        "sources_file": str(live.settings.sources_path),
        "dec_deg": DEC_DEG,
        "reprocess": False,
    }
    run = live.trigger(NIGHT_DAG, form, name="range")
    assert live.finish(run) == ["success"]
    converts = {index for task, index in live.tasks(*run) if task == "process.convert"}
    assert converts == {0}
    after = outcomes(live, date)
    assert after.pop(second)[0] == "skipped"
    assert after == {group: what for group, what in before.items() if group != second}
    elsewhere = live.trigger(NIGHT_DAG, {**form, "dec_deg": 16.0}, name="elsewhere")
    assert live.finish(elsewhere) == ["success"]
    assert live.tasks(*elsewhere)["process.convert", -1]["state"] == "skipped"


@contextmanager
def arriving(file: Path) -> Iterator[None]:
    """Let a file change again and again; it is gone at the end."""
    is_there = threading.Event()

    def write() -> None:
        while not is_there.wait(0.2):
            file.touch()

    file.touch()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        is_there.set()
        writer.join()
        file.unlink()


def test_what_a_night_waits_for_is_shown(
    live: LiveAirflow, caught_up: list[dict[str, Any]]
) -> None:
    """By its page, which is there with its run; by what is running; and to the commands."""
    day = "2020-02-10"
    file = live.settings.raw_dir / f"{day}T08:04:54_sb00.hdf5"
    with (
        arriving(file),
        httpx.Client(base_url=f"{live.airflow.url}/operator", trust_env=False) as browser,
    ):
        run = live.trigger(NIGHT_DAG, {"date": day}, name="waits")

        def read(path: str) -> str:
            answer = browser.get(path, headers={"Accept": "text/html"}, timeout=60)
            assert answer.status_code == 200
            return answer.text

        def says(path: str, *words: str) -> bool:
            page = read(path)
            return all(word in page for word in words)

        def awaited() -> bool:
            return any(wait.startswith(files) for wait in read_progress(live.client, run[1]).waits)

        assert "In progress" in read(f"/nights/{day}")
        files = "waits for files: last change "
        live.wait_until(lambda: says(f"/nights/{day}", files, "UTC, closes at "), files, 60)
        assert f"/dags/{NIGHT_DAG}/runs/{run[1]}" in read(f"/nights/{day}")
        live.wait_until(lambda: says("/now", "up for reschedule", f"night of {day}"), "/now", 60)

        live.wait_until(awaited, "the command's line", 60)
        live.client.set_paused(NIGHT_DAG, paused=True)
        paused = f"{NIGHT_DAG} is paused in Airflow"
        assert paused in read(f"/nights/{day}")
        assert any(sentence.startswith(paused) for sentence in read_obstacles(live.client))
        live.client.set_paused(NIGHT_DAG, paused=False)
    assert live.finish(run) == ["success"]
    assert f"the night {day} {files}" in live.log(*run, "settle")


def test_an_ms_with_sources_as_text(live: LiveAirflow, run_again: Run, date: str) -> None:
    """The form of an MS, with two sources typed in."""
    ms = sorted((live.settings.ms_dir / date).glob("*.ms"))[1]
    one, other, *_ = read_sources(live.settings.sources_path)
    text = f"# pasted\n{one.name} {one.ra_deg} {one.dec_deg}\nnew, {other.ra_deg}, {other.dec_deg}"
    form = {"ms": str(ms), "sources_text": text, "target_snr": 4, "max_width": 4, "max_spws": 4}
    run = live.trigger(IMAGE_DAG, form, name="typed")
    assert live.finish(run) == ["success"]
    # They stand beside the night's, which does not count them.
    name = name_run(ms.stem, run[1])
    products = products_of_run(live.settings.products_dir, date, name)
    assert (products / "new" / "result.json").exists()
    assert not (live.settings.products_dir / date / ms.stem / "new").exists()
    record = NightLedger(live.settings.nights_dir, date).load()
    assert {source.name for source in record.by_hand[name].sources[ms.stem]} == {one.name, "new"}
    assert "new" not in {source.name for source in record.sources[ms.stem]}


@pytest.mark.parametrize(
    ("dag_id", "form", "words"),
    [
        (NIGHT_DAG, {"date": "25 January"}, "'25 January' is not a 'date'"),
        (NIGHT_DAG, {"dec_deg": 100}, "100 is greater than the maximum of 90"),
        (NIGHT_DAG, {"start": "eight", "end": "nine"}, "'eight' does not match"),
        (NIGHT_DAG, {"input_dir": "   "}, "'   ' does not match"),
        (IMAGE_DAG, {"ms": "/x.ms", "backend": "magic"}, "'magic' is not one of"),
        (IMAGE_DAG, {"ms": "   "}, "'   ' does not match"),
        (IMAGE_DAG, {"ms": "/" + "a/" * 4096 + "x.ms"}, "is too long"),
    ],
)
def test_refused_at_the_trigger(
    live: LiveAirflow, dag_id: str, form: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as refusal:
        live.trigger(dag_id, form, name="refused")
    assert words in str(refusal.value)
    assert live.client.dag_runs(dag_id, containing="refused") == []


@pytest.fixture(scope="module")
def wrong_runs(live: LiveAirflow, run_again: Run) -> dict[str, Run]:
    """Runs that cannot be refused earlier than by their first task; all at once."""
    nowhere = str(live.settings.work_dir / "nowhere")
    ms = str(live.settings.ms_dir / "2026-01-03/2026-01-03T00:00:00.ms")
    forms: dict[str, tuple[str, dict[str, Any]]] = {
        "order": (
            NIGHT_DAG,
            {"start": "2026-01-03T09:00:00Z", "end": "2026-01-03T08:00:00Z"},
        ),
        "directory": (NIGHT_DAG, {"date": "2026-01-03", "input_dir": nowhere}),
        "catalogue": (NIGHT_DAG, {"date": "2026-01-04", "sources_file": f"{nowhere}.ecsv"}),
        "root": (NIGHT_DAG, {"date": "2026-01-05", "input_dir": "/etc"}),
        "no ms": (IMAGE_DAG, {"ms": ms}),
        "sources": (IMAGE_DAG, {"ms": ms, "sources_text": "a 1 2\nb 3"}),
        "ms root": (IMAGE_DAG, {"ms": "/etc/passwd.ms"}),
    }
    runs = {name: live.trigger(*what, name="wrong") for name, what in forms.items()}
    states = live.finish(*runs.values())
    assert dict(zip(runs, states, strict=True)) == dict.fromkeys(runs, "failed")
    return runs


@pytest.mark.parametrize(
    ("name", "task", "words"),
    [
        ("order", "settle", "the end 2026-01-03T08:00:00Z is not after the start"),
        ("directory", "settle", "nowhere does not exist"),
        ("catalogue", "settle", "no source catalogue at"),
        ("root", "settle", "DSA110_CONTIMG_ALLOWED_ROOTS"),
        ("no ms", "prepare", "is not a published Measurement Set"),
        ("sources", "prepare", "line 2 ('b 3')"),
        ("ms root", "prepare", "the Measurement Set /etc/passwd.ms lies outside"),
    ],
)
def test_refused_by_the_first_task(
    live: LiveAirflow, wrong_runs: dict[str, Run], name: str, task: str, words: str
) -> None:
    """In its log, at once, and nothing else has run."""
    run = wrong_runs[name]
    assert words in live.log(*run, task)
    tasks = live.tasks(*run)
    assert tasks[task, -1]["try_number"] == 1
    worked = {"process.convert", "measure", "image"}
    assert not [key for key, one in tasks.items() if key[0] in worked and one["state"] == "success"]
