"""What a restore leaves for later: variables of which much has to be read, loaded aside, those asked for first.

`ask` and `wait` are for whoever needs names now, `run` for a thread that loads the rest. The one trap: code must not
see a variable come or go under its hands, so nothing is put into the namespace but by `install`, which the thread that
runs cells calls between two of them; and until then every save keeps what the snapshot has of it (`rest`).
"""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state.objects.loading import Loader, run_all
from dure.state.store.blobs import BlobError
from dure.state.store.threads import for_each

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Collection, Container, Iterable

    from dure.state.manifest import Snapshot

_YIELD_S = 0.05  # what a thread that nobody waits for lets pass before it reads on
_WORD = re.compile(r"[^\W\d]\w*")


@dataclass(slots=True)
class Arrived:
    """What an `install` brought: values that are in the namespace now, and why others are not."""

    values: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)  # of what modules have, too


class Later:
    """Variables still to be loaded. Names go only by `install`."""

    def __init__(self, loader: Loader, waiting: dict[int, dict[str, int]]) -> None:
        self._loader = loader
        self._waiting = waiting  # groups in the order in which they are loaded, each with its names and slots
        self._changed = threading.Condition()
        self._wanted: dict[int, list[int]] = {}  # groups that were asked for, each with the last who did
        self._ended: set[int] = set()  # loaded or failed, and not installed yet
        self._refused: set[int] = set()  # told: the store did not give it, or another lacks; tried again for who asks
        self.then: Callable[[], None] = lambda: None  # called when `run` is done, on its thread
        loader.reader.turn = self._turn

    @property
    def names(self) -> frozenset[str]:
        """The variables that are not in the namespace yet."""
        return frozenset(name for names in self._waiting.values() for name in names)

    @property
    def coming(self) -> frozenset[str]:
        """Those that are being loaded: all but what the store refused."""
        waiting = self._waiting.items()
        return frozenset(name for index, names in waiting if index not in self._refused for name in names)

    def run(self) -> None:
        """Load all, on a thread on which nobody waits."""
        self._load_all(list(self._waiting))
        self.then()

    def ask(self, names: Collection[str]) -> None:
        """Have the variables loaded before all others; what failed until now, or fails that began before, is tried
        again.
        """
        groups = self._groups(names)
        if groups:
            thread = threading.Thread(
                target=self._load_all, args=(groups, groups), name="dure-restore-now", daemon=True
            )
            with self._changed:
                thread.start()
                self._wanted.update(dict.fromkeys(groups, groups))
                self._ended.difference_update(groups)
            self._refused.difference_update(groups)

    def wait(self, names: Collection[str], timeout_s: float) -> bool:
        """Wait for variables that were asked for; whether all of them were loaded or failed."""
        groups = set(self._groups(names))
        with self._changed:
            return self._changed.wait_for(lambda: groups <= self._ended, timeout_s)

    def progress(self, names: Collection[str]) -> tuple[int, int]:
        """Return how many bytes of these variables were read and how many are to be read."""
        groups = self._groups(names)
        return sum(self._loader.reader.read_bytes.get(i, 0) for i in groups), sum(map(self._loader.reader.cost, groups))

    def install(self) -> Arrived:
        """Put what was loaded into the namespace. A name that is bound there by now keeps its value for good.

        Where it is interrupted, or raises what a class of the notebook raised, the next call goes on.
        """
        run_all(self._loader.pending)
        self._drop_bound()
        with self._changed:
            ended, self._ended = self._ended, set()
        try:
            return self._install(ended)
        except BaseException:
            with self._changed:
                self._ended |= ended
            raise

    def _install(self, ended: set[int]) -> Arrived:
        arrived = Arrived()
        refused = set()
        for index in ended:
            names = self._waiting.get(index, {})
            try:
                slots = self._loader.loaded(index)
            except Exception as error:
                if index not in self._refused:  # else it was told, and nobody asked since
                    arrived.failed.update(dict.fromkeys(names, self._loader.why(index, error)))
                # its own code may look up what has not come yet
                if isinstance(error, BlobError) or (isinstance(error, NameError) and error.name in self.names):
                    refused.add(index)
            else:
                arrived.values.update((name, slots[slot]) for name, slot in names.items())
        self._loader.settle(arrived.values)
        arrived.told = {name: told for name, told in self._loader.told.items() if name in arrived.values}
        self._loader.namespace.update(arrived.values)
        done = ended - refused
        for index in done:
            self._waiting.pop(index, None)
        self._refused = (self._refused | refused) - done
        self._loader.let_go(done)
        return arrived

    def _drop_bound(self) -> None:
        for index, names in list(self._waiting.items()):
            self._waiting[index] = {name: slot for name, slot in names.items() if name not in self._loader.namespace}
            if not self._waiting[index]:
                del self._waiting[index]

    def rest(self, bound: Container[str]) -> Snapshot:
        """Return what the snapshot has of the variables that are not in the namespace yet, less those in `bound`."""
        return self._loader.snapshot.only({name for name in self.names if name not in bound})

    def reached(self, names: Iterable[str]) -> set[str]:
        """Return which of the coming variables the functions in the same groups as `names` may look up.

        That is what reading a cell cannot find: a library's object that holds a notebook's function.
        """
        snapshot, coming = self._loader.snapshot, self.names
        defines = {token: index for index, group in enumerate(snapshot.groups) for token in group.classes}
        queue = [snapshot.variables[name].group for name in names if name in snapshot.variables]
        seen: set[int] = set()
        found: set[str] = set()
        while queue:
            index = queue.pop()
            if index in seen:
                continue
            seen.add(index)
            for code in self._loader.codes.get(index, ()):
                found |= words_of(code) & coming
            queue += [defines[token] for token in snapshot.groups[index].needs if token in defines]
        return found

    def _groups(self, names: Collection[str]) -> list[int]:
        asked = frozenset(names)
        return [index for index, own in self._waiting.items() if not asked.isdisjoint(own)]

    def _load_all(self, groups: list[int], asked: list[int] | None = None) -> None:
        threads = min(len(groups), max(1, self._loader.reader.blobs.parallel))
        for_each(lambda index: self._load(index, asked), groups, threads)

    def _load(self, index: int, asked: list[int] | None) -> None:
        if index in self._waiting:  # else it came meanwhile, or is not wanted any more
            with contextlib.suppress(BaseException):  # `install` tells it
                self._loader.load(index)
        with self._changed:
            if self._wanted.get(index) is asked:  # else who asked since is at it, and knows what the store has now
                self._wanted.pop(index, None)
                if index in self._waiting:
                    self._ended.add(index)
                self._changed.notify_all()

    def _turn(self, index: int) -> None:
        if self._wanted and index not in self._wanted:
            with self._changed:
                self._changed.wait(_YIELD_S)


def words_of(code: types.CodeType) -> set[str]:
    """Return every name that code may look up, and every word of its texts, which may name a variable, too."""
    found = {*code.co_names, *code.co_freevars}
    for constant in code.co_consts:
        if isinstance(constant, str):
            found.update(_WORD.findall(constant))
        elif hasattr(constant, "co_names"):
            found |= words_of(constant)
    return found
