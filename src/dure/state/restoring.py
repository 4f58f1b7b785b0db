"""Bring a snapshot back: every group is loaded before the first name is set, and what does not load is named.

How a group is loaded: `dure.state.objects.loading`. The one trap: names are set, and classes that live here already
are brought up to date, at `Report.commit` only; who restores with commit=False has to call it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state.libraries import tensors
from dure.state.manifest import EXTRA
from dure.state.memory.regions import spoil
from dure.state.objects.loading import Loader, run_all
from dure.state.store import verified
from dure.state.store.blobs import Blobs, digest_of
from dure.state.store.sealing import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dure.state.later import Later
    from dure.state.manifest import Snapshot
    from dure.state.memory.reading import Unverified

_AT_ONCE_S = 0.3  # for groups that are small enough to be loaded at once


@dataclass(slots=True)
class Report:
    """What came back. With commit=False nothing is in the namespace until `commit`."""

    values: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unsaved: dict[str, str] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)  # see `dure.state.extras`; never put into the namespace
    graphs_left: tuple[str, ...] = ()  # names in whose values tensors are without their autograd graph
    unverified: list[Unverified] = field(default_factory=list)  # what `verify_rest` still has to read
    told: dict[str, str] = field(default_factory=dict)  # of what modules have, too; complete after `commit`
    renamed: list[tuple[Any, Any, frozenset[str]]] = field(default_factory=list)  # labels here, as saved, whose
    later: Later | None = None  # what is still to be loaded, where `at_once_bytes` left anything
    _into: dict[str, Any] | None = None
    _then: list[Callable[[], None]] = field(default_factory=list)
    _settle: Callable[[dict[str, Any]], None] = lambda _: None
    _verifying: threading.Lock = field(default_factory=threading.Lock)

    @property
    def restored(self) -> tuple[str, ...]:
        """The names that were loaded, sorted."""
        return tuple(sorted(self.values))

    def commit(self) -> None:
        """Put all loaded values into the namespace in one step; a second call does nothing."""
        run_all(self._then)
        if self._into is not None:
            self._settle(self.values)
            self._into.update(self.values)
            self._into = None

    def verify_rest(self) -> dict[str, str]:
        """Hash what was mapped only, on any thread, and return the names that hold damaged bytes, with the reason.

        Who calls it while another thread is at it waits for that one. Damaged memory is in no snapshot from then on.
        """
        with self._verifying:
            return self._verify_rest()

    def _verify_rest(self) -> dict[str, str]:
        damaged: dict[str, str] = {}
        memory = bytearray(CHUNK_BYTES if self.unverified else 0)
        while self.unverified:
            item = self.unverified.pop()
            try:
                with item.path.open("rb", buffering=0) as handle:
                    size = handle.readinto(memory) or 0
            except OSError as error:  # a bad disk, or a blob that went meanwhile: nothing vouches for the bytes
                why = f"cannot be read ({error.strerror})"
            else:
                if digest_of(memoryview(memory)[:size]) == item.digest:
                    verified.note(item.path, item.digest)
                    continue
                why = "is damaged (its hash differs)"
            reason = f"blob {item.digest[:12]}… {why}: restore another version"
            damaged.update(dict.fromkeys(item.names, reason))
            spoil(item.memory, reason)
        return damaged


def restore(
    snapshot: Snapshot,
    blobs: Blobs,
    into: dict[str, Any] | None = None,
    names: Iterable[str] | None = None,
    *,
    commit: bool = True,
    verify_bytes: int | None = None,
    at_once_bytes: int | None = None,
    follow: bool = False,
) -> Report:
    """Load the snapshot's variables, all or those in `names`, and put them `into` a namespace.

    A group loads whole or not at all: its names are then in `failed` with the reason and keep what the
    namespace held. Functions get `into` as their globals, so later rebinding is seen; without `into`, a
    namespace of their own. Large memory is mapped and hashed first; with `verify_bytes` no more than that,
    and the caller has `Report.verify_rest` hash the rest. With `at_once_bytes` groups of which more has to be read
    (encrypted, in S3, or many objects) are left to `Report.later`. So a restore takes no longer at any size.
    Labels of pandas that live here already are taken where they are as they were saved; with `follow` also where they
    have another name, which is in `Report.renamed`.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"} if into is None else into
    wanted = None if names is None else set(names)
    loader = Loader(snapshot, blobs, namespace, verify_bytes=verify_bytes, follow=None if into is None else follow)
    report = Report(unsaved={n: r for n, r in snapshot.unsaved.items() if wanted is None or n in wanted})
    chosen = {
        index: found
        for index, group in enumerate(snapshot.groups)
        if (found := {name: slot for name, slot in group.names.items() if wanted is None or name in wanted})
    }
    left = {} if at_once_bytes is None else _left(loader, chosen, at_once_bytes)
    until = time.monotonic() + _AT_ONCE_S
    for index, named in chosen.items():
        beside = any(name.startswith(EXTRA) for name in named)
        if index in left or (at_once_bytes is not None and not beside and time.monotonic() > until):
            left[index] = named
            continue
        graphs = tensors.graphs_left()
        try:
            slots = loader.load(index)
        except Exception as error:
            reason = loader.why(index, error)
            report.failed.update({name.removeprefix(EXTRA): reason for name in named})
            continue
        if tensors.graphs_left() != graphs:
            report.graphs_left += tuple(sorted(name for name in named if not name.startswith(EXTRA)))
        for name, slot in named.items():
            held = report.extras if name.startswith(EXTRA) else report.values
            held[name.removeprefix(EXTRA)] = slots[slot]
    loader.take_back()
    if left:
        from dure.state.later import Later

        loader.release(left)
        report.later = Later(loader, {index: left[index] for index in sorted(left, key=loader.reader.cost)})
    for name in wanted or ():
        if name not in snapshot.variables and name not in snapshot.unsaved:
            report.failed[name] = "it is not in this snapshot"
    report.unverified, report.told, report._settle = loader.reader.unverified, loader.told, loader.settle  # noqa: SLF001
    report.renamed = [(*pair, snapshot.needing(token)) for token, pair in loader.renamed.items()]
    report._into, report._then = namespace, loader.pending  # noqa: SLF001 - the report's own fields, set by its maker
    if commit:
        report.commit()
    elif into is None:
        namespace.update(report.values)
    return report


def _left(loader: Loader, chosen: dict[int, dict[str, int]], at_once_bytes: int) -> dict[int, dict[str, int]]:
    """Return the groups of which too much has to be read to be loaded at once; never what is beside the variables."""
    return {
        index: named
        for index, named in chosen.items()
        if not any(name.startswith(EXTRA) for name in named) and loader.reader.cost(index) > at_once_bytes
    }
