"""Reads the queueing part of a platform document: quotas, cohorts, strategy, preemption, fair sharing, backfill.

Words and choices are Kueue's. The trap: a cohort may name as parent one that stands below it in the file, so parents
are checked after all are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dure.core.document import Path, Reader, did_you_mean
from dure.core.model import ROOT_COHORT, WHOLE_GPU_MILLI, Cluster, ClusterKind, Cohort, QueueingPolicy, Team

QUOTA_KEYS = ("nominal_quota", "borrowing_limit", "lending_limit")
STRATEGIES = ("BestEffortFIFO", "StrictFIFO")
WITHIN = ("Never", "LowerPriority", "LowerOrNewerEqualPriority")
RECLAIM = ("Never", "LowerPriority", "Any")
BORROW = ("Never", "LowerPriority")

_FIELDS = {"nominal_quota": "quota_milli", "borrowing_limit": "borrowing_milli", "lending_limit": "lending_milli"}
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_LABEL_RULE = "1 to 63 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"


def name_of(reader: Reader, path: Path, item: Mapping[str, Any], section: str | Path) -> str:
    """Return the item's name, checked to be a Kubernetes label and the only one of its section."""
    name = reader.text(path, item, "name", default=None, pattern=_LABEL, rule=_LABEL_RULE)
    if isinstance(item.get("name"), str):
        reader.register(section, item["name"], (*path, "name"))
    return name


def by_tier(reader: Reader, path: Path, value: Any, read: Callable[[Path, Any], float | int | None]) -> dict[str, Any]:
    """Return a mapping from tier to number; a tier that does not exist is a problem at its own key."""
    found = {}
    for tier, number in reader.mapping(path, value, None).items():
        if not reader.known("tiers", tier):
            right = f"one of {', '.join(reader.names('tiers'))}{did_you_mean(tier, reader.names('tiers'))}"
            reader.add((*path, tier), f"{tier!r} is not a tier", right)
        read_number = read((*path, tier), number)
        if read_number is not None:
            found[tier] = read_number
    return found


def quotas(reader: Reader, path: Path, item: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return the three kinds of quota of a team or cohort, in thousandths of a GPU, as fields of the model."""
    found = {_FIELDS[key]: by_tier(reader, (*path, key), item.get(key, {}), reader.gpus_milli) for key in QUOTA_KEYS}
    for tier, milli in found["lending_milli"].items():
        if milli > (own := found["quota_milli"].get(tier, 0)):
            wrong = f"lends {milli / WHOLE_GPU_MILLI:g} of {tier} and is guaranteed {own / WHOLE_GPU_MILLI:g}"
            reader.add((*path, "lending_limit", tier), wrong, f"at most its nominal_quota, {own / WHOLE_GPU_MILLI:g}")
    return found


def cohorts(reader: Reader, top: Mapping[str, Any]) -> tuple[Cohort, ...]:
    """Return the cohorts; an unknown parent and a cycle of parents are problems."""
    found: list[tuple[Path, Cohort]] = []
    for path, item in reader.items(top, "cohorts", ("name", "parent", *QUOTA_KEYS, "weight")):
        weight = reader.number(path, item, "weight", default=1.0)
        parent = reader.text(path, item, "parent", default="") if item.get("parent") is not None else ""
        cohort = Cohort(
            name=name_of(reader, path, item, "cohorts"),
            parent=parent or None,
            weight=1.0 if weight is None else weight,
            **quotas(reader, path, item),
        )
        if cohort.name == ROOT_COHORT:
            reader.add((*path, "name"), f"{ROOT_COHORT!r} is the platform's own cohort", "another name")
        found.append((path, cohort))
    parents = {cohort.name: cohort.parent for _, cohort in found}
    for path, cohort in found:
        if cohort.parent is not None and cohort.parent not in parents:
            names = tuple(parents)
            right = f"one of {', '.join(names)}{did_you_mean(cohort.parent, names)}, or none"
            reader.add((*path, "parent"), f"{cohort.parent!r} is not a cohort", right)
        elif (cycle := _cycle(cohort.name, parents)) is not None:
            reader.add((*path, "parent"), f"cohorts go round in a circle: {cycle}", "a parent outside of the circle")
    return tuple(cohort for _, cohort in found)


def _cycle(name: str, parents: Mapping[str, str | None]) -> str | None:
    """Return the way from a cohort back to itself, or None."""
    way = [name]
    above = parents.get(name)
    while above is not None and above not in way:
        way.append(above)
        above = parents.get(above)
    return " > ".join([*way, name]) if above == name else None


def policy(reader: Reader, top: Mapping[str, Any]) -> QueueingPolicy:
    """Return the section `queueing`."""
    usual = QueueingPolicy()
    path: Path = ("queueing",)
    item = reader.mapping(path, top.get("queueing", {}), ("strategy", "preemption", "fair_sharing", "backfill"))
    at = (*path, "preemption")
    rules = reader.mapping(
        at, item.get("preemption", {}), ("within_cluster_queue", "reclaim_within_cohort", "borrow_within_cohort")
    )
    shares_at = (*path, "fair_sharing")
    shares = reader.mapping(shares_at, item.get("fair_sharing", {}), ("enabled", "preemption", "half_life_s"))
    found = QueueingPolicy(
        strategy=reader.choice(path, item, "strategy", STRATEGIES, default=usual.strategy),
        within_cluster_queue=reader.choice(
            at, rules, "within_cluster_queue", WITHIN, default=usual.within_cluster_queue
        ),
        reclaim_within_cohort=reader.choice(
            at, rules, "reclaim_within_cohort", RECLAIM, default=usual.reclaim_within_cohort
        ),
        borrow_within_cohort=reader.choice(
            at, rules, "borrow_within_cohort", BORROW, default=usual.borrow_within_cohort
        ),
        fair_sharing=reader.flag(shares_at, shares, "enabled", default=usual.fair_sharing),
        share_preempts=reader.flag(shares_at, shares, "preemption", default=usual.share_preempts),
        half_life_s=reader.seconds(shares_at, shares, "half_life_s", usual.half_life_s),
        backfill=reader.flag(path, item, "backfill", default=usual.backfill),
    )
    if found.share_preempts and not found.fair_sharing:
        reader.add((*shares_at, "preemption"), "shares cannot preempt while fair sharing is off", "`enabled: true`")
    if found.share_preempts and found.borrow_within_cohort != "Never":
        wrong = "borrow_within_cohort has no meaning where shares preempt"
        reader.add((*at, "borrow_within_cohort"), wrong, "Never, or `fair_sharing: {preemption: false}`")
    return found


def check_guarantees(
    reader: Reader, clusters: Sequence[Cluster], teams: Sequence[Team], groups: Sequence[Cohort]
) -> None:
    """Note every tier of which more is guaranteed than the private clusters have: such promises cannot be kept."""
    if reader.problems:
        return
    owned: dict[str, int] = {}
    for cluster in clusters:
        for node in cluster.nodes if cluster.kind is ClusterKind.PRIVATE else ():
            owned[node.tier] = owned.get(node.tier, 0) + node.gpus * WHOLE_GPU_MILLI
    promised: dict[str, int] = {}
    sections: tuple[tuple[str, Sequence[Cohort | Team]], ...] = (("cohorts", groups), ("teams", teams))
    for section, members in sections:
        for index, member in enumerate(members):
            for tier, milli in member.quota_milli.items():
                promised[tier] = promised.get(tier, 0) + milli
                if promised[tier] > owned.get(tier, 0):
                    have, left = owned.get(tier, 0), owned.get(tier, 0) - promised[tier] + milli
                    reader.add(
                        (section, index, "nominal_quota", tier),
                        f"with this, {promised[tier] / WHOLE_GPU_MILLI:g} GPUs of {tier} are guaranteed in all, but "
                        f"the private clusters have {have / WHOLE_GPU_MILLI:g}",
                        f"at most {left / WHOLE_GPU_MILLI:g}; to limit a team without guaranteeing it anything, "
                        f"`borrowing_limit: {{{tier}: {milli / WHOLE_GPU_MILLI:g}}}`",
                    )
                    return
