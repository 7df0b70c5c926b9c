"""A night on record, of any size, made with the real models, manifests and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from dsa110_contimg.conversion.models import (
    ConversionResult,
    ConversionState,
    GroupListing,
    GroupState,
    Manifest,
    RejectedFile,
    SpectralWindow,
    SubbandGroup,
)
from dsa110_contimg.instrument import GROUP_DURATION_S, N_SUBBANDS, subband_channel_freqs_hz
from dsa110_contimg.photometry.models import Detection, SourceResult, SpwMeasurement
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.qa.record_models import ImagingPlan
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.storage.publish import manifest_path

DATE = "2026-01-25"
SUBBANDS = [f"sb{k:02d}" for k in range(N_SUBBANDS)]


@dataclass
class NightMaker:
    """Writes a night's records, MSs (empty but for a manifest) and pictures under `root`."""

    root: Path
    seed: int = 1
    groups: list[SubbandGroup] = field(default_factory=list)
    rejects: list[RejectedFile] = field(default_factory=list)
    planned: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = NightLedger(self.root / "nights", DATE)
        self.random = np.random.default_rng(self.seed)

    def group_id(self, number: int) -> str:
        start = datetime(2026, 1, 25, 2, 41, 7, tzinfo=UTC) + timedelta(seconds=309.6 * number)
        return start.strftime("%Y-%m-%dT%H:%M:%S")

    def ms_path(self, group_id: str) -> Path:
        return self.root / "ms" / DATE / f"{group_id}.ms"

    def provenance(self, **options: object) -> Provenance:
        return Provenance(
            created="2026-01-25T14:03:11.250+00:00",
            host="lxd110h17",
            versions={"dsa110-contimg": "0.1.0", "casatools": "6.7.0.31", "numpy": "2.4.6"},
            options=options,
            inputs=[],
        )

    def add_group(self, number: int, missing: Iterable[str] = (), **fields: object) -> str:
        group_id = self.group_id(number)
        missing = sorted(missing)
        present = [subband for subband in SUBBANDS if subband not in missing]
        n = len(present)
        state = GroupState.COMPLETE if n == 16 else GroupState.SEMI_COMPLETE
        group = SubbandGroup(
            group_id=group_id,
            state=GroupState.INCOMPLETE if n < 12 else state,
            present=present,
            missing=missing,
            files=[f"{self.root}/incoming/{group_id}_{subband}.hdf5" for subband in present],
            problems=[],
        ).model_copy(update=fields)
        self.groups.append(group)
        return group.group_id

    def convert(
        self,
        group_id: str,
        state: ConversionState = ConversionState.CONVERTED,
        reason: str | None = None,
        **fields: object,
    ) -> None:
        has_ms = state in {ConversionState.CONVERTED, ConversionState.SKIPPED}
        if has_ms:
            self.publish(group_id)
            self.plan(group_id, [])
        self.ledger.save_conversion(
            ConversionResult(
                group_id=group_id,
                state=state,
                ms_path=str(self.ms_path(group_id)) if has_ms else None,
                reason=reason,
                seconds=float(self.random.normal(14.0, 1.2)) if has_ms else 2.1,
            ).model_copy(update=fields)
        )

    def plan(self, group_id: str, names: list[str]) -> None:
        """Plan the sources of an MS."""
        self.planned[group_id] = names
        self.ledger.save_plan(ImagingPlan(group_id=group_id, source_names=names))

    def publish(self, group_id: str) -> None:
        """Make an MS that checks out: one data file, and a manifest that says so."""
        group = next(group for group in self.groups if group.group_id == group_id)
        ms = self.ms_path(group_id)
        ms.mkdir(parents=True, exist_ok=True)
        (ms / "table.f3_TSM0").write_bytes(b"\0" * 16)
        windows = []
        for spw_id, subband in enumerate(reversed(group.present)):
            freqs = subband_channel_freqs_hz(int(subband[2:]))
            windows.append(
                SpectralWindow(
                    spw_id=spw_id,
                    subband=subband,
                    min_freq_hz=float(freqs.min()),
                    max_freq_hz=float(freqs.max()),
                    flagged_fraction=float(self.random.beta(0.5, 14.0)),
                    nonfinite=0,
                )
            )
        start = datetime.fromisoformat(group_id)
        manifest = Manifest(
            group_id=group_id,
            state=group.state,
            missing=group.missing,
            spectral_windows=windows,
            phase_center_ra_deg=(123.4 + start.timestamp() % 86400 / 240.0) % 360.0,
            phase_center_dec_deg=54.573,
            start_utc=f"{group_id}.318",
            duration_s=GROUP_DURATION_S,
            files={"table.f3_TSM0": 16},
            stage_seconds={
                "check_inputs": float(self.random.normal(0.4, 0.05)),
                "skeleton": float(self.random.normal(1.8, 0.2)),
                "fill": float(self.random.normal(4.4, 0.4)),
                "self_check": float(self.random.normal(0.9, 0.1)),
                "publish": float(self.random.normal(2.6, 0.4)),
            },
            provenance=self.provenance(workers=2, timeout_s=900.0, group=group_id),
        )
        manifest_path(ms).write_text(manifest.model_dump_json())

    def measure(self, group_id: str, name: str, flux_jy: float, **fields: object) -> SourceResult:
        """Measure a power law with noise, and bin it by fours."""
        rms_jy = 0.0011
        spws = []
        for spw_id in range(N_SUBBANDS):
            freq_hz = float(subband_channel_freqs_hz(15 - spw_id).mean())
            flux = flux_jy * (freq_hz / 1.4e9) ** -0.7 + float(self.random.normal(0, rms_jy))
            spws.append(
                SpwMeasurement(
                    spw_id=spw_id,
                    freq_hz=freq_hz,
                    bandwidth_hz=48 * 244140.625,
                    flux_jy=flux,
                    rms_jy=rms_jy,
                    snr=flux / rms_jy,
                    flagged_fraction=0.02,
                )
            )
        detections = []
        for k in range(0, N_SUBBANDS, 4):
            flux = float(np.mean([s.flux_jy for s in spws[k : k + 4]]))
            if flux / (rms_jy / 2) >= 5:
                detections.append(
                    Detection(
                        spw_ids=list(range(k, k + 4)),
                        bin_width=4,
                        center_freq_hz=float(np.mean([s.freq_hz for s in spws[k : k + 4]])),
                        flux_jy=flux,
                        rms_jy=rms_jy / 2,
                        snr=flux / (rms_jy / 2),
                        false_alarm_probability=1e-5,
                    )
                )
        return SourceResult(
            name=name,
            ra_deg=sum(name.encode()) % 97 / 40 + 123.5,
            dec_deg=54.62 - sum(name.encode()) % 89 / 200,
            success=True,
            n_spws=N_SUBBANDS,
            spws=spws,
            detections=detections,
            ms_path=str(self.ms_path(group_id)),
            products_dir=str(self.root / "products" / DATE / group_id / name),
            seconds=float(self.random.normal(31.0, 3.0)),
            provenance=self.provenance(target_snr=5.0, max_width=16),
        ).model_copy(update=fields)

    def image(
        self,
        group_id: str,
        name: str,
        flux_jy: float = 0.02,
        draw: Callable[[SourceResult, Path], None] | None = None,
        **fields: object,
    ) -> SourceResult:
        """Measure a source, make its pictures and put it on record."""
        result = self.measure(group_id, name, flux_jy, **fields)
        if draw and result.products_dir:
            folder = Path(result.products_dir)
            folder.mkdir(parents=True, exist_ok=True)
            draw(result, folder)
        planned = self.ledger.records_dir / "plans" / f"{group_id}.json"
        if planned.exists():
            names = ImagingPlan.model_validate_json(planned.read_bytes()).source_names
            if name not in names:
                self.plan(group_id, [*names, name])
        self.ledger.save_source(group_id, result)
        return result

    def save_listing(self) -> None:
        self.ledger.save_listing(GroupListing(groups=self.groups, rejects=self.rejects))


def draw_plain(result: SourceResult, folder: Path) -> None:
    """Two small pictures, without matplotlib."""
    from PIL import Image

    Image.new("RGB", (640, 512), (40, 80, 120)).save(folder / "stamp.png")
    Image.new("RGB", (800, 500), (240, 240, 240)).save(folder / "spectrum.png")
    (folder / "detections.ecsv").write_text("# %ECSV 1.0\n")
