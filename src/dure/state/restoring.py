"""Bring a snapshot back: every group is loaded before the first name is set, and what does not load is named.

How a group is loaded: `dure.state.objects.loading`. The one trap: names are set, and classes that live here already are
brought up to date, at `Report.commit` only; who restores with commit=False has to call it.
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
    from collections.abc import Iterable

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
    # what is to be said of variables that modules have, too; complete after `commit`
    told: dict[str, str] = field(default_factory=dict)
    # labels as they are here, as they were saved, and the names of what they are on
    renamed: list[tuple[Any, Any, frozenset[str]]] = field(default_factory=list)
    later: Later | None = None  # what is still to be loaded, where `at_once_bytes` left anything
    _loader: Loader | None = None  # until `commit`
    _verifying: threading.Lock = field(default_factory=threading.Lock)

    @property
    def restored(self) -> tuple[str, ...]:
        """The names that were loaded, sorted."""
        return tuple(sorted(self.values))

    def commit(self) -> None:
        """Put all loaded values into the namespace in one step; a second call does nothing."""
        if self._loader is not None:
            run_all(self._loader.pending)
            self._loader.settle(self.values)
            self._loader.namespace.update(self.values)
            self._loader = None

    def verify_rest(self) -> dict[str, str]:
        """Hash what was mapped only, on any thread, and return the names that hold damaged bytes, with the reason.

        Who calls it while another thread is at it waits for that one. Damaged memory is in no snapshot from then on.
        """
        damaged: dict[str, str] = {}
        with self._verifying:
            memory = bytearray(CHUNK_BYTES if self.unverified else 0)
            while self.unverified:
                item = self.unverified.pop()
                if why := _damage(item, memory):
                    reason = f"blob {item.digest[:12]}… {why}: restore another version"
                    damaged.update(dict.fromkeys(item.names, reason))
                    spoil(item.memory, reason)
        return damaged


def _damage(item: Unverified, memory: bytearray) -> str:
    """Return what is wrong with a blob's file, which is read into `memory`; empty where it is whole."""
    try:
        with item.path.open("rb", buffering=0) as handle:
            size = handle.readinto(memory) or 0
    except OSError as error:  # a bad disk, or a blob that went meanwhile: nothing vouches for the bytes
        return f"cannot be read ({error.strerror})"
    if digest_of(memoryview(memory)[:size]) != item.digest:
        return "is damaged (its hash differs)"
    verified.note(item.path, item.digest)
    return ""


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

    A group loads whole or not at all: its names are then in `Report.failed` with the reason and keep what the namespace
    held. Functions get `into` as their globals, so later rebinding is seen; without `into`, a namespace of their own.
    With `commit=False` nothing is in the namespace until `Report.commit`.

    Two arguments keep a restore short at any size. Large memory is mapped and hashed first; with `verify_bytes` no more
    than that is hashed, and the caller has `Report.verify_rest` hash the rest. With `at_once_bytes`, groups of which
    more has to be read (encrypted, in S3, or many objects) are left to `Report.later`.

    Labels of pandas that live here already are kept where they are as they were saved; with `follow` also where they
    have another name now, which is in `Report.renamed`.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"} if into is None else into
    wanted = None if names is None else set(names)
    loader = Loader(snapshot, blobs, namespace, verify_bytes=verify_bytes, follow=None if into is None else follow)
    report = Report(
        unsaved={name: why for name, why in snapshot.unsaved.items() if wanted is None or name in wanted},
        unverified=loader.reader.unverified,
        told=loader.told,
        _loader=loader,
    )
    chosen = {
        index: found
        for index, group in enumerate(snapshot.groups)
        if (found := {name: slot for name, slot in group.names.items() if wanted is None or name in wanted})
    }
    left = _load(loader, chosen, report, at_once_bytes)
    loader.take_back()
    if left:
        from dure.state.later import Later

        loader.release(left)
        report.later = Later(loader, {index: left[index] for index in sorted(left, key=loader.reader.cost)})
    for name in wanted or ():
        if name not in snapshot.variables and name not in snapshot.unsaved:
            report.failed[name] = "it is not in this snapshot"
    report.renamed = [(*pair, snapshot.needing(token)) for token, pair in loader.renamed.items()]
    if commit:
        report.commit()
    elif into is None:
        namespace.update(report.values)
    return report


def _load(
    loader: Loader, chosen: dict[int, dict[str, int]], report: Report, at_once_bytes: int | None
) -> dict[int, dict[str, int]]:
    """Load into a report what is wanted of groups, given by their numbers; return what is left for later."""
    left = {}
    until = time.monotonic() + _AT_ONCE_S
    for index, named in chosen.items():
        waits = at_once_bytes is not None and (loader.reader.cost(index) > at_once_bytes or time.monotonic() > until)
        if waits and not any(name.startswith(EXTRA) for name in named):
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
    return left
