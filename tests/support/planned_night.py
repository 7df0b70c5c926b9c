"""A night that counts on the calibrators of three of its groups."""

from __future__ import annotations

from pathlib import Path

from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
from dsa110_contimg.calibration.transits import Transit
from dsa110_contimg.catalog.calibrators import Calibrator
from dsa110_contimg.conversion.models import Manifest
from dsa110_contimg.orchestration.ms_requests import ImageRequest
from dsa110_contimg.provenance import make_provenance
from dsa110_contimg.storage.publish import manifest_path

NIGHT = "2026-01-25"
EARLY, MORNING, NOON, EVENING = (f"{NIGHT}T{hour}:00:00" for hour in ("01", "08", "12", "20"))
"""Groups with transits are all but the one at noon."""


def transit(group_id: str) -> Transit:
    calibrator = Calibrator(name=f"at-{group_id[11:13]}", ra_deg=1.0, dec_deg=54.0, flux_jy=8.8)
    return Transit(
        calibrator=calibrator,
        transit_utc=group_id,
        transit_mjd=61065.0,
        pointing_dec_deg=54.5,
        offset_deg=-0.5,
        beam=0.9,
        flux_jy=8.8,
        apparent_flux_jy=7.9,
        group_id=group_id,
    )


def plan() -> CalibratorPlan:
    """What the night counts on."""
    groups = (EARLY, MORNING, EVENING)
    return CalibratorPlan(min_apparent_jy=2.0, transits=[transit(group) for group in groups])


def request_for(folder: Path, group_id: str, *, reprocess: bool = False) -> ImageRequest:
    """Ask for a group whose MS was published."""
    ms = folder / f"{group_id}.ms"
    ms.mkdir(exist_ok=True)
    manifest = Manifest.model_construct(
        group_id=group_id,
        state="complete",
        missing=[],
        spectral_windows=[],
        phase_center_ra_deg=1.0,
        phase_center_dec_deg=54.0,
        start_utc=group_id,
        duration_s=309.0,
        files={},
        stage_seconds={},
        provenance=make_provenance(transit(group_id), []),
    )
    manifest_path(ms).write_text(manifest.model_dump_json(warnings=False))
    return ImageRequest(ms=ms, reprocess=reprocess)
