"""Save a namespace, or some of its names: choose the variables, gather them in groups and write those.

What is written, and how: `dure.state.runs`. The one trap: the person's next cell may change what is not written yet,
so `freeze` keeps large memory as it is, and leaves nothing to be read from it later.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Self

from dure.state.cut.parts import Cutter
from dure.state.grouping import Gathered, gather
from dure.state.identity import fingerprint
from dure.state.manifest import EXTRA, Snapshot
from dure.state.memory import mappings, written
from dure.state.memory.forked import ForkedMemory
from dure.state.memory.regions import spoiled
from dure.state.runs import GroupRuns, Writer, runs_of, snapshot_of, stored
from dure.state.secrecy import hidden, history_secrets, read_environment, secret_reason, secrets_inside, typed_secrets
from dure.state.store.blobs import Blobs
from dure.state.store.sealing import CHUNK_BYTES, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

COPIED_BYTES = 32 * 1024 * 1024  # copying this much costs about as much as a fork


def capture(
    namespace: dict[str, Any],
    names: Iterable[str] | None = None,
    base: Snapshot | None = None,
    *,
    blobs: Blobs,
    extras: Mapping[str, Any] | None = None,
) -> Snapshot:
    """Save variables of `namespace` and return their snapshot, whose manifest `Snapshot.store` writes.

    Without `names` all are saved but IPython's own and those with a secret inside. With `names` exactly those are,
    secret or not, and what belongs to them: other names of the same object or array memory, so that aliases come back
    as aliases, and the globals that notebook functions inside them read.

    `base` is an earlier snapshot, whose blobs the store has already. `extras` are saved beside the variables (see
    `dure.state.extras`). What cannot be saved, and what is a secret, is in `Snapshot.unsaved` by name with its path and
    the reason; names that are not bound are in `Snapshot.absent`. BlobError where the store refuses.
    """
    with _frozen(namespace, names, base, blobs, extras or {}, live=True) as frozen:
        return frozen.save()


def freeze(
    namespace: dict[str, Any],
    *,
    base: Snapshot | None = None,
    blobs: Blobs,
    extras: Mapping[str, Any] | None = None,
) -> Frozen:
    """Take the whole state as it is now, and return it ready to be saved by any thread while the next cell runs.

    Arguments are those of `capture`. Call it on the thread that runs cells, between two of them: objects are pickled
    here, and large memory is kept as it is (copied, or by a forked process). Close what it returns.
    """
    return _frozen(namespace, None, base, blobs, extras or {}, live=False)


class Frozen:
    """A namespace as it was when it was frozen. `save` once, then (or instead) `close`; it is its own context."""

    def __init__(self, finish: Callable[[], Snapshot], memory: ForkedMemory | None = None) -> None:
        self._finish: Callable[[], Snapshot] | None = finish
        self._memory = memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def save(self) -> Snapshot:
        """Write what the store lacks and return the snapshot; its manifest is not written. BlobError where the store
        refuses.
        """
        if self._finish is None:
            raise RuntimeError("This state was saved or closed already: freeze the namespace again.")
        finish, self._finish = self._finish, None
        try:
            return finish()
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the memory; a second call does nothing."""
        self._finish = None
        if self._memory is not None:
            self._memory.close()


def _frozen(
    namespace: dict[str, Any],
    names: Iterable[str] | None,
    base: Snapshot | None,
    blobs: Blobs,
    extras: Mapping[str, Any],
    *,
    live: bool,
) -> Frozen:
    """Pickle what is to be saved. Large memory is read from where it is when that is saved (`live`), or kept for it."""
    known = base.references() if base is not None else frozenset()
    cutter = Cutter(written.current(), functools.partial(stored, blobs, known), searched=names is None)
    if names is None:
        groups, unsaved = _everything(namespace, extras, cutter)
        absent: tuple[str, ...] = ()
    else:
        groups, unsaved, absent = _asked(namespace, names, extras, cutter)
    watched = written.current()
    taken = [runs_of(group, watched) for group in groups]
    cutter.let_go()
    for part in (part for item in taken for part in item.fresh):
        part.stream = None  # the run has it
    about = fingerprint()

    def finish() -> Snapshot:
        writer = Writer(blobs, known, watched)
        whole, damaged = _undamaged(taken)
        writer.settle([run for item in whole for run in (*item.runs, item.parts)])
        return snapshot_of(whole, [writer.group(item) for item in whole], unsaved | damaged, absent, about)

    if live or _copied(taken, known):
        return Frozen(finish)
    memory = ForkedMemory.take()
    if memory is None:
        # neither copied nor forked: it is saved now, before anyone can change it
        done = finish()
        return Frozen(lambda: done)
    _read_from(memory, taken, known)
    return Frozen(finish, memory)


def _undamaged(taken: list[GroupRuns]) -> tuple[list[GroupRuns], dict[str, str]]:
    """Return the groups without damaged memory, and why the names of the others cannot be saved."""
    damaged: dict[str, str] = {}
    whole = []
    for item in taken:
        why = next((why for run in item.runs[1:] if (why := spoiled(run.address, run.size_bytes))), "")
        if why:
            damaged.update(dict.fromkeys(item.gathered.names, why))
        else:
            whole.append(item)
    return whole, damaged


def _everything(
    namespace: dict[str, Any], extras: Mapping[str, Any], cutter: Cutter
) -> tuple[list[Gathered], dict[str, str]]:
    """Return the groups of all that is the person's, and what is left out, with the reason."""
    chosen = [name for name in namespace if not hidden(name, namespace[name])]
    read_environment()
    typed = typed_secrets(namespace)
    unsaved = {name: reason for name in chosen if (reason := typed.get(name) or secret_reason(name, namespace[name]))}
    beside = {EXTRA + name: value for name, value in extras.items()}
    if isinstance(extras.get("In"), list):
        secret = history_secrets(extras["In"])
        unsaved |= {f"In[{number}]": reason for number, reason in secret.items()}
        beside[EXTRA + "In"] = [None if number in secret else cell for number, cell in enumerate(extras["In"])]
    while True:
        found: dict[str, str] = {}
        look = functools.partial(_look_for_secrets, found)
        names = [name for name in chosen if name not in unsaved]
        groups, refused = _gathered(namespace, names, beside, unsaved, cutter, look=look)
        if not found:
            return groups, {**unsaved, **refused}
        unsaved |= found
        beside = {name: value for name, value in beside.items() if name not in found}


def _look_for_secrets(found: dict[str, str], group: Gathered, values: dict[str, Any]) -> None:
    found |= secrets_inside({name: values[name] for name in group.names}, group.pickled)


def _asked(
    namespace: dict[str, Any], names: Iterable[str], extras: Mapping[str, Any], cutter: Cutter
) -> tuple[list[Gathered], dict[str, str], tuple[str, ...]]:
    """Return the groups of what was asked for by name, what cannot be saved and why, and which names are not there."""
    asked = list(dict.fromkeys(names))
    absent = tuple(name for name in asked if name not in namespace)
    chosen = [name for name in asked if name in namespace]
    chosen += _aliases(namespace, chosen, set(chosen))
    beside = {EXTRA + name: value for name, value in extras.items()}
    groups, refused = _gathered(namespace, chosen, beside, (), cutter)
    return groups, refused, absent


def _gathered(
    namespace: dict[str, Any],
    chosen: list[str],
    beside: dict[str, Any],
    unsaved: Container[str],
    cutter: Cutter,
    *,
    look: Callable[[Gathered, dict[str, Any]], None] | None = None,
) -> tuple[list[Gathered], dict[str, str]]:
    """Return the groups of the chosen variables and of the globals, but for those `unsaved`, that functions in them
    read; and why others cannot be saved. `look` is called with each group (see `gather`).
    """
    reads: set[str] = set()
    groups, refused = gather(namespace, chosen, cutter, reads=reads, extras=beside, look=look)
    while more := sorted(name for name in reads.difference(chosen) if _can_follow(name, namespace, unsaved)):
        chosen = [*chosen, *more, *_aliases(namespace, more, {*chosen, *more})]
        groups, refused = gather(namespace, chosen, cutter, reads=reads, extras=beside, look=look)
    groups.sort(key=lambda group: min([*group.names, *group.classes]))
    return groups, refused


def _copied(taken: list[GroupRuns], known: frozenset[str]) -> bool:
    """Copy the bytes that have to be written where they are few; return whether it was done."""
    runs = [run for item in taken for run in item.runs[1:]]
    if sum(run.bytes_of(index) for run in runs for index in run.wanted(known)) > COPIED_BYTES:
        return False
    for run in runs:
        run.keep(known)
    _let_go(taken)
    return True


def _read_from(memory: ForkedMemory, taken: list[GroupRuns], known: frozenset[str]) -> None:
    """Read the chunks from the process that keeps the memory; what others can write as well is copied here."""
    private = mappings.private_memory()
    for run in (run for item in taken for run in item.runs[1:]):
        if run.address and private is not None and private.covers(run.address, run.address + run.size_bytes):
            run.chunk = functools.partial(_chunk_of, memory, run.address, run.size_bytes)
            run.live = None
        else:
            run.keep(known)
    _let_go(taken)


def _chunk_of(memory: ForkedMemory, address: int, size_bytes: int, index: int) -> memoryview:
    offset = index * CHUNK_BYTES
    return memory.read(address + offset, scratch(min(CHUNK_BYTES, size_bytes - offset), "chunk"))


def _let_go(taken: list[GroupRuns]) -> None:
    # an exported buffer would forbid the person to resize the array meanwhile
    for item in taken:
        item.gathered.pickled.buffers.clear()


def _can_follow(name: str, namespace: dict[str, Any], unsaved: Container[str]) -> bool:
    """Tell whether a global that a function reads is a variable that can be saved with it."""
    return name in namespace and name not in unsaved and not hidden(name, namespace[name])


def _aliases(namespace: dict[str, Any], names: Iterable[str], chosen: Container[str]) -> list[str]:
    """Return other names, which are not `chosen` yet, of the objects and of the memory of arrays that `names` have."""
    owners = {_owner(namespace[name]) for name in names} - {None}
    if not owners:
        return []
    return [
        name
        for name, value in namespace.items()
        if name not in chosen and not hidden(name, value) and _owner(value) in owners
    ]


def _owner(value: Any) -> int | None:
    """Return the id of what a mutable value's content lives in; None for what cannot change."""
    kind = type(value)  # an object may raise when it is asked for its class
    if value is None or issubclass(kind, str | bytes | int | float | complex | tuple | frozenset | type):
        return None
    if kind.__module__ == "numpy" and hasattr(value, "__array_interface__"):
        while getattr(value, "base", None) is not None:
            value = value.base
    elif (callable(value) and hasattr(kind, "__code__")) or kind.__name__ == "module":
        return None
    return id(value)
