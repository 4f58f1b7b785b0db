"""The domains of one flavor's topology (blocks, racks, nodes): what is in each, what is used, how many pods fit.

Counts go up from the leaves, as in Kueue (tas_topology_tree.go, fillInCounts). The trap: one set of counts serves one
search; a domain's counts mean something only until the next `count`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dure.core.queueing.kueue.matching import blocking_taint, term_holds
from dure.core.queueing.kueue.objects import Flavor, Gates, Machine, Topology

HOSTNAME = "kubernetes.io/hostname"
PODS = "pods"

Values = tuple[str, ...]
Spread = tuple[tuple[Values, int], ...]
"""Where the pods of a pod set are: domains by their level values, with how many pods each holds."""

Used = dict[Values, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Ask:
    """A pod set that wants a place: how many pods of which requests, and Kueue's topology request.

    One whose node failed has the place that it `held` and the name of that node in `failed`; `pinned` pods do not
    move. A larger slice of a workload goes on from the place of its `previous` one.
    """

    name: str
    count: int
    requests: Mapping[str, int]
    request: Mapping[str, Any] = field(default_factory=dict)
    implied: bool = False
    tolerations: tuple[Mapping[str, Any], ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    affinity: tuple[Mapping[str, Any], ...] | None = None
    preferred: tuple[Mapping[str, Any], ...] = ()
    held: Spread | None = None
    failed: str = ""
    pinned: bool = False
    previous: Spread | None = None

    @property
    def per_pod(self) -> dict[str, int]:
        """What one pod takes on a node, itself included."""
        return {**self.requests, PODS: self.requests.get(PODS, 0) + 1}

    @property
    def slices(self) -> list[tuple[str, int]]:
        """The layers of slices that are required, outermost first: level and size."""
        layers = self.request.get("podsetSliceRequiredTopologyConstraints")
        if layers:
            return [(str(one.get("topology")), int(one.get("size", 0))) for one in layers]
        outer = self.request.get("podSetSliceRequiredTopology")
        return [(str(outer), int(self.request.get("podSetSliceSize") or 0))] if outer is not None else []


class Domain:
    """A node of the topology with the counts of one search; `led` counts leave room for a leader."""

    __slots__ = ("capacity", "children", "leaders", "level", "machine", "parent", "pods", "pods_led", "score",
                 "slices", "slices_led", "values")  # fmt: skip

    def __init__(self, values: Values, parent: Domain | None, machine: Machine | None = None) -> None:
        self.values = values
        self.level = len(values) - 1
        self.parent = parent
        self.machine = machine
        self.children: list[Domain] = []
        self.capacity: dict[str, int] = {}
        self.score = 0
        self.clear()

    def clear(self) -> None:
        """Forget the counts of the last search; the score of the affinity stays."""
        self.pods = self.pods_led = self.slices = self.slices_led = self.leaders = 0

    def copy(self, parent: Domain | None = None) -> Domain:
        """Return the domain with all below it and its counts, to be changed on its own."""
        twin = Domain(self.values, parent, self.machine)
        twin.pods, twin.pods_led, twin.leaders = self.pods, self.pods_led, self.leaders
        twin.slices, twin.slices_led, twin.score = self.slices, self.slices_led, self.score
        twin.children = [child.copy(twin) for child in self.children]
        return twin


@dataclass(slots=True)
class Search:
    """One question: what is asked for and at which levels. `inner` is the size of slices by level below the outer.

    `within` bounds where pods may go; `least_free` fills what is nearly full first.
    """

    ask: Ask
    leader: Ask | None
    gates: Gates
    level: int
    slice_level: int
    size: int
    inner: dict[int, int]
    least_free: bool
    unconstrained: bool
    within: Values = ()
    total: int = 0
    excluded: Counter[str] = field(default_factory=Counter)

    @property
    def leaders(self) -> int:
        """How many leaders are asked for: one or none."""
        return 0 if self.leader is None else 1

    @property
    def required(self) -> bool:
        """Whether all pods must be in one domain of the level."""
        return self.ask.request.get("required") is not None

    @property
    def slices(self) -> int:
        """How many slices are asked for; a slice is one pod where none are."""
        return self.ask.count // self.size

    def rank(self, one: Domain) -> int:
        """Return what comes before all else when domains are ordered: the preferred affinity, where it counts."""
        return -one.score if self.gates.preferred_affinity else 0

    def ordered(self, domains: Iterable[Domain]) -> list[Domain]:
        """Return the domains in the order in which pods are given to them."""
        sign = 1 if self.least_free else -1
        return sorted(domains, key=lambda one: (self.rank(one), sign * one.slices, one.pods, one.values))

    def ordered_led(self, domains: Iterable[Domain]) -> list[Domain]:
        """Return the domains in the order in which a leader with its pods is given to them."""
        sign = 1 if self.least_free else -1
        return sorted(
            domains,
            key=lambda one: (-one.leaders, self.rank(one), sign * one.slices_led, one.pods_led, one.values),
        )


class Domains:
    """The domains of one flavor: its nodes under the levels of its topology, and what is used of each.

    `fresh` is what was used or given back since other flavors on the same nodes were told (`share`).
    """

    def __init__(self, flavor: Flavor, topology: Topology, machines: Iterable[Machine]) -> None:
        self.flavor = flavor
        self.topology = topology
        self.levels = topology.levels
        self.by_node = bool(self.levels) and self.levels[-1] == HOSTNAME
        self.used: Used = {}
        self.fresh: Used = {}
        self.by_level: list[dict[Values, Domain]] = [{} for _ in self.levels]
        self.leaves: dict[Values, Domain] = {}
        for machine in machines:
            named = all(level in machine.labels for level in self.levels)
            if (
                named
                and machine.ready
                and all(machine.labels.get(key) == value for key, value in flavor.labels.items())
            ):
                self._add(machine)

    def _add(self, machine: Machine) -> None:
        values = tuple(machine.labels[level] for level in self.levels)
        leaf = self._domain(values)
        leaf.machine = machine if self.by_node else None
        for name, amount in machine.free.items():
            leaf.capacity[name] = leaf.capacity.get(name, 0) + amount
        self.leaves[self.short(values)] = leaf

    def _domain(self, values: Values) -> Domain:
        known = self.by_level[len(values) - 1].get(values)
        if known is None:
            parent = self._domain(values[:-1]) if len(values) > 1 else None
            known = self.by_level[len(values) - 1][values] = Domain(values, parent)
            if parent is not None:
                parent.children.append(known)
        return known

    def short(self, values: Values) -> Values:
        """Return how a leaf is named in assignments: by its host alone where leaves are nodes."""
        return values[-1:] if self.by_node else values

    def take(self, values: Values, requests: Mapping[str, int], count: int, sign: int = 1) -> None:
        """Count the pods of a domain, or no longer with sign -1."""
        amounts = {
            name: sign * amount * count for name, amount in {**requests, PODS: requests.get(PODS, 0) + 1}.items()
        }
        add(self.used, values, amounts)
        add(self.fresh, values, amounts)

    def fits(self, values: Values, requests: Mapping[str, int], count: int) -> bool:
        """Return whether so many pods more have their requests in a leaf; pods that request nothing never do.

        As in Kueue, the number of pods that a node takes does not count here.
        """
        leaf = self.leaves.get(values)
        if leaf is None or not requests:
            return False
        held = self.used.get(values, {})
        return all(
            max(0, leaf.capacity.get(name, 0) - held.get(name, 0)) >= amount * count
            for name, amount in requests.items()
        )

    def count(self, search: Search, assumed: Used, *, empty: bool) -> None:
        """Count what fits into every domain, from the leaves up. `empty` forgets what is used."""
        for level in self.by_level:
            for one in level.values():
                one.clear()
                one.score = 0
        search.total = len(self.leaves)
        for name, leaf in self.leaves.items():
            if leaf.machine is not None and not self._admits(leaf, leaf.machine, search):
                continue
            if leaf.values[: len(search.within)] != search.within:
                search.excluded["topologyDomain"] += 1
                continue
            _fill(leaf, search, [assumed.get(name, {}), {} if empty else self.used.get(name, {})])
        for level in reversed(self.by_level):
            for one in level.values():
                sum_up(one, search)

    def _admits(self, leaf: Domain, machine: Machine, search: Search) -> bool:
        ask = search.ask
        taint = blocking_taint(machine.taints, (*ask.tolerations, *self.flavor.tolerations))
        if taint is not None:
            value = f"={taint['value']}" if taint.get("value") else ""
            search.excluded[f'taint "{taint.get("key", "")}{value}:{taint.get("effect", "")}"'] += 1
            return False
        if any(machine.labels.get(key) != value for key, value in ask.selector.items()):
            search.excluded["nodeSelector"] += 1
            return False
        if ask.affinity is not None and not any(
            term_holds(term, machine.labels, machine.name) for term in ask.affinity
        ):
            search.excluded["affinity"] += 1
            return False
        if search.gates.preferred_affinity:
            leaf.score = sum(
                int(one.get("weight", 0))
                for one in ask.preferred
                if term_holds(one.get("preference") or {}, machine.labels, machine.name)
            )
        return True


def share(sharing: Sequence[Domains]) -> None:
    """Tell flavors that share nodes of what the others used or gave back since they were told last."""
    for one in sharing:
        for values, amounts in one.fresh.items():
            if any(amounts.values()):
                for other in sharing:
                    if other is not one:
                        add(other.used, values, amounts)
        one.fresh.clear()


def add(used: Used, values: Values, amounts: Mapping[str, int]) -> None:
    """Add amounts to what is used of a domain."""
    held = used.setdefault(values, {})
    for name, amount in amounts.items():
        held[name] = held.get(name, 0) + amount


def _fill(leaf: Domain, search: Search, taken: Iterable[Mapping[str, int]]) -> None:
    """Count what fits into a leaf beside what is taken, with and without a leader."""
    free = dict(leaf.capacity)
    for amounts in taken:
        for resource, amount in amounts.items():
            free[resource] = free.get(resource, 0) - amount
    leaf.pods, scarce = _times(search.ask.per_pod, free)
    if not leaf.pods and scarce:
        search.excluded[f'resource "{scarce}"'] += 1
    if search.leader is not None and _times(search.leader.per_pod, free)[0] > 0:
        leaf.leaders = 1
        for resource, amount in search.leader.per_pod.items():
            free[resource] = free.get(resource, 0) - amount
    leaf.pods_led = _times(search.ask.per_pod, free)[0]


def _times(needed: Mapping[str, int], free: Mapping[str, int]) -> tuple[int, str]:
    """Return how often the needed amounts fit, and the resource that runs out first."""
    best: int | None = None
    scarce = ""
    for name in sorted(needed):
        if needed[name] <= 0:
            continue
        times = max(0, free.get(name, 0)) // needed[name]
        if best is None or times < best:
            best, scarce = times, name
    return best or 0, scarce


def sum_up(one: Domain, search: Search, *, layered: bool = True) -> None:
    """Count what fits into a domain from what fits into those below; `layered` keeps to the inner slices."""
    if one.children:
        size = search.inner.get(one.level + 1, 1) if layered else 1
        pods = [child.pods // size * size for child in one.children]
        led = [child.pods_led // size * size for child in one.children]
        able = [index for index, child in enumerate(one.children) if search.leader is None or child.leaders > 0]
        one.pods, one.pods_led, one.slices_led = sum(pods), 0, 0
        one.slices = sum(child.slices for child in one.children)
        one.leaders = max(child.leaders for child in one.children)
        one.score = sum(child.score for child in one.children)
        if able:
            one.pods_led = one.pods - min(pods[index] - led[index] for index in able)
            gaps = [one.children[index].slices - one.children[index].slices_led for index in able]
            one.slices_led = one.slices - min(gaps)
    if one.level == search.slice_level:
        one.slices, one.slices_led = one.pods // search.size, one.pods_led // search.size
