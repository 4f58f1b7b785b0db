"""Which variables belong to one group: those whose pickles reached the same mutable object.

The one trap: what a pickle reached is known by id, which means something only while the objects live, so every pickler
is kept as long as its ids are in here.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from dure.state.objects.reach import met

if TYPE_CHECKING:
    from dure.state.cut.parts import Cutter
    from dure.state.objects.pickling import GroupPickler, Shared
    from dure.state.objects.reach import Kinds

_MANY = 1000  # objects; a set of so many is kept as it is


class Unions:
    """Union-find over nodes by the ids of their values, and which node's pickle reached which object."""

    def __init__(self, shared: Shared) -> None:
        self.met_of_process = False  # whether a pickle reached what there is one of in the process
        self.of_modules: set[int] = set()  # ids of what modules have that is inside something else
        self._shared = shared
        self._of_process = frozenset(shared.of_process)
        self._parent: dict[int, int] = {}
        self._holder: dict[int, int] = {}
        self._many: list[tuple[set[int], int]] = []  # the same of nodes that reached many, as they are
        self._only_frozen: dict[int, list[int]] = {}

    @functools.cached_property
    def modules(self) -> dict[int, tuple[str, str]]:
        """Where in modules values are, by id."""
        variables = {key: it.places[0] for key, it in self._shared.placed.items()}
        found = self._shared.modules.places()
        return {**found, **variables} if variables else found

    def reached(self, node: int, pickler: GroupPickler, kinds: Kinds, cutter: Cutter) -> bool:
        """Join `node` with all nodes whose pickles reached one of the mutable objects that its own did; return whether
        it has to be pickled again, since what is in a part of it is elsewhere in it, too.
        """
        # a notebook class in its own group is held by its id through the node itself
        found = met(pickler).shared(kinds)
        self.met_of_process = self.met_of_process or not self._of_process.isdisjoint(found)
        found -= pickler.referenced
        if found:
            self.of_modules |= (self.modules.keys() & found) - {node}
        cut, again = cutter.met(found, pickler.stand_ins)
        for other in (*cut, *(id(one.cut) for one in pickler.stand_ins if one.cut is not None)):
            self.join(node, other)
        frozen = (found & pickler.frozen) - pickler.thawed
        found -= frozen
        for key in frozen:
            self._only_frozen.setdefault(key, []).append(node)
        self._meet(node, frozen)
        others = self._meet(node, found)
        for key in self._only_frozen.keys() & found:
            for other in self._only_frozen[key]:
                self.join(node, other)
        if len(found) > _MANY:
            self._many.append((found, node))
        else:
            self._holder.update(dict.fromkeys(found - others, node))
        return again

    def _meet(self, node: int, found: set[int]) -> set[int]:
        known = self._holder.keys() & found
        for key in known:
            self.join(self._holder[key], node)
        for many, other in self._many:
            if not many.isdisjoint(found):
                self.join(other, node)
        return known

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int) and self.holder(key) is not None

    def holder(self, key: int) -> int | None:
        """Return a node whose pickle has the object with this id; None where none has, or its sharing is no matter."""
        found = self._holder.get(key)
        return next((node for many, node in self._many if key in many), None) if found is None else found

    def join(self, one: int, other: int) -> None:
        """Put two nodes into one group."""
        a, b = self.root(one), self.root(other)
        if a != b:
            self._parent[a] = b

    def root(self, key: int) -> int:
        """Return the node that stands for the group of one."""
        path = []
        while (parent := self._parent.get(key, key)) != key:
            path.append(key)
            key = parent
        for step in path:
            self._parent[step] = key
        return key
