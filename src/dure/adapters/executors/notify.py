"""Listens for runners' hints that an attempt printed, started or ended. They shorten waits; losing one is harmless."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from dure.worker.control import short_path

_MAX_BYTES = 4096


class HintSocket:
    """A unix datagram socket in the state folder and the thread that reads it."""

    def __init__(self, path: Path, on_output: Callable[[], None], on_progress: Callable[[], None]) -> None:
        self.path = path
        self._on_output = on_output
        self._on_progress = on_progress
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with short_path(path) as address:
            self._socket.bind(address)
        path.chmod(0o622)  # attempts of other accounts may knock, none may read
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="dure-hints", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        while True:
            try:
                message = self._socket.recv(_MAX_BYTES)
            except OSError:
                return
            if self._closed:
                return
            try:
                what = json.loads(message).get("what")
            except (ValueError, AttributeError, RecursionError):
                continue  # anybody may knock with anything
            (self._on_output if what == "output" else self._on_progress)()
