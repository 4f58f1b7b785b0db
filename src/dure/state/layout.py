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
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, cast

from dure.state.elements import words_at

_PAGE = mmap.PAGESIZE
_SIZE_AT = 16  # of a list, tuple, text, bytes and byte array: how many elements; of a dictionary: how many items
_LIST_ITEMS_AT = 24
_ITEM_BYTES = 8
_DICT_KEYS_AT, _DICT_VALUES_AT = 32, 40
_KEYS_FORM_AT, _KEYS_USABLE_AT, _KEYS_ENTRIES_AT, _KEYS_INDEX_AT = 8, 16, 24, 32
_BEFORE = 48  # bytes before an object, and around an instance's values, in which Python keeps what belongs to it
_KEYS_GENERAL, _KEYS_TEXT = 0, 1  # entries of hash, key and value, or of key and value; the others have no values
_SET_MASK_AT, _SET_TABLE_AT, _SET_WITHIN_AT = 32, 40, 64
_BYTES_START_AT = 40
_BASIC: dict[type, int] = {list: 40, dict: 48, set: 200, bytearray: 56, defaultdict: 56}
_TUPLE_ITEMS_AT = tuple.__basicsize__
_ARRAY_DATA_AT, _ARRAY_NDIM_AT, _ARRAY_DIMS_AT, _ARRAY_STRIDES_AT = 16, 24, 32, 40


@dataclass(frozen=True, slots=True)
class Table:
    """Where a container's elements are: `slots` of `stride_bytes` from `address`, of a dictionary or set some of them
    empty. While `form` is equal, a slot is where it was.
    """

    kind: type  # list, tuple, dict or set
    form: tuple[int, ...]
    address: int
    stride_bytes: int
    slots: int
    count: int  # of elements

    @property
    def in_order(self) -> bool:
        """Whether a slot is an element's index."""
        return self.kind in (list, tuple)

    @property
    def _columns(self) -> range:
        """Which words of a slot are objects: an element, or a key and its value."""
        words = self.stride_bytes // 8
        return range(1) if self.kind is set else range(max(words - 2, 0), words)

    def extent(self, low: int, high: int) -> tuple[int, int]:
        """Return where slots `low` to `high` begin and end in memory."""
        return self.address + low * self.stride_bytes, self.address + high * self.stride_bytes

    def pointers(self) -> Any:
        """Return the addresses of the elements or of a dictionary's values, 0 for an empty slot."""
        step = self.stride_bytes // 8
        found = words_at(self.address, step * self.slots)[self._columns[-1] :: step].astype("u8")
        if self.kind is set:
            found[found == _NO_ELEMENT] = 0
        return found

    def elements(self, low: int, high: int) -> tuple[list[Any], ...]:
        """Return what slots `low` to `high` hold: the elements, of a dictionary the keys and the values."""
        step = self.stride_bytes // 8
        words = (ctypes.py_object * (step * self.slots)).from_address(self.address)
        if self.kind is not set:
            try:
                return tuple(words[low * step + column : high * step : step] for column in self._columns)
            except ValueError:  # of an empty slot
                pass
        full = [low + int(index) for index in self.pointers()[low:high].nonzero()[0]]
        return tuple([words[index * step + column] for index in full] for column in self._columns)


def table_of(value: Any, kind: type) -> Table | None:
    """Return where the elements of a list, tuple, dictionary or set are, or of an instance of a class below list or
    dict; None where that is not known.
    """
    if not WORKS:
        return None
    key = id(value)
    count = int(cast("Any", kind).__len__(value))
    if kind is tuple:
        return Table(tuple, (count,), key + _TUPLE_ITEMS_AT, _ITEM_BYTES, count, count)
    if kind is list:
        items = _word(key + _LIST_ITEMS_AT)
        return Table(list, (items,), items, _ITEM_BYTES, count, count) if items else None
    if kind is set:
        table, mask = _word(key + _SET_TABLE_AT), _word(key + _SET_MASK_AT)
        return Table(set, (table, mask), table, 16, mask + 1, count)
    keys, values = _word(key + _DICT_KEYS_AT), _word(key + _DICT_VALUES_AT)
    form = _word(keys + _KEYS_FORM_AT) & 0xFFFFFF
    kind_of_keys = form >> 16
    if values or kind_of_keys not in (_KEYS_GENERAL, _KEYS_TEXT) or keys == _NO_KEYS:
        return None
    stride = 24 if kind_of_keys == _KEYS_GENERAL else 16
    address = keys + _KEYS_INDEX_AT + (1 << (form >> 8 & 0xFF))
    return Table(dict, (keys, form), address, stride, _word(keys + _KEYS_ENTRIES_AT), count)


def extents(kind: type, ids: Any) -> tuple[Any, Any] | None:
    """Return where all runs of memory begin and end that tell what objects of one type hold, as two arrays; None where
    one of them is laid out otherwise. `kind` is list, dict, set, bytearray or defaultdict.
    """
    numpy = sys.modules["numpy"]
    ids = ids.astype("u8", copy=False)
    if kind in (dict, defaultdict):
        found = _dict_tables(numpy, ids)
        if found is None:
            return None
        starts, ends = found
    elif kind is set:
        starts = words(ids + _SET_TABLE_AT)
        ends = starts + (words(ids + _SET_MASK_AT) + 1) * 16
        apart = starts != ids + _SET_WITHIN_AT
        starts, ends = starts[apart], ends[apart]
    else:
        width = 8 if kind is list else 1
        starts = words(ids + (_LIST_ITEMS_AT if kind is list else _BYTES_START_AT))
        ends = starts + words(ids + _SIZE_AT) * width
    some = ends > starts
    return numpy.concatenate([ids, starts[some]]), numpy.concatenate([ids + _BASIC[kind], ends[some]])


def instances(cls: type, ids: Any) -> tuple[Any, Any]:
    """Return where the memory of instances of a simple class begins and ends, with what lies before the objects."""
    ids = ids.astype("u8", copy=False)
    return ids - _BEFORE, ids + cls.__basicsize__


def array_data(ids: Any, sizes_bytes: Any) -> tuple[Any, Any]:
    """Return where the memory of arrays begins and ends."""
    starts = words(ids + _ARRAY_DATA_AT)
    return starts, starts + sys.modules["numpy"].maximum(sizes_bytes, 1)


def arrays(ids: Any) -> tuple[Any, Any]:
    """Return where all else of the same arrays begins and ends: where they and their shapes are kept."""
    numpy = sys.modules["numpy"]
    sizes = numpy.maximum(words(ids + _ARRAY_NDIM_AT) & 0xFFFFFFFF, 1) * 8
    shapes, strides = words(ids + _ARRAY_DIMS_AT), words(ids + _ARRAY_STRIDES_AT)
    some = shapes != 0  # not of an array of no dimensions
    starts = numpy.concatenate([ids, shapes[some], strides[some]])
    return starts, numpy.concatenate(
        [ids + numpy.ndarray.__basicsize__, (shapes + sizes)[some], (strides + sizes)[some]]
    )


def _dict_tables(numpy: Any, ids: Any) -> tuple[Any, Any] | None:
    keys, values = words(ids + _DICT_KEYS_AT), words(ids + _DICT_VALUES_AT)
    shared = values != 0
    if not shared.any():
        return _own_tables(numpy, keys)
    if not INSTANCES:
        return None
    # an instance's: its values, and in which order they came, which is noted before or after them; the keys only grow
    own = _own_tables(numpy, keys[~shared])
    if own is None:
        return None
    count = words(keys[shared] + _KEYS_ENTRIES_AT) + words(keys[shared] + _KEYS_USABLE_AT)
    values = values[shared]
    return numpy.concatenate([own[0], values - _BEFORE]), numpy.concatenate([own[1], values + 8 * count + _BEFORE])


def _own_tables(numpy: Any, keys: Any) -> tuple[Any, Any] | None:
    keys = keys[keys != _NO_KEYS]
    if not len(keys):
        return keys, keys
    form = words(keys + _KEYS_FORM_AT)
    kinds = form >> 16 & 0xFF
    if (kinds > _KEYS_TEXT).any():
        return None
    index_bytes = numpy.left_shift(numpy.uint64(1), form >> 8 & 0xFF)
    entry_bytes = numpy.where(kinds == _KEYS_GENERAL, 24, 16).astype("u8")
    return keys, keys + _KEYS_INDEX_AT + index_bytes + words(keys + _KEYS_ENTRIES_AT) * entry_bytes


def ids(objects: list[Any]) -> Any:
    """Return the ids of the objects in a list."""
    return words_at(_word(id(objects) + _LIST_ITEMS_AT), len(objects)).astype("u8")  # a copy


def sizes(ids: Any) -> Any:
    """Return how many characters or bytes texts or bytes objects have."""
    return words(ids.astype("u8", copy=False) + _SIZE_AT)


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
    first, last = starts // _PAGE, (ends - 1) // _PAGE
    found = [first, last]
    wide = last > first + 1
    if wide.any():
        counts = (last - first - 1)[wide].astype("i8")
        begins = numpy.repeat(first[wide] + 1, counts)
        within = numpy.arange(len(begins)) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
        found.append(begins + within.astype("u8"))
    return distinct(numpy.concatenate(found))


def distinct(numbers: Any) -> Any:
    """Return the numbers sorted, each once; numpy's own `unique` hashes first, which takes ten times as long here."""
    numpy = sys.modules["numpy"]
    found = numpy.sort(numbers)
    return found[numpy.concatenate([[True], found[1:] != found[:-1]])] if len(found) else found


def _word(address: int) -> int:
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
        _word(id(some) + _SIZE_AT) == len(some)
        and [_word(_word(id(some) + _LIST_ITEMS_AT) + 8 * index) for index in range(3)] == list(map(id, some))
        and all(map(_dict_holds, (few, mixed, many)))
        and _word(id({}) + _DICT_KEYS_AT) == _NO_KEYS
        and ctypes.string_at(_word(id(data) + _BYTES_START_AT), _word(id(data) + _SIZE_AT)) == b"3456789"
        and _word(id(apart) + _SET_MASK_AT) + 1 == (apart.__sizeof__() - set.__basicsize__) // 16
        and _set_holds(apart)
        and _set_holds(apart - set(range(0, 1000, 3)))
        and all(map(_dict_holds, (defaultdict(list, few), Counter("abca"))))
        and [_word(id(row) + _TUPLE_ITEMS_AT + 8 * index) for index in range(3)] == list(map(id, row))
        and _word(id(within) + _SET_TABLE_AT) == id(within) + _SET_WITHIN_AT
        and _word(id("some text") + _SIZE_AT) == len("some text")
    )


def _dict_holds(probe: dict[Any, Any]) -> bool:
    keys = _word(id(probe) + _DICT_KEYS_AT)
    form = _word(keys + _KEYS_FORM_AT)
    kind, index_log2 = form >> 16 & 0xFF, form >> 8 & 0xFF
    texts = all(type(key) is str for key in probe)
    if _word(id(probe) + _DICT_VALUES_AT) or kind != (_KEYS_TEXT if texts else _KEYS_GENERAL) or index_log2 > 20:
        return False
    if _word(id(probe) + _SIZE_AT) != len(probe) or _word(keys + _KEYS_ENTRIES_AT) != len(probe):
        return False
    stride = 16 if texts else 24
    ends = keys + _KEYS_INDEX_AT + (1 << index_log2) + stride - 8
    return [_word(ends + stride * index) for index in range(len(probe))] == list(map(id, probe.values()))


def _set_holds(probe: set[Any]) -> bool:
    table, slots = _word(id(probe) + _SET_TABLE_AT), _word(id(probe) + _SET_MASK_AT) + 1
    held = {_word(table + 16 * index) for index in range(slots)}
    return _NO_ELEMENT != 0 and set(map(id, probe)) == held - {0, _NO_ELEMENT}


@functools.cache
def arrays_work() -> bool:
    """Tell whether numpy keeps arrays as is thought here; asked when it is loaded."""
    numpy = sys.modules["numpy"]
    if not WORKS or numpy.ndarray.__basicsize__ < _ARRAY_STRIDES_AT + 8:
        return False
    for probe in (numpy.arange(24.0).reshape(2, 3, 4).copy(), numpy.zeros(5, "i2"), numpy.zeros(())):
        shapes, strides = _word(id(probe) + _ARRAY_DIMS_AT), _word(id(probe) + _ARRAY_STRIDES_AT)
        if _word(id(probe) + _ARRAY_DATA_AT) != probe.__array_interface__["data"][0]:
            return False
        if _word(id(probe) + _ARRAY_NDIM_AT) & 0xFFFFFFFF != probe.ndim:
            return False
        if probe.ndim and words_at(shapes, probe.ndim).tolist() != list(probe.shape):
            return False
        if probe.ndim and words_at(strides, probe.ndim).tolist() != list(probe.strides):
            return False
    return True


class _Probe:
    def __init__(self) -> None:
        self.one, self.two, self.three = object(), "two", [3]


def _instances_work() -> bool:
    """Tell whether the values of an instance lie where they are looked for."""
    probe, other = _Probe(), _Probe()
    mine = probe.__dict__
    del other
    values = _word(id(mine) + _DICT_VALUES_AT)
    keys = _word(id(mine) + _DICT_KEYS_AT)
    if not values or _word(keys + _KEYS_ENTRIES_AT) != len(mine) or _word(keys + _KEYS_USABLE_AT) > 1 << 10:
        return False
    near = [_word(values + 8 * index) for index in range(len(mine) + 1)]
    before = [_word(id(probe) - 8 * index) for index in range(1, _BEFORE // 8 + 1)]
    within = [_word(id(probe) + 8 * index) for index in range(_Probe.__basicsize__ // 8)]
    return set(map(id, mine.values())) <= set(near) and id(mine) in (*before, *within)


def _left_by_element() -> int:
    """Return the address of what stands in a set where an element was removed."""
    if set.__basicsize__ != _BASIC[set]:
        return 0
    probe = {1}
    probe.discard(1)
    found = {_word(_word(id(probe) + _SET_TABLE_AT) + 16 * index) for index in range(8)} - {0}
    return found.pop() if len(found) == 1 else 0


_EMPTY: dict[Any, Any] = {}
_NO_KEYS = _word(id(_EMPTY) + _DICT_KEYS_AT) if dict.__basicsize__ == _BASIC[dict] else 0
_NO_ELEMENT = _left_by_element()
WORKS = _works()
INSTANCES = WORKS and _instances_work()
