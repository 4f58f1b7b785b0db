"""Classes whose instances are nothing but what they hold: in their `__dict__`, in slots, or as named tuples.

Such an instance is pickled, and found unchanged, without code of the person's. The one trap: a class may at any level
take over how its instances are pickled or asked for attributes, so all of its classes are looked at, and what is not
known is not simple.
"""

from __future__ import annotations

import abc
import collections
import copyreg
import dataclasses
import sys
import types
from typing import TYPE_CHECKING, Any

from dure.state.memory import layout
from dure.state.objects import classes

if TYPE_CHECKING:
    from collections.abc import Iterable

_METACLASSES = (type, abc.ABCMeta)
# with one of these a class has its own way of being pickled, or of being asked for an attribute
_OWN_WAYS = {
    *(*classes.REDUCING, *classes.LOADING),
    *("__getattribute__", "__getattr__", "__class__", "__new__", "__del__"),
}
_STATE = ("__getstate__", "__setstate__")
_HASH = "_attrs_cached_hash"  # of another process
_LEAVES = {int, float, complex, str, bytes, bool, type(None)}
Slots = tuple[tuple[str, ...], tuple[Any, ...]]  # names and members, none of a named tuple


class _Any:
    pass


_A_DICT = _Any.__dict__["__dict__"]
_Record = collections.namedtuple("_Record", "a")  # noqa: PYI024 - only its methods are looked at
_ARGUMENTS = vars(_Record)["__getnewargs__"].__code__  # the same of all of them


def is_simple(cls: type) -> bool:
    """Tell whether instances of a class hold what is in their `__dict__`, and are pickled by it without code of its."""
    if type(cls) not in _METACLASSES or cls.__dictoffset__ == 0 or not layout.INSTANCES:
        return False
    for each in cls.__mro__[:-1]:
        own = each.__dict__
        if not _is_of_python(each) or not own.keys().isdisjoint(_OWN_WAYS):
            return False
        if own.get("__slots__") or type(own.get("__dict__", _A_DICT)) is not types.GetSetDescriptorType:
            return False
    return cls not in copyreg.dispatch_table and cls.__module__ not in ("builtins", "enum")


def is_record(cls: type) -> bool:
    """Tell whether a class is that of named tuples, which hold nothing else."""
    if not issubclass(cls, tuple) or cls is tuple or type(cls) not in _METACLASSES or cls.__dictoffset__:
        return False
    *added, made, below, _ = cls.__mro__
    own: Any = vars(made)
    if below is not tuple or not all(map(_is_of_python, (*added, made))) or cls in copyreg.dispatch_table:
        return False
    news, arguments = made.__new__, own.get("__getnewargs__")
    if type(news) is not types.FunctionType or type(arguments) is not types.FunctionType:
        return False
    if "_tuple_new" not in news.__globals__ or arguments.__code__ is not _ARGUMENTS:
        return False
    if not own.keys().isdisjoint(_OWN_WAYS - {"__new__", "__getnewargs__"}):
        return False
    return all(vars(each).keys().isdisjoint(_OWN_WAYS) for each in added)


def slots_of(cls: type) -> Slots | None:
    """Return the slots that are all that instances of a class have; None where it is no such class."""
    if type(cls) not in _METACLASSES or cls.__dictoffset__ or cls.__itemsize__ or not layout.WORKS:
        return None
    if cls in copyreg.dispatch_table or cls.__module__ in ("builtins", "enum"):
        return None
    found: dict[str, Any] = {}
    for each in reversed(cls.__mro__[:-1]):
        own = each.__dict__
        ways = own.keys() & _OWN_WAYS
        if not _is_of_python(each) or not all(way in _STATE and _is_of_slots(own[way]) for way in ways):
            return None
        if not found.keys().isdisjoint(own):
            return None
        found |= {name: member for name, member in own.items() if type(member) is types.MemberDescriptorType}
    return (tuple(found), tuple(found.values())) if found and _HASH not in found else None


def may_hold_itself(cls: type, values: Iterable[Any]) -> bool:
    """Tell whether an instance with these values may be in a set, or a key of a dictionary, that it holds itself: a
    load would put it there before it has all that its hash is made of.
    """
    if not isinstance(cls.__hash__, types.FunctionType):
        return False
    return any(kind not in _LEAVES and not _holds_leaves(kind, value) for value in values for kind in (type(value),))


def _holds_leaves(kind: Any, value: Any) -> bool:
    if kind is dict:
        return _LEAVES.issuperset(map(type, value)) and _LEAVES.issuperset(map(type, value.values()))
    return kind in (list, tuple, set, frozenset) and _LEAVES.issuperset(map(type, value))


def _is_of_python(cls: type) -> bool:
    return bool(cls.__flags__ & layout.HEAP_TYPE) and type(cls) in _METACLASSES


def _is_of_slots(way: Any) -> bool:
    """Tell whether a `__getstate__` or `__setstate__` is what dataclasses or attrs give to classes with slots."""
    if way in (getattr(dataclasses, "_dataclass_getstate", None), getattr(dataclasses, "_dataclass_setstate", None)):
        return True
    attrs = sys.modules.get("attr._make")
    code = getattr(way, "__code__", None)
    return attrs is not None and code is not None and code.co_filename == attrs.__file__


def reduce(cls: type, value: Any, slots: Slots) -> Any:
    """Return how to make an instance with slots, or a named tuple, again."""
    if not slots[0]:
        return copyreg.__newobj__, (cls, *tuple.__iter__(value))  # type: ignore[attr-defined]
    return copyreg.__newobj__, (cls,), state_of(value, slots), None, None, fill_slots  # type: ignore[attr-defined]


def state_of(value: Any, slots: Slots) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return the names of the slots that have something, and what."""
    names, members = slots
    try:
        return names, tuple([member.__get__(value) for member in members])
    except AttributeError:
        missing = object()
        found = [_of(member, value, missing) for member in members]
        some = [index for index, each in enumerate(found) if each is not missing]
        return tuple(names[index] for index in some), tuple(found[index] for index in some)


def _of(member: Any, value: Any, missing: object) -> Any:
    try:
        return member.__get__(value)
    except AttributeError:
        return missing


def fill_slots(target: Any, state: tuple[tuple[str, ...], tuple[Any, ...]]) -> None:
    """Give an instance what was in its slots."""
    for name, value in zip(*state, strict=True):
        object.__setattr__(target, name, value)
