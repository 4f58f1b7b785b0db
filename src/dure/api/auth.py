"""Who calls. The one place where a request becomes a principal, for the API and, through a hook, for the portal.

The trap: a browser sends cookies (and a proxy adds its headers) to whatever page asked, so a change that was not sent
with a token must prove that our own pages sent it.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request

from dure.ports import Identity, Principal
from dure.wire.problems import CodedError

Session = Callable[[Request], Principal | None]
CSRF_HEADER = "x-dure-csrf"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def caller(request: Request) -> Principal:
    """Return who sent the request: a token's owner, else who the proxy says, else the browser session's.

    Raises CodedError `not_signed_in`, or `cross_site` for a change without a token from a page that is not ours.
    """
    identity: Identity = request.app.state.identity
    session: Session | None = getattr(request.app.state, "session", None)
    token = token_of(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    peer = request.client.host if request.client else None
    principal = identity.principal(token, headers, peer)
    if token is None and principal is None and session is not None:
        principal = session(request)
    if principal is None:
        raise CodedError("not_signed_in")
    if token is None and request.method not in _SAFE and not from_our_pages(request):
        raise CodedError("cross_site")
    return principal


def token_of(request: Request) -> str | None:
    """Return the token of `Authorization: Bearer X` or, as JupyterHub writes it, `Authorization: token X`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() in {"bearer", "token"} and token.strip() else None


def from_our_pages(request: Request) -> bool:
    """Tell whether one of our own pages sent this. Scripts of other sites cannot add a header of their own."""
    if CSRF_HEADER in request.headers:
        return True
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site == "same-origin"
    origin = urlsplit(request.headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc == request.headers.get("host")
