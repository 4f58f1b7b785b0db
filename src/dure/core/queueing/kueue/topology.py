"""Topology-aware placement: which domains (blocks, racks, nodes) the pods of a workload get, within one flavor.

As Kueue's (tas_flavor_snapshot.go): counts of pods that fit go up from the leaves to the level asked for, then the
pods go down, level by level, into as few domains as possible. The trap: pods whose node failed are placed alone, so
the domain that they must share with the others is a bound of the search and no level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dure.core.queueing.kueue.balanced import balanced
from dure.core.queueing.kueue.domains import Ask, Domain, Domains, Search, Spread, Used, Values, add
from dure.core.queueing.kueue.objects import Flavor, Gates, Machine, Topology

_DEFAULTS = Gates()


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Why a pod set found no place."""

    name: str
    reason: str


class Places(Domains):
    """The places of one flavor, and where pods go."""

    def has_levels(self, request: Mapping[str, Any]) -> bool:
        """Return whether the topology has all levels that a request names."""
        ask = Ask("", 0, {}, request)
        level = self._level_of(ask)
        return level in self.levels and all(name in self.levels for name, _ in ask.slices)

    def place(
        self, asks: Sequence[Ask], *, empty: bool = False, gates: Gates = _DEFAULTS, assumed: Used | None = None
    ) -> dict[str, Spread] | Unplaced:
        """Return where the pods of these pod sets go, or why one finds no place.

        Pod sets of one group are placed together, the one with a single pod being the leader. `empty` asks as if no
        workload used anything; `assumed` is what others of this workload take.
        """
        groups: dict[str, list[Ask]] = {}
        for index, ask in enumerate(asks):
            groups.setdefault(str(ask.request.get("podSetGroupName") or f"\0{index}"), []).append(ask)
        assumed = {} if assumed is None else assumed
        result: dict[str, Spread] = {}
        for members in groups.values():
            if any(ask.failed for ask in members):
                replaced = self._replace(members, assumed, gates)
                if isinstance(replaced, Unplaced):
                    return replaced
                result.update(replaced)
                continue
            workers, leader = members[0], members[1] if len(members) > 1 else None
            if leader is not None and leader.count > workers.count:
                workers, leader = leader, workers
            found = self._grown(workers, leader, assumed, empty=empty, gates=gates)
            if found is None:
                found = self._find(workers, leader, assumed, empty=empty, gates=gates)
                if not isinstance(found, str):
                    for ask in members:
                        _assume(assumed, ask, found[ask.name])
            if isinstance(found, str):
                return Unplaced(members[0].name, found)
            result.update(found)
        return result

    def _grown(
        self, workers: Ask, leader: Ask | None, assumed: Used, *, empty: bool, gates: Gates
    ) -> dict[str, Spread] | str | None:
        """Return where a workload goes whose smaller or larger slice is placed; None if it is placed afresh.

        What runs stays; only pods that come are placed, only the last ones go.
        """
        if not gates.elastic_slices_topology or workers.previous is None or self._stale(workers.previous):
            return None
        if leader is not None and leader.previous is not None and self._stale(leader.previous):
            return None
        before = sum(count for _, count in workers.previous)
        stays = None if leader is None else leader.previous
        if workers.count <= before:
            found = {workers.name: _truncated(workers.previous, workers.count)}
            _assume(assumed, workers, found[workers.name])
        else:
            _assume(assumed, workers, workers.previous)
            coming = leader
            if leader is not None and stays is not None:
                _assume(assumed, leader, stays)
                coming = None
            more = replace(workers, count=workers.count - before, previous=None)
            new = self._find(more, coming, assumed, empty=empty, gates=gates)
            if isinstance(new, str):
                return new
            for ask in (more, coming):
                if ask is not None:
                    _assume(assumed, ask, new[ask.name])
            found = {**new, workers.name: self._merged(new[workers.name], workers.previous)}
        if leader is not None and leader.name not in found:
            found[leader.name] = stays or ()
            if workers.count <= before:
                _assume(assumed, leader, stays or ())
        return found

    def _replace(self, members: Sequence[Ask], assumed: Used, gates: Gates) -> dict[str, Spread] | Unplaced:
        """Return where pod sets go after a node failed: only its pods are placed anew."""
        result: dict[str, Spread] = {}
        for ask in members:
            if ask.held is None:
                continue
            if ask.pinned and gates.pod_owned_stay:
                result[ask.name] = ask.held
                continue
            left = tuple((values, count) for values, count in ask.held if values[-1] != ask.failed)
            moving = sum(count for _, count in ask.held) - sum(count for _, count in left)
            stale = self._stale(left)
            if stale:
                told = "Cannot replace the node, because the existing topologyAssignment is invalid, as it contains"
                return Unplaced(ask.name, f"{told} the stale domain {stale[0]}")
            within = self._bound(ask, moving, left)
            moved = replace(ask, count=moving, request=_narrowed(ask, moving) if within else ask.request)
            new = self._find(moved, None, assumed, empty=False, gates=gates, within=within)
            if isinstance(new, str):
                return Unplaced(ask.name, new)
            if not new[ask.name]:
                return Unplaced(ask.name, f"cannot find replacement assignment for unhealthy node: {ask.failed}")
            result[ask.name] = self._merged(new[ask.name], left)
            _assume(assumed, ask, new[ask.name])
        return result

    def _stale(self, spread: Spread) -> Values:
        """Return a domain of a placement that is not there any more; empty when all are."""
        return next((values for values, _ in spread if values not in self.leaves), ())

    def _merged(self, left: Spread, right: Spread) -> Spread:
        total: dict[Values, int] = {}
        for values, count in (*left, *right):
            total[values] = total.get(values, 0) + count
        return tuple(sorted(total.items(), key=lambda pair: self.leaves[pair[0]].values))

    def _bound(self, ask: Ask, moving: int, left: Spread) -> Values:
        """Return the domain in which replaced pods must be, that what was required still holds; empty for any."""
        level = self._level_of(ask)
        if level not in self.levels or not left:
            return ()
        layers = ask.slices
        size = layers[0][1] if layers else 1
        if size <= 0:
            return ()
        if layers and moving % size:
            broken = next((one for one in reversed(layers) if moving % one[1]), layers[0])
            return self._incomplete(left, moving, *broken)
        if ask.request.get("required") is None:
            return ()
        return self.leaves[left[0][0]].values[: self.levels.index(level) + 1]

    def _incomplete(self, left: Spread, moving: int, level: str, size: int) -> Values:
        """Return the domain of a level in which the pods that are left make whole slices only with those that move."""
        if level not in self.levels:
            return ()
        total: dict[Values, int] = {}
        for values, count in left:
            at = self.leaves[values].values[: self.levels.index(level) + 1]
            total[at] = total.get(at, 0) + count
        return next((values for values, count in total.items() if (count + moving) % size == 0), ())

    def _level_of(self, ask: Ask) -> str | None:
        for kind in ("required", "preferred"):
            if ask.request.get(kind) is not None:
                return str(ask.request[kind])
        if ask.slices:
            return self.levels[0]
        return self.levels[-1] if ask.request.get("unconstrained") or ask.implied else None

    def _search(self, ask: Ask, leader: Ask | None, gates: Gates, within: Values) -> Search | str:
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
        named = any(ask.request.get(kind) is not None for kind in ("required", "preferred"))
        free = bool(ask.request.get("unconstrained")) or ask.implied or (bool(layers) and not named)
        least_free = free and gates.topology_profile_mixed
        return Search(ask, leader, gates, at, slice_at, size, inner, least_free, free, within)

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
        self, ask: Ask, leader: Ask | None, assumed: Used, *, empty: bool, gates: Gates, within: Values = ()
    ) -> dict[str, Spread] | str:
        search = self._search(ask, leader, gates, within)
        if isinstance(search, str):
            return search
        self.count(search, assumed, empty=empty)
        even = None
        if gates.balanced_placement and not search.required and not search.unconstrained:
            even = balanced(self, search)
        fit = even or self._fitting(search, search.level)
        if isinstance(fit, str):
            return fit
        level, domains = fit
        domains = _give(domains, ask.count, search.leaders, search.size, search, slices=True)
        while even is None and level < min(len(self.levels) - 1, search.slice_level):
            below = search.ordered([child for one in domains for child in one.children])
            domains = _give(below, ask.count, search.leaders, search.size, search, slices=True)
            level += 1
        while level < len(self.levels) - 1:
            size = search.size if level < search.slice_level else search.inner.get(level + 1, 1)
            lower: list[Domain] = []
            for one in domains:
                below = search.ordered(one.children)
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

    def _fitting(self, search: Search, level: int) -> tuple[int, list[Domain]] | str:
        """Return the domains that hold all pods, at the level asked for or, if that is only preferred, above."""
        if not self.by_level[level]:
            return f"no topology domains at level: {self.levels[level]}"
        ordered = search.ordered_led(self.by_level[level].values())
        slices, leaders = search.slices, search.leaders
        first = ordered[0]
        if not search.least_free and first.slices_led >= slices and first.leaders >= leaders:
            first = _best(ordered, slices, leaders, search, slices=True)
        if search.least_free:
            for one in ordered:
                if one.leaders >= leaders and (one.slices_led if leaders else one.slices) >= slices:
                    return level, [one]
            if search.required:
                return self._lacking(search, level, ordered[-1].pods)
        if first.slices_led >= slices and first.leaders >= leaders:
            return level, [first]
        if search.required:
            for index, one in enumerate(ordered) if search.gates.preferred_affinity else ():
                if one.slices_led >= slices and one.leaders >= leaders:
                    return level, [_best(ordered[index:], slices, leaders, search, slices=True)]
            return self._lacking(search, level, first.slices)
        if level > 0 and not search.unconstrained:
            return self._fitting(search, level - 1)
        return self._several(search, level, ordered)

    def _several(self, search: Search, level: int, ordered: list[Domain]) -> tuple[int, list[Domain]] | str:
        slices, leaders = search.slices, search.leaders
        ordered = _leader_first(ordered, search.ask.count, leaders, search.size, slices=True)
        chosen: list[Domain] = []
        left, led = slices, leaders
        at = 0
        while led > 0 and at < len(ordered) and ordered[at].leaders > 0:
            one = ordered[at]
            if not search.least_free and one.slices_led >= left:
                one = _best(ordered[at:], left, led, search, slices=True)
            chosen.append(one)
            led -= one.leaders
            left -= one.slices_led
            at += 1
        if led > 0:
            return self._lacking(search, level, leaders - led)
        rest = search.ordered(ordered[at:])
        for index, first in enumerate(rest):
            if left <= 0:
                break
            one = first
            if not search.least_free and one.slices >= left:
                one = _best(rest[index:], left, 0, search, slices=True)
            chosen.append(one)
            left -= one.slices
        return self._lacking(search, level, slices - left) if left > 0 else (level, chosen)

    def _lacking(self, search: Search, level: int, fitting: int) -> str:
        wanted, unit = search.slices, "pod" if search.size == 1 else "slice"
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


def _capacity(one: Domain, *, led: bool, slices: bool) -> int:
    if slices:
        return one.slices_led if led else one.slices
    return one.pods_led if led else one.pods


def _best(domains: Sequence[Domain], needed: int, leaders: int, search: Search, *, slices: bool) -> Domain:
    """Return the first domain with the least room that suffices, or the first of all.

    Where the preferred affinity counts, only the domains that it prefers as much as the first one are looked at.
    """
    best: Domain | None = None
    room = 0
    for one in domains:
        if search.rank(one) != search.rank(domains[0]):
            break
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


def _give(domains: list[Domain], count: int, leaders: int, size: int, search: Search, *, slices: bool) -> list[Domain]:
    """Give the pods to as few of the domains as possible; return those that got some, with what they got as counts."""
    domains = _leader_first(domains, count, leaders, size, slices=slices)
    unit = size if slices else 1
    left, led = (count // size if slices else count), leaders
    chosen: list[Domain] = []
    for index, first in enumerate(domains):
        one = first
        enough = _capacity(one, led=led > 0, slices=slices) >= left and (not led or one.leaders >= led)
        if not search.least_free and enough:
            one = _best(domains[index:], left, led, search, slices=slices)
        room = _capacity(one, led=led > 0, slices=slices)
        chosen.append(one)
        one.leaders = min(one.leaders, led)
        given = min(room, left)
        one.pods, one.slices = given * unit, given if slices else one.slices
        if room >= left and one.leaders >= led:
            return chosen
        left -= given
        led -= one.leaders
    return []


def _assume(assumed: Used, ask: Ask, spread: Spread) -> None:
    """Count pods that this workload gets beside what is used."""
    for values, count in spread:
        add(assumed, values, {name: amount * count for name, amount in ask.per_pod.items()})


def _truncated(spread: Spread, count: int) -> Spread:
    """Return the places of the first pods, so many."""
    kept: list[tuple[Values, int]] = []
    for values, held in spread:
        if count > 0:
            kept.append((values, min(held, count)))
            count -= held
    return tuple(kept)


def _narrowed(ask: Ask, moving: int) -> dict[str, Any]:
    """Return a request whose slices are the largest that so few pods still make; without slices, as it is."""
    layers, request = ask.slices, dict(ask.request)
    if not layers or moving % layers[0][1] == 0:
        return request
    level, size = next(((level, size) for level, size in reversed(layers) if moving % size == 0), (None, 1))
    request.pop("podsetSliceRequiredTopologyConstraints", None)
    request |= {"podSetSliceRequiredTopology": level, "podSetSliceSize": size}
    return request


def _slices_in(one: Domain, level: int, size: int) -> int:
    if one.level == level:
        return one.pods // size
    return sum(_slices_in(child, level, size) for child in one.children)


def places_of(
    flavors: Iterable[Flavor], topologies: Mapping[str, Topology], machines: Sequence[Machine]
) -> dict[str, Places]:
    """Return the places of every flavor that names a known topology."""
    found = {}
    for flavor in flavors:
        topology = topologies.get(flavor.topology or "")
        if topology is not None and topology.levels:
            found[flavor.name] = Places(flavor, topology, machines)
    return found
