"""A client that costs little: one kept connection, JSON in and out, so that the server is what is measured."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

IDLE_S = 3.0  # servers close a connection that nobody used for 5 seconds


class Connection:
    """One HTTP connection to `url`, whose path comes before every path asked for. For one thread."""

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._base = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._used_at = 0.0

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer's JSON. Raises AssertionError for anything but success."""
        content = None if body is None else json.dumps(body)
        headers = {**self._headers, **({"Content-Type": "application/json"} if content else {})}
        if time.monotonic() - self._used_at > IDLE_S:
            self._http.close()
        self._http.request(method, self._base + path, content, headers)
        response = self._http.getresponse()
        self._used_at = time.monotonic()
        text = response.read()
        assert 200 <= response.status < 300, f"{method} {path}: {response.status} {text[:500]!r}"
        return json.loads(text) if text else None

    def listen(self, path: str) -> Any:
        """Return the open response of an event stream, to be read line by line."""
        self._http.request("GET", self._base + path, headers={**self._headers, "Accept": "text/event-stream"})
        return self._http.getresponse()

    def close(self) -> None:
        """Let go of the connection; the next call makes another."""
        self._http.close()
