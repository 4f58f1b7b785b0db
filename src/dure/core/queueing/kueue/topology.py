"""Topology-aware placement: which domains (blocks, racks, nodes) the pods of a workload get, within one flavor.

Two phases, as Kueue's (tas_flavor_snapshot.go): counts of pods that fit go up from the leaves to the level asked for,
then the pods go down, level by level, into as few domains as possible. The trap: one set of counts is both what fits
and what is given, so a domain's counts mean something only within one call of `place`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dure.core.queueing.kueue.matching import blocking_taint, requirement_holds
from dure.core.queueing.kueue.objects import Flavor, Machine, Topology

HOSTNAME = "kubernetes.io/hostname"
PODS = "pods"

Values = tuple[str, ...]
Spread = tuple[tuple[Values, int], ...]
"""Where the pods of a pod set are: domains by their level values, with how many pods each holds."""

Used = dict[Values, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Ask:
    """A pod set that wants a place: how many pods of which requests, and Kueue's topology request."""

    name: str
    count: int
    requests: Mapping[str, int]
    request: Mapping[str, Any] = field(default_factory=dict)
    implied: bool = False
    tolerations: tuple[Mapping[str, Any], ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    affinity: tuple[Mapping[str, Any], ...] | None = None

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
        return [(str(outer), int(self.request.get("podSetSliceSize") or 0))] if outer else []


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Why a pod set found no place."""

    name: str
    reason: str


class Domain:
    """A node of the topology with the counts of one search; `led` counts leave room for a leader."""

    __slots__ = ("capacity", "children", "leaders", "level", "machine", "parent", "pods", "pods_led", "slices",
                 "slices_led", "values")  # fmt: skip

    def __init__(self, values: Values, parent: Domain | None, machine: Machine | None = None) -> None:
        self.values = values
        self.level = len(values) - 1
        self.parent = parent
        self.machine = machine
        self.children: list[Domain] = []
        self.capacity: dict[str, int] = {}
        self.clear()

    def clear(self) -> None:
        """Forget the counts of the last search."""
        self.pods = self.pods_led = self.slices = self.slices_led = self.leaders = 0


@dataclass(slots=True)
class _Search:
    """One question: what is asked for and at which levels. `inner` is the size of slices by level below the outer."""

    ask: Ask
    leader: Ask | None
    level: int
    slice_level: int
    size: int
    inner: dict[int, int]
    least_free: bool
    unconstrained: bool
    total: int = 0
    excluded: Counter[str] = field(default_factory=Counter)

    @property
    def leaders(self) -> int:
        return 0 if self.leader is None else 1

    @property
    def required(self) -> bool:
        return bool(self.ask.request.get("required"))


class Places:
    """The places of one flavor: its nodes under the levels of its topology, and what is used of each."""

    def __init__(
        self, flavor: Flavor, topology: Topology, machines: Iterable[Machine], used: Used | None = None
    ) -> None:
        self.flavor = flavor
        self.topology = topology
        self.levels = topology.levels
        self.by_node = bool(self.levels) and self.levels[-1] == HOSTNAME
        self.used: Used = {} if used is None else used
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
        for name, amount in machine.allocatable.items():
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
        held = self.used.setdefault(values, {})
        for name, amount in {**requests, PODS: requests.get(PODS, 0) + 1}.items():
            held[name] = held.get(name, 0) + sign * amount * count

    def fits(self, values: Values, requests: Mapping[str, int], count: int) -> bool:
        """Return whether so many pods more fit into a leaf."""
        leaf = self.leaves.get(values)
        if leaf is None:
            return False
        held = self.used.get(values, {})
        needed = {**requests, PODS: requests.get(PODS, 0) + 1}
        return all(leaf.capacity.get(name, 0) - held.get(name, 0) >= amount * count for name, amount in needed.items())

    def has_levels(self, request: Mapping[str, Any]) -> bool:
        """Return whether the topology has all levels that a request names."""
        ask = Ask("", 0, {}, request)
        level = self._level_of(ask)
        return level in self.levels and all(name in self.levels for name, _ in ask.slices)

    def place(
        self, asks: Sequence[Ask], *, empty: bool = False, mixed: bool = True, assumed: Used | None = None
    ) -> dict[str, Spread] | Unplaced:
        """Return where the pods of these pod sets go, or why one finds no place.

        Pod sets of one group are placed together, the one with a single pod being the leader. `empty` asks as if no
        workload used anything; `mixed` is Kueue's TASProfileMixed; `assumed` is what others of this workload take.
        """
        groups: dict[str, list[Ask]] = {}
        for index, ask in enumerate(asks):
            groups.setdefault(str(ask.request.get("podSetGroupName") or f"\0{index}"), []).append(ask)
        assumed = {} if assumed is None else assumed
        result: dict[str, Spread] = {}
        for members in groups.values():
            workers, leader = members[0], members[1] if len(members) > 1 else None
            if leader is not None and leader.count > workers.count:
                workers, leader = leader, workers
            found = self._find(workers, leader, assumed, empty=empty, mixed=mixed)
            if isinstance(found, str):
                return Unplaced(members[0].name, found)
            for ask in members:
                result[ask.name] = found[ask.name]
                for values, count in found[ask.name]:
                    held = assumed.setdefault(values, {})
                    for name, amount in ask.per_pod.items():
                        held[name] = held.get(name, 0) + amount * count
        return result

    def _level_of(self, ask: Ask) -> str | None:
        request = ask.request
        named = request.get("required") or request.get("preferred")
        if named:
            return str(named)
        if ask.slices:
            return self.levels[0]
        return self.levels[-1] if request.get("unconstrained") or ask.implied else None

    def _search(self, ask: Ask, leader: Ask | None, *, mixed: bool) -> _Search | str:
        layers = ask.slices
        size = layers[0][1] if layers else 1
        if size <= 0:
            return "slice topology requested, but slice size not provided"
        level = self._level_of(ask)
        if level is None:
            return "topology level not specified"
        if level not in self.levels:
            return f"no requested topology level: {level}"
        slice_level = layers[0][0] if layers else self.levels[-1]
        if slice_level not in self.levels:
            return f"no requested topology level for slices: {slice_level}"
        at, slice_at = self.levels.index(level), self.levels.index(slice_level)
        if at > slice_at:
            return f"podset slice topology {slice_level} is above the podset topology {level}"
        inner = self._inner(layers, size, slice_at)
        if isinstance(inner, str):
            return inner
        named = ask.request.get("required") or ask.request.get("preferred")
        free = bool(ask.request.get("unconstrained")) or ask.implied or (bool(layers) and not named)
        return _Search(ask, leader, at, slice_at, size, inner, free and mixed, free)

    def _inner(self, layers: list[tuple[str, int]], size: int, at: int) -> dict[int, int] | str:
        """Return the size of slices by level for the layers below the outermost, or what is wrong with them."""
        inner: dict[int, int] = {}
        for name, part in layers[1:]:
            if name not in self.levels:
                return f"no requested topology level for additional slice layer: {name}"
            below = self.levels.index(name)
            if below <= at:
                return f"additional slice layer topology {name} must be at a lower level than {self.levels[at]}"
            if part <= 0 or size % part:
                return f"additional slice layer size {part} must evenly divide parent layer size {size}"
            inner.update(dict.fromkeys(range(at + 1, below + 1), part))
            size, at = part, below
        return inner

    def _find(
        self, ask: Ask, leader: Ask | None, assumed: Used, *, empty: bool, mixed: bool
    ) -> dict[str, Spread] | str:
        search = self._search(ask, leader, mixed=mixed)
        if isinstance(search, str):
            return search
        self._count(search, assumed, empty=empty)
        fit = self._fitting(search, search.level)
        if isinstance(fit, str):
            return fit
        level, domains = fit
        domains = _give(domains, ask.count, search.leaders, search.size, search, slices=True)
        while level < min(len(self.levels) - 1, search.slice_level):
            below = _sorted([child for one in domains for child in one.children], search)
            domains = _give(below, ask.count, search.leaders, search.size, search, slices=True)
            level += 1
        while level < len(self.levels) - 1:
            size = search.size if level < search.slice_level else search.inner.get(level + 1, 1)
            lower: list[Domain] = []
            for one in domains:
                below = _sorted(one.children, search)
                if size > 1:
                    for child in below:
                        child.slices, child.slices_led = child.pods // size, child.pods_led // size
                lower += _give(below, one.pods, one.leaders, size, search, slices=size > 1)
            domains = lower
            level += 1
        found = {ask.name: self._spread([(one, one.pods) for one in domains])}
        if leader is not None:
            found[leader.name] = self._spread([(one, one.leaders) for one in domains])
        return found

    def _spread(self, domains: Iterable[tuple[Domain, int]]) -> Spread:
        given = sorted((one.values, count) for one, count in domains if count)
        return tuple((self.short(values), count) for values, count in given)

    def _count(self, search: _Search, assumed: Used, *, empty: bool) -> None:
        """Count what fits into every domain, from the leaves up."""
        for level in self.by_level:
            for one in level.values():
                one.clear()
        search.total = len(self.leaves)
        for name, leaf in self.leaves.items():
            if leaf.machine is not None and not self._admits(leaf.machine, search):
                continue
            free = dict(leaf.capacity)
            for used in (assumed, {} if empty else self.used):
                for resource, amount in used.get(name, {}).items():
                    free[resource] = free.get(resource, 0) - amount
            leaf.pods, scarce = _times(search.ask.per_pod, free)
            if not leaf.pods and scarce:
                search.excluded[f'resource "{scarce}"'] += 1
            if search.leader is not None and _times(search.leader.per_pod, free)[0] > 0:
                leaf.leaders = 1
                for resource, amount in search.leader.per_pod.items():
                    free[resource] = free.get(resource, 0) - amount
            leaf.pods_led = _times(search.ask.per_pod, free)[0]
        for level in reversed(self.by_level):
            for one in level.values():
                _sum_up(one, search)

    def _admits(self, machine: Machine, search: _Search) -> bool:
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
            all(requirement_holds(rule, machine.labels) for rule in term.get("matchExpressions") or ())
            for term in ask.affinity
        ):
            search.excluded["affinity"] += 1
            return False
        return True

    def _fitting(self, search: _Search, level: int) -> tuple[int, list[Domain]] | str:
        """Return the domains that hold all pods, at the level asked for or, if that is only preferred, above."""
        if not self.by_level[level]:
            return f"no topology domains at level: {self.levels[level]}"
        ordered = sorted(
            self.by_level[level].values(),
            key=lambda one: (
                -one.leaders,
                one.slices_led if search.least_free else -one.slices_led,
                one.pods_led,
                one.values,
            ),
        )
        slices, leaders = search.ask.count // search.size, search.leaders
        first = ordered[0]
        if not search.least_free and first.slices_led >= slices and first.leaders >= leaders:
            first = _best(ordered, slices, leaders, slices=True)
        if search.least_free:
            for one in ordered:
                if one.leaders >= leaders and (one.slices_led if leaders else one.slices) >= slices:
                    return level, [one]
            if search.required:
                return self._lacking(search, level, ordered[-1].pods)
        if first.slices_led >= slices and first.leaders >= leaders:
            return level, [first]
        if search.required:
            return self._lacking(search, level, first.slices)
        if level > 0 and not search.unconstrained:
            return self._fitting(search, level - 1)
        return self._several(search, level, ordered)

    def _several(self, search: _Search, level: int, ordered: list[Domain]) -> tuple[int, list[Domain]] | str:
        slices, leaders = search.ask.count // search.size, search.leaders
        ordered = _leader_first(ordered, search.ask.count, leaders, search.size, slices=True)
        chosen: list[Domain] = []
        left, led = slices, leaders
        at = 0
        while led > 0 and at < len(ordered) and ordered[at].leaders > 0:
            one = ordered[at]
            if not search.least_free and one.slices_led >= left:
                one = _best(ordered[at:], left, led, slices=True)
            chosen.append(one)
            led -= one.leaders
            left -= one.slices_led
            at += 1
        if led > 0:
            return self._lacking(search, level, leaders - led)
        rest = _sorted(ordered[at:], search)
        for index, first in enumerate(rest):
            if left <= 0:
                break
            one = first
            if not search.least_free and one.slices >= left:
                one = _best(rest[index:], left, 0, slices=True)
            chosen.append(one)
            left -= one.slices
        return self._lacking(search, level, slices - left) if left > 0 else (level, chosen)

    def _lacking(self, search: _Search, level: int, fitting: int) -> str:
        wanted, unit = search.ask.count // search.size, "pod" if search.size == 1 else "slice"
        told = f'topology "{self.topology.name}" '
        if search.inner:
            best = min(self.by_level[level].values(), key=lambda one: (-one.slices, one.values))
            parts = [
                f"; {_slices_in(best, self.levels.index(name), size)}/{search.ask.count // size} slice(s) "
                f"fit on level {name}"
                for name, size in search.ask.slices
            ]
            told += "doesn't allow to fit" + "".join(parts)
        elif fitting == 0:
            told += f"doesn't allow to fit any of {wanted} {unit}(s)"
        else:
            told += f"allows to fit only {fitting} out of {wanted} {unit}(s)"
        if search.excluded:
            reasons = ", ".join(sorted(f"{name}: {count}" for name, count in search.excluded.items()))
            told += f". Total nodes: {search.total}; excluded: {reasons}"
        return told


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


def _sum_up(one: Domain, search: _Search) -> None:
    if one.children:
        size = search.inner.get(one.level + 1, 1)
        pods = [child.pods // size * size for child in one.children]
        led = [child.pods_led // size * size for child in one.children]
        able = [index for index, child in enumerate(one.children) if search.leader is None or child.leaders > 0]
        one.pods = sum(pods)
        one.slices = sum(child.slices for child in one.children)
        one.leaders = max(child.leaders for child in one.children)
        if able:
            one.pods_led = one.pods - min(pods[index] - led[index] for index in able)
            gaps = [one.children[index].slices - one.children[index].slices_led for index in able]
            one.slices_led = one.slices - min(gaps)
    if one.level == search.slice_level:
        one.slices, one.slices_led = one.pods // search.size, one.pods_led // search.size


def _sorted(domains: Iterable[Domain], search: _Search) -> list[Domain]:
    sign = 1 if search.least_free else -1
    return sorted(domains, key=lambda one: (sign * one.slices, one.pods, one.values))


def _capacity(one: Domain, *, led: bool, slices: bool) -> int:
    if slices:
        return one.slices_led if led else one.slices
    return one.pods_led if led else one.pods


def _best(domains: Sequence[Domain], needed: int, leaders: int, *, slices: bool) -> Domain:
    """Return the first domain with the least room that suffices, or the first of all."""
    best: Domain | None = None
    room = 0
    for one in domains:
        has = _capacity(one, led=leaders > 0, slices=slices)
        if one.leaders >= leaders and has >= needed and (best is None or has < room):
            best, room = one, has
    return domains[0] if best is None else best


def _leader_first(domains: list[Domain], count: int, leaders: int, size: int, *, slices: bool) -> list[Domain]:
    """Return the domains with the first one in front that can take the leader and leaves room for all others."""
    if not leaders or len(domains) < 2:
        return domains
    needed = count // size if slices else count
    total = sum(_capacity(one, led=False, slices=slices) for one in domains)
    for index, one in enumerate(domains):
        loss = _capacity(one, led=False, slices=slices) - _capacity(one, led=True, slices=slices)
        if one.leaders >= leaders and total - loss >= needed:
            return [one, *domains[:index], *domains[index + 1 :]]
    return domains


def _give(domains: list[Domain], count: int, leaders: int, size: int, search: _Search, *, slices: bool) -> list[Domain]:
    """Give the pods to as few of the domains as possible; return those that got some, with what they got as counts."""
    domains = _leader_first(domains, count, leaders, size, slices=slices)
    unit = size if slices else 1
    left, led = (count // size if slices else count), leaders
    chosen: list[Domain] = []
    for index, first in enumerate(domains):
        one = first
        enough = _capacity(one, led=led > 0, slices=slices) >= left and (not led or one.leaders >= led)
        if not search.least_free and enough:
            one = _best(domains[index:], left, led, slices=slices)
        room = _capacity(one, led=led > 0, slices=slices)
        chosen.append(one)
        one.leaders = min(one.leaders, led)
        given = min(room, left)
        one.pods, one.slices = given * unit, given if slices else one.slices
        if room >= left and one.leaders >= led:
            return chosen
        left -= given
        led -= one.leaders
    return chosen


def _slices_in(one: Domain, level: int, size: int) -> int:
    if one.level == level:
        return one.pods // size
    return sum(_slices_in(child, level, size) for child in one.children)


def places_of(
    flavors: Iterable[Flavor], topologies: Mapping[str, Topology], machines: Sequence[Machine], *, shared: bool = True
) -> dict[str, Places]:
    """Return the places of every flavor that names a known topology. `shared` nodes serve all their flavors."""
    used: Used | None = {} if shared else None
    found = {}
    for flavor in flavors:
        topology = topologies.get(flavor.topology or "")
        if topology is not None:
            by_node = bool(topology.levels) and topology.levels[-1] == HOSTNAME
            found[flavor.name] = Places(flavor, topology, machines, used if by_node else None)
    return found
