"""Reads what an attempt's processes print, and leaves a trickle alone for a moment, so that it wakes nobody needlessly.

The trap: a pipe that is left alone still fills, so whoever prints much is read without a pause.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import time
from collections.abc import Callable

PIPE_BYTES = 1024 * 1024
LINE_S = 0.0005  # print("x") writes the text and the line end apart
FAST_BYTES = 64 * 1024
PAUSE_S = 0.02


class Pipes:
    """The read ends of stdout and stderr inside a selector loop. `resume_at` is when to call `resume`."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._writers: dict[int, Callable[..., None]] = {}
        self._paused: set[int] = set()
        self._hurried = False
        self.resume_at = float("inf")

    @property
    def open(self) -> bool:
        """Whether somebody may still print."""
        return bool(self._writers)

    def add(self, fd: int, write: Callable[..., None]) -> None:
        """Read `fd` from now on; `write` gets the bytes, and `final=True` at its end."""
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(fd, False)
        self._writers[fd] = write
        self._watch(fd)

    def _watch(self, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ, lambda: self._on_output(fd))

    def _on_output(self, fd: int) -> None:
        """Read once; a trickle is then left alone for a while."""
        if fd not in self._writers:  # read to its end since the selector spoke of it
            return
        if not self._hurried:
            time.sleep(LINE_S)
        size = self._read(fd)
        if 0 < size < FAST_BYTES and not self._hurried:
            for pipe in self._writers.keys() - self._paused:
                self._selector.unregister(pipe)
                self._paused.add(pipe)
            self.resume_at = time.monotonic() + PAUSE_S

    def _read(self, fd: int) -> int:
        try:
            data = os.read(fd, PIPE_BYTES)
        except BlockingIOError:
            return 0
        if data:
            self._writers[fd](data)
        else:
            self._close(fd)
        return len(data)

    def _close(self, fd: int) -> None:
        self._writers.pop(fd)(b"", final=True)
        if fd in self._paused:
            self._paused.discard(fd)
        else:
            self._selector.unregister(fd)
        os.close(fd)

    def resume(self) -> None:
        """Look at all pipes again."""
        for fd in self._paused:
            self._watch(fd)
        self._paused.clear()
        self.resume_at = float("inf")

    def drain(self) -> None:
        """Read all that was written before now: no more than a pipe can hold, whoever goes on writing."""
        for fd in list(self._writers):
            left = PIPE_BYTES
            while left > 0 and fd in self._writers:
                size = self._read(fd)
                if size == 0:
                    break
                left -= size

    def finish(self) -> None:
        """Read the rest without pauses: the process that printed it is ending."""
        self._hurried = True
        self.resume()

    def close(self) -> None:
        """Give up what is left: somebody outside the job holds the other end."""
        for fd in list(self._writers):
            self._close(fd)
