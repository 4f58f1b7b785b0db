"""By how much p90 of starts is stretched or narrowed, so that nine of ten starts keep to it whatever comes.

Online quantile tracking, the proportional part of conformal PID control (Angelopoulos, Candès and Tibshirani, 2023;
Gibbs and Candès, 2021): each rush moves the logarithm of the stretch by RATE times what of its starts came after the
p90 that was told, less one tenth; half of that for estimates of its own kind, half for all. These moves add up, so over
N rushes of a kind the mean share of late starts is within MOST / (RATE * N), 10 / N, of one tenth, with nothing assumed
of how waits come about, while no bound is reached. The trap: jobs estimated before the p90 of the
first of them is over wait for the same things. They are one rush and count as one: counted as many, one of them
would turn the stretch by more than a year of other days.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

RATE = 0.3
LATE = 0.1
"""The share of starts that may come after p90."""
LEAST, MOST = math.log(0.2), math.log(20.0)
_RUSHES = 200  # of older ones only the sum of their moves is kept


@dataclass(slots=True)
class Rush:
    """Estimates that saw one future. `known`: how many of them are known to have kept p90 or not; `late`: who did not.

    What is known of a rush moves the stretch, not when it came to be known: a restart finds the same.
    """

    until: float
    known: int = 0
    late: int = 0


class Tracker:
    """The rushes of so many kinds of estimates, and the stretch of each kind that follows from them."""

    def __init__(self, kinds: int) -> None:
        self._own = [_Moves() for _ in range(kinds)]
        self._all = _Moves()

    def rush(self, kind: int, issued_at: float, p90_s: float) -> Rush:
        """Return the rush of an estimate of this kind that is issued now; estimates come in order of time."""
        rush = self._own[kind].last
        if rush is None or issued_at >= rush.until:
            rush = Rush(issued_at + max(p90_s, 1.0))
            self._own[kind].add(rush)
            self._all.add(rush)
        return rush

    def log_stretch(self, kind: int) -> float:
        """Return the logarithm by which p90 is to be scaled, between LEAST and MOST; 0 where nothing is known."""
        return self._own[kind].sum() + self._all.sum()


class _Moves:
    """Half of the moves of some rushes, added up in order."""

    def __init__(self) -> None:
        self._before = 0.0
        self._rushes: deque[Rush] = deque()

    @property
    def last(self) -> Rush | None:
        return self._rushes[-1] if self._rushes else None

    def add(self, rush: Rush) -> None:
        self._rushes.append(rush)
        while len(self._rushes) > _RUSHES:
            self._before = _moved(self._before, self._rushes.popleft())

    def sum(self) -> float:
        found = self._before
        for rush in self._rushes:
            found = _moved(found, rush)
        return found


def _moved(found: float, rush: Rush) -> float:
    if not rush.known:
        return found
    return min(MOST / 2.0, max(LEAST / 2.0, found + RATE / 2.0 * (rush.late / rush.known - LATE)))
