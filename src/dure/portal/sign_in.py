"""How a browser shows who it is: led through the Hub's OAuth, or with the token of a platform without a Hub.

`main` passes one of these; the portal itself knows no identity provider. The trap: a token in an address ends up in
histories and logs, so it is taken once, put into an HttpOnly cookie, and the browser is sent on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from itsdangerous import BadData, URLSafeTimedSerializer

from dure.ports import Identity, Principal

SESSION_S = 14 * 24 * 3600
STATE_S = 600


class SignInRefusedError(Exception):
    """This sign-in cannot be finished; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie to set, always HttpOnly and SameSite=Lax; `max_age_s` 0 deletes it."""

    name: str
    value: str
    path: str
    max_age_s: int


@dataclass(frozen=True, slots=True)
class Move:
    """Where to send the browser, and what to set on the way."""

    address: str
    cookies: tuple[Cookie, ...] = ()


@dataclass(frozen=True, slots=True)
class Links:
    """Where the person's notebook and the Hub's home are; None where there is no Hub."""

    notebook: str | None = None
    home: str | None = None


class SignIn(Protocol):
    """What the portal asks of sign-in. `cookies` are those of the request, `headers` have lower-case names."""

    @property
    def asks_token(self) -> bool:
        """True where people sign in with a token, in the address or typed."""
        ...

    def principal(self, cookies: Mapping[str, str], peer: str | None) -> Principal | None:
        """Return whose session these cookies are, or None. For identity ports that read no cookies themselves."""
        ...

    def begin(self, next_path: str) -> Move | None:
        """Return where to sign in, or None when the person must bring a token."""
        ...

    def finish(self, query: Mapping[str, str], cookies: Mapping[str, str]) -> Move:
        """Return the way on after the provider sent the browser back. Raises SignInRefusedError."""
        ...

    def with_token(self, token: str, next_path: str) -> Move:
        """Return the way on for somebody who brought a token. Raises SignInRefusedError."""
        ...

    def sign_out(self, headers: Mapping[str, str]) -> Move:
        """Return where to send the browser so that it is signed out."""
        ...

    def links(self, principal: Principal) -> Links:
        """Return the person's ways out of the portal."""
        ...


@dataclass(frozen=True)
class TokenSignIn:
    """For `dure up --no-hub`: the token of the printed link becomes a signed session cookie.

    `secret` signs the cookies; the cookie dies with the token, because the identity port is asked each time.
    """

    identity: Identity
    secret: str
    base_path: str = ""
    notebook: str | None = None
    cookie: str = "dure-session"
    asks_token: bool = True

    @property
    def _signer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.secret, salt="dure.portal.session")

    def principal(self, cookies: Mapping[str, str], peer: str | None) -> Principal | None:
        """Return whose token the session cookie holds."""
        try:
            token = self._signer.loads(cookies.get(self.cookie, ""), max_age=SESSION_S)
        except BadData:
            return None
        return self.identity.principal(token, {}, peer) if isinstance(token, str) else None

    def begin(self, next_path: str) -> Move | None:  # noqa: ARG002 - there is nowhere to send the browser
        """Return None: the person opens the printed link or types the token."""
        return None

    def finish(self, query: Mapping[str, str], cookies: Mapping[str, str]) -> Move:  # noqa: ARG002
        """Refuse: nobody sends browsers back here."""
        raise SignInRefusedError("This platform signs in with its token: open the link that `dure up` printed.")

    def with_token(self, token: str, next_path: str) -> Move:
        """Return the way on, with the session cookie."""
        if self.identity.principal(token, {}, None) is None:
            raise SignInRefusedError("This token is not the platform's: use the link that `dure up` printed.")
        value = str(self._signer.dumps(token))
        address = next_path if is_below(next_path, self.base_path) else f"{self.base_path}/"
        return Move(address, (Cookie(self.cookie, value, f"{self.base_path}/", SESSION_S),))

    def sign_out(self, headers: Mapping[str, str]) -> Move:  # noqa: ARG002 - nothing is remembered of the session
        """Return the portal's own address, without the cookie."""
        return Move(f"{self.base_path}/", (Cookie(self.cookie, "", f"{self.base_path}/", 0),))

    def links(self, principal: Principal) -> Links:  # noqa: ARG002 - one person's own platform
        """Return the notebook's address when one was told."""
        return Links(notebook=self.notebook)


class HubOAuth(Protocol):
    """What HubSignIn needs of the Hub's identity adapter (dure.adapters.identity.hub.HubIdentity has it)."""

    access: Any
    cookie: str
    state_cookie: str

    def begin_sign_in(self, next_path: str, nonce: str) -> tuple[str, str]:
        """Return (address, value of the state cookie)."""
        ...

    def finish_sign_in(self, code: str, state: str, state_cookie: str | None) -> tuple[str, str]:
        """Return (path to go on to, value of the session cookie)."""
        ...

    def sign_out(self, headers: Mapping[str, str]) -> str:
        """Return where to send the browser."""
        ...


@dataclass(frozen=True)
class HubSignIn:
    """Leads browsers through JupyterHub. `nonce` gives fresh randomness; `refusals` are the adapter's own errors."""

    hub: HubOAuth
    nonce: Callable[[], str]
    refusals: tuple[type[Exception], ...] = field(default=())
    asks_token: bool = False

    def principal(self, cookies: Mapping[str, str], peer: str | None) -> Principal | None:  # noqa: ARG002
        """Return None: the Hub's identity adapter reads its cookie itself."""
        return None

    def begin(self, next_path: str) -> Move | None:
        """Return the Hub's address for signing in, with the cookie that proves the way back."""
        address, state = self.hub.begin_sign_in(next_path, self.nonce())
        return Move(address, (Cookie(self.hub.state_cookie, state, self.hub.access.prefix, STATE_S),))

    def finish(self, query: Mapping[str, str], cookies: Mapping[str, str]) -> Move:
        """Return the way on, with the session cookie."""
        if "code" not in query or "state" not in query:
            raise SignInRefusedError(
                query.get("error_description") or "The Hub did not sign you in. Open the portal again."
            )
        try:
            address, value = self.hub.finish_sign_in(query["code"], query["state"], cookies.get(self.hub.state_cookie))
        except self.refusals as error:
            raise SignInRefusedError(str(error)) from error
        path = self.hub.access.prefix
        return Move(
            address, (Cookie(self.hub.cookie, value, path, SESSION_S), Cookie(self.hub.state_cookie, "", path, 0))
        )

    def with_token(self, token: str, next_path: str) -> Move:  # noqa: ARG002
        """Refuse: people sign in at the Hub."""
        raise SignInRefusedError("Sign in at the Hub: open the portal without a token.")

    def sign_out(self, headers: Mapping[str, str]) -> Move:
        """Return the Hub's own way out, which ends the Hub's session too."""
        address = self.hub.sign_out(headers)
        return Move(address, (Cookie(self.hub.cookie, "", self.hub.access.prefix, 0),))

    def links(self, principal: Principal) -> Links:
        """Return the person's JupyterLab and the Hub's home."""
        hub_prefix: str = self.hub.access.hub_prefix
        root = hub_prefix.removesuffix("hub/")
        return Links(notebook=f"{root}user/{quote(principal.name, safe='')}/lab", home=f"{hub_prefix}home")


def is_below(path: str, base_path: str) -> bool:
    """Return whether the path is one of ours, so that a crafted link cannot send anybody elsewhere."""
    return path.startswith(f"{base_path}/") and not any(bad in path for bad in ("//", "\\", "..", "\t", "\n", "\r"))
