"""Where CPython keeps what dictionaries, lists, tuples, sets, byte arrays and numpy's arrays hold, for many at once.

Nothing is read through the objects, since a reference that is counted is a write to their page. The one trap: this
rests on how CPython 3.11 to 3.14 lay out these types, so `WORKS` tells whether all of it was found to hold when this
was loaded, and nothing here may be used where it does not.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from typing import Any, cast

PAGE_BYTES = mmap.PAGESIZE
TYPE_AT = 8  # of every object
SIZE_AT = 16  # of a list, tuple, text, bytes and byte array: how many elements; of a dictionary: how many items
LIST_ITEMS_AT = 24
_ITEM_BYTES = 8
_DICT_CHANGES_AT, DICT_KEYS_AT, DICT_VALUES_AT = 24, 32, 40
KEYS_FORM_AT, KEYS_USABLE_AT, KEYS_ENTRIES_AT, KEYS_INDEX_AT = 8, 16, 24, 32
_BEFORE = 48  # bytes before an object, in which Python keeps what belongs to it
HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that Python code made
MANAGED_DICT = 1 << 4  # Py_TPFLAGS_MANAGED_DICT: where its attributes are is noted there
INLINE_VALUES = sys.version_info >= (3, 13)  # values of attributes begin with how many there are
KEYS_GENERAL, KEYS_TEXT = 0, 1  # entries of hash, key and value, or of key and value; the others have no values
SET_MASK_AT, SET_TABLE_AT, _SET_WITHIN_AT = 32, 40, 64
BYTES_START_AT = 40
_BASIC: dict[type, int] = {list: 40, dict: 48, set: 200, bytearray: 56, defaultdict: 56}
DEQUE_FIRST_AT, DEQUE_LAST_AT, DEQUE_BEGIN_AT, DEQUE_END_AT, DEQUE_MOST_AT = 24, 32, 40, 48, 64
DEQUE_BLOCK = 64  # elements between two words: the block before, and the next
DEQUE_NEXT_AT = 8 * DEQUE_BLOCK + 8
TUPLE_ITEMS_AT = tuple.__basicsize__
_READ = 0x100  # PyBUF_READ
ARRAY_DATA_AT, ARRAY_NDIM_AT, ARRAY_DIMS_AT, ARRAY_STRIDES_AT = 16, 24, 32, 40


@dataclass(frozen=True, slots=True)
class Table:
    """Where a container's elements are: `slots` of `stride_bytes` from `address`, of a dictionary or set some of them
    empty. While `form` is equal, a slot is where it was.
    """

    kind: type  # list, tuple, dict, set, or numpy's array of objects
    form: tuple[int, ...]
    address: int
    stride_bytes: int
    slots: int
    count: int  # of elements

    @property
    def in_order(self) -> bool:
        """Whether a slot is an element's index."""
        return self.kind not in (dict, set)

    @property
    def columns(self) -> range:
        """Which words of a slot are objects: an element, or a key and its value."""
        words = self.stride_bytes // 8
        return range(1) if self.kind is set else range(max(words - 2, 0), words)

    def extent(self, low: int, high: int) -> tuple[int, int]:
        """Return where slots `low` to `high` begin and end in memory."""
        return self.address + low * self.stride_bytes, self.address + high * self.stride_bytes

    def pointers(self) -> Any:
        """Return the addresses of the elements or of a dictionary's values, 0 for an empty slot."""
        step = self.stride_bytes // 8
        found = words_at(self.address, step * self.slots)[self.columns[-1] :: step].astype("u8")
        if self.kind is set:
            found[found == NO_ELEMENT] = 0
        return found

    def elements(self, low: int, high: int) -> tuple[list[Any], ...]:
        """Return what slots `low` to `high` hold: the elements, of a dictionary the keys and the values."""
        step = self.stride_bytes // 8
        words = (ctypes.py_object * (step * self.slots)).from_address(self.address)
        if self.kind is not set:
            try:
                return tuple(words[low * step + column : high * step : step] for column in self.columns)
            except ValueError:  # of an empty slot
                pass
        full = [low + int(index) for index in self.pointers()[low:high].nonzero()[0]]
        return tuple([words[index * step + column] for index in full] for column in self.columns)


def table_of(value: Any, kind: type) -> Table | None:
    """Return where the elements of a list, tuple, dictionary or set are, of an instance of a class below list or dict,
    or of an array of objects in one piece; None where that is not known.
    """
    if not WORKS:
        return None
    key = id(value)
    if kind not in _BASIC and kind is not tuple:
        data = word_at(key + ARRAY_DATA_AT) if arrays_work() else 0
        return Table(kind, (data,), data, _ITEM_BYTES, value.size, value.size) if data else None
    count = int(cast("Any", kind).__len__(value))
    if kind is tuple:
        return Table(tuple, (count,), key + TUPLE_ITEMS_AT, _ITEM_BYTES, count, count)
    if kind is list:
        items = word_at(key + LIST_ITEMS_AT)
        return Table(list, (items,), items, _ITEM_BYTES, count, count) if items else None
    if kind is set:
        table, mask = word_at(key + SET_TABLE_AT), word_at(key + SET_MASK_AT)
        return Table(set, (table, mask), table, 16, mask + 1, count)
    keys, values = word_at(key + DICT_KEYS_AT), word_at(key + DICT_VALUES_AT)
    form = word_at(keys + KEYS_FORM_AT) & 0xFFFFFF
    kind_of_keys = form >> 16
    if values or kind_of_keys not in (KEYS_GENERAL, KEYS_TEXT) or keys == NO_KEYS:
        return None
    stride = 24 if kind_of_keys == KEYS_GENERAL else 16
    address = keys + KEYS_INDEX_AT + (1 << (form >> 8 & 0xFF))
    return Table(dict, (keys, form), address, stride, word_at(keys + KEYS_ENTRIES_AT), count)


def array_data(ids: Any, sizes_bytes: Any) -> tuple[Any, Any]:
    """Return where the memory of arrays begins and ends."""
    starts = words(ids + ARRAY_DATA_AT)
    return starts, starts + sys.modules["numpy"].maximum(sizes_bytes, 1)


def ids(objects: list[Any]) -> Any:
    """Return the ids of the objects in a list."""
    return words_at(word_at(id(objects) + LIST_ITEMS_AT), len(objects)).astype("u8")  # a copy


def sizes(ids: Any) -> Any:
    """Return how many characters or bytes texts or bytes objects have."""
    return words(ids.astype("u8", copy=False) + SIZE_AT)


def words_at(address: int, count: int) -> Any:
    """Return the machine words at an address as an array, which nothing keeps alive. Needs numpy to be loaded."""
    make = ctypes.pythonapi.PyMemoryView_FromMemory
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
    numpy = sys.modules["numpy"]
    return numpy.frombuffer(make(address, count * ctypes.sizeof(ctypes.c_size_t), _READ), numpy.uintp)


def words(addresses: Any) -> Any:
    """Return the machine words at addresses that are multiples of eight."""
    if not len(addresses):
        return addresses.astype("u8")
    low = addresses.min()
    memory = words_at(
        int(low), (int(addresses.max()) - int(low)) // 8 + 1
    )  # most of which is nobody's, and is not read
    return memory[(addresses - low) >> 3].astype("u8", copy=False)


def pages(starts: Any, ends: Any) -> Any:
    """Return the numbers of the pages that have a byte of one of the runs of memory, sorted."""
    numpy = sys.modules["numpy"]
    first, last = starts // PAGE_BYTES, (ends - 1) // PAGE_BYTES
    found = [first, last]
    wide = last > first + 1
    if wide.any():
        counts = (last - first - 1)[wide].astype("i8")
        begins = numpy.repeat(first[wide] + 1, counts)
        within = numpy.arange(len(begins)) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
        found.append(begins + within.astype("u8"))
    return distinct(numpy.concatenate(found))


def distinct(numbers: Any) -> Any:
    """Return the numbers sorted, each once; numpy's own `unique` hashes first, which takes ten times as long here, and
    what is in sorted pieces already, as pages are, is sorted fifty times as fast by a merging sort.
    """
    numpy = sys.modules["numpy"]
    found = numpy.sort(numbers, kind="stable")
    return found[numpy.concatenate([[True], found[1:] != found[:-1]])] if len(found) else found


def changes_of(dicts: list[dict[str, Any]]) -> list[int]:
    """Return for each dictionary a number that is another one once something was put into it or taken out; where Python
    does not count that, how many it has.
    """
    if not CHANGES_COUNT:
        return list(map(len, dicts))
    if "numpy" not in sys.modules:
        return [word_at(id(each) + _DICT_CHANGES_AT) for each in dicts]
    found: list[int] = words(ids(dicts) + sys.modules["numpy"].uint64(_DICT_CHANGES_AT)).tolist()
    return found


def word_at(address: int) -> int:
    """Return the machine word at an address."""
    return ctypes.c_uint64.from_address(address).value


def _works() -> bool:
    """Tell whether all of this holds here, without reading anything that is not the objects' own."""
    if sys.implementation.name != "cpython" or not (3, 11) <= sys.version_info[:2] <= (3, 14):
        return False
    if ctypes.sizeof(ctypes.c_void_p) != 8 or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    if any(kind.__basicsize__ != size for kind, size in _BASIC.items()):
        return False
    some: list[Any] = [object(), "text", 1.5]
    row = tuple(some)
    few: dict[Any, Any] = {"a": some[0], "b": some[1]}
    mixed: dict[Any, Any] = {1: some[0], "b": some[1], (2, 3): some[2]}
    many = {f"key {number}": number + 10**9 for number in range(300)}
    data = bytearray(b"0123456789")
    del data[:3]
    apart, within = set(range(1000)), {1, 2}
    return (
        word_at(id(some) + SIZE_AT) == len(some)
        and all(word_at(id(each) + TYPE_AT) == id(type(each)) for each in (*some, some, few, object))
        and [word_at(word_at(id(some) + LIST_ITEMS_AT) + 8 * index) for index in range(3)] == list(map(id, some))
        and all(map(_dict_holds, (few, mixed, many)))
        and word_at(id({}) + DICT_KEYS_AT) == NO_KEYS
        and ctypes.string_at(word_at(id(data) + BYTES_START_AT), word_at(id(data) + SIZE_AT)) == b"3456789"
        and word_at(id(apart) + SET_MASK_AT) + 1 == (apart.__sizeof__() - set.__basicsize__) // 16
        and _deque_holds(deque(range(1000, 1300)))
        and _deque_holds(deque(range(1000, 1003), 9))
        and _set_holds(apart)
        and _set_holds(apart - set(range(0, 1000, 3)))
        and all(map(_dict_holds, (defaultdict(list, few), Counter("abca"))))
        and _ordered_holds()
        and [word_at(id(row) + TUPLE_ITEMS_AT + 8 * index) for index in range(3)] == list(map(id, row))
        and word_at(id(within) + SET_TABLE_AT) == id(within) + _SET_WITHIN_AT
        and word_at(id("some text") + SIZE_AT) == len("some text")
    )


def _dict_holds(probe: dict[Any, Any]) -> bool:
    keys = word_at(id(probe) + DICT_KEYS_AT)
    form = word_at(keys + KEYS_FORM_AT)
    kind, index_log2 = form >> 16 & 0xFF, form >> 8 & 0xFF
    texts = all(type(key) is str for key in probe)
    if word_at(id(probe) + DICT_VALUES_AT) or kind != (KEYS_TEXT if texts else KEYS_GENERAL) or index_log2 > 20:
        return False
    if word_at(id(probe) + SIZE_AT) != len(probe) or word_at(keys + KEYS_ENTRIES_AT) != len(probe):
        return False
    stride = 16 if texts else 24
    ends = keys + KEYS_INDEX_AT + (1 << index_log2) + stride - 8
    return [word_at(ends + stride * index) for index in range(len(probe))] == list(map(id, probe.values()))


def _deque_holds(probe: deque[Any]) -> bool:
    probe.popleft()
    key, at = id(probe), word_at(id(probe) + DEQUE_FIRST_AT)
    if word_at(key + SIZE_AT) != len(probe) or word_at(key + DEQUE_BEGIN_AT) >= DEQUE_BLOCK:
        return False
    most = word_at(key + DEQUE_MOST_AT)
    if most != (2**64 - 1 if probe.maxlen is None else probe.maxlen):
        return False
    begin, found = word_at(key + DEQUE_BEGIN_AT), []
    for _ in range(len(probe) // DEQUE_BLOCK + 2):
        is_last = at == word_at(key + DEQUE_LAST_AT)
        end = word_at(key + DEQUE_END_AT) + 1 if is_last else DEQUE_BLOCK
        found += [word_at(at + 8 + 8 * index) for index in range(begin, end)]
        if is_last or not at:
            break
        at, begin = word_at(at + DEQUE_NEXT_AT), 0
    return found == list(map(id, probe))


def _ordered_holds() -> bool:
    """Tell whether a change of their order alone is told in what an ordered dictionary is itself."""
    probe: OrderedDict[str, int] = OrderedDict(a=1, b=2, c=3)
    own = range(id(probe) + 8, id(probe) + OrderedDict.__basicsize__, 8)
    told = []
    for _ in range(3):
        told.append(tuple(map(word_at, own)))
        probe.move_to_end("b", last=len(told) == 1)
    return len(set(told)) == len(told) and _dict_holds(OrderedDict(a=1, b=2))


def _set_holds(probe: set[Any]) -> bool:
    table, slots = word_at(id(probe) + SET_TABLE_AT), word_at(id(probe) + SET_MASK_AT) + 1
    held = {word_at(table + 16 * index) for index in range(slots)}
    return NO_ELEMENT != 0 and set(map(id, probe)) == held - {0, NO_ELEMENT}


@functools.cache
def arrays_work() -> bool:
    """Tell whether numpy keeps arrays as is thought here; asked when it is loaded."""
    numpy = sys.modules["numpy"]
    if not WORKS or numpy.ndarray.__basicsize__ < ARRAY_STRIDES_AT + 8:
        return False
    for probe in (numpy.arange(24.0).reshape(2, 3, 4).copy(), numpy.zeros(5, "i2"), numpy.zeros(())):
        shapes, strides = word_at(id(probe) + ARRAY_DIMS_AT), word_at(id(probe) + ARRAY_STRIDES_AT)
        if word_at(id(probe) + ARRAY_DATA_AT) != probe.__array_interface__["data"][0]:
            return False
        if word_at(id(probe) + ARRAY_NDIM_AT) & 0xFFFFFFFF != probe.ndim:
            return False
        if probe.ndim and words_at(shapes, probe.ndim).tolist() != list(probe.shape):
            return False
        if probe.ndim and words_at(strides, probe.ndim).tolist() != list(probe.strides):
            return False
    return True


def _changes_count() -> bool:
    probe: dict[str, Any] = {"a": None}
    found = []
    for value in (None, probe, None, probe):
        probe["a"] = value
        found += [word_at(id(probe) + _DICT_CHANGES_AT) for _ in range(2)]
    return found[::2] == found[1::2] and len(set(found[2:])) == len(found[2:]) // 2


class _Probe:
    def __init__(self) -> None:
        self.one, self.two, self.three = object(), "two", [3]


def _instances_work() -> bool:
    """Tell whether the values of an instance lie where they are looked for."""
    probe, other = _Probe(), _Probe()
    mine = probe.__dict__
    del other
    values = word_at(id(mine) + DICT_VALUES_AT)
    keys = word_at(id(mine) + DICT_KEYS_AT)
    if not values or word_at(keys + KEYS_ENTRIES_AT) != len(mine) or word_at(keys + KEYS_USABLE_AT) > 1 << 10:
        return False
    near = [word_at(values + 8 * index) for index in range(len(mine) + 1)]
    before = [word_at(id(probe) - 8 * index) for index in range(1, _BEFORE // 8 + 1)]
    within = [word_at(id(probe) + 8 * index) for index in range(_Probe.__basicsize__ // 8)]
    if _Probe.__flags__ & MANAGED_DICT and id(mine) not in before[2:4]:
        return False
    # how many there are, and in which order they came: with them from 3.13 on, before that in bytes before them
    told = ctypes.string_at(values, 2)[1] if INLINE_VALUES else ctypes.string_at(values - 2, 1)[0]
    before_bytes = 8 if INLINE_VALUES else ctypes.string_at(values - 1, 1)[0]
    if told != len(mine) or before_bytes % 8 or not before_bytes:
        return False
    return set(map(id, mine.values())) <= set(near) and id(mine) in (*before, *within)


def _left_by_element() -> int:
    """Return the address of what stands in a set where an element was removed."""
    if set.__basicsize__ != _BASIC[set]:
        return 0
    probe = {1}
    probe.discard(1)
    found = {word_at(word_at(id(probe) + SET_TABLE_AT) + 16 * index) for index in range(8)} - {0}
    return found.pop() if len(found) == 1 else 0


_EMPTY: dict[Any, Any] = {}
NO_KEYS = word_at(id(_EMPTY) + DICT_KEYS_AT) if dict.__basicsize__ == _BASIC[dict] else 0
NO_ELEMENT = _left_by_element()
WORKS = _works()
CHANGES_COUNT = WORKS and _changes_count()
INSTANCES = WORKS and _instances_work()
