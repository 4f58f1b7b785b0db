"""Keeps blobs that a node has read or written as plain files of its own, so that the next cell there maps them.

For blobs in S3, and for those that a folder holds compressed. Bounded; what was not used for longest goes first. The
trap: a team's encrypted blobs must not lie here in the clear, so they are never kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dure.state import Blobs, open_blobs
from dure.state.store.blobs import BlobError, digest_of

MAX_BYTES = 20 * 2**30
_PART_OF_FREE = 0.25
_DOWN_TO = 0.9
_OWN = frozenset({"access_key_id", "secret_access_key", "session_token"})  # these change, the place stays


def node_blobs(access: Mapping[str, Any], node: str, home: Path | None = None) -> Blobs:
    """Return the blobs of `access`, with this node's files in front of them where that is allowed."""
    blobs = open_blobs(access)
    if access.get("key"):
        return blobs
    place = json.dumps({key: access[key] for key in sorted(access.keys() - _OWN)})
    name = hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
    home = home or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept: Any = NodeBlobs(blobs, home / "dure" / "blobs" / f"{node or 'node'}-{name}")
    return kept  # type: ignore[no-any-return]


class NodeBlobs:
    """`Blobs` that look into a folder of this node first."""

    def __init__(self, blobs: Blobs, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._blobs = blobs
        self._folder = folder
        self._max_bytes = max_bytes
        self._size_bytes: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def path(self, digest: str) -> Path | None:
        """Return a local file that holds exactly the bytes, unverified."""
        found = self._blobs.path(digest)
        if found is not None:
            return found
        own = self._folder / digest
        try:
            os.utime(own)
        except OSError:
            return None
        return own

    def get(self, digest: str) -> bytes:
        """Return the bytes, verified."""
        own = self._folder / digest
        with contextlib.suppress(OSError):
            data = own.read_bytes()
            if digest_of(data) == digest:
                return data
            own.unlink(missing_ok=True)
        data = self._blobs.get(digest)
        if self._blobs.path(digest) is None:
            self._keep(own, data)
        return data

    def get_into(self, digest: str, memory: memoryview) -> int:
        """Put the verified bytes into `memory` and return their number."""
        data = self.get(digest)
        if len(data) > len(memory):
            raise BlobError(f"Blob {digest[:12]}… has {len(data)} bytes, more than was saved of it.")
        memory[: len(data)] = data
        return len(data)

    def put(self, data: Any, *, digest: str | None = None, mapped: bool = False) -> str:
        """Keep the bytes in the store, and here what is to be mapped from another store than files."""
        digest = self._blobs.put(data, digest=digest, mapped=mapped)
        own = self._folder / digest
        if mapped and self._blobs.path(digest) is None and not own.exists():
            self._keep(own, data)
        return digest

    def _keep(self, own: Path, data: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk, or a folder that is not ours: then it is fetched again
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = own.with_name(f".{own.name}.{os.getpid()}.{id(data)}")
            try:
                partial.write_bytes(data)
                partial.replace(own)
            finally:
                partial.unlink(missing_ok=True)
            self._size_bytes = self._size() + memoryview(data).nbytes
            bound = min(self._max_bytes, shutil.disk_usage(self._folder).free * _PART_OF_FREE + self._size_bytes)
            if self._size_bytes > bound:
                self._shrink(int(bound * _DOWN_TO))

    def _size(self) -> int:
        if self._size_bytes is None:
            self._size_bytes = sum(size for _, size, _ in self._files())
        return self._size_bytes

    def _files(self) -> list[tuple[float, int, str]]:
        found = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(OSError):
                told = entry.stat(follow_symlinks=False)
                found.append((told.st_mtime, told.st_size, entry.path))
        return found

    def _shrink(self, to_bytes: int) -> None:
        files = sorted(self._files())
        size = sum(one for _, one, _ in files)
        for _, one, path in files:
            if size <= to_bytes:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 -- a text already; who has it mapped keeps it
                size -= one
        self._size_bytes = size
