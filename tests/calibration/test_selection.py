"""From the registry to the sets that are applied, past whatever is wrong on the way."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine
from support.solution_sets import (
    ANTENNAS,
    MID_MJD,
    all_solved,
    make_need,
    make_set,
    publish_set,
)

from dsa110_contimg.calibration.models import Choice, SolutionSet, ValidityRules
from dsa110_contimg.calibration.registry import Registry, SolvedTransit
from dsa110_contimg.calibration.registry_schema import sets_table
from dsa110_contimg.calibration.selection import choose_verified
from dsa110_contimg.errors import ScienceQualityError, TransientError
from dsa110_contimg.storage.ms_access import Holder, exclusive_ms, lock_path

pytestmark = pytest.mark.casa

NEED = make_need()
RULES = ValidityRules()
SINCE = "2026-01-25T09:00:00.000+00:00"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(f"sqlite:///{tmp_path / 'registry.sqlite'}")


def told(choice: Choice) -> list[tuple[str, str]]:
    return [(refusal.set_id, refusal.reason) for refusal in choice.refused]


def test_past_everything_that_is_wrong(tmp_path, registry):
    """Nine sets, the nearer the worse: each is passed over for a reason of its own."""
    half = all_solved()
    half[:, :, np.arange(0, len(ANTENNAS), 2)] = True
    registry.add(publish_set(tmp_path, "withdrawn", -1.0))
    registry.withdraw("withdrawn", "wind")
    registry.refuse(
        SolvedTransit(
            set_id="poor", calibrator="c", group_id="g", mid_mjd=MID_MJD - 2 / 24, dec_deg=54.57
        ),
        "SNR 2.1 is below 5",
    )
    gone = registry.add(publish_set(tmp_path, "gone", -3.0)).solution_set
    shutil.rmtree(gone.directory)
    registry.add(publish_set(tmp_path, "changed", -4.0))
    with (tmp_path / "changed" / "gain.cal" / "table.dat").open("ab") as file:
        file.write(b"\0")
    registry.add(publish_set(tmp_path, "half", -5.0, gain_flags=half))
    registry.add(publish_set(tmp_path, "pointing", -6.0, dec_deg=16.0))
    registry.add(publish_set(tmp_path, "scrambled", -7.0, array=ANTENNAS[::-1]))
    registry.add(make_set("unreadable", -8.0))
    damage(tmp_path, "unreadable")
    registry.add(publish_set(tmp_path, "whole", -9.0))
    choice = choose_verified(registry, NEED, RULES)
    assert [chosen.set_id for chosen in choice.sets] == ["whole"]
    assert choice.borrowed
    assert told(choice) == [
        ("withdrawn", "withdrawn"),
        ("poor", "refused"),
        ("gone", "missing_table"),
        ("changed", "corrupt_table"),
        ("half", "half_flagged"),
        ("pointing", "declination"),
        ("scrambled", "array"),
        ("unreadable", "corrupt_record"),
    ]
    sentences = [refusal.sentence for refusal in choice.refused]
    assert sentences[0] == "it was withdrawn: wind"
    assert sentences[1] == "its solve was refused: SNR 2.1 is below 5"


def solve_again(tmp_path: Path, name: str, hours: float) -> SolutionSet:
    """Put other tables in the place of a set's, as a solve of the same transit does."""
    shutil.rmtree(tmp_path / name)
    flags = all_solved(4, 1)
    flags[0, 0, 0] = True
    made = publish_set(tmp_path, name, hours, gain_flags=flags)
    later = made.provenance.model_copy(update={"created": "2026-01-26T09:00:00.000+00:00"})
    return made.model_copy(update={"provenance": later})


def test_a_set_that_is_replaced_is_not_passed_over(tmp_path, registry):
    """Its tables are there before the registry knows of them: whoever looks then comes again."""
    registry.add(publish_set(tmp_path, "near", -1.0))
    registry.add(publish_set(tmp_path, "farther", -9.0))
    published = threading.Event()

    def solve() -> None:
        with exclusive_ms(tmp_path / "near", "solving near", timeout_s=5.0):
            made = solve_again(tmp_path, "near", -1.0)
            published.set()
            time.sleep(0.3)
            registry.add(made)

    solver = threading.Thread(target=solve)
    solver.start()
    assert published.wait(20.0)
    with pytest.raises(TransientError, match="near was replaced") as caught:
        choose_verified(registry, NEED, RULES)
    assert caught.value.reason == "table_changed"
    solver.join()
    assert [chosen.set_id for chosen in choose_verified(registry, NEED, RULES).sets] == ["near"]


def test_a_solve_that_was_killed_is_not_waited_for(tmp_path, registry):
    """It left tables that nobody registered, and its name in the lock."""
    registry.add(publish_set(tmp_path, "near", -1.0))
    registry.add(publish_set(tmp_path, "farther", -9.0))
    solve_again(tmp_path, "near", -1.0)
    dead = Holder(pid=2**22 + 1, host="elsewhere", purpose="", since=SINCE, process_start=0)
    lock_path(tmp_path / "near").write_text(dead.model_dump_json())
    choice = choose_verified(registry, NEED, RULES)
    assert [chosen.set_id for chosen in choice.sets] == ["farther"]
    assert told(choice) == [("near", "corrupt_table")]


def test_both_of_a_pair_are_verified(tmp_path, registry):
    for name, hours in (("before", -2.0), ("after", 3.0), ("later", 4.0)):
        registry.add(publish_set(tmp_path, name, hours))
    pair = choose_verified(registry, NEED, RULES)
    assert [chosen.set_id for chosen in pair.sets] == ["before", "after"]
    shutil.rmtree(tmp_path / "after")
    next_best = choose_verified(registry, NEED, RULES)
    assert [chosen.set_id for chosen in next_best.sets] == ["before", "later"]
    assert told(next_best) == [("after", "missing_table")]


def test_what_is_out_of_reach_is_named_if_there_is_nothing_else(tmp_path, registry):
    registry.add(publish_set(tmp_path, "old", -240.0))
    with pytest.raises(
        ScienceQualityError, match=r"old: it was observed 240.0 h earlier"
    ) as caught:
        choose_verified(registry, NEED, RULES)
    assert caught.value.reason == "no_valid_calibration"


def test_an_empty_registry(registry):
    with pytest.raises(ScienceQualityError, match="no set of solutions is on record"):
        choose_verified(registry, NEED, RULES)


def test_a_stricter_minimum_is_heeded(tmp_path, registry):
    registry.add(publish_set(tmp_path, "whole", -1.0))
    assert choose_verified(registry, NEED, RULES, 0.97).sets[0].set_id == "whole"
    with pytest.raises(ScienceQualityError, match="97% of the solutions"):
        choose_verified(registry, NEED, RULES, 0.98)


def damage(folder: Path, set_id: str) -> None:
    """Spoil the record of a set."""
    engine = create_engine(f"sqlite:///{folder / 'registry.sqlite'}")
    with engine.begin() as connection:
        one = sets_table.c.set_id == set_id
        connection.execute(sets_table.update().where(one).values(solution_set={"set_id": set_id}))
    engine.dispose()
