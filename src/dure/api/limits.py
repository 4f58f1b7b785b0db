"""Bounds what comes in: the size of a request's body, before anything reads it.

The trap: the length header may be missing or wrong, so the bytes are counted as they come.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dure.api.problems import problem_response
from dure.wire.messages import MAX_PAYLOAD_BYTES
from dure.wire.problems import CodedError

MAX_BODY_BYTES = 2 * MAX_PAYLOAD_BYTES  # a payload at its limit, its JSON escapes, and the references beside it
_HINT = "large values travel as blobs, which the client does by itself"


class BodyLimit:
    """ASGI middleware for paths below `prefix`: refuses a body over the limit with `too_large`."""

    def __init__(self, app: ASGIApp, prefix: str, limit_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._prefix = prefix
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then pass it on or refuse."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        size = int(declared) if declared.isdigit() else 0
        came = 0
        chunks: list[Message] = []
        while size <= self._limit_bytes:
            message = await receive()
            chunks.append(message)
            came += len(message.get("body", b""))
            size = max(size, came)
            if size <= self._limit_bytes and not message.get("more_body", False):
                await self._app(scope, _replayed(chunks, receive), send)
                return
        refused = CodedError("too_large", what="request", size_bytes=size, limit_bytes=self._limit_bytes, hint=_HINT)
        await problem_response(Request(scope), refused)(scope, receive, send)


def _replayed(chunks: list[Message], receive: Receive) -> Receive:
    waiting = list(reversed(chunks))

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
