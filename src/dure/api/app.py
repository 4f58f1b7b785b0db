"""Composes the web application: middleware, endpoints, problems, the API's description.

The trap: everything lies below `base_path` (JupyterHub's proxy passes `/services/dure/…` on unchanged), and the
description must work without the internet, so FastAPI's own pages, which load scripts from elsewhere, are off.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dure.api import allowance_routes, routes, session_routes
from dure.api.auth import caller
from dure.api.limits import BodyLimit, Turns
from dure.api.problems import coded, problem_response
from dure.api.streams import Streams
from dure.control.commands import Commands
from dure.control.queries import Queries
from dure.control.sessions import Sessions
from dure.control.stream_hints import StreamHints
from dure.ports import Identity
from dure.wire.messages import Problem
from dure.wire.problems import CodedError

PortalMount = Callable[[FastAPI], None]
ErrorPage = Callable[[Request, CodedError], Response]


def create_app(
    commands: Commands,
    queries: Queries,
    identity: Identity,
    hints: StreamHints,
    sessions: Sessions,
    *,
    base_path: str = "",
    version: str = "0",
    portal_mount: PortalMount | None = None,
) -> FastAPI:
    """Return the application. `portal_mount(app)` adds pages after the API's routes.

    It finds `app.state.commands`, `.queries`, `.identity`, `.sessions`, `.streams`, `.base_path`, and
    `.caller` (who calls, as a dependency), and may set `app.state.session` (a request's browser session: Request ->
    Principal or None) and `app.state.error_page` (Request, CodedError -> Response, for pages outside /api).
    """
    prefix = f"{base_path.rstrip('/')}/api"
    app = FastAPI(title="Dure", version=version, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.commands = commands
    app.state.queries = queries
    app.state.identity = identity
    app.state.sessions = sessions
    app.state.streams = Streams(hints)
    app.state.base_path = base_path.rstrip("/")
    app.state.caller = caller
    app.state.session = None
    app.state.error_page = None
    for kind in (CodedError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_problem)
    app.include_router(routes.router(), prefix=prefix)
    app.include_router(session_routes.router(), prefix=prefix)
    app.include_router(allowance_routes.router(), prefix=prefix)
    _describe(app, prefix)
    if portal_mount is not None:
        portal_mount(app)
    app.add_middleware(Unforeseen, prefix=prefix)
    app.add_middleware(Turns)
    app.add_middleware(BodyLimit, prefix=f"{prefix}/")
    return app


class Unforeseen:
    """ASGI middleware: an exception that nothing handled becomes a problem with an incident number."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer with a problem when that raised before anything was sent."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:  # the last frame that can answer
            if scope["type"] != "http" or begun:
                raise
            request = Request(scope)
            problem = coded(error, request)
            await _shown(request, problem)(scope, receive, send)


def _answer_problem(request: Request, error: Exception) -> Response:
    return _shown(request, coded(error, request))


def _shown(request: Request, problem: CodedError) -> Response:
    page: ErrorPage | None = request.app.state.error_page
    if page is not None and not request.url.path.startswith(f"{request.app.state.base_path}/api"):
        return page(request, problem)
    return problem_response(request, problem)


def _describe(app: FastAPI, prefix: str) -> None:
    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title="Dure", version=app.version, routes=app.routes)
            parts = found.setdefault("components", {})
            schemas = parts.setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"token": []}]
            app.openapi_schema = found
        return app.openapi_schema

    def openapi() -> Response:
        return JSONResponse(description())

    def docs() -> Response:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(_page(description()), headers=headers)

    app.openapi = description  # type: ignore[method-assign]  # FastAPI's documented way
    app.add_api_route(f"{prefix}/openapi.json", openapi, include_in_schema=False)
    app.add_api_route(f"{prefix}/docs", docs, include_in_schema=False)


def _page(description: dict[str, Any]) -> str:
    rows = []
    for path, methods in description["paths"].items():
        for method, told in methods.items():
            problems = "<br>".join(
                f"{status} {html.escape(response.get('description', ''))}"
                for status, response in told["responses"].items()
            )
            rows.append(
                f"<tr><td><code>{method.upper()}</code><td><code>{html.escape(path)}</code>"
                f"<td>{html.escape(told.get('description', ''))}<td><small>{problems}</small>"
            )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Dure API</title>"
        "<style>body{font-family:system-ui;margin:2rem}td,th{text-align:left;vertical-align:top;padding:.4rem}</style>"
        f"<h1>Dure API {html.escape(str(description['info']['version']))}</h1>"
        "<p>All of it: <a href=openapi.json>openapi.json</a>. Send <code>Authorization: Bearer TOKEN</code>. "
        "Refusals are <code>application/problem+json</code> with a <code>code</code>.</p>"
        f"<table><thead><tr><th>Method<th>Path<th>What, and who may<th>Answers<tbody>{''.join(rows)}</table>"
    )
