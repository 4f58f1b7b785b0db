"""Who may be preempted, and in which order: the policies and the ordering that both kinds of preemption share.

The trap: a candidate that already is evicted comes first, whatever its priority, because it leaves anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.objects import Amounts, FlavorResource, Settings, Workload
from dure.core.queueing.kueue.snapshot import QueueNode, Snapshot

IN_QUEUE = "InClusterQueue"
IN_COHORT = "InCohortReclamation"
BY_SHARE = "InCohortFairSharing"
WHILE_BORROWING = "InCohortReclaimWhileBorrowing"

EPSILON_NS = 10**6


@dataclass(frozen=True, slots=True)
class Target:
    """A workload that is to be preempted, and why."""

    info: Info
    reason: str


@dataclass(slots=True)
class Attack:
    """One search for targets: who preempts, what it needs, and of what preemption must free some.

    `placing` tells whether its pods find places in their topologies as the snapshot is.
    """

    info: Info
    queue: QueueNode
    snapshot: Snapshot
    needs: Amounts
    scarce: frozenset[FlavorResource]
    settings: Settings
    now_ns: int
    placing: Callable[[], bool] | None = None
    targets: list[Target] = field(default_factory=list)

    def fits(self, *, borrowing: bool = True) -> bool:
        """Return whether the preemptor fits now."""
        for key, amount in self.needs.items():
            if not borrowing and self.queue.quota(key).nominal < self.queue.account(key).usage + amount:
                return False
            if amount > self.queue.available(key):
                return False
        room = self.snapshot.room
        if room is not None and not room(self.info, self.needs, self.targets):
            return False
        return self.placing is None or self.placing()

    def remove(self, info: Info, reason: str) -> None:
        """Take a workload out of the snapshot as a target."""
        self.snapshot.remove(info)
        self.targets.append(Target(info, reason))

    def restore(self) -> None:
        """Put all targets back."""
        for target in self.targets:
            self.snapshot.insert(target.info)

    def fill_back(self, *, borrowing: bool) -> None:
        """Drop the targets that turn out not to be needed, latest first; the last one always is."""
        targets = self.targets
        for index in range(len(targets) - 2, -1, -1):
            self.snapshot.insert(targets[index].info)
            if self.fits(borrowing=borrowing):
                targets[index] = targets[-1]
                targets.pop()
            else:
                self.snapshot.remove(targets[index].info)


def queue_time(workload: Workload, settings: Settings) -> int:
    """Return the time that a workload queues by: its creation, or a later eviction that was not its fault."""
    if not workload.conditions:
        return workload.created_ns
    evicted = workload.condition("Evicted")
    if evicted is not None and evicted.status:
        if evicted.reason == "PodsReadyTimeout" and settings.order_by_eviction:
            return evicted.at_ns
        if evicted.reason == "AdmissionCheck":
            return evicted.at_ns
    if not settings.gates.priority_sorting_within_cohort:
        preempted = workload.condition("Preempted")
        if preempted is not None and preempted.status and preempted.reason == WHILE_BORROWING:
            return preempted.at_ns + EPSILON_NS
    return workload.created_ns


def satisfies(policy: str, preemptor: Info, candidate: Info, settings: Settings) -> bool:
    """Return whether the policy lets the preemptor take the candidate's place."""
    lower = preemptor.priority > candidate.priority
    if policy == "LowerPriority":
        return lower
    if policy == "LowerOrNewerEqualPriority":
        same = preemptor.priority == candidate.priority
        return lower or (same and queue_time(preemptor.workload, settings) < queue_time(candidate.workload, settings))
    return policy == "Any"


def reserved_at(info: Info, now_ns: int) -> int:
    """Return when the workload got its quota; now when it has none."""
    return now_ns if info.reserved_ns is None else info.reserved_ns


def compare(left: Info, right: Info, queue: str, now_ns: int, *, by_usage: bool) -> int:
    """Return a negative number when the left candidate goes first, for a preemptor of the queue."""
    if left.evicted != right.evicted:
        return -1 if left.evicted else 1
    if (left.queue == queue) != (right.queue == queue):
        return 1 if left.queue == queue else -1
    if by_usage and left.queue == right.queue and left.workload.queue != right.workload.queue:
        mine, other = left.local_usage, right.local_usage
        if mine is not None and other is not None and mine != other:
            return -1 if mine > other else 1
    first = (left.priority, -reserved_at(left, now_ns), left.workload.uid)
    second = (right.priority, -reserved_at(right, now_ns), right.workload.uid)
    return (first > second) - (first < second)


def place_of(info: Info, queue: str, now_ns: int) -> tuple[object, ...]:
    """Return the place of a candidate in the order of `compare`, where local queues do not count."""
    reserved = now_ns if info.reserved_ns is None else info.reserved_ns
    return not info.evicted, info.queue == queue, info.priority, -reserved, info.workload.uid


def eligible(attack: Attack, candidates: Iterable[Info], policy: str) -> list[Info]:
    """Return the candidates that the policy allows and that hold something scarce."""
    if policy == "LowerPriority":
        priority = attack.info.priority
        return [info for info in candidates if info.priority < priority and info.uses(attack.scarce)]
    return [
        info
        for info in candidates
        if satisfies(policy, attack.info, info, attack.settings) and info.uses(attack.scarce)
    ]
