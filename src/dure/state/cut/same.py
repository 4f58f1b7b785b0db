"""Whether some objects are as they were although pages of theirs were written: by a reference that was counted, or by a
neighbour that came or went.

What tells what a container holds is compared word by word, by digest, and with it what the objects are to which these
words refer, since an equal pointer may be another object's by now. A container whose page was not written held what it
holds all the time, so only those on written pages are looked at. The one trap: what is read may be gone, so it is asked
first what is mapped.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import itertools
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from dure.state.memory import layout, mappings
from dure.state.memory.contents import Contents, spread
from dure.state.memory.layout import words_at
from dure.state.objects import nans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PAGE_WORDS = layout.PAGE_BYTES // 8
_NEAR = 4  # pages that have one digest
_DIGEST_BYTES = 16
_MOST_BYTES = 1024 * 1024 * 1024  # of what is read; what is gone may claim any size
_LEAST_MAPPED_BYTES = 128 * 1024  # what is smaller malloc takes from the heap
_NAMES = 64  # tables of names
_TOGETHER = 256  # parts
_DEPTH = 8  # tuples in each other
_TEXT_SIZES = (sys.getsizeof("") - 1, str.__basicsize__ - 8)  # of what is before the characters, ASCII or not
_TEXT_STATE_AT = 32
_KINDS_OF_TEXT = ("a", "\u00e9", "\u0100", "\U00010000")
_DIGIT_BYTES = sys.int_info.sizeof_digit
_BYTES_AT = bytes.__basicsize__ - 1
_FIXED: dict[type, tuple[int, int]] = {  # where what tells their value begins and ends
    float: (16, 24),
    complex: (16, 32),
    dt.date: (24, 32),
    dt.time: (24, 32),
    dt.timedelta: (24, 40),
    dt.datetime: (24, 40),
}
_ZONED = (dt.time, dt.datetime)  # that may refer to a time zone
_NUMPY = (
    *("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32"),
    *("float64", "complex64", "complex128"),
)


class _UnknownError(Exception):
    """What is referred to is not what can be compared, or is gone."""


@dataclass(frozen=True, slots=True)
class Known:
    """Types of objects, by what is compared of those that are referred to."""

    containers: frozenset[int]  # ids: nothing more, since their own words are compared
    rows: frozenset[int]  # tuples and named tuples: their elements
    classes: tuple[weakref.ref[type], ...]  # of these, those that may go away

    @classmethod
    def of(cls, containers: Iterable[type], rows: Iterable[type]) -> Known:
        """Return the same of types."""
        some, more = tuple(containers), tuple(rows)
        kept = tuple(weakref.ref(each) for each in (*some, *more))
        return cls(frozenset(map(id, some)), frozenset(map(id, more)), kept)


@dataclass(frozen=True, slots=True)
class Same:
    """What was on some pages of a part, in groups of `_NEAR`."""

    known: Known
    at: Any  # the places of these pages among the part's, sorted
    words: Any  # which words of each are compared, in bits
    held: Any  # and which of those refer to objects
    digests: bytes  # of each group
    names: dict[int, tuple[int, bytes]]  # of tables of names: how many, and their digest

    @classmethod
    def noted(cls, contents: Contents, pages: Any, known: Known, written: Any = None) -> Same | None:
        """Return what is there now, near those pages that were `written`, or on all; None where something cannot be
        compared.
        """
        numpy = sys.modules["numpy"]
        if not WORKS or len(contents.keys) > _NAMES:
            return None
        runs, (first, counts), single = contents.runs(), contents.held_runs(), contents.held()
        held_runs = first, first + counts * 8
        at = numpy.arange(len(pages))
        if written is not None:
            _, at = _near(numpy.isin(pages, written, assume_unique=True).nonzero()[0], len(pages))
            pages = pages[at]
            runs, held_runs = _on(pages, *runs), _on(pages, *held_runs)
            single = _on(pages, single, single + 8)[0]
        mask, held = _marked(pages, *runs), _marked(pages, *held_runs)
        held.reshape(-1)[_places(pages, single)] = True
        groups = numpy.concatenate([[0], numpy.cumsum(numpy.diff(at // _NEAR) > 0)])[: len(at)]
        try:
            digests = _digests(Memory(None), pages, groups, (mask, held), known) if len(at) else []
            names = {key: _names_in(Memory(None), key, None) for key in contents.keys}
        except _UnknownError:
            return None
        bits = [numpy.packbits(each, axis=1) for each in (mask, held)]
        return cls(known, at, bits[0], bits[1], b"".join(digests), names)

    def digests_of(self, groups: Any) -> list[bytes]:
        """Return the digests of some of the groups, by number."""
        begins = (layout.distinct(self.at // _NEAR).searchsorted(groups) * _DIGEST_BYTES).tolist()
        return [self.digests[begin : begin + _DIGEST_BYTES] for begin in begins]


@dataclass(frozen=True, slots=True)
class Asked:
    """A part that may not be as it was: the pages of those groups that have a written one."""

    same: Same
    groups: Any
    at: Any  # the places of all their pages among the part's
    rows: Any  # and among those of which it is known what was there
    pages: Any

    @classmethod
    def of(cls, same: Same, pages: Any, written_at: Any) -> Asked | None:
        """Return it for a part whose pages were written at some places, and nowhere else; None where it is not known
        what was at all of these.
        """
        numpy = sys.modules["numpy"]
        if not numpy.isin(written_at, same.at, assume_unique=True).all():
            return None
        groups, at = _near(written_at, len(pages))
        return cls(same, groups, at, same.at.searchsorted(at), pages[at])


def _near(at: Any, count: int) -> tuple[Any, Any]:
    """Return the numbers of the groups in which some places are, of so many pages, and all places in these."""
    groups = layout.distinct(at // _NEAR)
    every = spread(groups * _NEAR, sys.modules["numpy"].full(len(groups), _NEAR), 1).astype("i8")
    return groups, every[every < count]


def still(asked: list[Asked]) -> list[bool]:
    """Tell which of some parts are as they were."""
    memory = Memory(mappings.readable)
    found = [all(cls() is not None for cls in each.same.known.classes) for each in asked]
    alike: dict[Any, list[int]] = {}
    for index, each in enumerate(asked):
        if found[index]:
            alike.setdefault((each.same.known.containers, each.same.known.rows), []).append(index)
    for some in alike.values():
        for low in range(0, len(some), _TOGETHER):
            indices = some[low : low + _TOGETHER]
            for index, is_same in zip(indices, _still([asked[index] for index in indices], memory), strict=True):
                found[index] = is_same
    return found


def _still(asked: list[Asked], memory: Memory) -> list[bool]:
    """Tell the same of parts whose objects are of the same types."""
    numpy = sys.modules["numpy"]
    begins = numpy.cumsum([0, *(len(each.groups) for each in asked)]).tolist()
    numbers = [
        begin + numpy.searchsorted(each.groups, each.at // _NEAR)
        for begin, each in zip(begins[:-1], asked, strict=True)
    ]
    mask = _unpacked([each.same.words[each.rows] for each in asked])
    held = _unpacked([each.same.held[each.rows] for each in asked])
    pages, known = numpy.concatenate([each.pages for each in asked]), asked[0].same.known
    try:
        digests = _digests(memory, pages, numpy.concatenate(numbers), (mask, held), known)
        tables = {(key, count) for each in asked for key, (count, _) in each.same.names.items()}
        names = {table: _names_in(memory, *table) for table in tables}
    except _UnknownError:
        return [False] if len(asked) == 1 else [_still([each], memory)[0] for each in asked]
    return [
        digests[begin:end] == each.same.digests_of(each.groups)
        and all(names.get((key, count)) == (count, digest) for key, (count, digest) in each.same.names.items())
        for each, (begin, end) in zip(asked, itertools.pairwise(begins), strict=True)
    ]


def _unpacked(bits: list[Any]) -> Any:
    numpy = sys.modules["numpy"]
    return numpy.unpackbits(numpy.concatenate(bits), axis=1).view(bool)


def _on(pages: Any, starts: Any, ends: Any) -> tuple[Any, Any]:
    """Return what of some runs of memory is on some of their pages: for each page where that begins and ends."""
    numpy = sys.modules["numpy"]
    low = numpy.searchsorted(pages, starts // layout.PAGE_BYTES)
    high = numpy.searchsorted(pages, (ends - 1) // layout.PAGE_BYTES, "right")
    some = (high > low).nonzero()[0]
    counts = (high - low)[some]
    on = pages[spread(low[some].astype("u8"), counts, 1)] * layout.PAGE_BYTES
    starts, ends = numpy.repeat(starts[some], counts), numpy.repeat(ends[some], counts)
    return numpy.maximum(starts, on), numpy.minimum(ends, on + layout.PAGE_BYTES)


def _marked(pages: Any, starts: Any, ends: Any) -> Any:
    """Return for each word of some pages whether it has a byte of one of some runs, of which none have the same."""
    numpy = sys.modules["numpy"]
    counts = (ends + numpy.uint64(7) >> 3) - (starts >> 3)
    steps = numpy.zeros(len(pages) * _PAGE_WORDS + 1, "i1")
    at = _places(pages, starts)
    steps[at] = 1
    steps[at + counts.astype("i8")] -= 1
    return numpy.cumsum(steps[:-1], dtype="i1").view(bool).reshape(-1, _PAGE_WORDS)


def _places(pages: Any, addresses: Any) -> Any:
    """Return the places of words among all words of some pages."""
    numpy = sys.modules["numpy"]
    index = numpy.searchsorted(pages, addresses // layout.PAGE_BYTES)
    return (index * _PAGE_WORDS).astype("i8") + (addresses >> 3 & numpy.uint64(_PAGE_WORDS - 1)).astype("i8")


class Memory:
    """This process's memory, as far as it is there; all of it without `areas`, which returns those of addresses."""

    def __init__(self, areas: Callable[[Any], list[tuple[int, int]]] | None) -> None:
        self._areas_of = areas
        self._areas: list[tuple[int, int]] = []  # that were found so far, next to each other as one
        self._end = 0  # of the heap, when it was asked what is there
        self._left_bytes = _MOST_BYTES

    def words(self, starts: Any, ends: Any) -> tuple[Any, Any]:
        """Return the words that have a byte of some runs, and how many they are of each run."""
        low = starts >> 3
        counts = (ends + 7 >> 3) - low
        self._ask(starts, ends)
        addresses = spread(low << 3, counts, 8)
        return self._read(addresses, starts, ends), counts

    def pages(self, numbers: Any) -> Any:
        """Return the words of each page."""
        low, high = int(numbers.min()), int(numbers.max()) + 1
        starts, ends, index = numbers * layout.PAGE_BYTES, (numbers + 1) * layout.PAGE_BYTES, numbers - low
        self._ask(starts, ends)
        every = words_at(low * layout.PAGE_BYTES, (high - low) * _PAGE_WORDS)  # most of which is not read
        rows, index = every.reshape(-1, _PAGE_WORDS), index.astype("i8")
        self._ask_again(starts, ends)
        return rows[index]

    def at(self, addresses: Any) -> Any:
        """Return the words at some addresses."""
        ends = addresses + 8
        self._ask(addresses, ends)
        return self._read(addresses, addresses, ends)

    def _read(self, addresses: Any, starts: Any, ends: Any) -> Any:
        """Return the words at addresses, which are in some runs."""
        if not len(addresses):
            return addresses.astype("u8")
        low, high = int(addresses.min()), int(addresses.max())
        every = words_at(low, (high - low) // 8 + 1)
        index = (addresses - sys.modules["numpy"].uint64(low)) >> 3
        self._ask_again(starts, ends)
        return every[index].astype("u8", copy=False)

    def _ask(self, starts: Any, ends: Any) -> None:
        """_UnknownError where some runs are not there, or are too much to read."""
        if self._areas_of is None or not len(starts):
            return
        if (ends < starts).any() or (starts & 7).any() or int((ends - starts).max()) > _MOST_BYTES:
            raise _UnknownError
        self._left_bytes -= int((ends - starts).sum())
        if self._left_bytes < 0:
            raise _UnknownError
        if self._areas and _MOST_BYTES - self._left_bytes >= _LEAST_MAPPED_BYTES:
            # arrays made by the reads before may have been in these areas, and are given back by now
            self._end = _heap_end()
            self._areas = _joined(self._areas_of(sys.modules["numpy"].array([low for low, _ in self._areas], "u8")))
        self._check(starts, ends)

    def _ask_again(self, starts: Any, ends: Any) -> None:
        """Check again right before the memory is read. Objects made since the first check may have been at the end of
        the heap; when they are freed, malloc gives that end back to the system, with all that is free before it.
        """
        while self._areas_of is not None and len(starts) and _heap_end() < self._end:
            self._areas = []
            self._check(starts, ends)

    def _check(self, starts: Any, ends: Any) -> None:
        numpy = sys.modules["numpy"]
        reached = self._reached(starts)
        while self._areas_of is not None and (outside := ends > reached).any():
            if not self._areas:
                self._end = _heap_end()
            before, found = self._areas, self._areas_of(numpy.sort(reached[outside]))
            self._areas = _joined([*before, *found])
            if self._areas == before:
                raise _UnknownError
            reached = self._reached(starts)

    def _reached(self, starts: Any) -> Any:
        """Return up to where memory was found from each start."""
        numpy = sys.modules["numpy"]
        lows, highs = numpy.array([(0, 0), *self._areas], "u8").T
        return numpy.maximum(starts, highs[numpy.searchsorted(lows, starts, "right") - 1])


def _joined(areas: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the areas with those as one that lie next to each other: what is watched of a heap is one of its own."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(areas):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found


def _heap_end() -> int:
    sbrk = ctypes.pythonapi.sbrk
    sbrk.restype, sbrk.argtypes = ctypes.c_size_t, (ctypes.c_ssize_t,)
    return int(sbrk(0))


def _names_in(memory: Memory, key: int, count: int | None) -> tuple[int, bytes]:
    """Return how many names a table has, and the digest of the first `count`, or of all."""
    numpy = sys.modules["numpy"]
    form, entries = memory.at(numpy.array([key + layout.KEYS_FORM_AT, key + layout.KEYS_ENTRIES_AT], "u8")).tolist()
    count = entries if count is None else count
    if entries < count or form >> 8 & 0xFF > 16:
        raise _UnknownError
    first = key + layout.KEYS_INDEX_AT + (1 << (form >> 8 & 0xFF))
    names = memory.at(numpy.arange(first, first + 16 * count, 16, "u8"))
    return count, _digest_of(memory, names)


def _digest_of(memory: Memory, pointers: Any) -> bytes:
    numpy = sys.modules["numpy"]
    columns = list(_told(memory, pointers, numpy.zeros(len(pointers), "i8"), Known.of((), ()), 0))
    return _hashed(columns, 1)[0]


def _digests(memory: Memory, pages: Any, groups: Any, told: tuple[Any, Any], known: Known) -> list[bytes]:
    """Return the digest of what is told on some pages, by groups, whose numbers are 0, 1, …: of which words, and which
    of them refer to objects, `told` says.
    """
    numpy = sys.modules["numpy"]
    mask, held = told
    rows = memory.pages(pages)
    columns = [(rows[mask], numpy.repeat(groups, mask.sum(axis=1)))]
    pointers, owners = rows[held], numpy.repeat(groups, held.sum(axis=1))
    columns += _told(memory, pointers, owners, known, 0)
    return _hashed(columns, int(groups[-1]) + 1 if len(groups) else 0)


def _hashed(columns: list[tuple[Any, Any]], count: int) -> list[bytes]:
    """Return the digest of each group's share of some columns, each of words with the numbers of their groups."""
    numpy = sys.modules["numpy"]
    every = numpy.arange(count + 1)
    hashers = [blake3() for _ in range(count)]
    for words, owners in columns:
        bounds = numpy.searchsorted(owners, every).tolist()
        view = memoryview(numpy.ascontiguousarray(words)).cast("B")
        width = len(view) // len(owners) if len(owners) else 0
        for index, hasher in enumerate(hashers):
            low, high = bounds[index] * width, bounds[index + 1] * width
            if low < high:  # which columns there are depends on the other groups, too; what comes in which, on `kinds`
                hasher.update((high - low).to_bytes(8, "little"))
                hasher.update(view[low:high])
    return [hasher.digest(_DIGEST_BYTES) for hasher in hashers]


def _told(memory: Memory, pointers: Any, owners: Any, known: Known, depth: int) -> list[tuple[Any, Any]]:
    """Return what the objects are at some addresses, or none: columns of words with their owners, which are sorted."""
    numpy = sys.modules["numpy"]
    there = (pointers != 0) & (pointers != layout.NO_ELEMENT)
    pointers, owners = pointers[there], owners[there]
    if not len(pointers):
        return []
    kinds = memory.at(pointers + numpy.uint64(8))
    columns = [(kinds, owners)]
    leaves = _leaves()
    for kind in layout.distinct(kinds).tolist():
        if kind in known.containers or kind in _SINGLE:
            continue
        which = kinds == kind
        of, own = pointers[which], owners[which]
        if kind in known.rows:
            if depth >= _DEPTH:
                raise _UnknownError
            counts = memory.at(of + layout.SIZE_AT)
            columns.append((counts, own))
            items, _ = memory.words(of + layout.TUPLE_ITEMS_AT, of + layout.TUPLE_ITEMS_AT + counts * 8)
            columns.append((items, numpy.repeat(own, counts.astype("i8"))))
            columns += _told(memory, *columns[-1], known, depth + 1)
        elif kind in leaves:
            columns += _values(memory, leaves[kind], of, own)
        else:
            raise _UnknownError
    return columns


def _values(memory: Memory, of: tuple[type, int, int], ids: Any, owners: Any) -> list[tuple[Any, Any]]:
    """Return what tells the values of objects of one type that hold no other."""
    numpy = sys.modules["numpy"]
    kind, low, high = of
    if kind in _ZONED and (memory.at(ids + 24) & 0xFF).any():
        raise _UnknownError
    if high:
        words, counts = memory.words(ids + low, ids + high)
        columns = [(words, numpy.repeat(owners, counts.astype("i8")))]
        if kind is float:
            is_nan = numpy.isnan(words.view("f8"))
            columns.append((_tokens(ids[is_nan]), owners[is_nan]))
        elif issubclass(kind, complex | numpy.inexact) and _has_nan(kind, words.reshape(len(ids), -1)):
            raise _UnknownError
        return columns
    sizes = memory.at(ids + layout.SIZE_AT)
    heads = sizes
    if kind is int:
        starts = ids + 24
        ends = starts + _DIGIT_BYTES * (sizes >> 3 if sys.version_info >= (3, 12) else abs(sizes.view("i8")).view("u8"))
    elif kind is bytes:
        starts, ends = ids + _BYTES_AT, ids + _BYTES_AT + sizes
    else:
        state = memory.at(ids + _TEXT_STATE_AT) & numpy.uint64(0xFFFFFFFF)
        heads = state >> _TEXT_SHIFT & 0x1F  # three bits for the bytes of a character, whether it is compact, and ASCII
        if not (heads & 8).all():
            raise _UnknownError
        starts = ids + numpy.where(heads & 16, *_TEXT_SIZES).astype("u8")
        ends = starts + sizes * (heads & 7)
    words, counts = memory.words(starts, ends)
    if kind is not int and len(words):  # what is behind the last byte is nothing
        last = (numpy.cumsum(counts) - 1)[counts > 0].astype("i8")
        over = ((numpy.uint64(8) - (ends & 7)) & 7)[counts > 0] * 8
        words = words.copy()
        words[last] = words[last] << over
    return [(sizes, owners), (heads, owners), (words, numpy.repeat(owners, counts.astype("i8")))]


def _tokens(ids: Any) -> Any:
    """Return what tells which NaN each is: another one may have been at its address."""
    numpy = sys.modules["numpy"]
    every = {key: blake3((nans.token_at(key) or "").encode()).digest(8) for key in set(ids.tolist())}
    return numpy.frombuffer(b"".join(every[key] for key in ids.tolist()), "u8")


def _has_nan(kind: Any, rows: Any) -> bool:
    numpy = sys.modules["numpy"]
    dtype = numpy.dtype(kind)
    held = numpy.ascontiguousarray(rows.view("u1")[:, : dtype.itemsize]).view(dtype)
    return bool(numpy.isnan(held).any())


def _leaves() -> dict[int, tuple[type, int, int]]:
    """Return by the ids of types that hold no object where what tells the value is; 0, 0 where that differs."""
    found: dict[int, tuple[type, int, int]] = {id(kind): (kind, *where) for kind, where in _FIXED.items()}
    found |= {id(kind): (kind, 0, 0) for kind in (int, str, bytes)}
    numpy = sys.modules["numpy"]
    for name in _NUMPY:
        kind = getattr(numpy, name)
        found[id(kind)] = kind, 16, kind.__basicsize__
    return found


def _text_shift() -> int:
    """Return where in a text's state the size of its characters begins; -1 where it is not as it is thought here."""
    states = [layout.word_at(id(text) + _TEXT_STATE_AT) & 0xFFFFFFFF for text in _KINDS_OF_TEXT]
    read = [ctypes.string_at(id(text) + size, 2) for text, size in zip(("ab", "\u0102"), _TEXT_SIZES, strict=True)]
    if read != [b"ab", b"\2\1"]:
        return -1
    for shift in range(1, 24):
        if [state >> shift & 0x1F for state in states] == [0x19, 0x09, 0x0A, 0x0C]:
            return shift
    return -1


_SINGLE = {id(type(None)), id(bool), id(type(Ellipsis))}  # there is one of each value
_TEXT_SHIFT = _text_shift() if layout.WORKS else -1
WORKS = layout.WORKS and _TEXT_SHIFT > 0
