"""What was left in the middle of a change is not measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.point_source import TARGET

from dsa110_contimg.errors import InputError
from dsa110_contimg.imaging.image_source import image_source
from dsa110_contimg.imaging.models import ImageSourceOptions
from dsa110_contimg.photometry.measure import MeasureOptions, fit_for_images, measure_sources
from dsa110_contimg.storage.ms_change import Change, changing_ms

pytestmark = pytest.mark.casa

NEIGHBOUR = TARGET.model_copy(update={"name": "neighbour", "dec_deg": TARGET.dec_deg - 0.4})


class PowerCutError(Exception):
    """Stands for whatever ends a change in its middle."""


@pytest.mark.parametrize("stage", ["measure_sources", "fit_for_images", "image_source"])
def test_an_ms_in_the_middle_of_a_change_is_refused(
    own_ms: Path, tmp_path: Path, stage: str
) -> None:
    with pytest.raises(PowerCutError), changing_ms(own_ms, Change.FLAGGING):
        raise PowerCutError
    shared = {
        "ms_path": own_ms,
        "products_dir": tmp_path / "products",
        "sandbox_roots": [tmp_path / "sandboxes"],
        "log_dir": tmp_path / "logs",
    }
    several = MeasureOptions.model_validate({**shared, "sources": [TARGET, NEIGHBOUR]})
    one = ImageSourceOptions.model_validate({**shared, "source": TARGET})
    run = {
        "measure_sources": lambda: measure_sources(several),
        "fit_for_images": lambda: fit_for_images(several),
        "image_source": lambda: image_source(one),
    }[stage]
    with pytest.raises(InputError, match="in the middle of its flagging") as caught:
        run()
    assert caught.value.reason == "ms_half_changed"
    assert not list((tmp_path / "products").glob("*/*"))
