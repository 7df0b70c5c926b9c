"""The night's ledger: one small JSON file per thing that was done or went wrong.

Tasks run in many processes, and a failed task returns nothing to Airflow; so each writes
what became of its group or source here, whole or not at all. The report reads only this.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from dsa110_contimg.conversion.models import ConversionResult, GroupListing
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.storage.files import write_text_atomic


class MsFailure(Model):
    """An MS that could not be imaged at all."""

    group_id: str
    """The group that the MS was made from."""
    reason: str
    """Why, in a sentence."""


class NightRecord(Model):
    """All that is on record for one night."""

    date: str
    """UTC date, ``YYYY-MM-DD``."""
    listing: GroupListing | None = None
    """What was found in the input directory; None if nobody looked."""
    conversions: list[ConversionResult] = Field(default_factory=list)
    """In order of group."""
    sources: dict[str, list[SourceResult]] = Field(default_factory=dict)
    """Group to the sources imaged in its MS, in order of name."""
    ms_failures: list[MsFailure] = Field(default_factory=list)
    """MSs that could not be imaged at all."""


class NightLedger:
    """Reads and writes the records of one night.

    Parameters
    ----------
    nights_dir : Path
        Root of the nights, `Settings.nights_dir`.
    date : str
        UTC date, ``YYYY-MM-DD``.
    """

    def __init__(self, nights_dir: Path, date: str):
        self.date = date
        self.night_dir = nights_dir / date
        self._records = self.night_dir / "records"

    def save_listing(self, listing: GroupListing) -> None:
        """Record what discovery found.

        Parameters
        ----------
        listing : GroupListing
            The night's groups and rejected files.
        """
        self._save("discovery.json", listing)

    def save_conversion(self, result: ConversionResult) -> None:
        """Record what became of a group.

        Parameters
        ----------
        result : ConversionResult
            Replaces an earlier record of the same group.
        """
        self._save(f"conversions/{result.group_id}.json", result)

    def save_source(self, group_id: str, result: SourceResult) -> None:
        """Record what became of a source in the MS of a group.

        Parameters
        ----------
        group_id : str
            The group.
        result : SourceResult
            Replaces an earlier record of the same source.
        """
        self._save(f"sources/{group_id}/{result.name}.json", result)

    def save_ms_failure(self, failure: MsFailure) -> None:
        """Record that an MS could not be imaged at all.

        Parameters
        ----------
        failure : MsFailure
            Replaces an earlier one.
        """
        self._save(f"ms_failures/{failure.group_id}.json", failure)

    def clear_ms_failure(self, group_id: str) -> None:
        """Forget an earlier failure, once the MS could be imaged.

        Parameters
        ----------
        group_id : str
            The group.
        """
        (self._records / f"ms_failures/{group_id}.json").unlink(missing_ok=True)

    def load(self) -> NightRecord:
        """Read all that is on record.

        Returns
        -------
        NightRecord
            Empty where nothing was recorded.
        """
        discovery = self._records / "discovery.json"
        return NightRecord(
            date=self.date,
            listing=GroupListing.model_validate_json(discovery.read_text())
            if discovery.exists()
            else None,
            conversions=[
                ConversionResult.model_validate_json(path.read_text())
                for path in self._files("conversions/*.json")
            ],
            sources={
                folder.name: [
                    SourceResult.model_validate_json(path.read_text())
                    for path in sorted(folder.glob("[!.]*.json"))
                ]
                for folder in self._files("sources/*")
            },
            ms_failures=[
                MsFailure.model_validate_json(path.read_text())
                for path in self._files("ms_failures/*.json")
            ],
        )

    def _files(self, pattern: str) -> list[Path]:
        """Find records, leaving out half-written ones."""
        return sorted(p for p in self._records.glob(pattern) if not p.name.startswith("."))

    def _save(self, name: str, record: Model) -> None:
        """Write one record whole or not at all."""
        write_text_atomic(self._records / name, record.model_dump_json(indent=1))
