"""Who may see the pages: whom Airflow lets read the pipeline's DAGs.

Airflow guards its own routes only. The application of a plugin is as open as it makes itself,
so every route depends on `admit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request

from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG


class NotLoggedInError(Exception):
    """Nobody, or somebody whose login is over, asks for a page."""


@dataclass(frozen=True)
class Visitor:
    """Whoever was admitted."""

    name: str
    """As Airflow knows them."""
    sees_pools: bool
    """Whether Airflow shows them its pools."""
    is_only_user: bool
    """Whether everybody who reaches the port is admitted, as its administrator."""
    may_withdraw: bool = False
    """Whether they may start runs of `image_ms`, and so withdraw the results of one."""


async def admit(request: Request) -> Visitor:
    """Admit whoever may read the DAGs that process nights.

    Parameters
    ----------
    request : Request
        With Airflow's cookie, or a bearer token; the visitor is noted in its state.

    Returns
    -------
    Visitor
        Who asks.

    Raises
    ------
    NotLoggedInError
        If nobody is logged in.
    HTTPException
        403, if they may not read the DAGs.
    """
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
    from fastapi.concurrency import run_in_threadpool

    try:
        user = await get_user(request, None, await bearer_scheme(request))
    except HTTPException as refusal:
        raise NotLoggedInError from refusal
    visitor = await run_in_threadpool(_authorize, request, user)
    request.state.visitor = visitor
    return visitor


def _authorize(request: Request, user: Any) -> Visitor:
    """Ask Airflow what the user may see."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.core_api.security import requires_access_dag

    for dag_id in (NIGHT_DAG, IMAGE_DAG):
        requires_access_dag("GET", param_dag_id=dag_id)(request, user)
    return Visitor(
        name=user.get_name(),
        sees_pools=get_auth_manager().is_authorized_pool(method="GET", user=user),
        is_only_user=_everybody_is_admin(),
        may_withdraw=_may_start_runs(user),
    )


def _may_start_runs(user: Any) -> bool:
    """Whether Airflow lets a user trigger `image_ms`."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import (
        DagAccessEntity,
        DagDetails,
    )

    return get_auth_manager().is_authorized_dag(
        method="POST",
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=IMAGE_DAG),
        user=user,
    )


def _everybody_is_admin() -> bool:
    """Whether Airflow asks nobody who they are."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
    from airflow.configuration import conf

    is_simple = isinstance(get_auth_manager(), SimpleAuthManager)
    return is_simple and bool(conf.getboolean("core", "simple_auth_manager_all_admins"))
