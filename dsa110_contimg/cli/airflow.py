"""The command ``airflow``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dsa110_contimg.cli.output import console, say

_DEFAULT_PORT = 8080
_LOOK_S = 3600.0


def airflow(
    work_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Root of everything that is written. Default: work"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help=f"Port of the UI. Default: {_DEFAULT_PORT}, or a free one if that is taken.",
        ),
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(
            min=1, help="Tasks that run at once. Default: the number of cores, at least 3."
        ),
    ] = None,
) -> None:
    """Keep Airflow and its UI running, until Ctrl-C.

    Trigger nightly_transit for a date, or image_ms for a Measurement Set, by hand; unpause
    nightly_transit for the scheduled run of every night.

    This embedded Airflow is for ONE user on this machine: it listens on the loopback interface
    only, asks for no password, and whoever can reach it there may do anything. For several
    users or machines see docker-compose.yaml.

    Example: dsa110-contimg airflow --work-dir work --port 8080
    """
    from dsa110_contimg.orchestration.embedded import EmbeddedAirflow, choose_port
    from dsa110_contimg.settings import Settings

    settings = Settings() if work_dir is None else Settings(work_dir=work_dir)
    console.print("starting Airflow ...")
    try:
        with EmbeddedAirflow(
            settings, port=port or choose_port(_DEFAULT_PORT), parallelism=tasks
        ) as running:
            console.print(f"Airflow runs at [bold]{running.url}[/]; Ctrl-C ends it.")
            console.print(
                "[yellow]For one user on this machine: no password, everyone who reaches this "
                "address is administrator.[/]"
            )
            say(f"logs: {running.home.logs_dir}")
            while True:
                running.wait(_LOOK_S)
    except KeyboardInterrupt:
        console.print("Airflow has ended")
