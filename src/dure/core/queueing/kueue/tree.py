"""The cohort tree with its quota arithmetic and shares: the mutable what-if state of one scheduler.

Each node has one account per flavor and resource, and an account knows the one above it. Formulas are Kueue's
(resource_node.go, fair_sharing.go), see docs/QUEUEING.md. The trap: an account's usage holds only what its children
could not cover by what they keep to themselves (`local`), so usage is changed through `take` and `give` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from dure.core.queueing.kueue.objects import Amounts, FlavorResource, Quota
from dure.core.queueing.kueue.quantity import UNLIMITED, add, sub

_NOTHING = Quota(nominal=0)
_LARGE = UNLIMITED // 8


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
        whole, _, rest = f"{Decimal(repr(value)):f}".partition(".")
        return f"{whole}.{rest}" if rest.strip("0") else whole

    @property
    def order(self) -> tuple[bool, float]:
        """What shares are compared by: nodes without weight that borrow rank above all, by their ratio."""
        if self.weight == 0 and self.ratio != 0:
            return True, self.ratio
        return False, self.weighted


LOWEST_SHARE = Share(ratio=-1.0)


class Account:
    """What one node owns, keeps to itself (`local`) and uses of one flavor and resource.

    `subtree` is the quota of the node with all below; `ceiling` what it could use if nobody else used anything;
    `declared` whether a quota here or below names the pair.
    """

    __slots__ = ("borrowing_limit", "ceiling", "declared", "local", "node", "nominal", "parent", "subtree", "usage")

    def __init__(self, node: Node, quota: Quota, parent: Account | None, *, declared: bool) -> None:
        self.node = node
        self.parent = parent
        self.nominal = quota.nominal
        self.borrowing_limit = quota.borrowing_limit
        self.declared = declared
        self.subtree = quota.nominal
        self.local = 0
        self.usage = 0
        self.ceiling = 0

    def free(self) -> int:
        """Return what may still be taken; negative when the tree is over its quota."""
        parent, used = self.parent, self.usage
        if parent is None:
            return self.subtree - used
        above = parent.free()
        local, limit = self.local, self.borrowing_limit
        if limit is not None:
            room = self.subtree + limit - (max(local, used))
            above = min(above, room)
        return above + local - used if local > used else above

    def local_free(self) -> int:
        """Return what is free of that which the node keeps to itself."""
        return self.local - self.usage if self.local > self.usage else 0

    def take(self, amount: int) -> None:
        """Count an amount; what the node does not keep to itself is taken from its parent."""
        free = self.local - self.usage if self.local > self.usage else 0
        self.usage += amount
        if amount > free and self.parent is not None:
            self.parent.take(amount - free)

    def give(self, amount: int) -> None:
        """Count an amount no longer, first at the parent."""
        above = self.usage - self.local
        self.usage -= amount
        if above > 0 and self.parent is not None:
            self.parent.give(min(amount, above))

    def over(self, amount: int = 0) -> bool:
        """Return whether the node would use more than its subtree owns, with so much more."""
        return self.subtree < self.usage + amount

    def settle(self, lending_limit: int | None) -> None:
        """Compute what is kept and what could be used, the accounts above being settled."""
        self.local = 0 if lending_limit is None else max(0, sub(self.subtree, lending_limit))

    def settle_ceiling(self) -> None:
        """Compute what could be used at most; the accounts above come first."""
        if self.parent is None:
            self.ceiling = self.subtree
            return
        reachable = add(self.local, self.parent.ceiling)
        limit = self.borrowing_limit
        self.ceiling = reachable if limit is None else min(add(self.subtree, limit), reachable)


class BoundlessAccount(Account):
    """An account in a tree where a quota is without limit: sums saturate as Kueue's do."""

    __slots__ = ()

    def free(self) -> int:
        """Return what may still be taken; negative when the tree is over its quota."""
        used, own = self.usage, self.subtree
        if self.parent is None:
            return sub(own, used)
        above = self.parent.free()
        limit = self.borrowing_limit
        if limit is not None:
            lent = sub(sub(own, self.local), max(0, sub(used, self.local)))
            above = min(add(lent, limit), above)
        return add(self.local_free(), above)

    def local_free(self) -> int:
        """Return what is free of that which the node keeps to itself."""
        return max(0, sub(self.local, self.usage)) if self.local else 0

    def take(self, amount: int) -> None:
        """Count an amount; what the node does not keep to itself is taken from its parent."""
        free = self.local_free()
        self.usage = add(self.usage, amount)
        if self.parent is not None and amount > free:
            self.parent.take(sub(amount, free))

    def give(self, amount: int) -> None:
        """Count an amount no longer, first at the parent."""
        above = sub(self.usage, self.local)
        self.usage = sub(self.usage, amount)
        if above > 0 and self.parent is not None:
            self.parent.give(min(amount, above))

    def over(self, amount: int = 0) -> bool:
        """Return whether the node would use more than its subtree owns, with so much more."""
        return self.subtree < add(self.usage, amount)


@dataclass(eq=False)
class Node:
    """A node of the tree, with its accounts by flavor and resource.

    A queue that is not `active` lends and uses as ever, but nobody of it is admitted or preempted.
    """

    name: str
    quotas: Mapping[FlavorResource, Quota]
    weight: float = 1.0
    parent: Group | None = None
    accounts: dict[FlavorResource, Account] = field(default_factory=dict)
    active: bool = True

    def path(self) -> Iterator[Group]:
        """Yield the cohorts from the parent to the root."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent

    def top(self) -> Node:
        """Return the node at the top: the root cohort, or a queue without one."""
        return self if self.parent is None else self.parent.root

    def account(self, key: FlavorResource) -> Account:
        """Return the account of a flavor and resource; one without quota when there was none."""
        found = self.accounts.get(key)
        if found is None:
            above = None if self.parent is None else self.parent.account(key)
            kind = Account if above is None else type(above)
            found = self.accounts[key] = kind(self, _NOTHING, above, declared=False)
            found.settle_ceiling()
        return found

    def quota(self, key: FlavorResource) -> Quota:
        """Return the node's own quota, nothing when it has none."""
        return self.quotas.get(key, _NOTHING)

    @property
    def usage(self) -> Amounts:
        """What is used of every pair that was ever used."""
        return {key: one.usage for key, one in self.accounts.items()}

    @property
    def subtree(self) -> Amounts:
        """What the node with all below owns, by declared pair."""
        return {key: one.subtree for key, one in self.accounts.items() if one.declared}

    def available(self, key: FlavorResource) -> int:
        """Return what the node may still take, at least 0."""
        return max(0, self.account(key).free())

    def potential(self, key: FlavorResource) -> int:
        """Return what the node could take if nobody used anything."""
        return self.account(key).ceiling

    def owns(self, requests: Amounts) -> bool:
        """Return whether the requests fit the subtree's quota."""
        return not any(self.account(key).over(amount) for key, amount in requests.items())

    def beyond(self, requests: Amounts) -> Amounts:
        """Return what the parent would have to give of these requests."""
        return {key: max(0, sub(amount, self.account(key).local_free())) for key, amount in requests.items()}

    def within_nominal(self, keys: Iterable[FlavorResource]) -> bool:
        """Return whether the node uses no more than its subtree owns of all these."""
        accounts = self.accounts
        for key in keys:
            account = accounts.get(key)
            if account is not None and account.subtree < account.usage:
                return False
        return True

    def share(self, requests: Mapping[FlavorResource, int] | None = None) -> Share:
        """Return the dominant resource share, with these requests added."""
        if self.parent is None:
            return Share(weight=self.weight)
        by_resource: dict[str, int] = {}
        borrowed = []
        for key, account in self.accounts.items():
            if not account.declared:
                continue
            more = requests.get(key, 0) if requests else 0
            over = sub(add(more, account.usage), account.subtree)
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
    _lendable: dict[str, int] | None = None

    @property
    def root(self) -> Group:
        """The cohort at the top."""
        return self if self.parent is None else self.parent.root

    def height(self) -> int:
        """Return how many levels lie below; 1 for a cohort of queues only. Computed once: the tree is built by then."""
        if self.levels is None:
            lowest = 1 if self.groups or any(queue.active for queue in self.queues) else 0
            self.levels = max([lowest, *(child.height() + 1 for child in self.groups)])
        return self.levels

    def subtree_queues(self) -> Iterator[Node]:
        """Yield every queue below."""
        yield from self.queues
        for child in self.groups:
            yield from child.subtree_queues()

    def lendable(self) -> dict[str, int]:
        """Return by resource what members of this cohort could use at most."""
        if self._lendable is None:
            total: dict[str, int] = {}
            for key, account in self.root.accounts.items():
                if account.declared:
                    total[key[1]] = add(total.get(key[1], 0), self.potential(key))
            self._lendable = total
        return self._lendable


def settle(top: Node) -> None:
    """Make the accounts of a whole tree from the quotas of its nodes."""
    boundless = {
        key
        for node in _nodes(top)
        for key, quota in node.quotas.items()
        if max(quota.nominal, quota.borrowing_limit or 0, quota.lending_limit or 0) >= _LARGE
    }
    _open(top, boundless)
    for node in _nodes(top):
        for account in node.accounts.values():
            account.settle_ceiling()


def _children(node: Node) -> list[Node]:
    return [*node.groups, *node.queues] if isinstance(node, Group) else []


def _nodes(top: Node) -> Iterator[Node]:
    """Yield the nodes of a tree, each before those below it."""
    yield top
    for child in _children(top):
        yield from _nodes(child)


def _open(node: Node, boundless: set[FlavorResource]) -> None:
    """Make a node's accounts, then those below, and sum up what these do not keep."""
    for key, quota in node.quotas.items():
        _declare(node, key, quota, boundless)
    for child in _children(node):
        _open(child, boundless)
        for below in child.accounts.values():
            if below.declared:
                account = below.parent
                assert account is not None
                if not account.declared:
                    account.declared = True
                account.subtree = add(account.subtree, sub(below.subtree, below.local))
    for key, quota in node.quotas.items():
        node.accounts[key].settle(quota.lending_limit)


def _declare(node: Node, key: FlavorResource, quota: Quota, boundless: set[FlavorResource]) -> None:
    kind = BoundlessAccount if key in boundless else Account
    above, chain = None, [*node.path()][::-1]
    for group in chain:
        found = group.accounts.get(key)
        if found is None:
            found = group.accounts[key] = kind(group, _NOTHING, above, declared=False)
        above = found
    node.accounts[key] = kind(node, quota, above, declared=True)


def lowest_fit(queue: Node, key: FlavorResource, amount: int) -> tuple[int, bool]:
    """Return the height of the lowest subtree whose quota holds the amount, and whether something lies above it.

    0 is the queue itself: it does not borrow.
    """
    account = queue.account(key)
    above = account.parent
    if above is None:
        return 0, False
    if account.nominal >= add(account.usage, amount):
        return 0, True
    rest = sub(amount, account.local_free())
    while True:
        group = above.node
        assert isinstance(group, Group)
        if not above.over(rest) or above.parent is None:
            fits = not above.over(rest)
            return group.height(), fits and above.parent is not None
        rest = sub(rest, above.local_free())
        above = above.parent
