"""Where the memory lies that tells what many objects hold, word by word: not how often they are referred to, nor what
the garbage collector notes beside them.

The one trap: as in `layout`, all of it rests on how CPython lays out these types, and only what is asked for there may
be used here.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

from dure.state.memory import layout
from dure.state.memory.layout import words

_DEFAULT_AT = 48


class Contents:
    """The memory of some objects. `add…` return whether it is known."""

    def __init__(self) -> None:
        self._runs: list[tuple[Any, Any]] = []
        self._held: list[Any] = []  # addresses of words that refer to objects
        self._held_runs: list[tuple[Any, Any]] = []  # the same of such words in a row: where they begin, how many
        self.keys: set[int] = set()  # tables of names that dictionaries of attributes share

    def runs(self) -> tuple[Any, Any]:
        """Return where the runs of memory begin and end."""
        return _joined(self._runs)

    def held_runs(self) -> tuple[Any, Any]:
        """Return where words in a row begin that refer to objects, or to none, and how many they are."""
        return _joined(self._held_runs)

    def held(self) -> Any:
        """Return the addresses of the other words that do."""
        numpy = sys.modules["numpy"]
        return numpy.concatenate([numpy.empty(0, "u8"), *self._held])

    def add_table(self, table: layout.Table, low: int, high: int) -> None:
        """Add some slots of a container."""
        numpy = sys.modules["numpy"]
        start, end = (numpy.array([each], "u8") for each in table.extent(low, high))
        self._runs.append((start, end))
        for column in table.columns:
            self._held.append(numpy.arange(int(start[0]) + 8 * column, int(end[0]), table.stride_bytes, "u8"))

    def add(self, kind: type, ids: Any) -> bool:
        """Add objects of one type: list, dict, set, bytearray or defaultdict."""
        if not len(ids):
            return True
        if kind in (Counter, OrderedDict):
            if not (_attributes_are_told() and self._add_attributes(kind, ids)):
                return False
            self._add(ids + layout.DICT_VALUES_AT + 8, ids + kind.__basicsize__)  # in which order its keys came
        if issubclass(kind, dict):
            return self._add_dicts(kind, ids)
        if kind is set:
            self._add(ids + 8, ids + layout.SET_TABLE_AT + 8)
            tables, slots = words(ids + layout.SET_TABLE_AT), words(ids + layout.SET_MASK_AT) + 1
            self._add(tables, tables + slots * 16)
            self._hold(tables, slots, 16)
        elif kind is list:
            self._add(ids + 8, ids + layout.LIST_ITEMS_AT + 8)
            items, counts = words(ids + layout.LIST_ITEMS_AT), words(ids + layout.SIZE_AT)
            self._add(items, items + counts * 8)
            self._hold(items, counts, 8)
        elif kind is deque:
            self._add_deques(ids)
        else:
            self._add(ids + 8, ids + bytearray.__basicsize__)
            data = words(ids + layout.BYTES_START_AT)
            self._add(data, data + words(ids + layout.SIZE_AT))
        return True

    def _add_attributes(self, kind: type, ids: Any) -> bool:
        """Add what tells that dictionaries of a type with attributes still have none, wherever these would be put."""
        if not kind.__flags__ & layout.MANAGED_DICT:
            dicts = words(ids + kind.__dictoffset__)
            return self._add_dicts(dict, dicts[dicts != 0])
        self._add(ids - 32, ids - 16)
        dicts = words(ids - 24)
        if sys.version_info < (3, 13):  # values are beside the dictionary; in 3.12 in its place, marked by a bit
            of_values = (dicts & 1).astype(bool)
            values = dicts[of_values] + 1 if sys.version_info >= (3, 12) else words(ids - 32)
            dicts, values = dicts[~of_values], values[values != 0]
            self._add(values - (words(values - 8) >> 56), values)  # bytes before them tell how many there are
        return self._add_dicts(dict, dicts[dicts != 0])

    def _add_deques(self, ids: Any) -> None:
        """Add the blocks of each, from the first element in the first to the last in the last."""
        numpy = sys.modules["numpy"]
        self._add(ids + 8, ids + layout.DEQUE_MOST_AT + 8)
        ends = words(ids + layout.DEQUE_LAST_AT)
        blocks, first = words(ids + layout.DEQUE_FIRST_AT), words(ids + layout.DEQUE_BEGIN_AT)
        last = words(ids + layout.DEQUE_END_AT).view("i8")
        while len(blocks):
            is_last = blocks == ends
            count = numpy.where(is_last, last, layout.DEQUE_BLOCK - 1) - first.view("i8") + 1
            starts = blocks + 8 + 8 * first
            self._add(blocks, blocks + 8)
            self._add(starts, starts + 8 * count.astype("u8"))
            self._hold(starts, count, 8)
            blocks, ends, last = (each[~is_last] for each in (blocks, ends, last))
            blocks = words(blocks + layout.DEQUE_NEXT_AT)
            first = numpy.zeros(len(blocks), "u8")

    def add_instances(self, cls: type, ids: Any) -> bool:
        """Add instances of one simple class, or of one with slots; what is in a `__dict__` is added with that."""
        if cls.__flags__ & layout.MANAGED_DICT:
            self._add(ids - 32, ids - 16)
        self._add(ids + 8, ids + cls.__basicsize__)
        if not cls.__dictoffset__:
            self._hold(ids + 16, ids * 0 + (cls.__basicsize__ - 16) // 8, 8)
        return True

    def add_arrays(self, ids: Any, data: tuple[Any, Any]) -> None:
        """Add numpy's arrays whose memory begins and ends there."""
        numpy = sys.modules["numpy"]
        self._runs.append(data)
        self._add(ids + 8, ids + numpy.ndarray.__basicsize__)
        sizes = numpy.maximum(words(ids + layout.ARRAY_NDIM_AT) & 0xFFFFFFFF, 1) * 8
        for at in (layout.ARRAY_DIMS_AT, layout.ARRAY_STRIDES_AT):
            shapes = words(ids + at)
            self._add(shapes, shapes + sizes * (shapes != 0))  # there are none of an array of no dimensions

    def _add(self, starts: Any, ends: Any) -> None:
        some = ends > starts
        self._runs.append((starts[some], ends[some]))

    def _hold(self, starts: Any, counts: Any, stride_bytes: int) -> None:
        """Note that so many words from each start refer to objects."""
        some = counts > 0
        if stride_bytes == 8:
            self._held_runs.append((starts[some], counts[some].astype("u8")))
        else:
            self._held.append(spread(starts, counts, stride_bytes))

    def _add_dicts(self, kind: type, ids: Any) -> bool:
        numpy = sys.modules["numpy"]
        self._add(ids + 8, ids + layout.SIZE_AT + 8)
        self._add(ids + layout.DICT_KEYS_AT, ids + layout.DICT_VALUES_AT + 8)
        if kind is defaultdict:
            self._add(ids + _DEFAULT_AT, ids + _DEFAULT_AT + 8)
        keys, values = words(ids + layout.DICT_KEYS_AT), words(ids + layout.DICT_VALUES_AT)
        shared = values != 0
        if shared.any():
            if not layout.INSTANCES:
                return False
            self._add_values(keys[shared], values[shared])
            keys = keys[~shared]
        keys = keys[keys != layout.NO_KEYS]
        if not len(keys):
            return True
        form = words(keys + layout.KEYS_FORM_AT)
        kinds = form >> 16 & 0xFF
        if (kinds > layout.KEYS_TEXT).any():
            return False
        counts = words(keys + layout.KEYS_ENTRIES_AT)
        entries = keys + layout.KEYS_INDEX_AT + numpy.left_shift(numpy.uint64(1), form >> 8 & 0xFF)
        is_general = kinds == layout.KEYS_GENERAL
        self._add(keys + 8, entries + counts * numpy.where(is_general, 24, 16).astype("u8"))
        self._hold(entries[~is_general], 2 * counts[~is_general], 8)
        if is_general.any():
            self._hold(entries[is_general] + 8, counts[is_general], 24)
            self._hold(entries[is_general] + 16, counts[is_general], 24)
        return True

    def _add_values(self, keys: Any, values: Any) -> None:
        """Add the values of instances' attributes, and in which order they came; the keys only grow."""
        numpy = sys.modules["numpy"]
        self.keys.update(layout.distinct(keys).tolist())
        if layout.INLINE_VALUES:
            head = words(values)
            counts = head & 0xFF
            self._add(values, values + 8 + 8 * counts + counts)
            self._hold(values + 8, counts, 8)
            return
        counts = words(keys + layout.KEYS_ENTRIES_AT) + words(keys + layout.KEYS_USABLE_AT)
        before = words(values - numpy.uint64(8)) >> 56  # bytes, of which the last tells how many they are
        self._add(values - before, values + 8 * counts)
        self._hold(values, counts, 8)


def _joined(pairs: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Return all first arrays of some pairs in one, and all second ones."""
    numpy = sys.modules["numpy"]
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    none = numpy.empty(0, "u8")
    return numpy.concatenate([none, *first]), numpy.concatenate([none, *second])


@functools.cache
def _attributes_are_told() -> bool:
    """Tell whether a first attribute is seen where `_add_attributes` looks, with and without a `__dict__` before."""

    def told(probe: Any) -> list[list[int]]:
        contents = Contents()
        contents._add_attributes(type(probe), layout.ids([probe]))  # noqa: SLF001 - its own
        starts, ends = (each.tolist() for each in contents.runs())
        return [layout.words_at(low, (high - low) // 8).tolist() for low, high in zip(starts, ends, strict=True)]

    probes: tuple[Any, ...] = Counter(a=1), OrderedDict(a=1)
    for probe in probes:
        for _ in range(2):
            before = told(probe)
            probe.note = 1
            if told(probe) == before:
                return False
            del probe.note
    return True


def spread(starts: Any, counts: Any, stride_bytes: int) -> Any:
    """Return so many addresses from each start."""
    numpy = sys.modules["numpy"]
    counts = counts.astype("i8")
    ends = numpy.cumsum(counts)
    if not len(ends) or not ends[-1]:
        return starts[:0]
    found = numpy.arange(int(ends[-1]), dtype="i8")
    found -= numpy.repeat(ends - counts, counts)
    found *= stride_bytes
    return found.view("u8") + numpy.repeat(starts, counts)
