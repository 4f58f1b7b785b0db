"""Admission fair sharing: what each local queue used, fading with a half-life, and the price of entering.

Amounts are floating-point in whole units (cores for cpu). The trap: the entry price is charged when a workload is
admitted and replaced by measured usage later, so both count until then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from dure.core.queueing.kueue.objects import UsagePolicy

Floats = Mapping[str, float]


def fading(elapsed_s: float, half_life_s: float) -> float:
    """Return the share by which past usage gives way to new; 0 without a half-life."""
    return 0.0 if half_life_s == 0 else 1.0 - 0.5 ** (elapsed_s / half_life_s)


def faded(old: Floats, new: Floats, elapsed_s: float, half_life_s: float) -> dict[str, float]:
    """Return the usage after so long, given what was used before and what is used now."""
    alpha = fading(elapsed_s, half_life_s)
    return {name: old.get(name, 0.0) * (1 - alpha) + new.get(name, 0.0) * alpha for name in {**old, **new}}


def natural(amounts: Mapping[str, int]) -> dict[str, float]:
    """Return integer amounts in whole units."""
    return {name: amount / 1000 if name == "cpu" else float(amount) for name, amount in amounts.items()}


@dataclass(slots=True)
class UsageLedger:
    """What every local queue (`namespace/name`) used, and what its recent entries cost."""

    policy: UsagePolicy
    weights: dict[str, float] = field(default_factory=dict)
    consumed: dict[str, dict[str, float]] = field(default_factory=dict)
    _penalties: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def enter(self, local_queue: str, workload: str, amounts: Mapping[str, int]) -> None:
        """Charge the queue for an admitted workload."""
        alpha = fading(self.policy.sampling_s, self.policy.half_life_s)
        price = {name: amount * alpha for name, amount in natural(amounts).items()}
        self._penalties.setdefault(local_queue, {})[workload] = price

    def copy(self) -> UsageLedger:
        """Return a ledger that changes on its own."""
        consumed = {name: dict(used) for name, used in self.consumed.items()}
        penalties = {name: dict(prices) for name, prices in self._penalties.items()}
        return UsageLedger(self.policy, dict(self.weights), consumed, penalties)

    def restore(self, other: UsageLedger) -> None:
        """Become as the other ledger, which is not used any more."""
        self.weights, self.consumed, self._penalties = other.weights, other.consumed, other._penalties

    def leave(self, local_queue: str, workload: str) -> None:
        """Take the charge back."""
        self._penalties.get(local_queue, {}).pop(workload, None)

    def usage(self, local_queue: str) -> float:
        """Return the weighted usage of the queue; infinite when its weight is 0."""
        weight = self.weights.get(local_queue, 1.0)
        if weight <= 0:
            return math.inf
        total = dict(self.consumed.get(local_queue, {}))
        for price in self._penalties.get(local_queue, {}).values():
            for name, amount in price.items():
                total[name] = total.get(name, 0.0) + amount
        return sum(self.policy.resource_weights.get(name, 1.0) * total[name] for name in sorted(total)) / weight
