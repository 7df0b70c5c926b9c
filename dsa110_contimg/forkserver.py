"""A warm parent for short-lived children: imports once, forks for each request.

The server imports what conversions need, compiles the kernels, loads the earth-orientation
tables and then only forks; it never opens a table, so every child starts from the same
clean state in milliseconds. A request comes over a socket with the descriptors of its log
and of its answer; the connection lives as long as both ends care: when the client goes,
however it goes, its child is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from dsa110_contimg.errors import name_os_error

SOCKET_VARIABLE = "DSA110_CONTIMG_FORKSERVER"
"""Announces a fork server to the processes that should use it."""
FOLDER_PREFIX: Final = "contimg-"
"""Begin of the names of directories with a socket, in the temporary directory."""
SOCKET_NAME: Final = "fork"
_MESSAGE_BYTES = 1 << 20
_START_TIMEOUT_S = 60.0
_CONNECT_TIMEOUT_S = 5.0


def server_socket() -> Path | None:
    """Say where a fork server listens, if one was announced to this process.

    Returns
    -------
    Path or None
        The socket named by ``DSA110_CONTIMG_FORKSERVER``.
    """
    name = os.environ.get(SOCKET_VARIABLE)
    return Path(name) if name else None


@contextmanager
def fork_server(log_path: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """Run a fork server for as long as the body runs, and announce it to all children.

    Parameters
    ----------
    log_path : Path
        File that the server's own output is appended to.
    environment : mapping of str to str
        Environment of the server and of its children; default that of this process.

    Yields
    ------
    Path
        Its socket; an announced server is used as it is.

    Raises
    ------
    InputError, TransientError
        If it cannot be started.
    """
    announced = server_socket()
    if announced is not None:
        yield announced
        return
    with contextlib.ExitStack() as stack:
        try:
            log_path.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(log_path.open("ab"))
            path = stack.enter_context(_own_folder()) / SOCKET_NAME
            server = start_server(path, log.fileno(), environment)
        except OSError as error:
            raise name_os_error(error, f"cannot start a fork server, log {log_path}") from error
        os.environ[SOCKET_VARIABLE] = str(path)
        try:
            yield path
        finally:
            del os.environ[SOCKET_VARIABLE]
            server.terminate()
            server.wait()


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a directory for a socket; its lock says that it has an owner."""
    # In the temporary directory: socket names are limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as name:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(descriptor)


def start_server(
    path: Path, log_fd: int, environment: Mapping[str, str] = os.environ
) -> subprocess.Popen[bytes]:
    """Start a fork server that ends with this process.

    Parameters
    ----------
    path : Path
        Socket to listen on; must not exist.
    log_fd : int
        Descriptor for its output.
    environment : mapping of str to str
        Environment of the server and of its children.

    Returns
    -------
    subprocess.Popen
        The server; it listens at once and answers as soon as it is warm.
    """
    program = f"from {__name__} import serve; serve()"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
        return subprocess.Popen(
            [sys.executable, "-P", "-c", program, str(listener.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            env={**environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )


def submit(
    path: Path, request: dict[str, Any], *, timeout_s: float, log_fd: int, answer_fd: int
) -> int:
    """Have the server fork a child for a request, and wait for its end.

    Parameters
    ----------
    path : Path
        Socket of the server.
    request : dict
        What the child is told, as JSON.
    timeout_s : float
        The child is killed after this time, in seconds.
    log_fd, answer_fd : int
        Descriptors for the child's output and for its answer.

    Returns
    -------
    int
        Exit status, negative for a signal.

    Raises
    ------
    TimeoutError
        If the time ran out; the child is dead.
    ConnectionError
        If the server cannot be reached, or went away.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_TIMEOUT_S)
        try:
            connection.connect(str(path))
            message = json.dumps(request).encode()
            socket.send_fds(connection, [len(message).to_bytes(8, "big")], [log_fd, answer_fd])
            connection.sendall(message)
            pid_text = _receive(connection, time.monotonic() + _START_TIMEOUT_S)
        except TimeoutError:
            # No child yet; the server drops a request whose client is gone.
            raise ConnectionRefusedError("the fork server does not answer") from None
        try:
            return int(_receive(connection, time.monotonic() + timeout_s))
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid_text), signal.SIGKILL)
            _receive(connection, time.monotonic() + _START_TIMEOUT_S)
            raise


def _receive(connection: socket.socket, deadline: float) -> str:
    """Receive one line before a deadline."""
    line = b""
    while not line.endswith(b"\n"):
        connection.settimeout(max(deadline - time.monotonic(), 1e-3))
        part = connection.recv(1)
        if not part:
            raise ConnectionError("the fork server went away")
        line += part
    return line.decode().strip()


def serve() -> None:
    """Fork a child for each request, as the server; its arguments are a socket and a pid."""
    from dsa110_contimg.conversion import warmup as conversion
    from dsa110_contimg.photometry import warmup as photometry
    from dsa110_contimg.processes import die_with_parent

    listener_fd, parent_pid = (int(argument) for argument in sys.argv[1:3])
    die_with_parent(parent_pid)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    photometry.warm_up()
    conversion.warm_up()  # it freezes what has been imported
    listener = socket.socket(fileno=listener_fd)
    _Server(listener).run()


class _Server:
    """The loop: one connection and one pidfd per living child."""

    def __init__(self, listener: socket.socket):
        self._pid = os.getpid()
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._children: dict[int, tuple[int, socket.socket]] = {}
        """Pid of a child to its pidfd and its client."""

    def run(self) -> None:
        """Serve until killed."""
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._start_child(self._listener.accept()[0])
                elif key.data in self._children:  # else its other end was seen just before
                    self._end_child(key.data)

    def _start_child(self, client: socket.socket) -> None:
        """Fork for a request; a client that says nothing sensible is dropped."""
        client.settimeout(_CONNECT_TIMEOUT_S)
        descriptors: list[int] = []
        try:
            size, descriptors, _, _ = socket.recv_fds(client, 8, 2)
            text = b""
            while len(text) < min(int.from_bytes(size, "big"), _MESSAGE_BYTES):
                part = client.recv(_MESSAGE_BYTES)
                if not part:
                    break
                text += part
            request = json.loads(text)
            log_fd, answer_fd = descriptors
            pid = os.fork()
            if pid == 0:
                self._become_child(request, log_fd, answer_fd)
            pidfd = os.pidfd_open(pid)
        except (OSError, ValueError) as error:
            sys.stderr.write(f"request dropped: {error}\n")
            client.close()
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._children[pid] = (pidfd, client)
        self._selector.register(pidfd, selectors.EVENT_READ, data=pid)
        self._selector.register(client, selectors.EVENT_READ, data=pid)
        # A client that is gone already is noticed by the selector, like any other.
        with contextlib.suppress(OSError):
            client.sendall(f"{pid}\n".encode())

    def _become_child(self, request: dict[str, Any], log_fd: int, answer_fd: int) -> NoReturn:
        """Leave the server behind and do the work."""
        try:
            self._work(request, log_fd, answer_fd)
        finally:
            os._exit(1)  # never back into the server's loop

    def _work(self, request: dict[str, Any], log_fd: int, answer_fd: int) -> NoReturn:
        """Do the work as a child of the server."""
        from dsa110_contimg.processes import die_with_parent, handle_request

        die_with_parent(self._pid)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
        # Of the server's descriptors a child keeps its own three and its answer.
        own_answer = os.dup2(answer_fd, 3) if answer_fd != 3 else 3
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        handle_request(request, own_answer)

    def _end_child(self, pid: int) -> None:
        """Clear up when a child has ended or its client is gone; tell the client if it is not."""
        pidfd, client = self._children.pop(pid)
        self._selector.unregister(pidfd)
        self._selector.unregister(client)
        os.close(pidfd)
        # Until it is reaped, a child that ended keeps its number; a young one has no session.
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            client.sendall(f"{status}\n".encode())
        client.close()
