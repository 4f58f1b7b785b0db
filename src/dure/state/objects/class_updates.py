"""Brings classes of the notebook that live here already up to date, and keeps their hooks from running in a load.

The one trap: a list or dictionary that other loaded objects hold, too, has to become the class's own even where the
class has an equal one, or the class and they would no longer share it.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from dure.state.objects import classes

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOOKS = ("__new__", "__init__", "__prepare__", "__init_subclass__")
_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_making = threading.RLock()


@contextlib.contextmanager
def unobserved(above: list[type]) -> Iterator[None]:
    """Keep hooks of the notebook's metaclasses and bases from running for a class: they ran when it was defined."""
    heard: list[tuple[type, str, Any]] = []
    with _making:
        for cls in {each: None for one in above for each in type.mro(one)}:
            if classes.by_reference(cls) or cls.__module__ == "builtins" or cls.__flags__ & _IMMUTABLE:
                continue
            names = _HOOKS if issubclass(cls, type) else _HOOKS[-1:]
            heard += [(cls, name, vars(cls)[name]) for name in names if name in vars(cls)]
        for cls, name, _ in heard:
            type.__delattr__(cls, name)
        try:
            yield
        finally:
            for cls, name, hook in heard:
                type.__setattr__(cls, name, hook)


_CONTAINERS = (list, dict, set, bytearray, collections.deque)
_ALONE = 3  # the attributes of the class hold it, the loop below, and who counts


def bring_up_to_date(cls: type, attributes: dict[str, Any]) -> None:
    """Give a living class the attributes that differ from its own; what is equal keeps its identity."""
    for name in attributes:  # noqa: PLC0206 - items() would hold the value, too
        value = attributes[name]
        if name in ("__dict__", "__weakref__", "_abc_impl", "__module__", "__qualname__", "__doc__", "__slots__"):
            continue
        known = name in cls.__dict__ and _same(cls.__dict__[name], value)
        # what others that were loaded hold, too, is theirs, or they would part
        if known and (not isinstance(value, _CONTAINERS) or sys.getrefcount(value) <= _ALONE):
            continue
        setattr(cls, name, value)
    if isinstance(cls, enum.EnumMeta):
        return  # what is left are its members and their tables, which Python made with the class
    for name in [name for name in list(vars(cls)) if name not in attributes and not name.startswith("__")]:
        if name != "_abc_impl" and not isinstance(vars(cls)[name], types.MemberDescriptorType):
            delattr(cls, name)


def _same(mine: Any, theirs: Any) -> bool:
    if mine is theirs:
        return True
    if isinstance(mine, types.FunctionType) and isinstance(theirs, types.FunctionType):
        return classes.code_of(mine) == classes.code_of(theirs) and mine.__defaults__ == theirs.__defaults__
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, staticmethod | classmethod):
        return _same(mine.__func__, theirs.__func__)
    if isinstance(mine, property):
        return all(_same(getattr(mine, part), getattr(theirs, part)) for part in ("fget", "fset", "fdel"))
    try:
        return bool(mine == theirs)
    except Exception:
        return False
