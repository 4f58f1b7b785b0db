"""Finds which objects lie on the same memory, so that a view is saved as a view and comes back as one.

numpy's arrays, torch's storages, values of ctypes and Arrow's buffers may all use the memory of another object. Many
name that object (`array.base`); of the others only the address is known, which is looked up among the memory of all
objects that the capture has met. Where nobody owns the memory, the largest object on it stands for the owner. The one
trap: all objects are known only when everything was pickled once, so a capture may have to pickle everything again.
"""

from __future__ import annotations

import array as arraymodule
import bisect
import ctypes
import sys
from typing import TYPE_CHECKING, Any

from dure.state.memory.regions import Block, Mapped
from dure.state.objects import rebuild
from dure.state.objects.classes import REDUCING
from dure.state.objects.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dure.state.objects.pickling import Reducer

C_VALUES = (ctypes.Array, ctypes.Structure, ctypes.Union, ctypes._SimpleCData)  # noqa: SLF001 - no public name
EXPORTERS = (bytearray, arraymodule.array, *C_VALUES)  # Python's own objects whose memory others may be on
_ROUNDS = 8
_UNKNOWN = "a value of C on memory of which the owner is not known; type(x).from_buffer_copy(x) can be saved"
_RESIZED = "a value of C that ctypes.resize(…) gave more memory; its bytes can be saved: bytes(memoryview(x))"
_TORN = "a tensor on a part of another tensor's memory; x.clone() can be saved"
_TORN_ARRAY = "an array on a part of another array's memory; numpy.array(…) of it can be saved"
_Span = tuple[int, int]  # where memory begins and ends


class Lenders:
    """The memory that one capture meets: of objects that own some, and under objects that do not tell who owns it."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.borrowed: list[_Span] = []  # memory of objects that do not own it
        self._namespace: dict[str, Any] | None = namespace  # until somebody asks
        self._lows: list[int] = []
        self._known: dict[int, tuple[int, Any]] = {}  # by where memory begins: where it ends, and who owns it
        self._tops: list[Any] = []  # arrays that own memory, of which nobody has asked where it is
        self._asked_for = "torch" in sys.modules  # whether somebody has asked
        self._lent: list[tuple[_Span, Any]] = []  # memory with an object that does not own it
        self._asked: set[_Span] = set()  # memory whose owner was asked for and not known
        self._stand_ins: set[int] = set()  # ids of objects that stand for the unknown owner
        self._torn: set[_Span] = set()  # memory that overlaps that of others in part only
        self._rounds = _ROUNDS

    def own(self, array: Any) -> None:
        """Note that an array owns its memory. Called for each one."""
        if self._asked_for:
            self._take(array, span_of(array))
        else:
            self._tops.append(array)

    def _take(self, it: Any, span: _Span) -> None:
        low, high = span
        if self._known.get(low, (low, None))[0] >= high:
            return
        if low not in self._known:
            bisect.insort(self._lows, low)
        self._known[low] = high, it

    def _ask(self, span: _Span) -> Any:
        """Return what owns this memory, of the values of variables, too, and of what was met."""
        if self._namespace is not None:
            self._note(list(self._namespace.values()))
            self._namespace = None
        return self._at(span)

    def _note(self, values: Iterable[Any]) -> None:
        """Take those of some objects that have memory of their own."""
        numpy = getattr(sys.modules.get("numpy"), "ndarray", None)
        for value in values:
            kind = type(value)
            if issubclass(kind, EXPORTERS) or (kind is numpy and value.flags.owndata and value.flags.c_contiguous):
                span = _own_span(value)
                if span is not None:
                    self._take(value, span)

    def _at(self, span: _Span) -> Any:
        index = bisect.bisect_right(self._lows, span[0]) - 1
        high, found = self._known[self._lows[index]] if index >= 0 else (0, None)
        return found if span[1] <= high else None

    def below(self, address: int, size_bytes: int) -> tuple[Any, int] | None:
        """Return the object that owns this memory, and the offset in it; None where no owner is known, or it lends its
        memory to nobody.
        """
        span = address, address + size_bytes
        found = self._ask(span)
        if found is None or _own_span(found) is None:
            self._asked.add(span)
            return None
        return found, address - span_of(found)[0]

    def lender(self, it: Any, address: int, size_bytes: int) -> tuple[Any, int] | None:
        """Return the object on whose memory an array or a storage is, and where in it; None where it stands for itself.
        RefusedError where it has only a part in common with another one.
        """
        span = address, address + size_bytes
        if span in self._torn:
            raise RefusedError(it, _TORN_ARRAY if _is_array(it) else _TORN)
        found = self._at(span) if _is_array(it) else self._ask(span)
        if found is not None and found is not it:
            return found, address - span_of(found)[0]
        self._lent.append((span, it))
        self.borrowed.append(span)
        return None

    def missed(self, reached: Iterable[Callable[[Callable[[type], bool]], Iterable[Any]]]) -> bool:
        """Tell whether all must be pickled again, because now the owner is known of memory that had none before.
        `reached` has for each pickle what returns the objects in it of wanted types.
        """
        if not (self._lent or self._asked) or not self._rounds:
            return False
        self._rounds -= 1
        self._asked_for = True
        for array in self._tops:
            self.own(array)
        for of_types in reached:
            self._note(of_types(lambda kind: issubclass(kind, EXPORTERS)))
        for span, it in sorted(self._lent, key=lambda each: each[0][0] - each[0][1]):
            if self._at(span) is None and (not _is_array(it) or it.flags.forc):
                self._take(it, span)
                self._stand_ins.add(id(it))
        found = [(span, it, self._at(span)) for span, it in self._lent]
        told = any(owner is not None and owner is not it and not _of_one(it, owner) for _, it, owner in found)
        return self._tear(found) or told or any(_own_span(self._at(span)) is not None for span in self._asked)

    def _tear(self, found: list[tuple[_Span, Any, Any]]) -> bool:
        """Find the memory which only in part is that of others, and tell whether some is new."""
        before = len(self._torn)
        found.sort(key=lambda each: each[0])
        last: tuple[_Span, Any, Any] = ((0, 0), None, None)
        for span, it, owner in found:
            below = it if owner is None else owner
            apart = span[0] < last[0][1] and below is not last[2] and not _of_one(it, last[1])
            if apart and (_is_writeable(it) or _is_writeable(last[1])):
                self._torn |= {span, last[0]}
            if span[1] > last[0][1]:
                last = span, it, below
        return len(self._torn) > before

    def again(self, *, owned: bool = False) -> None:
        """Begin another round with what is known now. With `owned`, what stands for an owner is forgotten, since
        objects that do own the memory may be met now.
        """
        if owned:
            self._known = {low: found for low, found in self._known.items() if id(found[1]) not in self._stand_ins}
            self._lows = sorted(self._known)
            self._stand_ins.clear()
            self._torn.clear()
            self._rounds = _ROUNDS
        self._tops.clear()
        self._lent.clear()
        self._asked.clear()
        self.borrowed.clear()


def span_of(source: Any) -> _Span:
    """Return where the memory of a storage or another buffer begins and ends."""
    numpy = sys.modules.get("numpy")
    if hasattr(source, "data_ptr"):
        low = int(source.data_ptr())
        return low, low + int(source.nbytes())
    if numpy is not None and isinstance(source, numpy.ndarray):
        low, high = getattr(numpy.lib, "array_utils", numpy).byte_bounds(source)  # numpy 1 has it at the top
        return int(low), int(high)
    if isinstance(source, C_VALUES):
        low = ctypes.addressof(source)
    elif isinstance(source, EXPORTERS):
        low = ctypes.addressof(ctypes.c_char.from_buffer(source))
    else:
        low = int(sys.modules["numpy"].frombuffer(source, "u1").__array_interface__["data"][0])
    return low, low + memoryview(source).nbytes


def _own_span(value: Any) -> _Span | None:
    """Return where the memory that an object owns begins and ends; None where it owns none that others can be on."""
    lent = isinstance(value, Block | Mapped) or (isinstance(value, C_VALUES) and not _is_own(value))
    return None if lent else _exported(value)


def _exported(value: Any) -> _Span | None:
    if not (isinstance(value, EXPORTERS) or _is_array(value)):
        return None
    try:
        view = memoryview(value)
        return span_of(value) if view.nbytes and view.c_contiguous else None
    except (TypeError, ValueError, BufferError):  # no memory that others can be on
        return None


def _is_array(it: Any) -> bool:
    return hasattr(it, "__array_interface__")


def _is_writeable(it: Any) -> bool:
    return not _is_array(it) or bool(it.flags.writeable)


def _is_own(value: Any) -> bool:
    return value._b_base_ is None and bool(value._b_needsfree_)


def memory_below(array: Any) -> Any:
    """Return what an array's memory is of; None where nothing that is known has it."""
    below: Any = array.base
    if type(below).__name__ == "DummyArray":  # what as_strided and sliding_window_view put between
        below = below.base
    if isinstance(below, memoryview):
        below = below.obj
    while isinstance(below, C_VALUES):
        it: Any = below
        if it._b_base_ is None and it._b_needsfree_:
            break
        below = it._b_base_  # a field, or what a pointer points to
        if below is None:  # from_buffer keeps what it was made from
            kept = getattr(it, "_objects", None)
            source = kept.get("ffffffff") if isinstance(kept, dict) else None
            below = source.obj if isinstance(source, memoryview) else None
    return None if isinstance(below, ctypes._Pointer) else below  # noqa: SLF001 - the type has no public name


def _of_one(array: Any, other: Any) -> bool:
    """Tell whether two arrays were made by one object on its memory, which has a way of its own to be pickled: each
    time it is asked, it makes others.
    """
    if not _is_array(array) or not _is_array(other):
        return False
    below: Any = memory_below(array)
    own = any(getattr(type(below), way) is not getattr(object, way) for way in REDUCING)
    return below is not None and below is memory_below(other) and own


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of values of C that may be on another's memory; None for other types."""
    return _c_value if issubclass(kind, C_VALUES) and not issubclass(kind, Mapped) else None


def _c_value(pickler: Any, value: Any) -> Any:
    if ctypes.sizeof(value) != ctypes.sizeof(type(value)):
        raise RefusedError(value, _RESIZED)
    if _is_own(value):
        return NotImplemented
    low = ctypes.addressof(value)
    high = low + ctypes.sizeof(value)
    places = [(_exported(source), source) for source in _sources(value)]
    held = [(source, low - place[0]) for place, source in places if place and place[0] <= low and high <= place[1]]
    source, offset = next(iter(held), None) or pickler.shared.lenders.below(low, high - low) or (None, 0)
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
