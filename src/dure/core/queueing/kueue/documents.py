"""Writes the engine's objects as Kueue's own documents (`v1beta2`), which `shapes` reads back to equal objects.

Plain dicts, ready for YAML. The trap: what is None is left out, because absent and 0 differ for limits; and of a pod
only what queueing reads is written, so a workload's document is not the job's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import singledispatch
from typing import Any

from dure.core.queueing.kueue.objects import (
    Admission,
    ClusterQueue,
    Cohort,
    Condition,
    Flavor,
    FlavorResource,
    LocalQueue,
    PodSet,
    Preemption,
    PriorityClass,
    Quota,
    ResourceGroup,
    Topology,
    Workload,
)
from dure.core.queueing.kueue.quantity import UNLIMITED, text_of
from dure.core.queueing.kueue.shapes import ALLOWED_FLAVORS, BOOST, ELASTIC, GATED_BY, REPLACES
from dure.core.queueing.kueue.spreads import packed

API = "kueue.x-k8s.io/v1beta2"
Document = dict[str, Any]


@singledispatch
def to_document(one: object) -> Document:
    """Return the document of a flavor, queue, cohort, local queue, priority class, topology or workload.

    Raises TypeError for anything else.
    """
    message = f"{type(one).__name__} has no Kueue document"
    raise TypeError(message)


def _document(kind: str, name: str, spec: Document | None, **metadata: object) -> Document:
    found: Document = {"apiVersion": API, "kind": kind, "metadata": {"name": name, **_said(metadata)}}
    if spec is not None:
        found["spec"] = _said(spec)
    return found


def _said(document: Mapping[str, Any]) -> Document:
    """Return a document without what is not said."""
    return {key: value for key, value in document.items() if value is not None}


def _quantity(resource: str, amount: int) -> str:
    return str(UNLIMITED) if amount == UNLIMITED else text_of(resource, amount)


def _fair(weight: float) -> Document | None:
    return None if weight == 1.0 else {"weight": f"{weight:g}"}


def _groups(groups: Iterable[ResourceGroup], quotas: Mapping[FlavorResource, Quota]) -> list[Document]:
    return [
        {
            "coveredResources": sorted(group.covered),
            "flavors": [
                {
                    "name": flavor,
                    "resources": [_quota(name, quotas.get((flavor, name))) for name in sorted(group.covered)],
                }
                for flavor in group.flavors
            ],
        }
        for group in groups
    ]


def _quota(resource: str, quota: Quota | None) -> Document:
    quota = quota or Quota(0)
    limits = {"borrowingLimit": quota.borrowing_limit, "lendingLimit": quota.lending_limit}
    written = {key: _quantity(resource, value) for key, value in limits.items() if value is not None}
    return {"name": resource, "nominalQuota": _quantity(resource, quota.nominal), **written}


@to_document.register
def _flavor(one: Flavor) -> Document:
    spec = {
        "nodeLabels": dict(one.labels) or None,
        "nodeTaints": [dict(taint) for taint in one.taints] or None,
        "tolerations": [dict(toleration) for toleration in one.tolerations] or None,
        "topologyName": one.topology,
    }
    return _document("ResourceFlavor", one.name, spec)


@to_document.register
def _queue(one: ClusterQueue) -> Document:
    fungibility = {
        "whenCanBorrow": one.fungibility.when_can_borrow or None,
        "whenCanPreempt": one.fungibility.when_can_preempt or None,
        "preference": one.fungibility.preference,
    }
    checks = [_said({"name": name, "onFlavors": sorted(scope) or None}) for name, scope in one.checks]
    usage_based = {"admissionMode": "UsageBasedAdmissionFairSharing"}
    last = {"lastAcceptableFlavorName": one.last_acceptable_flavor} if one.last_acceptable_flavor else None
    migration = _said({"mode": one.migration or None, "constraints": last})
    spec = {
        "cohortName": one.cohort,
        "resourceGroups": _groups(one.groups, one.quotas) or None,
        "queueingStrategy": one.strategy,
        "preemption": _preemption(one.preemption),
        "flavorFungibility": _said(fungibility) or None,
        "namespaceSelector": one.namespace_selector,
        "fairSharing": _fair(one.weight),
        "stopPolicy": one.stop_policy,
        "admissionChecksStrategy": {"admissionChecks": checks} if checks else None,
        "admissionScope": usage_based if one.usage_based else None,
        "concurrentAdmissionPolicy": {"migration": migration} if one.concurrent else None,
    }
    return _document("ClusterQueue", one.name, spec)


def _preemption(one: Preemption) -> Document:
    borrow = None
    if one.borrow_policy is not None:
        borrow = _said({"policy": one.borrow_policy or None, "maxPriorityThreshold": one.borrow_max_priority})
    return _said(
        {
            "withinClusterQueue": one.within_queue or None,
            "reclaimWithinCohort": one.reclaim or None,
            "borrowWithinCohort": borrow,
        }
    )


@to_document.register
def _cohort(one: Cohort) -> Document:
    resources: dict[str, list[str]] = {}
    for flavor, resource in one.quotas:
        resources.setdefault(flavor, []).append(resource)
    groups: dict[frozenset[str], list[str]] = {}
    for flavor, names in resources.items():
        groups.setdefault(frozenset(names), []).append(flavor)
    listed = [ResourceGroup(covered, tuple(flavors)) for covered, flavors in groups.items()]
    spec = {
        "parentName": one.parent,
        "resourceGroups": _groups(listed, one.quotas) or None,
        "fairSharing": _fair(one.weight),
    }
    return _document("Cohort", one.name, spec)


@to_document.register
def _local_queue(one: LocalQueue) -> Document:
    spec = {"clusterQueue": one.cluster_queue, "fairSharing": _fair(one.weight), "stopPolicy": one.stop_policy}
    return _document("LocalQueue", one.name, spec, namespace=one.namespace)


@to_document.register
def _priority_class(one: PriorityClass) -> Document:
    return {**_document("WorkloadPriorityClass", one.name, None), "value": one.value, "description": one.description}


@to_document.register
def _topology(one: Topology) -> Document:
    return _document("Topology", one.name, {"levels": [{"nodeLabel": level} for level in one.levels]})


@to_document.register
def _workload(one: Workload) -> Document:
    marks = {
        BOOST: str(one.boost) if one.boost else None,
        ALLOWED_FLAVORS: None if one.allowed_flavors is None else ",".join(one.allowed_flavors),
        REPLACES: one.replaces,
        GATED_BY: one.gated_by or None,
        ELASTIC: "true" if one.elastic else None,
    }
    owners = None
    if one.parent is not None:
        name, uid = one.parent
        owners = [{"apiVersion": API, "kind": "Workload", "name": name, "uid": uid}]
    spec = {
        "queueName": one.queue or None,
        "podSets": [_pod_set(podset) for podset in one.pod_sets],
        "priority": one.priority,
        "active": one.active,
        "preemptionGates": [{"name": name} for name in one.gates] or None,
    }
    found = _document(
        "Workload",
        one.name,
        spec,
        namespace=one.namespace,
        uid=one.uid or None,
        generation=one.generation or None,
        creationTimestamp=_time(one.created_ns) if one.created_ns else None,
        labels=dict(one.labels) or None,
        annotations=_said(marks) or None,
        ownerReferences=owners,
    )
    status = _status(one)
    return {**found, "status": status} if status else found


def _status(one: Workload) -> Document:
    gates = [{"name": name, "position": "Open"} for name in sorted(one.open_gates)]
    checks = [
        _said(
            {
                "name": check.name,
                "state": check.state,
                "message": check.message,
                "lastTransitionTime": _time(0),
                "podSetUpdates": [dict(update) for update in check.updates] or None,
            }
        )
        for check in one.checks
    ]
    requeue = None if one.requeue_at_ns is None else {"requeueAt": _time(one.requeue_at_ns)}
    return _said(
        {
            "admission": None if one.admission is None else _admission(one.admission),
            "conditions": [_condition(condition) for condition in one.conditions] or None,
            "admissionChecks": checks or None,
            "reclaimablePods": [{"name": name, "count": count} for name, count in one.reclaimable.items()] or None,
            "requeueState": requeue,
            "preemptionGates": gates or None,
            "unhealthyNodes": [{"name": name} for name in one.unhealthy] or None,
        }
    )


def _time(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 10**9, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(one: Condition) -> Document:
    return {
        "type": one.type,
        "status": "True" if one.status else "False",
        "reason": one.reason,
        "message": one.message,
        "lastTransitionTime": _time(one.at_ns),
    }


def _pod_set(one: PodSet) -> Document:
    requests = {name: _quantity(name, amount) for name, amount in one.requests.items()}
    affinity = None
    terms: Document = {}
    if one.affinity_terms is not None:
        required = {"nodeSelectorTerms": [dict(term) for term in one.affinity_terms]}
        terms["requiredDuringSchedulingIgnoredDuringExecution"] = required
    if one.preferred_terms:
        terms["preferredDuringSchedulingIgnoredDuringExecution"] = [dict(term) for term in one.preferred_terms]
    if terms:
        affinity = {"nodeAffinity": terms}
    spec = {
        "containers": [{"name": "main", "resources": {"requests": requests}}],
        "nodeSelector": dict(one.node_selector) or None,
        "tolerations": [dict(toleration) for toleration in one.tolerations] or None,
        "affinity": affinity,
    }
    request = None if one.topology is None else dict(one.topology)
    entry = {"name": one.name, "count": one.count, "template": {"spec": _said(spec)}}
    return _said({**entry, "minCount": one.min_count, "topologyRequest": request})


def _admission(one: Admission) -> Document:
    assigned = [
        _said(
            {
                "name": podset.name,
                "flavors": dict(podset.flavors),
                "resourceUsage": {name: _quantity(name, amount) for name, amount in podset.usage.items()},
                "count": podset.count,
                "delayedTopologyRequest": podset.delayed,
                "topologyAssignment": packed(podset.levels, podset.topology) if podset.topology else None,
            }
        )
        for podset in one.pod_sets
    ]
    return {"clusterQueue": one.cluster_queue, "podSetAssignments": assigned}
