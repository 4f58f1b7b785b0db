"""Keeps the attributes of objects whose class has a way of its own to be pickled, which may copy or forget them.

Three cases. A `__setstate__`, or pickle itself, copies the dictionary of attributes, so whoever holds that dictionary,
too (`d = vars(model)`), would not see later changes: the dictionary itself is kept where that is possible, else the
object is refused by name. A person's class below one of Python's (a date, a random generator) is pickled without the
attributes that it adds: they are added. And an object with a `__hash__` of the person's may be asked for it before it
has what the hash is made of. The one trap: as in `dure.state.objects.instances`, holders of a dictionary are counted.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import sys
import types
from typing import TYPE_CHECKING, Any

import cloudpickle

from dure.state.memory.layout import HEAP_TYPE
from dure.state.objects import classes, containers, marks, rebuild
from dure.state.objects.children import children
from dure.state.objects.classes import REDUCING
from dure.state.objects.instances import ALONE, HASH, LEAVES, is_held, is_leaf
from dure.state.objects.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.state.objects.pickling import Reducer

_STEPS = 200_000  # objects that are looked through for those of one type that hold themselves
HELD = "an object whose attributes are held as a dictionary, too; dict(…) of that can be saved"
_KNOWING = (functools.partial, types.FunctionType, enum.Enum, type)  # of their attributes
_SAFE_SETTERS = (getattr(dataclasses, "_dataclass_setstate", None),)
_BLANK = (containers.empty, rebuild.exception)  # they make what has nothing yet that a hash could come from
_OF_IDENTITY = {"id", "hash", "super", "object", "type", "__hash__"}


def guarded(kind: type, reducer: Reducer | None) -> Reducer | None:
    """Return `reducer` (None: pickle's own way) made to keep the attributes of instances of `kind`; unchanged where it
    does.
    """
    below = _forgetting(kind)
    if issubclass(kind, _KNOWING) or not (kind.__dictoffset__ or (below is not None and slots_above(kind, below))):
        return reducer
    return _Guard(kind, reducer, below)


class _Guard:
    """Reduces the instances of one class in one capture."""

    def __init__(self, kind: type, reducer: Reducer | None, below: type | None) -> None:
        self._kind = kind
        self._reducer = reducer
        self._below = below
        self._compiled = reducer is None and _is_compiled(kind)
        self._registered = registered(kind) is not None
        self._alone: set[int] = set()

    def __call__(self, pickler: Any, value: Any) -> Any:
        if id(value) not in self._alone:
            try:
                held = sys.getrefcount(value.__dict__) > ALONE and is_held(value, pickler.shared.namespace)
            except Exception:  # what its class says of it is not to be had
                held = False
            if held:
                return self._kept(reduced(pickler, value, self._reducer), value)
            self._alone.add(id(value))
        if self._registered:
            return NotImplemented if self._reducer is None else self._reducer(pickler, value)
        if self._compiled and value.__dict__:
            return _beside(value.__reduce_ex__(5), value.__dict__)
        if self._below is None:
            return NotImplemented if self._reducer is None else self._reducer(pickler, value)
        return _with_attributes(reduced(pickler, value, self._reducer), value, self._kind, self._below)

    def _kept(self, made: Any, value: Any) -> Any:
        """Return the reduction with this very dictionary as the attributes."""
        if isinstance(made, str):
            raise RefusedError(value, HELD)
        make, arguments, state, *more = (*made, None, None, None, None)[:6]
        attributes = state[0] if isinstance(state, tuple) and len(state) == 2 else state
        settable = any(isinstance(vars(cls).get("__dict__"), types.GetSetDescriptorType) for cls in self._kind.__mro__)
        settable = settable and more[2] in (None, rebuild.set_state)
        if attributes is not value.__dict__ or hasattr(self._kind, "__setstate__") or not settable:
            raise RefusedError(value, HELD)
        return make, arguments, state, more[0], more[1], rebuild.set_state


def reduced(pickler: Any, value: Any, reducer: Reducer | None) -> Any:
    """Return how a value is made again: by its reducer, or by pickle where it has none or that leaves it to pickle."""
    made = NotImplemented if reducer is None else reducer(pickler, value)
    if made is not NotImplemented:
        return made
    known = registered(type(value))
    return value.__reduce_ex__(5) if known is None else known(value)


def registered(kind: type) -> Callable[[Any], Any] | None:
    """Return what cloudpickle or `copyreg` knows for reducing instances; None where their class says it itself."""
    found: Callable[[Any], Any] | None = cloudpickle.Pickler.dispatch_table.get(kind)
    return found


def way_of(kind: type) -> type:
    """Return the class that says how instances are pickled."""
    return next(cls for cls in kind.__mro__ if any(way in vars(cls) for way in REDUCING))


def _forgetting(kind: type) -> type | None:
    """Return Python's own class below whose way to be pickled is used, which leaves attributes out; None: no such."""
    way = way_of(kind)
    if way is object or not is_pythons(way) or (classes.by_reference(kind) and not is_pythons(kind)):
        return None
    return next(cls for cls in kind.__mro__ if is_pythons(cls))


def _is_compiled(kind: type) -> bool:
    """Tell whether instances are pickled as compiled code of a library says, which may know nothing of attributes."""
    way = way_of(kind)
    if way is object or is_pythons(way):
        return False
    return not any(
        isinstance(vars(way).get(name), types.FunctionType | property) for name in (*REDUCING, "__setstate__")
    )


def _beside(made: Any, attributes: dict[str, Any]) -> Any:
    """Return a reduction with the attributes, where it leaves them out."""
    if isinstance(made, str) or (len(made) > 5 and made[5] is not None):
        return made
    make, arguments, state, *more = (*made, None, None, None)[:5]
    told = [each for part in (arguments, state) for each in (part, *(part if type(part) in (tuple, list) else ()))]
    if any(type(each) is dict and attributes.keys() <= each.keys() for each in told):
        return made
    return make, arguments, (state, dict(attributes), {}), *more, rebuild.set_all


def is_pythons(cls: type) -> bool:
    """Tell whether a class is one of Python's own modules."""
    return (cls.__module__ or "").partition(".")[0] in sys.stdlib_module_names and cls.__module__ != "__main__"


def slots_above(kind: type, below: type) -> set[str]:
    """Return the names of the slots of a class and those between it and the one below."""
    return {
        name
        for cls in kind.__mro__[: kind.__mro__.index(below)]
        for name, member in vars(cls).items()
        if isinstance(member, types.MemberDescriptorType)
    }


def _with_attributes(made: Any, value: Any, kind: type, below: type) -> Any:
    """Return the reduction with the attributes that it leaves out, and without the `__init__` of a class above."""
    if isinstance(made, str):
        return made
    attributes = getattr(value, "__dict__", {})
    slots = {name: getattr(value, name) for name in sorted(slots_above(kind, below)) if hasattr(value, name)}
    make, arguments, state, *more = (*made, None, None, None, None)[:6]
    if make is kind and any(isinstance(getattr(kind, way), types.FunctionType) for way in ("__init__", "__new__")):
        make, arguments = rebuild.of_below, (below, kind, arguments)
    known = state[0] if isinstance(state, tuple) and len(state) == 2 else state
    if more[2] or (isinstance(known, dict) and not slots) or not (attributes or slots):
        return make, arguments, state, *more
    return make, arguments, (state, dict(attributes), slots), more[0], more[1], rebuild.set_all


def slotted(kind: type) -> Reducer | None:
    """Return the reducer of instances of a class whose own `__setattr__` pickle would ask to set slots, else None."""
    asked: Any = kind
    if not isinstance(asked.__setattr__, types.FunctionType) or not slots_above(kind, object):
        return None
    own = any(getattr(asked, way) is not getattr(object, way) for way in REDUCING) or hasattr(kind, "__setstate__")
    if own or classes.by_reference(kind):
        return None
    return lambda _, value: (*(*value.__reduce_ex__(5), None, None)[:5], rebuild.set_state)


def settled(kind: type, reducer: Reducer | None) -> Reducer | None:
    """Return `reducer` made safe for instances that are in sets, or keys of dictionaries, that they hold themselves."""
    if not isinstance(kind.__hash__, types.FunctionType) or _OF_IDENTITY.issuperset(kind.__hash__.__code__.co_names):
        return reducer
    if not kind.__flags__ & HEAP_TYPE or issubclass(kind, (*LEAVES, type)) or classes.by_reference(kind):
        return reducer
    return _Settled(kind, reducer)


class _Settled:
    """Reduces the instances of one class that has a hash of the person's, in one capture."""

    def __init__(self, kind: Any, reducer: Reducer | None) -> None:
        self._reducer = reducer
        own = getattr(kind, "__setstate__", None)
        self._sets = own is not None and own not in _SAFE_SETTERS
        self._left = _STEPS

    def __call__(self, pickler: Any, value: Any) -> Any:
        made = NotImplemented if self._reducer is None else self._reducer(pickler, value)
        if not self._leads(value):
            return made
        if made is NotImplemented:
            made = reduced(pickler, value, None)
        if isinstance(made, str) or len(made) < 3 or made[2] is None:
            return made
        make, arguments, state, *more = (*made, None, None, None)[:6]
        blank = make in _BLANK or (make is copyreg.__newobj__ and len(arguments) == 1)  # type: ignore[attr-defined]
        if blank and (self._sets or more[2]):
            # nothing says what a setter makes of a set that cannot be filled before the object has its hash
            raise RefusedError(value, HASH)
        return make, arguments, (state, more[2]), more[0], more[1], marks.settled

    def _leads(self, value: Any) -> bool:
        """Tell whether a value is in a set or a key of what it leads to, or that is too much to look through."""
        seen = {(id(value), False)}
        stack = [(value, False)]
        while stack:
            current, hashed = stack.pop()
            for child, step in children(current):
                found = hashed or step.startswith(("{", ".keys()"))
                if child is value and found:
                    return True
                if (id(child), found) not in seen and not is_leaf(child):
                    self._left -= 1
                    seen.add((id(child), found))
                    stack.append((child, found))
            if self._left < 0:
                return True
        return False
