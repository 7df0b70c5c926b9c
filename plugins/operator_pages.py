"""The operator page in Airflow's UI: an entry in the navigation, and what it opens."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from dsa110_contimg.operator_page.late import PREFIX, LateApp, make_app


class OperatorPagesPlugin(AirflowPlugin):
    """Registers the pages."""

    name = "operator_pages"
    fastapi_apps = [  # noqa: RUF012 - as the base class declares it
        {"app": LateApp(make_app), "url_prefix": PREFIX, "name": "operator pages"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Nights",
            # Relative to Airflow's root, wherever a proxy puts that.
            "href": f"{PREFIX[1:]}/",
            "icon": f"{PREFIX[1:]}/static/icon.svg",
            "destination": "nav",
            "url_route": "nights",
            "nav_top_level": True,
        }
    ]
