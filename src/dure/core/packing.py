"""How much of a node's free GPUs a placement wastes: what `placement` minimises.

A node wastes what the mix of asks to come cannot use of it: fragmentation as Weng et al. measure it (Beware of
Fragmentation, USENIX ATC '23), and what the mix's mean need of other resources could not feed, so that a node's CPU
and its GPUs run out together. The trap: waste is remembered by the node's state, so a mix never changes; make another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dure.core.model import WHOLE_GPU_MILLI

STARVED_WEIGHT = 0.3  # of what other resources cannot feed: measured best on openb among 0.1, 0.3 and 1
_STATES_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Ask:
    """What one node is asked for: `share_milli` of each of `count` GPUs, and `needs` of its other resources.

    `needs` and a node's `spare` name the same resources in the same order (CPU, memory); none of them may be all.
    """

    share_milli: int = WHOLE_GPU_MILLI
    count: int = 1
    needs: tuple[int, ...] = ()

    @property
    def gpus_milli(self) -> int:
        """Thousandths of a GPU in all."""
        return self.share_milli * self.count

    @classmethod
    def of(cls, gpus_milli: int) -> Ask:
        """Return the ask for a part of one GPU, or for whole ones."""
        if gpus_milli < WHOLE_GPU_MILLI:
            return cls(gpus_milli)
        return cls(WHOLE_GPU_MILLI, gpus_milli // WHOLE_GPU_MILLI)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where on one node an ask would go: `rank` orders spots of all nodes, lowest first; `gpus` are indexes."""

    rank: tuple[float, ...]
    gpus: tuple[int, ...]


class Mix:
    """The asks that are expected, by weight: what free GPUs are kept useful for."""

    def __init__(self, weights: Mapping[Ask, float]) -> None:
        total = sum(weights.values()) or 1.0
        self._asks = tuple((ask, weight / total) for ask, weight in weights.items() if weight > 0)
        width = max((len(ask.needs) for ask, _ in self._asks), default=0)
        # Two spares that let the same asks in are one state.
        self._steps = [sorted({ask.needs[i] for ask, _ in self._asks if len(ask.needs) > i}) for i in range(width)]
        gpus = sum(weight * ask.gpus_milli for ask, weight in self._asks)
        with_gpus = [(ask, weight) for ask, weight in self._asks if ask.count]
        self._needs_per_milli = [
            sum(weight * ask.needs[i] for ask, weight in with_gpus if len(ask.needs) > i) / (gpus or 1.0)
            for i in range(width)
        ]
        self._known: dict[tuple[tuple[int, ...], ...], float] = {}

    def waste(self, free: Sequence[int], spare: Sequence[int]) -> float:
        """Return how many thousandths of a GPU of such a node the mix is expected to leave unused."""
        steps = tuple(bisect_right(step, left) for step, left in zip(self._steps, spare, strict=False))
        state = (tuple(sorted(free)), steps)
        known = self._known.get(state)
        if known is None:
            if len(self._known) > _STATES_MAX:
                self._known.clear()
            known = self._known[state] = self._fragmented(state[0], spare)
        return known + STARVED_WEIGHT * self._starved(sum(free), spare)

    def _fragmented(self, free: tuple[int, ...], spare: Sequence[int]) -> float:
        """Return the expectation over the mix of what an ask cannot use: all, or the GPUs with too little left."""
        total = sum(free)
        wasted = 0.0
        for ask, weight in self._asks:
            too_small = sum(left for left in free if left < ask.share_milli)
            able = 0 < ask.count <= sum(left >= ask.share_milli for left in free) and _feeds(spare, ask.needs)
            wasted += weight * (too_small if able else total)
        return wasted

    def _starved(self, free_milli: int, spare: Sequence[int]) -> float:
        """Return the free thousandths that mean asks would not reach before another resource is used up."""
        starved = 0.0
        for left, need in zip(spare, self._needs_per_milli, strict=False):
            if need > 0:
                starved = max(starved, free_milli - left / need)
        return starved

    def spot(self, free: list[int], spare: Sequence[int], ask: Ask) -> Spot | None:
        """Return the best place for `ask` on such a node, or None without room.

        Ranked by whether a part opens a GPU that was whole, by added waste, then by tightness: so parts share GPUs
        while they can, whatever else, and gangs find whole ones.
        """
        if not _feeds(spare, ask.needs):
            return None
        left = [have - need for have, need in zip(spare, ask.needs, strict=False)] if ask.needs else spare
        before, total = self.waste(free, spare), sum(free)
        if ask.share_milli >= WHOLE_GPU_MILLI or ask.count != 1:
            able = tuple(index for index, milli in enumerate(free) if milli >= ask.share_milli)[: ask.count]
            if len(able) < ask.count:
                return None
            added = self.waste(_after(free, able, ask.share_milli), left) - before
            return Spot((0, added, WHOLE_GPU_MILLI, total, *left), able)
        best: Spot | None = None
        for milli in set(free):
            if milli < ask.share_milli:
                continue
            at = (free.index(milli),)
            added = self.waste(_after(free, at, ask.share_milli), left) - before
            found = Spot((milli == WHOLE_GPU_MILLI, added, milli, total, *left), at)
            if best is None or found.rank < best.rank:
                best = found
        return best


def _feeds(spare: Sequence[int], needs: Sequence[int]) -> bool:
    return all(need <= have for have, need in zip(spare, needs, strict=False))


def _after(free: list[int], gpus: Iterable[int], share_milli: int) -> list[int]:
    left = free.copy()
    for index in gpus:
        left[index] -= share_milli
    return left


USUAL = Mix({Ask.of(250): 1.0, Ask.of(500): 2.0} | {Ask.of(n * WHOLE_GPU_MILLI): 8.0 / n for n in (1, 2, 4, 8)})
"""What a lab asks for as far as nobody knows better: parts, single GPUs, and gangs up to a node of eight."""
