"""Classical preemption: reclaim along the hierarchy, by priority, and within the queue.

Greedy: candidates leave in order until the preemptor fits, then those that were not needed return. The trap: whether
a candidate's queue still borrows is asked again for each, because the ones before may have ended it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cmp_to_key

from dure.core.queueing.kueue.candidates import (
    IN_COHORT,
    IN_QUEUE,
    WHILE_BORROWING,
    Attack,
    Target,
    compare,
    eligible,
    place_of,
)
from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.memory import bar_of
from dure.core.queueing.kueue.objects import Amounts
from dure.core.queueing.kueue.snapshot import QueueNode
from dure.core.queueing.kueue.tree import Group, Node


@dataclass(frozen=True, slots=True)
class _Candidate:
    info: Info
    common: Group | None
    reason: str
    only_within_nominal: bool = False


def _of_queue(attack: Attack, queue: QueueNode, common: Group, *, advantage: bool) -> list[_Candidate]:
    policy = attack.queue.spec.preemption
    found = []
    for info in eligible(attack, queue.workloads.values(), policy.reclaim):
        if advantage:
            found.append(_Candidate(info, common, IN_COHORT))
            continue
        threshold = policy.borrow_max_priority
        above = info.priority >= attack.info.priority or (threshold is not None and info.priority > threshold)
        if policy.borrow_forbidden or above:
            found.append(_Candidate(info, common, IN_COHORT, only_within_nominal=True))
        else:
            found.append(_Candidate(info, common, WHILE_BORROWING))
    return found


def _collect(attack: Attack, group: Group, common: Group, skip: Group | None, *, advantage: bool) -> list[_Candidate]:
    found: list[_Candidate] = []
    for child in group.groups:
        if child is not skip and not child.within_nominal(attack.scarce):
            found += _collect(attack, child, common, skip, advantage=advantage)
    for queue in group.queues:
        if queue is not attack.queue and queue.active and not queue.within_nominal(attack.scarce):
            assert isinstance(queue, QueueNode)
            found += _of_queue(attack, queue, common, advantage=advantage)
    return found


def _levels(queue: QueueNode, needs: Amounts) -> Iterator[tuple[Group, bool]]:
    """Yield the cohorts above, and of each whether the preemptor ends within the quota of a subtree below it."""
    node: Node = queue
    advantage, rest = queue.owns(needs), needs
    for group in queue.path():
        yield group, advantage
        if group.parent is not None:
            node, rest = group, node.beyond(rest)
            advantage = advantage or group.owns(rest)


def _of_cohort(attack: Attack, *, all_of_them: bool) -> tuple[list[_Candidate], list[_Candidate]]:
    """Return the candidates whom the hierarchy gives to the preemptor, and, if asked for all, those of priority."""
    hierarchical: list[_Candidate] = []
    by_priority: list[_Candidate] = []
    if attack.queue.parent is None or attack.queue.spec.preemption.reclaim == "Never":
        return hierarchical, by_priority
    before: Group | None = None
    for group, advantage in _levels(attack.queue, attack.needs):
        if advantage or all_of_them:
            found = hierarchical if advantage else by_priority
            found += _collect(attack, group, group, before, advantage=advantage)
        before = group
    return hierarchical, by_priority


def _valid(attack: Attack, candidate: _Candidate, *, borrowing: bool) -> bool:
    if candidate.info.queue == attack.queue.name:
        return True
    if borrowing and candidate.only_within_nominal:
        return False
    queue = attack.snapshot.queues[candidate.info.queue]
    if queue.within_nominal(attack.scarce):
        return False
    for group in queue.path():
        if group is candidate.common:
            break
        if group.within_nominal(attack.scarce):
            return False
    return True


def _attempts(attack: Attack, *, foreign: bool, hierarchical: bool) -> tuple[bool, ...]:
    """Return whether the preemptor may borrow, for each attempt in turn."""
    forbidden = attack.queue.spec.preemption.borrow_forbidden
    under = all(attack.queue.quota(key).nominal > attack.queue.account(key).usage for key in attack.scarce)
    if not foreign or (forbidden and not under):
        return (True,)
    if forbidden and not hierarchical:
        return False, True
    return True, False


def _fits_alone(queue: QueueNode, needs: Amounts, own: Sequence[_Candidate] = ()) -> bool:
    """Return whether the preemptor could stay within its queue's own quota, were all its queue's candidates gone."""
    for key, amount in needs.items():
        account = queue.account(key)
        leaving = sum([one.info.usage.get(key, 0) for one in own]) if own else 0
        if account.nominal < account.usage - leaving + amount:
            return False
    return True


def futile(queue: QueueNode, info: Info, needs: Amounts) -> bool:
    """Return whether priorities and quotas alone tell that nobody can be preempted; False where one must search."""
    policy = queue.spec.preemption
    if queue.lowest_priority() < bar_of(queue, info):
        return False
    if queue.parent is None or policy.reclaim == "Never":
        return True
    if not policy.borrow_forbidden or _fits_alone(queue, needs):
        return False
    return not reclaims(queue, needs)


def reclaims(queue: QueueNode, needs: Amounts) -> bool:
    """Return whether the preemptor ends within the quota of a subtree, as usage is, and so may reclaim."""
    return any(advantage for _, advantage in _levels(queue, needs))


def _sorted(attack: Attack, found: list[_Candidate]) -> list[_Candidate]:
    if len(found) < 2:
        return found
    if attack.settings.usage_sharing:

        def ordering(left: _Candidate, right: _Candidate) -> int:
            return compare(left.info, right.info, attack.queue.name, attack.now_ns, by_usage=True)

        return sorted(found, key=cmp_to_key(ordering))
    return sorted(found, key=lambda one: place_of(one.info, attack.queue.name, attack.now_ns))


def classical_targets(attack: Attack) -> list[Target]:
    """Return whom to preempt so that the preemptor fits; empty when nobody suffices. The snapshot ends as it was."""
    own: list[_Candidate] = []
    preemption = attack.queue.spec.preemption
    policy = preemption.within_queue
    if policy != "Never":
        own = [_Candidate(info, None, IN_QUEUE) for info in eligible(attack, attack.queue.workloads.values(), policy)]
    # Without leave to borrow, others' workloads help by priority only if the preemptor ends within its own quota.
    alone = _fits_alone(attack.queue, attack.needs, own)
    hierarchical, by_priority = _of_cohort(attack, all_of_them=alone or not preemption.borrow_forbidden)
    if not (own or hierarchical or by_priority):
        return []
    lists = [_sorted(attack, one) for one in (hierarchical, by_priority, own)]
    candidates = [one for some in lists for one in some if one.info.evicted]
    candidates += [one for some in lists for one in some if not one.info.evicted]
    foreign = bool(hierarchical or by_priority)
    for borrowing in _attempts(attack, foreign=foreign, hierarchical=bool(hierarchical)):
        if not borrowing and not alone:
            continue
        attack.targets = []
        for candidate in candidates:
            if not _valid(attack, candidate, borrowing=borrowing):
                continue
            attack.remove(candidate.info, candidate.reason)
            if attack.fits(borrowing=borrowing):
                attack.fill_back(borrowing=borrowing)
                attack.restore()
                return attack.targets
        attack.restore()
    return []
