"""Balanced placement (Kueue's gate TASBalancedPlacement): the same number of slices in every domain, as far as it goes.

Of the sets of sibling domains the one is taken whose emptiest member still gets most; within it, as few domains as
possible with as little room to spare. The trap: domains are tried out on copies, so what is returned is not the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from math import log2

from dure.core.queueing.kueue.domains import Domain, Domains, Search, sum_up


@dataclass(slots=True)
class _Greedy:
    """What giving to the largest first comes to: how many domains it takes, the last one with and without leader."""

    taken: int = 0
    last_led: Domain | None = None
    last: Domain | None = None


def _greedy(domains: Sequence[Domain], search: Search) -> _Greedy | None:
    """Return how all slices and leaders go into the domains, or None when they do not."""
    found = _Greedy()
    slices, leaders, rest = search.slices, search.leaders, list(domains)
    if leaders:
        rest = search.ordered_led(domains)
        while leaders > 0 and rest and rest[0].leaders > 0:
            found.last_led = rest.pop(0)
            found.taken += 1
            leaders -= found.last_led.leaders
            slices -= found.last_led.slices_led
    if leaders > 0:
        return None
    for one in search.ordered(rest):
        if slices <= 0 or one.slices <= 0:
            break
        found.last = one
        found.taken += 1
        slices -= one.slices
    return None if slices > 0 else found


def _threshold(found: _Greedy, search: Search) -> int:
    most = search.slices // found.taken if found.taken else 0
    if found.last_led is not None:
        most = min(most, found.last_led.slices_led)
    return most if found.last is None else min(most, found.last.slices)


def _clear(one: Domain, *, leaders_only: bool) -> None:
    if leaders_only:
        one.pods_led = one.slices_led = one.leaders = 0
    else:
        one.clear()
    for child in one.children:
        _clear(child, leaders_only=leaders_only)


def _prune_one(one: Domain, least: int, search: Search) -> None:
    if one.slices < least:
        _clear(one, leaders_only=False)
    elif search.leaders and one.leaders > 0 and one.slices_led < least:
        _clear(one, leaders_only=True)


def _count(one: Domain, search: Search) -> None:
    for child in one.children:
        _count(child, search)
    if one.children or one.level == search.slice_level:
        sum_up(one, search, layered=False)


def _pruned(domains: Sequence[Domain], least: int, search: Search) -> tuple[list[Domain], _Greedy | None]:
    """Return copies without what cannot take so many slices, and how the slices go into them."""
    twins = [one.copy() for one in domains]
    for one in twins:
        for child in one.children:
            _prune_one(child, least, search)
    for one in twins:
        _count(one, search)
        _prune_one(one, least, search)
    return twins, _greedy(twins, search)


def _best_siblings(places: Domains, search: Search) -> tuple[list[Domain], int]:
    """Return the siblings at the level asked for whose emptiest member gets most, and how many slices that is."""
    if search.level == 0:
        sets = [list(places.by_level[0].values())]
    else:
        above = places.by_level[search.level - 1].values()
        sets = [one.children for one in sorted(above, key=lambda one: one.values)]
    best, best_least, best_taken = [], 0, 0
    for siblings in sets:
        below = siblings
        if search.level < search.slice_level:
            below = [child for one in siblings for child in one.children]
        first = _greedy(below, search)
        if first is None:
            continue
        least = _threshold(first, search)
        reserved = least
        if search.leaders and first.last is not None:
            reserved = min(least, first.last.slices_led)
        if least < best_least:
            continue
        twins, found = _pruned(siblings, least, search)
        if found is None and reserved < least and reserved > 0 and reserved >= best_least:
            least = reserved
            twins, found = _pruned(siblings, least, search)
        if found is not None and (least > best_least or (least == best_least and found.taken < best_taken)):
            best, best_least, best_taken = twins, least, found.taken
    return best, best_least


def _entropy(domains: Sequence[Domain]) -> float:
    total = sum(one.pods for one in domains)
    return sum(-one.pods / total * log2(one.pods / total) for one in domains if one.pods > 0) if total else 0.0


def _by_capacity(left: Domain, right: Domain) -> int:
    if left.leaders != right.leaders:
        return right.leaders - left.leaders
    if left.slices_led != right.slices_led:
        return right.slices_led - left.slices_led
    mine, other = _entropy(left.children), _entropy(right.children)
    if mine != other:
        return 1 if other > mine else -1
    return (left.values > right.values) - (left.values < right.values)


def _smallest_set(domains: Sequence[Domain], search: Search, *, by_capacity: bool) -> list[Domain] | None:
    """Return as few domains as hold everything, with the least room to spare; None when all together do not."""
    found = _greedy(domains, search)
    if found is None:
        return None
    ordered = sorted(domains, key=cmp_to_key(_by_capacity)) if by_capacity else sorted(domains, key=lambda d: d.values)
    # By number of domains: what is left of leaders and pods, and the domains that lead there.
    known: list[dict[tuple[int, int], list[Domain]]] = [{} for _ in range(found.taken + 1)]
    known[0][search.leaders, search.slices * search.size] = []
    for one in ordered:
        for number in range(found.taken, 0, -1):
            for (leaders, pods), chosen in sorted(known[number - 1].items(), key=lambda pair: pair[0]):
                if leaders <= 0 and pods <= 0:
                    continue
                if leaders > 0 and one.leaders > 0:
                    known[number].setdefault((leaders - one.leaders, pods - one.pods_led), [*chosen, one])
                if one.slices > 0:
                    known[number].setdefault((leaders, pods - one.pods), [*chosen, one])
    enough = [(pods, chosen) for (leaders, pods), chosen in known[found.taken].items() if leaders == 0 and pods <= 0]
    return max(enough, key=lambda pair: pair[0])[1] if enough else None


def _spread_evenly(domains: Sequence[Domain], search: Search, least: int) -> list[Domain] | None:
    """Give every domain the least number of slices and the first ones what is left; None when it does not go."""
    chosen = _smallest_set(domains, search, by_capacity=False)
    if not chosen or search.slices < len(chosen) * least:
        return None
    extra, leaders = search.slices - len(chosen) * least, search.leaders
    chosen = search.ordered_led(chosen)
    for one in chosen:
        room = (one.slices_led if leaders > 0 else one.slices) - least
        more = min(room, extra) if leaders > 0 or extra > 0 else 0
        one.leaders = 1 if leaders > 0 else 0
        leaders -= one.leaders
        one.slices = one.slices_led = least + more
        one.pods = one.slices * search.size
        one.pods_led = one.pods - one.leaders
        extra -= more
    return chosen if extra <= 0 and leaders <= 0 else None


def balanced(places: Domains, search: Search) -> tuple[int, list[Domain]] | None:
    """Return the level and the domains of a balanced placement, or None where there is none."""
    domains, least = _best_siblings(places, search)
    if least <= 0:
        return None
    level = search.level
    if level < search.slice_level:
        chosen = _smallest_set(domains, search, by_capacity=True)
        if chosen is None:
            return None
        domains, level = [child for one in chosen for child in one.children], level + 1
    spread = _spread_evenly(domains, search, least)
    return None if spread is None else (level, spread)
