"""Blobs as objects of an S3 bucket, through obstore.

The one trap: an object gets a new date only by being put anew, so what is old is sent again although it is there.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from dure.state.store.blobs import (
    FRESH_S,
    BlobError,
    BlobMissing,
    StoreAwayError,
    checked,
    digest_of,
    missing,
    unseal_file,
    unsealed,
    unsealed_into,
    write_errors,
)
from dure.state.store.sealing import CHUNK_BYTES, Seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_THREADS = 8
_AWAY = re.compile(r"^HTTP error|status code: (5\d\d|429)|\b(5\d\d|429) [A-Z]|timed? ?out", re.IGNORECASE)
_CLAIMS = 100_000  # how many digests one store remembers as fresh


class S3Blobs:
    """Blobs as objects `<prefix>/blobs/<first two characters>/<digest>` of one bucket, through obstore."""

    parallel = _THREADS

    def __init__(self, access: Mapping[str, Any], seal: Seal | None = None) -> None:
        from obstore.store import S3Store

        endpoint = access.get("endpoint")
        options: dict[str, Any] = {
            "endpoint": endpoint,
            "region": access.get("region") or "us-east-1",
            "access_key_id": access.get("access_key_id"),
            "secret_access_key": access.get("secret_access_key"),
            "session_token": access.get("session_token"),
        }
        self._where = f"s3://{access['bucket']}/{access.get('prefix') or ''}"
        self._prefix = str(access.get("prefix") or "").strip("/")
        self._seal = seal or Seal()
        self._claimed: dict[str, float] = {}
        self._store = S3Store(
            access["bucket"],
            client_options={"allow_http": True} if str(endpoint).startswith("http://") else {},
            **{name: value for name, value in options.items() if value},
        )

    def __repr__(self) -> str:
        return f"S3Blobs({self._where!r})"

    def put(self, data: Any, *, digest: str | None = None, mapped: bool = False) -> str:  # noqa: ARG002
        """Keep `data` and return its digest; nothing is mapped from here, so that bytes travel compressed."""
        view = memoryview(data).cast("B")
        digest = digest or digest_of(view)
        if not self._fresh(digest):
            packed = self._seal.pack(view, digest)
            with self._store_errors(digest):
                # bytes(): obstore keeps a reference while it sends, and the notebook's array may change meanwhile
                self._store.put(self._key(digest), bytes(view) if packed is None else packed)
            self._claimed[digest] = time.monotonic()
        return digest

    def put_file(self, path: str | os.PathLike[str]) -> str:
        """Keep a file's content and return its digest; the hash and the sent bytes come from one open file."""
        hasher = blake3()
        with open(path, "rb") as handle:  # noqa: PTH123 - path may be any PathLike
            while piece := handle.read(CHUNK_BYTES):
                hasher.update(piece)
            digest = hasher.hexdigest()
            if not self._fresh(digest):
                handle.seek(0)
                with self._store_errors(digest), self._sealed(handle, digest) as sealed:
                    self._store.put(self._key(digest), sealed)
                self._claimed[digest] = time.monotonic()
        return digest

    @contextlib.contextmanager
    def _sealed(self, handle: Any, digest: str) -> Iterator[Any]:
        if not self._seal.encrypts:
            yield handle
            return
        with tempfile.TemporaryFile() as sealed:
            for piece in self._seal.frames(handle, os.fstat(handle.fileno()).st_size, digest):
                sealed.write(piece)
            sealed.seek(0)
            yield sealed

    def get(self, digest: str) -> bytes:
        """Return the verified bytes."""
        with self._store_errors(digest):
            data = self._first(digest, lambda key: bytes(self._store.get(key).bytes()))
        return unsealed(self._seal, data, digest, f"{self._where}/{digest}")

    def get_into(self, digest: str, memory: memoryview) -> int:
        """Put the verified bytes into `memory` and return their number."""
        with self._store_errors(digest):
            data = self._first(digest, lambda key: memoryview(self._store.get(key).bytes()))
        return unsealed_into(self._seal, data, digest, memory, f"{self._where}/{digest}")

    def get_file(self, digest: str, path: str | os.PathLike[str]) -> int:
        """Write the verified bytes to `path` and return their number."""
        target = Path(path)
        partial = target.parent / f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}"
        with write_errors(target.parent):
            try:
                with tempfile.TemporaryFile(dir=target.parent) as stored, partial.open("xb") as sink:
                    with self._store_errors(digest):
                        for piece in self._first(digest, self._store.get).stream(min_chunk_size=CHUNK_BYTES):
                            stored.write(piece)
                    stored.seek(0)
                    written = unseal_file(self._seal, stored, sink, digest, f"{self._where}/{digest}")
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return written

    def path(self, digest: str) -> Path | None:
        """Return None: an object has no local file."""
        checked(digest)
        return None

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""
        try:
            with self._store_errors(digest):
                self._first(digest, self._store.head)
        except BlobMissing:
            return False
        return True

    def claim(self, digests: Iterable[str]) -> set[str]:
        """Return those that must be put: only putting it anew gives an object a new date."""
        asked = list(set(digests))
        if len(asked) <= 1:
            return {digest for digest in asked if not self._fresh(digest)}
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="dure-blobs") as pool:
            return {digest for digest, fresh in zip(asked, pool.map(self._fresh, asked), strict=True) if not fresh}

    def _first(self, digest: str, ask: Callable[[str], Any]) -> Any:
        """Ask for a blob by its name, or where it was written before the team had a key, by its digest."""
        try:
            return ask(self._key(digest))
        except Exception as error:
            if not (self._seal.encrypts and _absent(error)):
                raise
        return ask(self._place(digest))

    def _fresh(self, digest: str) -> bool:
        if time.monotonic() - self._claimed.get(digest, float("-inf")) < FRESH_S:
            return True
        try:
            with self._store_errors(digest):
                dated_at = self._store.head(self._key(digest))["last_modified"].timestamp()
        except BlobMissing:
            return False
        if time.time() - dated_at >= FRESH_S:
            return False
        if len(self._claimed) >= _CLAIMS:
            self._claimed.clear()
        self._claimed[digest] = time.monotonic()
        return True

    def _key(self, digest: str) -> str:
        return self._place(self._seal.name(checked(digest)))

    def _place(self, name: str) -> str:
        key = f"blobs/{name[:2]}/{name}"
        return f"{self._prefix}/{key}" if self._prefix else key

    @contextlib.contextmanager
    def _store_errors(self, digest: str) -> Iterator[None]:
        """Turn obstore's errors into the store's own, with what to do."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (FileNotFoundError, BaseError) as error:
            if _absent(error):
                raise missing(digest, self._where, self._seal) from None
            # what comes before is the request, with times that differ: the same outage is to be told once
            first = str(error).strip().splitlines()[0].rpartition("  - ")[2][:300]
            if _AWAY.search(first):
                raise StoreAwayError(
                    f"The object store {self._where} does not answer ({first}): check that it runs with `dure doctor`."
                ) from error
            raise BlobError(
                f"The object store {self._where} refused blob {digest[:12]}… ({first}): check that it runs and that "
                "the credentials are valid with `dure doctor`."
            ) from error


def _absent(error: Exception) -> bool:
    return (
        isinstance(error, FileNotFoundError)
        or re.search(r"status code: 404\b", str(error)) is not None
        or "NotFound" in type(error).__name__
    )
