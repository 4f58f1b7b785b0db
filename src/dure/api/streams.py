"""Server-sent events: a job's output and changes, and the event log. Resumed by cursor, bounded, never blocking.

A stream re-reads by cursor after each wake and at least every second, so a lost wake costs a second and never an event.
The trap: a slow reader must hold up only itself, so a stream reads one page, sends it, and only then reads the next.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dure.api.problems import coded, language_of
from dure.control.queries import Queries
from dure.control.stream_hints import StreamHints
from dure.core.model import Phase
from dure.ports import Principal
from dure.wire.messages import JobView
from dure.wire.problems import CodedError

T = TypeVar("T")
LOOK_EVERY_S = 1.0
KEEP_ALIVE_S = 15.0
PAGE = 200
CHUNK_BYTES = 64 * 1024
_BETWEEN_S = 0.005  # two reads: many wakes in a burst become one, and the first of them waits for nothing
_READERS = 8


class Streams:
    """The open streams of one control plane: how many there may be, and their common end."""

    def __init__(self, hints: StreamHints, *, per_user: int = 64, in_all: int = 2000) -> None:
        self._hints = hints
        self._per_user = per_user
        self._in_all = in_all
        self._open: Counter[str] = Counter()
        self._readers: anyio.CapacityLimiter | None = None
        self.closing = False

    def close(self) -> None:
        """End every open stream soon; clients resume where they were. To be called before the server stops."""
        self.closing = True
        self._hints.notify()

    @contextmanager
    def taken(self, user: str) -> Iterator[None]:
        """Hold one of the user's places. Raises CodedError `too_many_streams` or, when all are taken, `busy`."""
        if self._open[user] >= self._per_user:
            raise CodedError("too_many_streams", user=user, limit=self._per_user)
        if self._open.total() >= self._in_all:
            raise CodedError("busy")
        self._open[user] += 1
        try:
            yield
        finally:
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what a synchronous read gives, without taking a thread from ordinary requests."""
        if self._readers is None:
            self._readers = anyio.CapacityLimiter(_READERS)
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._readers)

    async def look_again(self, generation: int) -> None:
        """Wait until something changed after `generation`, a second at most."""
        read_at = anyio.current_time()
        await self._hints.wait(generation, LOOK_EVERY_S)
        await anyio.sleep(max(0.0, read_at + _BETWEEN_S - anyio.current_time()))

    @property
    def generation(self) -> int:
        """Where the hints stand; taken before reading, so that what comes meanwhile wakes at once."""
        return self._hints.generation

    def answer(self, request: Request, user: str, source: AsyncIterator[bytes]) -> EventStream:
        """Return the response that sends what `source` yields, in one of the user's places."""
        return EventStream(request, self, user, source)


class EventStream(Response):
    """A response that sends what `source` yields until it ends, the client goes, or the place is refused."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, streams: Streams, user: str, source: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._request = request
        self._streams = streams
        self._user = user
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send to the end of the source or of the client, whichever comes first."""
        with self._streams.taken(self._user):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with anyio.create_task_group() as group:

                async def watch() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(watch)
                await self._send_all(send)
                group.cancel_scope.cancel()

    async def _send_all(self, send: Send) -> None:
        try:
            async for chunk in self._source:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except OSError:
            return  # the client has gone
        except Exception as error:  # noqa: BLE001 - the answer has begun, so the problem becomes its last event
            problem = coded(error, self._request).problem(language_of(self._request))
            body = sent("problem", "", problem.model_dump(mode="json"))
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def job_source(
    streams: Streams, queries: Queries, principal: Principal, *, job_id: str, cursor: str, lang: str
) -> AsyncIterator[bytes]:
    """Yield a job's output after `cursor` and its changes; the terminal job event comes after the last output.

    A terminal job has no process left, so what is read after seeing it terminal is all there will ever be.
    """
    shown: tuple[Any, ...] | None = None
    silent_since = anyio.current_time()
    while not streams.closing:
        generation = streams.generation
        job = await streams.read(queries.job, principal, job_id, lang)
        ended = Phase(job.phase).terminal
        if not ended and _state(job) != shown:
            shown, silent_since = _state(job), anyio.current_time()
            yield _job_event(job)
        while True:
            page = await streams.read(queries.output, principal, job_id, cursor, PAGE)
            for chunk in _chunks(page.messages, page.cursor):
                silent_since = anyio.current_time()
                yield chunk
            if page.cursor == cursor or streams.closing:
                break
            cursor = page.cursor
        if ended:
            yield _job_event(job)
            return
        if anyio.current_time() - silent_since > KEEP_ALIVE_S:
            silent_since = anyio.current_time()
            yield b": keep-alive\n\n"
        await streams.look_again(generation)


async def event_source(
    streams: Streams, queries: Queries, principal: Principal, *, after: int | None, subject: str | None, lang: str
) -> AsyncIterator[bytes]:
    """Yield the log's events after `after` (None: from now on) as they come, first a `start` event with the cursor."""
    if after is None:
        after = await streams.read(queries.last_seq)
    yield sent("start", str(after), {"after": after})
    silent_since = anyio.current_time()
    while not streams.closing:
        generation = streams.generation
        page = await streams.read(queries.events, principal, after, PAGE, subject, lang)
        after = page.last_seq
        if page.events:
            silent_since = anyio.current_time()
            yield b"".join(sent("event", str(e.seq), e.model_dump(mode="json")) for e in page.events)
        if len(page.events) == PAGE:
            continue
        if anyio.current_time() - silent_since > KEEP_ALIVE_S:
            silent_since = anyio.current_time()
            yield b": keep-alive\n\n"
        await streams.look_again(generation)


def sent(event: str, id_: str, data: Any) -> bytes:
    """Return one server-sent event. JSON is escaped to ASCII, so no character of `data` can end its line."""
    head = f"event: {event}\nid: {id_}\n" if id_ else f"event: {event}\n"
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode("ascii")


def _state(job: JobView) -> tuple[Any, ...]:
    eta = job.eta.short if job.eta else None  # rounded, so it changes no faster than people read
    return (job.phase, job.goal, job.attempt, job.verdict.sentence if job.verdict else None, eta)


def _job_event(job: JobView) -> bytes:
    return sent("job", "", job.model_dump(mode="json"))


def _chunks(messages: list[dict[str, Any]], cursor: str) -> Iterator[bytes]:
    """Join messages into pieces worth sending; each message names its attempt, else the page's cursor does."""
    piece = bytearray()
    for message in messages:
        attempt = message.get("attempt", cursor.partition(".")[0])
        piece += sent("output", f"{attempt}.{message['seq']}", message)
        if len(piece) >= CHUNK_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
