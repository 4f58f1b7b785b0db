"""Large lists and dictionaries of plain objects, cut into parts; a part whose memory was not written is not looked at.

A part is unchanged when no page was written that tells what its containers hold: then they refer to the same objects
as before, which live as long, and what is no container cannot change. That is true of exact built-in types only, and
only if nothing but us ran from the pickling of a part, which counts references and so writes its pages, to the moment
from which writes are told (docs/decisions/0021). The one trap: an id says nothing once its object is gone, so what is
remembered here is believed only after the kernel said that its pages were not written.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import pickle
import sys
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state import classes, layout, marks, plain, written
from dure.state.alone import alone
from dure.state.manifest import Buffer
from dure.state.plain import NotPlainError
from dure.state.refusals import step_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PART_WEIGHT = 65_536  # objects; some ten milliseconds of pickling
LARGE_WEIGHT = PART_WEIGHT
_PARTS = 512  # of one container, at most, or the manifest would be large
_FEW = 256  # elements; of so few large ones each is cut by itself
_NESTED = 3  # how deep those are looked for
_ROOTS = 1024  # containers of which something is remembered
_SORTED = 8  # parts; the objects of more are sorted together with those of all others
_AGAIN = 16  # captures after which it is tried again to cut what could not be cut


@dataclass(slots=True)
class Part:
    """Some elements of a container, and what is remembered of them; `stream` is their pickle until it is written."""

    size_bytes: int  # of their pickle
    modules: frozenset[str]
    classes: dict[str, weakref.ref[type]]  # of the notebook, by token
    ids: Any  # of what in it can be shared and change, and of its long texts, sorted
    pages: Any  # numbers of the pages that tell what it holds, sorted; None where that cannot be known
    stream: bytes | None
    steps: tuple[Any, ...] = ()  # indices and keys that lead from the value to the container
    table: layout.Table | None = None  # None of an array's elements
    low: int = 0  # first slot, and the one after the last
    high: int = 0
    saved: Buffer | None = None  # when it is in a store
    before: Buffer | None = None  # what was saved of its place
    searched: bool = False  # whether secrets were looked for in it, and none found

    @property
    def where(self) -> str:
        """The way from the value to these elements, as a person writes it."""
        path = "".join(map(step_of, self.steps))
        return f"{path}[{self.low}:]" if self.low and self.table is not None and self.table.of_list else path

    def value(self) -> list[Any] | dict[Any, Any]:
        """Return the elements of a part that has a stream, as a list or dictionary of their own."""
        columns = loaded(_Unpickler(io.BytesIO(self.stream or b"")))
        return columns[0] if len(columns) == 1 else dict(zip(*columns, strict=True))

    def wrote(self, digest: str) -> None:
        """Note that it is in the store."""
        same = self.before is not None and self.before.digest == digest
        self.saved = self.before if same else Buffer(self.size_bytes, (digest,), None, digest)


@dataclass(slots=True)
class Split:
    """A value as it is pickled: `skeleton` has a stand-in for each container that is cut into some of the parts.

    A part of which something is shared with what is not in it stays in the skeleton: it is in `within`.
    """

    value: Any
    skeleton: Any = None
    parts: list[Part] = field(default_factory=list)
    containers: dict[int, Any] = field(default_factory=dict)  # what is in the skeleton instead of each, by id
    within: set[int] = field(default_factory=set)
    moved: bool = False  # whether code that ran meanwhile changed what a part within has to be read from

    def segments(self, low: int, high: int, number_of: Callable[[Part], int]) -> list[Any]:
        """Return what some of the parts, all of one container, are in the skeleton: the number of a part, or the
        elements.
        """
        table = self.parts[low].table
        read = _reader(self._container(self.parts[low]), table) if self.within and table is not None else None
        found: list[Any] = []
        for index, part in enumerate(self.parts[low:high], low):
            if index not in self.within:
                found.append(number_of(part))
            elif read is not None and not self.moved:
                try:
                    found.append(read(part.low, part.high))
                except NotPlainError:
                    self.moved = True
        return found

    def let_go(self) -> None:
        """Keep nothing of the person's alive: the value is pickled."""
        self.value = self.skeleton = None
        self.containers = {}

    def _container(self, part: Part) -> Any:
        found = self.value
        for step in part.steps:
            try:
                found = found[step] if type(found) in (list, dict) else None
            except LookupError:
                found = None
        return found


def _reader(container: Any, table: layout.Table) -> Callable[[int, int], tuple[list[Any], ...]]:
    """Return what reads the elements of some of a container's slots: of a list its items, of a dictionary its keys and
    its values. NotPlainError where it is not as it was when its table was found.
    """
    items = list(container.items()) if type(container) is dict and not table.address else []

    def read(low: int, high: int) -> tuple[list[Any], ...]:
        if (type(container) is list) is not table.of_list or type(container) not in (list, dict):
            raise NotPlainError
        # asked again each time: reading where a table was that is gone would end the process
        if (layout.table_of(container) if table.address else _table_unread(container)) != table:
            raise NotPlainError
        if type(container) is list:
            return (container[low:high],)
        if table.address:
            return table.elements(low, high)
        return [key for key, _ in items[low:high]], [value for _, value in items[low:high]]

    return read


def _table_unread(container: Any) -> layout.Table:
    """Return a table without looking where it is, for when somebody else's code may change it at any moment."""
    return layout.Table((), 0, 8 if type(container) is list else 0, len(container), len(container))


@dataclass(slots=True)
class _Root:
    """A container that is cut, and what is remembered of it from one capture to the next."""

    kind: type
    step: int  # slots in a part
    cuts: list[int] = field(default_factory=list)  # the first slot of each part
    form: tuple[int, ...] = ()  # of its table, for which the parts hold
    parts: dict[tuple[int, int], Part] = field(default_factory=dict)  # by first slot and the one after the last
    saved: dict[tuple[int, int], Buffer] = field(default_factory=dict)  # what was written of each last


class StandIn:
    """Stands in what is pickled for a list or dictionary, of which `segments` says how it is put together when told how
    to number a part.
    """

    __slots__ = ("_kind", "_segments")

    def __init__(self, kind: type, segments: Callable[[Callable[[Part], int]], list[Any]]) -> None:
        self._kind = kind
        self._segments = segments

    def reduced(self, number_of: Callable[[Part], int]) -> tuple[Any, ...]:
        """Return its reduction."""
        return marks.joined, (self._kind.__name__, self._segments(number_of))


_roots: dict[int, _Root] = {}  # by id of the container
_uncut: dict[int, int] = {}  # ids of large values that could not be cut, and in how many captures since
_lock = threading.RLock()  # of these two: several threads may capture and restore


def register(container: Any, lengths: list[int]) -> None:
    """Note how many elements the parts had from which a container was restored, so that it is cut there again."""
    if lengths:
        cuts = list(itertools.accumulate([0, *lengths[:-1]]))
        with _lock:
            _note(id(container), _Root(type(container), max(lengths[0], 1), cuts))


def loaded(unpickler: pickle.Unpickler) -> tuple[list[Any], ...]:
    """Return the elements in a part: of a list its items, of a dictionary its keys and its values."""
    found = unpickler.load()
    if type(found) is not tuple or {type(each) for each in found} != {list} or len(set(map(len, found))) != 1:
        raise ValueError("a part of the saved group does not hold what its manifest says")
    return found


class _Unpickler(pickle.Unpickler):
    """Loads what was pickled in this process, with the classes that live here."""

    def find_class(self, module: str, name: str) -> Any:
        if module == marks.__name__:
            return classes.known
        return super().find_class(module, name)


class Cutter:
    """Cuts the large values of one capture. `saved` returns which of some digests are in its store.

    Without `watched` nothing is remembered, and nothing that is remembered is believed; with `searched` only that is in
    which no secret was found.
    """

    def __init__(
        self,
        watched: written.Watched = None,
        saved: Callable[[list[str]], set[str]] | None = None,
        *,
        searched: bool = False,
    ) -> None:
        self._watch = None if watched is None else watched[0]
        self.saved = saved or _none_saved
        self._searched = searched
        self._alone = False
        self.token_of: Callable[[type], str] = classes.token_of
        self._seen: set[int] = set()  # values that were looked at
        self._splits: dict[int, Split] = {}  # of those that are cut: few among perhaps many thousand
        self._cut_here: set[int] = set()  # containers
        self._fresh: list[Part] = []
        self._sharing: list[tuple[int, int]] = []

    def cut(self, values: Iterable[Any]) -> None:
        """Cut those of the values that are large; called before a capture runs any code of the person's."""
        new = [value for value in values if type(value) in (list, dict) and id(value) not in self._seen]
        large = [value for value in new if self._is_large(value)]
        self._seen.update(map(id, new))
        if not large or not layout.WORKS or not _numpy_loads():
            return
        quiet = alone()
        self._alone = quiet is not None
        watch = self._watch if quiet is not None else None
        with _lock:
            # an interrupt may come at any place: what is remembered is taken away first, and comes back when it is sure
            _keep(watch.pages_written if watch is not None else None)
            for value in large:
                split = self._split(value)
                if split is not None:
                    self._splits[id(value)] = split
            self._find_sharing()
            _keep(watch.watch_pages if watch is not None and quiet is not None and quiet.still() else None)

    def split(self, value: Any) -> Split | None:
        """Return how a value is cut; None where it is pickled as it is."""
        return self._splits.get(id(value))

    def met(self, ids: set[int], key: int) -> list[int]:
        """Return the ids of the values that are cut and hold one of some objects, which the value of id `key` reached.

        What is in one part with such an object goes back into its skeleton, which has to be pickled after this.
        """
        if not self._splits or not ids:
            return []
        numpy = sys.modules["numpy"]
        asked = numpy.fromiter(ids, "u8", len(ids))
        asked.sort()
        found = []
        for own, split in list(self._splits.items()):
            holding = {index for index, part in enumerate(split.parts) if len(_common(asked, part.ids))}
            if own == key:
                holding -= split.within
            split.within.update(holding)  # of which the stand-ins know
            if not ids.isdisjoint(split.containers):
                self.uncut(own)
                found.append(own)
            elif holding:
                self._judge(own, split)
                found.append(own)
        return found

    @property
    def sharing(self) -> list[tuple[int, int]]:
        """The values of which parts share something, by their ids, two by two."""
        return self._sharing

    def uncut(self, key: int) -> None:
        """Do not cut the value of this id after all: what it holds is shared with another one."""
        split = self._splits.pop(key, None)
        if split is not None:
            with _lock:
                _give_up(key, split.containers)

    def moved(self) -> bool:
        """Tell whether a value was changed while it was pickled, so that all has to be again; it is not cut then."""
        found = [key for key, split in self._splits.items() if split.moved]
        for key in found:
            self.uncut(key)
        return bool(found)

    def let_go(self) -> None:
        """Keep no value alive: the capture is taken."""
        self.token_of = classes.token_of  # it knows the values, too
        for split in self._splits.values():
            split.let_go()

    def _is_large(self, value: Any) -> bool:
        key = id(value)
        with _lock:
            if key in _uncut:
                _uncut[key] += 1
                if _uncut[key] < _AGAIN:
                    return False
                del _uncut[key]
        try:
            return key in _roots or plain.weight(value) >= LARGE_WEIGHT
        except (LookupError, RuntimeError):  # another thread changes it
            return False

    def _split(self, value: Any) -> Split | None:
        for known in (id(value) in _roots, False):
            split = Split(value)
            try:
                split.skeleton = self._skeleton(value, split, (), ())
            except (NotPlainError, LookupError, RuntimeError):  # nested too deep, or another thread changes it
                _give_up(id(value), split.containers)
                self._cut_here.difference_update(split.containers)
                if known:  # it may be another value by now
                    continue
                return None
            if split.containers:
                _uncut.pop(id(value), None)
                return split
            _give_up(id(value), {})
        return None

    def _skeleton(self, value: Any, split: Split, path: tuple[int, ...], steps: tuple[Any, ...]) -> Any:
        """Return the value with something in the place of what is large in it; `steps` lead to it, by ids `path`."""
        key = id(value)
        if type(value) not in (list, dict):
            return value
        if key in path:
            raise NotPlainError
        if key in split.containers:
            return split.containers[key]
        weight = plain.weight(value) if key not in _roots else 0.0
        if key not in _roots and weight < LARGE_WEIGHT:
            return value
        if key in _roots or len(value) > _FEW or weight / len(value) < PART_WEIGHT:
            split.containers[key] = self._cut(value, weight, split, steps)
            return split.containers[key]
        inner = (*path, key)
        if len(inner) > _NESTED or (type(value) is dict and not all(map(plain.is_atom, value))):
            raise NotPlainError
        if type(value) is list:
            made: Any = [self._skeleton(each, split, inner, (*steps, at)) for at, each in enumerate(value)]
        else:
            made = {name: self._skeleton(each, split, inner, (*steps, name)) for name, each in value.items()}
        split.containers[key] = made
        return made

    def _cut(self, value: Any, weight: float, split: Split, steps: tuple[Any, ...]) -> StandIn:
        table = layout.table_of(value) if self._alone else _table_unread(value)
        if table is None or not table.slots or id(value) in self._cut_here:
            raise NotPlainError
        self._cut_here.add(id(value))
        root = _roots.get(id(value))
        if root is None or root.kind is not type(value) or table.slots > 2 * _PARTS * root.step:
            root = _Root(type(value), _step(value, table.slots, weight or plain.weight(value)))
            values = [] if self._alone else list(value) if table.of_list else list(value.values())
            if plain.multiplies(table.pointers() if self._alone else layout.ids(values), root.step):
                raise NotPlainError
        _note(id(value), root)
        if root.form != table.form:
            root.form = table.form
            root.parts.clear()
        root.cuts = [cut for cut in root.cuts if cut < table.slots] or [0]
        while table.slots - root.cuts[-1] > 2 * root.step:
            root.cuts.append(root.cuts[-1] + root.step)
        known, root.parts = self._saved_of(root), {}
        first = len(split.parts)
        read = _reader(value, table)
        before, root.saved = root.saved, {}
        for low, high in itertools.pairwise([*root.cuts, table.slots]):
            place = low, high
            part = known.get(place)
            if part is None:
                part = self._made(table, low, high, read(low, high))
                part.before = before.get(place)
            part.steps, part.table = steps, table
            root.parts[place] = part
            split.parts.append(part)
        return StandIn(type(value), functools.partial(split.segments, first, len(split.parts)))

    def _made(self, table: layout.Table, low: int, high: int, elements: tuple[list[Any], ...]) -> Part:
        made = plain.dumps(elements, self.token_of, located=self._alone)
        part = made_of(made, made.pages_with(*table.extent(low, high)))
        part.low, part.high = low, high
        self._fresh.append(part)
        return part

    def _saved_of(self, root: _Root) -> dict[tuple[int, int], Part]:
        """Return the parts that this store has."""
        digests = [chunk for part in root.parts.values() for chunk in _chunks(part)]
        there = self.saved(digests) if digests else set()
        return {
            place: part
            for place, part in root.parts.items()
            if part.saved is not None and there.issuperset(part.saved.chunks) and (part.searched or not self._searched)
        }

    def _find_sharing(self) -> None:
        """Find the parts that share something which can change, also with one that is remembered of another capture."""
        for key in self._held_in_parts():
            self.uncut(key)
        here = {
            id(part): (key, split, index, part)
            for key, split in self._splits.items()
            for index, part in enumerate(split.parts)
        }
        kept = {id(part): (root, place) for root in _roots.values() for place, part in root.parts.items()}
        every = [part for *_, part in here.values()]
        every += [root.parts[place] for key, (root, place) in kept.items() if key not in here]
        held = [part for part in every if len(part.ids)]
        fresh = set(map(id, self._fresh))
        if not any(id(part) in fresh for part in held):
            return
        pairs = _sharing(held, fresh)
        for one in {id(held[one]) for pair in pairs for one in pair}:
            if one in kept:
                root, place = kept[one]
                root.parts.pop(place, None)
        for pair in pairs:
            places = [here[id(held[one])] for one in pair if id(held[one]) in here]
            if len(places) == len(pair):  # else the other is not in this capture
                for _, split, index, _ in places:
                    split.within.add(index)
                self._sharing.append((places[0][0], places[1][0]))
        for key, judged in list(self._splits.items()):
            self._judge(key, judged)

    def _held_in_parts(self) -> set[int]:
        """Return the ids of the values of which a container is an element, somewhere inside, of a part of any value."""
        owners = {id_: key for key, split in self._splits.items() for id_ in split.containers}
        numpy = sys.modules["numpy"]
        asked = numpy.sort(numpy.fromiter(owners, "u8", len(owners)))
        parts = [part for split in self._splits.values() for part in split.parts]
        return {owners[int(asked[at])] for part in parts for at in _common(asked, part.ids)}

    def _judge(self, key: int, split: Split) -> None:
        if len(split.within) > len(split.parts) // 2:
            self.uncut(key)


def made_of(made: plain.Made, pages: Any) -> Part:
    """Return what is remembered of a pickle, with the pages that tell what it holds."""
    named = {token: weakref.ref(cls) for token, cls in made.classes.items()}
    return Part(len(made.stream), made.modules, named, made.ids, pages, made.stream)


def _none_saved(_: list[str]) -> set[str]:
    return set()


def _chunks(part: Part) -> tuple[str, ...]:
    return part.saved.chunks if part.saved is not None else ()


def _step(value: Any, slots: int, weight: float) -> int:
    """Return how many slots a part has: a power of two, so that it is the same for values that are nearly alike."""
    most = PART_WEIGHT / max(weight / max(len(value), 1), 1)
    step = 1 << max(int(most), 1).bit_length() - 1
    while slots > step * _PARTS:
        step *= 2
    return step


def _note(key: int, root: _Root) -> None:
    _roots.pop(key, None)
    while len(_roots) >= _ROOTS:
        del _roots[next(iter(_roots))]
    _roots[key] = root


def _give_up(key: int, containers: Iterable[int]) -> None:
    for each in (key, *containers):
        _roots.pop(each, None)
    while len(_uncut) >= _ROOTS:
        del _uncut[next(iter(_uncut))]
    _uncut[key] = 0


def _keep(refused: Callable[[Any], Any] | None) -> None:
    """Forget the parts that have a page of which `refused` says so, when given the sorted numbers of all; without it,
    forget all.
    """
    numpy = sys.modules["numpy"]
    roots, places, parts = [], [], []
    for root in _roots.values():
        for place, part in root.parts.items():
            if part.saved is not None:
                root.saved[place] = part.saved
            if part.pages is not None and refused is not None:
                roots.append(root)
                places.append(place)
                parts.append(part)
        root.parts = {}
    if refused is None:
        return
    if not parts:
        refused(numpy.empty(0, "u8"))  # what was taken until now concerns none
        return
    every = layout.distinct(numpy.concatenate([part.pages for part in parts]))
    index = numpy.concatenate([numpy.searchsorted(every, part.pages) for part in parts])
    begins = numpy.cumsum([0, *(len(part.pages) for part in parts[:-1])])
    # small objects lie where others of their size do, also on the parts' pages: few are made or freed from here on
    bad = numpy.logical_or.reduceat(refused(every)[index], begins).tolist()
    for root, place, part, is_bad in zip(roots, places, parts, bad, strict=True):
        if not is_bad:
            root.parts[place] = part


def _common(asked: Any, own: Any) -> Any:
    """Return the places in `asked` of what is in `own`, too; both are sorted, and mostly far from each other."""
    if not len(own):
        return own
    begin, end = asked.searchsorted(own[0]), asked.searchsorted(own[-1], "right")
    if begin == end:
        return own[:0]
    some = asked[begin:end]
    return begin + (own[own.searchsorted(some)] == some).nonzero()[0]


def _sharing(parts: list[Part], fresh: set[int]) -> list[tuple[int, int]]:
    """Return which parts share an object, one of them fresh, as pairs of indices that connect all that share one."""
    numpy = sys.modules["numpy"]
    new = [index for index, part in enumerate(parts) if id(part) in fresh]
    if len(new) > _SORTED:
        new = list(range(len(parts)))
    ids = numpy.concatenate([parts[index].ids for index in new])
    owners = numpy.repeat(new, [len(parts[index].ids) for index in new])
    order = numpy.argsort(ids, kind="stable")
    ids, owners = ids[order], owners[order]
    same = (ids[1:] == ids[:-1]).nonzero()[0]
    pairs = set(zip(owners[same].tolist(), owners[same + 1].tolist(), strict=True))
    for index in set(range(len(parts))).difference(new):
        pairs |= {(index, owner) for owner in owners[_common(ids, parts[index].ids)].tolist()}
    return sorted(pairs)


def _numpy_loads() -> bool:
    try:
        import numpy as np  # noqa: F401 - whoever has so many objects can wait for it once
    except ImportError:
        return False
    return True


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.RLock()
    for root in _roots.values():
        root.parts.clear()


os.register_at_fork(after_in_child=_after_fork)
