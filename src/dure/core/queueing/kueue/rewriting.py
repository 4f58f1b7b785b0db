"""What a controller's configuration makes of requests before they are queued: resources left out, and made of others.

Kueue's `resources.excludeResourcePrefixes` and `resources.transformations`. The trap: only what is counted by quota
changes; pods are placed on nodes by what they request themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dure.core.queueing.kueue.quantity import UNLIMITED, exact


@dataclass(frozen=True, slots=True)
class Transformation:
    """What a unit of a resource is counted as; `replaces` drops the resource itself, `times` names a multiplier."""

    resource: str
    outputs: Mapping[str, Fraction]
    times: str = ""
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Rewriting:
    """How a configuration rewrites what one pod requests; as it stands, nothing is rewritten."""

    excluded_prefixes: tuple[str, ...] = ()
    transformations: tuple[Transformation, ...] = ()

    def counted(self, requests: Mapping[str, int]) -> Mapping[str, int]:
        """Return the amounts of one pod that count: what transformations make never lessens what was requested."""
        left = {name: amount for name, amount in requests.items() if not name.startswith(self.excluded_prefixes)}
        by_input = {one.resource: one for one in self.transformations}
        if by_input.keys().isdisjoint(left):
            return left
        kept: dict[str, Fraction] = {}
        made: dict[str, Fraction] = {}
        for name, amount in left.items():
            value = Fraction(amount, _unit(name))
            one = by_input.get(name)
            if one is None or not one.replaces:
                kept[name] = value
            if one is None:
                continue
            if one.times in left:
                value *= Fraction(left[one.times], _unit(one.times))
            for output, factor in one.outputs.items():
                made[output] = made.get(output, Fraction()) + value * factor
        return {
            name: min(UNLIMITED, max(0, math.ceil((kept.get(name, 0) + max(made.get(name, 0), 0)) * _unit(name))))
            for name in {**kept, **made}
        }


AS_REQUESTED = Rewriting()
"""Requests count as they are."""


def rewriting_of(configuration: Mapping[str, Any]) -> Rewriting:
    """Return what the `resources` of a Configuration say. Raises ValueError where a factor is no quantity."""
    return Rewriting(
        tuple(configuration.get("excludeResourcePrefixes") or ()),
        tuple(
            Transformation(
                resource=one["input"],
                outputs={name: Fraction(exact(str(factor))) for name, factor in (one.get("outputs") or {}).items()},
                times=one.get("multiplyBy") or "",
                replaces=one.get("strategy") == "Replace",
            )
            for one in configuration.get("transformations") or ()
        ),
    )


def _unit(resource: str) -> int:
    return 1000 if resource == "cpu" else 1
