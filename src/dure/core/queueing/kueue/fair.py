"""Preemption by fair sharing: who has the largest weighted share gives first.

The trap: the order is computed anew after every removal, from the shares as they are then; and the preemptor's own
usage is counted while it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cmp_to_key

from dure.core.queueing.kueue.candidates import (
    BY_SHARE,
    IN_COHORT,
    IN_QUEUE,
    Attack,
    Target,
    compare,
    eligible,
    place_of,
)
from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.snapshot import QueueNode
from dure.core.queueing.kueue.tree import LOWEST_SHARE, Group, Node, Share

FINAL_SHARE = "LessThanOrEqualToFinalShare"


class QueueOrder:
    """Yields the queue to take a candidate from next: the largest share from the root down, cohorts before queues."""

    def __init__(self, preemptor: QueueNode, candidates: Sequence[Info], now_ns: int) -> None:
        self.preemptor = preemptor
        self.now_ns = now_ns
        self._ancestors = set(preemptor.path())
        self._pruned: set[Node] = set()
        self.waiting: dict[str, list[Info]] = {}
        for info in candidates:
            self.waiting.setdefault(info.queue, []).append(info)

    def pop(self, queue: Node) -> Info:
        """Return the queue's next candidate and forget it."""
        return self.waiting[queue.name].pop(0)

    def has_candidate(self, queue: Node) -> bool:
        """Return whether the queue has candidates left."""
        return bool(self.waiting.get(queue.name))

    def drop(self, queue: Node) -> None:
        """Take nothing more from the queue."""
        self._pruned.add(queue)

    def __iter__(self) -> Iterator[QueueNode]:
        own = self.preemptor
        if own.parent is None:
            while own not in self._pruned and self.has_candidate(own):
                yield own
            return
        root = own.parent.root
        while root not in self._pruned:
            queue = self._next(root)
            if queue is not None:
                assert isinstance(queue, QueueNode)
                yield queue

    def _next(self, group: Group) -> Node | None:
        queue, queue_share = self._highest_queue(group)
        child, child_share = self._highest_group(group)
        if child is None and queue is None:
            self._pruned.add(group)
            return None
        if child is not None and child_share.order >= queue_share.order:
            return self._next(child)
        return queue

    def _highest_queue(self, group: Group) -> tuple[Node | None, Share]:
        best: Node | None = None
        best_share = LOWEST_SHARE
        for queue in group.queues:
            if queue in self._pruned:
                continue
            share = queue.share()
            if (not share.borrowing and queue is not self.preemptor) or not self.has_candidate(queue):
                self._pruned.add(queue)
            elif best is not None and share.order == best_share.order:
                mine, other = self.waiting[queue.name][0], self.waiting[best.name][0]
                if compare(mine, other, self.preemptor.name, self.now_ns, by_usage=False) < 0:
                    best = queue
            elif share.order > best_share.order:
                best, best_share = queue, share
        return best, best_share

    def _highest_group(self, group: Group) -> tuple[Group | None, Share]:
        best: Group | None = None
        best_share = LOWEST_SHARE
        for child in group.groups:
            if child in self._pruned:
                continue
            share = child.share()
            if not share.borrowing and child not in self._ancestors:
                self._pruned.add(child)
            elif share.order >= best_share.order:
                best, best_share = child, share
        return best, best_share

    def rivals(self, target: QueueNode) -> tuple[Node, Node]:
        """Return the nodes of preemptor and target right below the cohort that they share."""
        common = next(group for group in target.path() if group in self._ancestors)
        return _below(self.preemptor, common), _below(target, common)


def _below(queue: Node, common: Group) -> Node:
    node = queue
    while node.parent is not common:
        assert node.parent is not None
        node = node.parent
    return node


def _fits(attack: Attack) -> bool:
    attack.queue.give(attack.needs)
    fits = attack.fits()
    attack.queue.take(attack.needs)
    return fits


def _share_without(rival: Node, target: QueueNode, info: Info) -> Share:
    target.give(info.usage)
    share = rival.share()
    target.take(info.usage)
    return share


def _hopeless(mine: Share, theirs: Share) -> bool:
    return mine.weighted == float("inf") and theirs.weighted != float("inf")


def _first_pass(attack: Attack, candidates: list[Info], strategy: str) -> tuple[bool, list[Info]]:
    order = QueueOrder(attack.queue, candidates, attack.now_ns)
    retry: list[Info] = []
    within_nominal = attack.settings.gates.fair_sharing_preempt_within_nominal and attack.queue.within_nominal(
        attack.scarce
    )
    for target in order:
        if target is attack.queue or within_nominal:
            attack.remove(order.pop(target), IN_QUEUE if target is attack.queue else IN_COHORT)
            if _fits(attack):
                return True, retry
            continue
        own, rival = order.rivals(target)
        mine, theirs = own.share(), rival.share()
        while order.has_candidate(target):
            info = order.pop(target)
            if _hopeless(mine, theirs):
                retry.append(info)
                continue
            after = _share_without(rival, target, info)
            passed = mine.order <= after.order if strategy == FINAL_SHARE else mine.order < theirs.order
            if passed:
                attack.remove(info, BY_SHARE)
                if _fits(attack):
                    return True, retry
                break
            retry.append(info)
    return False, retry


def _second_pass(attack: Attack, candidates: list[Info]) -> bool:
    order = QueueOrder(attack.queue, candidates, attack.now_ns)
    for target in order:
        own, rival = order.rivals(target)
        info = order.pop(target)
        if own.share().order < rival.share().order:
            attack.remove(info, BY_SHARE)
            if _fits(attack):
                return True
        order.drop(target)
    return False


def fair_targets(attack: Attack) -> list[Target]:
    """Return whom to preempt so that the preemptor fits; empty when nobody suffices. The snapshot ends as it was."""
    policy = attack.queue.spec.preemption
    candidates: list[Info] = []
    if policy.within_queue != "Never":
        candidates += eligible(attack, attack.queue.workloads.values(), policy.within_queue)
    if attack.queue.parent is not None and policy.reclaim != "Never":
        for queue in attack.queue.parent.root.subtree_queues():
            assert isinstance(queue, QueueNode)
            if queue is not attack.queue and queue.active and not queue.within_nominal(attack.scarce):
                candidates += eligible(attack, queue.workloads.values(), policy.reclaim)
    if not candidates:
        return []
    name, now_ns = attack.queue.name, attack.now_ns
    if attack.settings.usage_sharing:
        candidates.sort(key=cmp_to_key(lambda a, b: compare(a, b, name, now_ns, by_usage=True)))
    else:
        candidates.sort(key=lambda info: place_of(info, name, now_ns))
    attack.queue.take(attack.needs)
    strategies = attack.settings.strategies
    fits, retry = _first_pass(attack, candidates, strategies[0])
    if not fits and len(strategies) > 1:
        fits = _second_pass(attack, retry)
    attack.queue.give(attack.needs)
    if not fits:
        attack.restore()
        return []
    attack.fill_back(borrowing=True)
    attack.restore()
    return attack.targets
