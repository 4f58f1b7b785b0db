"""Where in a value large containers lie: in attributes, dictionaries, lists and tuples, some levels down.

The one trap: this runs before anything is pickled, so no code of the person's may run: elements are read by the methods
of the built-in types, attributes where Python keeps them.
"""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from dure.state.cut import plain, weights
from dure.state.memory.layout import HEAP_TYPE
from dure.state.objects import containers, elements
from dure.state.objects.children import step_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

FEW = plain.FEW
_SHRUNK = 4  # to what part of it a large one may shrink; less is another one, where a large one was before
_DEPTH = 8
_LOOKED_AT = 1000  # objects of one value
_EXACT = (list, dict, tuple, set)
_NOT_LOOKED_INTO = (type, types.ModuleType, types.FunctionType)
_SLOTS = (types.GetSetDescriptorType, types.MemberDescriptorType)  # where Python itself keeps what is asked for
_mro: Any = type.__dict__["__mro__"].__get__
_vars: Any = type.__dict__["__dict__"].__get__


class _Seen:
    """An object that was met, and what is known of it."""

    __slots__ = ("above", "depth", "holds_large", "kind", "step", "taken", "value", "weight")

    def __init__(self, value: Any, above: _Seen | None, step: Any, depth: int) -> None:
        self.value = value
        self.above = above
        self.step = step
        self.depth = depth
        self.kind: type | None = None
        self.weight = 1.0
        self.holds_large = False
        self.taken = False

    def way(self) -> str:
        """Return the way from the value to it, as a person writes it."""
        steps = []
        here: _Seen | None = self
        while here is not None and here.above is not None:
            is_name = isinstance(here.step, _Name)
            steps.append(f".{here.step}" if is_name else step_of(here.step) if plain.is_atom(here.step) else "[…]")
            here = here.above
        return "".join(reversed(steps))


class _Name(str):
    """The name of an attribute, which is no key."""

    __slots__ = ()


def large_in(
    value: Any, known: Container[int], least: float, part: float, beside: Container[int]
) -> list[tuple[Any, str]]:
    """Return the containers in a value, itself included, that weigh at least `least` objects (a fourth of that where
    their ids are in `known`), each with the way to it. Objects whose ids are in `beside` are not looked into. Where the
    elements of a container are heavier than `part` each, they are returned instead of it.
    """
    if type(value) in plain.ATOMS or issubclass(type(value), _NOT_LOOKED_INTO) or id(value) in beside:
        return []
    seen = _seen_in(value, known, least, beside)
    for each in reversed(seen):  # what is below comes after what is above
        if each.above is not None:
            each.above.weight += each.weight
            each.above.holds_large |= each.holds_large
    found = []
    taken: set[int] = set()
    for each in seen:
        if each.above is not None and (each.above.taken or id(each.above) in taken):
            taken.add(id(each))  # it is inside one that is cut
        elif each.taken or (each.kind is not None and not each.holds_large and _is_heavy(each, least, part)):
            each.taken = True
            found.append((each.value, each.way()))
    return found


def kind_of(cls: type) -> type | None:
    """Return which container instances of a class are, that can be cut: list, dict, tuple, set or numpy's array."""
    if cls in _EXACT or plain.is_array(cls):
        return cls
    base = containers.base_of(cls)
    if base is None or issubclass(base, OrderedDict):  # which keeps its order elsewhere
        return None
    return next((kind for kind in (dict, list) if issubclass(base, kind)), None)


def _is_heavy(each: _Seen, least: float, part: float) -> bool:
    return each.kind in (list, dict) and each.weight >= least and each.weight < part * max(_length(each), 1)


def _length(each: _Seen) -> int:
    kind: Any = each.kind
    return int(each.value.size if plain.is_array(kind) else kind.__len__(each.value))


def _seen_in(value: Any, known: Container[int], least: float, beside: Container[int]) -> list[_Seen]:
    value = _column(value) if plain.is_array(type(value)) else value
    seen = [_Seen(value, None, None, 0)]
    ids = {id(value)}
    kinds: dict[type, type | None] = {}
    for each in seen:  # it grows
        cls = type(each.value)
        if cls not in kinds:
            kinds[cls] = kind_of(cls)
        each.kind = kinds[cls]
        if each.kind is not None and (id(each.value) in known or _length(each) > FEW):
            each.weight = weights.weight(each.value, kind=each.kind)
            each.taken = each.weight >= (least / _SHRUNK if id(each.value) in known else least)
            each.holds_large = each.taken
            each.kind = None if not each.taken else each.kind
            continue
        if each.depth >= _DEPTH:
            continue
        for step, held in _children(each):
            child = _column(held) if plain.is_array(type(held)) else held
            kind = type(child)
            if kind in plain.ATOMS:
                each.weight += 1 if kind is not str and kind is not bytes else weights.weight(child)
            elif (
                len(seen) < _LOOKED_AT
                and id(child) not in ids
                and id(child) not in beside
                and not issubclass(kind, _NOT_LOOKED_INTO)
            ):
                ids.add(id(child))
                seen.append(_Seen(child, each, step, each.depth + 1))
    return seen


def _children(each: _Seen) -> Iterator[tuple[Any, Any]]:
    if each.kind is dict:
        yield from dict.items(each.value)
    elif each.kind is list:
        yield from enumerate(list.__iter__(each.value))
    elif each.kind is tuple:
        yield from enumerate(tuple.__iter__(each.value))
    if type(each.value) not in _EXACT and not plain.is_array(type(each.value)):
        yield from attributes(each.value)
        yield from _columns(each.value)


def _columns(value: Any) -> Iterator[tuple[Any, Any]]:
    """Return the arrays that pandas keeps in what is below a frame or series."""
    internals = sys.modules.get("pandas._libs.internals")
    if internals is None or type(value).__module__ != "pandas.core.internals.managers":
        return
    if isinstance(value, internals.BlockManager):
        blocks = internals.BlockManager.blocks.__get__(value)
    else:
        blocks = value.__dict__.get("blocks", ())
    for block in blocks:
        values = internals.Block.values.__get__(block)
        if plain.is_array(type(values)) and values.dtype == object:
            yield None, values


def _column(array: Any) -> Any:
    """Return the array of objects that owns an array's memory, if it is large and in one piece; else None. Also None
    where its elements hold no other objects: such an array is cut when it is pickled (`columns`).
    """
    while plain.is_array(type(array.base)):
        array = array.base
    if array.dtype != object or array.dtype.metadata or array.base is not None or not array.flags.forc:
        return None
    if array.size < elements.MANY or plain.are_atoms(weights.sampled(array)):
        return None
    return array


def attributes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Return the attributes of an object, by names."""
    has_dict = False
    for cls in _mro(type(value)):
        if not cls.__flags__ & HEAP_TYPE and cls is not types.SimpleNamespace:
            continue
        for name, member in list(_vars(cls).items()):
            if name == "__dict__":
                if not has_dict and isinstance(member, _SLOTS):
                    for key, item in list(dict.items(member.__get__(value))):
                        yield (_Name(key) if type(key) is str else key), item
                has_dict = True
            elif type(member) is types.MemberDescriptorType:
                try:
                    yield _Name(name), member.__get__(value)
                except AttributeError:
                    continue
