"""From the registry to the sets that are applied, past whatever is wrong on the way."""

from __future__ import annotations

import shutil
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

from dsa110_contimg.calibration.models import Choice, ValidityRules
from dsa110_contimg.calibration.registry import Registry, SolvedTransit
from dsa110_contimg.calibration.registry_schema import sets_table
from dsa110_contimg.calibration.selection import choose_verified
from dsa110_contimg.errors import ScienceQualityError

pytestmark = pytest.mark.casa

NEED = make_need()
RULES = ValidityRules()


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
