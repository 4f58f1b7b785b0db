"""Save a namespace, or some of its names: gather the groups, write the bytes that the store lacks, return the
manifest.

Nothing refers to a group before all its bytes are in the store, so a capture that is cut short leaves at most
blobs that nothing refers to.
"""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dure.state import written
from dure.state.blobs import CHUNK_BYTES, Blobs, digest_of
from dure.state.grouping import Gathered, gather
from dure.state.identity import fingerprint
from dure.state.manifest import Buffer, Group, Snapshot, Variable
from dure.state.secrecy import hidden, secret_reason

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

Piece = tuple[str, memoryview]  # a digest and the bytes that have it

INLINE_BYTES = 16 * 1024  # a smaller run of bytes travels in the manifest
INLINE_TOTAL_BYTES = 512 * 1024  # and all of them together take at most this much of it


def capture(
    namespace: dict[str, Any],
    names: Iterable[str] | None = None,
    base: Snapshot | None = None,
    *,
    blobs: Blobs,
    ignore: Container[str] = (),
) -> Snapshot:
    """Save variables of `namespace` and return their snapshot; its manifest is stored by `Snapshot.store`.

    Without `names` all are saved but IPython's own, those in `ignore`, and secrets, which are named. With
    `names` exactly those are, with what belongs to them: other names of the same object or array memory, so
    that aliases come back as aliases, and the globals of notebook functions inside them. `base` tells which
    blobs are there already. What cannot be saved is in `unsaved`, with its path and the reason.
    """
    absent: tuple[str, ...] = ()
    unsaved: dict[str, str] = {}
    if names is None:
        chosen = [name for name in namespace if not hidden(name, namespace[name]) and name not in ignore]
        unsaved = {name: reason for name in chosen if (reason := secret_reason(name, namespace[name]))}
        chosen = [name for name in chosen if name not in unsaved]
    else:
        asked = list(dict.fromkeys(names))
        absent = tuple(name for name in asked if name not in namespace)
        chosen = [name for name in asked if name in namespace]
        chosen += _aliases(namespace, chosen, ignore)
    reads: set[str] = set()
    groups, refused = gather(namespace, chosen, reads)
    while more := sorted(name for name in reads if _can_follow(name, namespace, chosen, ignore, unsaved)):
        # a value holds a notebook function that reads names which no one has named yet
        chosen += [*more, *_aliases(namespace, more, {*chosen, *more})]
        groups, refused = gather(namespace, chosen, reads)
    writer = Writer(blobs, base.references() if base is not None else frozenset())
    groups.sort(key=lambda group: min([*group.names, *group.classes]))
    prepared = [writer.prepare(group) for group in groups]
    writer.write([piece for _, pieces in prepared for piece in pieces])
    return snapshot_of(groups, [group for group, _ in prepared], {**unsaved, **refused}, absent)


def snapshot_of(
    gathered: list[Gathered], groups: list[Group], unsaved: dict[str, str], absent: tuple[str, ...] = ()
) -> Snapshot:
    """Return the snapshot of groups whose bytes are in the store."""
    return Snapshot(
        groups=tuple(groups),
        variables={
            name: Variable(source.types[name], source.sizes[name], index)
            for index, (source, group) in enumerate(zip(gathered, groups, strict=True))
            for name in group.names
        },
        unsaved=unsaved,
        absent=absent,
        fingerprint=fingerprint(),
    )


class Writer:
    """Turns pickles into groups of a manifest: hashes first, then writes only what the store lacks."""

    def __init__(self, blobs: Blobs, known: frozenset[str] = frozenset()) -> None:
        self._blobs = blobs
        self._known = known
        self._inline_bytes = 0
        self._watched = written.current()

    def prepare(self, gathered: Gathered) -> tuple[Group, list[Piece]]:
        """Return the group's entry for the manifest, and the pieces that must be in the store before it is
        used.
        """
        pickled = gathered.pickled
        pieces: list[Piece] = []
        group = Group(
            names=gathered.names,
            stream=self._run(memoryview(pickled.stream), pieces),
            buffers=tuple(self._run(buffer.raw(), pieces) for buffer in pickled.buffers),
            classes=gathered.classes,
            needs=tuple(sorted(set(pickled.needs) - set(gathered.classes))),
            modules=tuple(sorted(pickled.modules)),
        )
        return group, pieces

    def write(self, pieces: list[Piece]) -> None:
        """Put into the store those of the pieces that it lacks."""
        waiting = {digest: piece for digest, piece in pieces if digest not in self._known}
        if not waiting:
            return
        wanted = self._blobs.claim(waiting)
        if self._blobs.parallel > 1 and len(wanted) > 1:
            with ThreadPoolExecutor(self._blobs.parallel, thread_name_prefix="dure-capture") as pool:
                for done in [pool.submit(self._blobs.put, waiting[digest], digest=digest) for digest in wanted]:
                    done.result()
        else:
            for digest in wanted:
                self._blobs.put(waiting[digest], digest=digest)

    def _run(self, data: memoryview, pieces: list[Piece]) -> Buffer:
        size = data.nbytes
        if size <= INLINE_BYTES and self._inline_bytes + size <= INLINE_TOTAL_BYTES:
            self._inline_bytes += size
            return Buffer(size, (), base64.b64encode(data).decode("ascii"), digest_of(data))
        chunks = written.chunk_digests(data, self._watched)
        pieces += [
            (digest, data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]) for index, digest in enumerate(chunks)
        ]
        whole = chunks[0] if len(chunks) == 1 else digest_of("".join(chunks).encode("ascii"))
        return Buffer(size, tuple(chunks), None, whole)


def _can_follow(
    name: str, namespace: dict[str, Any], chosen: list[str], ignore: Container[str], unsaved: dict[str, str]
) -> bool:
    if name not in namespace or name in chosen or name in ignore or name in unsaved:
        return False
    return not hidden(name, namespace[name])


def _aliases(namespace: dict[str, Any], chosen: list[str], ignore: Container[str]) -> list[str]:
    """Return the other names of the chosen objects and of the memory of chosen arrays."""
    owners = {_owner(namespace[name]) for name in chosen} - {None}
    if not owners:
        return []
    taken = set(chosen)
    return [
        name
        for name, value in namespace.items()
        if name not in taken and name not in ignore and not hidden(name, value) and _owner(value) in owners
    ]


def _owner(value: Any) -> int | None:
    """Return the id of what a mutable value's content lives in; None for what cannot change."""
    if value is None or isinstance(value, str | bytes | int | float | complex | tuple | frozenset | type):
        return None
    if type(value).__module__ == "numpy" and hasattr(value, "__array_interface__"):
        while getattr(value, "base", None) is not None:
            value = value.base
    elif (callable(value) and hasattr(value, "__code__")) or type(value).__name__ == "module":
        return None
    return id(value)
