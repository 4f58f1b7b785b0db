"""How long something takes, as probabilities over bins of equal width in the logarithm of seconds.

Every question about a runtime (a quantile, what is left after so much has passed, the chance to be done in time) is
answered here. The trap: nobody has seen the end of a job that outlived all history; what is left of it is then taken
to be as long as what has passed (Pareto's law), never zero.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from copy import copy
from itertools import accumulate, pairwise

STEP = math.log(1.15)
BINS = 128  # 1 s to 1.15^127 s, about 590 days
_LEAST_LEFT = 1e-6
_SMOOTH = (0.76, 0.10, 0.02)


def bin_of(seconds: float) -> int:
    """Return the bin of a time; what is shorter than a second, or longer than the last bin, is in the outermost."""
    if seconds <= 1.0:
        return 0
    return min(BINS - 1, int(math.log(seconds) / STEP))


def edge_s(position: float) -> float:
    """Return the seconds at a place on the axis of bins: bin b reaches from b to b + 1."""
    return math.exp(position * STEP)


class Distribution:
    """Probabilities over the bins, at most `limit_s` seconds long when there is a limit."""

    __slots__ = ("_below", "limit_s")

    def __init__(self, weights: Sequence[float], limit_s: float | None = None) -> None:
        """Take non-negative weights, one a bin and not all zero; they are scaled to one."""
        total = math.fsum(weights)
        if len(weights) != BINS or total <= 0.0:
            raise ValueError("a distribution needs a weight for each bin, and one above zero")
        self._below = [0.0, *(part / total for part in accumulate(weights))]
        self.limit_s = limit_s

    def limited(self, limit_s: float | None) -> Distribution:
        """Return the same under another limit; nothing is copied."""
        twin = copy(self)
        twin.limit_s = limit_s
        return twin

    def chance_within(self, seconds: float) -> float:
        """Return the probability of an end within `seconds`."""
        if self.limit_s is not None and seconds >= self.limit_s:
            return 1.0
        if seconds <= 0.0:
            return 0.0
        place = min(float(BINS), max(0.0, math.log(max(seconds, 1.0)) / STEP))
        low = min(BINS - 1, int(place))
        below = self._below
        return below[low] + (place - low) * (below[low + 1] - below[low])

    def quantile(self, part: float) -> float:
        """Return the seconds that are not exceeded with probability `part`."""
        seconds = self._unlimited(part)
        return seconds if self.limit_s is None else min(seconds, self.limit_s)

    def remaining(self, part: float, elapsed_s: float) -> float:
        """Return the quantile of what is left for something that has already taken `elapsed_s`."""
        if elapsed_s <= 0.0:
            return self.quantile(part)
        past = self.limited(None).chance_within(elapsed_s)
        if 1.0 - past > _LEAST_LEFT:
            left = self._unlimited(past + part * (1.0 - past)) - elapsed_s
        else:
            left = elapsed_s * (1.0 / max(_LEAST_LEFT, 1.0 - part) - 1.0)
        if self.limit_s is not None:
            left = min(left, self.limit_s - elapsed_s)
        return max(left, 0.0)

    def _unlimited(self, part: float) -> float:
        below = self._below
        part = min(max(part, 0.0), 1.0)
        high = max(1, bisect_left(below, part, 0, BINS))
        weight = below[high] - below[high - 1]
        inside = (part - below[high - 1]) / weight if weight > 0.0 else 1.0
        return edge_s(high - 1 + min(max(inside, 0.0), 1.0))


def lognormal(median_s: float, spread: float) -> list[float]:
    """Return weights of a lognormal with this median and standard deviation of the logarithm; they sum to about one."""
    middle = math.log(max(median_s, 1.0))
    edges = [0.5 * (1.0 + math.erf((place * STEP - middle) / (spread * math.sqrt(2.0)))) for place in range(BINS + 1)]
    return [later - sooner for sooner, later in pairwise(edges)]


def filled(weights: Mapping[int, float]) -> list[float]:
    """Return weights by bin as a list; what lies beyond the axis is in its outermost bins."""
    found = [0.0] * BINS
    for place, weight in weights.items():
        found[min(max(place, 0), BINS - 1)] += weight
    return found


def near(weights: dict[int, float], place: int) -> float:
    """Return the weight at a bin of what `smoothed` would make of these."""
    middle, one, two = _SMOOTH
    found = middle * weights.get(place, 0.0)
    found += one * (weights.get(place - 1, 0.0) + weights.get(place + 1, 0.0))
    return found + two * (weights.get(place - 2, 0.0) + weights.get(place + 2, 0.0))


def smoothed(weights: list[float]) -> list[float]:
    """Return weights that reach two bins to either side: who took 100 s may take 120 s."""
    middle, one, two = _SMOOTH
    wide = [0.0, 0.0, *weights, 0.0, 0.0]
    return [
        middle * wide[at + 2] + one * (wide[at + 1] + wide[at + 3]) + two * (wide[at] + wide[at + 4])
        for at in range(BINS)
    ]
