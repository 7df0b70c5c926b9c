"""What the task of the DAG `housekeeping` does with what Airflow tells it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.house import House
from support.night_records import DATE

from dsa110_contimg.orchestration.housekeeping import find_wanted, keep_house
from dsa110_contimg.orchestration.runs import image_run_id
from dsa110_contimg.settings import get_settings

pytestmark = pytest.mark.unit


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A processed night of two groups, a month old, where the settings have everything."""
    house = House(tmp_path)
    house.process(2)
    house.age(31)
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("DSA110_CONTIMG_SANDBOX_ROOT", str(tmp_path / "tmpfs"))
    monkeypatch.setenv("DSA110_CONTIMG_RETAIN_MS_DAYS", "30")
    monkeypatch.setattr("tempfile.tempdir", str(house.temporary_dir))
    get_settings.cache_clear()
    yield house
    get_settings.cache_clear()
    house.temporary_dir.rmdir()


def run_of(house: House, group: str) -> str:
    """Id of the run that a night starts for an MS."""
    return image_run_id("scheduled__2026-01-26", {"ms": str(house.night.ms_path(group))})


def test_run_that_is_over_keeps_nothing(house: House) -> None:
    runs = {run_of(house, group.group_id): {"summary": "success"} for group in house.night.groups}
    done = keep_house(runs)
    assert (done["removed"], done["kept"], done["nights"]) == (2, 0, [DATE])
    assert done["freed_bytes"] > 0


@pytest.mark.parametrize("state", [None, "queued", "running", "up_for_retry", "scheduled"])
def test_run_that_goes_on_keeps_its_ms(house: House, state: str | None) -> None:
    first, second = (group.group_id for group in house.night.groups)
    done = keep_house({run_of(house, first): {"summary": state}})
    assert (done["removed"], done["kept"]) == (1, 1)
    assert house.night.ms_path(first).exists()
    assert not house.night.ms_path(second).exists()


def test_run_by_hand_keeps_all_until_it_is_over(house: House) -> None:
    assert keep_house({"manual__2026-02-25": {"summary": "running"}})["removed"] == 0
    assert keep_house({"manual__2026-02-25": {"summary": "failed"}})["removed"] == 2


def test_names_of_runs() -> None:
    group = "2026-01-25T02:41:07"
    run_id = image_run_id("manual__x", {"ms": f"/data/{group}.ms"})
    assert find_wanted({run_id: {}}) == ({group: f"the run {run_id} of image_ms"}, None)
    wanted, by = find_wanted({"image__odd": {}, "by hand": {"summary": "skipped"}})
    assert wanted == {}
    assert "image__odd" in by
