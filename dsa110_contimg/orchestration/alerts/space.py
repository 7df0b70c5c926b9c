"""Look whether there is room for the next groups, before there is none."""

from __future__ import annotations

import logging
import shutil
import socket
from pathlib import Path

from dsa110_contimg.models import Model
from dsa110_contimg.orchestration import metrics
from dsa110_contimg.orchestration.alerts.models import Alert, AlertKind, AlertRecord
from dsa110_contimg.orchestration.alerts.raising import raise_alert, withdraw_alert
from dsa110_contimg.settings import Settings, get_settings
from dsa110_contimg.storage.sandbox import sandbox_bytes

_log = logging.getLogger(__name__)

_GB = 1e9
_RELIEF = 1.1
"""An alert is withdrawn once there is this much more than its limit, not at its very edge."""
_REMEDIES = {
    AlertKind.LOW_DISK: "Conversions and imaging fail when it is full. Let housekeeping remove "
    "old nights (the settings retain_*_days), or move Measurement Sets and products away.",
    AlertKind.LOW_TMPFS: "Conversions that find no room there work on the disk: slower, not "
    "wrong. Something other than sandboxes that are in use fills it.",
}


class Room(Model):
    """How much room there is in a place that the pipeline needs."""

    kind: AlertKind
    """What is raised if there is too little."""
    path: Path
    """The place."""
    room_bytes: int
    """What new work may take."""
    limit_bytes: int
    """Below this there is too little."""


def measure_room(settings: Settings) -> list[Room]:
    """Measure the room on the disk of the work directory, and for sandboxes.

    What sandboxes in use hold counts as room: they give it back.

    Parameters
    ----------
    settings : Settings
        The settings in force.

    Returns
    -------
    list of Room
        Of this machine; a place that cannot be looked at is left out, and logged.
    """
    places = (
        (AlertKind.LOW_DISK, settings.work_dir.absolute(), 0, settings.low_disk_gb),
        (
            AlertKind.LOW_TMPFS,
            settings.sandbox_root,
            sandbox_bytes(settings.sandbox_root),
            settings.low_tmpfs_gb,
        ),
    )
    rooms = []
    for kind, path, ours_bytes, limit_gb in places:
        try:
            free_bytes = shutil.disk_usage(_existing(path)).free
        except OSError as error:
            _log.warning("cannot look at the room in %s: %s", path, error)
            continue
        rooms.append(
            Room(
                kind=kind,
                path=path,
                room_bytes=free_bytes + ours_bytes,
                limit_bytes=round(limit_gb * _GB),
            )
        )
    return rooms


def check_room(settings: Settings | None = None) -> list[AlertRecord]:
    """Measure the room of this machine, and alert where there is too little.

    Parameters
    ----------
    settings : Settings, optional
        The settings in force by default.

    Returns
    -------
    list of AlertRecord
        What was raised.
    """
    settings = settings or get_settings()
    raised = []
    host = socket.gethostname()
    for room in measure_room(settings):
        is_disk = room.kind is AlertKind.LOW_DISK
        metric = metrics.DISK_FREE_BYTES if is_disk else metrics.TMPFS_FREE_BYTES
        metrics.gauge(metric, room.room_bytes, by=host)
        subject = f"{host}:{room.path}"
        if room.room_bytes < room.limit_bytes:
            raised.append(raise_alert(_alert(room, subject), settings))
        elif room.room_bytes >= _RELIEF * room.limit_bytes:
            withdraw_alert(room.kind, subject, settings)
    return raised


def _alert(room: Room, subject: str) -> Alert:
    """Say that there is little room, in the same words as long as that lasts."""
    return Alert(
        kind=room.kind,
        subject=subject,
        message=f"{room.room_bytes / _GB:.1f} GB of room in {room.path}, less than the limit of "
        f"{room.limit_bytes / _GB:.1f} GB.\n{_REMEDIES[room.kind]}",
        fingerprint=f"less than {room.limit_bytes}",
    )


def _existing(path: Path) -> Path:
    """Find the place where a directory is, or will be made."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
