"""What is cut into parts: a container, by its slots, or branches of a tree; and what stands in for it where it is held.

The one trap: what is outside of branches and referred to in them comes before them when they are loaded, so it must not
hold them itself but by objects that are begun already; `Closing` tells when that is known.
"""

from __future__ import annotations

import functools
import io
import pickle
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state.cut import plain
from dure.state.cut.plain import NotPlainError
from dure.state.manifest import SavedRun
from dure.state.memory import layout
from dure.state.objects import classes, marks, nans

if TYPE_CHECKING:
    from dure.state.cut import trees
    from dure.state.cut.same import Same


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
    outside: tuple[tuple[str, int], ...] = ()  # tokens in it, and the ids of what they stand for
    table: layout.Table | None = None  # None of an array's elements, and of what is cut off a tree
    low: int = 0  # first slot, and the one after the last
    high: int = 0
    saved: SavedRun | None = None  # when it is in a store
    before: SavedRun | None = None  # what was saved of its place
    searched: bool = False  # whether secrets were looked for in it, and none found

    @property
    def where(self) -> str:
        """The way from the container to these elements, as a person writes it."""
        return f"[{self.low}:]" if self.low and self.table is not None and self.table.in_order else ""

    def value(self) -> list[Any] | dict[Any, Any]:
        """Return the elements of a part that has a stream, as a list or dictionary of their own."""
        columns = loaded(_Unpickler(io.BytesIO(self.stream or b"")))
        return columns[0] if len(columns) == 1 else dict(zip(*columns, strict=True))

    def wrote(self, digests: tuple[str, ...]) -> None:
        """Note that it is in the store."""
        same = self.before is not None and self.before.chunks == digests
        self.saved = self.before if same else SavedRun.of_part(self.size_bytes, digests)


Numbering = Callable[["Part"], int]


class StandIn:
    """Stands in what is pickled for a container, or for what is cut off a tree. `reduced` returns its reduction when
    told how to number a part.
    """

    __slots__ = ("cut", "reduced")

    def __init__(self, reduced: Callable[[Numbering], tuple[Any, ...]], cut: Cut | Branches | None = None) -> None:
        self.reduced = reduced
        self.cut = cut


@dataclass(slots=True, eq=False)
class Cut:
    """A container that is cut into parts. A part that shares an object with anything outside of it is pickled with the
    container: `within` has the indices of such parts.
    """

    value: Any
    kind: type
    table: layout.Table
    ways: dict[int, str] = field(default_factory=dict)  # to it from values, by their ids
    parts: list[Part] = field(default_factory=list)
    within: set[int] = field(default_factory=set)
    left_in: set[int] = field(default_factory=set)  # of these, what was there before anything was pickled
    moved: bool = False  # whether code that ran meanwhile changed what a part within has to be read from
    stand_in: StandIn = field(init=False)

    def __post_init__(self) -> None:
        self.stand_in = StandIn(self._reduced, self)

    @property
    def values(self) -> list[Any]:
        """What is not in the pickle of what holds it."""
        return [self.value]

    def told(self, part: Part, way: str) -> dict[str, Any]:
        """Return what is in a part that has a stream, by how to write the way there; `way` leads to the container."""
        return {way + part.where: part.value()}

    def let_go(self) -> None:
        """Keep no value alive."""
        self.value = None

    def _reduced(self, number_of: Numbering) -> tuple[Any, ...]:
        name = "list" if plain.is_array(self.kind) else self.kind.__name__
        return marks.joined, (name, self._segments(number_of))

    def _segments(self, number_of: Numbering) -> list[Any]:
        """Return what its parts are in a pickle: the number of a part, or the elements."""
        read = reader(self.value, self.table) if self.within else None
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


@dataclass(slots=True, eq=False)
class Branches:
    """What is cut off a tree at one place, in one part. `outside` has by token what is above and referred to in it."""

    values: list[Any]
    parts: list[Part]
    outside: dict[str, Any]
    ways: dict[int, str] = field(default_factory=dict)  # of values, by their ids: all begin there
    walks: list[trees.Walk] = field(default_factory=list)
    within: set[int] = field(default_factory=set)
    left_in: set[int] = field(default_factory=set)  # of these, what was there before anything was pickled
    moved: bool = False  # whether what is outside cannot come before it
    opened: bool = False  # whether what is outside is being pickled

    def stand_in(self, at: int) -> StandIn:
        """Return what stands in for one of them."""
        return StandIn(functools.partial(self._reduced, at), self)

    def told(self, _: Part, way: str) -> dict[str, Any]:
        """Return what is in its part, by how to write the way there; `way` leads to the value."""
        return {way + self.walks[0].way(id(value)): value for value in self.values}

    def let_go(self) -> None:
        """Keep no value alive."""
        self.values, self.outside, self.walks = [], {}, []

    def _reduced(self, at: int, number_of: Numbering) -> tuple[Any, ...]:
        if self.opened:  # what is outside holds one of them: it would have to be there before itself
            self.moved = True
            return bool, ()
        number = number_of(self.parts[0])
        if not self.outside:
            return marks.branch, (number, at, None)
        self.opened = True
        return marks.branch, (number, at, self.outside, Closing(self))


class Closing:
    """Comes in a pickle after what is outside of some branches."""

    __slots__ = ("_branches",)

    def __init__(self, branches: Branches) -> None:
        self._branches = branches

    def reduced(self) -> tuple[Any, ...]:
        """Note that all that is outside was pickled, and return what to pickle."""
        self._branches.opened = False
        return bool, ()


def reader(container: Any, table: layout.Table) -> Callable[[int, int], tuple[list[Any], ...]]:
    """Return what reads the elements in a range of a container's slots; of a dictionary the keys and the values. It
    raises NotPlainError where the container's table is another one by now.
    """
    kind: Any = table.kind
    items: list[Any] = []
    if not table.address and not plain.is_array(kind):
        items = list(dict.items(container) if kind is dict else kind.__iter__(container))

    def read(low: int, high: int) -> tuple[list[Any], ...]:
        # asked again each time: reading where a table was that is gone would end the process
        if (layout.table_of(container, kind) if table.address else table_unread(container, kind)) != table:
            raise NotPlainError
        if plain.is_array(kind):
            return (plain.in_memory(container)[low:high].tolist(),)
        if table.in_order:
            return (list(kind.__getitem__(container, slice(low, high))),)
        if table.address:
            return table.elements(low, high)
        if kind is dict:
            return [key for key, _ in items[low:high]], [value for _, value in items[low:high]]
        return (items[low:high],)

    return read


def table_unread(container: Any, kind: Any) -> layout.Table:
    """Return a table without looking where it is, for when somebody else's code may change it at any moment."""
    count = container.size if plain.is_array(kind) else kind.__len__(container)
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


def made_of(made: plain.Made, pages: Any, same: Same | None = None) -> Part:
    """Return a part with what is remembered of its pickle: `pages` tell what it holds, `same` notes what is on them."""
    named = {token: weakref.ref(cls) for token, cls in made.classes.items()}
    return Part(len(made.stream), made.modules, named, made.ids, pages, made.stream, made.arrays, same)
