"""One settings model: environment variables ``DSA110_CONTIMG_*`` over one TOML file."""

from __future__ import annotations

import os
import re
from datetime import date
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from dsa110_contimg.private_files import require_private
from dsa110_contimg.setting_sources import (
    PREFIX,
    expand_path,
    explain_settings,
    find_settings_file,
    read_settings_file,
    refuse_unknown_variables,
)

TRANSIT_SCHEDULE: Final = "transit"
"""Stands in `Settings.schedule` in the place of a cron expression."""

_CRON: Final = r"[\w*/,#?-]+"
_SCHEDULE: Final = rf"^(|{TRANSIT_SCHEDULE}|@[a-z]+|{_CRON}( +{_CRON}){{4,5}})$"
_MAIL: Final = r"[^\s,:/@]+@[^\s,:/@]+"
ALERT_TO_PATTERN: Final = rf"smtp:{_MAIL}(,{_MAIL})*|slack|webhook(:[\w./~-]+)?"
"""What `Settings.alert_to` may be: nothing that could hold a password."""


class Settings(BaseSettings):
    """Where things are and how much of the machine may be used.

    ``DSA110_CONTIMG_<FIELD>`` sets a field from the environment; the file named by
    ``DSA110_CONTIMG_CONFIG`` (default ``dsa110-contimg.toml`` in the current directory)
    sets it from TOML; the environment wins. An empty text stands for no value where a field
    need not have one, and ``~`` in a path for the home.

    Parameters
    ----------
    **values
        Fields that are given, before the environment and the file.

    Raises
    ------
    SettingsError
        If a value, a name or the file is wrong: one sentence, without the value.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
    )

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise explain_settings(error, values, type(self).model_fields) from None

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
    header_contradictions: Literal["refuse", "warn"] = Field(
        "refuse",
        description="Whether a group whose headers contradict themselves (UVW, antenna positions, "
        "site, pointing, times) fails, or is converted with a warning.",
    )
    imaging_timeout_s: float = Field(1800.0, gt=0, description="Limit for one source in one MS.")
    ms_lock_timeout_s: float = Field(
        600.0, gt=0, description="How long a task waits for another holder of its MS."
    )

    schedule: str = Field(
        "0 0 * * *",
        pattern=_SCHEDULE,
        description="Cron expression (UTC) by which nightly_transit runs for the day before; "
        "'transit': by the transits of schedule_ra_deg; empty: only by hand.",
    )
    schedule_ra_deg: float | None = Field(
        None,
        ge=0,
        lt=360,
        description="With the schedule 'transit': right ascension (ICRS) in degrees of the source "
        "or field whose passage of the meridian opens a run's interval.",
    )
    schedule_dec_deg: float = Field(
        0.0,
        gt=-90,
        lt=90,
        description="Its declination (ICRS) in degrees: precession moves a transit by it, up to "
        "minutes.",
    )
    schedule_transit_hours: float | None = Field(
        None,
        gt=0,
        lt=23.9,
        description="Hours of data around each transit that a run takes, half of them before; "
        "empty: all from one transit to the next.",
    )
    catchup_from: date | None = Field(
        None,
        description="First UTC date whose runs the schedule makes up for, if they were missed; "
        "empty: only the newest.",
    )
    settle_s: float = Field(
        600.0,
        ge=0,
        description="A night is closed once none of its files has changed for this long; 0: at "
        "once.",
    )
    settle_timeout_s: float = Field(
        7200.0,
        gt=0,
        description="How long a run waits for files that still arrive before it goes on without "
        "them, and says so in the report.",
    )
    allowed_roots: Annotated[list[Path], NoDecode] = Field(
        [],
        description="Further directories that the parameters of a run may name, beside those of "
        "the settings; in the environment separated by colons.",
    )

    alert_callback: str | None = Field(
        None,
        pattern=r"^[\w.]+:[\w.]+$",
        description="Function that gets each alert (orchestration.alerts.Alert), as module:name.",
    )
    alert_to: str | None = Field(
        None,
        description="Who is told of alerts: smtp:ADDRESS[,ADDRESS...], slack, or webhook[:PATH]; "
        "empty: only the log.",
    )
    alert_connection: str = Field(
        "dsa110_alerts",
        pattern=r"^\w+$",
        description="Airflow connection with the server of alert_to and its credentials.",
    )
    alert_timeout_s: float = Field(
        10.0, gt=0, description="How long that server may take for an answer."
    )
    alert_repeat_hours: float = Field(
        24.0, gt=0, description="When an alert that has not changed is sent again."
    )
    alert_silence: str = Field(
        "",
        pattern=r"^[a-z_]*(,[a-z_]+)*$",
        description="Kinds of alerts, separated by commas, that are logged but not sent.",
    )
    low_disk_gb: float = Field(
        50.0, ge=0, description="Free space (GB) on the disk of WORK_DIR below which to alert."
    )
    low_tmpfs_gb: float = Field(
        4.0,
        ge=0,
        description="Room (GB) for sandboxes, those in use included, below which to alert.",
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
        description="statsd server that the embedded Airflow sends its metrics to, as host:port; "
        "empty: none.",
    )
    otel_address: str | None = Field(
        None,
        pattern=r"^[^:/]+:\d+$",
        description="OpenTelemetry collector (OTLP over HTTP) that the embedded Airflow sends its "
        "metrics to, as host:port; empty: none. Not together with statsd_address.",
    )
    retain_ms_days: float | None = Field(
        None,
        ge=1,
        description="housekeeping removes a Measurement Set whose night is processed and reported "
        "when nobody has used it for so many days; empty: never.",
    )
    retain_products_days: float | None = Field(
        None,
        ge=1,
        description="housekeeping removes the images, plots and tables of a source when nobody "
        "has written them for so many days; its results stay on record. Empty: never.",
    )
    retain_logs_days: float | None = Field(
        None,
        ge=2,
        description="housekeeping removes logs of tasks and of their children that nobody has "
        "written for so many days; empty: never.",
    )
    retain_airflow_days: float | None = Field(
        None,
        ge=2,
        description="The embedded Airflow forgets runs that began so many days ago, once a day "
        "when it starts; empty: never.",
    )
    retain_pools_days: float = Field(
        7.0,
        ge=1,
        description="The pool of a Measurement Set goes when its last task ended so many days ago.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _read_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Take an empty text for no value, and ``~`` in a path for the home."""
        if not isinstance(value, str | Path):
            return value
        kinds = get_args(annotation := cls.model_fields[str(info.field_name)].annotation)
        if NoneType in kinds and not str(value).strip():
            return None
        return expand_path(value) if Path in (annotation, *kinds[:1]) else value

    @field_validator("alert_to")
    @classmethod
    def _check_alert_to(cls, value: str | None) -> str | None:
        """Refuse what cannot be told, without repeating it: it may hold a password or a token."""
        if not value or re.fullmatch(ALERT_TO_PATTERN, value):
            return value or None
        raise ValueError(
            "alert_to is not smtp:ADDRESS, slack, or webhook[:PATH]; the server and its "
            "credentials belong in the Airflow connection that the setting alert_connection names"
        )

    @field_validator("allowed_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        """Take directories as the environment has them, in one string."""
        parts = value.split(os.pathsep) if isinstance(value, str) else value
        if not isinstance(parts, list):
            return value
        return [expand_path(part) if isinstance(part, str) else part for part in parts if part]

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        """Refuse transits of nothing."""
        if self.schedule == TRANSIT_SCHEDULE and self.schedule_ra_deg is None:
            raise ValueError("the schedule 'transit' needs schedule_ra_deg")
        return self

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
        settings_cls : type of BaseSettings
            This class.
        init_settings, env_settings, dotenv_settings, file_secret_settings : source
            As pydantic-settings passes them.

        Returns
        -------
        tuple of PydanticBaseSettingsSource
            The sources in falling order of precedence.

        Raises
        ------
        SettingsError
            If the file cannot be read or holds a secret that others can read, or a variable with
            our prefix is no setting.
        """
        refuse_unknown_variables(settings_cls.model_fields)
        from_file = read_settings_file()
        require_private(find_settings_file(), from_file)
        return init_settings, env_settings, InitSettingsSource(settings_cls, from_file)

    @property
    def raw_dir(self) -> Path:
        """Directory of the raw subband files."""
        return (self.input_dir or self.work_dir / "incoming").absolute()

    @property
    def sources_path(self) -> Path:
        """Catalogue of the sources to image by default."""
        return (self.sources_file or self.work_dir / "sources.ecsv").absolute()

    @property
    def settle_poke_s(self) -> float:
        """How often a run looks whether files still arrive."""
        return min(60.0, max(1.0, self.settle_s / 4))

    @property
    def path_roots(self) -> list[Path]:
        """Directories below which the parameters of a run may name files."""
        files = (
            self.sources_path,
            self.calibrators_path,
            *([self.field_model_file.absolute()] if self.field_model_file else []),
        )
        work_dir = self.work_dir.absolute()
        roots = [work_dir, self.raw_dir, *(file.parent for file in files)]
        return list(dict.fromkeys(roots + [root.absolute() for root in self.allowed_roots]))

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
    def alerts_dir(self) -> Path:
        """What has been told to whom, one file per alert."""
        return (self.work_dir / "alerts").absolute()

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
