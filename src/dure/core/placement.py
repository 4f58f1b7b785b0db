"""Which GPUs of which node: packs fractions tightly and keeps whole nodes free for gangs.

Works on `NodeState`, the free thousandths of each GPU of one node; `packing` says which of two places is better. The
trap: `choose` looks at every node, `Pool` only at those that changed since the same was last asked; a pool must be told
of every change (`take`, `give`, `hold`), or it answers from what it remembers.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from dure.core.model import WHOLE_GPU_MILLI, GpuShare
from dure.core.packing import USUAL, Ask, Mix, Spot

_ASKS_KEPT = 512
_CHANGES_PER_NODE = 64
_SAME_WASTE_MILLI = 1e-6


@dataclass(slots=True)
class NodeState:
    """One node: what is free of each GPU, what is `spare` of other resources, whether an earlier job waits for it."""

    cluster: str
    name: str
    tier: str
    price_per_gpu_hour: float
    free_milli: list[int]
    reserved: bool = False
    spare: list[int] = field(default_factory=list)

    @property
    def untouched(self) -> bool:
        """Whether nobody uses any of its GPUs."""
        return self.whole_free == len(self.free_milli)

    @property
    def whole_free(self) -> int:
        """How many GPUs nobody uses."""
        return self.free_milli.count(WHOLE_GPU_MILLI)

    def fits_when_empty(self, gpus_milli: int) -> bool:
        """Return whether the request fits on this node once nobody uses it."""
        return gpus_milli <= len(self.free_milli) * WHOLE_GPU_MILLI

    def fits(self, gpus_milli: int) -> bool:
        """Return whether the request fits on this node now."""
        if gpus_milli < WHOLE_GPU_MILLI:
            return max(self.free_milli, default=-1) >= gpus_milli
        return self.whole_free * WHOLE_GPU_MILLI >= gpus_milli

    def take(self, gpus: Iterable[GpuShare]) -> None:
        """Mark GPUs as used; indexes that the node no longer has are ignored."""
        for gpu in gpus:
            if gpu.index < len(self.free_milli):
                self.free_milli[gpu.index] -= gpu.share_milli

    def give(self, gpus: Iterable[GpuShare]) -> None:
        """Mark GPUs as free again, as `take` marked them."""
        self.take(GpuShare(gpu.index, -gpu.share_milli) for gpu in gpus)


def choose(
    nodes: Sequence[NodeState], gpus_milli: int, mix: Mix = USUAL, near: Callable[[NodeState], int] | None = None
) -> tuple[NodeState, tuple[GpuShare, ...]] | None:
    """Return the best node for the request and its GPUs there, or None when none of `nodes` has room now.

    A part of a GPU never opens a whole one while a shared one has room. Otherwise the place that wastes least for
    `mix` is best, then the tightest. Ties: the order of `nodes`. `near` tells how many bytes of the job's inputs
    a node has: of the places that waste no more than the best, the one with the most is taken, but no untouched node is
    broken for that.
    """
    ask = Ask.of(gpus_milli)
    best: tuple[NodeState, Spot] | None = None
    places: list[tuple[NodeState, Spot]] = []
    for node in nodes:
        spot = mix.spot(node.free_milli, node.spare, ask) if node.fits(gpus_milli) else None
        if spot is None:
            continue
        if near is not None:
            places.append((node, spot))
        if best is None or spot.rank < best[1].rank:
            best = node, spot
    if best is None:
        return None
    node, spot = best if near is None else _nearest(best, places, near)
    return node, tuple(GpuShare(index, ask.share_milli) for index in spot.gpus)


def _nearest(
    best: tuple[NodeState, Spot], places: Sequence[tuple[NodeState, Spot]], near: Callable[[NodeState], int]
) -> tuple[NodeState, Spot]:
    opens, waste, *_ = best[1].rank
    equal = [
        (node, spot)
        for node, spot in places
        if spot.rank[0] == opens and spot.rank[1] - waste < _SAME_WASTE_MILLI
        if best[0].untouched or not node.untouched
    ]
    return min(equal, key=lambda place: (-near(place[0]), place[1].rank))


def has_room(nodes: Sequence[NodeState], gpus_milli: int, count: int) -> bool:
    """Return whether `choose_gang` would find nodes; cheaper, for it compares no places."""
    if count < 1 or gpus_milli % count or (count > 1 and gpus_milli // count % WHOLE_GPU_MILLI):
        return False
    part = gpus_milli // count
    left: dict[str, int] = {}
    for node in nodes:
        if node.fits(part):
            left[node.cluster] = left.get(node.cluster, count) - 1
            if not left[node.cluster]:
                return True
    return False


def choose_gang(
    nodes: Sequence[NodeState],
    gpus_milli: int,
    count: int,
    mix: Mix = USUAL,
    near: Callable[[NodeState], int] | None = None,
) -> tuple[tuple[NodeState, tuple[GpuShare, ...]], ...] | None:
    """Return `count` nodes of one cluster with an even part of the request on each, or None without room for all now.

    Each node is the best of those left, so a part as large as a node goes to empty nodes only. `near`: as in `choose`.
    """
    if count < 1 or gpus_milli % count or (count > 1 and gpus_milli // count % WHOLE_GPU_MILLI):
        return None
    for cluster in dict.fromkeys(node.cluster for node in nodes):
        left = [node for node in nodes if node.cluster == cluster]
        found: list[tuple[NodeState, tuple[GpuShare, ...]]] = []
        while len(found) < count and (best := choose(left, gpus_milli // count, mix, near)) is not None:
            found.append(best)
            left = [node for node in left if node is not best[0]]
        if len(found) == count:
            return tuple(found)
    return None


class Pool:
    """Nodes that are asked for places again and again: what one ask costs is bounded by what changed since the last.

    For each of the most recent asks the pool keeps every node's best spot in a heap; a spot is stale once its node
    changed. Places are those that `choose` would find.
    """

    def __init__(self, nodes: Sequence[NodeState], mix: Mix = USUAL) -> None:
        self.nodes = tuple(nodes)
        self._mix = mix
        self._order = {id(node): order for order, node in enumerate(self.nodes)}
        self._version = [0] * len(self.nodes)
        self._changed: list[int] = []
        self._asks: OrderedDict[Ask, _Ranking] = OrderedDict()

    def choose(self, ask: Ask) -> tuple[NodeState, tuple[GpuShare, ...]] | None:
        """Return the best node for `ask` and its GPUs there, or None when no node has room now."""
        ranking = self._asks.get(ask)
        if ranking is None:
            ranking = self._asks[ask] = _Ranking()
            if len(self._asks) > _ASKS_KEPT:
                self._asks.popitem(last=False)
        self._asks.move_to_end(ask)
        self._look_again(ask, ranking)
        heap = ranking.spots
        while heap and heap[0][2] != self._version[heap[0][1]]:
            heapq.heappop(heap)
        if not heap:
            return None
        _, order, _, gpus = heap[0]
        return self.nodes[order], tuple(GpuShare(index, ask.share_milli) for index in gpus)

    def take(self, node: NodeState, gpus: Iterable[GpuShare], needs: Sequence[int] = ()) -> None:
        """Mark GPUs and other resources of a node as used."""
        node.take(gpus)
        self._spend(node, needs, 1)

    def give(self, node: NodeState, gpus: Iterable[GpuShare], needs: Sequence[int] = ()) -> None:
        """Mark GPUs and other resources of a node as free again."""
        node.give(gpus)
        self._spend(node, needs, -1)

    def hold(self, node: NodeState, *, reserved: bool = True) -> None:
        """Keep a node from all asks, or let them have it again."""
        node.reserved = reserved
        self._spend(node, (), 1)

    def _spend(self, node: NodeState, needs: Sequence[int], sign: int) -> None:
        for index, need in enumerate(needs):
            node.spare[index] -= sign * need
        order = self._order[id(node)]
        self._version[order] += 1
        self._changed.append(order)
        if len(self._changed) > _CHANGES_PER_NODE * len(self.nodes):
            self._changed.clear()
            self._asks.clear()

    def _look_again(self, ask: Ask, ranking: _Ranking) -> None:
        stale = range(len(self.nodes)) if ranking.seen < 0 else set(self._changed[ranking.seen :])
        ranking.seen = len(self._changed)
        if len(ranking.spots) > 4 * len(self.nodes) + 64:  # mostly stale ones: begin anew
            ranking.spots.clear()
            stale = range(len(self.nodes))
        for order in stale:
            node = self.nodes[order]
            spot = None if node.reserved else self._mix.spot(node.free_milli, node.spare, ask)
            if spot is not None:
                heapq.heappush(ranking.spots, (spot.rank, order, self._version[order], spot.gpus))


class _Ranking:
    """Every node's best spot for one ask, and how much of the pool's list of changes it has `seen`."""

    def __init__(self) -> None:
        self.seen = -1
        self.spots: list[tuple[tuple[float, ...], int, int, tuple[int, ...]]] = []
