"""Of how many objects a value is, about: what decides whether it is cut into parts, and where.

Judged by a few elements, so the same in every process. The one trap: this runs before anything is pickled, so no code
of the person's may run: elements are read by the methods of the built-in types.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

from dure.state.cut import simple
from dure.state.cut.plain import ATOMS, is_array
from dure.state.memory import layout

PART_WEIGHT = 32_768  # objects, of a part; some milliseconds of pickling
LARGE_WEIGHT = 65_536  # of what is cut
_TEXT = 64  # bytes of text that weigh as much as an object
_ARRAY = 16  # and of an array: it is not compressed so well
_SAMPLE = 4
_DEPTH = 4
_LOOKED_AT = 8  # parts
_SAMPLED = 64  # elements of an array
_DICTS = (defaultdict, Counter, OrderedDict)


def weight(value: Any, depth: int = _DEPTH, kind: type | None = None) -> float:
    """Return of about how many objects a value is, judged by a few of its elements; long texts and arrays count for
    several. `kind` is the built-in container that it is taken for.
    """
    of: Any = kind or type(value)
    if of in (str, bytes, bytearray):
        return float(1 + len(value) / _TEXT)
    if of in ATOMS:
        return 1
    if of in _DICTS:
        of = dict
    if of not in (list, tuple, dict, set, frozenset, deque):
        return _weight_of_other(value, depth)
    count = int(of.__len__(value))
    some: list[Any]
    if not count:
        return 1
    if not depth:
        return 1.0 + count
    if of in (list, tuple):
        some = [(of.__getitem__(value, index * (count - 1) // (_SAMPLE - 1)),) for index in range(_SAMPLE)]
    elif of is dict:
        some = list(itertools.islice(of.items(value), _SAMPLE))
    else:
        some = [(each,) for each in itertools.islice(of.__iter__(value), _SAMPLE)]
    return float(1 + count * sum(weight(each, depth - 1) for each in itertools.chain(*some)) / len(some))


def _weight_of_other(value: Any, depth: int) -> float:
    cls = type(value)
    if is_array(cls) and value.dtype != object:
        return float(4 + value.nbytes / _ARRAY)
    if not depth:
        return 1
    if is_array(cls):
        some = sampled(value)
        return float(4 + value.size * sum(weight(each, depth - 1) for each in some) / max(len(some), 1))
    if simple.is_simple(cls):
        return 1 + weight(value.__dict__, depth - 1)
    if simple.is_record(cls):
        return weight(value, depth - 1, tuple)
    slots = simple.slots_of(cls)
    return 1 if slots is None else 1 + sum(weight(each, depth - 1) for each in simple.state_of(value, slots)[1])


def sampled(array: Any) -> list[Any]:
    """Return a few elements of an array of objects, from all over it."""
    count = min(_SAMPLED, array.size)
    return [array.item(index * (array.size - 1) // max(count - 1, 1)) for index in range(count)]


def multiplies(pointers: Any, step: int) -> bool:
    """Tell whether far more texts would come back than there are, since each part of `step` elements, given by their
    addresses, brings its own: where a few ten thousand words are in it again and again.
    """
    numpy = sys.modules["numpy"]
    parts = numpy.array_split(pointers, -(-len(pointers) // step))
    some = []
    for part in parts[:: max(1, len(parts) // _LOOKED_AT)]:
        full = part[part != 0]
        kinds = layout.words(full + numpy.uint64(8))
        some.append(layout.distinct(full[(kinds == id(str)) | (kinds == id(bytes))]))
    apart = sum(map(len, some))
    return apart * 16 > step * len(some) and apart > 1.2 * len(layout.distinct(numpy.concatenate(some)))
