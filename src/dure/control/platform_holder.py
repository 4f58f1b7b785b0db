"""The platform file's current valid content, shared by every thread; edits replace it whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from dure.core.model import Platform


class PlatformHolder:
    """Holds the newest valid `Platform`, the text of the last refused edit, and what the environments contain."""

    def __init__(self, platform: Platform) -> None:
        self._lock = threading.Lock()
        self._platform = platform
        self._error: str | None = None
        self._environments: dict[str, Mapping[str, Any]] = {}

    @property
    def current(self) -> Platform:
        """The platform as last loaded without error."""
        with self._lock:
            return self._platform

    @property
    def error(self) -> str | None:
        """Why the last edit of the file was refused, None when it was taken."""
        with self._lock:
            return self._error

    def replace(self, platform: Platform) -> None:
        """Take a valid platform."""
        with self._lock:
            self._platform, self._error = platform, None

    def refuse(self, error: str) -> None:
        """Keep the old platform and remember why the new text was refused."""
        with self._lock:
            self._error = error

    def learn_environment(self, name: str, fingerprint: Mapping[str, Any]) -> None:
        """Remember what a fork server said of its environment: `python`, `packages`, or `error`."""
        with self._lock:
            self._environments[name] = dict(fingerprint)

    def fingerprint(self, environment: str) -> Mapping[str, Any]:
        """Return what is known of an environment's content, empty until its fork server answered."""
        with self._lock:
            return self._environments.get(environment, {})
