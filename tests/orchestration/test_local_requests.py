"""An Airflow without passwords lets in requests to this machine only, from its own pages only."""

from __future__ import annotations

import pytest

from dsa110_contimg.orchestration.local_requests import find_refusal

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8080", None),
        ("localhost", None),
        ("LOCALHOST:9000", "http://LOCALHOST:9000"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_this_machine_is_let_in(host: str, origin: str | None) -> None:
    given = {"host": host} if origin is None else {"host": host, "origin": origin}
    assert find_refusal([(n.encode(), v.encode()) for n, v in given.items()]) is None


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("", "::1", "[::1", "192.0.2.1", "127.0.0.1@evil.example", "evil.example@127.0.0.1"),
        *("127.0.0.1/evil.example", "evil.example#127.0.0.1", "127.0.0.1, evil.example"),
        "127.0.0.1?evil.example",
    ],
)
def test_a_foreign_name_is_refused(host: str) -> None:
    assert "another host" in (find_refusal([(b"host", host.encode())]) or "")


def test_two_names_or_none_are_refused() -> None:
    local = (b"host", b"localhost")
    assert find_refusal([]) is not None
    assert find_refusal([local, (b"host", b"evil.example")]) is not None


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "null", "https://127.0.0.1:8080", "http://127.0.0.1:9000"),
        *("http://localhost:8080", "", "file://"),
    ],
)
def test_a_page_of_another_site_is_refused(origin: str) -> None:
    headers = [(b"host", b"127.0.0.1:8080"), (b"origin", origin.encode())]
    assert "page of another site" in (find_refusal(headers) or "")
