"""Follows a job on the terminal: its output where it belongs, one waiting line, Ctrl-C, and the end line.

The trap: Ctrl-C must not tear the stream apart, so the first one only asks for the job's end, from another thread,
and the output goes on to the job's own end; the second leaves.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from dure.cli.telling import Line, warn
from dure.client.errors import DureError
from dure.client.streams import JobChanged, Output
from dure.client.words import TERMINAL, end_line, waiting_line
from dure.wire.retold import retold

if TYPE_CHECKING:
    from dure.client import Client
    from dure.wire.messages import JobView

TIMED_OUT, INTERRUPTED = 124, 130  # as timeout(1) and shells have them
_ASKING_S = 10.0


class Screen:
    """Writes a job's messages: its stdout to ours, its stderr to ours, what has no text form not at all."""

    def __init__(self, lang: str, *, as_json: bool) -> None:
        self._lang = lang
        self._as_json = as_json
        self._line = Line()
        self._attempt = 0
        self._failure = ""  # the error that was shown last

    def output(self, item: Output) -> None:
        """Write one message of the output."""
        if self._as_json:
            click.echo(json.dumps(item.message, ensure_ascii=False))
            return
        self._line.show("")
        if 0 < self._attempt < item.attempt:
            korean = self._lang == "ko"
            warn(f"[{item.attempt}번째 시도]" if korean else f"[attempt {item.attempt} starts from the beginning]")
        self._attempt = item.attempt
        text, to_stderr = _text_of(item.message, self._lang)
        if item.message.get("type") == "error":
            self._failure = text
        if text:
            stream = sys.stderr if to_stderr else sys.stdout
            stream.write(text)
            stream.flush()

    def job(self, job: JobView) -> None:
        """Show where the job stands, and the end line at its end."""
        if job.phase not in TERMINAL:
            if not self._as_json:
                self._line.show(waiting_line(job, self._lang) if job.phase != "running" else "")
            return
        self._line.show("")
        if self._as_json:
            click.echo(json.dumps({"type": "job", **job.model_dump(mode="json")}, ensure_ascii=False))
            return
        if job.phase != "succeeded" and job.reason_sentence and job.reason_sentence not in self._failure:
            warn(job.reason_sentence)
        warn(end_line(job, self._lang))


def follow(client: Client, job_id: str, screen: Screen, cursor: str | None = None) -> JobView:
    """Show the job to its end and return it as it ended."""
    for item in client.stream(job_id, cursor):
        if isinstance(item, JobChanged):
            screen.job(item.job)
            if item.job.phase in TERMINAL:
                return item.job
        else:
            screen.output(item)
    raise AssertionError("unreachable: a stream ends with the terminal job")


def exit_code_of(job: JobView) -> int:
    """Return the shell's exit code for an ended job: the program's own, 124 timed out, 130 cancelled, else 1."""
    if job.phase == "succeeded":
        return 0
    result = job.result or {}
    code = result.get("exit_code")
    if job.phase == "cancelled":
        return INTERRUPTED
    if result.get("status") == "timeout":
        return TIMED_OUT
    if isinstance(code, int) and code:
        return code if code > 0 else 128 - code
    return 1


class Interrupts:
    """Counts Ctrl-C: the first cancels the job (as soon as there is one), the second raises KeyboardInterrupt."""

    def __init__(self, client: Client, lang: str) -> None:
        self._client = client
        self._lang = lang
        self._job_id: str | None = None
        self._asking: threading.Thread | None = None
        self.count = 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch SIGINT inside the block."""
        before = signal.signal(signal.SIGINT, self._came)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def submitted(self, job_id: str) -> None:
        """Tell which job to cancel; one that was interrupted before is cancelled now."""
        self._job_id = job_id
        if self.count:
            self._cancel()

    def _came(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
        if self._job_id is not None:
            self._cancel()

    def settle(self) -> None:
        """Wait until the job's end was asked for, a few seconds at most."""
        if self._asking is not None:
            self._asking.join(_ASKING_S)

    def _cancel(self) -> None:
        korean = self._lang == "ko"
        told = (
            "취소하는 중입니다. 한 번 더 누르면 바로 나갑니다."
            if korean
            else "Cancelling; press again to leave at once."
        )
        # A signal may come in the middle of a write to sys.stderr, which must not be entered twice.
        os.write(2, f"\n{told}\n".encode())
        self._asking = threading.Thread(target=self._ask, daemon=True)
        self._asking.start()

    def _ask(self) -> None:
        assert self._job_id is not None
        try:
            self._client.cancel(self._job_id)
        except DureError as error:
            if error.code != "already_ended":
                warn(str(error))


def _text_of(message: dict[str, Any], lang: str) -> tuple[str, bool]:
    kind = message.get("type")
    if kind == "stream":
        return str(message.get("text", "")), message.get("name") == "stderr"
    if kind in {"display_data", "execute_result", "update_display_data"}:
        plain = message.get("data", {}).get("text/plain", "")
        return ("".join(plain) if isinstance(plain, list) else str(plain)) + "\n", False
    if kind == "error":
        lines = message.get("traceback") or [f"{message.get('ename')}: {message.get('evalue')}"]
        return (retold(lines[0], lang) if len(lines) == 1 else "\n".join(lines)) + "\n", True
    if kind == "input_request":
        return str(message.get("prompt", "")), False
    if kind == "cut":
        dropped = message.get("dropped_bytes", 0)
        cut = (
            f"[출력이 여기서 잘렸습니다: {dropped}바이트]"
            if lang == "ko"
            else f"[output cut here: {dropped} bytes left out]"
        )
        return cut + "\n", True
    return "", False
