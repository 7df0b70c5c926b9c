"""The operator page without Airflow around it: a visitor who is let in, and facts as given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from fastapi import FastAPI, Request
from support.night_records import DATE

from dsa110_contimg.errors import TransientError
from dsa110_contimg.operator_page.access import Visitor
from dsa110_contimg.operator_page.airflow_state import NightRun, PoolLine, TaskLine, task_path
from dsa110_contimg.operator_page.app import create_app
from dsa110_contimg.operator_page.late import PREFIX
from dsa110_contimg.operator_page.waits import Wait
from dsa110_contimg.orchestration.pace import Pace
from dsa110_contimg.settings import Settings

STARTED = datetime(2026, 1, 25, 13, 4, 5, tzinfo=UTC)
HTML = {"Accept": "text/html,application/xhtml+xml"}


@dataclass
class GivenFacts:
    """What Airflow would say."""

    runs: list[NightRun] = field(default_factory=list)
    tasks: list[TaskLine] = field(default_factory=list)
    pools: list[PoolLine] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    pace: Pace = field(default_factory=Pace)
    is_down: bool = False

    def _check(self) -> None:
        if self.is_down:
            raise TransientError("Airflow's database does not answer: database is locked")

    def list_night_runs(self) -> list[NightRun]:
        self._check()
        return self.runs

    def list_running_tasks(self) -> list[TaskLine]:
        self._check()
        return self.tasks

    def list_group_tasks(self, *_: str | None) -> list[TaskLine]:
        self._check()
        return self.tasks

    def list_waits(self) -> list[Wait]:
        self._check()
        return self.waits

    def read_pace(self, _: str) -> Pace:
        self._check()
        return self.pace

    def list_pools(self) -> list[PoolLine]:
        self._check()
        return self.pools


def make_run(date: str, state: str = "running") -> NightRun:
    return NightRun(
        date=date,
        run_id=f"manual__{date}T13:04:00+00:00",
        state=state,
        started=STARTED,
        ended=None,
        path="/dags/nightly_transit/runs/manual__1",
    )


def make_task(label: str, task_id: str = "image", state: str = "running") -> TaskLine:
    return TaskLine(
        dag_id="image_ms",
        run_id="image__1",
        task_id=task_id,
        label=label,
        state=state,
        started=STARTED,
        ended=STARTED,
        tries=1,
        path=task_path("image_ms", "image__1", task_id, 3, 1),
    )


def make_pool(name: str, running: int = 0, slots: int | None = 1) -> PoolLine:
    return PoolLine(
        name=name,
        description=f"Tasks that touch {name}",
        slots=slots,
        running=running,
        queued=0,
        waiting=0,
    )


def let_in(request: Request) -> None:
    """Admit everybody, as the tests of access do not."""
    request.state.visitor = Visitor(name="tester", sees_pools=True, is_only_user=False)


class Reader:
    """A browser without a window: asks the application, mounted as Airflow mounts it."""

    def __init__(self, settings: Settings, facts: GivenFacts | None = None, admit=let_in):  # type: ignore[no-untyped-def]
        self.facts = facts or GivenFacts()
        self.root = FastAPI()
        self.root.mount(PREFIX, create_app(settings, admit, self.facts, prefix=PREFIX))

    def get(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> httpx.Response:
        """Ask for an address below the prefix, or for a whole one that a page names."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.root)
            url = "http://airflow.test"
            async with httpx.AsyncClient(transport=transport, base_url=url) as client:
                whole = path if path.startswith(PREFIX) else f"{PREFIX}{path}"
                given = HTML if headers is None else headers
                return await client.request(method, whole, headers=given)

        return asyncio.run(ask())

    def page(self, path: str) -> str:
        """Ask for a page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


def post(reader: Reader, run: str, headers: dict[str, str]) -> int:
    """Ask to withdraw the results of a run by hand; the status of the answer."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=reader.root)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow.test") as client:
            address = f"{PREFIX}/nights/{DATE}/by_hand/{run}/withdraw"
            return await client.post(address, headers=headers)

    return asyncio.run(ask()).status_code
