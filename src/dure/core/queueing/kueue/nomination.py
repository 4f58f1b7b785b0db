"""What a head is nominated with: the assignment of flavors, and whom it would preempt.

Changes the snapshot only while it searches and leaves it as it was. The trap: what is remembered is shared by all
workloads of a shape, so an assignment that it gave is not changed by anyone; `replace` makes one's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dure.core.queueing.kueue.assigner import Assigner, Oracle
from dure.core.queueing.kueue.assignment import FIT, PREEMPT, Assignment
from dure.core.queueing.kueue.candidates import Target
from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.memory import Asked, Memory, Question, Remembered
from dure.core.queueing.kueue.objects import FlavorResource, Settings
from dure.core.queueing.kueue.partial import search
from dure.core.queueing.kueue.placing import place_after
from dure.core.queueing.kueue.preemption import Preemptor, requests_for
from dure.core.queueing.kueue.second import lost_a_node
from dure.core.queueing.kueue.snapshot import QueueNode, Snapshot

Nomination = tuple[Assignment, list[Target]]


@dataclass(slots=True)
class Nominator:
    """Nominates the heads of one cycle."""

    snapshot: Snapshot
    settings: Settings
    now_ns: int
    number: int
    memory: Memory
    preemptor: Preemptor = field(init=False)

    def __post_init__(self) -> None:
        self.preemptor = Preemptor(self.snapshot, self.settings, self.now_ns)

    def nominate(self, info: Info, queue: QueueNode) -> Nomination:
        """Return the assignment and its targets: of all pods if that may be, else of as many as may be."""
        if info.progress is not None and self._outdated(info, queue):
            info.progress = None
        replaced = None if info.workload.replaces is None else self._replaced(info, queue)
        full, hunts = self._full(info, queue, replaced)
        if replaced is None and not (hunts or info.shrinks or queue.places):
            return full, []
        assignment, targets = self._with_targets(info, queue, full, replaced, hunts=hunts)
        if replaced is not None and (targets or assignment.mode == FIT):
            targets = [Target(replaced, ""), *targets]
        mends = lost_a_node(info.workload)
        if queue.places and assignment.mode == PREEMPT and self.settings.gates.topology and not mends:
            self._reserve_places(info, queue, assignment, targets)
        return assignment, targets

    def again(self, info: Info, queue: QueueNode, assignment: Assignment) -> Nomination:
        """Return a nomination in the snapshot as it is now, held to the flavors of the one before."""
        self.preemptor.forget()
        info.progress = None
        info.nominated = {
            one.name: {resource: choice.flavor for resource, choice in one.flavors.items()}
            for one in assignment.pod_sets
        }
        found = self.nominate(info, queue)
        info.nominated = {}
        return found

    def _outdated(self, info: Info, queue: QueueNode) -> bool:
        progress = info.progress
        assert progress is not None
        if self.settings.gates.preserve_scan_progress:
            if progress.shape is not None and info.shape is not None and progress.shape != info.shape:
                return True
            if self.number - progress.cycle <= 1:
                return False
        return queue.generation > progress.generation

    def _replaced(self, info: Info, queue: QueueNode) -> Info | None:
        if not self.settings.gates.elastic_slices:
            return None
        found = queue.workloads.get(info.workload.replaces or "")
        return found if found is not None and found.workload.namespace == info.workload.namespace else None

    def _full(self, info: Info, queue: QueueNode, replaced: Info | None) -> tuple[Assignment, bool]:
        """Return the assignment of all pods and whether it hunts, from memory if the same was asked in this state."""
        plain = info.progress is None and not info.nominated and replaced is None
        known = (queue.remembered.get(info.shape) or self.memory.begin(queue, info)) if plain else None
        if known is None:
            full = self._assigner(info, queue, replaced, self.preemptor.possibility).assign()
            return full, full.mode == PREEMPT and queue.preempts
        state = known.state()
        found = known.known.get(state)
        while type(found) is Question:
            found = found.after.get(self.preemptor.possibility(queue, info, found.key, found.amount))
        if found is None:
            return self._computed(info, queue, known, state)
        full, hunts = found
        progress = full.resumable
        if progress is not None:
            full = replace(full, progress=replace(progress, generation=queue.generation, cycle=self.number))
        return full, hunts

    def _computed(
        self, info: Info, queue: QueueNode, known: Remembered, state: tuple[int, ...]
    ) -> tuple[Assignment, bool]:
        asked: list[Asked] = []

        def oracle(queue: QueueNode, info: Info, key: FlavorResource, amount: int) -> tuple[int, int]:
            answer = self.preemptor.possibility(queue, info, key, amount)
            if not self.preemptor.futile(queue, info, {key: amount}):
                asked.append((key, amount, answer))
            return answer

        full = self._assigner(info, queue, None, oracle).assign()
        hunts = full.mode == PREEMPT and not self.preemptor.futile(queue, info, requests_for(info, full))
        self.memory.keep(known, state, asked, (full, hunts))
        return full, hunts

    def _assigner(self, info: Info, queue: QueueNode, replaced: Info | None, oracle: Oracle) -> Assigner:
        return Assigner(info, queue, self.snapshot.flavors, oracle, self.settings, self.number, replaced)

    def _with_targets(
        self, info: Info, queue: QueueNode, full: Assignment, replaced: Info | None, *, hunts: bool
    ) -> Nomination:
        targets = self.preemptor.targets(info, full, replaced) if hunts else []
        if targets:
            return full, targets
        if full.mode != FIT and info.shrinks and self.settings.gates.partial_admission:
            smaller = self._smaller(info, queue, replaced)
            if smaller is not None:
                return smaller
        return full, []

    def _smaller(self, info: Info, queue: QueueNode, replaced: Info | None) -> Nomination | None:
        assigner = self._assigner(info, queue, replaced, self.preemptor.possibility)

        def fits(counts: list[int]) -> Nomination | None:
            smaller = assigner.assign(counts)
            if smaller.mode == FIT:
                return smaller, []
            found = self.preemptor.targets(info, smaller, replaced) if smaller.mode == PREEMPT else []
            return (smaller, found) if found else None

        return search(info.workload.pod_sets, fits)

    def _reserve_places(self, info: Info, queue: QueueNode, assignment: Assignment, targets: Sequence[Target]) -> None:
        infos = [target.info for target in targets]
        self.snapshot.give_all(infos)
        place_after(assignment, info, queue, self.settings, leaving=bool(infos))
        self.snapshot.take_all(infos)
