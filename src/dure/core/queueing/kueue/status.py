"""What a workload's status says after it was admitted, refused or preempted: Kueue's conditions and their messages.

Each function returns a changed copy. The trap: an eviction leaves the quota reserved until the workload's pods are
gone.
"""

from __future__ import annotations

from dure.core.copies import altered
from dure.core.queueing.kueue.objects import Admission, CheckState, ClusterQueue, Condition, Gates, Workload
from dure.core.queueing.kueue.second import places_wait

CONDITION_LIMIT = 32 * 1024
_CUT = " ..."
_ENDED_BY_RESERVATION = ("Evicted", "Preempted", "BlockedOnPreemptionGates")
_NOT_WAITING = ("Finished", "QuotaReserved", "WaitingForReplacementPods")


def with_condition(workload: Workload, condition: Condition) -> Workload:
    """Return the workload with the condition of that type set; its time stays when its status does."""
    told = condition.message.encode()
    if len(told) > CONDITION_LIMIT:
        cut = told[: CONDITION_LIMIT - len(_CUT)].decode(errors="ignore") + _CUT
        condition = altered(condition, message=cut)
    before = workload.condition(condition.type)
    if before is None:
        return altered(workload, conditions=(*workload.conditions, condition))
    if before.status == condition.status:
        condition = altered(condition, at_ns=before.at_ns)
    kept = tuple(condition if one.type == condition.type else one for one in workload.conditions)
    return altered(workload, conditions=kept)


def admissible(workload: Workload, gates: Gates) -> bool:
    """Return whether a workload may wait in a queue: active, not held back, neither ended nor holding quota."""
    if workload.gated_by and gates.admission_gated_by:
        return False
    if not workload.active or any(workload.has(kind) for kind in _NOT_WAITING):
        return False
    reserved = workload.condition("QuotaReserved")
    return reserved is None or reserved.status or reserved.reason != "OnHold"


def holds(workload: Workload) -> bool:
    """Return whether what a workload was admitted with counts as used."""
    return workload.has("QuotaReserved") and workload.active and not workload.has("Finished")


def _with_admitted(workload: Workload, now_ns: int, *, granular: bool = True) -> Workload:
    reserved = workload.has("QuotaReserved")
    ready = all(check.state == "Ready" for check in workload.checks)
    placed = not places_wait(workload)
    if not granular and workload.has("Admitted") == (reserved and ready and placed):
        return workload
    if reserved and ready and placed:
        told = ("Admitted", "The workload is admitted")
    elif not reserved and (ready or granular):
        told = ("NoReservation", "The workload has no reservation")
    elif not reserved:
        told = ("NoReservationUnsatisfiedChecks", "The workload has no reservation and not all checks ready")
    elif not ready:
        reason = "UnsatisfiedAdmissionChecks" if granular else "UnsatisfiedChecks"
        told = (reason, "The workload has not all checks ready")
    else:
        told = ("PendingDelayedTopologyRequests", "There are pending delayed topology requests")
    return with_condition(workload, Condition("Admitted", reserved and ready and placed, *told, now_ns))


def _wanted_checks(queue: ClusterQueue, admission: Admission) -> set[str]:
    """Return the checks of a queue that count for the flavors of an admission; one without scope is for all."""
    flavors = {flavor for one in admission.pod_sets for flavor in one.flavors.values()}
    every = frozenset(name for group in queue.groups for name in group.flavors)
    return {name for name, scope in queue.checks if (scope or every) & flavors}


def reserved(
    workload: Workload, admission: Admission, queue: ClusterQueue, now_ns: int, *, granular: bool = True
) -> Workload:
    """Return the workload with quota reserved, and admitted when it carries all checks that the queue wants.

    `granular` is the gate UnadmittedWorkloadsObservability, here and below.
    """
    changed = altered(workload, admission=admission, unhealthy=())
    message = f"Quota reserved in ClusterQueue {admission.cluster_queue}"
    changed = with_condition(changed, Condition("QuotaReserved", True, "QuotaReserved", message, now_ns))
    for kind in _ENDED_BY_RESERVATION:
        before = changed.condition(kind)
        if before is not None and before.status:
            ended = Condition(kind, False, "QuotaReserved", f"Previously: {before.message}", now_ns)
            changed = with_condition(changed, ended)
    if _wanted_checks(queue, admission) <= {check.name for check in changed.checks}:
        changed = _with_admitted(changed, now_ns, granular=granular)
    return changed


def refused(workload: Workload, reason: str, message: str, now_ns: int, *, granular: bool = True) -> Workload:
    """Return the workload as it waits, with the reason token and the sentence."""
    changed = with_condition(workload, Condition("QuotaReserved", False, reason, message, now_ns))
    return _with_admitted(altered(changed, admission=None), now_ns, granular=granular)


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
    if changed.has("BlockedOnPreemptionGates"):
        changed = with_condition(changed, Condition("BlockedOnPreemptionGates", False, reason, message, now_ns))
    checks = tuple(
        check
        if check.state == "Pending"
        else CheckState(check.name, "Pending", f"Reset to Pending after eviction. Previously: {check.state}")
        for check in changed.checks
    )
    if not (checks or changed.open_gates or changed.unhealthy):
        return changed
    return altered(changed, checks=checks, open_gates=frozenset(), unhealthy=())
