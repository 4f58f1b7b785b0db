"""Bounds what comes in: the size of a request's body, before anything reads it.

The trap: the length header may be missing or wrong, so the bytes are counted as they come.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dure.api.problems import problem_response
from dure.wire.messages import MAX_PAYLOAD_BYTES
from dure.wire.problems import CodedError

MAX_FORM_BYTES = 64 * 1024
MAX_BODY_BYTES = 2 * MAX_PAYLOAD_BYTES  # a payload at its limit, its JSON escapes, and the references beside it
_HINT = "large values travel as blobs, which the client does by itself"


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
