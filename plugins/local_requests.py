"""Guard of an Airflow without passwords: foreign names and foreign pages are refused."""

from __future__ import annotations

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from dsa110_contimg.orchestration.local_requests import LocalRequests

EVERYBODY_IS_ADMIN = conf.getboolean("core", "simple_auth_manager_all_admins", fallback=False)


class LocalRequestsPlugin(AirflowPlugin):
    """Registers the guard, unless Airflow asks for passwords."""

    name = "local_requests"
    fastapi_root_middlewares = (
        [{"middleware": LocalRequests, "name": "local requests only"}] if EVERYBODY_IS_ADMIN else []
    )
