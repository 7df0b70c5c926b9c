"""Users of Airflow's api-server, as a browser is one."""

from __future__ import annotations

import httpx


def log_in(url: str, user: str, password: str) -> httpx.Client:
    """Get a token for a password, and keep it as the browser does, in Airflow's cookie."""
    body = {"username": user, "password": password}
    answer = httpx.post(f"{url}/auth/token", json=body, trust_env=False, timeout=60)
    cookies = {"_token": answer.raise_for_status().json()["access_token"]}
    return httpx.Client(base_url=url, cookies=cookies, trust_env=False, timeout=60)
