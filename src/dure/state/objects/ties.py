"""Keeps objects shared that a class's own `__reduce__` or `__getstate__` would copy or leave out.

A library's object may be pickled with a copy of a dictionary that another variable holds, too: after a restore, what is
changed through one name is then not seen through the other. What an object really holds is asked of the garbage
collector and compared with what its reduction names. Attributes that lost something so are set again from what is
saved; what cannot be set is named. The one trap: the collector knows what is held, not why, so nothing is followed
through modules, classes, the notebook's names and what cannot be saved.
"""

from __future__ import annotations

import copyreg
import gc
import operator
import sys
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state.objects import attributes, rebuild
from dure.state.objects.children import children
from dure.state.objects.instances import LEAVES
from dure.state.objects.refusals import RefusedError, reason_for

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from dure.state.objects.pickling import Reducer

_COLLECTED = 1 << 14  # Py_TPFLAGS_HAVE_GC: instances tell the collector what they hold
_OBJECTS = 20_000  # of classes with their own way, that are looked at in one capture
_INSIDE = 500  # objects inside one of them
_ALONE = 64  # that are pickled by themselves, to see what their pickle reaches
_STEPS = 6  # how far inside an attribute what is lost may be
_FEW = 16  # elements, that are asked for their types at once
_NAMED = 3  # containers inside each other, in a reduction
_ROUNDS = 4  # what is given again may lose something itself
_ENDS = (*LEAVES, type, types.ModuleType, types.FrameType, types.TracebackType, types.CodeType)


@dataclass(slots=True)
class Ties:
    """What one capture knows of objects that would lose something: by their ids the objects, the names of the
    attributes that each is given again, and why it is refused.
    """

    known: dict[int, tuple[Any, set[str], str]] = field(default_factory=dict)
    rounds: int = _ROUNDS
    left: int = _OBJECTS
    alone: int = _ALONE
    now: set[int] = field(default_factory=set)  # what was tied in this round
    _ends: dict[type, bool] = field(default_factory=dict)
    _placed: frozenset[int] = frozenset()

    def ends(self, kind: type) -> bool:
        """Tell whether nobody looks into instances of a type."""
        found = self._ends.get(kind)
        if found is None:
            found = self._ends[kind] = issubclass(kind, _ENDS) or reason_for(kind) is not None
        return found

    def has_place(self, value: Any) -> bool:
        """Tell whether a module has an object under a name: it is the library's own."""
        if not self._placed:  # all are looked at once, since few captures ask
            modules = [each for name, each in list(sys.modules.items()) if name != "__main__"]
            named = [vars(module) for module in modules if type(module) is types.ModuleType]
            self._placed = frozenset(id(one) for names in named for one in list(names.values()))
        return id(value) in self._placed


def noted(kind: type, reducer: Reducer | None) -> Reducer | None:
    """Return `reducer` (None: pickle's own way) made to note what it says of each instance, for `Search`; unchanged
    where `kind` has no way of its own to be pickled, which could lose anything.
    """
    way = attributes.way_of(kind)
    own = kind in copyreg.dispatch_table or not (way is object or attributes.is_pythons(way))
    if not own or not kind.__flags__ & _COLLECTED:
        return reducer
    known = attributes.registered(kind)
    attributes_of = _attributes_alone(kind)

    def reduce(pickler: Any, value: Any) -> Any:  # called for each object, and most hold what is plainly in their state
        made = NotImplemented if reducer is None else reducer(pickler, value)
        if made is NotImplemented:
            made = value.__reduce_ex__(5) if known is None else known(value)
        if isinstance(made, str):
            pickler.referenced.add(id(value))
            return made
        told = pickler.shared.ties.known
        tied = told.get(id(value)) if told else None
        if tied is not None:
            if tied[2]:
                raise RefusedError(value, tied[2])
            make, arguments, state, items, pairs, setter = (*made, None, None, None, None)[:6]
            beside = {name: item for name, item in _attributes(value) if name in tied[1]}
            made = make, arguments, (setter, state, beside), items, pairs, rebuild.set_beside
        noted = pickler.noted
        if noted is not None and not (attributes_of and len(made) > 2 and _is_in(attributes_of(value), made[2])):
            noted.append((value, made))
        return made

    return reduce


def _attributes_alone(kind: type) -> Callable[[Any], Any] | None:
    """Return what gives the attributes of instances that hold nothing else; None for other types."""
    of_dict: Any = next((vars(cls)["__dict__"] for cls in kind.__mro__ if "__dict__" in vars(cls)), None)
    pointers = (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    plain = isinstance(of_dict, types.GetSetDescriptorType) and not kind.__itemsize__
    return of_dict.__get__ if plain and kind.__basicsize__ == object.__basicsize__ + 8 * pointers else None


def _is_in(own: Any, state: Any) -> bool:
    """Tell whether a state is the same as the attributes, or a copy of them with nothing left out."""
    if own is state:
        return True
    return type(state) is dict and len(own) == len(state) and all(map(operator.is_, own.values(), state.values()))


def _attributes(value: Any) -> list[tuple[str, Any]]:
    own = list(getattr(value, "__dict__", {}).items())
    slots = sorted(attributes.slots_above(type(value), object))
    return own + [(name, getattr(value, name)) for name in slots if hasattr(value, name)]


class Search:
    """Looks for what the objects that one pickler noted lose. `elsewhere` tells of an id whether that object is pickled
    anywhere; `own` gives the ids of what this pickler has, `alone` those of what the pickle of one object has.
    """

    def __init__(
        self,
        ties: Ties,
        names: dict[str, Any],
        elsewhere: Container[int],
        own: Callable[[], Container[int]],
        alone: Callable[[Any], Container[int]],
    ) -> None:
        self._ties = ties
        self._names = names
        self._elsewhere = elsewhere
        self._own = own
        self._alone = alone
        self.unmet: set[int] = set()  # ids of what was looked into: no pickle has it, but for the parts of containers

    def lost(self, value: Any, made: Any) -> list[Any]:
        """Return what an object would lose by its reduction `made`: the pickle of the object would not reach it."""
        found = []
        for item in self._held(value, made):
            if id(item) in self._own():
                self._ties.alone -= 1
                if self._ties.alone < 0 or id(item) in self._alone(value):
                    continue
            found.append(item)
        return found

    def _held(self, value: Any, made: Any) -> list[Any]:
        """Return what an object holds and its reduction leaves out, also inside objects that no pickle has."""
        first = self._first(value, made)
        if not first:
            return []
        seen = {id(value), *_named(made)}
        found = []
        most = len(seen) + _INSIDE
        stack = [first]
        while stack and len(seen) < most:
            for child in stack.pop():
                key = id(child)
                if key in seen or self._ties.ends(type(child)):
                    continue
                seen.add(key)
                if key in self._elsewhere:
                    if not _is_value(type(child)) and not self._ties.has_place(child):
                        found.append(child)
                else:
                    self.unmet.add(key)
                    stack.append(self._below(child))
        return found

    def _first(self, value: Any, made: Any) -> list[Any]:
        """Return what an object holds by itself, without what is plainly in its state: called for each object."""
        held = gc.get_referents(value)
        state = made[2] if len(made) > 2 else None
        own = held[0] if held else None
        more = len(held) > 2 or (len(held) > 1 and held[1] is not type(value))
        if more or type(state) is not dict or type(own) is not dict:
            return held  # it holds more than its class and its attributes
        named = set(map(id, state.values()))
        left = [item for item in own.values() if id(item) not in named]
        return [item for item in left if not self._ends(item)] if left else left

    def _ends(self, item: Any) -> bool:
        """Tell whether it holds nothing that could be lost: called for what is not plainly in a state."""
        if type(item) is dict and len(item) < _FEW:
            return all(map(self._ties.ends, map(type, item.values()))) and all(map(self._ties.ends, map(type, item)))
        return self._ties.ends(type(item)) or _is_modules(item)

    def _below(self, value: Any) -> list[Any]:
        kind = type(value)  # the type alone: an object that no pickle has may raise when it is asked for its class
        if kind is types.FunctionType:
            return [*(value.__closure__ or ()), value.__defaults__, value.__kwdefaults__, value.__dict__]
        if issubclass(kind, dict) and (value is self._names or dict.__contains__(value, "__name__")):
            return []  # the names of a module
        return gc.get_referents(value)

    def tie(self, value: Any, lost: list[Any], name: str) -> None:
        """Note which attributes of an object lead to what it would lose, so that they are set again. Where none does,
        or that was tried already, note why the object is refused: the variable `name` holds what would be lost, too.
        """
        if id(value) in self._ties.now:
            return
        self._ties.now.add(id(value))
        _, known, _ = self._ties.known.get(id(value), (value, set(), ""))
        try:
            found = {self._leads(value, one) for one in lost}
        except Exception:  # what its class says of its attributes is not to be had
            found = {None}
        names = {each for each in found if each is not None}
        refused = None in found or not self._ties.rounds or not known.isdisjoint(names)
        why = f"its own way of being pickled would part it from what {name} holds, too" if refused else ""
        self._ties.known[id(value)] = (value, known | names, why)

    def _leads(self, value: Any, lost: Any) -> str | None:
        """Return the attribute from which the way to an object is the shortest; None where none is near to it."""
        level = _attributes(value)
        seen = {id(value)}
        for _ in range(_STEPS):
            for name, item in level:
                if item is lost:
                    return name
            below = []
            for name, item in level:
                if id(item) not in seen and len(seen) < _INSIDE:
                    seen.add(id(item))
                    below += [(name, child) for child, _ in children(item) if not self._ties.ends(type(child))]
            level = below
        return None


def _is_modules(item: Any) -> bool:
    """Tell whether it is a function of a module without a closure or attributes: it holds nothing to be lost."""
    if type(item) is not types.FunctionType or item.__closure__ is not None or type(item.__module__) is not str:
        return False
    return getattr(sys.modules.get(item.__module__), "__dict__", None) is item.__globals__ and not item.__dict__


def _is_value(kind: Any) -> bool:
    """Tell whether a class has `__eq__` and `__hash__` of its own: then its instances never change."""
    return kind.__eq__ is not object.__eq__ and kind.__hash__ not in (None, object.__hash__)


def _named(made: Any) -> set[int]:
    """Return the ids of what a reduction names, by itself or in containers of its own."""
    found: set[int] = set()
    level = list(made[1:3])
    for _ in range(_NAMED):
        found.update(map(id, level))
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                below += item.values()
            elif type(item) in (list, tuple):
                below += item
        level = below
        if len(found) > _INSIDE:
            break
    return found
