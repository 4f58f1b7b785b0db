"""Partial admission: the largest scale of a workload's pod sets, between their minimum and their full count, that
fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from dure.core.queueing.kueue.objects import PodSet

T = TypeVar("T")


def can_shrink(pod_sets: Sequence[PodSet]) -> bool:
    """Return whether a pod set may run with fewer pods than it asks for."""
    return any(one.min_count is not None and one.count > one.min_count for one in pod_sets)


def search(pod_sets: Sequence[PodSet], fits: Callable[[list[int]], T | None]) -> T | None:
    """Return what `fits` gives for the largest counts that it accepts (None refuses), or None; a binary search.

    All pod sets shrink in proportion, as in Kueue: the answer is the largest only if smaller counts fit
    whenever larger do.
    """
    deltas = [0 if one.min_count is None else one.count - one.min_count for one in pod_sets]
    total = sum(deltas)
    if total == 0:
        return None
    low, high = 0, total + 1
    good_at, good = 0, None
    while low < high:
        middle = (low + high) // 2
        counts = [one.count - delta * middle // total for one, delta in zip(pod_sets, deltas, strict=True)]
        found = fits(counts)
        if found is None:
            low = middle + 1
        else:
            high, good_at, good = middle, middle, found
    return good if low == good_at else None
