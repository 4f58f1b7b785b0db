"""Server-sent events that reconnect by themselves, so that nothing is lost and nothing comes twice.

The trap: Python's `splitlines` also splits at characters such as U+2028, which a job may print, so lines are cut here
at the newline byte only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.client.errors import DureError
from dure.client.http_library import httpx
from dure.client.transport import AWAY, query
from dure.client.words import TERMINAL
from dure.wire.messages import EventView, JobView, Problem

if TYPE_CHECKING:
    from dure.client.transport import Transport

SILENCE_S = 45.0  # the server sends a keep-alive comment three times within it
START = "0.0"


@dataclass(frozen=True, slots=True)
class Output:
    """One message of a job's output. `cursor` continues after it."""

    message: dict[str, Any]
    attempt: int
    cursor: str

    @property
    def type(self) -> str:
        """The message's type: `stream`, `display_data`, `error`, `need`, `cut`, `end`, …"""
        return str(self.message.get("type", ""))


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The job's phase, attempt or reason for waiting changed; `cursor` is where the output stood."""

    job: JobView
    cursor: str


@dataclass(frozen=True, slots=True)
class Sent:
    """One server-sent event."""

    event: str
    id: str
    data: str


def job_stream(transport: Transport, job_id: str, cursor: str | None) -> Iterator[Output | JobChanged]:
    """Yield a job's output after `cursor` and its changes, to its end; DureError when it cannot be seen."""
    at = _Cursor(cursor or START)
    shown: tuple[Any, ...] | None = None
    for sent in _events(transport, f"jobs/{job_id}/stream", at):
        if sent.event == "job":
            job = transport.parsed(JobView, sent.data)
            state = (job.phase, job.attempt, job.goal, job.verdict and job.verdict.sentence)
            if state != shown:
                shown = state
                yield JobChanged(job, at.text)
            if job.phase in TERMINAL:
                return
        elif sent.event == "output" and _place(sent.id) > _place(at.text):
            at.text = sent.id
            yield Output(_json(sent.data), _place(at.text)[0], at.text)


def event_stream(transport: Transport, after: int | None, subject: str | None) -> Iterator[EventView]:
    """Yield the log's events after `after` (None: from now on) without end."""
    at = _Cursor("" if after is None else str(after))
    for sent in _events(transport, "events/stream", at, subject=subject):
        if sent.event == "start":
            at.text = at.text or sent.id
        elif sent.event == "event" and int(sent.id) > int(at.text or 0):
            at.text = sent.id
            yield transport.parsed(EventView, sent.data)


@dataclass(slots=True)
class _Cursor:
    """Where a stream goes on after a reconnection; "" is wherever the server begins."""

    text: str


def _events(transport: Transport, path: str, at: _Cursor, **values: Any) -> Iterator[Sent]:
    patience = transport.patience()
    timeout = httpx.Timeout(SILENCE_S, connect=10.0)
    while True:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if at.text:
            headers["Last-Event-ID"] = at.text
        request: dict[str, Any] = {"headers": headers, "timeout": timeout, "params": query(**values)}
        error: DureError | None = None
        try:
            with transport.http.stream("GET", path, **request) as response:
                _accepted(transport, response)
                for sent in sse(response.iter_raw()):
                    patience.succeeded()
                    if sent.event == "problem":
                        error = DureError(Problem.model_validate_json(sent.data))
                        break
                    yield sent
        except httpx.TransportError as lost:
            error = transport.unreachable(lost)
        except _AwayError as away:
            error = away.error
        if error is not None and 0 < error.status < 500:
            raise error
        patience.failed(error or transport.unreachable("the stream ended early"))


class _AwayError(Exception):
    """The control plane is not there now, or refused for now."""

    def __init__(self, error: DureError) -> None:
        super().__init__(str(error))
        self.error = error


def sse(chunks: Iterator[bytes]) -> Iterator[Sent]:
    """Yield the events in a byte stream of server-sent events; comments are passed over, a torn last one is dropped."""
    fields: dict[str, str] = {}
    rest = bytearray()
    for chunk in chunks:
        begun = len(rest)
        rest += chunk
        if rest.find(b"\n", begun) < 0:
            continue
        *lines, tail = bytes(rest).split(b"\n")
        rest = bytearray(tail)
        for line in lines:
            name, _, value = line.rstrip(b"\r").decode("utf-8", "replace").partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            elif not line.rstrip(b"\r") and "data" in fields:
                yield Sent(fields.get("event", "message"), fields.get("id", ""), fields["data"])
                fields = {}


def _accepted(transport: Transport, response: httpx.Response) -> None:
    if response.is_success and response.headers.get("content-type", "").startswith("text/event-stream"):
        return
    response.read()
    if response.status_code in AWAY:
        raise _AwayError(transport.unreachable(f"HTTP {response.status_code}"))
    raise transport.refusal(response)


def _place(cursor: str) -> tuple[int, int]:
    attempt, _, seq = cursor.partition(".")
    return int(attempt), int(seq or 0)


def _json(text: str) -> dict[str, Any]:
    found = json.loads(text)
    return found if isinstance(found, dict) else {"type": "unknown", "value": found}
