"""Large containers of plain objects, cut into parts; a part whose memory was not written is not looked at.

A part is unchanged when no page was written that tells what its containers hold: then they refer to the same objects
as before, which live as long, and what is no container cannot change. That is true of built-in types and simple classes
only, and only if nothing but us ran from the pickling of a part, which counts references and so writes its pages, to
the moment from which writes are told (docs/decisions/0021). The one trap: an id says nothing once its object is gone,
so what is remembered here is believed only after the kernel said that its pages were not written.
"""

from __future__ import annotations

import io
import itertools
import pickle
import sys
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state.cut import large, plain, remembered, sharing
from dure.state.cut.alone import alone
from dure.state.cut.plain import NotPlainError
from dure.state.manifest import Buffer
from dure.state.memory import layout, written
from dure.state.objects import classes, marks, nans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dure.state.cut.same import Same

PART_WEIGHT = 32_768  # objects; some milliseconds of pickling
LARGE_WEIGHT = 65_536
_PARTS = 1024  # of one container, at most, or the manifest would be large


@dataclass(slots=True)
class Part:
    """Some elements of a container, and what is remembered of them; `stream` is their pickle until it is written."""

    size_bytes: int  # of their pickle
    modules: frozenset[str]
    classes: dict[str, weakref.ref[type]]  # of the notebook, by token
    ids: Any  # of what in it can be shared and change, and of its long texts, sorted
    pages: Any  # numbers of the pages that tell what it holds, sorted; None where that cannot be known
    stream: bytes | None
    arrays: Any = None  # where the memory of arrays in it begins and ends, sorted
    same: Same | None = None  # what is on the pages, as far as it can be compared
    table: layout.Table | None = None  # None of an array's elements
    low: int = 0  # first slot, and the one after the last
    high: int = 0
    saved: Buffer | None = None  # when it is in a store
    before: Buffer | None = None  # what was saved of its place
    searched: bool = False  # whether secrets were looked for in it, and none found

    @property
    def where(self) -> str:
        """The way from the container to these elements, as a person writes it."""
        return f"[{self.low}:]" if self.low and self.table is not None and self.table.in_order else ""

    def value(self) -> list[Any] | dict[Any, Any]:
        """Return the elements of a part that has a stream, as a list or dictionary of their own."""
        columns = loaded(_Unpickler(io.BytesIO(self.stream or b"")))
        return columns[0] if len(columns) == 1 else dict(zip(*columns, strict=True))

    def wrote(self, digest: str) -> None:
        """Note that it is in the store."""
        same = self.before is not None and self.before.digest == digest
        self.saved = self.before if same else Buffer(self.size_bytes, (digest,), None, digest)


class StandIn:
    """Stands in what is pickled for a container of a built-in kind, of which `segments` says how it is put together
    when told how to number a part.
    """

    __slots__ = ("_kind", "_segments")

    def __init__(self, kind: type, segments: Callable[[Callable[[Part], int]], list[Any]]) -> None:
        self._kind = kind
        self._segments = segments

    def reduced(self, number_of: Callable[[Part], int]) -> tuple[Any, ...]:
        """Return its reduction."""
        return marks.joined, (self._kind.__name__, self._segments(number_of))


@dataclass(slots=True, eq=False)
class Cut:
    """A container that is cut into parts. A part of which something is shared with what is not in it is pickled with
    that: it is in `within`.
    """

    value: Any
    kind: type
    table: layout.Table
    ways: dict[int, str] = field(default_factory=dict)  # to it from values, by their ids
    parts: list[Part] = field(default_factory=list)
    within: set[int] = field(default_factory=set)
    moved: bool = False  # whether code that ran meanwhile changed what a part within has to be read from
    stand_in: StandIn = field(init=False)

    def __post_init__(self) -> None:
        self.stand_in = StandIn(self.kind, self._segments)

    def _segments(self, number_of: Callable[[Part], int]) -> list[Any]:
        """Return what its parts are in a pickle: the number of a part, or the elements."""
        read = _reader(self.value, self.table) if self.within else None
        found: list[Any] = []
        for index, part in enumerate(self.parts):
            if index not in self.within:
                found.append(number_of(part))
            elif read is not None and not self.moved:
                try:
                    found.append(read(part.low, part.high))
                except NotPlainError:
                    self.moved = True
        return found


def _reader(container: Any, table: layout.Table) -> Callable[[int, int], tuple[list[Any], ...]]:
    """Return what reads the elements of some of a container's slots, of a dictionary its keys and its values.
    NotPlainError where it is not as it was when its table was found.
    """
    kind: Any = table.kind
    items: list[Any] = []
    if not table.address:
        items = list(dict.items(container) if kind is dict else kind.__iter__(container))

    def read(low: int, high: int) -> tuple[list[Any], ...]:
        # asked again each time: reading where a table was that is gone would end the process
        if (layout.table_of(container, kind) if table.address else _table_unread(container, kind)) != table:
            raise NotPlainError
        if table.in_order:
            return (list(kind.__getitem__(container, slice(low, high))),)
        if table.address:
            return table.elements(low, high)
        if kind is dict:
            return [key for key, _ in items[low:high]], [value for _, value in items[low:high]]
        return (items[low:high],)

    return read


def _table_unread(container: Any, kind: Any) -> layout.Table:
    """Return a table without looking where it is, for when somebody else's code may change it at any moment."""
    count = kind.__len__(container)
    return layout.Table(kind, (), 0, 0, count, count)


def loaded(unpickler: pickle.Unpickler) -> tuple[list[Any], ...]:
    """Return the elements in a part: of a list its items, of a dictionary its keys and its values."""
    found = unpickler.load()
    if type(found) is not tuple or {type(each) for each in found} != {list} or len(set(map(len, found))) != 1:
        raise ValueError("a part of the saved group does not hold what its manifest says")
    return found


class _Unpickler(pickle.Unpickler):
    """Loads what was pickled in this process, with the classes that live here."""

    def persistent_load(self, pid: str) -> Any:
        return nans.of_token(pid)

    def find_class(self, module: str, name: str) -> Any:
        if module == marks.__name__:
            return classes.known
        return super().find_class(module, name)


class Cutter:
    """Cuts the large containers of one capture. `saved` returns which of some digests are in its store.

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
        self.stand_ins: dict[int, StandIn] = {}  # by id of the container, of exact built-in types
        self.contents: dict[int, StandIn] = {}  # the same of those of other types, for what these hold
        self._seen: set[int] = set()  # values that were looked at
        self._cuts: dict[int, Cut] = {}  # by id of what stands in
        self._fresh: set[int] = set()  # ids of parts
        self.sharing: list[tuple[int, int]] = []  # ids of what stands in for containers that share something

    def cut(self, values: Iterable[Any]) -> None:
        """Cut what is large in some values; called before a capture runs any code of the person's."""
        found: dict[int, tuple[Any, dict[int, str]]] = {}
        with remembered.lock:
            for value in values:
                if id(value) not in self._seen:
                    self._seen.add(id(value))
                    for container, way in _large_in(value):
                        found.setdefault(id(container), (container, {}))[1][id(value)] = way
        if not found or not layout.WORKS or not _numpy_loads():
            return
        quiet = alone()
        self._alone = quiet is not None
        watch = self._watch if quiet is not None else None
        with remembered.lock:
            # an interrupt may come at any place: what is remembered is taken away first, and comes back when it is sure
            remembered.keep(watch.pages_written if watch is not None else None, compared=True)
            for container, ways in found.values():
                self._cut_one(container, ways)
            self._find_sharing()
            remembered.keep(watch.watch_pages if watch is not None and quiet is not None and quiet.still() else None)

    def cuts_of(self, stand_ins: Iterable[StandIn]) -> list[Cut]:
        """Return what they stand for."""
        return [cut for cut in (self._cuts.get(id(one)) for one in stand_ins) if cut is not None]

    def met(self, ids: set[int], own: Iterable[StandIn]) -> tuple[list[int], bool]:
        """Return the ids of what stands in for the containers that hold one of some objects which a pickle reached, and
        whether it has to be made again: what is in one part with such an object goes into the pickles that have its
        container. Those that the pickle itself has are `own`.
        """
        if not self._cuts or not ids:
            return [], False
        numpy = sys.modules["numpy"]
        asked = numpy.fromiter(ids, "u8", len(ids))
        asked.sort()
        mine = set(map(id, own))
        found, again = [], False
        for key, cut in list(self._cuts.items()):
            holding = {index for index, part in enumerate(cut.parts) if len(sharing.common(asked, part.ids))}
            again = again or (key in mine and not holding <= cut.within)
            if key in mine:
                holding -= cut.within
            cut.within.update(holding)
            if holding:
                self._judge(key, cut)
                found.append(key)
        return found, again

    def uncut(self, key: int) -> None:
        """Do not cut the container for which what has this id stands in: what it holds is shared."""
        cut = self._cuts.pop(key, None)
        if cut is not None:
            container = id(cut.value)
            self.stand_ins.pop(container, None)
            self.contents.pop(container, None)
            with remembered.lock:
                remembered.give_up(container)

    def undone(self, borrowed: list[tuple[int, int]]) -> bool:
        """Tell whether all has to be pickled again: a container was changed meanwhile, or something else is on the
        memory of an array in it, given by where that begins and ends. It is not cut then.
        """
        found = [key for key, cut in self._cuts.items() if cut.moved or _has_memory(cut, borrowed)]
        for key in found:
            self.uncut(key)
        return bool(found)

    def let_go(self) -> None:
        """Keep no value alive: the capture is taken."""
        self.token_of = classes.token_of  # it knows the values, too
        for cut in self._cuts.values():
            cut.value = None

    def _cut_one(self, container: Any, ways: dict[int, str]) -> None:
        kind = large.kind_of(type(container))
        for _ in range(2):  # what is remembered may be of another one that was here
            was_known = id(container) in remembered.roots
            try:
                cut = None if kind is None else self._cut(container, kind, ways)
            except (NotPlainError, LookupError, RuntimeError):  # nested too deep, or another thread changes it
                cut = None
            if cut is not None:
                self._cuts[id(cut.stand_in)] = cut
                (self.stand_ins if kind is type(container) else self.contents)[id(container)] = cut.stand_in
                remembered.uncut.pop(id(container), None)
                return
            remembered.give_up(id(container))
            if not was_known:
                return

    def _cut(self, container: Any, kind: type, ways: dict[int, str]) -> Cut | None:
        table = layout.table_of(container, kind) if self._alone else _table_unread(container, kind)
        if table is None or not table.slots:
            return None
        root = remembered.roots.get(id(container))
        if root is None or root.kind is not type(container) or table.slots > 2 * _PARTS * root.step:
            weight = plain.weight(container, kind=kind)
            root = remembered.Root(type(container), _step(table, max(weight, LARGE_WEIGHT)))
            if plain.multiplies(self._pointers(container, table), root.step):
                return None
        remembered.note(id(container), root)
        if root.form != table.form:
            root.form = table.form
            root.parts.clear()
        root.cuts = [cut for cut in root.cuts if cut < table.slots] or [0]
        while table.slots - root.cuts[-1] > 2 * root.step:
            root.cuts.append(root.cuts[-1] + root.step)
        known, root.parts = self._saved_of(root), {}
        made = Cut(container, kind, table, ways)
        read = _reader(container, table)
        before, root.saved = root.saved, {}
        for low, high in itertools.pairwise([*root.cuts, table.slots]):
            place = low, high
            part = known.get(place)
            if part is None:
                part = self._made(table, low, high, read(low, high), again=place in before)
                part.before = before.get(place)
            part.table = table
            root.parts[place] = part
            made.parts.append(part)
        return made

    def _pointers(self, container: Any, table: layout.Table) -> Any:
        if table.address:
            return table.pointers()
        kind: Any = table.kind
        return layout.ids(list(dict.values(container) if kind is dict else kind.__iter__(container)))

    def _made(self, table: layout.Table, low: int, high: int, elements: tuple[list[Any], ...], *, again: bool) -> Part:
        made = plain.dumps(elements, self.token_of, located=self._alone)
        part = made_of(made, *(made.pages_with(table, low, high, again=again) if self._alone else (None, None)))
        part.low, part.high = low, high
        self._fresh.add(id(part))
        return part

    def _saved_of(self, root: remembered.Root) -> dict[tuple[int, int], Part]:
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
        here = {id(part): (key, index) for key, cut in self._cuts.items() for index, part in enumerate(cut.parts)}
        kept = {
            id(part): (root, place, part) for root in remembered.roots.values() for place, part in root.parts.items()
        }
        every = [part for cut in self._cuts.values() for part in cut.parts]
        every += [part for key, (*_, part) in kept.items() if key not in here]
        held = [part for part in every if len(part.ids)]
        fresh = [index for index, part in enumerate(held) if id(part) in self._fresh]
        if not fresh:
            return
        found = sharing.pairs([part.ids for part in held], fresh)
        for one in {id(held[one]) for pair in found for one in pair}:
            if one in kept:
                root, place, _ = kept[one]
                root.parts.pop(place, None)
        for pair in found:
            places = [here[id(held[one])] for one in pair if id(held[one]) in here]
            if len(places) == len(pair):  # else the other is not in this capture
                for key, index in places:
                    self._cuts[key].within.add(index)
                self.sharing.append((places[0][0], places[1][0]))
        for key, judged in list(self._cuts.items()):
            self._judge(key, judged)

    def _held_in_parts(self) -> set[int]:
        """Return which containers are elements, somewhere inside, of a part of any of them."""
        owners = {id(cut.value): key for key, cut in self._cuts.items()}
        numpy = sys.modules["numpy"]
        asked = numpy.sort(numpy.fromiter(owners, "u8", len(owners)))
        parts = [part for cut in self._cuts.values() for part in cut.parts]
        return {owners[int(asked[at])] for part in parts for at in sharing.common(asked, part.ids)}

    def _judge(self, key: int, cut: Cut) -> None:
        if len(cut.within) > len(cut.parts) // 2:
            self.uncut(key)


def _large_in(value: Any) -> list[tuple[Any, str]]:
    try:
        found = large.large_in(value, remembered.roots, LARGE_WEIGHT, PART_WEIGHT)
    except (LookupError, RuntimeError):  # another thread changes it
        return []
    return [(container, way) for container, way in found if not remembered.left_alone(id(container))]


def made_of(made: plain.Made, pages: Any, same: Same | None = None) -> Part:
    """Return what is remembered of a pickle, with the pages that tell what it holds, and what is there."""
    named = {token: weakref.ref(cls) for token, cls in made.classes.items()}
    return Part(len(made.stream), made.modules, named, made.ids, pages, made.stream, made.arrays, same)


def _has_memory(cut: Cut, borrowed: list[tuple[int, int]]) -> bool:
    parts = [part.arrays for part in cut.parts if part.arrays is not None] if borrowed else []
    return any(sharing.overlap(starts, ends, borrowed) for starts, ends in parts)


def _none_saved(_: list[str]) -> set[str]:
    return set()


def _chunks(part: Part) -> tuple[str, ...]:
    return part.saved.chunks if part.saved is not None else ()


def _step(table: layout.Table, weight: float) -> int:
    """Return how many slots a part has: a power of two, so that it is the same for values that are nearly alike."""
    most = PART_WEIGHT / max(weight / max(table.count, 1), 1)
    step = 1 << max(int(most), 1).bit_length() - 1
    while table.slots > step * _PARTS:
        step *= 2
    return step


def _numpy_loads() -> bool:
    try:
        import numpy as np  # noqa: F401 - whoever has so many objects can wait for it once
    except ImportError:
        return False
    return True
