"""Admission fair sharing: what each local queue used, fading with a half-life, and the price of entering.

Amounts are exact fractions in whole units (cores for cpu), scaled ones cut to nine decimals as in Kueue, so that equal
use is equal. The trap: the entry price is charged when a workload is admitted and replaced by measured usage later, so
both count until then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from dure.core.queueing.kueue.infos import Requests
from dure.core.queueing.kueue.objects import Settings, UsagePolicy
from dure.core.queueing.kueue.snapshot import QueueNode

Amounts = Mapping[str, Fraction]
_CUT = 10**9


def fading(elapsed_s: float, half_life_s: float) -> float:
    """Return the share by which past usage gives way to new; 0 without a half-life."""
    return 0.0 if half_life_s == 0 else 1.0 - 0.5 ** (elapsed_s / half_life_s)


def scaled(amount: Fraction, by: float) -> Fraction:
    """Return a part of an amount, cut after nine decimals."""
    return Fraction(int(amount * Fraction(Decimal(repr(by))) * _CUT), _CUT)


def faded(old: Amounts, new: Amounts, elapsed_s: float, half_life_s: float) -> dict[str, Fraction]:
    """Return the usage after so long, given what was used before and what is used now."""
    alpha, nothing = fading(elapsed_s, half_life_s), Fraction(0)
    names = {**old, **new}
    return {name: scaled(old.get(name, nothing), 1 - alpha) + scaled(new.get(name, nothing), alpha) for name in names}


def natural(amounts: Mapping[str, int]) -> dict[str, Fraction]:
    """Return integer amounts in whole units."""
    return {name: Fraction(amount, 1000 if name == "cpu" else 1) for name, amount in amounts.items()}


def priced(requests: Iterable[Requests], queue: QueueNode, settings: Settings) -> dict[str, int]:
    """Return what a workload is charged for when it is admitted; what the queue ignores is free."""
    total: dict[str, int] = {}
    for one in requests:
        for name, amount in one.amounts.items():
            if not (settings.ignores_undeclared and queue.group_of(name) is None):
                total[name] = total.get(name, 0) + amount
    return total


@dataclass(slots=True)
class UsageLedger:
    """What every local queue (`namespace/name`) used, and what its recent entries cost."""

    policy: UsagePolicy
    weights: dict[str, float] = field(default_factory=dict)
    consumed: dict[str, dict[str, Fraction]] = field(default_factory=dict)
    _penalties: dict[str, dict[str, dict[str, Fraction]]] = field(default_factory=dict)

    def enter(self, local_queue: str, workload: str, amounts: Mapping[str, int]) -> None:
        """Charge the queue for an admitted workload, until whoever measures its use (`consumed`) lets it `leave`."""
        alpha = fading(self.policy.sampling_s, self.policy.half_life_s)
        price = {name: scaled(amount, alpha) for name, amount in natural(amounts).items()}
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
                total[name] = total.get(name, Fraction(0)) + amount
        return sum(self.policy.resource_weights.get(name, 1.0) * float(total[name]) for name in sorted(total)) / weight
