"""What is nested too deeply for pickle: a linked list, a graph whose nodes hold their neighbours.

Pickle goes down into an object before it comes to the next one, some 300 deep. Where that is not enough a group is
pickled again with the attributes of plain objects put off: each is written without any, and theirs follow in a list
that grows while it is written. The one trap: until all is loaded these objects are bare, so none is put off of which
something could be asked before, such as a hash of its class's own.
"""

from __future__ import annotations

import collections
import copyreg
import types
from typing import TYPE_CHECKING, Any

from dure.state.objects import instances, rebuild
from dure.state.objects.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.state.objects.pickling import GroupPickler, Reducer

_BARE = (copyreg.__newobj__, instances.begun, rebuild.bare)  # type: ignore[attr-defined]


class Attributes:
    """The attributes that are put off in one pickle, in the order in which their objects were met."""

    def __init__(self) -> None:
        self._met: collections.deque[tuple[Any, Any, Any]] = collections.deque()
        self._takes: dict[type, bool] = {}

    def without(self, pickler: GroupPickler, value: Any, made: Any) -> Any:
        """Return the reduction `made` of an object (NotImplemented: pickle's own) without its attributes, which are put
        off; unchanged for an object that cannot do without them.
        """
        kind = type(value)
        if kind not in self._takes:
            hashes = kind.__hash__ not in (object.__hash__, None)  # type: ignore[comparison-overlap]
            other = hashes or kind in pickler.dispatch_table or kind in REDUCERS
            self._takes[kind] = not other and instances.pickled_as_pickle(kind)
        if isinstance(kind.__hash__, types.FunctionType) and not _hash_is_of_leaves(value):
            raise RefusedError(value, "it is nested too deeply to be saved")
        if not self._takes[kind] or (made is not NotImplemented and made[0] not in _BARE):
            return made
        make, arguments, state, *more = value.__reduce_ex__(5) if made is NotImplemented else made
        items, pairs, setter = (*more, None, None, None)[:3]
        if items is not None or pairs is not None:
            return made
        self._met.append((value, state, setter))
        return make, arguments

    def following(self, objects: tuple[Any, ...]) -> Iterator[Any]:
        """Yield the objects and, while pickle writes them, what was put off; None where it asks too early.

        Pickle asks for the second of 1,000 items before it writes the first: only what follows a None was written.
        """
        yield objects
        while True:
            if not self._met:
                yield None
            if not self._met:
                return
            yield self._met.popleft()


def _hash_is_of_leaves(value: Any) -> bool:
    """Tell whether an object's hash can be asked for before what it holds has its attributes."""
    try:
        now = hash(value)
    except Exception:  # it is in no set
        return True
    try:
        state = object.__getstate__(value)
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        probe = object.__new__(type(value))
        for name, item in {**(attributes or {}), **(slots or {})}.items():
            if instances.is_leaf(item):
                object.__setattr__(probe, name, item)
        return hash(probe) == now
    except Exception:
        return False


class Whole:
    """Stands for the objects of a group in its pickle."""

    def __init__(self, objects: tuple[Any, ...]) -> None:
        self.objects = objects


class _Rest:
    def __init__(self, whole: Whole) -> None:
        self.whole = whole


def reduce_whole(_: GroupPickler, whole: Whole) -> Any:
    """Return the objects as what is loaded of them and of their attributes."""
    return complete, (_Rest(whole),)


def reduce_rest(pickler: GroupPickler, rest: _Rest) -> Any:
    """Return the list of the objects and of what was put off, which grows while it is written."""
    assert pickler.put_off is not None
    return list, (), None, pickler.put_off.following(rest.whole.objects)


REDUCERS: dict[type, Reducer] = {Whole: reduce_whole, _Rest: reduce_rest}


def complete(loaded: list[Any]) -> tuple[Any, ...]:
    """Return the objects of a group once all have their attributes."""
    objects: tuple[Any, ...] = loaded[0]
    for put_off in filter(None, loaded[1:]):
        value, state, setter = put_off
        if setter is not None:
            setter(value, state)
        elif state is not None:
            rebuild.set_as_pickle(value, state)
    return objects
