"""What all pages share: where the portal is, who asks, in which language and colours, and what a refusal looks like.

The trap: a redirect that goes where a form or an address says must stay below our own prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI
from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from dure.control.commands import Commands
from dure.control.queries import Queries
from dure.portal.live import Streams
from dure.portal.sign_in import Move, SignIn, SignInRefusedError, is_below
from dure.portal.usage import Usage
from dure.ports import Clock, Principal
from dure.wire.language import LANGUAGE_COOKIE, chosen_language
from dure.wire.problems import CodedError

THEME_COOKIE = "dure-theme"
THEMES = ("system", "light", "dark")
PREFERENCE_S = 365 * 24 * 3600
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Vary": "Cookie, Accept-Language",
}


class Assets(StaticFiles):
    """The portal's own files; browsers ask each time whether they changed, which costs one short answer."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the file, never sniffed and always revalidated."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def lookup_path(self, path: str) -> tuple[str, Any]:
        """Return the file's place; hidden files do not exist."""
        return ("", None) if any(part.startswith(".") for part in Path(path).parts) else super().lookup_path(path)


@dataclass(frozen=True)
class Portal:
    """What the pages share: where they are, who asks, in which language and colours."""

    app: FastAPI
    sign_in: SignIn
    usage: Usage
    clock: Clock
    templates: dict[str, Environment]

    @property
    def base(self) -> str:
        """The prefix of every address, without a slash at its end."""
        return str(self.app.state.base_path)

    @property
    def queries(self) -> Queries:
        """The read side."""
        queries: Queries = self.app.state.queries
        return queries

    @property
    def commands(self) -> Commands:
        """The write side."""
        commands: Commands = self.app.state.commands
        return commands

    @property
    def streams(self) -> Streams:
        """The open streams, shared with the API so that one limit holds for both."""
        streams: Streams = self.app.state.streams
        return streams

    def session(self, request: Request) -> Principal | None:
        """Return whose browser session this is; the API asks this too."""
        return self.sign_in.principal(request.cookies, request.client.host if request.client else None)

    def caller(self, request: Request) -> Principal:
        """Return who asks. Raises CodedError `not_signed_in` or, for a change from elsewhere, `cross_site`."""
        principal: Principal = self.app.state.caller(request)
        return principal

    def lang(self, request: Request) -> str:
        """Return the reader's language: `?lang=`, the cookie, else what the browser prefers."""
        chosen = request.query_params.get("lang") or request.cookies.get(LANGUAGE_COOKIE)
        return chosen_language(chosen, request.headers.get("accept-language", ""))

    def page(
        self, request: Request, template: str, principal: Principal | None, *, status: int = 200, **values: Any
    ) -> Response:
        """Return a rendered page or fragment."""
        lang = self.lang(request)
        theme = request.cookies.get(THEME_COOKIE, THEMES[0])
        shared: dict[str, Any] = {
            "base": self.base,
            "theme": theme if theme in THEMES else THEMES[0],
            "themes": THEMES,
            "me": principal,
            "links": self.sign_in.links(principal) if principal else None,
            "here": _here(request),
            "dure_version": self.app.version,
            "section": "",
            "notices": [],
            "server_now": self.clock.now(),
        }
        content = self.templates[lang].get_template(template).render(shared | values)
        # Half a surrogate pair, as a job may print, cannot be encoded.
        return HTMLResponse(content.encode(errors="replace"), status, headers=HEADERS)

    def moved(self, request: Request, move: Move) -> Response:
        """Return the redirect of a sign-in step with its cookies."""
        response = RedirectResponse(move.address, 303, headers={"Cache-Control": "no-store"})
        for cookie in move.cookies:
            response.set_cookie(
                cookie.name,
                cookie.value,
                max_age=cookie.max_age_s,
                path=cookie.path,
                httponly=True,
                samesite="lax",
                secure=is_secure(request),
            )
        return response

    def back(self, asked: str | None) -> RedirectResponse:
        """Return the redirect to where a form was, when that is one of our pages; else to the first page."""
        own = asked is not None and is_below(asked, self.base)
        return RedirectResponse(asked if own and asked else f"{self.base}/", 303, headers={"Cache-Control": "no-store"})

    def error_page(self, request: Request, error: CodedError) -> Response:
        """Return the page of a refusal: the way to sign in, or the catalogue's sentence."""
        if error.code == "not_signed_in":
            return self._not_signed_in(request)
        try:
            principal = self.caller(request)
        except CodedError:
            principal = None
        lang = self.lang(request)
        problem = error.problem(lang)
        return self.page(request, "error.html", principal, status=problem.status or 500, problem=problem)

    def entered(self, request: Request, token: str, next_path: str) -> Response:
        """Return the way on for somebody who brought a token, or the page that asks for it again."""
        try:
            return self.moved(request, self.sign_in.with_token(token, next_path))
        except SignInRefusedError:
            return self.page(request, "sign_in.html", None, status=401, wrong=True, next_path=next_path)

    def _not_signed_in(self, request: Request) -> Response:
        if request.headers.get("hx-request"):
            return Response(status_code=401, headers={"HX-Refresh": "true", "Cache-Control": "no-store"})
        if request.method != "GET":
            return self.back(None)
        if self.sign_in.asks_token and (token := request.query_params.get("token")):
            return self.entered(request, token, without_token(request))
        move = self.sign_in.begin(_here(request))
        if move is not None:
            return self.moved(request, move)
        return self.page(request, "sign_in.html", None, status=401, wrong=False, next_path=_here(request))


def portal_of(request: Request) -> Portal:
    """Return the portal that serves the request."""
    portal: Portal = request.app.state.portal
    return portal


def is_secure(request: Request) -> bool:
    """Return whether the browser came over https, by itself or as a proxy in front of us says."""
    return "https" in {request.url.scheme, request.headers.get("x-forwarded-proto", "").split(",")[0].strip()}


def without_token(request: Request) -> str:
    """Return the asked address without its token."""
    left = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
    return request.url.path + (f"?{urlencode(left)}" if left else "")


def _here(request: Request) -> str:
    if request.method != "GET":
        return request.url.path
    return without_token(request)
