"""Finds which variables still hold a value that a cell has changed elsewhere and that came back as a new object.

A cell takes what it reads. A list that it appends to comes back as another list, so `d = {"k": the_list}`, which it did
not read, holds the old one. Here that is found, to be told. The trap: variables may hold millions of objects, so it is
looked for only when the value's count of references says that somebody else has it, and not further than a bound.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Mapping
from typing import Any

_OWN_REFERENCES = 4  # what the caller and this module have to a former value
_OBJECTS = 20_000  # looked at in one variable
_NOT_INSIDE = (types.ModuleType, types.FrameType, type, str, bytes, int, float)


def holders(old: Any, namespace: Mapping[str, Any]) -> list[str]:
    """Return the names of variables that hold `old` inside, sorted; the caller has it twice, as held and as local."""
    from dure.state.secrecy import hidden

    if sys.getrefcount(old) <= _OWN_REFERENCES:
        return []
    return sorted(name for name, value in namespace.items() if not hidden(name, value) and _holds(value, old))


def _holds(value: Any, old: Any) -> bool:
    """Follow references from `value` as far as they lead through its own content."""
    if value is old or _outside(value):
        return False
    seen, todo = {id(value)}, [value]
    while todo and len(seen) < _OBJECTS:
        for one in gc.get_referents(todo.pop()):
            if one is old:
                return True
            if id(one) not in seen and not _outside(one):
                seen.add(id(one))
                todo.append(one)
    return False


def _outside(value: Any) -> bool:
    """Return whether this leads away from a variable's content: modules, what functions call global, Dure itself."""
    if isinstance(value, dict):
        return "__builtins__" in value or "__spec__" in value
    return isinstance(value, _NOT_INSIDE) or type(value).__module__.partition(".")[0] == "dure"
