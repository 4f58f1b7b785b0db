"""What a trial of an engine changes, kept as it was before, so that all of it can be put back.

Copied on first touch: a queue's lists, workloads and accounts, a workload, the use of nodes. The trap: whoever changes
any of these in a trial says so before (`touch`, `touch_tree`, `remember`), or the change outlives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from dure.core.queueing.kueue.domains import Used
from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.pending import PendingQueue, Saved, Waking
from dure.core.queueing.kueue.snapshot import Snapshot
from dure.core.queueing.kueue.tree import Node

_CHANGING = (
    "workload",
    "evicted",
    "order",
    "progress",
    "nominated",
    "evaluated_generation",
    "local_usage",
    "reserved_ns",
)
_facts: attrgetter[tuple[object, ...]] = attrgetter(*_CHANGING)


@dataclass(slots=True)
class Trial:
    """What a trial changed so far, as it was before. The use of nodes is copied as a whole when it begins."""

    snapshot: Snapshot
    pending: Mapping[str, PendingQueue]
    _saved: dict[str, Saved] = field(default_factory=dict)
    _workloads: dict[str, dict[str, Info]] = field(default_factory=dict)
    _nodes: dict[int, Node] = field(default_factory=dict)
    _usage: dict[int, int] = field(default_factory=dict)
    _infos: dict[int, tuple[Info, tuple[object, ...]]] = field(default_factory=dict)
    _counts: dict[int, tuple[Waking, int]] = field(default_factory=dict)
    _used: list[tuple[Used, Used]] = field(init=False)

    def __post_init__(self) -> None:
        self._used = [
            (used, {values: dict(held) for values, held in used.items()})
            for where in self.snapshot.places.values()
            for used in (where.used, where.fresh)
        ]

    def touch(self, name: str) -> None:
        """Remember how a queue and the cohorts above it are, before their first change."""
        if name in self._saved:
            return
        node = self.snapshot.queues[name]
        self.touch_tree(self.pending[name].waking)
        self._saved[name] = self.pending[name].save()
        self._workloads[name] = dict(node.workloads)
        for one in (node, *node.path()):
            if id(one) not in self._nodes:
                self._nodes[id(one)] = one
                self._usage.update({id(account): account.usage for account in one.accounts.values()})

    def touch_tree(self, tree: Waking) -> None:
        """Remember how often a tree of cohorts was woken."""
        self._counts.setdefault(id(tree), (tree, tree.count))

    def remember(self, info: Info) -> None:
        """Remember how a workload is, before its first change."""
        if id(info) not in self._infos:
            self._infos[id(info)] = info, _facts(info)

    def undo(self) -> None:
        """Put everything back."""
        for tree, count in self._counts.values():
            tree.count = count
        for name, saved in self._saved.items():
            self.pending[name].load(saved)
            self.snapshot.queues[name].hold(self._workloads[name])
        for node in self._nodes.values():
            for account in node.accounts.values():
                account.usage = self._usage.get(id(account), 0)
        for info, kept in self._infos.values():
            for name, fact in zip(_CHANGING, kept, strict=True):
                setattr(info, name, fact)
        for now, used in self._used:
            now.clear()
            now.update(used)
