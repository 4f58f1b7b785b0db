"""Which nodes ran jobs that read or wrote which blobs: what lets a cell go where its values lie already.

Told of every job that holds GPUs or has ended, and forgetful: a bounded number of digests for each node, those used
last. The trap: it is a preference and not the truth about any cache, so nothing but a choice of place may depend on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from dure.core.model import Job, Platform

DIGESTS_PER_NODE = 1024


class Warm:
    """Digests by (cluster, node), the least recently used first. Not thread-safe."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], OrderedDict[str, None]] = {}

    def learn(self, job: Job) -> None:
        """Note that the nodes of the job's lease have what it read and, once it has ended, what it wrote."""
        digests = (*job.inputs, *job.outputs)
        if job.lease is None or not digests:
            return
        for share in job.lease.shares:
            known = self._nodes.setdefault((job.lease.cluster, share.node), OrderedDict())
            for digest in digests:
                known[digest] = None
                known.move_to_end(digest)
            while len(known) > DIGESTS_PER_NODE:
                known.popitem(last=False)

    def keep_only(self, platform: Platform) -> None:
        """Forget the nodes that the platform file no longer has."""
        there = {(cluster.name, node.name) for cluster in platform.clusters for node in cluster.nodes}
        self._nodes = {place: known for place, known in self._nodes.items() if place in there}

    def on_node(self, cluster: str, node: str, inputs: Mapping[str, int]) -> int:
        """Return how many bytes of `inputs` (digest to bytes) the node has."""
        known = self._nodes.get((cluster, node))
        return sum(size for digest, size in inputs.items() if digest in known) if known else 0
