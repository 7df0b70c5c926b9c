"""What the report says: every group, failure and loss, each counted once."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from support.night_records import DATE, NightMaker, draw_plain

from dsa110_contimg.conversion.models import ConversionState, RejectedFile
from dsa110_contimg.errors import TransientError
from dsa110_contimg.photometry.models import SpwFailure
from dsa110_contimg.qa.models import (
    FailureKind,
    GroupOutcome,
    MsCondition,
    NightReport,
    Verdict,
)
from dsa110_contimg.qa.record_models import ImagingPlan, MsFailure, StageFailure
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.storage.publish import manifest_path

pytestmark = pytest.mark.unit


def failures_of(report: NightReport, kind: FailureKind) -> dict[str, str]:
    return {item.subject: item.reason for item in report.failures if item.kind is kind}


def test_a_night_with_one_of_everything(night: NightMaker) -> None:
    converted, there, failed, rejected, lost, unimaged = (night.add_group(k) for k in range(6))
    semi = night.add_group(6, missing=["sb05", "sb11"])
    few = night.add_group(7, missing=[f"sb{k:02d}" for k in range(5)])
    night.rejects.append(
        RejectedFile(file=f"/in/{DATE}_sb01_incomplete.hdf5", reason="being written")
    )
    night.save_listing()
    night.convert(converted)
    night.convert(there, ConversionState.SKIPPED, reason="its manifest checks out")
    night.convert(failed, ConversionState.FAILED, reason="truncated_file: f is short (copy it)")
    night.convert(rejected, ConversionState.REJECTED, reason="incomplete")
    night.convert(unimaged)
    night.convert(semi, warnings=["sandbox left"])
    names = ["J0812+5401", "J0818+5437", "J0830+5450"]
    night.ledger.save_plan(ImagingPlan(group_id=converted, source_names=names))
    night.image(converted, names[0])
    night.image(
        converted,
        names[1],
        success=False,
        error="2 windows were not measured",
        failed_spws=[SpwFailure(spw_id=3, reason="all flagged")],
    )
    night.ledger.save_ms_failure(MsFailure(group_id=unimaged, reason="ms_held: held by pid 7"))

    report = write_report(night.ledger)
    totals = report.totals

    assert totals.groups == 8
    assert totals.groups_by_outcome == {
        GroupOutcome.CONVERTED: 3,
        GroupOutcome.SKIPPED: 1,
        GroupOutcome.FAILED: 1,
        GroupOutcome.REJECTED: 2,  # by conversion, and by discovery alone
        GroupOutcome.LEFT_OUT: 0,
        GroupOutcome.UNFINISHED: 1,
    }
    assert sum(totals.groups_by_completeness.values()) == totals.groups
    assert totals.subband_files == 6 * 16 + 14 + 11
    assert totals.rejected_files == 1
    assert totals.measurement_sets == 4
    assert (totals.sources, totals.source_measurements, totals.sources_failed) == (3, 3, 2)
    assert totals.detections == 8
    assert totals.sources_detected == 2
    assert totals.failures == len(report.failures) == 5

    assert failures_of(report, FailureKind.GROUP).keys() == {failed, lost}
    assert failures_of(report, FailureKind.GROUP)[failed] == "f is short (copy it)"
    assert [item.code for item in report.failures if item.subject == failed] == ["truncated_file"]
    assert failures_of(report, FailureKind.MS) == {f"{unimaged}.ms": "held by pid 7"}
    assert failures_of(report, FailureKind.SOURCE).keys() == {names[1], names[2]}
    assert all(item.remedy for item in report.failures)
    assert report.verdict is Verdict.PARTIAL
    assert "2 of 8 groups" in report.headline
    assert "2 of 3 source measurements" in report.headline
    assert {group.group_id: group.outcome for group in report.groups}[few] == "rejected"
    assert len(report.losses) == 4  # rejected groups, missing subbands, a file, a warning


def test_a_good_night_is_complete(night: NightMaker) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    night.image(group, "J0818+5437", draw=draw_plain)

    report = write_report(night.ledger, stage_seconds={"discovery": 2.5})

    assert (report.verdict, report.failures, report.losses) == (Verdict.COMPLETE, [], [])
    ms = report.measurement_sets[0]
    assert ms.condition is MsCondition.SOUND
    assert [window.spw_id for window in ms.spectral_windows] == list(range(16))
    expected = sum(window.flagged_fraction for window in ms.spectral_windows) / 16
    assert ms.flagged_fraction == pytest.approx(expected, rel=1e-12)
    source = report.sources[0]
    assert source.products.keys() == {"stamp", "spectrum", "detections"}
    for path in source.products.values():
        assert (night.ledger.night_dir / path).is_file()
    assert source.best_snr == max(found.snr for found in source.detections)
    times = {time.stage: time for time in report.stage_times}
    assert times["discovery"].total_s == 2.5
    assert times["fill"].part_of == "conversion"
    assert times["imaging"].count == 1
    # Recorded, so that a rebuilt report has it too.
    assert {time.stage for time in write_report(night.ledger).stage_times} == set(times)


def test_provenance_tells_what_is_shared_and_what_varies(night: NightMaker) -> None:
    for k, version in enumerate(("6.7.0.31", "6.7.0.32")):
        group = night.add_group(k)
        night.convert(group)
        provenance = night.provenance(target_snr=5.0, source=f"s{k}")
        versions = provenance.versions | {"casatools": version}
        night.image(
            group, "J0818+5437", provenance=provenance.model_copy(update={"versions": versions})
        )

    stages = {stage.stage: stage for stage in write_report(night.ledger).stage_provenance}

    assert stages["imaging"].products == 2
    assert stages["imaging"].options == {"target_snr": 5.0}
    assert stages["imaging"].varying_options == ["source"]
    assert stages["imaging"].versions["casatools"] == ["6.7.0.31", "6.7.0.32"]
    assert stages["conversion"].varying_options == ["group"]


@pytest.mark.parametrize("damage", ["manifest_gone", "manifest_damaged", "data_lost", "ms_gone"])
def test_an_ms_that_is_not_whole_is_a_failure(night: NightMaker, damage: str) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    ms = night.ms_path(group)
    if damage == "manifest_gone":
        manifest_path(ms).unlink()
    elif damage == "manifest_damaged":
        manifest_path(ms).write_text("{")
    elif damage == "data_lost":
        (ms / "table.f3_TSM0").write_bytes(b"")
    else:
        shutil.rmtree(ms)

    report = write_report(night.ledger)

    assert report.measurement_sets[0].condition is MsCondition.INCOMPLETE
    assert failures_of(report, FailureKind.MS).keys() == {ms.name}
    assert report.totals.measurement_sets == 0
    assert report.verdict is Verdict.PARTIAL


def test_an_ms_that_was_removed_is_a_loss(night: NightMaker) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    shutil.rmtree(night.ms_path(group))
    manifest_path(night.ms_path(group)).unlink()

    report = write_report(night.ledger)

    assert report.failures == []
    assert report.verdict is Verdict.LOSSES
    assert report.losses == ["1 Measurement Set removed since"]


def test_an_empty_night(night: NightMaker) -> None:
    night.save_listing()
    report = write_report(night.ledger)
    assert report.verdict is Verdict.EMPTY
    assert report.totals.groups == report.totals.failures == 0


def test_a_night_that_nobody_looked_at_has_failed(night: NightMaker) -> None:
    report = write_report(night.ledger)
    assert report.verdict is Verdict.FAILED
    assert failures_of(report, FailureKind.NIGHT).keys() == {"discovery"}


def test_a_failed_discovery_says_why(night: NightMaker) -> None:
    night.ledger.save_stage_failure(
        StageFailure(stage="discovery", reason="permission_denied: /in", remedy="chmod it")
    )
    report = write_report(night.ledger)
    assert report.verdict is Verdict.FAILED
    failure = report.failures[0]
    assert (failure.code, failure.reason, failure.remedy) == (
        "permission_denied",
        "/in",
        "Chmod it.",
    )


def test_a_night_of_rejects_only_has_failed(night: NightMaker) -> None:
    night.rejects.append(RejectedFile(file=f"/in/{DATE}a.hdf5", reason="empty"))
    night.save_listing()
    report = write_report(night.ledger)
    assert report.verdict is Verdict.FAILED
    assert report.failures == []


def test_a_night_with_other_files_only_is_empty(night: NightMaker) -> None:
    night.rejects.append(RejectedFile(file="/in/sources.ecsv", reason="is not a subband file"))
    night.save_listing()
    assert write_report(night.ledger).verdict is Verdict.EMPTY


def test_damaged_records_are_failures(night: NightMaker) -> None:
    night.save_listing()
    path = night.ledger.records_dir / "discovery.json"
    path.write_text("{")
    report = write_report(night.ledger)
    assert [(item.kind, item.subject) for item in report.failures] == [
        (FailureKind.RECORD, str(path))
    ]


def test_the_json_is_the_report(night: NightMaker) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    result = night.measure(group, "J0818+5437", 0.01)
    night.plan(group, [result.name])
    spw = result.spws[0].model_copy(update={"snr": math.nan})
    night.ledger.save_source(group, result.model_copy(update={"spws": [spw, *result.spws[1:]]}))

    report = write_report(night.ledger)
    again = NightReport.model_validate_json(night.ledger.report_json.read_bytes())

    assert again.model_dump_json() == report.model_dump_json()
    assert math.isnan(again.sources[0].spws[0].snr)
    assert again.sources[0].detections == report.sources[0].detections


def test_a_report_that_cannot_be_written_says_so(night: NightMaker) -> None:
    night.save_listing()
    night.ledger.report_html.mkdir()
    (night.ledger.report_html / "in_the_way").touch()
    with pytest.raises(TransientError) as failure:
        write_report(night.ledger)
    assert failure.value.reason == "report_not_written"
    left = {path.name for path in Path(night.ledger.night_dir).iterdir()}
    assert left == {"records", "report.json", "report.html"}


def test_a_catalogue_beside_the_data_is_listed_but_no_loss(night: NightMaker) -> None:
    night.convert(night.add_group(0))
    night.rejects.append(RejectedFile(file="/in/sources.ecsv", reason="is not a subband file"))
    night.save_listing()
    report = write_report(night.ledger)
    assert report.verdict is Verdict.COMPLETE
    assert report.totals.rejected_files == len(report.rejected_files) == 1


@pytest.mark.parametrize(
    ("name", "is_lost"),
    [
        ("notes.hdf5", False),
        ("2025-12-31T08:00:00_sbXX.hdf5", False),
        (f"{DATE}T08:00:00_sbXX.hdf5", True),
        (f"{DATE}T08:00:00_sb03.hdf5", True),
        (f"{DATE}.ecsv", False),
    ],
)
def test_a_stray_file_is_the_loss_of_no_other_night(
    night: NightMaker, name: str, is_lost: bool
) -> None:
    night.rejects.append(RejectedFile(file=f"/incoming/{name}", reason="no subband file"))
    night.convert(night.add_group(0))
    night.save_listing()
    report = write_report(night.ledger)
    assert report.losses == (["1 subband file in no group"] if is_lost else [])
    assert len(report.rejected_files) == 1
