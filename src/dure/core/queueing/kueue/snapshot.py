"""The state that decisions are taken on: the tree of cohorts and queues, and the workloads that hold quota.

`Snapshot` changes in place and every what-if undoes itself. The trap: `remove` and `insert` move a workload together
with its usage, `take` and `give` only the usage; what-ifs that must not change the candidates use the second pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dure.core.queueing.kueue.domains import share
from dure.core.queueing.kueue.infos import Info, Placed
from dure.core.queueing.kueue.objects import (
    Amounts,
    ClusterQueue,
    Cohort,
    Flavor,
    Machine,
    ResourceGroup,
    Topology,
)
from dure.core.queueing.kueue.topology import Places, places_of
from dure.core.queueing.kueue.tree import Group, Node, settle

if TYPE_CHECKING:
    from dure.core.queueing.kueue.candidates import Target
    from dure.core.queueing.kueue.memory import Remembered


_NOBODY = frozenset({"Never", ""})


@dataclass(eq=False)
class QueueNode(Node):
    """A cluster queue in the tree, with the workloads that hold its quota. `generation` counts changes of quota.

    `preempts` tells whether its workloads may preempt anybody; `topology_only`: all its flavors are placed in
    topologies, so that everybody asks for a place. Pods of a `remote` queue get their places elsewhere, those of
    `provisioned` flavors after the check that makes the nodes. `remembered` is the memory's, by shape.
    """

    spec: ClusterQueue = field(default_factory=lambda: ClusterQueue(name=""))
    workloads: dict[str, Info] = field(default_factory=dict)
    generation: int = 0
    places: dict[str, Places] = field(default_factory=dict)
    preempts: bool = field(init=False)
    topology_only: bool = False
    remote: bool = False
    provisioned: frozenset[str] = frozenset()
    remembered: dict[str | None, Remembered] = field(default_factory=dict)
    _lowest: float | None = None

    def __post_init__(self) -> None:
        policy = self.spec.preemption
        self.preempts = not _NOBODY.issuperset((policy.within_queue, policy.reclaim))

    def hold(self, workloads: dict[str, Info]) -> None:
        """Let these workloads, and no others, hold quota; their usage is the caller's to count."""
        self.workloads, self._lowest = workloads, None

    def enter(self, info: Info) -> None:
        """Let a workload hold its usage."""
        self.workloads[info.key] = info
        if self._lowest is not None and info.priority < self._lowest:
            self._lowest = info.priority
        self.take(info.usage)

    def leave(self, info: Info) -> None:
        """Take a workload out, with its usage."""
        del self.workloads[info.key]
        if info.priority == self._lowest:
            self._lowest = None
        self.give(info.usage)

    def lowest_priority(self) -> float:
        """Return the lowest priority of those who hold quota; infinite when nobody does."""
        if self._lowest is None:
            self._lowest = min([info.priority for info in self.workloads.values()], default=math.inf)
        return self._lowest

    def group_of(self, resource: str) -> ResourceGroup | None:
        """Return the resource group that covers the resource."""
        return next((group for group in self.spec.groups if resource in group.covered), None)

    def fits(self, usage: Amounts) -> bool:
        """Return whether the usage is available."""
        for key, amount in usage.items():
            free = (self.accounts.get(key) or self.account(key)).free()
            if amount > max(0, free):
                return False
        return True

    def take(self, usage: Amounts) -> None:
        """Count the usage."""
        for key, amount in usage.items():
            (self.accounts.get(key) or self.account(key)).take(amount)

    def give(self, usage: Amounts) -> None:
        """Count the usage no longer."""
        for key, amount in usage.items():
            (self.accounts.get(key) or self.account(key)).give(amount)


@dataclass(eq=False)
class Snapshot:
    """All flavors, queues and cohorts, and the queues that cannot admit now.

    `room` tells whether a workload that needs these amounts has room once the targets are gone; None: it always has.
    """

    flavors: dict[str, Flavor]
    queues: dict[str, QueueNode]
    cohorts: dict[str, Group]
    inactive: frozenset[str] = frozenset()
    room: Callable[[Info, Amounts, Sequence[Target]], bool] | None = None
    places: dict[str, Places] = field(default_factory=dict)
    sharing: tuple[Places, ...] = ()

    def share_places(self) -> None:
        """Let flavors on the same nodes know what the others use: as in Kueue once a cycle, before its first head."""
        if len(self.sharing) > 1:
            share(self.sharing)

    def settle_places(self, placed: Iterable[Placed], sign: int = 1) -> None:
        """Count pods in their domains, or no longer with sign -1."""
        for flavor, values, requests, count in placed:
            where = self.places.get(flavor)
            if where is not None:
                where.take(values, requests, count, sign)

    def places_fit(self, placed: Iterable[Placed]) -> bool:
        """Return whether the domains have room for these pods."""
        return all(self.places[flavor].fits(values, requests, count) for flavor, values, requests, count in placed)

    def insert(self, info: Info) -> None:
        """Let a workload hold its usage."""
        self.queues[info.queue].enter(info)
        if info.placed:
            self.settle_places(info.placed)

    def remove(self, info: Info) -> None:
        """Take a workload out, with its usage."""
        self.queues[info.queue].leave(info)
        if info.placed:
            self.settle_places(info.placed, -1)

    def give_all(self, infos: Iterable[Info]) -> None:
        """Count the usage of these workloads no longer."""
        for info in infos:
            self.queues[info.queue].give(info.usage)
            if info.placed:
                self.settle_places(info.placed, -1)

    def take_all(self, infos: Iterable[Info]) -> None:
        """Count the usage of these workloads again."""
        for info in infos:
            self.queues[info.queue].take(info.usage)
            if info.placed:
                self.settle_places(info.placed)


def _cyclic(name: str, parents: Mapping[str, str | None]) -> bool:
    seen = set()
    at: str | None = name
    while at is not None:
        if at in seen:
            return True
        seen.add(at)
        at = parents.get(at)
    return False


MULTI_KUEUE = "kueue.x-k8s.io/multikueue"
PROVISIONING = "kueue.x-k8s.io/provisioning-request"


def _check_conflicts(queue: ClusterQueue, controllers: Mapping[str, str]) -> list[str]:
    """Return why admission checks of a queue do not go together: other clusters are for all of it, and one way only."""
    every = frozenset(name for group in queue.groups for name in group.flavors)
    remote = [scope for name, scope in queue.checks if controllers.get(name) == MULTI_KUEUE]
    reasons = []
    if len(remote) > 1:
        reasons.append("MultipleMultiKueueAdmissionChecks")
    if any(scope and scope != every for scope in remote):
        reasons.append("MultiKueueAdmissionCheckAppliedPerFlavor")
    if remote and any(controllers.get(name) == PROVISIONING for name, _ in queue.checks):
        reasons.append("MultiKueueWithProvisioningRequest")
    return reasons


def inactive_reasons(
    queue: ClusterQueue,
    flavors: Mapping[str, Flavor],
    known_checks: frozenset[str] | None = None,
    *,
    topologies: Collection[str] | None = None,
    cyclic: bool = False,
    controllers: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Return why a queue admits nothing, as Kueue's tokens; empty when it does.

    Without `known_checks` or `topologies` all that are named exist.
    """
    reasons = []
    if queue.stop_policy != "None":
        reasons.append("Stopped")
    if any(name not in flavors for group in queue.groups for name in group.flavors):
        reasons.append("FlavorNotFound")
    if known_checks is not None and any(name not in known_checks for name, _ in queue.checks):
        reasons.append("AdmissionCheckNotFound")
    reasons += _check_conflicts(queue, controllers or {})
    remote = any((controllers or {}).get(name) == MULTI_KUEUE for name, _ in queue.checks)
    if topologies is not None and not remote:
        named = (flavors[name].topology for group in queue.groups for name in group.flavors if name in flavors)
        if any(name is not None and name not in topologies for name in named):
            reasons.append("TopologyNotFound")
    if cyclic:
        reasons.append("CohortCycle")
    return tuple(reasons)


def _generations(queues: Sequence[ClusterQueue], cohorts: Sequence[Cohort]) -> dict[str, int]:
    """Return how often each queue's quota was computed when queues, then cohorts, are added in this order.

    A queue's coming computes its tree once, a cohort's coming twice, as far as the tree is known by then; a cycle
    stops it.
    """
    counts: dict[str, int] = {}
    parents: dict[str, str | None] = {}

    def top(name: str) -> str:
        above = parents.get(name)
        return name if above is None else top(above)

    def computed(at: str, times: int) -> None:
        if not _cyclic(at, parents):
            for queue in queues[: len(counts)]:
                if queue.cohort and not _cyclic(queue.cohort, parents) and top(queue.cohort) == top(at):
                    counts[queue.name] += times

    for queue in queues:
        counts[queue.name] = 0 if queue.cohort else 1
        if queue.cohort:
            computed(queue.cohort, 1)
    for cohort in cohorts:
        parents[cohort.name] = cohort.parent
        computed(cohort.name, 2)
    return counts


def _groups(queues: Sequence[ClusterQueue], cohorts: Sequence[Cohort]) -> dict[str, Group]:
    """Return the cohorts that are not in a cycle, linked."""
    declared = {cohort.name: cohort for cohort in cohorts}
    parents: dict[str, str | None] = {cohort.name: cohort.parent for cohort in cohorts}
    for name in [*[queue.cohort for queue in queues], *[cohort.parent for cohort in cohorts]]:
        if name:
            parents.setdefault(name, None)
    groups: dict[str, Group] = {}
    for name in parents:
        if not _cyclic(name, parents):
            spec = declared.get(name, Cohort(name=name))
            groups[name] = Group(name=name, quotas=spec.quotas, weight=spec.weight)
    for name, group in groups.items():
        above = parents[name]
        if above is not None:
            group.parent = groups[above]
            groups[above].groups.append(group)
    return groups


def _delay(node: QueueNode, controllers: Mapping[str, str]) -> None:
    """Say where and when the pods of a queue get their places, by who decides its admission checks."""
    every = frozenset(name for group in node.spec.groups for name in group.flavors)
    for name, scope in node.spec.checks:
        node.remote = node.remote or controllers.get(name) == MULTI_KUEUE
        if controllers.get(name) == PROVISIONING:
            node.provisioned |= scope or every


def build(
    queues: Sequence[ClusterQueue],
    cohorts: Sequence[Cohort] = (),
    flavors: Iterable[Flavor] = (),
    infos: Iterable[Info] = (),
    known_checks: frozenset[str] | None = None,
    *,
    topologies: Iterable[Topology] | None = None,
    machines: Sequence[Machine] = (),
    overlapping: bool = True,
    controllers: Mapping[str, str] | None = None,
) -> Snapshot:
    """Return the snapshot of these objects. Cohorts need not be declared; queues of a cyclic cohort are inactive.

    Without `topologies` nothing is placed in one. `overlapping` lets flavors share the use of their nodes.
    `controllers` are the names of those who decide admission checks, by check.
    """
    known = {flavor.name: flavor for flavor in flavors}
    groups = _groups(queues, cohorts)
    generations = _generations(queues, cohorts)
    named = None if topologies is None else {one.name: one for one in topologies}
    places = {} if named is None else places_of(known.values(), named, machines)
    sharing = tuple(one for one in places.values() if one.by_node) if overlapping else ()
    snapshot = Snapshot(flavors=known, queues={}, cohorts=groups, places=places, sharing=sharing)
    inactive = set()
    for queue in queues:
        node = QueueNode(
            name=queue.name, quotas=queue.quotas, weight=queue.weight, spec=queue, generation=generations[queue.name]
        )
        cyclic = queue.cohort is not None and queue.cohort not in groups
        if queue.cohort in groups:
            node.parent = groups[queue.cohort]
            node.parent.queues.append(node)
        node.places = {name: places[name] for group in queue.groups for name in group.flavors if name in places}
        node.generation += bool(node.places)
        if inactive_reasons(queue, known, known_checks, topologies=named, cyclic=cyclic, controllers=controllers):
            inactive.add(queue.name)
            node.active = False
        _delay(node, controllers or {})
        listed = [known.get(name) for group in queue.groups for name in group.flavors]
        node.topology_only = all(flavor is not None and flavor.topology is not None for flavor in listed)
        snapshot.queues[queue.name] = node
    for top in [*snapshot.queues.values(), *groups.values()]:
        if top.parent is None:
            settle(top)
    snapshot.inactive = frozenset(inactive)
    for info in infos:
        if info.queue in snapshot.queues:
            snapshot.insert(info)
    snapshot.share_places()
    return snapshot
