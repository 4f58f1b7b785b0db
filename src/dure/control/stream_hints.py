"""Wakes event streams when something changed. Only a hint: streams re-read by cursor, so a lost wake costs a second.

The trap: `notify` is called from many threads and must never block them, so it only schedules a callback on each
waiting event loop.
"""

from __future__ import annotations

import asyncio
import threading


class StreamHints:
    """A broadcast of "look again" from any thread to every waiting coroutine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = 0
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def generation(self) -> int:
        """Grows with every notification."""
        with self._lock:
            return self._generation

    def notify(self) -> None:
        """Wake everybody who waits."""
        with self._lock:
            self._generation += 1
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                continue  # that loop has closed; nobody waits there any more

    async def wait(self, after: int, timeout_s: float) -> int:
        """Return the generation as soon as it is greater than `after`, or after `timeout_s` seconds."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        with self._lock:
            if self._generation > after:
                return self._generation
            self._waiting.add(entry)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(entry)
        return self.generation
