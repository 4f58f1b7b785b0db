"""What keeps apart those who share one GPU: the isolation that a part of a GPU has, or has at least wherever it lands.

Whole GPUs have no such answer. The trap: before a job has its lease this is the weakest of what its tier's nodes give,
never the best, so that nobody counts on more than they get.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.core.model import WHOLE_GPU_MILLI, ClusterKind, Lease, Node, Platform, Request, Sharing

# From the weakest: time slices isolate nothing, MPS bounds memory where it is known, MIG splits the chip.
_STRENGTH = (Sharing.TIME_SLICE, Sharing.MPS, Sharing.MIG)


def isolation(platform: Platform, request: Request, lease: Lease | None) -> Mapping[str, Any] | None:
    """Return `sharing` (a Sharing, or "simulated"), `gpus_milli`, and `memory_bytes` where that is a limit.

    None for whole GPUs and where no node is known.
    """
    if not 0 < request.gpus_milli < WHOLE_GPU_MILLI:
        return None
    weakest = min(_nodes(platform, request, lease), key=_strength, default=None)
    if weakest is None:
        return None
    told: dict[str, Any] = {"gpus_milli": request.gpus_milli}
    if weakest.simulated:
        return told | {"sharing": "simulated"}
    if weakest.sharing is Sharing.MPS and weakest.gpu_memory_bytes:
        told["memory_bytes"] = weakest.gpu_memory_bytes * request.gpus_milli // WHOLE_GPU_MILLI
    return told | {"sharing": weakest.sharing.value}


def _nodes(platform: Platform, request: Request, lease: Lease | None) -> list[Node]:
    """Return the node of the lease; without one those that the request may go to, private ones when there are any."""
    if lease is not None:
        return [
            node
            for cluster in platform.clusters
            for node in cluster.nodes
            if (cluster.name, node.name) == (lease.cluster, lease.node)
        ]
    able = [
        (cluster.kind, node)
        for cluster in platform.clusters
        for node in cluster.nodes
        if request.tier in {None, node.tier}
    ]
    private = [node for kind, node in able if kind is ClusterKind.PRIVATE]
    return private or [node for _, node in able]


def _strength(node: Node) -> tuple[bool, int, bool]:
    return node.simulated, _STRENGTH.index(node.sharing), node.gpu_memory_bytes is not None
