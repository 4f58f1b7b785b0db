"""Bounds what comes in: the size of a request's body, before anything reads it, and one person's requests at once.

The trap: the length header may be missing or wrong, so the bytes are counted as they come; and a person is told by what
the request shows, before anybody has looked whether it is true, so a turn gives no right to anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dure.api.problems import problem_response
from dure.wire.messages import MAX_PAYLOAD_BYTES
from dure.wire.problems import CodedError

MAX_FORM_BYTES = 64 * 1024
MAX_BODY_BYTES = 2 * MAX_PAYLOAD_BYTES  # a payload at its limit, its JSON escapes, and the references beside it
PARALLEL = 8  # of one person's requests; threads for all are five times as many
MAX_IN_LINE = 128
_HINT = "large values travel as blobs, which the client does by itself"
_SHOWS_WHO = (b"cookie", b"x-forwarded-user", b"kubeflow-userid", b"x-auth-request-user")


class BodyLimit:
    """ASGI middleware: refuses a body over the limit with `too_large`; outside `prefix` there are only small forms."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then pass it on or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit_bytes = MAX_BODY_BYTES if scope["path"].startswith(self._prefix) else MAX_FORM_BYTES
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        size = int(declared) if declared.isdigit() else 0
        came = 0
        chunks: list[Message] = []
        while size <= limit_bytes:
            message = await receive()
            chunks.append(message)
            came += len(message.get("body", b""))
            size = max(size, came)
            if size <= limit_bytes and not message.get("more_body", False):
                await self._app(scope, _replayed(chunks, receive), send)
                return
        refused = CodedError("too_large", what="request", size_bytes=size, limit_bytes=limit_bytes, hint=_HINT)
        await problem_response(Request(scope), refused)(scope, receive, send)


def _replayed(chunks: list[Message], receive: Receive) -> Receive:
    waiting = list(reversed(chunks))

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


class Turns:
    """ASGI middleware: at most PARALLEL of one person's requests are worked on; more wait, too many are `busy`.

    So a loop that asks from a hundred threads takes from others what eight requests take. A turn ends where the answer
    begins: what streams then has limits of its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._lines: dict[Hashable, _Line] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on when it is its person's turn."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        key = _who(scope)
        line = self._lines.setdefault(key, _Line())
        if line.asked >= PARALLEL + MAX_IN_LINE:
            await problem_response(Request(scope), CodedError("busy"))(scope, receive, send)
            return
        line.asked += 1
        try:
            await line.turns.acquire()
        except BaseException:
            self._left(key, line)
            raise
        over = False

        def end() -> None:
            nonlocal over
            if not over:
                over = True
                line.turns.release()
                self._left(key, line)

        async def begun(message: Message) -> None:
            end()
            await send(message)

        try:
            await self._app(scope, receive, begun)
        finally:
            end()

    def _left(self, key: Hashable, line: _Line) -> None:
        line.asked -= 1
        if not line.asked:
            self._lines.pop(key, None)


class _Line:
    def __init__(self) -> None:
        self.asked = 0
        self.turns = asyncio.Semaphore(PARALLEL)


def _who(scope: Scope) -> Hashable:
    """Return what tells one person's requests from another's: the token, else all else that may, and the address."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    token = headers.get(b"authorization")
    if token:
        return token
    client = scope.get("client")
    return (client[0] if client else None, *(headers.get(name) for name in _SHOWS_WHO))
