"""Whether a case has the form of its format, so that one which nobody could run is told apart from a wrong answer.

What is checked is each field of Kueue's and Kubernetes' objects whose name has one form wherever it stands. The trap:
the keys of maps such as labels are data and may be called anything, so nothing is asked of them.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_OBJECT, _OBJECTS, _TEXTS = "an object", "a list of objects", "a list of texts"
_TEXT, _WHOLE, _NUMBER, _FLAG = "a text", "a whole number", "a number", "true or false"
_EITHER, _NAMED = "an object or a list", "an object or a text"
_OF_OBJECTS = {
    _OBJECT: "metadata spec template admission labels annotations nodeLabels nodeSelector requests limits "
    "resourceUsage matchLabels preemption borrowWithinCohort flavorFungibility namespaceSelector fairSharing "
    "admissionScope affinity topologyRequest",
    _OBJECTS: "podSets podSetAssignments containers initContainers conditions resourceGroups nodeTaints taints "
    "tolerations matchExpressions ownerReferences resourceRequests preemptionGates",
    _TEXTS: "coveredResources values onFlavors",
    _TEXT: "name namespace uid kind apiVersion cohortName parentName queueName topologyName key operator effect type "
    "reason message policy preference queueingStrategy stopPolicy whenCanBorrow whenCanPreempt withinClusterQueue "
    "reclaimWithinCohort creationTimestamp lastTransitionTime admissionMode nodeLabel resourceVersion restartPolicy "
    "state",
    _WHOLE: "count minCount priority maxPriorityThreshold observedGeneration generation",
    _FLAG: "controller blockOwnerDeletion active",
    _EITHER: "flavors resources",
    _NAMED: "clusterQueue",
}
_OF_CASES = {
    _OBJECT: "cfg drs incoming preemptor candidate podSet featureGates",
    _OBJECTS: "workloads wantWorkloads admitted wls wlPods additionalClusterQueues additionalLocalQueues topologies "
    "nodes levels evictions",
    _TEXT: "Name",
    _TEXTS: "wantCandidates wantOrder",
    _WHOLE: "preemptionMode borrowingLevel borrowingAfterSimulation fairWeight unweightedRatio Count Borrow "
    "countLimit hash",
    _NUMBER: "LocalQueueFSUsage",
    _FLAG: "enableFairSharing",
    _EITHER: "clusterQueues cohorts queues resourceFlavors",
}
_HERE, _THERE = (
    {name: form for form, names in some.items() for name in names.split()} for some in (_OF_OBJECTS, _OF_CASES)
)
_ROOTS = frozenset({"metadata", "spec", "template"})
_LABELS = frozenset({"labels", "annotations", "nodeLabels", "nodeSelector", "matchLabels"})
_MAPS = _LABELS | {"requests", "limits", "resourceUsage"}
_NULLS = frozenset({_OBJECT, _OBJECTS, _TEXTS, _EITHER})
_TIMES = frozenset({"creationTimestamp", "lastTransitionTime"})
_READERS = frozenset({"shapes.py", "pods.py", "quantity.py", "features.py"})


def malformed(document: object, path: str = "tc", *, strict: bool = False, inside: bool = False) -> str | None:
    """Return the first field that has not its form, with its place and what would be right; None without one.

    Fields of objects only, for other tables may call their own fields alike; `strict`: those of known tables too, and
    no null where a value belongs. `inside` says that the document is part of an object.
    """
    if isinstance(document, list):
        parts = [(f"{path}[{number}]", item, inside) for number, item in enumerate(document)]
    elif isinstance(document, Mapping):
        parts = []
        for name, value in document.items():
            fault = _fault(name, value, f"{path}.{name}", strict=strict, inside=inside)
            if fault:
                return fault
            if name not in _MAPS:
                parts.append((f"{path}.{name}", value, inside or name in _ROOTS or name == "status"))
    else:
        return None
    found = (malformed(value, place, strict=strict, inside=within) for place, value, within in parts)
    return next((fault for fault in found if fault), None)


def _fault(name: str, value: Any, place: str, *, strict: bool, inside: bool) -> str | None:
    """Return what is wrong with one field itself."""
    form = _HERE.get(name) if inside or strict or name in _ROOTS else None
    form = _THERE.get(name) if form is None and strict else form
    assigned = name == "flavors" and ".podSetAssignments[" in place
    if assigned or (strict and name == "Flavors"):
        form = _OBJECT
    elif name == "clusterQueue" and place.endswith(".admission.clusterQueue"):
        form = _TEXT
    elif name == "value" and strict:
        form = _TEXT if inside else _WHOLE  # of a taint or label; of an amount
    if name.startswith('{"Flavor"') and isinstance(value, Mapping) and "value" in value:
        place, value, form = f"{place}.value", value["value"], _WHOLE
    if form is None or (value is None and (not strict or form in _NULLS or name in _TIMES)):
        return None
    if not _has(form, value):
        return f"{place} is {_shown(value)}, not {form}"
    if isinstance(value, Mapping) and (name in _LABELS or assigned):
        odd = next((key for key, text in value.items() if not isinstance(text, str)), None)
        return None if odd is None else f"{place}.{odd} is {_shown(value[odd])}, not {_TEXT}"
    return None


def while_reading(error: BaseException) -> bool:
    """Return whether an error arose where cases are read, and not in the engine."""
    here = Path(__file__).resolve()
    own = [
        Path(frame.filename)
        for frame in traceback.extract_tb(error.__traceback__)
        if here.parents[2] in Path(frame.filename).resolve().parents and "site-packages" not in frame.filename
    ]
    return bool(own) and (own[-1].resolve().parent == here.parent or own[-1].name in _READERS)


def _has(form: str, value: Any) -> bool:
    if form == _OBJECT:
        return isinstance(value, Mapping)
    if form == _OBJECTS:
        return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)
    if form == _NAMED:
        return isinstance(value, Mapping | str)
    if form == _NUMBER:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if form == _EITHER:
        return isinstance(value, Mapping | list)
    if form == _TEXTS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if form == _WHOLE:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str if form == _TEXT else bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
