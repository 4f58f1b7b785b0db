"""What an object holds, each with how a person writes the way there: `[3]`, `.handle`, `.<closure n>`.

The one trap: to ask for a value's `__dict__` may run code of its class, so nothing that has to come before that asks
here (see `dure.state.cut.large`).
"""

from __future__ import annotations

import collections
import functools
import types
from typing import Any


def children(value: Any) -> list[tuple[Any, str]]:
    """Return what a value holds, each with how to write the way there."""
    found: list[tuple[Any, str]] = []
    if isinstance(value, dict):
        found += [(item, step_of(key)) for key, item in list(value.items())]
        found += [(key, f".keys()[{index}]") for index, key in enumerate(list(value))]
    elif isinstance(value, list | tuple | collections.deque):
        found += [(item, f"[{index}]") for index, item in enumerate(list(value))]
    elif isinstance(value, set | frozenset):
        found += [(item, "{…}") for item in list(value)]
    elif isinstance(value, types.FunctionType):
        found += _function_children(value)
    elif isinstance(value, types.MethodType):
        found += [(value.__self__, ".__self__"), (value.__func__, ".__func__")]
    elif isinstance(value, functools.partial):
        found += [(value.func, ".func"), (value.args, ".args"), (value.keywords, ".keywords")]
    elif type(value).__name__ == "ndarray" and value.dtype.hasobject:
        found += [(item, f".flat[{index}]") for index, item in enumerate(value.flat)]
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict | types.MappingProxyType):
        found += [(item, f".{key}") for key, item in list(attributes.items())]
    return found + _slot_children(value)


def step_of(key: Any) -> str:
    """Return how to write the way from a container to what it has under a key or index."""
    try:
        return f"[{key!r:.60}]"
    except Exception:  # a number of more digits than Python writes, or the key's own way to be written fails
        return "[…]"


def _function_children(function: types.FunctionType) -> list[tuple[Any, str]]:
    found: list[tuple[Any, str]] = []
    for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found.append((cell.cell_contents, f".<closure {free}>"))
        except ValueError:
            continue
    found += [(item, f".<default {index}>") for index, item in enumerate(function.__defaults__ or ())]
    found += [(item, f".<default {key}>") for key, item in (function.__kwdefaults__ or {}).items()]
    return found


def _slot_children(value: Any) -> list[tuple[Any, str]]:
    found: list[tuple[Any, str]] = []
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            member = kind.__dict__.get(slot)
            if isinstance(member, types.MemberDescriptorType):
                try:
                    found.append((member.__get__(value), f".{slot}"))
                except AttributeError:
                    continue
    return found
