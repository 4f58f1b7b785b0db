"""Assigns flavors to a workload's pod sets: the scan with fungibility, borrowing levels, reasons and messages.

The trap: a flavor's mode is the worst over all resources of its group, while the scan is resumed per resource from
where the last cycle stopped, so an assignment is only comparable within one generation of the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dure.core.queueing.kueue.assignment import (
    FIT,
    NO_FIT,
    PREEMPT,
    Assignment,
    Attempt,
    FlavorChoice,
    PodSetResult,
    merge_attempts,
    most_severe,
    no_fit_reason,
)
from dure.core.queueing.kueue.infos import Info, Progress, Requests
from dure.core.queueing.kueue.matching import affinity_holds, taint_text, untolerated_taint
from dure.core.queueing.kueue.objects import Amounts, Flavor, FlavorResource, Fungibility, ResourceGroup, Settings
from dure.core.queueing.kueue.placing import asks_topology, place
from dure.core.queueing.kueue.quantity import add, limit_text_of, resource_rank, sub, text_of
from dure.core.queueing.kueue.snapshot import QueueNode
from dure.core.queueing.kueue.tree import lowest_fit

Oracle = Callable[[QueueNode, Info, FlavorResource, int], tuple[int, int]]
"""Returns what preemption could do for an amount, and the borrowing level afterwards."""

Grade = tuple[int, int]
"""(preemption mode, borrowing level): 0 no fit, 1 no candidates, 2 preempt, 3 reclaim, 4 fit."""

WORST: Grade = (0, 2**62)
BEST: Grade = (4, 0)
_MODES = (NO_FIT, PREEMPT, PREEMPT, PREEMPT, FIT)


def is_preferred(left: Grade, right: Grade, fungibility: Fungibility) -> bool:
    """Return whether the left grade is better than the right one."""
    if left[0] == 0 or right[0] == 0:
        return left[0] != 0
    if (left[0] == 1) != (right[0] == 1):
        return left[0] != 1
    by_mode = left[0] > right[0]
    by_borrowing = left[1] < right[1]
    if fungibility.preference == "PreemptionOverBorrowing":
        return by_mode if left[1] == right[1] else by_borrowing
    return by_borrowing if left[0] == right[0] else by_mode


def tries_next(grade: Grade, fungibility: Fungibility) -> bool:
    """Return whether the scan goes on after a flavor of this grade."""
    mode, borrow = grade
    if mode in {0, 1}:
        return True
    if mode in {2, 3} and fungibility.when_can_preempt == "TryNextFlavor":
        return True
    return borrow > 0 and fungibility.when_can_borrow == "TryNextFlavor"


@dataclass(slots=True)
class _Scan:
    """The result of scanning one resource group: nothing chosen means that no flavor can do."""

    chosen: dict[str, FlavorChoice]
    reasons: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    error: str = ""


@dataclass(slots=True)
class Assigner:
    """Assigns flavors to one workload in one queue, as the snapshot stands."""

    info: Info
    queue: QueueNode
    flavors: Mapping[str, Flavor]
    oracle: Oracle
    settings: Settings = field(default_factory=Settings)
    cycle: int = 0
    replaced: Info | None = None

    def assign(self, counts: Sequence[int] | None = None) -> Assignment:
        """Return the assignment of the workload, with these numbers of pods if given."""
        wanted = list(self.info.requests)
        if counts:
            wanted = [one.scaled(count) for one, count in zip(wanted, counts, strict=True)]
        result = Assignment()
        tried: list[dict[str, int]] = []
        for members in self._grouped():
            if not self._assign_group(members, wanted, result, tried):
                break
        result.progress = Progress(tuple(tried), self.queue.generation, self.cycle, self.info.shape)
        if self.settings.gates.topology and result.mode != NO_FIT and self._asks_topology():
            place(result, self.info, self.queue, self.settings, self.replaced)
        if self.settings.gates.observability:
            result.no_fit_reason = no_fit_reason(result, self.queue)
        return result

    def _asks_topology(self) -> bool:
        return self.queue.topology_only or any(asks_topology(podset) for podset in self.info.workload.pod_sets)

    def _grouped(self) -> list[list[int]]:
        groups: dict[str, list[int]] = {}
        for index, (podset, _) in enumerate(zip(self.info.workload.pod_sets, self.info.requests, strict=False)):
            name = (podset.topology or {}).get("podSetGroupName")
            groups.setdefault(str(index) if name is None else f"group {name}", []).append(index)
        return list(groups.values())

    def _with_pods(self, one: Requests) -> dict[str, int]:
        amounts = dict(one.amounts)
        if self.queue.group_of("pods") is not None:
            amounts["pods"] = one.count
        return amounts

    def _assign_group(
        self, members: list[int], wanted: list[Requests], result: Assignment, tried: list[dict[str, int]]
    ) -> bool:
        own = {index: self._with_pods(wanted[index]) for index in members}
        total: dict[str, int] = {}
        for amounts in own.values():
            for resource, amount in amounts.items():
                total[resource] = add(total.get(resource, 0), amount)
        chosen: dict[str, FlavorChoice] | None = self._held_flavors(members, wanted)
        reasons: list[str] = []
        error = ""
        known: dict[str, Attempt] = {}
        for resource in sorted(total, key=resource_rank):
            if self.queue.group_of(resource) is None and (total[resource] == 0 or self.settings.ignores_undeclared):
                continue
            if chosen is None or resource in chosen:
                continue
            scan = self._scan(members, total, resource, result.usage)
            granular = self.settings.gates.observability
            merge_attempts(known, scan.attempts, resource, self.queue, granular=granular)
            if not scan.chosen:
                chosen, reasons, error = None, scan.reasons, scan.error
                break
            chosen.update(scan.chosen)
            reasons += scan.reasons
        attempts = tuple(known[name] for name in sorted(known))
        complete = True
        for index in members:
            flavors = self._own_flavors(index, own[index], chosen or {})
            one = PodSetResult(wanted[index].name, wanted[index].count, own[index], flavors, tuple(reasons), attempts)
            one.error = error
            held = wanted[index].held if self.settings.gates.topology else None
            if held is not None:
                one.topology, one.delayed = held.topology, held.delayed
            self._append(one, result, tried)
            complete = complete and not error and (bool(flavors) or not own[index])
        return complete

    def _held_flavors(self, members: list[int], wanted: list[Requests]) -> dict[str, FlavorChoice]:
        """Return the flavors that a workload holds already, in its second pass."""
        if not self.settings.gates.topology:
            return {}
        held = ((resource, flavor) for index in members for resource, flavor in wanted[index].flavors.items())
        return {resource: FlavorChoice(flavor, FIT) for resource, flavor in held}

    def _own_flavors(
        self, index: int, own: Mapping[str, int], chosen: Mapping[str, FlavorChoice]
    ) -> dict[str, FlavorChoice]:
        """Return the flavors of one pod set of a group; one that requests nothing is placed where the group is."""
        if own:
            return {name: choice for name, choice in chosen.items() if name in own}
        if (self.info.workload.pod_sets[index].topology or {}).get("podSetGroupName") is None:
            return {}
        return {name: choice for name, choice in chosen.items() if choice.flavor in self.queue.places}

    def _append(self, one: PodSetResult, result: Assignment, tried: list[dict[str, int]]) -> None:
        result.pod_sets.append(one)
        for resource, choice in one.flavors.items():
            result.borrowing = max(result.borrowing, choice.borrow)
            amount = one.requests.get(resource, 0) - self._replaced_amount(one.name, resource)
            key = (choice.flavor, resource)
            result.usage[key] = add(result.usage.get(key, 0), amount)
        tried.append({resource: choice.tried for resource, choice in one.flavors.items()})

    def _replaced_amount(self, podset: str, resource: str) -> int:
        if self.replaced is None or not self.settings.gates.elastic_slices:
            return 0
        return next((one.amounts.get(resource, 0) for one in self.replaced.requests if one.name == podset), 0)

    def _first(self, podset: int, resource: str) -> int:
        progress = self.info.progress
        if progress is None or not self.settings.gates.flavor_fungibility:
            return 0
        return progress.next_flavor(podset, resource)

    def _scan(self, members: list[int], total: Mapping[str, int], resource: str, taken: Amounts) -> _Scan:
        group = self.queue.group_of(resource)
        scan = _Scan(chosen={})
        if group is None:
            scan.reasons.append(f"resource {resource} unavailable in ClusterQueue")
            return scan
        needed = {name: amount for name, amount in total.items() if name in group.covered}
        best: dict[str, FlavorChoice] = {}
        best_grade, last = WORST, -1
        for index in range(self._first(members[0], resource), len(group.flavors)):
            last = index
            name = group.flavors[index]
            passed = self._passed_over(name, members, resource, group, scan=scan)
            if scan.error:
                return scan
            if passed:
                continue
            choices, grade = self._judge(name, members, needed, taken, scan)
            if self.settings.gates.flavor_fungibility:
                if not tries_next(grade, self.queue.spec.fungibility):
                    best, best_grade = choices, grade
                    break
                if is_preferred(grade, best_grade, self.queue.spec.fungibility):
                    best, best_grade = choices, grade
            elif grade[0] > best_grade[0]:
                best, best_grade = choices, grade
                if grade[0] == 4:
                    break
        self._conclude(scan, best, fits=best_grade[0] == 4, tried=-1 if last == len(group.flavors) - 1 else last)
        return scan

    def _conclude(self, scan: _Scan, best: dict[str, FlavorChoice], *, fits: bool, tried: int) -> None:
        """Choose the best flavors; the next scan goes on after the one tried last."""
        if self.settings.gates.flavor_fungibility:
            for choice in best.values():
                choice.tried = tried
        if fits:
            scan.reasons.clear()
        scan.chosen = best

    def _passed_over(self, name: str, members: list[int], resource: str, group: ResourceGroup, *, scan: _Scan) -> bool:
        """Return whether the flavor is no question for these pods, and say why in the scan."""
        skipped = self._skip(name, members, resource)
        mismatch, scan.error = ("", "") if skipped else self._mismatch(name, members, group)
        if scan.error:
            scan.attempts.append(Attempt(name, NO_FIT, no_fit_reason=self._token("NoMatchingFlavor")))
            return True
        if mismatch:
            reason = self._token("NoMatchingFlavor")
            scan.attempts.append(Attempt(name, NO_FIT, reasons=(mismatch,), no_fit_reason=reason))
        if skipped or mismatch:
            scan.reasons.append(skipped or mismatch)
        return bool(skipped or mismatch)

    def _token(self, reason: str) -> str:
        return reason if self.settings.gates.observability else ""

    def _skip(self, name: str, members: list[int], resource: str) -> str:
        nominated = self.info.nominated
        gates = self.settings.gates
        if nominated and (gates.recompute_on_overlap or (gates.topology and gates.topology_recompute)):
            podsets = [self.info.workload.pod_sets[index].name for index in members]
            if not any(nominated.get(podset, {}).get(resource) == name for podset in podsets):
                return f"skipping flavor {name} as it is not found in the nomination mapping for resource {resource}"
        allowed = self.info.workload.allowed_flavors
        if self.settings.gates.concurrent_admission and allowed is not None and name not in allowed:
            return f"skipping flavor {name} due to WorkloadAllowedResourceFlavorAnnotation annotation"
        return ""

    def _mismatch(self, name: str, members: list[int], group: ResourceGroup) -> tuple[str, str]:
        """Return why the flavor does not suit these pods, or what is malformed in what they ask for."""
        flavor = self.flavors.get(name)
        if flavor is None:
            return f"flavor {name} not found", ""
        for index in members:
            podset = self.info.workload.pod_sets[index]
            if self.settings.gates.topology:
                message = self._topology_mismatch(flavor, index, group)
                if message:
                    return message, ""
            taint = untolerated_taint(flavor, podset.tolerations)
            if taint is not None:
                return f"untolerated taint {taint_text(taint)} in flavor {name}", ""
            holds, malformed = affinity_holds(flavor, podset)
            if not holds:
                return f"flavor {name} doesn't match node affinity", malformed
        return "", ""

    def _topology_mismatch(self, flavor: Flavor, index: int, group: ResourceGroup) -> str:
        podset = self.info.workload.pod_sets[index]
        if not asks_topology(podset):
            if self.queue.topology_only or flavor.topology is None:
                return ""
            return f'Flavor "{flavor.name}" supports only TopologyAwareScheduling'
        if flavor.topology is None:
            overlap = any(resource in group.covered for resource in podset.requests)
            return f'Flavor "{flavor.name}" does not support TopologyAwareScheduling' if overlap else ""
        places = self.queue.places.get(flavor.name)
        if places is None:
            return f'Flavor "{flavor.name}" information missing in TAS cache'
        if not places.has_levels(podset.topology or {}):
            return f'Flavor "{flavor.name}" does not contain the requested level'
        return ""

    def _judge(
        self, name: str, members: list[int], needed: Mapping[str, int], taken: Amounts, scan: _Scan
    ) -> tuple[dict[str, FlavorChoice], Grade]:
        choices: dict[str, FlavorChoice] = {}
        grade, most_borrow, worst_reason = BEST, 0, ""
        reasons: list[str] = []
        for resource in sorted(needed, key=resource_rank):
            other, before = self._of_old_slice(name, members, resource)
            amount = needed[resource] - before
            if other is not None:
                grade = WORST
                reasons.append(f"could not assign {name} flavor since the original workload is assigned: {other}")
                worst_reason = most_severe(worst_reason, "NoMatchingFlavor")
            key = (name, resource)
            mode, borrow, message, reason = self._fits(key, taken.get(key, 0), amount)
            if message:
                reasons.append(message)
                worst_reason = most_severe(worst_reason, reason)
            most_borrow = max(most_borrow, borrow)
            if is_preferred(grade, (mode, borrow), self.queue.spec.fungibility):
                grade = (mode, borrow)
            if grade[0] != 0:
                choices[resource] = FlavorChoice(name, _MODES[mode], borrow)
        scan.reasons += reasons
        possibility = grade[0] - 1 if grade[0] in {1, 2, 3} else None
        worst_reason = self._token(worst_reason)
        scan.attempts.append(
            Attempt(name, _MODES[grade[0]], most_borrow, possibility, tuple(sorted(reasons)), worst_reason)
        )
        return choices, grade

    def _of_old_slice(self, name: str, members: list[int], resource: str) -> tuple[str | None, int]:
        """Return the first other flavor that the replaced slice has the resource in, and what it has until there."""
        if self.replaced is None or not self.settings.gates.elastic_slices:
            return None, 0
        old, held = self.replaced.requests, 0
        for index in members:
            one = old[index] if index < len(old) else Requests("", 0, {})
            flavor = one.flavors.get(resource, "")
            if flavor != name:
                return flavor, held
            held += one.amounts.get(resource, 0)
        return None, held

    def _fits(self, key: FlavorResource, taken: int, amount: int) -> tuple[int, int, str, str]:
        """Return preemption mode, borrowing level, message and reason for one flavor and resource."""
        flavor, resource = key
        value = add(taken, amount)
        most = self.queue.potential(key)
        if value > most:
            message = (
                f"insufficient quota for {resource} in flavor {flavor}, previously considered podsets requests "
                f"({limit_text_of(resource, taken)}) + current podset request ({text_of(resource, amount)}) > "
                f"maximum capacity ({limit_text_of(resource, most)})"
            )
            return 0, 0, message, "ExceedsMaxQuota"
        borrow, may_reclaim = lowest_fit(self.queue, key, value)
        free = self.queue.available(key)
        if value <= free:
            return 4, borrow, "", ""
        lacking = limit_text_of(resource, sub(value, free))
        message = f"insufficient unused quota for {resource} in flavor {flavor}, {lacking} more needed"
        if self.queue.quota(key).nominal >= value or may_reclaim or self._preempts_while_borrowing():
            possibility, after = self.oracle(self.queue, self.info, key, value)
            return possibility + 1, after, message, ""
        return 0, borrow, message, "WaitingForQuota"

    def _preempts_while_borrowing(self) -> bool:
        preemption = self.queue.spec.preemption
        return not preemption.borrow_forbidden or (self.settings.fair_sharing and preemption.reclaim != "Never")
