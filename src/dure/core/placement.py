"""Which GPUs of which nodes: packs fractions tightly and keeps whole nodes free for gangs.

A `Pool` has nodes, each a `NodeState` with the free thousandths of its GPUs, and remembers the order of their places;
`packing` says which of two places is better. The trap: it looks again only at nodes that changed since the same was
last asked, so it must be told of every change (`take`, `give`), or it answers from what it remembers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dure.core.model import WHOLE_GPU_MILLI, GpuShare, Request, domain_of
from dure.core.packing import USUAL, Ask, Mix

_ASKS_KEPT = 512
_CHANGES_PER_NODE = 64

Places = tuple[tuple["NodeState", tuple[GpuShare, ...]], ...]
"""The nodes of one lease, each with its GPUs there."""


@dataclass(slots=True)
class NodeState:
    """One node: what is free of each GPU, and what is `spare` of other resources.

    `labels` are its values at the levels of the topology, outermost first.
    """

    cluster: str
    name: str
    tier: str
    price_per_gpu_hour: float
    free_milli: list[int]
    spare: list[int] = field(default_factory=list)
    labels: Mapping[str, str] = field(default_factory=dict)

    def domain(self, level: str | None) -> tuple[str, ...]:
        """Return the domain of a level that it is in: its cluster, and its values down to that level."""
        return (self.cluster, *domain_of(self.labels, level)) if level is not None else (self.cluster,)

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


def even_part(request: Request) -> int | None:
    """Return what each node gives of a request, or None when it cannot be split evenly in whole GPUs."""
    gpus_milli, count = request.gpus_milli, request.nodes
    if count < 1 or gpus_milli % count or (count > 1 and gpus_milli // count % WHOLE_GPU_MILLI):
        return None
    return gpus_milli // count


def has_room(nodes: Iterable[NodeState], request: Request) -> bool:
    """Return whether the nodes' pools would find places; cheaper, for it compares none."""
    part = even_part(request)
    if part is None:
        return False
    left: dict[tuple[str, ...], int] = {}
    for node in nodes:
        if node.fits(part):
            domain = node.domain(request.required_topology)
            left[domain] = left.get(domain, request.nodes) - 1
            if not left[domain]:
                return True
    return False


def most_together(nodes: Iterable[NodeState], request: Request, *, empty: bool = False) -> int:
    """Return how many nodes with room for their part are where all must be, now or once nobody uses them."""
    part = request.node_milli
    able = (node for node in nodes if (node.fits_when_empty(part) if empty else node.fits(part)))
    return max(Counter(node.domain(request.required_topology) for node in able).values(), default=0)


class Pool:
    """Nodes of one cluster that are asked for places again and again: an ask costs what changed since its last time.

    For each of the most recent asks it keeps all places in their order.
    """

    def __init__(self, nodes: Sequence[NodeState], mix: Mix = USUAL) -> None:
        self.nodes = tuple(nodes)
        self._mix = mix
        self._order = {id(node): order for order, node in enumerate(self.nodes)}
        self._changed: list[int] = []
        self._rankings: OrderedDict[Ask, _Ranking] = OrderedDict()

    def place(
        self,
        request: Request,
        able: Callable[[NodeState], bool] | None = None,
        near: Callable[[NodeState], int] | None = None,
    ) -> Places | None:
        """Return the best nodes for a request, as `choose`; with a topology those that stand together."""
        part = even_part(request)
        if part is None:
            return None
        ask = Ask.of(part)
        if request.nodes == 1 or (request.required_topology is None and request.preferred_topology is None):
            return self.choose(ask, request.nodes, able, near)
        spots = [spot for spot in self._ranked(ask) if able is None or able(self.nodes[spot[1]])]
        return self._placed(ask, self._together(spots, request))

    def choose(
        self,
        ask: Ask,
        count: int = 1,
        able: Callable[[NodeState], bool] | None = None,
        near: Callable[[NodeState], int] | None = None,
    ) -> Places | None:
        """Return the `count` best nodes for `ask` on each, of those that are `able`; None without room for all now.

        A part of a GPU never opens a whole one while a shared one has room. Otherwise the place that wastes least for
        the mix is best, then the tightest. Ties: the order of nodes. `near` tells how many bytes of the job's inputs a
        node has: the one with the most comes before waste, but no untouched node is broken for that and no whole GPU
        opened for a part.
        """
        spots = self._ranked(ask)
        if near is not None or able is not None:
            spots = [spot for spot in spots if able is None or able(self.nodes[spot[1]])]
        if len(spots) < count:
            return None
        if near is not None:
            spots = self._nearest(spots, count, near)
        return self._placed(ask, spots[:count])

    def _placed(self, ask: Ask, spots: list[_Spot]) -> Places | None:
        return (
            tuple(
                (self.nodes[order], tuple(GpuShare(index, ask.share_milli) for index in gpus))
                for _, order, gpus in spots
            )
            or None
        )

    def _together(self, spots: list[_Spot], request: Request) -> list[_Spot]:
        """Return the places of a request that asks for a level of the topology; none without room.

        As Kueue's best fit: of the domains of that level with room for all, the one with the least; where one is only
        preferred, else of the level above. Below it, into as few domains as possible.
        """
        levels = [*self.nodes[0].labels]
        wanted = request.required_topology or request.preferred_topology or ""
        depth = levels.index(wanted) if wanted in levels else len(levels) - 1
        for at in range(depth, -1 if request.required_topology is None else depth - 1, -1):
            enough = [part for part in self._parts(spots, levels[at]) if len(part) >= request.nodes]
            if enough:
                return self._few(min(enough, key=len), request.nodes, levels[at + 1 :])
        if request.required_topology is not None or len(spots) < request.nodes:
            return []
        return self._few(spots, request.nodes, levels)

    def _few(self, spots: list[_Spot], count: int, levels: Sequence[str]) -> list[_Spot]:
        """Return `count` of the places in as few domains of the first level as possible, and so below it."""
        if not levels:
            return spots[:count]
        parts, found = self._parts(spots, levels[0]), list[_Spot]()
        while len(found) < count:
            left = count - len(found)
            enough = [part for part in parts if len(part) >= left]
            part = min(enough, key=len) if enough else max(parts, key=len)
            found += self._few(part, min(left, len(part)), levels[1:])
            parts.remove(part)
        return found

    def _parts(self, spots: list[_Spot], level: str) -> list[list[_Spot]]:
        parts: dict[tuple[str, ...], list[_Spot]] = {}
        for spot in spots:
            parts.setdefault(self.nodes[spot[1]].domain(level), []).append(spot)
        return [*parts.values()]

    def take(self, node: NodeState, gpus: Iterable[GpuShare], needs: Sequence[int] = ()) -> None:
        """Mark GPUs and other resources of a node as used."""
        node.take(gpus)
        self._spend(node, needs, 1)

    def give(self, node: NodeState, gpus: Iterable[GpuShare], needs: Sequence[int] = ()) -> None:
        """Mark GPUs and other resources of a node as free again."""
        node.give(gpus)
        self._spend(node, needs, -1)

    def _spend(self, node: NodeState, needs: Sequence[int], sign: int) -> None:
        for index, need in enumerate(needs):
            node.spare[index] -= sign * need
        self._changed.append(self._order[id(node)])
        if len(self._changed) > _CHANGES_PER_NODE * len(self.nodes):
            self._changed.clear()
            self._rankings.clear()

    def _ranked(self, ask: Ask) -> list[_Spot]:
        """Return where the ask has room, the best place first."""
        ranking = self._rankings.get(ask)
        if ranking is None:
            ranking = self._rankings[ask] = _Ranking(len(self._changed))
            ranking.at = {order: spot for order in range(len(self.nodes)) if (spot := self._spot(order, ask))}
            ranking.spots = sorted(ranking.at.values())
            if len(self._rankings) > _ASKS_KEPT:
                self._rankings.popitem(last=False)
        self._rankings.move_to_end(ask)
        for order in set(self._changed[ranking.seen :]):
            ranking.put(order, self._spot(order, ask))
        ranking.seen = len(self._changed)
        return ranking.spots

    def _spot(self, order: int, ask: Ask) -> _Spot | None:
        node = self.nodes[order]
        spot = self._mix.spot(node.free_milli, node.spare, ask)
        return None if spot is None else (spot.rank, order, spot.gpus)

    def _nearest(self, spots: list[_Spot], count: int, near: Callable[[NodeState], int]) -> list[_Spot]:
        """Return the places that a job with inputs takes, one after the other."""
        left = [*spots]
        found: list[_Spot] = []
        while len(found) < count:
            opens, whole = left[0][0][0], self.nodes[left[0][1]].untouched
            able = [spot for spot in left if spot[0][0] == opens and (whole or not self.nodes[spot[1]].untouched)]
            found.append(max(able, key=lambda spot: near(self.nodes[spot[1]])))  # of equal ones the best
            left.remove(found[-1])
        return found


_Spot = tuple[tuple[float, ...], int, tuple[int, ...]]
"""A place: its rank, the order of its node, and the indexes of its GPUs."""


@dataclass(slots=True)
class _Ranking:
    """Every node's best place for one ask in order, and how much of the pool's list of changes it has `seen`."""

    seen: int
    spots: list[_Spot] = field(default_factory=list)
    at: dict[int, _Spot] = field(default_factory=dict)

    def put(self, order: int, spot: _Spot | None) -> None:
        """Set the place of one node, None when it has no room any more."""
        known = self.at.pop(order, None)
        if known is not None:
            del self.spots[bisect_left(self.spots, known)]
        if spot is not None:
            self.at[order] = spot
            insort(self.spots, spot)
