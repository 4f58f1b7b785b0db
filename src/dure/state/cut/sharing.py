"""Finds which of many sorted arrays of ids have an id in common: parts of values that share an object must be pickled
together. Most are far from each other, since each part was made at its own time. Needs numpy to be loaded.
"""

from __future__ import annotations

import sys
from typing import Any

_SORTED = 64  # runs; the ids of more are sorted together with those of all others


def common(asked: Any, own: Any) -> Any:
    """Return the places in `asked` of what is in `own`, too; both are sorted."""
    if not len(own) or not len(asked):
        return own[:0]
    begin, end = asked.searchsorted(own[0]), asked.searchsorted(own[-1], "right")
    if begin == end:
        return own[:0]
    some = asked[begin:end]
    return begin + (own[own.searchsorted(some)] == some).nonzero()[0]


def pairs(runs: list[Any], new: list[int]) -> list[tuple[int, int]]:
    """Return which runs share an id, one of them of the `new` ones, as pairs of indices that connect all that do."""
    numpy = sys.modules["numpy"]
    if len(new) > _SORTED:
        new = list(range(len(runs)))
    ids = numpy.concatenate([runs[index] for index in new])
    owners = numpy.repeat(new, [len(runs[index]) for index in new])
    order = numpy.argsort(ids, kind="stable")
    ids, owners = ids[order], owners[order]
    same = (ids[1:] == ids[:-1]).nonzero()[0]
    found = set(zip(owners[same].tolist(), owners[same + 1].tolist(), strict=True))
    for index in set(range(len(runs))).difference(new):
        found |= {(index, owner) for owner in owners[common(ids, runs[index])].tolist()}
    return sorted(found)


def overlap(starts: Any, ends: Any, runs: list[tuple[int, int]]) -> bool:
    """Tell whether one of some runs of memory has a byte of those that begin at `starts`, sorted, and end at `ends`."""
    for low, high in runs:
        at = int(starts.searchsorted(high))
        if at and int(ends[:at].max()) > low:
            return True
    return False
