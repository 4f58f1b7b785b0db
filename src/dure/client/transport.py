"""Sends requests to the control plane and outlives its restarts: backs off, tells progress, gives up with a sentence.

The trap: only what is safe to repeat is repeated. A message such as an interrupt (twice kills) is sent again only when
it certainly was not delivered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from dure.client.config import Login
from dure.client.errors import DureError, failure
from dure.client.http_library import httpx
from dure.wire.messages import USER_AGENT, Problem
from dure.wire.skew import skew

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0
VERIFIED_S = 900.0  # a file of many gigabytes is fetched and verified there before its first byte is sent
AWAY = frozenset({502, 503, 504})  # what a proxy answers while the control plane is down, and our own `busy`
_OWN = frozenset({"127.0.0.1", "localhost", "::1"})
_SKEWED = {"missing": "platform_older", "literal_error": "client_older"}  # in an answer
_PLAIN = re.compile(r"(/[\w.~-]+)+(\?.*)?")  # no name in it that a person has spelt so that it leads elsewhere
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Retry:
    """The platform does not answer now: which attempt comes next, how long it has lasted, a sentence to show."""

    attempt: int
    waited_s: float
    sentence: str


Progress = Callable[[Retry | None], None]


class Patience:
    """How long to go on trying. `failed` pauses or raises; `succeeded` starts the count anew."""

    def __init__(self, limit_s: float, lang: str, progress: Progress | None) -> None:
        self._limit_s = limit_s
        self._lang = lang
        self._progress = progress
        self._attempt = 0
        self._since = 0.0

    def failed(self, error: DureError) -> None:
        """Wait before the next attempt; raise `error` when `limit_s` seconds have passed since the first failure."""
        now = time.monotonic()
        if self._attempt == 0:
            self._since = now
        self._attempt += 1
        waited_s = now - self._since
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._attempt - 1))
        if waited_s + pause_s > self._limit_s:
            raise error
        if self._progress is not None:
            self._progress(Retry(self._attempt, waited_s, _lost(self._lang)))
        time.sleep(pause_s)

    def succeeded(self) -> None:
        """Forget earlier failures and say that the platform is back, if it was away."""
        if self._attempt and self._progress is not None:
            self._progress(None)
        self._attempt = 0


class Transport:
    """One platform, one person. Thread-safe, as httpx.Client is."""

    def __init__(self, login: Login, lang: str, *, progress: Progress | None, retry_s: float, timeout_s: float) -> None:
        self.login = login
        self.lang = lang
        self._progress = progress
        self._retry_s = retry_s
        host = _host(login.url)
        if not host:
            raise failure("invalid_address", lang, url=login.url)
        headers = {"Accept-Language": lang, "User-Agent": USER_AGENT}
        if login.token:
            headers["Authorization"] = f"Bearer {login.token}"
        try:
            self.http = httpx.Client(
                base_url=f"{login.url}/api/",
                headers=headers,
                timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
                trust_env=host not in _OWN,  # a web proxy never knows this machine
                verify=host not in _OWN or not login.url.startswith("http:"),  # the roots of trust take 30 ms to read
                follow_redirects=False,
            )
        except (httpx.InvalidURL, UnicodeEncodeError, ValueError) as error:
            raise self.unreachable(error) from error

    def patience(self) -> Patience:
        """Return a fresh count of failures for one request or stream."""
        return Patience(self._retry_s, self.lang, self._progress)

    def call(self, model: type[M], method: str, path: str, *, repeat: bool = True, **request: Any) -> M:
        """Return the answer as `model`. Raises DureError with the server's problem, `unreachable` or `not_dure`."""
        response = self.send(method, path, repeat=repeat, **request)
        return self.parsed(model, response.content)

    def send(self, method: str, path: str, *, repeat: bool = True, **request: Any) -> httpx.Response:
        """Return a successful response. `repeat` False repeats only what was certainly not delivered."""
        patience = self.patience()
        while True:
            try:
                response = self.http.request(method, path, **request)
            except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise self.unreachable(error) from error
            except httpx.TransportError as error:
                undelivered = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                if not (repeat or undelivered):
                    raise self.unreachable(error) from error
                patience.failed(self.unreachable(error))
                continue
            if response.status_code in AWAY:
                patience.failed(self.refusal(response))
                continue
            patience.succeeded()
            if not response.is_success:
                raise self.refusal(response)
            return response

    def download(self, path: str, target: BinaryIO) -> int:
        """Write what is at `path` to an open file, from its begin after each failure; return the number of bytes."""
        patience = self.patience()
        timeout = httpx.Timeout(VERIFIED_S, connect=10.0)
        while True:
            target.seek(0)
            target.truncate()
            try:
                with self.http.stream("GET", path, timeout=timeout) as response:
                    if response.is_success:
                        target.writelines(response.iter_bytes())
                        patience.succeeded()
                        return target.tell()
                    response.read()
            except httpx.TransportError as error:
                patience.failed(self.unreachable(error))
                continue
            if response.status_code not in AWAY:
                raise self.refusal(response)
            patience.failed(self.refusal(response))

    def parsed(self, model: type[M], content: bytes | str) -> M:
        """Return `content` as `model`; raises DureError: which side is older, `not_dure` when it is no answer."""
        try:
            return model.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(str(part) for part in first['loc']) or 'answer'}: {first['msg']}"
            known = any(f'"{name}"' in str(content) for name in model.model_fields)
            if known and first["type"] in _SKEWED:
                raise failure(_SKEWED[first["type"]], self.lang, problem=problem) from error
            raise failure("not_dure", self.lang, url=self.login.url, problem=problem) from error

    def refusal(self, response: httpx.Response) -> DureError:
        """Return the error that a response without success means."""
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            pass
        else:
            found = _skew(problem, response.request.url.raw_path.decode())
            return failure(found, self.lang, **problem.data) if found else DureError(problem)
        if response.status_code in {401, 403}:
            return failure("not_signed_in", self.lang)
        if response.status_code in AWAY:
            return self.unreachable(f"HTTP {response.status_code}")
        return failure("not_dure", self.lang, url=self.login.url, problem=f"HTTP {response.status_code}")

    def unreachable(self, reason: Exception | str) -> DureError:
        """Return the error for a platform that does not answer."""
        return failure("unreachable", self.lang, url=self.login.url, reason=str(reason) or type(reason).__name__)


def _host(url: str) -> str:
    """Return the machine that an address names, "" where it is none that can be called."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.scheme in {"http", "https"} else ""


def query(**values: Any) -> Mapping[str, Any]:
    """Return query parameters without those that are None or empty."""
    return {name: value for name, value in values.items() if value not in (None, (), [])}


def _skew(problem: Problem, path: str) -> str | None:
    """Return which side is older, where a platform's refusal of what we made by its description can mean only that."""
    if problem.code == "invalid_request":
        return skew(str(problem.data.get("problem", "")))
    if problem.code in {"not_found", "method_not_allowed"} and _PLAIN.fullmatch(path):
        problem.data.update(problem=f"HTTP {problem.status}, {path}")
        return "platform_older"
    return None


def _lost(lang: str) -> str:
    if lang == "ko":
        return "Dure 플랫폼이 응답하지 않아 다시 연결하는 중입니다. 작업은 계속 실행됩니다."
    return "The Dure platform does not answer; reconnecting. Your jobs go on."
