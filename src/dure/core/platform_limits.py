"""Reads a team's `limits`, `user_limits` and budgets, and who may reserve GPUs, from the platform document.

The trap: 0 is a limit (nothing at all) and only an absent or null one is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.core.document import Path, Reader
from dure.core.model import BudgetAction, Limit, ReservationPolicy

KEYS = ("limits", "user_limits", "budget_per_month", "budget_gpu_hours_per_month", "budget_action")
_LIMIT_KEYS = ("jobs", "gpus", "gpu_hours_per_day", "pending")


def limits(reader: Reader, path: Path, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Team` that limit it."""
    actions = tuple(action.value for action in BudgetAction)
    action = reader.choice(path, item, "budget_action", actions, default=BudgetAction.BURST.value)
    budgets = {
        key: reader.number(path, item, key, default=None) for key in ("budget_per_month", "budget_gpu_hours_per_month")
    }
    if action in {BudgetAction.SOFT, BudgetAction.HARD} and all(budget is None for budget in budgets.values()):
        right = "`budget_per_month` (money) or `budget_gpu_hours_per_month` beside it, or no budget_action"
        if not reader.has(((*path, "budget_per_month"), (*path, "budget_gpu_hours_per_month"))):
            reader.add((*path, "budget_action"), f"{action} acts on a budget, and the team has none", right)
    return {
        "limits": _limit(reader, (*path, "limits"), item.get("limits", {})),
        "user_limits": _limit(reader, (*path, "user_limits"), item.get("user_limits", {})),
        "budget_action": BudgetAction(action or BudgetAction.BURST),
        **budgets,
    }


def reservations(reader: Reader, top: Mapping[str, Any]) -> ReservationPolicy:
    """Return what the section `reservations` says."""
    path: Path = ("reservations",)
    item = reader.mapping(path, top.get("reservations", {}), ("members", "grace_s", "ahead_days"))
    usual = ReservationPolicy()
    return ReservationPolicy(
        members=reader.flag(path, item, "members", default=usual.members),
        grace_s=reader.seconds(path, item, "grace_s", usual.grace_s),
        ahead_days=reader.number(path, item, "ahead_days", default=usual.ahead_days, above=0) or usual.ahead_days,
    )


def _limit(reader: Reader, path: Path, value: Any) -> Limit:
    item = reader.mapping(path, {} if value is None else value, _LIMIT_KEYS)
    return Limit(
        jobs=_count(reader, path, item, "jobs"),
        gpus_milli=reader.gpus_milli((*path, "gpus"), item["gpus"]) if item.get("gpus") is not None else None,
        gpu_hours_per_day=reader.number(path, item, "gpu_hours_per_day", default=None),
        pending=_count(reader, path, item, "pending"),
    )


def _count(reader: Reader, path: Path, item: Mapping[str, Any], key: str) -> int | None:
    return None if item.get(key) is None else reader.integer(path, item, key, least=0)
