"""Runs slow calls beside the loop: in order within a lane, lanes side by side, so that one that hangs stops no other.

A lane's thread is made for its first call and ends with its last, so that idle lanes cost nothing. The trap: what is
still waiting when the control plane closes is dropped, so an errand must be something that the next one asks for again.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable

log = logging.getLogger("dure.errands")


class Errands:
    """Lanes of calls. Thread-safe; a call that raises is logged and the lane goes on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, deque[Callable[[], None]]] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def run(self, lane: Hashable, call: Callable[[], None]) -> None:
        """Run `call` soon, after what was asked of this lane before."""
        with self._lock:
            if self._closed:
                return
            waiting = self._lanes.get(lane)
            if waiting is not None:
                waiting.append(call)
                return
            self._lanes[lane] = deque([call])
            thread = threading.Thread(target=self._work, args=(lane,), name=self._name, daemon=True)
            self._threads.add(thread)
        thread.start()

    def close(self, timeout_s: float) -> None:
        """Drop what waits and give what is under way up to `timeout_s` seconds in all but for calls that hang."""
        with self._lock:
            self._closed = True
            threads = tuple(self._threads)
        for thread in threads:
            thread.join(timeout_s / len(threads))

    def _work(self, lane: Hashable) -> None:
        while (call := self._next(lane)) is not None:
            try:
                call()
            except Exception:
                log.exception("errand.failed")

    def _next(self, lane: Hashable) -> Callable[[], None] | None:
        with self._lock:
            waiting = self._lanes[lane]
            if waiting and not self._closed:
                return waiting.popleft()
            del self._lanes[lane]
            self._threads.discard(threading.current_thread())
            return None
