"""Both ends of the small unix-socket protocol: a line of JSON to a fork server or a runner, a line of JSON back.

The trap: a unix socket's path may have 107 bytes only and attempt folders lie deep, so both ends go through a
descriptor of the folder (/proc/self/fd/N/name), which is always short.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

REQUEST_BYTES = 8 * 1024 * 1024
MAX_CONNECTIONS = 64
_PATH_BYTES = 100


class ControlError(Exception):
    """Nobody took the request; the text says who did not answer."""


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name for `path` that fits into a unix socket address, valid inside the block."""
    if len(os.fsencode(path)) < _PATH_BYTES or not sys.platform.startswith("linux"):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """Return a non-blocking listening socket at `path` that its owner alone may use; an old one is replaced."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        with short_path(path) as name:
            server.bind(name)
    finally:
        os.umask(old)
    server.listen(64)
    server.setblocking(False)
    return server


def peer_uid(connection: socket.socket) -> int:
    """Return the user id of the process at the other end; our own where the system cannot tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.geteuid()
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])


def request(path: Path, message: Mapping[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """Send one request to the socket at `path` and return the answer; raises ControlError when none comes in time."""
    deadline = time.monotonic() + timeout_s
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            with short_path(path) as name:
                connection.connect(name)
            connection.sendall(json.dumps(message).encode() + b"\n")
            while not answer.endswith(b"\n"):
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                data = connection.recv(1 << 16)
                if not data:
                    break
                answer += data
        content = json.loads(answer)
    except (OSError, ValueError) as error:
        raise ControlError(
            f"{path} gave no answer to '{message.get('op')}': {str(error) or 'it took too long'}."
        ) from error
    if not isinstance(content, dict):
        raise ControlError(f"{path} gave an answer that is no JSON object.")
    return content


def send(folder: Path, message: Mapping[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """Send `message` (op interrupt, stop, kill, stdin, provide) to the runner of an attempt folder; as `request`."""
    return request(folder / "control.sock", message, timeout_s)


class Connection:
    """The server's side of one request: collects a line, gives the answer, closes."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._data = b""
        connection.setblocking(False)

    def read(self) -> dict[str, Any] | None:
        """Return the request once it is complete; raises ValueError when it never will be one."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ValueError("the connection broke") from error
        self._data += data
        if not data or len(self._data) > REQUEST_BYTES:
            raise ValueError("the request ended early or is too long")
        if not self._data.endswith(b"\n"):
            return None
        content = json.loads(self._data)
        if not isinstance(content, dict):
            raise ValueError("the request is no JSON object")  # noqa: TRY004 -- one kind of refusal
        return content

    def answer(self, content: Mapping[str, Any]) -> None:
        """Send the answer (small enough for the socket's buffer) and close."""
        with contextlib.suppress(OSError):
            self.socket.send(json.dumps(content).encode() + b"\n")
        self.socket.close()


class Door:
    """The listening side inside a selector loop: takes requests, hands them to `obey`, sends back what it returns."""

    def __init__(
        self,
        server: socket.socket,
        selector: selectors.BaseSelector,
        obey: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self.server = server
        self._selector = selector
        self._obey = obey
        self._connections: dict[int, Connection] = {}
        selector.register(server, selectors.EVENT_READ, self._on_connect)

    def sockets(self) -> list[socket.socket]:
        """Return all open sockets, for a fork to close."""
        return [self.server, *(connection.socket for connection in self._connections.values())]

    def _on_connect(self) -> None:
        with contextlib.suppress(OSError):
            accepted, _ = self.server.accept()
            if peer_uid(accepted) not in {os.geteuid(), 0}:  # neither this account nor root
                accepted.close()
                return
            if len(self._connections) >= MAX_CONNECTIONS:  # the oldest says nothing: its place is free
                self._leave(next(iter(self._connections.values()))).socket.close()
            connection = Connection(accepted)
            self._connections[accepted.fileno()] = connection
            self._selector.register(accepted, selectors.EVENT_READ, lambda: self._on_request(connection))

    def _leave(self, connection: Connection) -> Connection:
        self._selector.unregister(connection.socket)
        del self._connections[connection.socket.fileno()]
        return connection

    def _on_request(self, connection: Connection) -> None:
        if connection.socket.fileno() not in self._connections:  # given up in this very round
            return
        try:
            message = connection.read()
            if message is None:
                return
            answer = self._obey(message)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            answer = {"ok": False, "error": f"The request could not be done ({type(error).__name__}: {error})."}
        self._leave(connection).answer(answer)
