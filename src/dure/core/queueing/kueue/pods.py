"""What a pod template asks for: requests of one pod, defaults that its namespace gives, what is wrong with them, and
what makes two templates equal for scheduling.

The trap: requests are what a template says, until `adjusted` filled in limits, LimitRanges and the overhead of its
runtime class; Kueue does so only to workloads that it queues.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dure.core.queueing.kueue.objects import PodSet
from dure.core.queueing.kueue.quantity import add, parse

Document = Mapping[str, Any]
Amounts = dict[str, int]

_KINDS = ("initContainers", "containers")
_SCHEDULED_BY = ("nodeSelector", "affinity", "tolerations", "runtimeClassName", "priority",
                 "topologySpreadConstraints", "resourceClaims")  # fmt: skip


def amounts_of(resources: Document | None) -> Amounts:
    """Return a resource list as integers."""
    return {name: parse(name, str(value)) for name, value in (resources or {}).items()}


def _larger(left: Mapping[str, int], right: Mapping[str, int]) -> Amounts:
    return {
        name: max(left.get(name, right.get(name, 0)), right.get(name, left.get(name, 0))) for name in {**left, **right}
    }


def _smaller(left: Mapping[str, int], right: Mapping[str, int]) -> Amounts:
    return {
        name: min(left.get(name, right.get(name, 0)), right.get(name, left.get(name, 0))) for name in {**left, **right}
    }


def _total(left: Mapping[str, int], right: Mapping[str, int]) -> Amounts:
    return {name: add(left.get(name, 0), right.get(name, 0)) for name in {**left, **right}}


def _asked(container: Document, part: str = "requests") -> Amounts:
    return amounts_of((container.get("resources") or {}).get(part))


def _for_the_pod(resource: str) -> bool:
    return resource in {"cpu", "memory"} or resource.startswith("hugepages-")


def pod_requests(spec: Document) -> Amounts:
    """Return what one pod requests: containers and sidecars, at least the largest init container, plus overhead.

    Resources of the pod itself stand in for the sum where Kubernetes knows them: cpu, memory and huge pages.
    """
    total: Amounts = {}
    for container in spec.get("containers") or ():
        total = _total(total, _asked(container))
    sidecars: Amounts = {}
    start: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _asked(container)
        if container.get("restartPolicy") == "Always":
            total = _total(total, own)
            sidecars = _total(sidecars, own)
            start = _larger(start, sidecars)
        else:
            start = _larger(start, _total(own, sidecars))
    total = _larger(total, start)
    total.update({name: amount for name, amount in _asked(spec).items() if _for_the_pod(name)})
    return {name: max(0, amount) for name, amount in _total(total, amounts_of(spec.get("overhead"))).items()}


class Ranges:
    """The LimitRanges of one namespace, together: the lowest maxima, the highest minima, the first defaults."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self.least: dict[str, Amounts] = {}
        self.most: dict[str, Amounts] = {}
        self.limits: dict[str, dict[str, str]] = {}
        self.requests: dict[str, dict[str, str]] = {}
        for one in documents:
            items = (one.get("spec") or {}).get("limits") or ()
            defaults = any(item.get("type") in {"Container", "Pod"} for item in items)
            for item in items:
                kind = item.get("type", "")
                self.least[kind] = _larger(self.least.get(kind, {}), amounts_of(item.get("min")))
                self.most[kind] = _smaller(self.most.get(kind, {}), amounts_of(item.get("max")))
                if defaults:
                    self.limits[kind] = {**(item.get("default") or {}), **self.limits.get(kind, {})}
                    self.requests[kind] = {**(item.get("defaultRequest") or {}), **self.requests.get(kind, {})}

    def fill(self, holder: Document, kind: str) -> dict[str, Any]:
        """Return a container or pod with the defaults of its kind, and with limits where no request was made."""
        resources = holder.get("resources") or {}
        limits = {**self.limits.get(kind, {}), **(resources.get("limits") or {})}
        requests = {**limits, **self.requests.get(kind, {}), **(resources.get("requests") or {})}
        return {**holder, "resources": {**resources, "limits": limits, "requests": requests}}


def adjusted(spec: Document, ranges: Ranges, overheads: Mapping[str, Document] | None = None) -> dict[str, Any]:
    """Return a pod spec as Kueue queues it: defaults of its namespace, limits as requests, its runtime's overhead.

    `overheads` are those of runtime classes by name.
    """
    changed = dict(spec)
    for kind in _KINDS:
        if spec.get(kind):
            changed[kind] = [ranges.fill(container, "Container") for container in spec[kind]]
    if spec.get("resources") is not None:
        changed = ranges.fill(changed, "Pod")
    overhead = (overheads or {}).get(spec.get("runtimeClassName") or "")
    if overhead is not None and not spec.get("overhead"):
        changed["overhead"] = overhead
    return changed


def _told(where: str, names: Iterable[str], what: str) -> list[str]:
    listed = ",".join(f'"{name}"' for name in sorted(names))
    return [f"{where}: Invalid value: [{listed}]: requests must not {what}"] if listed else []


def _above(left: Mapping[str, int], right: Mapping[str, int]) -> list[str]:
    return [name for name, amount in left.items() if name in right and amount > right[name]]


def problems_of(spec: Document, index: int) -> tuple[str, ...]:
    """Return which requests exceed their limits, in Kueue's words; `index` is the pod set's place."""
    at = f"spec.podSets[{index}].template.spec"
    found = []
    for kind in _KINDS:
        for place, container in enumerate(spec.get(kind) or ()):
            over = _above(_asked(container), _asked(container, "limits"))
            found += _told(f"{at}.{kind}[{place}]", over, "exceed its limits")
    found += _told(f"{at}.resources", _above(_asked(spec), _asked(spec, "limits")), "exceed its limits")
    return tuple(found)


def misfits_of(spec: Document, index: int, ranges: Ranges) -> tuple[str, ...]:
    """Return what the LimitRanges of a namespace refuse in a pod spec, in Kueue's words."""
    at = f"spec.podSets[{index}].template.spec"
    found: list[str] = []

    def check(where: str, kind: str, lower: Mapping[str, int], upper: Mapping[str, int]) -> None:
        found.extend(_told(where, _above(upper, ranges.most.get(kind, {})), "be above the limitRange max"))
        found.extend(_told(where, _above(ranges.least.get(kind, {}), lower), "be below the limitRange min"))

    for kind in _KINDS:
        for place, container in enumerate(spec.get(kind) or ()):
            requests, limits = _asked(container), _asked(container, "limits")
            check(f"{at}.{kind}[{place}]", "Container", _smaller(requests, limits), _larger(requests, limits))
    total = pod_requests(spec)
    check(at, "Pod", total, total)
    return tuple(found)


def shape_of(spec: Document) -> str:
    """Return what makes two pod specs equal for scheduling, as a text: names, images and limits do not count."""
    shape: dict[str, Any] = {name: spec.get(name) for name in _SCHEDULED_BY}
    shape |= {kind: [(_asked(one), one.get("ports")) for one in spec.get(kind) or ()] for kind in _KINDS}
    shape["overhead"] = amounts_of(spec.get("overhead"))
    if spec.get("resources") is not None:
        shape["resources"] = _asked(spec)
    return json.dumps(shape, sort_keys=True)


def pod_set_of(document: Document, index: int = 0, ranges: Ranges | None = None) -> PodSet:
    """Return the pod set that one entry of `podSets` describes; `index` is its place, for messages."""
    spec = (document.get("template") or {}).get("spec") or {}
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return PodSet(
        name=document.get("name") or "main",
        count=document.get("count", 0),
        requests=pod_requests(spec),
        min_count=document.get("minCount"),
        node_selector=spec.get("nodeSelector") or {},
        affinity_terms=None if required is None else tuple(required.get("nodeSelectorTerms") or ()),
        preferred_terms=tuple(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()),
        tolerations=tuple(spec.get("tolerations") or ()),
        topology=document.get("topologyRequest"),
        shape=shape_of(spec),
        problems=problems_of(spec, index),
        misfits=misfits_of(spec, index, ranges) if ranges is not None else (),
    )
