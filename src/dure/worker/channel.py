"""How the user process talks to its runner: ordered output, messages with an acknowledgement, questions.

Text goes through fd 1 and 2 (so that subprocesses and C code mix in correctly); messages go through a socket. Before
the writer changes from one to the other the runner must have read what came before: a barrier, acknowledged, makes the
order exact. The trap: KeyboardInterrupt may strike anywhere, so every exchange is shielded and the signal comes after.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dure.worker import processes

HEADER = struct.Struct("!cI")
MESSAGE, BARRIER, READY, CELL_END, END, TOO_LARGE, ASK, ACK = b"M", b"B", b"R", b"C", b"E", b"L", b"A", b"K"
COMM = b"W"
_AGAIN_S = 0.01  # until an interrupt that Python dropped strikes again


def frame(kind: bytes, content: Any = None) -> bytes:
    """Return a frame: one byte of kind, four of length, JSON."""
    body = b"" if content is None else json.dumps(content, default=repr).encode()
    return HEADER.pack(kind, len(body)) + body


class Frames:
    """Cuts a byte stream into frames; holds what is incomplete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, Any]]:
        """Yield (kind, content) of each frame completed by `data`; raises ValueError on what is no frame."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            kind, size = HEADER.unpack_from(self._buffer)
            if len(self._buffer) < HEADER.size + size:
                return
            body = bytes(self._buffer[HEADER.size : HEADER.size + size])
            del self._buffer[: HEADER.size + size]
            yield kind, json.loads(body) if body else None


class Interrupts:
    """Turns SIGINT into KeyboardInterrupt in the main thread, but not inside a shielded exchange."""

    def __init__(self) -> None:
        self._depth = 0
        self._pending = False
        self._main = threading.get_ident()
        self._unraisable = sys.unraisablehook

    def install(self) -> None:
        """Take SIGINT over; call it in the main thread."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._on_dropped

    def _on_dropped(self, dropped: Any) -> None:
        # what is raised in finalizers, and in what libraries do around a fork (`!command`), reaches nobody
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            self._unraisable(dropped)
            return
        threading.Thread(target=self._strike_again, daemon=True).start()

    def _strike_again(self) -> None:
        """Interrupt the main thread once it has left `_on_dropped`: what is raised there is dropped without a word."""
        while True:
            time.sleep(_AGAIN_S)
            frame: types.FrameType | None = sys._current_frames().get(self._main)  # noqa: SLF001 -- it has no other name
            while frame is not None and frame.f_code is not Interrupts._on_dropped.__code__:
                frame = frame.f_back
            if frame is None:
                os.kill(os.getpid(), signal.SIGINT)
                return

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self._depth:
            self._pending = True
        else:
            raise KeyboardInterrupt

    def __enter__(self) -> None:
        if threading.get_ident() == self._main:
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        if threading.get_ident() != self._main:
            return
        self._depth -= 1
        if self._pending and not self._depth:
            self._pending = False
            raise KeyboardInterrupt


class Outlet:
    """The user process's way out. In processes that the user's code forks only plain text passes."""

    def __init__(
        self, messages: socket.socket, questions: socket.socket, incoming: socket.socket, limit_bytes: int
    ) -> None:
        self.interrupts = Interrupts()
        self.incoming = incoming  # what comes unasked: widgets' messages
        self._messages = messages
        self._questions = questions
        self._limit_bytes = limit_bytes
        self._lock = threading.RLock()
        self._asking = threading.RLock()
        self._busy: int | None = None
        self._deferred: list[bytes] = []
        self._answers = Frames()
        self._asked = 0
        self._last_fd = 1
        self.own = True
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.own = False

    def write(self, fd: int, data: bytes) -> None:
        """Write to fd 1 or 2, in order with whatever else this process has sent."""
        if fd != self._last_fd:
            self._last_fd = fd
            self._exchange(frame(BARRIER))
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def message(self, kind: str, content: Mapping[str, Any]) -> bool:
        """Send a message (display_data, error, …); False in a forked child, which has no way to send one."""
        if not self.own:
            return False
        data = frame(MESSAGE, {"type": kind, "content": content})
        if len(data) > self._limit_bytes + 4096:
            data = frame(TOO_LARGE, len(data))
        self._exchange(data)
        return True

    def report(self, kind: bytes, content: Any = None) -> None:
        """Send READY (and wait until the runner says go), CELL_END or END."""
        processes.flush_compiled()
        self._exchange(frame(kind, content))

    def _exchange(self, data: bytes) -> None:
        if not self.own:
            return
        with self.interrupts:
            if self._busy == threading.get_ident():  # a signal handler prints while we send
                self._deferred.append(data)
                return
            with self._lock:
                self._busy = threading.get_ident()
                try:
                    self._send(data)
                    while self._deferred:
                        self._send(self._deferred.pop(0))
                finally:
                    self._busy = None

    def _send(self, data: bytes) -> None:
        self._messages.sendall(data)
        if not self._messages.recv(1):
            os._exit(137)  # the runner is gone, and with it everybody who could read this

    def ask(self, content: Mapping[str, Any], timeout_s: float | None = None) -> dict[str, Any] | None:
        """Ask the notebook and return its answer; None when it did not come in time or nobody can be asked."""
        if not self.own:
            return None
        with self._asking:
            with self.interrupts:
                self._asked += 1
                number = self._asked
                self._questions.sendall(frame(ASK, {"id": number, **content}))
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            poll = select.poll()
            poll.register(self._questions, select.POLLIN)
            while deadline is None or time.monotonic() < deadline:
                left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
                if not poll.poll(left_ms):
                    break
                answer = self._answer(number)
                if answer is not None:
                    return answer
        return None

    def _answer(self, number: int) -> dict[str, Any] | None:
        """Read what there is; answers to questions that were given up are dropped."""
        found: dict[str, Any] | None = None
        with self.interrupts:
            data = self._questions.recv(1 << 20)
            if not data:
                os._exit(137)
            for _, content in self._answers.feed(data):
                if isinstance(content, dict) and content.get("id") == number:
                    found = content
        return found


class LiveStream(io.TextIOBase):
    """sys.stdout or sys.stderr of a cell: every write is on its way when it returns (in forked children every line)."""

    def __init__(self, outlet: Outlet, fd: int, name: str) -> None:
        super().__init__()
        self._outlet = outlet
        self._fd = fd
        self._name = f"<{name}>"
        self._line = ""
        self.buffer = _LiveBytes(outlet, fd)

    name = property(lambda self: self._name)
    encoding = "utf-8"
    errors = "backslashreplace"

    def write(self, text: str) -> int:
        """Write text at once and return the number of characters."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._line += text
        if self._outlet.own or "\n" in text or "\r" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what a forked child has of an unfinished line; it prints whole lines, as several may print at once."""
        line, self._line = self._line, ""
        if line:
            self._outlet.write(self._fd, line.encode("utf-8", "backslashreplace"))

    def fileno(self) -> int:
        """Return the file descriptor that subprocesses inherit."""
        return self._fd

    def writable(self) -> bool:
        """Return True."""
        return True

    def reconfigure(self, **_: object) -> None:
        """Accept what programs ask of a TextIOWrapper; encoding and buffering stay."""


class _LiveBytes(io.RawIOBase):
    """`sys.stdout.buffer`."""

    def __init__(self, outlet: Outlet, fd: int) -> None:
        super().__init__()
        self._outlet = outlet
        self._fd = fd

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._outlet.write(self._fd, bytes(view))
        return len(view)

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True


def input_from(outlet: Outlet) -> tuple[Callable[..., str], Callable[..., str]]:
    """Return replacements for `input` and `getpass.getpass` that ask the notebook."""

    def ask(prompt: object, *, password: bool) -> str:
        answer = outlet.ask({"type": "input_request", "prompt": str(prompt), "password": password})
        text = (answer or {}).get("text")
        if not isinstance(text, str):
            raise EOFError("Nobody can answer: this process was forked, or the input was closed.")  # noqa: TRY004
        return text

    def ask_input(prompt: object = "", /) -> str:
        return ask(prompt, password=False)

    def ask_password(prompt: str = "Password: ", stream: object = None, **_: object) -> str:  # noqa: ARG001
        return ask(prompt, password=True)

    return ask_input, ask_password


def replace_streams(outlet: Outlet) -> contextlib.ExitStack:
    """Install the live streams as sys.stdout and sys.stderr; closing the result puts the old ones back."""
    stack = contextlib.ExitStack()
    for fd, name in ((1, "stdout"), (2, "stderr")):
        stack.callback(setattr, sys, name, getattr(sys, name))
        stream = LiveStream(outlet, fd, name)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    return stack
