"""Large arrays of plain objects, such as a column of texts: their elements in parts, of which one is not looked at
again while no page of the array's own memory was written.

An array holds the objects that its memory points to, and what is plain and holds no other object never changes, so the
pointers tell all; one with elements that hold others is cut as a list is (`parts`). The one trap: where an object is
gone another one may have its address, so pointers are never compared. They need not be: whoever puts another object
into an array, or another array in its place, writes that memory.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state.cut import plain, remembered, weights
from dure.state.cut.pieces import Cut, Part, StandIn, made_of
from dure.state.cut.plain import NotPlainError
from dure.state.memory import layout
from dure.state.memory.layout import words_at
from dure.state.objects import marks
from dure.state.objects.elements import MANY, empty_elements
from dure.state.objects.refusals import RESIZED, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.state.memory.written import Look, Watched

_MARK = "elements"
_LEAST = 256  # elements in a part; what weighs more is no column
_SAMPLE = 64
_REMEMBERED = 1024  # arrays


@dataclass(slots=True)
class _Column:
    """What is remembered of a run of memory: how many elements a part has, and the parts by the first of them."""

    step: int
    refused: bool = False  # it held something that is not plain
    parts: dict[int, Part] = field(default_factory=dict)


_columns: dict[tuple[int, int, str], _Column] = {}  # by address, elements and their order


def reduce_column(array: Any, watched: Watched, saved: Callable[[list[str]], set[str]]) -> Any:
    """Return the reduction of a large object array in one piece by the parts of its elements; NotImplemented where it
    is none, or holds what is not plain or can change. `saved` returns which of some digests are in the store.
    """
    if array.dtype != object or array.size < MANY or not array.flags.forc:
        return NotImplemented
    order, shape = "C" if array.flags.c_contiguous else "F", array.shape
    flat = array.reshape(-1, order=order)
    check = functools.partial(_check, array, flat, shape)
    key = (flat.__array_interface__["data"][0], flat.size, order)
    column = _columns.pop(key, None) or _new(key, flat)
    look = _look(key, column, watched)
    if look is None or _MARK not in look.digests:  # it may be another array's memory by now
        column = _new(key, flat)
        look = _look(key, column, watched)
    while len(_columns) >= _REMEMBERED:
        del _columns[next(iter(_columns))]
    _columns[key] = column
    known = _still(column, look, saved)
    column.parts = {}
    found: list[Part] = []
    if not column.refused:
        try:
            found = _parts(flat, column, known, check)
        except NotPlainError:
            column.refused = True
    if watched is not None and look is not None:
        watched[0].learn(look, [_MARK] * len(look.digests))
    if column.refused:
        return NotImplemented
    check()
    return _reduced(array, StandIn(lambda number: (marks.joined, ("list", [number(part) for part in found]))))


def reduce_cut(array: Any, elements: StandIn) -> Any:
    """Return the reduction of an object array that is cut into parts as a list is, for which something stands in."""
    cut = elements.cut
    if not isinstance(cut, Cut) or not array.flags.forc or array.size != cut.table.slots:
        raise RefusedError(array, RESIZED)
    if cut.table.address and layout.table_of(array, cut.kind) != cut.table:
        raise RefusedError(array, RESIZED)
    return _reduced(array, elements)


def _reduced(array: Any, elements: StandIn) -> Any:
    order = "C" if array.flags.c_contiguous else "F"
    return empty_elements, (array.shape, order), (elements, bool(array.flags.writeable)), None, None, fill_column


def _new(key: tuple[int, int, str], flat: Any) -> _Column:
    """Return how an array is cut of which nothing is remembered; refused where it weighs too little or too much."""
    some = [flat[index * (flat.size - 1) // (_SAMPLE - 1)] for index in range(_SAMPLE)]
    weight = sum(map(weights.weight, some)) / _SAMPLE
    step = 1 << max(int(weights.PART_WEIGHT / weight), 1).bit_length() - 1
    refused = flat.size * weight < weights.LARGE_WEIGHT or step < min(_LEAST, weights.PART_WEIGHT)
    refused = refused or not plain.are_atoms(some) or weights.multiplies(words_at(key[0], flat.size).astype("u8"), step)
    return _Column(step, refused)


def _look(key: tuple[int, int, str], column: _Column, watched: Watched) -> Look | None:
    """Return which parts were not written since the last time: their digests are marks."""
    if watched is None:
        return None
    address, size, _ = key
    return watched[0].look(address, 8 * size, watched[1], _MARK, 8 * column.step)


def _still(column: _Column, look: Look | None, saved: Callable[[list[str]], set[str]]) -> dict[int, Part]:
    """Return the parts that are as they were and in the store."""
    if look is None:
        return {}
    found = {
        low: part
        for low, part in column.parts.items()
        if part.saved is not None and look.digests[low // column.step] == _MARK
    }
    there = saved([chunk for part in found.values() if part.saved for chunk in part.saved.chunks]) if found else set()
    return {low: part for low, part in found.items() if part.saved and there.issuperset(part.saved.chunks)}


def _check(array: Any, flat: Any, shape: tuple[int, ...]) -> None:
    """RefusedError where an array has other memory than `flat`, or another shape: a thread gave it another size."""
    here = array.__array_interface__["data"][0] == flat.__array_interface__["data"][0]
    if not here or array.shape != shape or array.size != flat.size:
        raise RefusedError(array, RESIZED)


def _parts(flat: Any, column: _Column, known: dict[int, Part], check: Callable[[], None]) -> list[Part]:
    found = []
    for low in range(0, flat.size, column.step):
        part = known.get(low)
        if part is None:
            check()
            elements = flat[low : low + column.step].tolist()
            made = plain.dumps((elements,))
            if len(made.ids) or not plain.are_atoms(elements):
                raise NotPlainError
            part = made_of(made, None)
        column.parts[low] = part
        found.append(part)
    return found


empty_column = empty_elements  # as earlier snapshots call it


def fill_column(array: Any, state: tuple[list[Any], bool]) -> None:
    """Give an object array its elements."""
    import numpy as np

    elements, writeable = state
    # an assignment would take lists of one length for rows
    plain.in_memory(array)[:] = np.fromiter(elements, object, len(elements))
    array.flags.writeable = writeable
    remembered.hand_over(elements, array)
