"""Ordinary objects, which pickle makes again from their class and attributes, where that would alter them.

Pickle gives each object a new dictionary of attributes, so one that is the `__dict__` of two objects, or that a
variable holds, too (`settings = vars(options)`), would no longer be the same. And pickle sets attributes last, so an
object in a set that it holds itself would lie there under a hash computed without them. The one trap: the holders of a
dictionary are counted, and pickling an object adds one, so what was alone when it was first met stays so.
"""

from __future__ import annotations

import collections
import copyreg
import datetime as dt
import decimal
import enum
import fractions
import gc
import pathlib
import pickle
import sys
import types
import uuid
from typing import TYPE_CHECKING, Any

from dure.state.memory.layout import HEAP_TYPE
from dure.state.objects.children import children
from dure.state.objects.classes import LOADING, REDUCING
from dure.state.objects.refusals import RefusedError
from dure.state.secrecy import hidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.state.objects.pickling import Reducer

LEAVES = (
    *(int, float, complex, str, bytes, type(None), range, enum.Enum, decimal.Decimal, fractions.Fraction, uuid.UUID),
    *(dt.date, dt.time, dt.timedelta, pathlib.PurePath),
)
_PLAIN = {int, float, complex, str, bytes, bool, type(None)}
_STEPS = 100_000  # objects of one type's attributes that are looked through for the objects themselves
_HELD = "a namespace whose attributes are held as a dictionary, too; dict(…) of that can be saved"
HASH = "its hash comes from objects that may hold it in a set or as a key, so it would not be found there again"


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of instances of an ordinary class; None for types with a way of their own to be pickled."""
    ways: Any = kind
    if ways.__reduce__ is types.SimpleNamespace.__reduce__:
        return _Namespaces()
    if not pickled_as_pickle(kind):
        return None
    of_dict = next((vars(cls)["__dict__"] for cls in kind.__mro__ if "__dict__" in vars(cls)), None)
    return _instances(kind) if isinstance(of_dict, types.GetSetDescriptorType) else None


def pickled_as_pickle(kind: type) -> bool:
    """Tell whether a class leaves to pickle how its instances are saved: by their class, attributes and slots."""
    ways = (*REDUCING, "__getattribute__")
    if not kind.__flags__ & HEAP_TYPE or any(getattr(kind, way) is not getattr(object, way) for way in ways):
        return False
    return not any(hasattr(kind, way) for way in LOADING) and kind not in copyreg.dispatch_table


class _Probe:
    pass


_probe = _Probe()
ALONE = sys.getrefcount(_probe.__dict__)  # as many hold attributes that only their object holds


def _instances(kind: type) -> Reducer:
    """Return the reducer of the instances of one class in one capture."""
    hashes = _Hashes() if _may_hold_itself(kind) else None
    alone: set[int] = set()
    slotted = any(vars(cls).get("__slots__") for cls in kind.__mro__)
    holders = sys.getrefcount

    def reduce(_: Any, value: Any) -> Any:  # called for each object: all else is further down
        key = id(value)
        if key not in alone:
            if holders(value.__dict__) > ALONE or type(value.__dict__) is not dict:
                first = hashes.first(value) if hashes else None
                return begun, (kind, first or {}), (value.__dict__, _slots(value), False), None, None, fill
            alone.add(key)
        if hashes is None or (not slotted and _PLAIN.issuperset(map(type, value.__dict__.values()))):
            return NotImplemented
        first = hashes.first(value)
        if first is None:
            return NotImplemented
        return begun, (kind, first), (value.__dict__, _slots(value), True), None, None, fill

    return reduce


def _may_hold_itself(kind: type) -> bool:
    """Tell whether its instances have hashes of the person's, so that one may not be found in what it holds."""
    # a destructor would run for what is made to be asked for its hash
    return isinstance(kind.__hash__, types.FunctionType) and not hasattr(kind, "__del__")


class _Hashes:
    """Finds what the hashes of one class's instances come from."""

    def __init__(self) -> None:
        self._left = _STEPS

    def first(self, value: Any) -> dict[str, Any] | None:
        """Return the attributes that its hash may come from; None where it cannot hold itself."""
        attributes, slots = value.__dict__, _slots(value)
        first = {name: item for name, item in attributes.items() if is_leaf(item)}
        if len(first) == len(attributes) and not any(not is_leaf(item) for item in slots.values()):
            return None
        if not _hash_differs(value, first, attributes, slots):
            return first
        first = {name: item for name, item in attributes.items() if name in first or not self._leads(item, value)}
        if _hash_differs(value, first, attributes, slots) and self._leads(value, value):
            raise RefusedError(value, HASH)
        return first

    def _leads(self, start: Any, value: Any) -> bool:
        """Tell whether `value` is somewhere in `start`, and say so where that is too much to look through."""
        seen = {id(start)}
        stack = [start]
        while stack:
            current = stack.pop()
            for child, _ in children(current):
                if child is value:
                    return True
                self._left -= 1
                if self._left < 0:
                    return True
                if id(child) not in seen and not isinstance(child, LEAVES):
                    seen.add(id(child))
                    stack.append(child)
        return False


def _slots(value: Any) -> dict[str, Any]:
    state = object.__getstate__(value)
    return (state[1] or {}) if isinstance(state, tuple) else {}


def is_leaf(value: Any) -> bool:
    """Tell whether a value holds nothing that may hold others."""
    if type(value) in (tuple, frozenset):
        return all(map(is_leaf, value))
    return isinstance(value, LEAVES)


def _hash_differs(value: Any, first: dict[str, Any], attributes: dict[str, Any], slots: dict[str, Any]) -> bool:
    """Tell whether the object has another hash while it has only the attributes `first`; False where it has no hash."""
    try:
        probe = object.__new__(type(value))
        probe.__dict__.update(first)
        before = hash(probe)
        probe.__dict__.update(attributes)
        for name, item in slots.items():
            object.__setattr__(probe, name, item)
        return before != hash(probe)
    except Exception:
        return False


class _Namespaces:
    """Refuses those of one capture whose attributes are held besides: nothing can give them a dictionary."""

    def __init__(self) -> None:
        self._alone: set[int] = set()

    def __call__(self, pickler: Any, value: Any) -> Any:
        if id(value) not in self._alone:
            if sys.getrefcount(value.__dict__) > ALONE and is_held(value, pickler.shared.namespace):
                raise RefusedError(value, _HELD)
            self._alone.add(id(value))
        return NotImplemented


def is_held(value: Any, namespace: dict[str, Any]) -> bool:
    """Tell whether someone besides the object holds the dictionary of its attributes."""
    key = id(value.__dict__)  # what a comprehension refers to is in a cell, which would hold it, too
    if any(id(item) == key and not hidden(name, item) for name, item in namespace.items()):
        return True
    shown = namespace.get("_oh")
    return any(
        holder is not value
        and holder is not shown
        and not isinstance(holder, types.FrameType | types.FunctionType | pickle.Pickler)
        and not (type(holder) is dict and holder.get("__name__") == "__main__")  # the namespace or a copy of it
        for holder in gc.get_referrers(value.__dict__)
    )


def hash_again(start: Any, leave: Callable[[Any], bool]) -> None:
    """Fill all sets and dictionaries in what was loaded anew, but for what `leave` says: hashes may differ by now,
    since a class gets its own `__hash__` only after instances of it were put into sets that its attributes hold.
    """
    seen = {id(start)}
    stack = [start]
    while stack:
        current = stack.pop()
        below = [child for child, _ in children(current) if not isinstance(child, LEAVES) and not leave(child)]
        if isinstance(current, set | dict) and not all(map(is_leaf, current)):
            _put_again(current)
        stack += {id(child): child for child in below if id(child) not in seen}.values()
        seen.update(map(id, below))


def _put_again(held: set[Any] | dict[Any, Any]) -> None:
    if isinstance(held, set):
        items = list(set.__iter__(held))
        set.clear(held)
        set.update(held, items)
        return
    kind: Any = collections.OrderedDict if isinstance(held, collections.OrderedDict) else dict
    pairs = list(kind.items(held))
    kind.clear(held)
    for key, value in pairs:
        kind.__setitem__(held, key, value)


def begun(kind: Any, first: dict[str, Any]) -> Any:
    """Return an object with the first of its attributes."""
    made = kind.__new__(kind)
    made.__dict__.update(first)
    return made


def fill(target: Any, state: tuple[dict[str, Any], dict[str, Any], bool]) -> None:
    """Give an object its attributes: in this very dictionary, or in one of its own."""
    attributes, slots, alone = state
    if alone:
        own = object.__getattribute__(target, "__dict__")
        own.clear()  # so that they are in their order
        own.update((sys.intern(name) if type(name) is str else name, item) for name, item in attributes.items())
    else:
        object.__setattr__(target, "__dict__", attributes)
    for name, item in slots.items():
        object.__setattr__(target, name, item)
