"""Runs the loop in a thread of its own: at once when hinted, else when the loop asked to be woken.

The trap: a tick that raises must not end the platform; it is logged, and the next one starts from what is stored.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from dure.control.loop import Loop
from dure.core.queueing.plan import Plan
from dure.main.failing import Failing
from dure.ports import StoreError

log = logging.getLogger("dure.loop")

_AFTER_FAILURE_S = 1.0
_MIN_WAIT_S = 0.001


class LoopThread:
    """A loop and the thread that ticks it."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._resting = threading.Event()
        self._resting.set()
        self._failing = Failing(log, "tick.failed")
        self._thread = threading.Thread(target=self._run, name="dure-loop", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def hint(self) -> None:
        """Something changed: tick at once."""
        self._wake.set()

    def current_plan(self) -> Plan | None:
        """Return the last tick's plan while this loop leads."""
        return self._loop.plan

    @property
    def leads(self) -> bool:
        """True while this process's loop leads."""
        return self._loop.leads

    def give_way(self, at_most_s: float = 0.2) -> None:
        """Return when no tick is under way, so that other work of this process does not slow one down."""
        self._resting.wait(at_most_s)

    def close(self) -> None:
        """Finish the tick under way and give leadership up."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(StoreError):  # leadership runs out by itself
            self._loop.resign()

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Cleared before the tick, so that what happens during it wakes the next one.
            self._wake.clear()
            self._resting.clear()
            try:
                wait_s = self._loop.tick()
            except Exception as error:  # noqa: BLE001 - logged there; the loop lives
                self._failing.failed(error)
                wait_s = _AFTER_FAILURE_S
            else:
                self._failing.succeeded()
            self._resting.set()
            self._wake.wait(max(wait_s, _MIN_WAIT_S))
