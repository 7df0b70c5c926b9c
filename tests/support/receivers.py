"""Real servers on the loopback interface that keep what they get: mail, and HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from dsa110_contimg.orchestration.embedded import choose_port

LOGIN, PASSWORD = "contimg", "pass-word-of-the-mail-server"
SENDER = "contimg@observatory.example"
PLAIN_AUTH = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
"""For tests with a `MailBox`: its password crosses the loopback interface in the clear."""


@dataclass
class MailBox:
    """A mail server that wants a password, and refuses whoever is called nobody."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    _server: Controller | None = None

    def start(self) -> None:
        """Serve, on the same port each time."""
        self._server = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=_authenticate,
            auth_required=True,
            auth_require_tls=False,
        )
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Be away for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd looks for this name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content = cast("bytes", envelope.content)
        self.recipients.append(envelope.rcpt_tos)
        self.mails.append(cast("EmailMessage", message_from_bytes(content, policy=policy.default)))
        return "250 OK"

    def text(self, number: int) -> str:
        """Body of a mail."""
        [part] = [
            part for part in self.mails[number].walk() if part.get_content_type() == "text/html"
        ]
        return cast("str", part.get_content())

    def kinds(self) -> list[str]:
        return [mail["X-DSA110-Alert"] for mail in self.mails]


def smtp_connection(port: int, *, password: str = PASSWORD, **extra: Any) -> str:
    """An Airflow connection to a `MailBox`, as its environment variable holds it."""
    plain = {"disable_tls": True, "disable_ssl": True, "from_email": SENDER}
    return json.dumps(
        {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": port,
            "login": LOGIN,
            "password": password,
            "extra": {**plain, **extra},
        }
    )


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
) -> AuthResult:
    """Ask for the one password that there is."""
    expected = LoginPassword(LOGIN.encode(), PASSWORD.encode())
    return AuthResult(success=given == expected, handled=False)


@contextmanager
def mail_server() -> Iterator[MailBox]:
    box = MailBox(choose_port())
    box.start()
    try:
        yield box
    finally:
        box.stop()


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@dataclass
class Post:
    """A request with a body."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class HttpReceiver:
    """Keeps what is posted to it, and answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.status = 200
        self.delay_s = 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posts.append(Post(self.path, dict(self.headers), body))
                time.sleep(receiver.delay_s)
                with contextlib.suppress(BrokenPipeError):  # the client waits no longer
                    self.send_response(receiver.status)
                    self.end_headers()
                    self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.port: int = self._server.server_address[1]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    receiver = HttpReceiver()
    try:
        yield receiver
    finally:
        receiver.stop()
