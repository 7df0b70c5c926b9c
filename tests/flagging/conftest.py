"""Groups with interference, made once for all tests of flagging."""

from __future__ import annotations

import pytest
from support.rfi_night import FlaggedGroup, RfiGroup, flag_options, make_rfi_group

from dsa110_contimg.flagging.flag_ms import flag_ms
from dsa110_contimg.flagging.models import FlagStrategy

CALIBRATOR_JY = 8.8


@pytest.fixture(scope="session")
def rfi_group(tmp_path_factory: pytest.TempPathFactory) -> RfiGroup:
    """A field of weak sources."""
    return make_rfi_group(tmp_path_factory.mktemp("rfi"), seed=1)


@pytest.fixture(scope="session")
def rfi_calibrator(tmp_path_factory: pytest.TempPathFactory) -> RfiGroup:
    """A field with a bright calibrator near its middle."""
    root = tmp_path_factory.mktemp("rfi_calibrator")
    return make_rfi_group(root, seed=0, calibrator_jy=CALIBRATOR_JY)


@pytest.fixture(scope="session")
def flagged_group(rfi_group: RfiGroup, tmp_path_factory: pytest.TempPathFactory) -> FlaggedGroup:
    """The field of weak sources, flagged by CASA."""
    ms = rfi_group.copy(tmp_path_factory.mktemp("flagged"))
    return FlaggedGroup(rfi_group, ms, flag_ms(flag_options(ms, strategy=FlagStrategy())))
