"""The fields of Kueue's objects that queueing reads, and whether a document keeps to them, as an API server would ask.

`v1beta2`, and what `v1beta1` called otherwise. The trap: a misspelt limit would silently be no limit, so a field that
is not known here is a problem; `null` is the same as absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dure.core.document import Path, did_you_mean
from dure.core.queueing.kueue.quantity import parse_float

GROUP = "kueue.x-k8s.io/"
VERSIONS = ("v1beta2", "v1beta1")

_ANY, _TEXT, _WHOLE, _QUANTITY = "anything", "text", "a whole number", "a quantity such as 8"
_STOP = ("None", "Hold", "HoldAndDrain")
_FAIR = {"weight": _QUANTITY}
_RESOURCE = {"name": _TEXT, "nominalQuota": _QUANTITY, "borrowingLimit": _QUANTITY, "lendingLimit": _QUANTITY}
_GROUPS = [{"coveredResources": [_TEXT], "flavors": [{"name": _TEXT, "resources": [_RESOURCE]}]}]
_TAINT = {"key": _TEXT, "value": _ANY, "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"), "timeAdded": _ANY}
_TOLERATION = {"key": _TEXT, "operator": _TEXT, "value": _ANY, "effect": _TEXT, "tolerationSeconds": _WHOLE}
_SELECTOR = {"matchLabels": {"*": _TEXT}, "matchExpressions": [{"key": _TEXT, "operator": _TEXT, "values": [_TEXT]}]}
_SPECS: dict[str, Any] = {
    "ResourceFlavor": {
        "nodeLabels": {"*": _TEXT},
        "nodeTaints": [_TAINT],
        "tolerations": [_TOLERATION],
        "topologyName": _TEXT,
    },
    "ClusterQueue": {
        "cohortName": _TEXT,
        "cohort": _TEXT,
        "resourceGroups": _GROUPS,
        "queueingStrategy": ("BestEffortFIFO", "StrictFIFO"),
        "preemption": {
            "withinClusterQueue": ("Never", "LowerPriority", "LowerOrNewerEqualPriority"),
            "reclaimWithinCohort": ("Never", "LowerPriority", "Any"),
            "borrowWithinCohort": {"policy": ("Never", "LowerPriority"), "maxPriorityThreshold": _WHOLE},
        },
        "flavorFungibility": {
            "whenCanBorrow": ("MayStopSearch", "TryNextFlavor", "Borrow"),
            "whenCanPreempt": ("MayStopSearch", "TryNextFlavor", "Preempt"),
            "preference": ("BorrowingOverPreemption", "PreemptionOverBorrowing"),
        },
        "namespaceSelector": _SELECTOR,
        "fairSharing": _FAIR,
        "stopPolicy": _STOP,
        "admissionChecks": [_TEXT],
        "admissionChecksStrategy": {"admissionChecks": [{"name": _TEXT, "onFlavors": [_TEXT]}]},
        "admissionScope": {"admissionMode": ("UsageBasedAdmissionFairSharing", "NoAdmissionFairSharing")},
        "concurrentAdmissionPolicy": _ANY,
    },
    "Cohort": {"parentName": _TEXT, "parent": _TEXT, "resourceGroups": _GROUPS, "fairSharing": _FAIR},
    "LocalQueue": {"clusterQueue": _TEXT, "fairSharing": _FAIR, "stopPolicy": _STOP},
    "WorkloadPriorityClass": None,
}
_NEEDED = {"name", "nominalQuota", "clusterQueue", "coveredResources", "resources"}
KINDS = tuple(_SPECS)
OTHER_KINDS = (
    "Workload",
    "Topology",
    "AdmissionCheck",
    "MultiKueueCluster",
    "MultiKueueConfig",
    "ProvisioningRequestConfig",
)
"""Kueue's other kinds, which say nothing of quotas."""

Fault = tuple[Path, str, str]
"""Where in the document, what is wrong there, what would be right."""


def faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with the form of one document, which is of one of `KINDS`."""
    kind = document["kind"]
    known = [GROUP + version for version in VERSIONS]
    if document.get("apiVersion") not in known:
        yield ("apiVersion",), f"{document.get('apiVersion')!r} is not known", " or ".join(known)
    shape = {"apiVersion": _ANY, "kind": _ANY, "metadata": {"*": _ANY, "name": _TEXT, "namespace": _TEXT}}
    if _SPECS[kind] is None:
        shape |= {"value": _WHOLE, "description": _TEXT}
    else:
        shape |= {"spec": _SPECS[kind], "status": _ANY}
    metadata = document.get("metadata")
    named = ("name", "namespace") if kind == "LocalQueue" else ("name",)
    for key in named:
        if isinstance(metadata, Mapping) and metadata.get(key) is None:
            yield ("metadata",), f"{key} is missing", "the object's name and, for a LocalQueue, its namespace"
    if metadata is None:
        yield (), "metadata is missing", "`metadata` with the object's name"
    if kind == "LocalQueue" and document.get("spec") is None:
        yield (), "spec is missing", "`spec: {clusterQueue: …}`"
    if kind == "WorkloadPriorityClass" and document.get("value") is None:
        yield (), "value is missing", "`value` with a whole number"
    yield from _faults((), document, shape)


def _faults(path: Path, value: Any, shape: Any) -> Iterator[Fault]:
    if value is None or shape == _ANY:
        return
    if isinstance(shape, dict):
        yield from _in_mapping(path, value, shape)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield path, f"{value!r} is not a list", "a list"
            return
        for index, item in enumerate(value):
            if item is None:
                yield (*path, index), "is empty", "an entry"
            yield from _faults((*path, index), item, shape[0])
    elif isinstance(shape, tuple):
        if value not in shape:
            yield path, f"{value!r} is not allowed", f"one of {', '.join(shape)}{did_you_mean(value, shape)}"
    elif not _is(value, shape):
        yield path, f"{value!r} is not {shape}", shape


def _in_mapping(path: Path, value: Any, shape: dict[str, Any]) -> Iterator[Fault]:
    if not isinstance(value, Mapping):
        yield path, f"{value!r} is not a mapping", "keys with values"
        return
    choices = [key for key in shape if key != "*"]
    for key, content in value.items():
        if key not in shape and "*" not in shape:
            yield (
                (*path, str(key)),
                f"{key!r} is not a field here",
                f"one of {', '.join(choices)}{did_you_mean(key, choices)}",
            )
        else:
            yield from _faults((*path, str(key)), content, shape.get(key, shape.get("*")))
    for key in choices if path[:1] == ("spec",) else ():
        if key in _NEEDED and value.get(key) is None and not (key == "name" and "key" in choices):
            yield path, f"{key} is missing", f"`{key}` with {shape[key] if isinstance(shape[key], str) else 'a list'}"


def _is(value: Any, shape: str) -> bool:
    if shape == _TEXT:
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    if shape == _WHOLE:
        return isinstance(value, int)
    if not isinstance(value, str | int | float):
        return False
    try:
        amount = parse_float(str(value))
    except ValueError:
        return False
    return amount == amount and abs(amount) != float("inf")  # noqa: PLR0124 -- NaN is no quantity
