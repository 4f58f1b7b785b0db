"""Read the bytes that the groups of a snapshot are loaded from: whole, or mapped from files of this machine.

What is read is hashed by who gives it. The one trap: what is mapped is hashed here, and no more of it than
`verify_bytes`: the rest stays in `unverified`, for `Report.verify_rest`.
"""

from __future__ import annotations

import base64
import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.state.memory import regions, written
from dure.state.memory.regions import MAPPED_BYTES, mapping_works
from dure.state.store import verified
from dure.state.store.blobs import BlobError, Blobs, digest_of
from dure.state.store.sealing import CHUNK_BYTES
from dure.state.store.threads import for_each

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dure.state.manifest import SavedRun, Snapshot

_READERS = 4
_MAPPED_COST = 4096  # bytes that could be read while one chunk is mapped


@dataclass(frozen=True, slots=True)
class Unverified:
    """A mapped blob that was not hashed yet, and the names that hold it."""

    path: Path
    digest: str
    names: tuple[str, ...]
    memory: weakref.ref[Any]  # what it is mapped in


class Reader:
    """Reads for the groups of one snapshot. Any thread may read."""

    def __init__(self, snapshot: Snapshot, blobs: Blobs, *, verify: bool, verify_bytes: int | None) -> None:
        self._groups = snapshot.groups
        self.blobs = blobs
        self._verify = verify
        self._verify_bytes = verify_bytes  # how much may still be hashed before the restore returns
        self._costs: dict[int, int] = {}
        watched = written.current()
        self._watched = None if watched is None else (watched[0], None)  # it looks at regions of its own only
        self.unverified: list[Unverified] = []
        self.read_bytes: dict[int, int] = {}  # of each group, so far
        self.turn: Callable[[int], None] | None = None  # asked before more of a group is read

    def cost(self, index: int) -> int:
        """Return how many bytes must be read to load a group: all but what is mapped."""
        if index not in self._costs:
            group = self._groups[index]
            read = [run for run in group.buffers if not self._may_map(run)]
            mapped = sum(len(run.chunks) for run in group.buffers) - sum(len(run.chunks) for run in read)
            read += [group.stream, *group.parts]
            self._costs[index] = sum(run.size_bytes for run in read) + mapped * _MAPPED_COST
        return self._costs[index]

    def _may_map(self, run: SavedRun) -> bool:
        if run.inline is not None or run.size_bytes < MAPPED_BYTES or not mapping_works():
            return False
        try:
            return self.blobs.path(run.chunks[0]) is not None
        except BlobError:
            return False

    def read(self, run: SavedRun, group: int) -> Any:
        """Return the bytes of a run that is loaded whole: of a stream, or of a part."""
        if run.inline is not None:
            data = base64.b64decode(run.inline)
            if digest_of(data) != run.digest:
                raise BlobError("a part of the snapshot's manifest is damaged (its hash differs)")
            return data
        if len(run.chunks) == 1:
            self._count(group, run.size_bytes)
            return self.blobs.get(run.chunks[0])
        return self._copied(run, group)

    def memory(self, run: SavedRun, group: int) -> Any:
        """Return writable memory with the run's bytes: mapped from local files where that pays."""
        if run.inline is not None or run.size_bytes < MAPPED_BYTES:
            return bytearray(self.read(run, group))
        paths = [self.blobs.path(digest) for digest in run.chunks] if mapping_works() else [None] * len(run.chunks)
        read = [index for index, path in enumerate(paths) if path is None]
        if len(read) == len(paths):
            memory = regions.empty(run.size_bytes)
        else:
            memory = regions.of_files(paths, CHUNK_BYTES, run.size_bytes)
        self._fill(memory, run, read, group)
        if self._verify:
            # looked at under watch, so that what nobody writes need not be hashed again when the cell has run
            look = written.looked(memory, self._watched)
            files = [(index, path) for index, path in enumerate(paths) if path is not None]
            new = [(index, path) for index, path in files if not verified.known(path, run.chunks[index])]
            if self._verify_bytes is not None:
                now = max(self._verify_bytes, 0) // CHUNK_BYTES
                self._verify_bytes -= len(new) * CHUNK_BYTES
                names = tuple(sorted(self._groups[group].names))
                self.unverified += [
                    Unverified(path, run.chunks[index], names, weakref.ref(memory.obj)) for index, path in new[now:]
                ]
                new = new[:now]
            for (index, path), found in zip(new, written.hashed(memory, [one for one, _ in new]), strict=True):
                if found != run.chunks[index]:
                    raise BlobError(
                        f"blob {run.chunks[index][:12]}… is damaged (its hash differs): save the snapshot again"
                    )
                verified.note(path, found)
            if look is not None and self._watched is not None:
                self._watched[0].learn(look, list(run.chunks))
        return memory

    def _copied(self, run: SavedRun, group: int) -> memoryview:
        memory = regions.empty(run.size_bytes)
        self._fill(memory, run, list(range(len(run.chunks))), group)
        return memory

    def _count(self, group: int, size_bytes: int) -> None:
        self.read_bytes[group] += size_bytes
        if self.turn is not None:
            self.turn(group)

    def _fill(self, memory: memoryview, run: SavedRun, chunks: list[int], group: int) -> None:
        """Copy verified chunks to where they belong, several at once."""

        def fill(index: int) -> None:
            expected = min(CHUNK_BYTES, run.size_bytes - index * CHUNK_BYTES)
            begin = index * CHUNK_BYTES
            size = self.blobs.get_into(run.chunks[index], memory[begin : begin + expected])
            if size != expected:
                raise BlobError(f"a blob has {size} bytes where {expected} were saved: save the snapshot again")
            self._count(group, size)

        threads = min(len(chunks), max(self.blobs.parallel, min(_READERS, os.cpu_count() or 1)))
        for_each(fill, chunks, threads)
