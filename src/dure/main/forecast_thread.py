"""Runs the forecasts in a thread of their own, out of the way of the loop.

The trap: a course of decisions takes long, so it looks after each decision whether a tick is under way or the platform
is to stop, and gives way to both.
"""

from __future__ import annotations

import logging
import threading

from dure.control.forecasts import Forecasts
from dure.main.failing import Failing

log = logging.getLogger("dure.forecasts")

_AFTER_FAILURE_S = 10.0


class _StoppedError(Exception):
    """The platform stops in the middle of a refresh."""


class ForecastThread:
    """A thread that refreshes forecasts."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._failing = Failing(log, "forecasts.failed")
        self._thread: threading.Thread | None = None

    def start(self, forecasts: Forecasts) -> None:
        """Begin to refresh."""
        self._thread = threading.Thread(target=self._run, args=(forecasts,), name="dure-forecasts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give up the refresh under way and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise when it is to stop; called between two decisions."""
        if self._stopping.is_set():
            raise _StoppedError

    def _run(self, forecasts: Forecasts) -> None:
        while not self._stopping.is_set():
            try:
                wait_s = forecasts.refresh()
            except _StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - logged there; estimates are made again
                self._failing.failed(error)
                wait_s = _AFTER_FAILURE_S
            else:
                self._failing.succeeded()
            self._stopping.wait(wait_s)
