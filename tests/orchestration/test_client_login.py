"""A password is taken from the environment, and goes nowhere where others could read it."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.client import (
    PASSWORD_VARIABLE,
    USER_VARIABLE,
    AirflowClient,
    Login,
    login_from_environment,
)
from dsa110_contimg.orchestration.home import AirflowHome
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit

LOGIN = Login(user="operator", password=SecretStr("hush"))


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (USER_VARIABLE, PASSWORD_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_login_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert login_from_environment() is None
    monkeypatch.setenv(USER_VARIABLE, "operator")
    with pytest.raises(InputError, match="only one is set"):
        login_from_environment()
    monkeypatch.setenv(PASSWORD_VARIABLE, "hush")
    assert login_from_environment() == LOGIN
    assert "hush" not in f"{LOGIN} {LOGIN!r} {LOGIN.model_dump_json()}"


def test_tasks_do_not_inherit_it(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hush")
    home = AirflowHome(Settings(work_dir=tmp_path_factory.mktemp("work")))
    home.prepare()
    environment = home.environment(port=1, parallelism=1, schedule=False)
    assert "hush" not in environment.values()


@pytest.mark.parametrize("url", ["https://airflow.example.org", "http://127.0.0.1:8080"])
def test_where_a_password_may_go(url: str) -> None:
    AirflowClient(url, LOGIN).close()


def test_where_a_password_may_not_go() -> None:
    with pytest.raises(InputError, match="everyone could read it") as refusal:
        AirflowClient("http://airflow.example.org:8080", LOGIN)
    assert refusal.value.reason == "insecure_address"
    AirflowClient("http://airflow.example.org:8080").close()
