"""The runs of bytes that groups are made of: where they lie in memory, which of them the store lacks, their manifest.

Nothing refers to a group before all its bytes are in the store, so a capture that is cut short leaves at most blobs
that nothing refers to. The one trap: memory may change between two looks at it, so every chunk is copied first, and
what is hashed is that copy, which is also what is written.
"""

from __future__ import annotations

import base64
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.state.cut.pieces import Part
from dure.state.grouping import Gathered
from dure.state.identity import fingerprint
from dure.state.manifest import EXTRA, Group, SavedRun, Snapshot, Variable
from dure.state.memory import written
from dure.state.memory.regions import MAPPED_BYTES
from dure.state.store.blobs import Blobs, digest_of
from dure.state.store.sealing import CHUNK_BYTES, chunks_of, scratch

if TYPE_CHECKING:
    from collections.abc import Callable

INLINE_BYTES = 16 * 1024  # a smaller run of bytes travels in the manifest
INLINE_TOTAL_BYTES = 512 * 1024  # and all of them together take at most this much of it
_WRITERS = 4


class Writer:
    """Writes runs of bytes, each chunk hashed and written from one copy, and says what a manifest says of them."""

    def __init__(self, blobs: Blobs, known: frozenset[str], watched: written.Watched) -> None:
        self._blobs = blobs
        self._known = known
        self._watch = None if watched is None else watched[0]
        self._inline_bytes = 0

    def settle(self, runs: list[Run]) -> None:
        """Give every chunk its digest, and put into the store those that it lacks."""
        asked = [(run, index) for run in runs if not run.small for index in run.wanted(self._known)]
        known = {digest for run, index in asked if (digest := run.digests[index]) is not None}
        lacking = self._blobs.claim(known) if known else known
        chunks = [(run, index) for run, index in asked if (it := run.digests[index]) is None or it in lacking]
        threads = max(self._blobs.parallel, min(_WRITERS, os.cpu_count() or 1)) if len(chunks) > 1 else 1
        if threads > 1:
            with ThreadPoolExecutor(threads, thread_name_prefix="dure-capture") as pool:
                list(pool.map(self._settle, chunks))
        else:
            for chunk in chunks:
                self._settle(chunk)
        for run in runs:
            if run.look is not None and self._watch is not None:
                self._watch.learn(run.look, [str(digest) for digest in run.digests])

    def _settle(self, chunk: tuple[Run, int]) -> None:
        run, index = chunk
        digest = run.digests[index]
        data = run.chunk(index)
        if digest is not None:
            run.digests[index] = self._blobs.put(data, mapped=run.mapped)  # what is there by now may be another one
            return
        digest = run.digests[index] = digest_of(data)
        if digest not in self._known:
            self._blobs.put(data, digest=digest, mapped=run.mapped)

    def group(self, taken: GroupRuns) -> Group:
        """Return the group's entry for the manifest; its runs are settled."""
        pickled = taken.gathered.pickled
        stream, *buffers = [self._entry(run) for run in taken.runs]
        digests = map(str, taken.parts.digests)
        for part in taken.fresh:
            part.wrote(tuple(itertools.islice(digests, _chunks(part.size_bytes))))
        return Group(
            names=taken.gathered.names,
            stream=stream,
            buffers=tuple(buffers),
            parts=tuple(part.saved for part in pickled.parts if part.saved is not None),
            classes=taken.gathered.classes,
            needs=tuple(sorted(set(pickled.needs) - set(taken.gathered.classes))),
            modules=tuple(sorted(pickled.modules)),
        )

    def _entry(self, run: Run) -> SavedRun:
        size = run.size_bytes
        if run.small and self._inline_bytes + size <= INLINE_TOTAL_BYTES:
            self._inline_bytes += size
            data = run.chunk(0) if size else b""
            return SavedRun(size, (), base64.b64encode(data).decode("ascii"), digest_of(data))
        if run.small:
            run.digests[0] = self._blobs.put(run.chunk(0))
        chunks = tuple(str(digest) for digest in run.digests)
        whole = chunks[0] if len(chunks) == 1 else digest_of("".join(chunks).encode("ascii"))
        return SavedRun(size, chunks, None, whole)


@dataclass(slots=True)
class Run:
    """One run of bytes as it was at one moment. `chunk` gives a chunk's bytes, which stay as they are until this thread
    asks for another one.
    """

    size_bytes: int
    digests: list[str | None]
    chunk: Callable[[int], Any]
    look: written.Look | None = None
    address: int = 0
    mapped: bool = False  # when it is restored
    live: memoryview | None = None  # where the bytes are, as long as `chunk` reads them there
    apart: bool = False  # never in the manifest

    def bytes_of(self, index: int) -> int:
        """Return the size of a chunk."""
        return min(CHUNK_BYTES, self.size_bytes - index * CHUNK_BYTES)

    def wanted(self, known: frozenset[str]) -> list[int]:
        """Return the chunks whose bytes must be read: those of unknown content, and those that `known` has not."""
        return [index for index, digest in enumerate(self.digests) if digest is None or digest not in known]

    def hash(self) -> None:
        """Find the digests that are not known."""
        for index, digest in enumerate(self.digests):
            if digest is None:
                self.digests[index] = digest_of(self.chunk(index))

    def keep(self, known: frozenset[str]) -> None:
        """Copy the chunks that have to be read, and let go of the memory."""
        live = self.live
        assert live is not None
        wanted = self.wanted(known)
        self.chunk = {index: bytes(_part(live, index)) for index in wanted}.__getitem__
        self.live = None

    @property
    def small(self) -> bool:
        """Whether it may travel in the manifest."""
        return self.size_bytes <= INLINE_BYTES and not self.apart


@dataclass(slots=True)
class GroupRuns:
    """A group and its bytes: the stream, then the buffers, and the parts that are not in the store yet, in one run."""

    gathered: Gathered
    runs: list[Run]
    fresh: list[Part]
    parts: Run


def runs_of(gathered: Gathered, watched: written.Watched) -> GroupRuns:
    """Return the group with its bytes as they lie in memory, and the digests that are known of them."""
    fresh = [part for part in gathered.pickled.parts if part.stream is not None]
    chunks = [chunk for part in fresh for chunk in chunks_of(part.stream or b"")]
    parts = Run(sum(part.size_bytes for part in fresh), [None] * len(chunks), chunks.__getitem__, apart=True)
    return GroupRuns(gathered, _stream_and_buffers(gathered, watched), fresh, parts)


def _stream_and_buffers(gathered: Gathered, watched: written.Watched) -> list[Run]:
    stream = gathered.pickled.stream
    runs = [Run(len(stream), [None] * _chunks(len(stream)), _slices(memoryview(stream)))]
    for buffer in gathered.pickled.buffers:
        data = buffer.raw()
        look = written.looked(data, watched)
        digests: list[str | None] = [None] * _chunks(data.nbytes)
        if look is not None:
            digests = list(look.digests)
        mapped = data.nbytes >= MAPPED_BYTES
        address = written.address_of(data)
        runs.append(Run(data.nbytes, digests, _copies(data), look, address, mapped, data))
    return runs


def snapshot_of(
    taken: list[GroupRuns],
    groups: list[Group],
    unsaved: dict[str, str],
    absent: tuple[str, ...] = (),
    about: dict[str, Any] | None = None,
) -> Snapshot:
    """Return the snapshot of groups whose bytes are in the store."""
    held = {
        name: Variable(item.gathered.types[name], item.gathered.sizes[name], index)
        for index, (item, group) in enumerate(zip(taken, groups, strict=True))
        for name in group.names
    }
    return Snapshot(
        groups=tuple(groups),
        variables={name: held[name] for name in held if not name.startswith(EXTRA)},
        extras={name.removeprefix(EXTRA): held[name] for name in held if name.startswith(EXTRA)},
        unsaved={name.removeprefix(EXTRA): reason.removeprefix(EXTRA) for name, reason in unsaved.items()},
        absent=absent,
        fingerprint=fingerprint() if about is None else about,
    )


def stored(blobs: Blobs, known: frozenset[str], digests: list[str]) -> set[str]:
    """Return which of some digests the store has, those that are `known` to be there unasked."""
    asked = [digest for digest in digests if digest not in known]
    return set(digests).difference(blobs.claim(asked) if asked else ())


def _chunks(size_bytes: int) -> int:
    return -(-size_bytes // CHUNK_BYTES)


def _slices(data: memoryview) -> Callable[[int], Any]:
    return lambda index: _part(data, index)


def _part(data: memoryview, index: int) -> memoryview:
    return data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]


def _copies(data: memoryview) -> Callable[[int], Any]:
    def chunk(index: int) -> memoryview:
        live = _part(data, index)
        copy = scratch(live.nbytes, "chunk")
        copy[:] = live
        return copy

    return chunk
