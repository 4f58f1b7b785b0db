"""Finds variables that still hold the old object of what a GPU cell has changed.

A changed value comes back as a new object. When a cell appends to `the_list`, the notebook gets another list under that
name, while `d = {"k": the_list}`, which the cell did not read, still holds the old one; a model comes back with other
parameters than its optimizer has. The person is told of such variables. The trap: variables may hold millions of
objects, so they are searched only when reference counts say that somebody else has an old object, and up to a bound.
"""

from __future__ import annotations

import gc
import itertools
import sys
import types
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_INSIDE = 50_000  # objects looked at in a former value
_OBJECTS = 20_000  # and in one variable, at most
_OBJECTS_ALL = 200_000  # in all variables together: a tenth of a second or two, however many there are
_OBJECTS_LEAST = 200  # and yet in each so many
_COUNTING = 3  # references while one is counted: the list of all, the loop, and what counts
_HELD = 2  # to a former value: of `former`, and of the caller
_NOT_INSIDE = (types.ModuleType, types.FrameType, type, str, bytes, int, float)
_CONTAINERS = {dict, list, tuple, set, frozenset}
_LIBRARIES = {"dure", "logging", "pandas"}  # frames share memory, but no change of it
_ABOUT = ("obj", "data", "_parent")  # under these a GroupBy, a window, a Styler or an accessor has its frame


def holders(former: Mapping[str, Any], namespace: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return for each name in `former`, the old values, the variables that hold that value or something in it; sorted.

    References are counted: besides `former`, the caller must refer to each old value exactly once.
    """
    from dure.state.secrecy import hidden

    kinds = _Kinds()
    had = _had_by_others(former, kinds)
    if not had:
        return {}
    owners: dict[int, list[str]] = {}
    for name, old in sorted(former.items()):
        for key in had.intersection(map(id, _inside([old], _INSIDE, kinds))):
            owners.setdefault(key, []).append(name)
    own = set(map(id, former.values()))
    found: dict[str, list[str]] = {}
    looked = [pair for pair in sorted(namespace.items()) if kinds.can_change(pair[1]) or gc.is_tracked(pair[1])]
    bound = min(_OBJECTS, max(_OBJECTS_LEAST, _OBJECTS_ALL // max(1, len(looked))))
    for variable, value in looked:
        if hidden(variable, value) or id(value) in own:
            continue
        for name in {name for one in _inside([value], bound, kinds) for name in owners.get(id(one), ())}:
            found.setdefault(name, []).append(variable)
    return found


def _had_by_others(former: Mapping[str, Any], kinds: _Kinds) -> set[int]:
    """Return the ids of what can change in the values and has more references than there are within the values."""
    found = _inside(former.values(), _INSIDE, kinds)
    counted: Counter[int] = Counter(itertools.chain.from_iterable(map(id, _referents(one, kinds)) for one in found))
    counted.update(list(map(id, former.values())) * _HELD)
    return {id(one) for one in found if kinds.can_change(one) and sys.getrefcount(one) > counted[id(one)] + _COUNTING}


def _inside(values: Iterable[Any], bound: int, kinds: _Kinds) -> list[Any]:
    """Return the values and what is inside them, at most `bound` objects; modules and globals are not inside."""
    todo = list(values)
    seen = set(map(id, todo))
    found: list[Any] = []
    while todo and len(found) < bound:
        found.append(todo.pop())
        for one in _referents(found[-1], kinds):
            if id(one) not in seen and (kinds.can_change(one) or kinds[type(one)][2] or not kinds.outside(one)):
                seen.add(id(one))
                todo.append(one)
    return found


def _referents(value: Any, kinds: _Kinds) -> list[Any]:
    """Return what is part of a value; the memory of a numpy view, too, which the collector does not know."""
    kind = type(value)
    if kinds.outside(value):
        return (
            [one for one in map(getattr(value, "__dict__", {}).get, _ABOUT) if one is not None]
            if kinds[kind][2]
            else []
        )
    if kind in _CONTAINERS and len(value) > _INSIDE:  # touching millions of objects takes a second and their memory
        return list(itertools.islice(value.values() if kind is dict else value, _INSIDE))
    base = value.base if _is_array(kind) else None
    return gc.get_referents(value) if base is None else [base]


class _Kinds(dict[type, tuple[bool, bool, bool]]):
    """What is known of each type: whether its objects can change, so that all who hold one see it; whether it is
    outside of every variable's content (a module, a class, Dure itself); whether it is pandas' view of a frame, as a
    GroupBy.
    """

    def __missing__(self, kind: type) -> tuple[bool, bool, bool]:
        torch, pandas = sys.modules.get("torch"), sys.modules.get("pandas")
        data = () if pandas is None else (pandas.DataFrame, pandas.Series, pandas.Index)
        can_change = (
            issubclass(kind, dict | list | set | bytearray)
            or kind.__module__ == "__main__"
            or _is_array(kind)
            or (torch is not None and issubclass(kind, torch.Tensor | torch.nn.Module))
            or issubclass(kind, data[:2])
        )
        outside = issubclass(kind, _NOT_INSIDE) or kind.__module__.partition(".")[0] in _LIBRARIES
        about = kind.__module__.partition(".")[0] == "pandas" and not issubclass(kind, data)
        self[kind] = can_change, outside, about
        return self[kind]

    def can_change(self, value: Any) -> bool:
        return self[type(value)][0] and not _is_globals(value)

    def outside(self, value: Any) -> bool:
        return self[type(value)][1] or _is_globals(value)


def _is_globals(value: Any) -> bool:
    return type(value) is dict and ("__builtins__" in value or "__spec__" in value)


def _is_array(kind: type) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(kind, numpy.ndarray)
