"""Classes of the notebook that their metaclass makes: enumerations and typed dicts.

An enumeration is made again from what its members are now, not from how they were written: cloudpickle makes a member
of its value alone: attributes that `__init__` or `__new__` gave it, and aliases, would be lost. The one trap: a class
must be filled by Python's own metaclass, which calls `__new__` and `__init__` for each member, so others stand in their
place while it does.
"""

from __future__ import annotations

import enum
import sys
import typing
from typing import Any

from dure.state.objects.attributes import HELD
from dure.state.objects.instances import ALONE
from dure.state.objects.refusals import RefusedError

_PLAIN = (int, float, complex, str, bytes, tuple)
_OF_MEMBERS = ("_name_", "_value_", "__objclass__", "_sort_order_")  # what the metaclass gives them
_KEPT = "_generate_next_value_"


class _Member:
    """A member's value, and what the built-in type that it is one of is made from."""

    def __init__(self, value: Any, raw: tuple[Any, ...]) -> None:
        self.value = value
        self.raw = raw


def corrected(cls: Any, make: Any, arguments: tuple[Any, ...], state: Any, setter: Any) -> tuple[Any, Any, Any, Any]:
    """Return how to make and fill a class: as cloudpickle says, but of an enumeration or a typed dict."""
    if issubclass(cls, enum.Enum):
        return _reduction(cls, state)
    if typing.is_typeddict(cls):  # whose bases are all `dict`, which nobody may name as a base of one
        arguments = (*arguments[:2], (typing.TypedDict,), *arguments[3:])
    return make, arguments, state, setter


def _reduction(cls: Any, state: tuple[dict[str, Any], Any]) -> tuple[Any, tuple[Any, ...], Any, Any]:
    """Return what makes the class, its arguments, its state and what sets it; `state` is cloudpickle's."""
    members = [(name, member._value_, _raw(cls._member_type_, member)) for name, member in cls.__members__.items()]
    attributes = {name: value for name, value in state[0].items() if name not in cls.__members__}
    if _KEPT in vars(cls):
        attributes[_KEPT] = vars(cls)[_KEPT]
    own = {name: _attributes(member) for name, member in cls._member_map_.items()}
    boundary = vars(cls).get("_boundary_")
    arguments = (type(cls), cls.__bases__, cls.__name__, cls.__qualname__, cls.__module__, boundary, members)
    return made_again, (*arguments, None, None), (attributes, state[1], own), fill


def _raw(below: Any, member: Any) -> tuple[Any, ...]:
    """Return what `__new__` of the type below makes the member's own value from."""
    if below.__new__ is object.__new__:
        return ()
    if below in _PLAIN:
        return tuple(below.__getnewargs__(member))
    made = member._value_.__reduce_ex__(2)
    return tuple(made[1]) if made[0] is below else ()


def _attributes(member: Any) -> dict[str, Any]:
    if sys.getrefcount(vars(member)) > ALONE:
        raise RefusedError(member, HELD)
    return {name: value for name, value in vars(member).items() if name not in _OF_MEMBERS}


def made_again(  # noqa: PLR0917 - pickled by position
    metaclass: Any,
    bases: tuple[type, ...],
    name: str,
    qualname: str,
    module: str,
    boundary: Any,
    members: list[tuple[str, Any, tuple[Any, ...]]],
    *_: Any,
) -> type:
    """Return the class with its members, which have names and values only."""
    content = metaclass.__prepare__(name, bases)
    content["__new__"] = _made
    content["__init__"] = _not_again
    for member, value, raw in members:
        content[member] = _Member(value, raw)
    cls: type = metaclass.__new__(metaclass, name, bases, content, **({"boundary": boundary} if boundary else {}))
    for ours in ("__new_member__", "__init__"):
        if ours in vars(cls):
            type.__delattr__(cls, ours)
    cls.__module__, cls.__qualname__ = module, qualname
    return cls


def _made(cls: Any, told: Any) -> Any:
    told = told[0] if isinstance(told, tuple) else told
    made = cls._member_type_.__new__(cls, *told.raw)
    made._value_ = told.value
    return made


def _not_again(_: Any, *__: Any) -> None:
    pass


def fill(cls: Any, state: tuple[dict[str, Any], Any, dict[str, dict[str, Any]]]) -> None:
    """Give the class its attributes, and its members theirs."""
    from cloudpickle.cloudpickle import _class_setstate

    attributes, slots, own = state
    _class_setstate(cls, (attributes, slots))
    for name, held in own.items():
        vars(cls._member_map_[name]).update(held)
