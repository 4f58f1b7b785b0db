"""Which GPUs of which node: packs fractions tightly and keeps whole nodes free for gangs.

Works on `NodeState`, the free thousandths of each GPU of one node within one decision. The trap: a fraction must never
be put where whole GPUs are asked for next, so it prefers GPUs that are shared already, the fullest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dure.core.model import WHOLE_GPU_MILLI, GpuShare


@dataclass(slots=True)
class NodeState:
    """One node within one decision: what is free of each GPU, and whether an earlier job waits for it."""

    cluster: str
    name: str
    tier: str
    price_per_gpu_hour: float
    free_milli: list[int]
    reserved: bool = False

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
            return any(free >= gpus_milli for free in self.free_milli)
        return self.whole_free * WHOLE_GPU_MILLI >= gpus_milli

    def take(self, gpus: Iterable[GpuShare]) -> None:
        """Mark GPUs as used; indexes that the node no longer has are ignored."""
        for gpu in gpus:
            if gpu.index < len(self.free_milli):
                self.free_milli[gpu.index] -= gpu.share_milli


def choose(nodes: Sequence[NodeState], gpus_milli: int) -> tuple[NodeState, tuple[GpuShare, ...]] | None:
    """Return the best node for the request and its GPUs there, or None when none of `nodes` has room now.

    A fraction goes to the shared GPU with the least room that suffices, else to a free GPU of the node with the fewest
    free ones; whole GPUs go to the node with the fewest free ones that suffice. Ties: the order of `nodes`.
    """
    if gpus_milli < WHOLE_GPU_MILLI:
        return _choose_share(nodes, gpus_milli)
    count = gpus_milli // WHOLE_GPU_MILLI
    able = [node for node in nodes if node.whole_free >= count]
    if not able:
        return None
    node = min(able, key=lambda able_node: able_node.whole_free)
    free = [index for index, milli in enumerate(node.free_milli) if milli == WHOLE_GPU_MILLI]
    return node, tuple(GpuShare(index) for index in free[:count])


def choose_gang(
    nodes: Sequence[NodeState], gpus_milli: int, count: int
) -> tuple[tuple[NodeState, tuple[GpuShare, ...]], ...] | None:
    """Return `count` nodes of one cluster with an even part of the request on each, or None without room for all now.

    Each node is the best fit of those left, so a part as large as a node goes to empty nodes only.
    """
    if count < 1 or gpus_milli % count or (count > 1 and gpus_milli // count % WHOLE_GPU_MILLI):
        return None
    for cluster in dict.fromkeys(node.cluster for node in nodes):
        left = [node for node in nodes if node.cluster == cluster]
        found: list[tuple[NodeState, tuple[GpuShare, ...]]] = []
        while len(found) < count and (best := choose(left, gpus_milli // count)) is not None:
            found.append(best)
            left = [node for node in left if node is not best[0]]
        if len(found) == count:
            return tuple(found)
    return None


def _choose_share(nodes: Sequence[NodeState], share_milli: int) -> tuple[NodeState, tuple[GpuShare, ...]] | None:
    best: tuple[int, int] | None = None
    found: tuple[NodeState, int] | None = None
    for node in nodes:
        whole = node.whole_free
        for index, free in enumerate(node.free_milli):
            # a shared GPU sorts before every whole one, because its room is below 1000
            rank = (free, whole if free == WHOLE_GPU_MILLI else 0)
            if free >= share_milli and (best is None or rank < best):
                best, found = rank, (node, index)
    return None if found is None else (found[0], (GpuShare(found[1], share_milli),))
