"""The proxy in front of the Hub, the control plane and the workspaces: one small process, installed by pip.

Routes and their REST API come from `configurable-http-proxy` (PyPI); the data path is ours, because that package
reads each answer to its end before it passes on the first byte (no live events, 20 s at most, 10 requests at once)
and drops the websocket subprotocol that JupyterLab's kernels ask for. See docs/decisions/0005-proxy.md.
Trap: a large body is passed on while it comes and is gone then, so such a request can never be sent a second time.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import os
import urllib.parse
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from configurable_http_proxy.configproxy import PythonProxy
from multidict import CIMultiDict
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.web import Application, stream_request_body
from tornado.websocket import WebSocketClosedError, WebSocketHandler
from yarl import URL

log = logging.getLogger("dure.proxy")

REQUEST_BODY_BYTES = 16 * 2**30
HELD_BODY_BYTES = 1024 * 1024  # a larger body is passed on while it comes
PIECES_HELD = 8
WEBSOCKET_MESSAGE_BYTES = 128 * 1024 * 1024
CONNECT_TIMEOUT_S = 10.0
PING_INTERVAL_S = 30.0

# RFC 9110, section 7.6.1: these speak of one connection and never travel further.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Passing:
    """A body that is passed on while it comes: whoever brings it waits for whoever takes it. It can be taken once."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES_HELD)
        self._taken = False

    async def bring(self, piece: bytes | None, taker: asyncio.Task[None]) -> None:
        """Wait until there is room for a piece (None: the end), or until nobody takes it any more."""
        put = asyncio.ensure_future(self._pieces.put(piece))
        await asyncio.wait({put, taker}, return_when=asyncio.FIRST_COMPLETED)
        put.cancel()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces. Raises OSError the second time: the first part is gone."""
        if self._taken:
            raise ConnectionError("the target hung up while the body was passed on")
        self._taken = True
        while (piece := await self._pieces.get()) is not None:
            yield piece


@stream_request_body
class StreamingHandler(WebSocketHandler):
    """Passes one request to the route's target and its answer back, byte by byte, or joins two websockets."""

    def initialize(self, routes: Any, session: aiohttp.ClientSession, error_target: str | None) -> None:
        """Take what every request shares: the route table, the outgoing connections, the Hub's error pages."""
        self.routes = routes
        self.session = session
        self.error_target = error_target
        self.upstream: aiohttp.ClientWebSocketResponse | None = None
        self.pump: asyncio.Task[None] | None = None
        self.running: asyncio.Task[Any] | None = None
        self.held = bytearray()
        self.passing: tuple[Passing, asyncio.Task[None]] | None = None

    async def data_received(self, chunk: bytes) -> None:
        """Hold a small body until it is complete; begin to pass on a larger one."""
        if self.passing is not None:
            body, answering = self.passing
            await body.bring(chunk, answering)
            return
        self.held += chunk
        if len(self.held) > HELD_BODY_BYTES:
            body = Passing()
            answering = asyncio.create_task(self.answer(body))
            self.passing = body, answering
            await body.bring(bytes(self.held), answering)
            self.held.clear()

    async def relay(self, *_path: str) -> None:
        """Answer an ordinary request whose body has come."""
        if self.passing is None:
            await self.answer(io.BytesIO(bytes(self.held)) if self.held else None)
            return
        body, answering = self.passing
        await body.bring(None, answering)
        await answering

    async def answer(self, body: io.BytesIO | Passing | None) -> None:
        """Answer with what the target answers, each part as soon as it comes."""
        self.running = asyncio.current_task()
        target = self.target_url()
        if target is None:
            await self.refuse(404)
            return
        try:
            async with self.session.request(
                self.request.method or "GET",
                target,
                headers=self.forwarded_headers(),
                data=body,
                allow_redirects=False,
            ) as answer:
                self.copy_head(answer)
                async for chunk in answer.content.iter_any():
                    self.write(chunk)
                    await self.flush()
                await self.finish()
        except asyncio.CancelledError:
            if not self.gone:
                raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("no answer from %s for %s: %s", target.origin(), self.request.path, error)
            if self._headers_written:
                # Too late for a status: closing is the only way to say that the answer is cut.
                await self.detached_close()
            else:
                await self.refuse(503)

    head = post = delete = patch = put = options = relay

    async def get(self, *path: str, **_names: Any) -> None:
        """Relay a GET, or open the websocket that it asks for."""
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            await self.relay(*path)
            return
        target = self.target_url()
        if target is None:
            await self.refuse(404)
            return
        offered = [p.strip() for p in self.request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        try:
            self.upstream = await self.session.ws_connect(
                target.with_scheme("wss" if target.scheme == "https" else "ws"),
                headers=self.forwarded_headers(websocket=True),
                protocols=offered,
                max_msg_size=WEBSOCKET_MESSAGE_BYTES,
                compress=0,
            )
        except aiohttp.WSServerHandshakeError as error:
            self.set_status(error.status)
            await self.finish()
            return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("no websocket from %s for %s: %s", target.origin(), self.request.path, error)
            await self.refuse(503)
            return
        await super().get(*path)
        if self.ws_connection is None:
            await self.upstream.close()

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002 - see below
        """Leave the decision about cross-site websockets to the target, which knows its own rules."""
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:  # noqa: ARG002 - the target has chosen
        """Return the subprotocol that the target chose among those that the browser offered."""
        return self.upstream.protocol if self.upstream else None

    def open(self, *_args: str, **_kwargs: str) -> None:
        """Begin to pass messages from the target to the browser."""
        self.pump = asyncio.create_task(self.pump_down())

    async def pump_down(self) -> None:
        """Pass the target's messages on; waiting for each write keeps a slow browser from filling our memory."""
        assert self.upstream is not None
        try:
            async for message in self.upstream:
                if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    await self.write_message(message.data, binary=message.type is aiohttp.WSMsgType.BINARY)
        except WebSocketClosedError:
            return
        code = self.upstream.close_code
        # 1005 and 1006 say "no code was sent" and must not be sent themselves (RFC 6455, 7.4.1).
        self.close(code if code not in (None, 1005, 1006) else None)

    async def on_message(self, message: str | bytes) -> None:
        """Pass one message from the browser to the target."""
        if self.upstream is None or self.upstream.closed:
            return
        try:
            if isinstance(message, bytes):
                await self.upstream.send_bytes(message)
            else:
                await self.upstream.send_str(message)
        except (aiohttp.ClientError, ConnectionError):
            self.close()

    def on_close(self) -> None:
        """End the target's side when the browser is gone."""
        if self.upstream is not None and not self.upstream.closed:
            code = self.close_code
            closing = self.upstream.close(code=code if code and code not in (1005, 1006) else 1000)
            self.pump_end = asyncio.ensure_future(closing)

    def on_connection_close(self) -> None:
        """Stop relaying to a browser that hung up, so that live streams do not pile up at the target."""
        super().on_connection_close()
        self.gone = True
        if self.running is not None and not self.running.done():
            self.running.cancel()

    gone = False

    def target_url(self) -> URL | None:
        """Return where this request goes, its path and query untouched, or None when no route covers it."""
        path = self.request.uri or "/"
        if not path.startswith("/"):  # absolute-form request line: never proxy to a host the client names
            return None
        route = self.routes.target_for_req(None, urllib.parse.urlsplit(f"//x{path}").path or "/")
        if route is None:
            return None
        return URL(route["target"].rstrip("/") + path, encoded=True)

    def forwarded_headers(self, *, websocket: bool = False) -> CIMultiDict[str]:
        """Return the request's headers for the target, with the X-Forwarded ones that the Hub reads."""
        named = self.request.headers.get("Connection", "").lower()
        dropped = HOP_BY_HOP | {part.strip() for part in named.split(",")}
        headers: CIMultiDict[str] = CIMultiDict()
        for name, value in self.request.headers.get_all():
            lower = name.lower()
            if lower in dropped or (websocket and lower.startswith("sec-websocket-")):
                continue
            headers.add(name, value)
        host = self.request.headers.get("Host", "")
        remote = self.request.remote_ip or ""
        before = headers.get("X-Forwarded-For")
        headers["X-Forwarded-For"] = f"{before}, {remote}" if before else remote
        headers.setdefault("X-Forwarded-Proto", self.request.protocol)
        headers.setdefault("X-Forwarded-Host", host)
        return headers

    def copy_head(self, answer: aiohttp.ClientResponse) -> None:
        """Take over status and headers of the target's answer, and none of our own."""
        self.set_status(answer.status, answer.reason or None)
        self._headers = HTTPHeaders()
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP:
                self._headers.add(name, value)

    async def detached_close(self) -> None:
        """Hang up on the browser in the middle of an answer."""
        self.detach().close()

    def compute_etag(self) -> str | None:
        """Never invent an ETag for somebody else's answer."""
        return None

    async def refuse(self, status: int) -> None:
        """Answer with the Hub's own error page, or a plain line where the Hub cannot be asked."""
        body = b""
        if self.error_target:
            page = f"{self.error_target.rstrip('/')}/{status}?url={urllib.parse.quote(self.request.path)}"
            try:
                async with self.session.get(page) as answer:
                    body = await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.debug("no error page from the Hub: %s", error)
        self.set_status(status)
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        await self.finish(
            body or f"<!doctype html><title>{status}</title><p>Dure is starting or has stopped. Try again."
        )


async def run(args: argparse.Namespace) -> None:
    """Listen on both addresses until the process is ended."""
    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s proxy %(levelname)s %(message)s")
    token = os.environ.get("CONFIGPROXY_AUTH_TOKEN")
    if not token:
        message = "The proxy needs CONFIGPROXY_AUTH_TOKEN; it is started by the Hub. Type: dure up"
        raise SystemExit(message)
    quiet = logging.getLogger("dure.proxy.routes")
    quiet.setLevel(logging.WARNING)
    routes = PythonProxy({"auth_token": token, "log": quiet})
    # No limit on connections and no total time: one browser holds a stream per open page, for hours.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=64 * 1024,
        max_field_size=64 * 1024,
    ) as session:
        shared = {"routes": routes, "session": session, "error_target": args.error_target}
        public = Application(
            [(r".*", StreamingHandler, shared)],
            websocket_max_message_size=WEBSOCKET_MESSAGE_BYTES,
            websocket_ping_interval=PING_INTERVAL_S,
            log_function=lambda _handler: None,
        )
        HTTPServer(routes.api_app).listen(args.api_port, args.api_ip)
        HTTPServer(public, max_body_size=REQUEST_BODY_BYTES).listen(args.port, args.ip)
        log.info("proxy on %s:%s", args.ip or "*", args.port)
        await asyncio.Event().wait()


def main() -> None:
    """Take the command line that JupyterHub's `ConfigurableHTTPProxy` writes."""
    parser = argparse.ArgumentParser(prog="dure.hub.proxy")
    parser.add_argument("--ip", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-ip", default="127.0.0.1")
    parser.add_argument("--api-port", type=int, required=True)
    parser.add_argument("--error-target")
    parser.add_argument("--log-level", default="info")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
