"""One settings model: environment variables ``DSA110_CONTIMG_*`` over one TOML file."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

CONFIG_FILE_VARIABLE = "DSA110_CONTIMG_CONFIG"


class Settings(BaseSettings):
    """Where things are and how much of the machine may be used.

    ``DSA110_CONTIMG_<FIELD>`` sets a field from the environment; the file named by
    ``DSA110_CONTIMG_CONFIG`` (default ``dsa110-contimg.toml`` in the current directory)
    sets it from TOML; the environment wins.
    """

    model_config = SettingsConfigDict(
        env_prefix="DSA110_CONTIMG_", frozen=True, extra="forbid", validate_default=True
    )

    work_dir: Path = Field(Path("work"), description="Root of everything the pipeline writes.")
    input_dir: Path | None = Field(
        None, description="Directory of raw UVH5 subband files; default WORK_DIR/incoming."
    )
    sources_file: Path | None = Field(
        None, description="Catalogue of sources to image by default; default WORK_DIR/sources.ecsv."
    )
    sandbox_root: Path = Field(
        Path("/dev/shm/dsa110-contimg"),  # noqa: S108 - tmpfs is the point; the sandbox is owned by a lock
        description="tmpfs directory under which each conversion makes its own sandbox.",
    )
    conversion_workers: int = Field(2, ge=1, description="Fill workers of one conversion.")
    conversion_timeout_s: float = Field(900.0, gt=0, description="Limit for one group.")
    imaging_timeout_s: float = Field(1800.0, gt=0, description="Limit for one source in one MS.")
    ms_lock_timeout_s: float = Field(
        600.0, gt=0, description="How long a task waits for another holder of its MS."
    )

    schedule: str = Field(
        "0 0 * * *",
        description="Cron expression (UTC) by which nightly_transit runs for the day before; "
        "empty: only by hand.",
    )

    alert_callback: str | None = Field(
        None,
        pattern=r"^[\w.]+:[\w.]+$",
        description="Function that gets each alert (orchestration.alerts.Alert), as module:name.",
    )
    photometry: Literal["uvfit", "image"] = Field(
        "uvfit",
        description="How Airflow measures sources: all sources of a field fitted jointly in the "
        "uv plane, or an image for each source and window.",
    )
    backend: Literal["tclean", "wsclean", "ducc0"] = Field(
        "tclean", description="The program that makes the images of the photometry 'image'."
    )
    field_model_file: Path | None = Field(
        None,
        description="Catalogue of known sources that are no targets: they are fitted along.",
    )
    calibration: Literal["on", "off"] = Field(
        "on",
        description="Whether Airflow flags and calibrates an MS before it measures sources; off "
        "is for data that are calibrated already.",
    )
    calibrators_file: Path | None = Field(
        None,
        description="Catalogue of calibrators: ECSV, or the VLA calibrator manual as text; "
        "default WORK_DIR/calibrators.ecsv.",
    )
    calibrator_min_jy: float = Field(
        2.0, gt=0, description="Least apparent flux density of a calibrator, beam included."
    )
    calibration_registry: str | None = Field(
        None,
        description="SQLAlchemy URL of the registry of solutions, e.g. "
        "postgresql+psycopg://host/database; default SQLite in WORK_DIR/calibration.",
    )
    calibration_max_hours: float = Field(
        30.0, gt=0, description="How far in time solutions may be borrowed."
    )
    calibration_max_dec_deg: float = Field(
        0.5, gt=0, description="How far in declination solutions may be borrowed."
    )
    calibration_wait: Literal["wait", "last"] = Field(
        "wait",
        description="Whether the groups of a night wait until its calibrators are solved, or "
        "take the last valid solutions at once.",
    )
    calibration_wait_timeout_s: float = Field(
        7200.0, gt=0, description="How long a group waits for the calibrators of its night."
    )
    flagger: Literal["casa", "aoflagger"] = Field(
        "casa", description="The program that finds interference."
    )
    flagging_timeout_s: float = Field(1800.0, gt=0, description="Limit for one MS.")
    calibration_timeout_s: float = Field(
        1800.0, gt=0, description="Limit for solving, or applying, one MS."
    )
    statsd_address: str | None = Field(
        None,
        pattern=r"^[^:]+:\d+$",
        description="Where the embedded Airflow sends its metrics, as host:port; empty: nowhere.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - signature is the library's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, TOML file.

        Parameters
        ----------
        settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
            As pydantic-settings passes them.

        Returns
        -------
        tuple of PydanticBaseSettingsSource
            The sources in falling order of precedence.
        """
        toml = Path(os.environ.get(CONFIG_FILE_VARIABLE, "dsa110-contimg.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml)

    @property
    def raw_dir(self) -> Path:
        """Directory of the raw subband files."""
        return (self.input_dir or self.work_dir / "incoming").absolute()

    @property
    def sources_path(self) -> Path:
        """Catalogue of the sources to image by default."""
        return (self.sources_file or self.work_dir / "sources.ecsv").absolute()

    @property
    def ms_dir(self) -> Path:
        """Root of the published Measurement Sets, one directory per UTC date."""
        return (self.work_dir / "ms").absolute()

    @property
    def products_dir(self) -> Path:
        """Root of images, plots and detections: ``date/group_id/source``."""
        return (self.work_dir / "products").absolute()

    @property
    def nights_dir(self) -> Path:
        """Root of the night records and reports, one directory per UTC date."""
        return (self.work_dir / "nights").absolute()

    @property
    def calibration_dir(self) -> Path:
        """Root of the solutions: ``date/set``, and the registry."""
        return (self.work_dir / "calibration").absolute()

    @property
    def registry_url(self) -> str:
        """SQLAlchemy URL of the registry of solutions."""
        return self.calibration_registry or f"sqlite:///{self.calibration_dir / 'registry.sqlite'}"

    @property
    def calibrators_path(self) -> Path:
        """Catalogue of calibrators."""
        return (self.calibrators_file or self.work_dir / "calibrators.ecsv").absolute()

    @property
    def sandbox_roots(self) -> list[Path]:
        """Where a conversion's sandbox may stand, in order of preference."""
        return [self.sandbox_root, self.ms_dir / ".sandboxes"]

    @property
    def logs_dir(self) -> Path:
        """Logs of child processes and the record of MS accesses."""
        return (self.work_dir / "logs").absolute()


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the settings once per process.

    Returns
    -------
    Settings
        The settings in force.
    """
    return Settings()
