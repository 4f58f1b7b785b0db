"""Loads a pickle in which objects are keys, or in sets, before they have what their own `__hash__` asks for.

That is so where they hold each other in a circle (nodes with sets of neighbours): Python's pickle fails on it. The one
trap: it is many times slower than the pickle module in C, so only what failed there is loaded here.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, ClassVar

from dure.state.objects import nans
from dure.state.objects.instances import HASH, is_leaf

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_ASKED = ("__hash__", "__eq__")


def is_for(error: BaseException) -> bool:
    """Tell whether a load failed inside an object's own `__hash__` or `__eq__`."""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_name in _ASKED:
            return True
        step = step.tb_next
    return False


class UnsettledError(Exception):
    """An object has another hash with its state than it had before, and may be in a set or a key by now."""


class Patient(pickle._Unpickler):  # noqa: SLF001 - the one in Python, whose steps can be changed
    """An unpickler that puts such objects into their sets and dicts when all are whole."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # noqa: SLF001

    def __init__(
        self, stream: Any, *, buffers: list[Any], find_class: Callable[[str, str], Any], put_off: bool
    ) -> None:
        """`put_off` keeps from sets and dicts all that may get another hash, too."""
        super().__init__(stream, buffers=buffers)
        self._find = find_class
        self._now = is_leaf if put_off else _hashes
        self._left: list[tuple[Any, list[Any]]] = []  # what to put where, in this order
        self._waiting: set[int] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name in the pickle stands for."""
        return self._find(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """Return a container that stands where it was cut, or a NaN by its token."""
        return nans.of_token(pid) if type(pid) is str else pid

    def load(self) -> Any:
        """Return the object."""
        found = super().load()
        for target, items in self._left:
            if isinstance(target, set):
                target.update(items)
            else:
                for key, value in zip(items[::2], items[1::2], strict=True):
                    target[key] = value
        return found

    def _put(self, target: Any, items: list[Any], keys: list[Any]) -> bool:
        """Put off what cannot be hashed yet, and what comes after it; tell whether it was."""
        if id(target) not in self._waiting and all(map(self._now, keys)):
            return False
        self._waiting.add(id(target))
        self._left.append((target, items))
        return True

    def _load_additems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        target = self.stack[-1]  # type: ignore[attr-defined]
        if not isinstance(target, set) or not self._put(target, items, items):
            target.update(items) if isinstance(target, set) else [target.add(item) for item in items]

    def _load_setitems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        self._set(items)

    def _load_setitem(self) -> None:
        value = self.stack.pop()  # type: ignore[attr-defined]
        key = self.stack.pop()  # type: ignore[attr-defined]
        self._set([key, value])

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]  # type: ignore[attr-defined]
        if not self._put(target, items, items[::2]):
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[key] = value

    def _load_frozenset(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        if self._now is is_leaf and not all(map(is_leaf, items)):
            raise LookupError(HASH)
        self.append(frozenset(items))  # type: ignore[attr-defined]

    dispatch[pickle.FROZENSET[0]] = _load_frozenset
    dispatch[pickle.ADDITEMS[0]] = _load_additems
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.SETITEM[0]] = _load_setitem


def _hashes(key: Any) -> bool:
    try:
        hash(key)
    except Exception:
        return False
    return True
