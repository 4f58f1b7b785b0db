"""One scheduling cycle: nominate the heads on one snapshot, then accept them one by one.

Changes the snapshot while it works and leaves only the accepted workloads in it. The trap: a head is nominated on the
snapshot before anyone of this cycle was accepted, and checked again when its turn comes; a head that waits for its
victims keeps what it needs reserved for the rest of the cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dure.core.copies import altered
from dure.core.queueing.kueue import entries as states
from dure.core.queueing.kueue import pending
from dure.core.queueing.kueue.assignment import DEFERRED_FIT, FIT, NO_FIT, PREEMPT, Held
from dure.core.queueing.kueue.entries import Entry
from dure.core.queueing.kueue.infos import Info, Placed, Requests, placed_of, usage_of
from dure.core.queueing.kueue.matching import selector_holds
from dure.core.queueing.kueue.memory import Memory
from dure.core.queueing.kueue.nomination import Nominator
from dure.core.queueing.kueue.objects import Admission, Amounts, PodSetAdmission, Settings, Workload
from dure.core.queueing.kueue.ordering import in_order
from dure.core.queueing.kueue.placing import levels_of, placed_in
from dure.core.queueing.kueue.quantity import add, sub
from dure.core.queueing.kueue.second import lost_a_node, no_replacement
from dure.core.queueing.kueue.snapshot import QueueNode, Snapshot

OVERLAP = "Workload has overlapping preemption targets with another workload"

NOT_READY = "waiting for all admitted workloads to be in PodsReady condition"


@dataclass(slots=True)
class Refused:
    """A head that could not be nominated at all."""

    info: Info
    message: str
    reason: str
    requeue: str = pending.GENERIC


@dataclass(slots=True)
class CycleResult:
    """What a cycle decided. `skipped` counts preemptions not issued and `recomputed` searches repeated, per queue."""

    entries: list[Entry]
    refused: list[Refused]
    skipped: dict[str, int] = field(default_factory=dict)
    recomputed: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Cycle:
    """A cycle over a snapshot. `namespaces` are labels by name; `admit` takes an accepted head, False if it failed.

    `placeable` is asked before a head is accepted or preempts; it may set the entry's message to say why not.
    `ready` tells whether the pods of all admitted workloads are, which matters where admission is blocked until then.
    """

    snapshot: Snapshot
    settings: Settings
    now_ns: int
    number: int = 0
    namespaces: Mapping[str, Mapping[str, str]] | None = None
    admit: Callable[[Entry], bool] = lambda _entry: True
    placeable: Callable[[Entry], bool] | None = None
    ready: bool = True
    memory: Memory = field(default_factory=Memory)
    nominator: Nominator = field(init=False)
    _selective: bool = True
    _victims: dict[str, Info] = field(default_factory=dict)
    _reserved: list[tuple[QueueNode, Amounts, tuple[Placed, ...]]] = field(default_factory=list)
    _replaced_slices: list[Info] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nominator = Nominator(self.snapshot, self.settings, self.now_ns, self.number, self.memory)

    def run(self, heads: Sequence[tuple[Info, bool]]) -> CycleResult:
        """Return what becomes of the heads (with whether each is a preemptor whose victims still leave)."""
        self.snapshot.share_places()
        result = CycleResult([], [])
        known = self.snapshot.queues.keys() - self.snapshot.inactive if self.snapshot.inactive else self.snapshot.queues
        self._selective = self.namespaces is not None or any(info.queue not in known for info, _ in heads)
        hopeful = False
        for info, preemptor in heads:
            hopeful |= self._nominate(info, preemptor, result)
        if hopeful:
            self._take_turns(result)
        return result

    def _take_turns(self, result: CycleResult) -> None:
        turns: Iterable[Entry] = in_order(result.entries, self.settings)
        if not self.settings.fair_sharing:
            turns = self._mattering(result.entries)
        for entry in turns:
            self._process(entry, result)
        self.snapshot.take_all(self._replaced_slices)
        for node, usage, placed in reversed(self._reserved):
            node.give(usage)
            self.snapshot.settle_places(placed, -1)
        self._reserved.clear()
        self._replaced_slices.clear()
        for entry in result.entries:
            if not entry.waits and entry.status != states.NOT_NOMINATED and entry.requeue == pending.GENERIC:
                entry.requeue = pending.FAILED_AFTER_NOMINATION

    def _mattering(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return in their order the heads that may be accepted, and of those that wait the ones that keep something.

        After the last that may be accepted there is nobody from whom anything could be kept.
        """
        turns = [*in_order([one for one in entries if not one.waits or self._keeps(one)], self.settings)]
        while turns[-1].waits:
            turns.pop()
        return turns

    def _nominate(self, info: Info, preemptor: bool, result: CycleResult) -> bool:  # noqa: FBT001 - one fact of a head
        """Return whether the head may be accepted."""
        workload = info.workload
        if self._selective or workload.checks or info.problem:
            refusal = self._refusal(info)
            if refusal is not None:
                result.refused.append(refusal)
                return False
        info.evaluated_generation = workload.generation
        node = self.snapshot.queues[info.queue]
        assignment, targets = self.nominator.nominate(info, node)
        entry = Entry(info, node, assignment, targets, assignment.message, preemptor)
        info.progress = assignment.resumable
        if not (node.places or workload.unhealthy or self.settings.gates.concurrent_admission):
            entry.waits = self._refused(entry)
        result.entries.append(entry)
        return not entry.waits

    def _refusal(self, info: Info) -> Refused | None:
        checks = info.workload.checks
        if checks and any(check.state in {"Retry", "Rejected"} for check in checks):
            return Refused(info, "The workload has failed admission checks", "PendingEvaluation")
        if info.queue in self.snapshot.inactive:
            return Refused(info, f"ClusterQueue {info.queue} is inactive", "Suspended")
        node = self.snapshot.queues.get(info.queue)
        if node is None:
            return Refused(info, f"ClusterQueue {info.queue} not found", "Misconfigured")
        if self.namespaces is not None:
            name = info.workload.namespace
            labels = self.namespaces.get(name)
            if labels is None:
                message = f'workload namespace "{name}" does not exist: namespaces "{name}" not found'
                return Refused(info, message, "Misconfigured")
            if not selector_holds(node.spec.namespace_selector, labels):
                message = "workload namespace doesn't match ClusterQueue selector"
                return Refused(info, message, "Misconfigured", pending.NAMESPACE_MISMATCH)
        if info.problem:
            return Refused(info, info.problem, "Misconfigured")
        return None

    def _refused(self, entry: Entry) -> bool:
        """Return whether a head has neither quota nor victims, and tell it so."""
        mode = entry.assignment.mode
        if mode == NO_FIT:
            entry.requeue, entry.reason = pending.NO_FIT, entry.assignment.no_fit_reason
            return True
        if mode == PREEMPT and not entry.targets:
            entry.requeue, entry.reason = pending.NO_CANDIDATES, "WaitingForQuota"
            return True
        return False

    def _process(self, entry: Entry, result: CycleResult) -> None:
        if self.settings.gates.concurrent_admission and self._better_sibling_runs(entry):
            self._skip(entry, "A more favorable variant is already admitted", "PendingEvaluation")
            return
        if entry.waits:
            self._reserve_blocked(entry)
            return
        fits = self._recheck(entry, result)
        mode = entry.assignment.mode
        if mode != FIT and self.settings.gates.replacement_fail_fast and lost_a_node(entry.info.workload):
            entry.status, entry.message = states.EVICTED, no_replacement(entry.info.workload)
        elif self._refused(entry):
            self._reserve_blocked(entry)
        elif mode == PREEMPT and self._gated(entry.info.workload):
            entry.status, entry.reason = states.GATED, "AdmissionGated"
            entry.message, entry.requeue = "Workload requires preemption, but it's gated", pending.PREEMPTION_GATED
            entry.info.progress = None
        elif mode == DEFERRED_FIT:
            entry.message = f"{OVERLAP}, but will fit after these preemptions complete"
            entry.reason, entry.requeue = "WaitingForPreemptedWorkloads", pending.PENDING_PREEMPTION
            entry.info.progress = None
            self._reserve(entry, entry.usage())
        elif self._shares_victims(entry):
            self._skip(entry, OVERLAP, "WaitingForQuota")
            result.skipped[entry.node.name] = result.skipped.get(entry.node.name, 0) + 1
        elif not fits:
            self._skip(entry, "Workload no longer fits after processing another workload", "WaitingForQuota")
            if mode == PREEMPT:
                result.skipped[entry.node.name] = result.skipped.get(entry.node.name, 0) + 1
        elif self.placeable is not None and not self.placeable(entry):
            entry.reason, entry.requeue = "TopologyPlacementFailed", pending.NO_FIT
            entry.message = entry.message or "no node has room for it, though the quota has"
            entry.targets = []
        else:
            self._accept(entry, mode)

    def _accept(self, entry: Entry, mode: int) -> None:
        targets = entry.targets
        self._victims.update({target.info.key: target.info for target in targets})
        if entry.info.workload.replaces is not None and self.settings.gates.elastic_slices:
            # The slice stands first among the targets; where it is found as a victim besides, it is preempted too.
            at = next((i for i, one in enumerate(targets) if one.info.key == entry.info.workload.replaces), None)
            entry.replacing = None if at is None else targets[at].info
            targets = [one for i, one in enumerate(targets) if i != at]
        if mode == PREEMPT:
            self._reserve(entry, entry.usage())
            entry.reason = "WaitingForPreemptedWorkloads"
            entry.preempting = tuple(targets)
            entry.info.progress = None
            if targets:
                entry.message += f". Pending the preemption of {len(targets)} workload(s)"
                entry.requeue = pending.PENDING_PREEMPTION
            return
        worse = self._worse_sibling(entry)
        if worse is not None:
            self._reserve(entry, entry.usage())
            self._migrate(entry, worse)
            return
        if self.settings.block_admission and not self.ready and entry.info.reserved_ns is None:
            entry.reason, entry.message = "WaitingForPodsReady", NOT_READY
            entry.requeue = pending.FAILED_AFTER_NOMINATION
            self._reserve(entry, entry.usage())
            return
        entry.status = states.NOMINATED
        node = entry.node.spec
        if self.settings.gates.concurrent_admission and node.concurrent and entry.info.workload.parent is None:
            entry.message = f"Failed to admit workload: workload {entry.info.key} could not be added to the cache"
            self._reserve(entry, entry.usage())
            return
        if not self.admit(entry):
            self._reserve(entry, entry.usage())
            return
        entry.status = states.ASSUMED
        self.ready = False
        if entry.replacing is not None:
            self._hand_over(entry.replacing)
        if entry.info.key in entry.node.workloads:
            self.snapshot.remove(entry.node.workloads[entry.info.key])
        self.snapshot.insert(admitted_info(entry, self.now_ns))

    def _hand_over(self, replaced: Info) -> None:
        """Count a replaced slice no longer for the rest of the cycle: the one that replaces it holds it all."""
        self.snapshot.give_all([replaced])
        self._replaced_slices.append(replaced)

    def _skip(self, entry: Entry, message: str, reason: str) -> None:
        entry.skip(message, reason, keep_progress=self.settings.gates.preserve_scan_progress)

    def _gated(self, workload: Workload) -> bool:
        gates = self.settings.gates
        known = gates.concurrent_admission or gates.multi_kueue_orchestrated_preemption
        return known and any(gate not in workload.open_gates for gate in workload.gates)

    def _reserve(self, entry: Entry, usage: Amounts) -> None:
        node, placed = entry.node, self._placed(entry)
        node.take(usage)
        self.snapshot.settle_places(placed)
        self._reserved.append((node, usage, placed))

    def _keeps(self, entry: Entry) -> bool:
        """Return whether a blocked head keeps what it may claim from those after it: its queue cannot reclaim it."""
        if entry.assignment.mode != PREEMPT:
            return False
        reclaims = entry.node.spec.preemption.reclaim == "Any"
        return not reclaims or (self.settings.gates.prioritize_preemptors and entry.preemptor)

    def _reserve_blocked(self, entry: Entry) -> None:
        if not self._keeps(entry):
            return
        kept: Amounts = {}
        for key, amount in entry.usage().items():
            account = entry.node.account(key)
            if entry.assignment.borrowing == 0:
                most = sub(account.nominal, account.usage)
            elif account.borrowing_limit is None:
                most = amount
            else:
                most = sub(add(account.nominal, account.borrowing_limit), account.usage)
            kept[key] = max(0, min(amount, most))
        self._reserve(entry, kept)

    def _check(self, entry: Entry) -> tuple[bool, bool]:
        """Return whether the head fits by quota, and whether its places have room, once all victims are gone."""
        leaving: Mapping[str, Info] = self._victims
        if entry.targets:
            leaving = {**leaving, **{target.info.key: target.info for target in entry.targets}}
        if leaving:
            self.snapshot.give_all(leaving.values())
        quota = entry.node.fits(entry.usage())
        room = quota and self._places_fit(entry)
        if leaving:
            self.snapshot.take_all(leaving.values())
        return quota, room

    def _placed(self, entry: Entry) -> tuple[Placed, ...]:
        return placed_in(entry.assignment, entry.info, entry.node) if entry.node.places else ()

    def _places_fit(self, entry: Entry) -> bool:
        return not entry.node.places or self.snapshot.places_fit(self._placed(entry))

    def _recheck(self, entry: Entry, result: CycleResult) -> bool:
        """Return whether the head still fits; when others took its victims or places, it is assigned anew."""
        gates = self.settings.gates
        quota, fits = self._check(entry)
        overlaps = gates.recompute_on_overlap and self._shares_victims(entry)
        if not overlaps and (fits or not quota or not gates.topology_recompute):
            return fits
        victims = list(self._victims.values()) if overlaps else []
        for info in victims:
            self.snapshot.remove(info)
        entry.record(*self.nominator.again(entry.info, entry.node, entry.assignment))
        for info in victims:
            self.snapshot.insert(info)
        if overlaps and entry.assignment.mode == FIT:
            entry.assignment.force(DEFERRED_FIT)
        _, fits = self._check(entry)
        if overlaps:
            outcome = "skipped"
            if entry.assignment.mode == DEFERRED_FIT:
                outcome = "deferred_fit"
            elif entry.targets and fits and not self._shares_victims(entry):
                outcome = "new_targets"
            counts = result.recomputed.setdefault(entry.node.name, {})
            counts[outcome] = counts.get(outcome, 0) + 1
        return fits

    def _shares_victims(self, entry: Entry) -> bool:
        return bool(self._victims) and any(target.info.key in self._victims for target in entry.targets)

    def _siblings(self, entry: Entry) -> list[tuple[int, Info]]:
        """Return the admitted variants of the same workload, each with its flavor's place less the head's."""
        workload = entry.info.workload
        if not self.settings.gates.concurrent_admission or workload.parent is None or not entry.node.spec.groups:
            return []
        flavors = entry.node.spec.groups[0].flavors
        own = _place(workload, flavors)
        if own is None:
            return []
        found = []
        for other in entry.node.workloads.values():
            same = other.workload.parent is not None and other.workload.parent[1] == workload.parent[1]
            place = _place(other.workload, flavors)
            if same and place is not None and other.workload.uid != workload.uid and other.workload.has("Admitted"):
                found.append((place - own, other))
        return found

    def _better_sibling_runs(self, entry: Entry) -> bool:
        return any(place < 0 for place, _ in self._siblings(entry))

    def _worse_sibling(self, entry: Entry) -> Info | None:
        return next((other for place, other in self._siblings(entry) if place > 0), None)

    def _migrate(self, entry: Entry, worse: Info) -> None:
        last = entry.node.spec.last_acceptable_flavor
        flavors = entry.node.spec.groups[0].flavors
        place = _place(entry.info.workload, flavors)
        if last is not None and place is not None and place > (flavors.index(last) if last in flavors else -1):
            entry.reason = "PendingEvaluation"
            entry.message = "Target flavor is below LastAcceptableFlavorName"
            return
        entry.reason, entry.requeue = "WaitingForPreemptedWorkloads", pending.PENDING_MIGRATION
        entry.migrating = worse
        entry.info.progress = None
        entry.message += ". Pending the migration of 1 workload(s)"


def _place(workload: Workload, flavors: Sequence[str]) -> int | None:
    if not workload.allowed_flavors or workload.allowed_flavors[0] not in flavors:
        return None
    return flavors.index(workload.allowed_flavors[0])


def _held_by(entry: Entry) -> Held:
    """Return what an accepted head holds from now on; all heads of one remembered assignment hold the same."""
    assignment, node = entry.assignment, entry.node
    if assignment.held is None or node.places:
        pod_sets = tuple(
            PodSetAdmission(
                name=one.name,
                flavors={resource: choice.flavor for resource, choice in one.flavors.items()},
                usage={resource: one.requests.get(resource, 0) for resource in one.flavors},
                count=one.count,
                topology=one.topology,
                levels=levels_of(one, node),
                delayed=one.delayed,
            )
            for one in assignment.pod_sets
        )
        requests = tuple(Requests(one.name, one.count or 0, one.usage, one.flavors, one) for one in pod_sets)
        assignment.held = Held(pod_sets, requests, usage_of(requests))
    return assignment.held


def admission_of(entry: Entry) -> Admission:
    """Return the admission that an accepted head gets."""
    return Admission(entry.node.name, _held_by(entry).pod_sets)


def admitted_info(entry: Entry, now_ns: int) -> Info:
    """Return the record of an accepted head as it holds quota since now."""
    held = _held_by(entry)
    workload = altered(entry.info.workload, admission=admission_of(entry), unhealthy=())
    return altered(
        entry.info,
        workload=workload,
        requests=held.requests,
        placed=placed_of(workload) if entry.node.places else (),
        usage=held.usage,
        progress=None,
        reserved_ns=now_ns,
    )
