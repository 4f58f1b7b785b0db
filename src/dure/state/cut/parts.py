"""Large containers of plain objects, cut into parts; a part whose memory was not written is not looked at.

A part is unchanged when no page was written that tells what its containers hold: then they refer to the same objects as
before, which live as long, and what is no container cannot change. That is true of built-in types and simple classes
only, and only if nothing but us ran from the pickling of a part, which counts references and so writes its pages, to
the moment from which writes are told (docs/decisions/0021). The one trap: an id says nothing once its object is gone,
so what is remembered here is believed only after the kernel said that its pages were not written.
"""

from __future__ import annotations

import itertools
import sys
import types
from typing import TYPE_CHECKING, Any

from dure.state.cut import large, plain, remembered, sharing, trees, weights
from dure.state.cut.alone import alone
from dure.state.cut.pieces import Branches, Cut, Part, StandIn, made_of, reader, table_unread
from dure.state.cut.plain import NotPlainError
from dure.state.memory import layout, written
from dure.state.objects import classes
from dure.state.store.blobs import digest_of
from dure.state.store.sealing import chunks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dure.state.manifest import SavedRun

_TOP = 8192  # objects above the branches of a tree, at most
_TOP_EACH = 16  # and for each branch as many more
_DEAR_BYTES = 2 * 1024 * 1024  # of a pickle; where so much changes each time, noting where it is would be as dear
_ROUNDS = 3  # in which a tree is looked at again
# what leaves a value whole: but for the first it is raised where another thread changes it, so most tests let it pass
UNCUT: tuple[type[Exception], ...] = (NotPlainError, RecursionError, RuntimeError, LookupError, AttributeError)
_PARTS = 1024  # of one container, at most, or the manifest would be large


class Cutter:
    """Cuts the large containers and trees of one capture. `saved` returns which of some digests are in its store.

    Without `watched` no part is taken over from an earlier capture, and none is remembered for the next. With
    `searched` only those are taken over in which secrets were looked for, and none found.
    """

    def __init__(
        self,
        watched: written.Watched = None,
        saved: Callable[[list[str]], set[str]] | None = None,
        *,
        searched: bool = False,
    ) -> None:
        self._watch = None if watched is None else watched[0]
        self.saved = saved or (lambda _: set())
        self._searched = searched
        self._alone = False
        self.token_of: Callable[[type], str] = classes.token_of
        self.stand_ins: dict[int, StandIn] = {}  # by id of the container, of exact built-in types
        self.contents: dict[int, StandIn] = {}  # the same of those of other types, for what these hold
        self._seen: set[int] = set()  # values that were looked at
        self._cuts: dict[int, Cut | Branches] = {}  # by their ids
        self._given_up: dict[int, Cut | Branches] = {}  # since some pickles were made that have them
        self._bounds: dict[int, tuple[Cut | Branches, Any]] = {}  # of their parts: number, first and last id
        self._fresh: set[int] = set()  # ids of parts
        self._stops: tuple[tuple[int, ...], frozenset[int]] = (), frozenset()
        self.sharing: list[tuple[int, int]] = []  # ids of cuts that share something

    def cut(self, values: Iterable[Any]) -> None:
        """Cut what is large in some values; called before a capture runs any code of the person's."""
        found: dict[int, tuple[Any, dict[int, str]]] = {}
        new: list[Any] = []
        self._given_up.clear()  # all is pickled again
        self._bounds.clear()
        with remembered.lock:
            for value in values:
                if id(value) not in self._seen:
                    self._seen.add(id(value))
                    for container, way in _large_in(value):
                        found.setdefault(id(container), (container, {}))[1][id(value)] = way
                    new += [value] if _may_be_tree(value) else []
            planned = [] if found else self._planned(new)
        if not (found or planned) or not layout.WORKS or not _numpy_loads():
            return
        quiet = alone()
        self._alone = quiet is not None
        watch = self._watch if quiet is not None else None
        with remembered.lock:
            # an interrupt may come at any place: what is remembered is taken away first, and comes back when it is sure
            remembered.keep_unwritten(watch.pages_written if watch is not None else None, compared=True)
            for container, ways in found.values():
                self._cut_one(container, ways)
            if found:
                self._find_sharing()
                planned = self._planned(new)
            for value, linked in planned:
                self._cut_tree(value, linked=linked)
            if planned:
                self._find_sharing()
            remembered.keep_unwritten(
                watch.watch_pages if watch is not None and quiet is not None and quiet.still() else None
            )

    def cuts_of(self, stand_ins: Iterable[StandIn]) -> list[Cut | Branches]:
        """Return what some stand-ins stand for, each once."""
        found = {id(one.cut): one.cut for one in stand_ins}
        return [cut for key, cut in found.items() if cut is not None and key in self._cuts]

    def leave_in(self, ids: Callable[[], set[int]], still: Callable[[set[int]], set[int]]) -> None:
        """Have each part that holds one of some objects pickled with its container.

        Called before anything is pickled, so that no group is joined with the container's for that. `ids` returns the
        ids of these objects, as far as they are known; `still` which of some ids are of objects that live.
        """
        if not self._cuts:
            return
        asked = _sorted(ids())
        found = [(cut, index) for cut in self._cuts.values() for index in self._holding(cut, asked)]
        held = {key for cut, at in found for key in asked[sharing.common(asked, cut.parts[at].ids)].tolist()}
        asked = _sorted(still(held) if held else held)
        for key, cut in list(self._cuts.items()):
            cut.left_in = self._holding(cut, asked)
            cut.within |= cut.left_in
            self._uncut_if_within(key, cut)

    def met(self, ids: set[int], own: Iterable[StandIn]) -> tuple[list[int], bool]:
        """Have each part that holds one of the objects which a pickle reached pickled with its container, too, so that
        one object stays one.

        `ids` are those of the objects, `own` the stand-ins in this pickle. Return the ids of the cuts with such parts,
        whose groups are to be joined with this one, and whether this pickle has to be made again, being one of them.
        """
        if not (self._cuts or self._given_up) or not ids:
            return [], False
        asked = _sorted(ids)
        mine = {id(one.cut) for one in own}
        found, again = [key for key, cut in self._given_up.items() if self._holding(cut, asked)], False
        for key, cut in list(self._cuts.items()):
            holding = self._holding(cut, asked) - cut.left_in
            again = again or (key in mine and not holding <= cut.within)
            if key in mine:
                holding -= cut.within
            cut.within.update(holding)
            if holding:
                self._uncut_if_within(key, cut)
                if key not in self._cuts:
                    self._given_up[key] = cut
                found.append(key)
        return found, again

    def _holding(self, cut: Cut | Branches, asked: Any) -> set[int]:
        """Return the indices of the parts that hold an object with one of some sorted ids."""
        if id(cut) not in self._bounds:
            numpy = sys.modules["numpy"]
            held = [(index, part.ids[0], part.ids[-1]) for index, part in enumerate(cut.parts) if len(part.ids)]
            self._bounds[id(cut)] = cut, numpy.array(held, "u8").reshape(-1, 3).T
        _, (indexes, lows, highs) = self._bounds[id(cut)]
        # most parts have not even one between their first and last
        near = asked.searchsorted(lows) < asked.searchsorted(highs, "right")
        return {index for index in indexes[near].tolist() if len(sharing.common(asked, cut.parts[index].ids))}

    def uncut(self, key: int) -> None:
        """Leave uncut, also in the next captures, what is cut under this id."""
        cut = self._cuts.pop(key, None)
        for value in cut.values if cut is not None else ():
            self.stand_ins.pop(id(value), None)
            self.contents.pop(id(value), None)
            with remembered.lock:
                if isinstance(cut, Cut):
                    remembered.give_up(id(value))
                else:
                    remembered.give_up(id(value), remembered.whole)

    def uncut_unsafe(self, borrowed: list[tuple[int, int]]) -> bool:
        """Uncut the containers that were changed meanwhile, or that have an array whose memory somebody else has
        `borrowed` (where that begins and ends); return whether there were any, so that all has to be pickled again.
        """
        found = [key for key, cut in self._cuts.items() if cut.moved or _has_memory(cut, borrowed)]
        for key in found:
            self.uncut(key)
        return bool(found)

    def let_go(self) -> None:
        """Keep no value alive, now that all is pickled."""
        self.token_of = classes.token_of  # it knows the values, too
        for cut in (*self._cuts.values(), *self._given_up.values()):
            cut.let_go()
        self._bounds.clear()

    def _cut_one(self, container: Any, ways: dict[int, str]) -> None:
        """Cut a container where that can be; `ways` lead to it from values, by their ids."""
        kind = large.kind_of(type(container))
        for _ in range(2):  # what is remembered may be of another one that was here
            was_known = id(container) in remembered.roots
            try:
                cut = None if kind is None else self._cut(container, kind, ways)
            except UNCUT:
                cut = None
            if cut is not None:
                self._cuts[id(cut)] = cut
                is_whole = kind is type(container) and not plain.is_array(kind)
                (self.stand_ins if is_whole else self.contents)[id(container)] = cut.stand_in
                remembered.uncut.pop(id(container), None)
                return
            remembered.give_up(id(container))
            if not was_known:
                remembered.give_up(id(container), remembered.whole)
                return

    def _cut(self, container: Any, kind: type, ways: dict[int, str]) -> Cut | None:
        """Return a container with its parts, some of them of the last capture; None where it is not to be cut."""
        table = layout.table_of(container, kind) if self._alone else table_unread(container, kind)
        if table is None or not table.slots:
            return None
        root = remembered.roots.get(id(container))
        if root is None or root.kind is not type(container) or table.slots > 2 * _PARTS * root.step:
            weight = weights.weight(container, kind=kind)
            root = remembered.Root(type(container), _step(table, max(weight, weights.LARGE_WEIGHT)))
            if weights.multiplies(self._pointers(container, table), root.step):
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
        read = reader(container, table)
        before, root.saved = root.saved, {}
        written, root.written = root.written, {}
        for low, high in itertools.pairwise([*root.cuts, table.slots]):
            place = low, high
            part = known.get(place)
            if part is None:
                part = self._made(table, low, high, read(low, high), written.get(place))
                part.before = before.get(place)
            part.table = table
            root.parts[place] = part
            made.parts.append(part)
        return made

    def _pointers(self, container: Any, table: layout.Table) -> Any:
        if table.address:
            return table.pointers()
        kind: Any = table.kind
        if plain.is_array(kind):
            return layout.ids(plain.in_memory(container).tolist())
        return layout.ids(list(dict.values(container) if kind is dict else kind.__iter__(container)))

    def _made(self, table: layout.Table, low: int, high: int, elements: tuple[list[Any], ...], written: Any) -> Part:
        made = plain.dumps(elements, self.token_of, located=self._alone)
        part = made_of(made, *(made.pages_with((table, low, high), written) if self._alone else (None, None)))
        part.low, part.high = low, high
        part.searched = plain.is_array(table.kind)  # its elements are data
        self._fresh.add(id(part))
        return part

    def _saved_of(self, root: remembered.Root) -> dict[tuple[int, int], Part]:
        """Return the parts that this store has."""
        digests = [chunk for part in root.parts.values() if part.saved is not None for chunk in part.saved.chunks]
        there = self.saved(digests) if digests else set()
        return {
            place: part
            for place, part in root.parts.items()
            if part.saved is not None and there.issuperset(part.saved.chunks) and (part.searched or not self._searched)
        }

    def _planned(self, values: list[Any]) -> list[tuple[Any, bool]]:
        """Choose what to cut off values that are or hold trees, besides what was cut off before; return those of which
        there is something, and whether that may hold what is above.
        """
        planned = []
        for value in values:
            try:
                walk = self._walked(value)
            except UNCUT:
                continue
            found, left = walk.branches(weights.PART_WEIGHT)
            for one in left:
                remembered.give_up(id(one), remembered.whole)
            for some in found:
                remembered.branch_off(map(id, some))
            if found or not remembered.branches.keys().isdisjoint(walk.stopped):
                planned.append((value, walk.meet))
            elif len(walk.nodes) > _TOP:  # it is not looked at each time
                remembered.give_up(id(value), remembered.whole)
        return planned

    def _cut_tree(self, value: Any, *, linked: bool) -> None:
        """Cut branches off a value, those of the last capture where they are."""
        try:
            walk = self._walked(value)
        except UNCUT:
            return
        if len(walk.nodes) > _TOP + _TOP_EACH * len(walk.stopped):
            for key in walk.stopped:
                remembered.leave_on(key)
            remembered.give_up(id(value), remembered.whole)
            return
        top = walk.top()
        roots = {id(root): root for root in map(remembered.branches.get, walk.stopped) if root is not None}
        for key in walk.stopped:
            remembered.left_alone(key, remembered.whole)
        made = [self._branches(root, walk, top, linked=linked) for root in roots.values()]
        for each in self._put_together([each for each in made if each is not None], walk, top):
            each.ways[id(value)] = ""
            each.walks.append(walk)

    def _put_together(self, made: list[Branches], walk: trees.Walk, top: dict[int, Any]) -> list[Branches]:
        """Put those that share something into one part."""
        held = [each for each in made if len(each.parts[0].ids)]
        fresh = [index for index, each in enumerate(held) if id(each.parts[0]) in self._fresh]
        pairs = sharing.pairs([each.parts[0].ids for each in held], fresh) if fresh else []
        above = list(range(len(held)))  # union-find
        for one, other in pairs:
            above = [above[one] if each == above[other] else each for each in above]
        found = {id(each): each for each in made}
        for first in {above[one] for pair in pairs for one in pair}:
            parted = [each for at, each in enumerate(held) if above[at] == first]
            ids = [id(value) for each in parted for value in each.values]
            for each in parted:
                del self._cuts[id(each)], found[id(each)]
            for key in ids:
                self.stand_ins.pop(key, None)
            joined = self._branches(remembered.branch_off(ids), walk, top, linked=True)
            if joined is not None:
                found[id(joined)] = joined
        return list(found.values())

    def _walked(self, value: Any) -> trees.Walk:
        """Return what of a value is in no part; what was cut off together, and is not all there, is not cut off."""
        for _ in range(_ROUNDS):
            walk = trees.Walk(value, self._where_to_stop())
            parted = [
                key
                for key in walk.stopped.keys() & remembered.branches.keys()
                if key not in self.stand_ins and not _all_there(remembered.branches[key], walk)
            ]
            if not parted:
                return walk
            for key in parted:
                remembered.leave_on(key)
        raise NotPlainError

    def _where_to_stop(self) -> frozenset[int]:
        """Return the ids of what a walk does not look into; made anew when there are more or fewer of some."""
        every: tuple[dict[int, Any], ...] = (remembered.branches, self.stand_ins, self.contents, remembered.whole)
        counts = tuple(map(len, every))
        if counts != self._stops[0]:
            self._stops = counts, frozenset().union(*every)
        return self._stops[1]

    def _branches(
        self, root: remembered.Root, walk: trees.Walk, top: dict[int, Any], *, linked: bool
    ) -> Branches | None:
        """Return what was cut off together with its part; None where it is not plain, and is left where it is."""
        if root.form[0] in self.stand_ins:
            there = self.stand_ins[root.form[0]].cut
            return there if isinstance(there, Branches) else None
        values = [walk.stopped[key][0] for key in root.form]
        place = 0, len(values)
        known, root.parts = self._saved_of(root), {}
        before, root.saved = root.saved, {}
        written, root.written = root.written, {}
        part = known.get(place)
        above = _sorted(top)
        if part is None or len(sharing.common(above, part.ids)) or any(key not in top for _, key in part.outside):
            part = self._part_of(values, top, before.get(place), written.get(place), linked=linked)
        if part is None:
            if place in before:
                remembered.leave_on(root.form[0])
            else:
                remembered.give_up(root.form[0], remembered.whole)
            return None
        part.before = part.before or before.get(place)
        root.parts[place] = part
        made = Branches(values, [part], {token: top[key] for token, key in part.outside})
        self._cuts[id(made)] = made
        self.stand_ins.update({id(each): made.stand_in(at) for at, each in enumerate(values)})
        return made

    def _part_of(
        self, values: list[Any], top: dict[int, Any], before: SavedRun | None, written: Any, *, linked: bool
    ) -> Part | None:
        """Return the part of some branches, in which tokens stand for what is above; None where it is not plain."""
        tokens = {key: f"{plain.OUTSIDE}{number}" for number, key in enumerate(top)}
        made = None
        for outside in ({}, tokens) if not linked else (tokens,):
            try:
                most = plain.MOST_TREE_BYTES
                made = plain.dumps((values,), self.token_of, located=self._alone, outside=outside, most_bytes=most)
            except UNCUT:
                made = None
                continue
            if not len(sharing.common(_sorted(top), made.ids)):
                break
        if made is None:
            return None
        ids = {token: key for key, token in tokens.items() if token in made.outside}
        if any(isinstance(type(top[key]).__hash__, types.FunctionType) for key in ids.values()):
            return None  # it has its hash when it is whole, which is later
        is_dear = len(made.stream) >= _DEAR_BYTES
        noted = not is_dear or (before and tuple(map(digest_of, chunks_of(made.stream))) == before.chunks)
        part = made_of(made, *(made.pages_with(None, written) if self._alone and noted else (None, None)))
        part.outside = tuple(sorted(ids.items()))
        self._fresh.add(id(part))
        return part

    def _find_sharing(self) -> None:
        """Find the parts that share something which can change, also with one that is remembered of another capture."""
        for key in self._held_in_parts():
            self.uncut(key)
        here = {id(part): (key, index) for key, cut in self._cuts.items() for index, part in enumerate(cut.parts)}
        kept = {id(part): (root, place, part) for root in remembered.every() for place, part in root.parts.items()}
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
            self._uncut_if_within(key, judged)

    def _held_in_parts(self) -> set[int]:
        """Return which containers are elements, somewhere inside, of a part of any of them."""
        owners = {id(value): key for key, cut in self._cuts.items() for value in cut.values}
        asked = _sorted(owners)
        parts = [(cut, part) for cut in self._cuts.values() for part in cut.parts]
        found = {(id(cut), owners[int(asked[at])]) for cut, part in parts for at in sharing.common(asked, part.ids)}
        # what is cut off a tree is in its own part
        return {key for holder, key in found if holder != key or isinstance(self._cuts[key], Cut)}

    def _uncut_if_within(self, key: int, cut: Cut | Branches) -> None:
        """Leave uncut what has most of its parts pickled with it anyway."""
        if len(cut.within) > len(cut.parts) // 2:
            self.uncut(key)


def _may_be_tree(value: Any) -> bool:
    kind = type(value)
    if kind in plain.ATOMS or issubclass(kind, trees.NEVER):
        return False
    return not remembered.left_alone(id(value), remembered.whole)


def _all_there(root: remembered.Root, walk: trees.Walk) -> bool:
    """Tell whether what was cut off together is still below what was looked at."""
    return all(key in walk.stopped and trees.changes(type(walk.stopped[key][0])) for key in root.form)


def _sorted(ids: Iterable[int]) -> Any:
    numpy = sys.modules["numpy"]
    return numpy.sort(numpy.fromiter(ids, "u8"))


def _large_in(value: Any) -> list[tuple[Any, str]]:
    try:
        found = large.large_in(value, remembered.roots, weights.LARGE_WEIGHT, weights.PART_WEIGHT, remembered.branches)
    except UNCUT:
        return []
    return [(container, way) for container, way in found if not remembered.left_alone(id(container))]


def _has_memory(cut: Cut | Branches, borrowed: list[tuple[int, int]]) -> bool:
    parts = [part.arrays for part in cut.parts if part.arrays is not None] if borrowed else []
    return any(sharing.overlap(starts, ends, borrowed) for starts, ends in parts)


def _step(table: layout.Table, weight: float) -> int:
    """Return how many slots a part has: a power of two, so that it is the same for values that are nearly alike."""
    most = weights.PART_WEIGHT / max(weight / max(table.count, 1), 1)
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
