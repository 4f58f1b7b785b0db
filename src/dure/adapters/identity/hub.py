"""Identity from JupyterHub: its API tokens for programs, its OAuth for browsers.

Asks the Hub's REST API and remembers the answer for a short while. Trap: a browser's cookie holds an OAuth
token, signed and for HTTP only; the Hub revokes that token when the person signs out, and we notice when the
remembered answer runs out.
"""

from __future__ import annotations

import hmac
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from itsdangerous import BadData, URLSafeTimedSerializer

from dure.ports import IdentityUnavailableError, Principal

CACHE_S = 45.0
CACHE_MAX = 4096
HUB_TIMEOUT_S = 5.0
STATE_VALID_S = 600
COOKIE_VALID_S = 14 * 24 * 3600
TOKEN_CHARS_MAX = 512
SESSION_COOKIE = "jupyterhub-session-id"


class HubUnavailableError(IdentityUnavailableError):
    """The Hub did not answer: who this is cannot be told now. Try again."""


class SignInError(Exception):
    """A browser's way back from the Hub does not fit the way there; start again at the portal."""


@dataclass(frozen=True)
class HubAccess:
    """Where the Hub is and who we are to it, as the Hub tells its managed services in their environment."""

    api_url: str
    api_token: str
    client_id: str
    prefix: str
    hub_prefix: str
    service: str = "dure"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> HubAccess:
        """Return what JupyterHub wrote into a managed service's environment; KeyError where it is not one."""
        return cls(
            api_url=environ["JUPYTERHUB_API_URL"].rstrip("/"),
            api_token=environ["JUPYTERHUB_API_TOKEN"],
            client_id=environ["JUPYTERHUB_CLIENT_ID"],
            prefix=environ["JUPYTERHUB_SERVICE_PREFIX"],
            hub_prefix=f"{environ['JUPYTERHUB_BASE_URL']}hub/",
            service=environ["JUPYTERHUB_SERVICE_NAME"],
        )

    @property
    def callback_path(self) -> str:
        """Where the Hub sends browsers back to."""
        return f"{self.prefix}oauth_callback"


@dataclass
class Cache:
    """Remembers answers for a while, at most `size_max` of them; the oldest goes first."""

    clock: Callable[[], float]
    valid_s: float = CACHE_S
    size_max: int = CACHE_MAX
    entries: OrderedDict[tuple[str, str], tuple[float, Principal | None]] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: tuple[str, str]) -> tuple[bool, Principal | None]:
        """Return whether the key's answer is known and fresh, and the answer."""
        with self.lock:
            entry = self.entries.get(key)
            if entry is None or entry[0] < self.clock():
                return False, None
            return True, entry[1]

    def put(self, key: tuple[str, str], answer: Principal | None) -> None:
        """Remember an answer."""
        with self.lock:
            self.entries[key] = (self.clock() + self.valid_s, answer)
            self.entries.move_to_end(key)
            while len(self.entries) > self.size_max:
                self.entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self.entries.clear()

    def drop(self, token: str) -> None:
        """Forget what is known of a token."""
        with self.lock:
            for key in [key for key in self.entries if key[0] == token]:
                del self.entries[key]


class HubIdentity:
    """Asks the Hub whose token a request carries; also leads browsers through the Hub's OAuth."""

    def __init__(
        self,
        access: HubAccess,
        *,
        clock: Callable[[], float],
        teams_of: Callable[[str], tuple[str, ...]] = lambda _name: (),
        team_exists: Callable[[str], bool] = lambda _name: True,
    ) -> None:
        """`teams_of` gives a person's teams by the platform file; Hub groups that are teams count as well."""
        self.access = access
        self.teams_of = teams_of
        self.team_exists = team_exists
        self.cache = Cache(clock)
        self.client = httpx.Client(timeout=HUB_TIMEOUT_S, trust_env=False)
        self.cookie = f"{access.service}-session"
        self.state_cookie = f"{access.service}-sign-in"
        self.signer = URLSafeTimedSerializer(access.api_token, salt="dure.cookie")

    def principal(
        self,
        token: str | None,
        headers: Mapping[str, str],
        peer: str | None,  # noqa: ARG002 - the port's signature
    ) -> Principal | None:
        """Return whose token or session cookie this is, or None; HubUnavailableError when the Hub cannot be asked."""
        cookies = parse_cookies(headers.get("cookie", ""))
        via = "token"
        if token is None:
            token, via = self.token_in(cookies), "browser"
        if not token or len(token) > TOKEN_CHARS_MAX or not token.isascii():  # a header of ours carries it on
            return None
        # The session's id is part of the key: signing out changes it, and the remembered answer counts no more.
        key = (token, cookies.get(SESSION_COOKIE, "") if via == "browser" else "")
        known, answer = self.cache.get(key)
        if not known:
            answer = self.ask(token, via, key[1])
            self.cache.put(key, answer)
        return answer

    def ask(self, token: str, via: str, session: str) -> Principal | None:
        """Return the Hub's answer about a token that was not remembered."""
        model = self.get("user", token)
        if model is None or model.get("kind") != "user":
            return None
        wanted = f"access:services!service={self.access.service}"
        if not {wanted, "access:services"} & set(model.get("scopes", ())):
            return None
        if via == "browser" and model.get("session_id") not in (None, session):
            return None
        name: str = model["name"]
        about = self.get(f"users/{quote(name, safe='')}", self.access.api_token) or {}
        groups = {group for group in about.get("groups", ()) if self.team_exists(group)}
        return Principal(name, bool(about.get("admin")), tuple(sorted(groups | set(self.teams_of(name)))), via)

    def get(self, path: str, token: str) -> dict[str, Any] | None:
        """Return the Hub's JSON, or None where it refuses the token or knows nothing there."""
        try:
            answer = self.client.get(f"{self.access.api_url}/{path}", headers={"Authorization": f"token {token}"})
        except httpx.HTTPError as error:
            raise HubUnavailableError(f"JupyterHub does not answer ({error}). Try again in a moment.") from error
        if answer.status_code in (401, 403, 404):
            return None
        if answer.status_code != httpx.codes.OK:
            raise HubUnavailableError(f"JupyterHub answered {answer.status_code}. Try again in a moment.")
        found: dict[str, Any] = answer.json()
        return found

    def forget_all(self) -> None:
        """Ask the Hub anew about everybody: teams or administrators have changed."""
        self.cache.clear()

    def token_in(self, cookies: Mapping[str, str]) -> str | None:
        """Return the OAuth token inside our session cookie, None when there is none that we signed."""
        try:
            token = self.signer.loads(cookies.get(self.cookie, ""), max_age=COOKIE_VALID_S)
        except BadData:
            return None
        return token if isinstance(token, str) else None

    def begin_sign_in(self, next_path: str, nonce: str) -> tuple[str, str]:
        """Return (address to send the browser to, value of `state_cookie` to set for `STATE_VALID_S`).

        `nonce` is fresh randomness from the caller; `next_path` is where the person wanted to go, below our prefix.
        """
        state = self.signer.dumps(
            {"next": next_path if self.is_ours(next_path) else self.access.prefix, "nonce": nonce}
        )
        query = urlencode(
            {
                "client_id": self.access.client_id,
                "redirect_uri": self.access.callback_path,
                "response_type": "code",
                "state": state,
            }
        )
        return f"{self.access.hub_prefix}api/oauth2/authorize?{query}", str(state)

    def finish_sign_in(self, code: str, state: str, state_cookie: str | None) -> tuple[str, str]:
        """Return (path to go to, value of our session cookie); SignInError when this browser did not begin it."""
        if not state_cookie or not hmac.compare_digest(state.encode(), state_cookie.encode()):
            raise SignInError("This sign-in was begun in another browser or too long ago. Open the portal again.")
        try:
            about = self.signer.loads(state, max_age=STATE_VALID_S)
        except BadData as error:
            raise SignInError("This sign-in took too long. Open the portal again.") from error
        try:
            answer = self.client.post(
                f"{self.access.api_url}/oauth2/token",
                data={
                    "client_id": self.access.client_id,
                    "client_secret": self.access.api_token,
                    "grant_type": "authorization_code",
                    "code": code,
                    "redirect_uri": self.access.callback_path,
                },
            )
        except httpx.HTTPError as error:
            raise HubUnavailableError(f"JupyterHub does not answer ({error}). Try again in a moment.") from error
        if answer.status_code != httpx.codes.OK:
            raise SignInError("The Hub did not accept this sign-in. Open the portal again.")
        return about["next"], str(self.signer.dumps(answer.json()["access_token"]))

    def is_ours(self, path: str) -> bool:
        """Return whether the path is one of ours, so that nobody can be sent elsewhere by a crafted link."""
        return path.startswith(self.access.prefix) and "\\" not in path and "//" not in path and ".." not in path

    def sign_out(self, headers: Mapping[str, str]) -> str:
        """Forget the browser's token; return where to send it, to sign out of the Hub as well."""
        token = self.token_in(parse_cookies(headers.get("cookie", "")))
        if token:
            self.cache.drop(token)
        return f"{self.access.hub_prefix}logout"


def parse_cookies(header: str) -> dict[str, str]:
    """Return the cookies of a request. Read by hand: http.cookies drops all that follow one that it cannot read."""
    pairs = (part.partition("=") for part in header.split(";"))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs if name.strip()}
