"""Trees of plain objects, of any shape: what lies above, and the branches that are cut off with all that is below.

A branch is chosen by how many objects are below it, and stays one while it is there. The one trap: this runs before
anything is pickled, so no code of the person's may run, and what is found here is a choice, never a proof: what a
branch shares with others is asked of the pickles.
"""

from __future__ import annotations

import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any

from dure.state.cut import large, plain, simple
from dure.state.memory import layout
from dure.state.objects.children import children

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    _Read = tuple[float, Iterable[Any]]

_MOST = 1 << 24  # objects that are looked at
_STRANGE = 1000  # of which are not plain, and may hold plain ones
_TOGETHER = 256  # branches in a part, at most
_WIDE = 1024  # elements; what has more is no place to cut branches off
_LEAST = 8  # to what part of a part it may be left
_WHOLE = 128  # parts; what is not cut may weigh as much
NEVER = (type, types.ModuleType, types.FunctionType)


class Walk:
    """The objects of a value, without those below what `stops` has: these are in `stopped`, by id."""

    def __init__(self, value: Any, stops: Container[int]) -> None:
        self.nodes: list[Any] = [value]
        self.above = [-1]  # the place of what holds each
        self.stopped: dict[int, tuple[Any, int]] = {}
        self.meet = False  # whether something is held twice
        self._first: list[int] = []  # of what each holds
        self._weights: list[float] = []
        self._clean: list[bool] = []  # plain as it seems, with all below
        self._readers: dict[type, Callable[[Any], _Read] | None] = {}
        if id(value) in stops:
            self.nodes = []
            self.stopped[id(value)] = value, -1
            return
        for at in self._in_circles(self._look(stops)):
            self._clean[at] = False
        for at in range(len(self.nodes) - 1, 0, -1):
            above = self.above[at]
            self._weights[above] += self._weights[at]
            self._clean[above] &= self._clean[at]
        self._first.append(len(self.nodes))

    def _look(self, stops: Container[int]) -> list[tuple[int, Any]]:
        """Look at all; return the tuples that were met again, and the places of what holds them."""
        again: list[tuple[int, Any]] = []
        ids = {id(self.nodes[0])}
        nodes, above, atoms, strange = self.nodes, self.above, plain.ATOMS, 0
        for at, node in enumerate(nodes):  # it grows
            self._first.append(len(nodes))
            kind = type(node)
            try:
                read = self._readers[kind]
            except KeyError:
                read = self._readers[kind] = _reader(kind)
            clean = read is not None
            if read is not None:
                weight, held = read(node)
            else:
                strange += 1
                weight, held = 1.0, _inside(node) if strange < _STRANGE else ()
            for child in held:
                of = type(child)
                if of in atoms:
                    weight += 1 + (len(child) >> 6) if of is str or of is bytes else 1
                    continue
                key = id(child)
                if key in ids:
                    if of is tuple:
                        again += [(at, child)] if child else []
                    else:
                        self.meet = True
                elif key in stops:
                    self.stopped[key] = child, at
                    clean = False
                elif issubclass(of, NEVER):
                    clean = False
                else:
                    ids.add(key)
                    nodes.append(child)
                    above.append(at)
            self._weights.append(weight + 1)
            self._clean.append(clean)
            if len(nodes) > _MOST:
                raise plain.NotPlainError
        return again

    def _in_circles(self, again: list[tuple[int, Any]]) -> Iterable[int]:
        """Yield the places of what holds a tuple that it is in: a part with it would have another such tuple."""
        if not again:
            return
        places = {id(node): at for at, node in enumerate(self.nodes) if type(node) is tuple}
        outside: dict[int, set[int]] = {}  # of each tuple, what is known not to be in it
        for holder, met in again:
            place, seen, at = places[id(met)], outside.setdefault(id(met), set()), holder
            while at > place and at not in seen:
                seen.add(at)
                at = self.above[at]
            if at == place:
                yield holder
                seen.clear()

    def branches(self, part: float) -> tuple[list[list[Any]], list[Any]]:
        """Return what is to be cut off: branches that weigh about `part` together, or alone up to twice as much; and
        what nothing can be cut off, though much is below it. What weighs less is pickled sooner than looked for.
        """
        found: list[list[int]] = []
        left: list[Any] = []
        tops = [0] if self.nodes and self._weights[0] >= part else []
        if tops and self._takes(0, 2 * part):
            return [[self.nodes[0]]], []
        for top in tops:  # it grows
            run: list[int] = []
            weight = 0.0
            if self._first[top + 1] - self._first[top] > _WIDE:
                if self._takes(top, _WHOLE * part):
                    found.append([top])
                else:
                    left.append(self.nodes[top])
                continue
            for at in self._held(top, 2 * part):
                if self._weights[at] > 2 * part or not self._clean[at]:
                    tops.append(at)
                    continue
                if run and (len(run) >= _TOGETHER or weight + self._weights[at] > part):
                    found += [run] if weight >= part / _LEAST else []
                    run, weight = [], 0.0
                run.append(at)
                weight += self._weights[at]
            found += [run] if weight >= part / _LEAST else []
        return [[self.nodes[at] for at in run] for run in found], left

    def _held(self, at: int, most: float) -> Iterable[int]:
        """Yield what an object holds, and in place of tuples that are not heavy what these hold."""
        left = list(range(self._first[at + 1] - 1, self._first[at] - 1, -1))
        while left:
            here = left.pop()
            if self._changes(here) or not self._clean[here] or self._weights[here] > most:
                yield here
            else:
                left += range(self._first[here + 1] - 1, self._first[here] - 1, -1)

    def _takes(self, at: int, most: float) -> bool:
        return self._clean[at] and self._weights[at] <= most and self._changes(at)

    def _changes(self, at: int) -> bool:
        """Tell whether an object can be the beginning of a branch: a container, of which memory tells what it holds."""
        return changes(type(self.nodes[at]))

    def top(self) -> dict[int, Any]:
        """Return what was looked at and can change, by id."""
        array = getattr(sys.modules.get("numpy"), "ndarray", None)
        kinds = {kind for kind in set(map(type, self.nodes)) if kind in (bytearray, array) or changes(kind)}
        return {id(node): node for node in self.nodes if type(node) in kinds}

    def way(self, key: int) -> str:
        """Return the way from the value to what has an id, as a person writes it."""
        if key not in self.stopped:
            return ""
        here, at = self.stopped[key]
        steps = []
        while at >= 0:
            holder = self.nodes[at]
            steps.append(next((step for child, step in children(holder) if child is here), "[…]"))
            here, at = holder, self.above[at]
        return "".join(reversed(steps))


def changes(kind: type) -> bool:
    """Tell whether instances of a type are plain, can change, and hold others."""
    if kind in _EXACT:
        return True
    slots = simple.slots_of(kind)
    return simple.is_simple(kind) or bool(slots and slots[0])


_EXACT = {list, dict, set, defaultdict, Counter, OrderedDict, deque}


def _reader(kind: type) -> Callable[[Any], _Read] | None:
    """Return what gives the own weight of an object of a type, and the objects that it holds; None for types that are
    not plain.
    """
    known = _READERS.get(kind)
    if known is not None or plain.is_other(kind):
        return known or (lambda _: (0.0, ()))
    if plain.is_array(kind):
        return _of_array if layout.arrays_work() else None
    if simple.is_simple(kind):
        return lambda value: _of_dict(value.__dict__)
    if simple.is_record(kind):
        return lambda value: (0.0, tuple.__iter__(value))
    slots = simple.slots_of(kind)
    return None if slots is None else lambda value: (0.0, simple.state_of(value, slots)[1])


def _of_itself(value: Any) -> _Read:
    return 0.0, value


def _of_dict(value: Any) -> _Read:
    if plain.ATOMS.issuperset(map(type, dict.keys(value))):
        return float(len(value)), dict.values(value)
    return 0.0, [*dict.keys(value), *dict.values(value)]


def _of_array(value: Any) -> _Read:
    return 4 + value.nbytes / 16 if value.nbytes < plain.ARRAY_BYTES else float(_MOST), ()


_READERS: dict[type, Callable[[Any], _Read]] = {
    **dict.fromkeys((list, tuple, set, frozenset, deque), _of_itself),
    **dict.fromkeys((dict, defaultdict, Counter, OrderedDict), _of_dict),
    bytearray: lambda value: (len(value) / 64, ()),
}


def _inside(value: Any) -> Iterable[Any]:
    """Return what an object that is not plain holds, as far as Python keeps it."""
    kind = large.kind_of(type(value))
    held: list[Any] = []
    if kind is dict:
        held = list(dict.values(value))
    elif kind is list:
        held = list(list.__iter__(value))
    return held + [item for _, item in large.attributes(value)]
