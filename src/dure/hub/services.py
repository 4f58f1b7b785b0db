"""Brings the control plane back within seconds when it dies, which JupyterHub by itself looks at twice a minute.

Touches one private name of JupyterHub (`_ServiceSpawner`), for want of a setting; tests/e2e kills the control
plane to hold it. Trap: a control plane that dies at once again must not be started in a tight loop, so quick
deaths slow the restarts.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from jupyterhub.services import service
from traitlets import default

WATCH_S = 1
WATCH_AFTER_CRASHES_S = 15
CRASHES_MAX = 4
CRASH_WINDOW_S = 60.0


class WatchedService(service._ServiceSpawner):  # noqa: SLF001 - see the module's docstring
    """A managed service that is looked after each second; after some quick deaths, each fifteen seconds."""

    starts: ClassVar[list[float]] = []

    @default("poll_interval")  # type: ignore[untyped-decorator, unused-ignore]
    def _watch(self) -> int:
        now = time.monotonic()
        self.starts[:] = [at for at in self.starts if at > now - CRASH_WINDOW_S]
        return WATCH_AFTER_CRASHES_S if len(self.starts) > CRASHES_MAX else WATCH_S

    def start(self) -> Any:
        """Start it and remember when."""
        self.starts.append(time.monotonic())
        return super().start()


def watch_services() -> None:
    """Make the Hub use the above for its managed services."""
    service._ServiceSpawner = WatchedService  # noqa: SLF001 - see the module's docstring
