"""Decides what of a cell's last value goes back for `_` and `Out`: a name that holds it, or a small copy.

The trap: a value often shares memory with the cell's variables (`df.head()`, `a[:5]`); sent as it is it would drag them
along and make them count as changed. So only what is small is sent, and it is copied first.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

COPY_BYTES = 1024 * 1024
_MEMBERS = 10_000
_DEPTH = 50
_PLAIN = (bool, int, float, complex, str, bytes)


def holder_of(value: Any, namespace: Mapping[str, Any]) -> str | None:
    """Return the name of the person's variable that is this very value, None when there is none."""
    if value is None or isinstance(value, _PLAIN):
        return None
    return next((name for name, held in namespace.items() if held is value and not name.startswith("_")), None)


def is_number(value: Any) -> bool:
    """Tell whether the value is a number of Python's own, which needs no snapshot."""
    return type(value) in {bool, int, float}


def small_copy(value: Any) -> Any:
    """Return a copy that shares nothing with anything, or None when the value is not small and plain."""
    if isinstance(value, _PLAIN):
        small = not isinstance(value, str | bytes) or len(value) <= COPY_BYTES
        return value if small else None
    if type(value) in {list, tuple, dict, set, frozenset}:
        return copy.deepcopy(value) if _is_plain(value, [_MEMBERS], _DEPTH) else None
    module = type(value).__module__.partition(".")[0]
    if module == "numpy" and getattr(value, "nbytes", COPY_BYTES + 1) <= COPY_BYTES:
        return None if value.dtype.hasobject else value.copy()
    if module == "pandas" and hasattr(value, "memory_usage"):
        used = value.memory_usage(deep=False)
        return value.copy(deep=True) if int(getattr(used, "sum", lambda: used)()) <= COPY_BYTES else None
    return None


def _is_plain(value: Any, left: list[int], depth: int) -> bool:
    """Tell whether all in `value` is plain; `left[0]` bounds the members looked at, and `depth` ends cycles."""
    left[0] -= 1
    if left[0] < 0 or depth == 0:
        return False
    if value is None or isinstance(value, _PLAIN):
        return not isinstance(value, str | bytes) or len(value) <= COPY_BYTES // 16
    if type(value) is dict:
        return all(_is_plain(item, left, depth - 1) for pair in value.items() for item in pair)
    if type(value) in {list, tuple, set, frozenset}:
        return all(_is_plain(item, left, depth - 1) for item in value)
    return False
