"""Reads Kueue's own YAML shapes (`v1beta2`, and what `v1beta1` called otherwise) into the engine's objects, and
back.

Works on plain dicts. The trap: absent and empty differ for limits and selectors, so nothing is defaulted with `or`
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from dure.core.queueing.kueue.objects import (
    Admission,
    CheckState,
    ClusterQueue,
    Cohort,
    Condition,
    Flavor,
    FlavorResource,
    Fungibility,
    LocalQueue,
    Machine,
    PodSet,
    PodSetAdmission,
    Preemption,
    PriorityClass,
    Quota,
    ResourceGroup,
    Topology,
    Workload,
)
from dure.core.queueing.kueue.pods import Ranges, adjusted, amounts_of, pod_requests, pod_set_of
from dure.core.queueing.kueue.quantity import parse_float, parse_quota
from dure.core.queueing.kueue.spreads import unpacked

Document = Mapping[str, Any]

BOOST = "kueue.x-k8s.io/priority-boost"
ALLOWED_FLAVORS = "kueue.x-k8s.io/workload-allowed-resource-flavors"
REPLACES = "kueue.x-k8s.io/workload-slice-replacement-for"
GATED_BY = "kueue.x-k8s.io/admission-gated-by"
ELASTIC = "kueue.x-k8s.io/elastic-job"
GROUP = "kueue.x-k8s.io/is-group-workload"
_PLACED = {
    f"kueue.x-k8s.io/podset-{kind}"
    for kind in (
        "preferred-topology",
        "required-topology",
        "unconstrained-topology",
        "slice-required-topology",
        "slice-required-topology-constraints",
    )
}


def time_of(text: str | None) -> int:
    """Return an RFC 3339 time in nanoseconds; 0 when absent."""
    if not text:
        return 0
    return int(datetime.fromisoformat(text).timestamp()) * 10**9


def _name(document: Document) -> str:
    return str(document.get("metadata", {}).get("name", ""))


def _limit(resource: str, entry: Document, key: str) -> int | None:
    value = entry.get(key)
    return None if value is None else parse_quota(resource, str(value))


def quotas_of(groups: Iterable[Document]) -> dict[FlavorResource, Quota]:
    """Return the quotas of `resourceGroups`."""
    return {
        (flavor["name"], entry["name"]): Quota(
            nominal=parse_quota(entry["name"], str(entry.get("nominalQuota", "0"))),
            borrowing_limit=_limit(entry["name"], entry, "borrowingLimit"),
            lending_limit=_limit(entry["name"], entry, "lendingLimit"),
        )
        for group in groups
        for flavor in group.get("flavors") or ()
        for entry in flavor.get("resources") or ()
    }


def _groups(spec: Document) -> tuple[ResourceGroup, ...]:
    return tuple(
        ResourceGroup(
            covered=frozenset(group.get("coveredResources") or ()),
            flavors=tuple(flavor["name"] for flavor in group.get("flavors") or ()),
        )
        for group in spec.get("resourceGroups") or ()
    )


def _weight(spec: Document) -> float:
    weight = (spec.get("fairSharing") or {}).get("weight")
    return 1.0 if weight is None else parse_float(str(weight))


def flavor_of(document: Document) -> Flavor:
    """Return the flavor that a ResourceFlavor describes."""
    spec = document.get("spec") or {}
    return Flavor(
        name=_name(document),
        labels=spec.get("nodeLabels") or {},
        taints=tuple(spec.get("nodeTaints") or ()),
        tolerations=tuple(spec.get("tolerations") or ()),
        topology=spec.get("topologyName"),
    )


def priority_class_of(document: Document) -> PriorityClass:
    """Return the priority that a WorkloadPriorityClass names."""
    return PriorityClass(_name(document), int(document.get("value", 0)), str(document.get("description", "")))


def topology_of(document: Document) -> Topology:
    """Return the levels that a Topology describes."""
    levels = (document.get("spec") or {}).get("levels") or ()
    return Topology(_name(document), tuple(str(level["nodeLabel"]) for level in levels))


def machine_of(document: Document) -> Machine:
    """Return what placement needs of a Node; one that is cordoned or not ready takes no pods."""
    spec, status = document.get("spec") or {}, document.get("status") or {}
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in status.get("conditions") or ())
    return Machine(
        name=_name(document),
        labels=(document.get("metadata") or {}).get("labels") or {},
        allocatable=amounts_of(status.get("allocatable")),
        taints=tuple(spec.get("taints") or ()),
        ready=ready and not spec.get("unschedulable", False),
    )


def machines_of(nodes: Iterable[Document], pods: Iterable[Document] = ()) -> list[Machine]:
    """Return what placement needs of Nodes, less what pods take there that no topology placed and that still run."""
    used: dict[str, dict[str, int]] = {}
    for pod in pods:
        spec, marks = pod.get("spec") or {}, (pod.get("metadata") or {}).get("annotations") or {}
        ended = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
        if spec.get("nodeName") and not ended and not marks.keys() & _PLACED:
            held = used.setdefault(spec["nodeName"], {"pods": 0})
            for name, amount in {**pod_requests(spec), "pods": 1}.items():
                held[name] = held.get(name, 0) + amount
    return [replace(one, used=used.get(one.name, {})) for one in map(machine_of, nodes)]


def _checks(spec: Document) -> tuple[tuple[str, frozenset[str]], ...]:
    plain = [(name, frozenset[str]()) for name in spec.get("admissionChecks") or ()]
    strategy = spec.get("admissionChecksStrategy") or {}
    scoped = [
        (rule["name"], frozenset(str(flavor) for flavor in rule.get("onFlavors") or ()))
        for rule in strategy.get("admissionChecks") or ()
    ]
    return tuple(plain + scoped)


def fungibility_of(document: Document | None) -> Fungibility:
    """Return when the next flavor is tried, with Kueue's defaults where nothing is said."""
    document = document or {}
    return Fungibility(
        when_can_borrow=document.get("whenCanBorrow") or "MayStopSearch",
        when_can_preempt=document.get("whenCanPreempt") or "TryNextFlavor",
        preference=document.get("preference"),
    )


def preemption_of(document: Document | None, *, fill: bool = True) -> Preemption:
    """Return the preemption policies; `fill` puts the API server's defaults where nothing is said."""
    if document is None:
        return Preemption()
    default = "Never" if fill else ""
    borrow = document.get("borrowWithinCohort")
    return Preemption(
        within_queue=document.get("withinClusterQueue") or default,
        reclaim=document.get("reclaimWithinCohort") or default,
        borrow_policy=None if borrow is None else borrow.get("policy") or default,
        borrow_max_priority=None if borrow is None else borrow.get("maxPriorityThreshold"),
    )


def queue_of(document: Document, *, fill: bool = True) -> ClusterQueue:
    """Return the queue that a ClusterQueue describes.

    `fill` puts the API server's defaults where policies are silent; without it they stay empty, as in an object that
    never went through an API server, and Kueue does not take an empty policy for `Never` everywhere.
    """
    spec = document.get("spec") or {}
    policy = spec.get("concurrentAdmissionPolicy")
    migration = (policy or {}).get("migration") or {}
    return ClusterQueue(
        name=_name(document),
        cohort=spec.get("cohortName") or spec.get("cohort") or None,
        groups=_groups(spec),
        quotas=quotas_of(spec.get("resourceGroups") or ()),
        strategy=spec.get("queueingStrategy") or "BestEffortFIFO",
        preemption=preemption_of(spec.get("preemption"), fill=fill),
        fungibility=fungibility_of(spec.get("flavorFungibility")),
        namespace_selector=spec.get("namespaceSelector"),
        weight=_weight(spec),
        stop_policy=spec.get("stopPolicy") or "None",
        checks=_checks(spec),
        usage_based=(spec.get("admissionScope") or {}).get("admissionMode") == "UsageBasedAdmissionFairSharing",
        last_acceptable_flavor=(migration.get("constraints") or {}).get("lastAcceptableFlavorName"),
        migration=None if policy is None else migration.get("mode", ""),
    )


def cohort_of(document: Document) -> Cohort:
    """Return the cohort that a Cohort describes."""
    spec = document.get("spec") or {}
    return Cohort(
        name=_name(document),
        parent=spec.get("parentName") or spec.get("parent") or None,
        quotas=quotas_of(spec.get("resourceGroups") or ()),
        weight=_weight(spec),
    )


def local_queue_of(document: Document) -> LocalQueue:
    """Return the door that a LocalQueue describes."""
    spec = document.get("spec") or {}
    return LocalQueue(
        namespace=document.get("metadata", {}).get("namespace", ""),
        name=_name(document),
        cluster_queue=spec.get("clusterQueue", ""),
        weight=_weight(spec),
        stop_policy=spec.get("stopPolicy") or "None",
    )


def admission_of(document: Document | None) -> Admission | None:
    """Return the admission that `status.admission` describes, or None."""
    if not document:
        return None
    return Admission(
        cluster_queue=document.get("clusterQueue", ""),
        pod_sets=tuple(
            PodSetAdmission(
                name=entry.get("name", "main"),
                flavors=entry.get("flavors") or {},
                usage=amounts_of(entry.get("resourceUsage")),
                count=entry.get("count"),
                delayed=entry.get("delayedTopologyRequest"),
                levels=unpacked(entry.get("topologyAssignment"))[0],
                topology=unpacked(entry.get("topologyAssignment"))[1],
            )
            for entry in document.get("podSetAssignments") or ()
        ),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text.strip() else ()


def _parent(metadata: Document) -> tuple[str, str] | None:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == "Workload" and owner.get("apiVersion") == "kueue.x-k8s.io/v1beta2":
            return str(owner.get("name", "")), str(owner.get("uid", ""))
    return None


def _owned_by_pod(metadata: Document) -> bool:
    """Return whether one pod alone owns the workload, so that neither outlives the other."""
    owners = [*(metadata.get("ownerReferences") or ())]
    if len(owners) != 1 or (metadata.get("annotations") or {}).get(GROUP) == "true":
        return False
    return bool(owners[0].get("kind") == "Pod" and owners[0].get("apiVersion") == "v1")


def _boost(annotations: Document) -> int:
    """Return the boost of a workload's priority; what is no whole number of 32 bits counts for nothing."""
    text = str(annotations.get(BOOST, "0"))
    boost = int(text) if re.fullmatch("[+-]?[0-9]+", text) else 0
    return boost if -(2**31) <= boost < 2**31 else 0


def _condition(entry: Document) -> Condition:
    return Condition(
        type=entry["type"],
        status=entry.get("status") == "True",
        reason=entry.get("reason", ""),
        message=entry.get("message", ""),
        at_ns=time_of(entry.get("lastTransitionTime")),
    )


def _pod_sets(
    document: Document, own: Ranges | None, overheads: Mapping[str, Document] | None, *, queued: bool
) -> Iterator[PodSet]:
    for index, entry in enumerate((document.get("spec") or {}).get("podSets") or ()):
        template = entry.get("template") or {}
        spec = template.get("spec") or {}
        if queued:
            spec = adjusted(spec, own or Ranges(), overheads)
        yield pod_set_of({**entry, "template": {**template, "spec": spec}}, index, own)


def workload_of(
    document: Document,
    ranges: Iterable[Document] = (),
    *,
    overheads: Mapping[str, Document] | None = None,
    queued: bool = False,
) -> Workload:
    """Return the workload that a Workload describes; those of its namespace count of the LimitRanges.

    One that is `queued` gets what Kueue fills in then: defaults of LimitRanges, limits as requests, the overhead of
    its runtime class.
    """
    metadata, spec, status = (document.get(part) or {} for part in ("metadata", "spec", "status"))
    annotations = metadata.get("annotations") or {}
    allowed = annotations.get(ALLOWED_FLAVORS)
    own = [one for one in ranges if (one.get("metadata") or {}).get("namespace") == metadata.get("namespace")]
    limits = Ranges(own) if own else None
    requeue_at = (status.get("requeueState") or {}).get("requeueAt")
    return Workload(
        namespace=metadata.get("namespace", ""),
        name=metadata.get("name", ""),
        uid=metadata.get("uid", ""),
        queue=spec.get("queueName", ""),
        pod_sets=tuple(_pod_sets(document, limits, overheads, queued=queued)),
        priority=spec.get("priority", 0),
        boost=_boost(annotations),
        created_ns=time_of(metadata.get("creationTimestamp")),
        generation=metadata.get("generation", 0),
        active=spec.get("active", True),
        labels=metadata.get("labels") or {},
        allowed_flavors=None if allowed is None else _listed(allowed),
        gated_by=annotations.get(GATED_BY, ""),
        unhealthy=tuple(entry["name"] for entry in status.get("unhealthyNodes") or ()),
        owned_by_pod=_owned_by_pod(metadata),
        elastic=annotations.get(ELASTIC) == "true",
        parent=_parent(metadata),
        gates=tuple(gate["name"] for gate in spec.get("preemptionGates") or ()),
        open_gates=frozenset(
            gate["name"] for gate in status.get("preemptionGates") or () if gate.get("position") != "Closed"
        ),
        replaces=annotations.get(REPLACES),
        admission=admission_of(status.get("admission")),
        conditions=tuple(_condition(entry) for entry in status.get("conditions") or ()),
        checks=tuple(
            CheckState(
                name=entry["name"],
                state=entry.get("state", "Pending"),
                message=entry.get("message", ""),
                updates=tuple(entry.get("podSetUpdates") or ()),
            )
            for entry in status.get("admissionChecks") or ()
        ),
        reclaimable={entry["name"]: entry.get("count", 0) for entry in status.get("reclaimablePods") or ()},
        requeue_at_ns=time_of(requeue_at) if requeue_at else None,
    )
