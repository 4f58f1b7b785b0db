"""Sums that grow with time, kept while what they are made of comes and goes.

What people hold counts more with each second, and a decision must not add it up anew for everybody. The trap: sums are
whole numbers, so that what was added in another order, or came and left again, gives the very same.
"""

from __future__ import annotations

import heapq

_US = 10**6
_STALE = 64


def whole_us(seconds: float) -> int:
    """Return a time or span in whole microseconds."""
    return round(seconds * _US)


class Meter:
    """The sum of rate x time, each entry's time counted since it began, and at least for its `least_us`."""

    __slots__ = ("_asked_us", "_begun", "_begun_rate", "_due", "_entries", "_least")

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, int | None, int]] = {}
        self._least = 0
        self._begun: set[str] = set()
        self._begun_rate = (0, 0)
        self._due: list[tuple[int, str]] = []
        self._asked_us = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, name: str, rate: int, since_us: int | None, least_us: int) -> None:
        """Count an entry; one that has not begun (None) counts its least."""
        self._entries[name] = (rate, since_us, least_us)
        self._least += rate * least_us
        if since_us is not None:
            heapq.heappush(self._due, (since_us + least_us, name))
            if len(self._due) > 2 * len(self._entries) + _STALE:
                self._begin_anew()

    def remove(self, name: str) -> None:
        """Count an entry no longer; one that is not known does no harm."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        rate, since_us, least_us = entry
        if name in self._begun and since_us is not None:
            self._begun.discard(name)
            self._begun_rate = self._begun_rate[0] - rate, self._begun_rate[1] - rate * since_us
        else:
            self._least -= rate * least_us

    def at(self, now_us: int) -> int:
        """Return the sum at a time, in the rates' unit x microseconds."""
        if now_us < self._asked_us:
            self._begin_anew()
        self._asked_us = now_us
        due = self._due
        while due and due[0][0] < now_us:
            at_us, name = heapq.heappop(due)
            entry = self._entries.get(name)
            if entry is None or name in self._begun:
                continue  # it left, or came again otherwise
            rate, since_us, least_us = entry
            if since_us is None or since_us + least_us != at_us:
                continue
            self._begun.add(name)
            self._least -= rate * least_us
            self._begun_rate = self._begun_rate[0] + rate, self._begun_rate[1] + rate * since_us
        rate, offset = self._begun_rate
        return self._least + rate * now_us - offset

    def _begin_anew(self) -> None:
        entries, self._entries = self._entries, {}
        self._least, self._begun_rate = 0, (0, 0)
        self._begun.clear()
        self._due.clear()
        for name, entry in entries.items():
            self.add(name, *entry)
