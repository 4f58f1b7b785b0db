"""Writes output.jsonl: numbered messages, one JSON line each, bounded in bytes, never torn by a full disk.

After the bound one `cut` message marks the place; from then on only control messages (input_request, need, error, end)
are written, and the end message carries the number of dropped bytes and the tail of the text. The trap: text is
counted as it lies on the disk (escaped JSON), so the bound holds whatever the bytes were.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dure.worker.control import short_path
from dure.worker.spec import AttemptSpec

MESSAGE_CHARS = 64 * 1024
TAIL_BYTES = 4096
RESULT_RESERVE_BYTES = 256 * 1024
STREAMS = ("stdout", "stderr")
# Never dropped: without them the job would hang or its end would be unknown.
_CONTROL = frozenset({"input_request", "need", "error", "cell_end", "end"})
_CONTROL_BYTES = 256 * 1024


class SpoolError(Exception):
    """The attempt's folder cannot be written; the text is one sentence for the job's owner."""


def overwritten(text: str) -> str:
    r"""Return `text` without the states of a progress bar that a later `\r` in the same line overwrites wholly.

    What a terminal or a notebook shows in the end is the same.
    """
    if text.count("\r") < 2:
        return text
    return "\n".join(map(_last_states, text.split("\n")))


def _last_states(line: str) -> str:
    if line.count("\r") < 2 or "\x1b" in line or "\b" in line:
        return line
    first, *states = line.split("\r")
    kept: list[str] = []
    longest = -1
    for number, state in enumerate(reversed(states)):
        if number == 0 or len(state) > longest:
            kept.append(state)
            longest = max(longest, len(state))
    return "\r".join([first, *reversed(kept)])


class Spool:
    """The writer of one attempt's output.jsonl and result.json; owned by its runner."""

    def __init__(self, folder: Path, spec: AttemptSpec) -> None:
        self._folder = folder
        self._spec = spec
        self._fd = os.open(folder / "output.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._budget = spec.limits.output_bytes
        self._control_budget = _CONTROL_BYTES
        self._seq = 0
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in STREAMS}
        self._tails = dict.fromkeys(STREAMS, b"")
        self._notify = _notify_socket(spec.notify)
        self._reserved = self._reserve()
        self.dropped_bytes = 0
        self.failure: str | None = None

    @property
    def size_bytes(self) -> int:
        """How much is written."""
        return self._size

    @property
    def used(self) -> float:
        """Which part of the bound on output is used, 0 to 1."""
        return 1.0 - max(0, self._budget) / max(1, self._spec.limits.output_bytes)

    @property
    def is_cut(self) -> bool:
        """Whether the bound was reached: what is printed from now on is dropped."""
        return self.dropped_bytes > 0

    def _reserve(self) -> int | None:
        """Take disk space for result.json now, so that a full disk cannot keep the job from ending."""
        fd = os.open(self._folder / ".result.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError, AttributeError):  # macOS has no posix_fallocate
            os.posix_fallocate(fd, 0, RESULT_RESERVE_BYTES)
        return fd

    def text(self, name: str, data: bytes, *, final: bool = False) -> None:
        """Append bytes of a stream; incomplete UTF-8 at the end waits for its rest unless `final`."""
        if self.is_cut or self.failure:
            self._drop(name, data)
            return
        text = overwritten(self._decoders[name].decode(data, final))
        for start in range(0, len(text), MESSAGE_CHARS):
            self._text_piece(name, text[start : start + MESSAGE_CHARS])

    def _text_piece(self, name: str, text: str) -> None:
        if not self.is_cut and not self._write("stream", {"name": name, "text": text}):
            room = max(0, self._budget - 256) // 6  # no character needs more than six bytes as escaped JSON
            if room and not self.failure and self._write("stream", {"name": name, "text": text[:room]}):
                text = text[room:]
            self._cut(len(text.encode("utf-8", "replace")))
            self._drop(name, text.encode("utf-8", "replace"), counted=True)
        elif self.is_cut:
            self._drop(name, text.encode("utf-8", "replace"))

    def _drop(self, name: str, data: bytes, *, counted: bool = False) -> None:
        self.dropped_bytes += 0 if counted else len(data)
        self._tails[name] = (self._tails[name] + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    def _cut(self, dropped: int) -> None:
        if not self.is_cut and not self.failure:
            self.dropped_bytes = max(1, dropped)
            self._put(self._line("cut", {"dropped_bytes": self.dropped_bytes}))

    def message(self, kind: str, content: Mapping[str, Any]) -> bool:
        """Append a message; output beyond the bound is dropped (False), control messages are not."""
        if self._write(kind, content):
            return True
        self.drop(len(json.dumps(content)))
        return False

    def drop(self, size_bytes: int) -> None:
        """Count a message that was too large to be sent at all."""
        if self.is_cut:
            self.dropped_bytes += size_bytes
        else:
            self._cut(size_bytes)

    def _write(self, kind: str, content: Mapping[str, Any]) -> bool:
        """Append when the bound allows it; False when it does not (then nothing was written)."""
        if kind not in _CONTROL and (self.is_cut or self.failure):
            return False
        line = self._line(kind, content)
        if kind in {"cell_end", "end"}:
            return self._put(line)
        if kind in _CONTROL and len(line) <= self._control_budget:
            self._control_budget -= len(line)
            return self._put(line)
        if len(line) > self._budget:
            return False
        self._budget -= len(line)
        return self._put(line)

    def _line(self, kind: str, content: Mapping[str, Any]) -> bytes:
        head = {"seq": self._seq + 1, "at": round(time.time(), 6), "type": kind}
        return json.dumps({**head, **content, **head}, separators=(",", ":")).encode() + b"\n"

    def _put(self, line: bytes) -> bool:
        try:
            written = 0
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)  # no torn line
            if self.failure is None:
                self.failure = (
                    f"The output of the job could not be written to {self._folder} ({error.strerror}): the job was "
                    f"ended. Free space there (`df -h {self._folder}`) and run it again."
                )
            return False
        self._size += len(line)
        self._seq += 1
        self.hint("output")
        return True

    def hint(self, what: str) -> None:
        """Send the unreliable datagram that says where to look; nobody listening is no error."""
        if self._notify and self._spec.notify:
            hint = json.dumps({"job": self._spec.job, "attempt": self._spec.attempt, "what": what}).encode()
            with contextlib.suppress(OSError), short_path(Path(self._spec.notify)) as address:
                self._notify.sendto(hint, address)

    def started(self) -> None:
        """Leave the mark that user code begins; raises SpoolError, and then user code must not begin."""
        try:
            os.close(os.open(self._folder / "started", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise SpoolError(f"{self._folder} cannot be written ({error.strerror}). Free space there.") from error
        self.hint("started")

    def kept(self, since: float | None, cells: int) -> None:
        """Tell the executor that the process waits for a next cell since then, or (None) runs one."""
        draft = self._folder / ".kept.json"
        with contextlib.suppress(OSError):
            draft.write_text(json.dumps({"since": since, "cells": cells}))
            draft.replace(self._folder / "kept.json")
            self.hint("kept")

    def cell_end(self, result: dict[str, Any]) -> None:
        """Write how one cell of a kept process ended; the next has the whole bound for its own output."""
        self.message("cell_end", self._with_tail(result))
        self._budget, self._control_budget = self._spec.limits.output_bytes, _CONTROL_BYTES
        self._tails = dict.fromkeys(STREAMS, b"")
        self.dropped_bytes = 0

    def _with_tail(self, result: dict[str, Any]) -> dict[str, Any]:
        if not self.is_cut:
            return result
        tails = {name: tail.decode("utf-8", "replace") for name, tail in self._tails.items() if tail}
        return {**result, "dropped_bytes": self.dropped_bytes, "tail": tails}

    def end(self, result: dict[str, Any]) -> None:
        """Write the end message and, as the very last act, result.json: durable, atomic, the same content."""
        line = self._line("end", self._with_tail(result))
        self._put(line)
        assert self._reserved is not None, "a runner ends an attempt once"
        try:
            _write_durably(self._reserved, line)
        except OSError as error:  # larger than what was reserved, and the disk is full
            sentence = f"The disk of {self._folder} is full ({error.strerror}): what the job left could not be listed."
            short = {"status": "error", "exit_code": 1, "error": {"ename": "DiskFull", "evalue": sentence}}
            _write_durably(self._reserved, self._line("end", short))
        os.close(self._reserved)
        self._reserved = None
        (self._folder / ".result.json").replace(self._folder / "result.json")
        with contextlib.suppress(OSError):
            folder = os.open(self._folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        self.hint("ended")


def _write_durably(fd: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], written)
    os.ftruncate(fd, len(data))
    os.fsync(fd)


def _notify_socket(path: str | None) -> socket.socket | None:
    if not path:
        return None
    hints = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hints.setblocking(False)
    return hints
