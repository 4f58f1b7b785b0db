"""Objects of Python on whose memory others are: bytes of a tensor, a buffer of Arrow, a value of C.

Who is on memory of its own is known by its address only; whose memory that is, is looked for among all that a capture
reached. The one trap: that is known when all was pickled once, so what was asked before is pickled again.
"""

from __future__ import annotations

import array as arraymodule
import ctypes
import sys
from typing import TYPE_CHECKING, Any

from dure.state.memory.regions import Block, Mapped
from dure.state.objects import rebuild
from dure.state.objects.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

C_VALUES = (ctypes.Array, ctypes.Structure, ctypes.Union, ctypes._SimpleCData)  # noqa: SLF001 - no public name
_KINDS = (bytearray, arraymodule.array, *C_VALUES)
_UNKNOWN = "a value of C on memory of which the owner is not known; type(x).from_buffer_copy(x) can be saved"
_RESIZED = "a value of C that ctypes.resize(…) gave more memory; its bytes can be saved: bytes(memoryview(x))"
_TORN = "a tensor on a part of another tensor's memory; x.clone() can be saved"
_Place = tuple[int, int]  # where memory begins and ends


class Exporters:
    """The objects that a capture has met whose memory others may be on, and who asked for them."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace: dict[str, Any] | None = namespace  # until somebody asks
        self._known: dict[int, tuple[_Place, Any]] = {}
        self._asked: set[_Place] = set()
        self._storages: dict[_Place, Any] = {}
        self._lenders: dict[_Place, Any] = {}  # by the place of the smaller storage
        self._torn: set[_Place] = set()

    def _note(self, values: Iterable[Any]) -> None:
        """Take those of some objects that have memory of their own."""
        numpy = getattr(sys.modules.get("numpy"), "ndarray", ())
        for value in values:
            if issubclass(type(value), _KINDS) or (
                type(value) is numpy and value.flags.owndata and value.flags.c_contiguous
            ):
                place = None if id(value) in self._known else _own_place(value)
                if place is not None:
                    self._known[id(value)] = place, value

    def below(self, address: int, size_bytes: int) -> tuple[Any, int] | None:
        """Return the object on whose memory this is, and where in it; None where it is no one's that is known."""
        if self._namespace is not None:
            self._note(list(self._namespace.values()))
            self._namespace = None
        place = address, address + size_bytes
        found = self._covering(place)
        if found is None:
            self._asked.add(place)
        return found

    def _covering(self, place: _Place) -> tuple[Any, int] | None:
        for (low, high), value in self._known.values():
            if low <= place[0] and place[1] <= high:
                return value, place[0] - low
        return None

    def lender(self, storage: Any, address: int, size_bytes: int) -> tuple[Any, int] | None:
        """Return the torch storage on whose memory another one is, and where in it; None where it stands for itself.
        RefusedError where they have only a part in common.
        """
        place = address, address + size_bytes
        if place in self._torn:
            raise RefusedError(storage, _TORN)
        found = self._lenders.get(place) or self._storages.setdefault(place, storage)
        # of two on the very same memory the first stands for both
        return None if found._cdata == storage._cdata else (found, address - found.data_ptr())  # noqa: SLF001

    def missed(self, reached: Iterable[Callable[[Callable[[type], bool]], Iterable[Any]]]) -> bool:
        """Tell whether all must be pickled again, now that it is known whose memory is whose. `reached` gives, of each
        pickle, the objects in it of the types that are asked for.
        """
        found = self._laid_over()
        if self._asked:
            for of_types in reached:
                self._note(of_types(_may_export))
            found = any(self._covering(place) is not None for place in self._asked) or found
            self._asked.clear()
        return found

    def _laid_over(self) -> bool:
        lenders: dict[_Place, Any] = {}
        torn: set[_Place] = set()
        last: _Place = (0, 0)
        for place in sorted(self._storages, key=lambda each: (each[0], -each[1])):
            if place[1] <= last[1]:
                lenders[place] = self._storages[last]
                continue
            if place[0] < last[1]:
                torn |= {place, last}
            last = place
        new = lenders.keys() != self._lenders.keys() or torn != self._torn
        self._lenders, self._torn = lenders, torn
        return new


def route(kind: type) -> Callable[[Any, Any], Any] | None:
    """Return what reduces values of C that may be on another's memory; None for other types."""
    return _c_value if issubclass(kind, C_VALUES) and not issubclass(kind, Mapped) else None


def _may_export(kind: type) -> bool:
    return issubclass(kind, _KINDS) or kind is getattr(sys.modules.get("numpy"), "ndarray", None)


def _own_place(value: Any) -> _Place | None:
    """Return where the memory of an object begins and ends; None where it has none of its own."""
    if isinstance(value, Block | Mapped) or (isinstance(value, C_VALUES) and not _is_own(value)):
        return None
    return _place(value)


def _place(value: Any) -> _Place | None:
    try:
        size_bytes = memoryview(value).nbytes
        if not size_bytes:
            return None
        if isinstance(value, C_VALUES):
            low = ctypes.addressof(value)
        elif isinstance(value, _KINDS):
            low = ctypes.addressof(ctypes.c_char.from_buffer(value))
        else:
            low = int(value.__array_interface__["data"][0])
    except (TypeError, ValueError, AttributeError, BufferError):  # no memory, or such as none can be on
        return None
    return low, low + size_bytes


def _is_own(value: Any) -> bool:
    return value._b_base_ is None and bool(value._b_needsfree_)


def _c_value(pickler: Any, value: Any) -> Any:
    if ctypes.sizeof(value) != ctypes.sizeof(type(value)):
        raise RefusedError(value, _RESIZED)
    if _is_own(value):
        return NotImplemented
    low = ctypes.addressof(value)
    high = low + ctypes.sizeof(value)
    places = [(_place(source), source) for source in _sources(value)]
    held = [(source, low - place[0]) for place, source in places if place and place[0] <= low and high <= place[1]]
    source, offset = next(iter(held), None) or pickler.shared.exporters.below(low, high - low) or (None, 0)
    if source is None or memoryview(source).readonly:
        raise RefusedError(value, _UNKNOWN)
    told = {name: it for name, it in vars(value).items() if it is not source}
    return on_memory, (type(value), source, offset), told or None, None, None, rebuild.set_state


def _sources(value: Any) -> list[Any]:
    """Return objects that a value of C keeps since it is on the memory of one of them."""
    it = value
    while it._b_base_ is not None:  # a field or an element; what a pointer points to has the pointer
        it = it._b_base_
    if it is not value and isinstance(it, C_VALUES) and _is_own(it):
        return [it]
    kept = getattr(it, "_objects", None)
    held = list(kept.values()) if isinstance(kept, dict) else []
    held += vars(it).values()  # where numpy's as_ctypes puts the array
    return [each.obj if isinstance(each, memoryview) else each for each in held]


def on_memory(kind: Any, source: Any, offset: int) -> Any:
    """Return a value of C on the memory of another object."""
    return kind.from_buffer(source, offset)
