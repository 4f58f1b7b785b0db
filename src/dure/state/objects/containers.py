"""Lists, dicts, sets and deques of a class of the person's own, as their contents and attributes.

Pickle fills them by the class's own methods: a `__setitem__` or `append` that changes what it is given would change it
a second time, and an `__init__` that asks for arguments would fail. The one trap: their own `__iter__` and `items` may
lie, too, so contents are read and put back by the methods of the built-in type.
"""

from __future__ import annotations

import collections
import sys
from typing import TYPE_CHECKING, Any

from dure.state.memory.layout import HEAP_TYPE
from dure.state.objects.classes import LOADING, REDUCING
from dure.state.objects.instances import ALONE

if TYPE_CHECKING:
    from dure.state.objects.pickling import Reducer

_BUILT_IN: tuple[Any, ...] = (collections.OrderedDict, collections.defaultdict, collections.deque, dict, list, set)
_PICKLED = {collections.defaultdict, collections.Counter}  # as pickle does it, where they are not cut


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of instances of `kind`; None where it is not a class of such a container, or has a way of its
    own to be pickled.
    """
    base = base_of(kind)
    if base is None:
        return None
    if kind not in _PICKLED:
        return lambda pickler, value: _reduce(kind, base, value, pickler.shared.cutter.contents.get(id(value)))

    def reduce_cut(pickler: Any, value: Any) -> Any:
        cut = pickler.shared.cutter.contents.get(id(value))
        plain = cut is None and not getattr(value, "__dict__", None) and not _is_held(value)
        return NotImplemented if plain else _reduce(kind, base, value, cut)

    return reduce_cut


def base_of(kind: type) -> Any:
    """Return the built-in container that holds what instances of a class do; None where that is not all of them."""
    base = next((base for base in _BUILT_IN if issubclass(kind, base)), None)
    if base is None or kind in _PICKLED or kind in _BUILT_IN:
        return base if kind in _PICKLED else None
    own = kind.__mro__[: kind.__mro__.index(base)]
    if not all(cls.__flags__ & HEAP_TYPE for cls in own):
        return None
    if any(way in vars(cls) for cls in own if cls is not collections.Counter for way in (*REDUCING, *LOADING)):
        return None
    return base


def _reduce(kind: type, base: Any, value: Any, cut: Any) -> Any:
    """Return how to make a container again; `cut` stands for its contents where they are cut into parts."""
    arguments: tuple[Any, ...] = ()
    if base is collections.defaultdict:
        arguments = (vars(base)["default_factory"].__get__(value),)
    elif base is collections.deque:
        arguments = ((), vars(base)["maxlen"].__get__(value))
    if cut is not None:
        contents: Any = cut
    elif issubclass(base, dict):
        contents = dict(base.items(value))
    else:
        contents = list(base.__iter__(value))
    attributes, slots = _state(value)
    return empty, (kind, base), (arguments, contents, attributes, slots), None, None, fill


def _state(value: Any) -> tuple[Any, dict[str, Any]]:
    state = object.__getstate__(value)
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if not attributes:
        attributes = value.__dict__ if _is_held(value) else None
    return attributes, slots or {}


def _is_held(value: Any) -> bool:
    """Tell whether somebody else has the dictionary of an object's attributes, which may be empty still."""
    return hasattr(value, "__dict__") and sys.getrefcount(value.__dict__) > ALONE


def empty(kind: type, base: Any) -> Any:
    """Return a container of that class without contents, by the built-in type's own `__new__`."""
    return base.__new__(kind)


def fill(target: Any, state: tuple[tuple[Any, ...], Any, Any, dict[str, Any]]) -> None:
    """Give a container what it held and its attributes; a dict may be its own `__dict__`."""
    arguments, contents, attributes, slots = state
    base = next(base for base in _BUILT_IN if isinstance(target, base))
    base.__init__(target, *arguments)
    if base is collections.OrderedDict:
        for key, value in contents.items():
            base.__setitem__(target, key, value)
    elif issubclass(base, dict):
        dict.update(target, contents)
    elif base is set:
        set.update(target, contents)
    else:
        base.extend(target, contents)
    from dure.state.cut import remembered

    remembered.hand_over(contents, target)
    if attributes is not None:
        object.__setattr__(target, "__dict__", attributes)  # and no copy: who else holds it sees what changes
    for name, value in slots.items():
        object.__setattr__(target, name, value)
