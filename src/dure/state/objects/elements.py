"""Arrays of Python objects that repeat a few objects, such as a column of labels: the objects once, and one byte for
each element that says which.

Which object is where is read from the array's memory of pointers, and not at all where the kernel vouches that none was
written since the last time. The one trap: pointers mean something only as long as the array holds the objects, so what
is remembered is never an object, and each is compared with its pointer before it is used.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import sys
import weakref
from dataclasses import dataclass
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from dure.state.memory.layout import words_at
from dure.state.store.sealing import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.state.memory.written import Look, Watched

MANY = 4096  # a smaller array is pickled by its elements, which costs as little
FEW = 256  # objects, so that a byte tells them apart
_SAMPLE = 512
_SCATTER = 2654435761  # so that what comes in turns is met whatever its period
_COMPARED = 12  # more objects than that are found by bisection
_MARK = "unwritten"
_PLAIN = {str, bytes, int, float, complex, bool, type(None), dt.date, dt.datetime, decimal.Decimal}


@dataclass(frozen=True, slots=True)
class Coded:
    """Which of the objects each element is; `firsts` is where each object comes first, in that order."""

    codes: Any
    pointers: Any
    firsts: list[int]


_known: dict[int, tuple[weakref.ref[Any], Coded]] = {}


def reduce_elements(array: Any, watching: Callable[[], Watched]) -> Any:
    """Return the reduction of an object array by its few objects; NotImplemented where they are many, or the array is
    small or not in one piece. `watching` gives the watch over this process's memory.
    """
    if array.dtype != object or array.size < MANY or not array.flags.forc:
        return NotImplemented
    order = "C" if array.flags.c_contiguous else "F"
    coded = _remembered(array, watching())
    if coded is None:
        return NotImplemented
    flat = array.reshape(-1, order=order)
    objects = [flat[first] for first in coded.firsts]
    if list(map(id, objects)) != coded.pointers.tolist():  # a thread is writing to it
        return NotImplemented
    if not all(type(each) in _PLAIN or type(each).__module__.startswith("pandas._libs") for each in objects):
        return NotImplemented
    shape = array.shape
    if math.prod(shape) != len(coded.codes):  # a thread gives it another size
        return NotImplemented
    state = (PickleBuffer(coded.codes), objects, bool(array.flags.writeable))
    return empty_elements, (shape, order), state, None, None, fill_elements


def _remembered(array: Any, watched: Watched) -> Coded | None:
    """Return the array's codes, remembered from the last time where no pointer is another one."""
    address = array.__array_interface__["data"][0]
    memory = words_at(address, array.size)
    look = watched[0].look(address, array.nbytes, watched[1], _MARK) if watched is not None else None
    held, known = _known.get(id(array), (None, None))
    if known is None or held is None or held() is not array or not _still(known, memory, look):
        _known.pop(id(array), None)
        known = _coded(memory)
        if known is None:
            return None
        key = id(array)
        _known[key] = (weakref.ref(array, lambda _: _known.pop(key, None)), known)
    if watched is not None and look is not None:
        watched[0].learn(look, [_MARK] * len(look.digests))
    return known


def _still(known: Coded, memory: Any, look: Look | None) -> bool:
    """Tell whether the codes are those of the memory; chunks without a written page are not read."""
    step = CHUNK_BYTES // memory.itemsize
    for index in range(-(-len(memory) // step)):
        part = slice(index * step, (index + 1) * step)
        unwritten = look is not None and look.digests[index] == _MARK
        if not unwritten and not (known.pointers[known.codes[part]] == memory[part]).all():
            return False
    return True


def _coded(pointers: Any) -> Coded | None:
    numpy = sys.modules["numpy"]
    found = numpy.unique(pointers[numpy.arange(_SAMPLE, dtype="u8") * _SCATTER % len(pointers)])
    while True:
        if len(found) > FEW or found[0] == 0:
            return None
        codes = _codes(numpy, pointers, found)
        others = pointers[found[codes] != pointers]
        if not len(others):
            break
        if len(others) > len(pointers) // 8:
            return None
        found = numpy.unique(numpy.concatenate([found, others]))
    firsts = [int((codes == code).argmax()) for code in range(len(found))]
    # in the order of their first places, which is the same in every process
    by_place = numpy.argsort(firsts)
    ranks = numpy.empty(len(found), "u1")
    ranks[by_place] = numpy.arange(len(found), dtype="u1")
    return Coded(ranks[codes], found[by_place], [firsts[index] for index in by_place])


def _codes(numpy: Any, pointers: Any, found: Any) -> Any:
    if len(found) > _COMPARED:
        return numpy.minimum(numpy.searchsorted(found, pointers), len(found) - 1).astype("u1")
    codes = numpy.zeros(len(pointers), "u1")
    for code, pointer in enumerate(found[1:], 1):
        codes += (pointers == pointer).view("u1") * numpy.uint8(code)
    return codes


def empty_elements(shape: tuple[int, ...], order: Any) -> Any:
    """Return an object array, to be filled."""
    import numpy as np

    return np.empty(shape, object, order)


def fill_elements(array: Any, state: tuple[Any, list[Any], bool]) -> None:
    """Give an object array its elements."""
    import numpy as np

    codes, objects, writeable = state
    few = np.empty(len(objects), object)
    few[:] = objects  # none of them is a sequence to numpy
    flat = array.reshape(-1, order="C" if array.flags.c_contiguous else "F")
    few.take(np.frombuffer(codes, "u1"), out=flat, mode="clip")
    if not writeable:
        array.flags.writeable = False
