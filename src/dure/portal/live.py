"""The portal's stream: says what changed, never what it is now; the page fetches that fragment again.

The log's sequence number is the cursor, so a page that was hidden, or cut off, asks for what it missed. The trap:
events of other teams move the queue too; they are told without a subject, since their jobs do not exist for the
reader.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
from starlette.requests import Request
from starlette.responses import Response

from dure.control.queries import Queries
from dure.ports import Principal
from dure.wire.messages import EventView
from dure.wire.problems import CodedError

KEEP_ALIVE_S = 15.0
_PAGE = 200
_ANNOUNCED_MAX = 3
_ANNOUNCED = frozenset(
    {
        "job.admitted",
        "job.running",
        "job.kept",
        "job.resumed",
        "job.requeued",
        "job.succeeded",
        "job.failed",
        "job.cancelled",
    }
)


class Streams(Protocol):
    """What this module needs of the application's open streams (dure.api.streams.Streams has it)."""

    closing: bool

    @property
    def generation(self) -> int:
        """Where the changes stand."""
        ...

    def answer(self, request: Request, user: str, source: AsyncIterator[bytes]) -> Response:
        """Return the response that sends what `source` yields, in one of the user's places."""
        ...

    async def read(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a synchronous read gives."""
        ...

    async def look_again(self, generation: int) -> None:
        """Wait until something changed after `generation`, a second at most."""
        ...


@dataclass(slots=True)
class Watch:
    """What one page watches: everything after event `after`, and one job's output after the cursor `output`."""

    after: int
    job: str | None = None
    output: str | None = None
    estimated_at: float = 0.0


async def changes(
    streams: Streams, queries: Queries, principal: Principal, watch: Watch, lang: str
) -> AsyncIterator[bytes]:
    """Yield `dure:queue` when jobs or GPUs changed, `dure:job` and `dure:output` for the watched job, and
    `dure:mine` with a sentence to read aloud when one of the reader's own jobs moved on.
    """
    yield _sent("dure:open", watch.after, {})
    silent_since = anyio.current_time()
    while not streams.closing:
        generation = streams.generation
        try:
            told = await streams.read(_look, queries, principal, watch, lang)
        except CodedError:
            return  # the reader may no longer see this; the next request says why
        for chunk in told:
            silent_since = anyio.current_time()
            yield chunk
        if anyio.current_time() - silent_since > KEEP_ALIVE_S:
            silent_since = anyio.current_time()
            yield b": keep-alive\n\n"
        await streams.look_again(generation)


def _look(queries: Queries, principal: Principal, watch: Watch, lang: str) -> list[bytes]:
    told: list[bytes] = []
    page = queries.events(principal, watch.after, _PAGE, None, lang)
    if page.last_seq > watch.after:
        watch.after = page.last_seq
        subjects = sorted({event.subject for event in page.events})
        told.append(_sent("dure:queue", watch.after, {"jobs": subjects}))
        watch.estimated_at = queries.estimated_at
        if watch.job in subjects:
            told.append(_sent("dure:job", watch.after, {"job": watch.job}))
        told += [
            _sent("dure:mine", watch.after, {"text": event.sentence})
            for event in [e for e in page.events if _announced(principal, e)][-_ANNOUNCED_MAX:]
        ]
    elif queries.estimated_at != watch.estimated_at:  # nothing happened, but time has passed for those who wait
        watch.estimated_at = queries.estimated_at
        told.append(_sent("dure:queue", watch.after, {"jobs": []}))
    if watch.job is not None and watch.output is not None:
        output = queries.output(principal, watch.job, watch.output, _PAGE)
        if output.cursor != watch.output:
            watch.output = output.cursor
            told.append(_sent("dure:output", watch.after, {"job": watch.job}))
    return told


def _announced(principal: Principal, event: EventView) -> bool:
    return event.kind in _ANNOUNCED and event.data.get("user") == principal.name


def _sent(event: str, after: int, data: dict[str, Any]) -> bytes:
    return f"id: {after}\nevent: {event}\ndata: {json.dumps(data)}\n\n".encode("ascii")
