"""Preemption for the cycle and for flavor assignment: targets for an assignment, and what one flavor could yield.

The trap: the search for one flavor ignores the others that a workload needs, so its answer is a hint; the targets for
the whole assignment decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dure.core.queueing.kueue.assignment import CAN_PREEMPT, CAN_RECLAIM, NO_CANDIDATES, Assignment
from dure.core.queueing.kueue.candidates import BY_SHARE, IN_COHORT, IN_QUEUE, WHILE_BORROWING, Attack, Target
from dure.core.queueing.kueue.classical import classical_targets, futile
from dure.core.queueing.kueue.fair import fair_targets
from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.objects import Amounts, FlavorResource, Settings, Workload
from dure.core.queueing.kueue.placing import asks_of, find
from dure.core.queueing.kueue.quantity import add
from dure.core.queueing.kueue.snapshot import QueueNode, Snapshot
from dure.core.queueing.kueue.topology import Unplaced
from dure.core.queueing.kueue.tree import Node, lowest_fit

WORDS = {
    IN_QUEUE: "prioritization in the ClusterQueue",
    IN_COHORT: "reclamation within the cohort",
    BY_SHARE: "Fair Sharing within the cohort",
    WHILE_BORROWING: "reclamation within the cohort while borrowing",
}
"""What each preemption reason is called in messages."""

JOB_UID = "kueue.x-k8s.io/job-uid"


@dataclass(slots=True)
class Preemptor:
    """Finds targets on one snapshot, by fair sharing or classically as the settings say.

    A search that is asked twice in a row is done once; whoever changes the snapshot in between calls `forget`.
    """

    snapshot: Snapshot
    settings: Settings
    now_ns: int
    _last: tuple[Info, Amounts, frozenset[FlavorResource], list[Target]] | None = None

    def forget(self) -> None:
        """Search anew whatever is asked next."""
        self._last = None

    def targets(self, info: Info, assignment: Assignment, replaced: Info | None = None) -> list[Target]:
        """Return whom to preempt for an assignment; a replaced slice of the workload counts as its own."""
        needs = requests_for(info, assignment, replaced)
        queue = self.snapshot.queues[info.queue]
        if self.futile(queue, info, needs):
            return []
        placing: Callable[[], bool] | None = None
        if queue.places and self.settings.gates.topology:
            asks = asks_of(assignment, info, queue, self.settings, replaced)
            if asks:
                placing = lambda: not isinstance(find(queue, asks, self.settings), Unplaced)  # noqa: E731 - one question

        return self._search(info, needs, frozenset(assignment.needing_preemption()), placing)

    def possibility(self, queue: QueueNode, info: Info, key: FlavorResource, amount: int) -> tuple[int, int]:
        """Return what preemption could do for one flavor and resource, and the borrowing level afterwards."""
        needs = {key: amount}
        targets = [] if self.futile(queue, info, needs) else self._search(info, needs, frozenset(needs))
        if not targets:
            return NO_CANDIDATES, lowest_fit(queue, key, amount)[0]
        infos = [target.info for target in targets]
        self.snapshot.give_all(infos)
        borrow = lowest_fit(queue, key, amount)[0]
        self.snapshot.take_all(infos)
        own = any(one.queue == queue.name for one in infos)
        return (CAN_PREEMPT if own else CAN_RECLAIM), borrow

    def futile(self, queue: QueueNode, info: Info, needs: Amounts) -> bool:
        """Return whether the accounts, and who ranks lowest in the queue, tell that nobody can be preempted."""
        return not queue.preempts or (not self.settings.fair_sharing and futile(queue, info, needs))

    def _search(
        self,
        info: Info,
        needs: Amounts,
        scarce: frozenset[FlavorResource],
        placing: Callable[[], bool] | None = None,
    ) -> list[Target]:
        queue = self.snapshot.queues[info.queue]
        last = self._last
        if placing is None and last is not None and last[0] is info and last[1] == needs and last[2] == scarce:
            return list(last[3])
        attack = Attack(
            info=info,
            queue=queue,
            snapshot=self.snapshot,
            needs=needs,
            scarce=scarce,
            settings=self.settings,
            now_ns=self.now_ns,
            placing=placing,
        )
        found = fair_targets(attack) if self.settings.fair_sharing else classical_targets(attack)
        self._last = (info, needs, scarce, found)
        return list(found)


def requests_for(info: Info, assignment: Assignment, replaced: Info | None = None) -> Amounts:
    """Return what a workload requests of the assigned flavors. The number of pods, which Kueue adds, is not in it."""
    total: Amounts = {}
    for index, (one, chosen) in enumerate(zip(info.requests, assignment.pod_sets, strict=False)):
        before = replaced.requests[index].count if replaced is not None and index < len(replaced.requests) else 0
        count = chosen.count if replaced is None else one.count - before
        for resource, amount in one.scaled(count).amounts.items():
            choice = chosen.flavors.get(resource)
            if amount and choice is not None:
                key = (choice.flavor, resource)
                total[key] = add(total.get(key, 0), amount)
    return total


def path_text(queue: Node) -> str:
    """Return the way from the root cohort to the queue, for instance `/company/team/queue`."""
    names = [queue.name, *(group.name for group in queue.path())]
    return "/" + "/".join(reversed(names))


def preemption_message(preemptor: Workload, reason: str, own_path: str, target_path: str) -> str:
    """Return what a preempted workload is told."""
    return (
        f"Preempted to accommodate a workload (UID: {preemptor.uid or 'UNKNOWN'}, "
        f"JobUID: {preemptor.labels.get(JOB_UID) or 'UNKNOWN'}) due to {WORDS.get(reason, 'UNKNOWN')}; "
        f"preemptor path: {own_path}; preemptee path: {target_path}"
    )
