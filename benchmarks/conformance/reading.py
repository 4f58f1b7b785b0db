"""How a case is read: gates, amounts by flavor and resource, and what the engine does not support.

The trap: a field of a case that is not known here makes the case unsupported; it must never be passed over in
silence.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dure.core.queueing.kueue import shapes
from dure.core.queueing.kueue.features import gates_from, unknown
from dure.core.queueing.kueue.objects import Amounts, ClusterQueue, Flavor, Gates
from dure.core.queueing.kueue.quantity import parse

Document = dict[str, Any]
T = TypeVar("T")


class UnsupportedError(Exception):
    """The case needs something that the engine does not do; the message says what."""


class MismatchError(Exception):
    """The engine's answer differs from the case's."""


class Part(dict[str, Any]):
    """The fields of a case; one that has to be there and is not makes the case unsupported."""

    def __missing__(self, key: str) -> Any:
        """Refuse the case."""
        raise UnsupportedError(f"no {key} in the case")


@dataclass(frozen=True)
class Case:
    """One line of a file of cases."""

    test: str
    name: str
    tc: Document
    shared: Document

    def known(self, *keys: str) -> None:
        """Refuse the case when it has other fields than these."""
        odd = sorted(set(self.tc) - set(keys) - {"featureGates"})
        if odd:
            raise UnsupportedError(f"field {', '.join(odd)}")


def gates_of(tc: Mapping[str, Any], **forced: bool) -> Gates:
    """Return the gates of a case."""
    named = tc.get("featureGates") or {}
    odd = unknown(named)
    if odd:
        raise UnsupportedError(f"feature gate {', '.join(odd)}")
    return gates_from(named, **forced)


def key_of(text: str) -> tuple[str, str]:
    """Return the flavor and resource that a JSON key names."""
    pair = json.loads(text)
    return pair["Flavor"], pair["Resource"]


def amounts_of(document: Mapping[str, Any] | None) -> Amounts:
    """Return amounts that are keyed by flavor and resource; absent values are 0."""
    return {key_of(text): value.get("value", 0) for text, value in (document or {}).items()}


def nonzero(amounts: Mapping[Any, int]) -> dict[Any, int]:
    """Return the amounts that are not 0."""
    return {key: value for key, value in amounts.items() if value}


def parsed(resources: Mapping[str, str] | None) -> dict[str, int]:
    """Return a resource list as integers."""
    return {name: parse(name, str(value)) for name, value in (resources or {}).items()}


def word(text: str | None) -> str:
    """Return the first word of what Go prints for a constant, for instance `Fit` of `Fit(Fit)`."""
    return (text or "").split("(")[0]


def with_all_flavors(queues: Sequence[ClusterQueue], known: Iterable[Flavor] = ()) -> list[Flavor]:
    """Return these flavors and plain ones for all others that the queues name: the table's queues are active."""
    there = list(known)
    listed = {name for queue in queues for group in queue.groups for name in group.flavors}
    return [*there, *(Flavor(name) for name in sorted(listed - {one.name for one in there}))]


def named(what: str, known: Mapping[str, T], name: str) -> T:
    """Return what the case names; Kueue itself would not survive a name that is not there."""
    if name not in known:
        raise UnsupportedError(f"{what} {name!r} is not in the case")
    return known[name]


def same(what: str, wanted: object, got: object) -> None:
    """Raise MismatchError when the two differ."""
    if wanted != got:
        raise MismatchError(f"{what}: wanted {wanted!r}, got {got!r}")


def queue_of(document: Document) -> ClusterQueue:
    """Return a queue as the case's own code gives it to Kueue: no API server filled in defaults."""
    return shapes.queue_of(document, fill=False)


def quota_document(
    name: str, flavors: Collection[tuple[str, Mapping[str, str | Mapping[str, str]]]], **spec: Any
) -> Document:
    """Return a ClusterQueue with one resource group: per flavor the nominal quotas, or the whole quota entries."""
    listed = [
        {
            "name": flavor,
            "resources": [
                {"name": res, **({"nominalQuota": value} if isinstance(value, str) else value)}
                for res, value in quotas.items()
            ],
        }
        for flavor, quotas in flavors
    ]
    covered = sorted({res for _, quotas in flavors for res in quotas})
    groups = spec.pop("groups", [{"coveredResources": covered, "flavors": listed}])
    defaults = {"whenCanBorrow": "MayStopSearch", "whenCanPreempt": "TryNextFlavor"}
    return {
        "metadata": {"name": name},
        "spec": {"namespaceSelector": {}, "flavorFungibility": defaults, "resourceGroups": groups, **spec},
    }
