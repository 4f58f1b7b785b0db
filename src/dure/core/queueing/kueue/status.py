"""What a workload's status says after it was admitted, refused or preempted: Kueue's conditions and their messages.

Each function returns a changed copy. The trap: an eviction leaves the quota reserved until the workload's pods are
gone.
"""

from __future__ import annotations

from dataclasses import replace

from dure.core.queueing.kueue.objects import Admission, CheckState, ClusterQueue, Condition, Workload

CONDITION_LIMIT = 32 * 1024
_ENDED_BY_RESERVATION = ("Evicted", "Preempted", "BlockedOnPreemptionGates")


def with_condition(workload: Workload, condition: Condition) -> Workload:
    """Return the workload with the condition of that type set; its time stays when its status does."""
    condition = replace(condition, message=condition.message[:CONDITION_LIMIT])
    before = workload.condition(condition.type)
    if before is None:
        return replace(workload, conditions=(*workload.conditions, condition))
    if before.status == condition.status:
        condition = replace(condition, at_ns=before.at_ns)
    kept = tuple(condition if one.type == condition.type else one for one in workload.conditions)
    return replace(workload, conditions=kept)


def _with_admitted(workload: Workload, now_ns: int) -> Workload:
    reserved = workload.has("QuotaReserved")
    ready = all(check.state == "Ready" for check in workload.checks)
    if reserved and ready:
        told = ("Admitted", "The workload is admitted")
    elif not reserved:
        told = ("NoReservation", "The workload has no reservation")
    else:
        told = ("UnsatisfiedAdmissionChecks", "The workload has not all checks ready")
    return with_condition(workload, Condition("Admitted", reserved and ready, *told, now_ns))


def reserved(workload: Workload, admission: Admission, queue: ClusterQueue, now_ns: int) -> Workload:
    """Return the workload with quota reserved, and admitted when it carries all checks that the queue wants."""
    changed = replace(workload, admission=admission)
    message = f"Quota reserved in ClusterQueue {admission.cluster_queue}"
    changed = with_condition(changed, Condition("QuotaReserved", True, "QuotaReserved", message, now_ns))
    for kind in _ENDED_BY_RESERVATION:
        before = changed.condition(kind)
        if before is not None and before.status:
            ended = Condition(kind, False, "QuotaReserved", f"Previously: {before.message}", now_ns)
            changed = with_condition(changed, ended)
    flavors = {flavor for one in admission.pod_sets for flavor in one.flavors.values()}
    wanted = {name for name, scope in queue.checks if not scope or scope & flavors}
    if wanted <= {check.name for check in changed.checks}:
        changed = _with_admitted(changed, now_ns)
    return changed


def refused(workload: Workload, reason: str, message: str, now_ns: int) -> Workload:
    """Return the workload as it waits, with the reason token and the sentence."""
    changed = with_condition(workload, Condition("QuotaReserved", False, reason, message, now_ns))
    return _with_admitted(replace(changed, admission=None), now_ns)


def gated(workload: Workload, message: str, now_ns: int) -> Workload:
    """Return the workload as one that a preemption gate holds back."""
    return with_condition(workload, Condition("BlockedOnPreemptionGates", True, "PreemptionGated", message, now_ns))


def preempted(workload: Workload, reason: str, message: str, now_ns: int) -> Workload:
    """Return the workload as evicted because another takes its place."""
    changed = with_condition(workload, Condition("Preempted", True, reason, message, now_ns))
    return evicted(changed, "Preempted", message, now_ns)


def evicted(workload: Workload, reason: str, message: str, now_ns: int) -> Workload:
    """Return the workload as evicted; its admission checks start again."""
    changed = with_condition(workload, Condition("Evicted", True, reason, message, now_ns))
    checks = tuple(
        check
        if check.state == "Pending"
        else CheckState(check.name, "Pending", f"Reset to Pending after eviction. Previously: {check.state}")
        for check in changed.checks
    )
    return replace(changed, checks=checks, open_gates=frozenset())
