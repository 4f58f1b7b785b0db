"""The second pass: workloads that hold quota and look for places again, since a node failed or a check delayed them.

Pure questions about a workload. The trap: what it holds is counted already, so of a new placement only the pods that
move count.
"""

from __future__ import annotations

from dure.core.queueing.kueue.objects import Workload

PENDING, READY = "Pending", "Ready"
NODE_FAILURES = "NodeFailures"


def places_wait(workload: Workload) -> bool:
    """Return whether pods of the workload get their places only after its checks."""
    held = workload.admission
    return held is not None and any(not one.topology and one.delayed == PENDING for one in held.pod_sets)


def stands_on(workload: Workload, node: str) -> bool:
    """Return whether pods of the workload are on the node."""
    held = workload.admission
    return held is not None and any(values[-1] == node for one in held.pod_sets for values, _ in one.topology)


def lost_a_node(workload: Workload) -> bool:
    """Return whether pods of an admitted workload are on a node that failed."""
    held = workload.admission
    if not workload.unhealthy or held is None or not workload.has("Admitted"):
        return False
    return any(values[-1] in workload.unhealthy for one in held.pod_sets for values, _ in one.topology)


def wants_second_pass(workload: Workload) -> bool:
    """Return whether a workload that holds quota is to be looked at again."""
    if not workload.has("QuotaReserved") or workload.has("Finished") or workload.has("Evicted"):
        return False
    checked = bool(workload.checks) and all(check.state == READY for check in workload.checks)
    return (checked and places_wait(workload) and not workload.has("Admitted")) or lost_a_node(workload)


def retry_s(attempt: int) -> int:
    """Return how long a workload waits before it is looked at again, in seconds: doubled each time, at most 30."""
    return 30 if attempt > 4 else 1 << attempt


def no_replacement(workload: Workload) -> str:
    """Return what a workload is told that is evicted because nothing replaces its failed nodes."""
    return f"Workload was evicted as there was no replacement for unhealthy node(s): {','.join(workload.unhealthy)}"
