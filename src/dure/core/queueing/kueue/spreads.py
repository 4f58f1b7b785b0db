"""Where the pods of an admitted pod set are, in the packed form of `status.admission` (Kueue's `topologyAssignment`).

`v1beta2` packs domains into slices of common prefixes and counts, `v1beta1` lists them; both are read, the first is
written. The trap: where leaves are nodes only the host's name is in it, not the levels above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dure.core.queueing.kueue.domains import Spread

Document = Mapping[str, Any]


def _common(values: Sequence[str]) -> str:
    """Return the longest text that all begin with."""
    least, most = min(values), max(values)
    end = next((at for at, letter in enumerate(least) if letter != most[at]), len(least))
    return least[:end]


def _value(packed: Document, index: int) -> str:
    if packed.get("universal") is not None:
        return str(packed["universal"])
    parts = packed.get("individual") or {}
    return f"{parts.get('prefix') or ''}{(parts.get('roots') or [''])[index]}{parts.get('suffix') or ''}"


def _count(packed: Document, index: int) -> int:
    found = packed.get("universal")
    return int(packed["individual"][index] if found is None else found)


def unpacked(document: Document | None) -> tuple[tuple[str, ...], Spread]:
    """Return the levels of a topology assignment, and where the pods are."""
    if not document:
        return (), ()
    levels = tuple(str(level) for level in document.get("levels") or ())
    spread = [
        (tuple(str(value) for value in one["values"]), int(one["count"])) for one in document.get("domains") or ()
    ]
    for one in document.get("slices") or ():
        for index in range(int(one.get("domainCount", 0))):
            values = tuple(_value(packed, index) for packed in one.get("valuesPerLevel") or ())
            spread.append((values, _count(one.get("podCounts") or {}, index)))
    return levels, tuple(spread)


def _packed_values(values: Sequence[str]) -> dict[str, Any]:
    prefix = _common(values)
    if all(value == prefix for value in values):
        return {"universal": prefix}
    suffix = _common([value[len(prefix) :][::-1] for value in values])[::-1]
    roots = [value[len(prefix) : len(value) - len(suffix)] for value in values]
    found: dict[str, Any] = {"roots": roots}
    if prefix:
        found["prefix"] = prefix
    if suffix:
        found["suffix"] = suffix
    return {"individual": found}


def packed(levels: Sequence[str], spread: Spread) -> dict[str, Any]:
    """Return the topology assignment of these domains, as one slice."""
    if not spread:
        return {"levels": list(levels), "slices": []}
    counts = [count for _, count in spread]
    pods = {"universal": counts[0]} if len(set(counts)) == 1 else {"individual": counts}
    values = [_packed_values([one[level] for one, _ in spread]) for level in range(len(levels))]
    return {
        "levels": list(levels),
        "slices": [{"domainCount": len(spread), "valuesPerLevel": values, "podCounts": pods}],
    }
