"""How the project's errors meet Airflow's: what is retried, what fails, what is skipped."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dsa110_contimg.errors import TransientError
from dsa110_contimg.orchestration.queues import LIGHT

if TYPE_CHECKING:
    from airflow.sdk.definitions.retry_policy import RetryPolicy

RETRIES = 2
RETRY_DELAY = timedelta(seconds=20)


def retry_policy() -> RetryPolicy:
    """Retry what the surroundings broke, and nothing else.

    Bad input stays bad, and an unknown error is a defect: neither gets better by repetition.
    A task whose process was killed never gets here; Airflow retries it by itself.

    Returns
    -------
    RetryPolicy
        Retries `TransientError`, Airflow's time-out and failed calls of its API.
    """
    from airflow.sdk.definitions.retry_policy import (
        ExceptionRetryPolicy,
        RetryAction,
        RetryRule,
    )
    from airflow.sdk.exceptions import AirflowRuntimeError, AirflowTaskTimeout

    surroundings: list[type[BaseException] | str] = [
        TransientError,
        AirflowTaskTimeout,
        AirflowRuntimeError,
    ]
    return ExceptionRetryPolicy(
        rules=[RetryRule(exception=surroundings, action=RetryAction.RETRY)],
        default=RetryAction.FAIL,
    )


def default_args() -> dict[str, Any]:
    """Collect what every task of every DAG shares.

    Returns
    -------
    dict
        For ``default_args`` of a DAG.
    """
    return {
        "owner": "dsa110-contimg",
        "queue": LIGHT,
        "retries": RETRIES,
        "retry_delay": RETRY_DELAY,
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "retry_policy": retry_policy(),
        "execution_timeout": timedelta(minutes=10),
    }
