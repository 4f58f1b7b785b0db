"""The cohort tree with its quota arithmetic and shares: the mutable what-if state of one scheduler.

Formulas are Kueue's (resource_node.go, fair_sharing.go), see docs/QUEUEING.md. The trap: a node's usage holds only
what its children could not cover by what they keep to themselves (`local`), so usage is changed through `add_usage`
and `remove_usage` and never directly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dure.core.queueing.kueue.objects import Amounts, FlavorResource, Quota
from dure.core.queueing.kueue.quantity import add, sub

_NOTHING = Quota(nominal=0)


@dataclass(frozen=True, slots=True)
class Share:
    """The dominant resource share of a node: the ratio before its weight, and what makes it."""

    weight: float = 1.0
    ratio: float = 0.0
    resource: str = ""
    borrowing: bool = False
    borrowed: tuple[FlavorResource, ...] = ()

    def borrows_any_of(self, requested: Amounts) -> bool:
        """Return whether one of the requested amounts is of something that the node borrows."""
        return any(requested.get(key, 0) > 0 for key in self.borrowed)

    @property
    def weighted(self) -> float:
        """The share divided by the weight; infinite when a node without weight borrows."""
        if self.ratio == 0:
            return 0.0
        return math.inf if self.weight == 0 else self.ratio / self.weight

    @property
    def rounded(self) -> int:
        """The share as Kueue publishes it: rounded up, the largest 64-bit number when infinite."""
        value = self.weighted
        return 2**63 - 1 if math.isinf(value) else math.ceil(value)

    @property
    def text(self) -> str:
        """The share as Kueue writes it into status."""
        value = self.weighted
        if math.isinf(value):
            return "+Inf"
        return str(int(value)) if value == int(value) else repr(value)

    @property
    def order(self) -> tuple[bool, float]:
        """What shares are compared by: nodes without weight that borrow rank above all, by their ratio."""
        if self.weight == 0 and self.ratio != 0:
            return True, self.ratio
        return False, self.weighted


LOWEST_SHARE = Share(ratio=-1.0)


@dataclass(eq=False)
class Node:
    """A node of the tree. `local` is what the node keeps to itself, by flavor and resource, where that is not 0."""

    name: str
    quotas: Mapping[FlavorResource, Quota]
    weight: float = 1.0
    parent: Group | None = None
    subtree: Amounts = field(default_factory=dict)
    usage: Amounts = field(default_factory=dict)
    local: Amounts = field(default_factory=dict)

    def path(self) -> Iterator[Group]:
        """Yield the cohorts from the parent to the root."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent

    def quota(self, key: FlavorResource) -> Quota:
        """Return the node's own quota, nothing when it has none."""
        return self.quotas.get(key, _NOTHING)

    def local_available(self, key: FlavorResource) -> int:
        """Return what is free of that which the node keeps to itself."""
        kept = self.local.get(key, 0)
        return max(0, sub(kept, self.usage.get(key, 0))) if kept else 0

    def available_signed(self, key: FlavorResource) -> int:
        """Return what the node may still take; negative when the tree is over its quota."""
        used, own = self.usage.get(key, 0), self.subtree.get(key, 0)
        if self.parent is None:
            return sub(own, used)
        above = self.parent.available_signed(key)
        limit = self.quota(key).borrowing_limit
        if limit is not None:
            kept = self.local.get(key, 0)
            lent = sub(sub(own, kept), max(0, sub(used, kept)))
            above = min(add(lent, limit), above)
        return add(self.local_available(key), above)

    def available(self, key: FlavorResource) -> int:
        """Return what the node may still take, at least 0."""
        return max(0, self.available_signed(key))

    def potential(self, key: FlavorResource) -> int:
        """Return what the node could take if nobody used anything."""
        own = self.subtree.get(key, 0)
        if self.parent is None:
            return own
        reachable = add(self.local.get(key, 0), self.parent.potential(key))
        limit = self.quota(key).borrowing_limit
        return reachable if limit is None else min(add(own, limit), reachable)

    def add_usage(self, key: FlavorResource, amount: int) -> None:
        """Take an amount; what the node does not keep to itself is taken from its parent."""
        free = self.local_available(key)
        self.usage[key] = add(self.usage.get(key, 0), amount)
        if self.parent is not None and amount > free:
            self.parent.add_usage(key, sub(amount, free))

    def remove_usage(self, key: FlavorResource, amount: int) -> None:
        """Give an amount back, first to the parent."""
        used = self.usage.get(key, 0)
        above = sub(used, self.local.get(key, 0))
        self.usage[key] = sub(used, amount)
        if above > 0 and self.parent is not None:
            self.parent.remove_usage(key, min(amount, above))

    def borrowing_with(self, key: FlavorResource, amount: int) -> bool:
        """Return whether the node would use more than its subtree owns."""
        return self.subtree.get(key, 0) < add(self.usage.get(key, 0), amount)

    def fits_quota(self, requests: Amounts) -> tuple[bool, Amounts]:
        """Return whether the requests fit the subtree's quota, and what the parent would have to give."""
        fits = not any(self.borrowing_with(key, amount) for key, amount in requests.items())
        return fits, {key: max(0, sub(amount, self.local_available(key))) for key, amount in requests.items()}

    def within_nominal(self, keys: Iterable[FlavorResource]) -> bool:
        """Return whether the node uses no more than its subtree owns of all these."""
        return not any(self.borrowing_with(key, 0) for key in keys)

    def share(self, requests: Mapping[FlavorResource, int] | None = None) -> Share:
        """Return the dominant resource share, with these requests added."""
        if self.parent is None:
            return Share(weight=self.weight)
        more = requests or {}
        by_resource: dict[str, int] = {}
        borrowed = []
        for key, own in self.subtree.items():
            over = sub(add(more.get(key, 0), self.usage.get(key, 0)), own)
            if over > 0:
                by_resource[key[1]] = add(by_resource.get(key[1], 0), over)
                borrowed.append(key)
        if not borrowed:
            return Share(weight=self.weight)
        ratio, name = 0.0, ""
        lendable = self.parent.lendable()
        for resource, over in by_resource.items():
            lent = lendable.get(resource, 0)
            if lent > 0:
                own_ratio = over * 1000.0 / lent
                if own_ratio > ratio or (own_ratio == ratio and resource < name):
                    ratio, name = own_ratio, resource
        return Share(weight=self.weight, ratio=ratio, resource=name, borrowing=True, borrowed=tuple(borrowed))


@dataclass(eq=False)
class Group(Node):
    """A cohort."""

    groups: list[Group] = field(default_factory=list)
    queues: list[Node] = field(default_factory=list)
    levels: int | None = None

    @property
    def root(self) -> Group:
        """The cohort at the top."""
        return self if self.parent is None else self.parent.root

    def height(self) -> int:
        """Return how many levels lie below; 1 for a cohort of queues only. Computed once: the tree is built by then."""
        if self.levels is None:
            lowest = 1 if self.groups or self.queues else 0
            self.levels = max([lowest, *(child.height() + 1 for child in self.groups)])
        return self.levels

    def subtree_queues(self) -> Iterator[Node]:
        """Yield every queue below."""
        yield from self.queues
        for child in self.groups:
            yield from child.subtree_queues()

    def lendable(self) -> dict[str, int]:
        """Return by resource what members of this cohort could use at most."""
        total: dict[str, int] = {}
        for key in self.root.subtree:
            total[key[1]] = add(total.get(key[1], 0), self.potential(key))
        return total

    def recompute(self) -> None:
        """Compute quotas and usage of the cohort from its own quota and from its children."""
        self.subtree = {key: quota.nominal for key, quota in self.quotas.items()}
        self.usage = {}
        for group in self.groups:
            group.recompute()
        for queue in self.queues:
            settle_leaf(queue)
        for child in (*self.groups, *self.queues):
            for key, own in child.subtree.items():
                self.subtree[key] = add(self.subtree.get(key, 0), sub(own, child.local.get(key, 0)))
            for key, used in child.usage.items():
                self.usage[key] = add(self.usage.get(key, 0), max(0, sub(used, child.local.get(key, 0))))
        self.local = kept_by(self)


def kept_by(node: Node) -> Amounts:
    """Return what a node keeps to itself: its subtree's quota beyond the lending limit."""
    kept = {}
    for key, quota in node.quotas.items():
        if quota.lending_limit is not None:
            amount = max(0, sub(node.subtree.get(key, 0), quota.lending_limit))
            if amount:
                kept[key] = amount
    return kept


def settle_leaf(queue: Node) -> None:
    """Compute what a queue owns and keeps from its quotas."""
    queue.subtree = {key: quota.nominal for key, quota in queue.quotas.items()}
    queue.local = kept_by(queue)


def lowest_fit(queue: Node, key: FlavorResource, amount: int) -> tuple[int, bool]:
    """Return the height of the lowest subtree whose quota holds the amount, and whether something lies above it.

    0 is the queue itself: it does not borrow.
    """
    nominal = queue.quota(key).nominal
    if queue.parent is None or nominal >= add(queue.usage.get(key, 0), amount):
        return 0, queue.parent is not None
    rest = sub(amount, queue.local_available(key))
    for group in queue.path():
        if not group.borrowing_with(key, rest):
            return group.height(), group.parent is not None
        rest = sub(rest, group.local_available(key))
    return queue.parent.root.height(), False
