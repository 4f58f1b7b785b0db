"""Where the bytes of snapshots lie: a folder or an S3 bucket, addressed by the BLAKE3 of what is inside.

A blob never changes and is never overwritten, so "is it there" is all that a writer asks. The one trap: a
name says what the bytes must be, not that they are; every read hashes what it got, and only `path` hands out
bytes unchecked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CHUNK_BYTES = 4 * 1024 * 1024
_S3_THREADS = 8
# Garbage collection spares blobs that were put within the hour; twice this must be less, with time left to submit.
_FRESH_S = 900.0
_CLAIMS = 100_000  # S3: how many digests one store remembers as fresh
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobError(Exception):
    """The store cannot keep or give a blob; the text says what, where and what to do."""


class BlobMissing(BlobError):  # noqa: N818 - says what is so, as FileNotFoundError's kin do elsewhere here
    """The store does not hold this blob."""


class Blobs(Protocol):
    """A content-addressed store. Digests are BLAKE3 in hex, 64 characters, of the plain bytes."""

    @property
    def parallel(self) -> int:
        """How many puts or gets pay at once."""

    def put(self, data: Any, *, digest: str | None = None) -> str:
        """Keep `data` (bytes-like, contiguous) and return its digest; nothing is written when it is there
        already.
        """

    def put_file(self, path: str | os.PathLike[str]) -> str:
        """Keep a file's content and return its digest."""

    def get(self, digest: str) -> bytes:
        """Return the bytes, verified. BlobMissing where there are none, BlobError where they are not what
        they claim.
        """

    def get_file(self, digest: str, path: str | os.PathLike[str]) -> int:
        """Write the verified bytes to `path`, which appears whole or not at all; return their number."""

    def path(self, digest: str) -> Path | None:
        """Return the local file that holds exactly the bytes, unverified; None where there is no such
        file.
        """

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Return those of `digests` that are not there."""

    def claim(self, digests: Iterable[str]) -> set[str]:
        """Return those that must be put: absent, or so old that garbage collection might take them.

        It spares the others for half an hour at least, which is the time to refer to them in a submission.
        """

    def size(self, digest: str) -> int:
        """Return the blob's size in bytes. BlobMissing where there is none."""


def digest_of(data: Any) -> str:
    """Return the BLAKE3 of bytes-like `data` in hex.

    On one thread: BLAKE3's own threads are slower on runs of a chunk's size, and a process that was forked from
    one which had used them would wait for them for ever.
    """
    return blake3(data).hexdigest()


def open_blobs(access: Mapping[str, Any]) -> Blobs:
    """Return the store that a BlobAccess dict describes (`kind` folder or s3)."""
    kind = access.get("kind")
    if kind == "folder":
        return FolderBlobs(access["root"])
    if kind == "s3":
        return S3Blobs(access)
    raise BlobError(f"Blob access of kind {kind!r} is not known: write kind: folder or kind: s3.")


class FolderBlobs:
    """Blobs as files `<root>/blobs/<first two characters>/<digest>`, written beside and renamed into place.

    A folder that is its group's (setgid and group-writable) makes blobs readable for the group whatever the umask is,
    so that a team can share one root.
    """

    parallel = 1

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._blobs = self.root / "blobs"

    def __repr__(self) -> str:
        return f"FolderBlobs({str(self.root)!r})"

    def put(self, data: Any, *, digest: str | None = None) -> str:
        """Keep `data` and return its digest; `digest`, when the caller has just hashed the same bytes, saves
        a pass.
        """
        view = memoryview(data).cast("B")
        digest = digest or digest_of(view)
        target = self._file(digest)
        if not self._freshened(target):
            with self._writing(target) as handle:
                handle.write(view)
                _share(handle.fileno(), target.parent)
        return digest

    def put_file(self, path: str | os.PathLike[str]) -> str:
        """Keep a file's content and return its digest. The file is copied first, so a writer cannot change it
        between.
        """
        self._make(self._blobs)
        hasher = blake3()
        with _told(self._blobs), tempfile.TemporaryDirectory(dir=self._blobs, prefix=".put-") as folder:
            copy = Path(folder, "copy")
            with open(path, "rb") as source, copy.open("xb") as sink:  # noqa: PTH123 - path may be any PathLike
                while piece := source.read(CHUNK_BYTES):
                    hasher.update(piece)
                    sink.write(piece)
            digest = hasher.hexdigest()
            target = self._file(digest)
            if not self._freshened(target):
                self._make(target.parent)
                _share(copy, target.parent)
                copy.replace(target)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the verified bytes."""
        target = self._file(digest)
        try:
            data = target.read_bytes()
        except FileNotFoundError:
            raise _missing(digest, str(self.root)) from None
        except OSError as error:
            raise BlobError(f"Blob {digest[:12]}… in {self.root} cannot be read: {error.strerror}.") from error
        return _verified(data, digest, str(target))

    def get_file(self, digest: str, path: str | os.PathLike[str]) -> int:
        """Write the verified bytes to `path` and return their number."""
        data = self.get(digest)
        with self._writing(Path(path)) as handle:
            return int(handle.write(data))

    def path(self, digest: str) -> Path | None:
        """Return the blob's file, or None where it is not there."""
        target = self._file(digest)
        return target if target.exists() else None

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""
        return self._file(digest).exists()

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Return those of `digests` that are not there."""
        return {digest for digest in digests if not self.has(digest)}

    def claim(self, digests: Iterable[str]) -> set[str]:
        """Date those that are there to now, and return those that must be put."""
        return {digest for digest in digests if not self._freshened(self._file(digest))}

    def size(self, digest: str) -> int:
        """Return the blob's size in bytes."""
        try:
            return self._file(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest, str(self.root)) from None

    def _file(self, digest: str) -> Path:
        return self._blobs / _checked(digest)[:2] / digest

    def _freshened(self, target: Path) -> bool:
        try:
            os.utime(target)
        except FileNotFoundError:
            return False
        except PermissionError:  # a colleague's file, which only its owner may date
            return time.time() - target.stat().st_mtime < _FRESH_S
        return True

    def _make(self, folder: Path) -> None:
        with _told(folder):
            folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _writing(self, target: Path) -> Iterator[Any]:
        """Give a file that becomes `target` when the block ends well and leaves nothing when it does not."""
        self._make(target.parent)
        with _told(target.parent):
            # O_EXCL with mode 0666: the umask and a setgid folder decide, which mkstemp's 0600 would not let them
            partial = target.parent / f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}"
            try:
                with partial.open("xb") as handle:
                    yield handle
                partial.replace(target)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise


class S3Blobs:
    """Blobs as objects `<prefix>/blobs/<first two characters>/<digest>` of one bucket, through obstore."""

    parallel = _S3_THREADS

    def __init__(self, access: Mapping[str, Any]) -> None:
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
        self._claimed: dict[str, float] = {}
        self._store = S3Store(
            access["bucket"],
            client_options={"allow_http": True} if str(endpoint).startswith("http://") else {},
            **{name: value for name, value in options.items() if value},
        )

    def __repr__(self) -> str:
        return f"S3Blobs({self._where!r})"

    def put(self, data: Any, *, digest: str | None = None) -> str:
        """Keep `data` and return its digest."""
        view = memoryview(data).cast("B")
        digest = digest or digest_of(view)
        if not self._fresh(digest):
            with self._asked(digest):
                # bytes(): obstore keeps a reference while it sends, and the notebook's array may change meanwhile
                self._store.put(self._key(digest), bytes(view))
            self._claimed[digest] = time.monotonic()
        return digest

    def put_file(self, path: str | os.PathLike[str]) -> str:
        """Keep a file's content and return its digest; the hash and the sent bytes come from one open
        file.
        """
        hasher = blake3()
        with open(path, "rb") as handle:  # noqa: PTH123 - path may be any PathLike
            while piece := handle.read(CHUNK_BYTES):
                hasher.update(piece)
            digest = hasher.hexdigest()
            if not self._fresh(digest):
                handle.seek(0)
                with self._asked(digest):
                    self._store.put(self._key(digest), handle)
                self._claimed[digest] = time.monotonic()
        return digest

    def get(self, digest: str) -> bytes:
        """Return the verified bytes."""
        with self._asked(digest):
            data = bytes(self._store.get(self._key(digest)).bytes())
        return _verified(data, digest, f"{self._where}/{digest}")

    def get_file(self, digest: str, path: str | os.PathLike[str]) -> int:
        """Write the verified bytes to `path` and return their number."""
        target = Path(path)
        partial = target.parent / f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}"
        hasher = blake3()
        written = 0
        with _told(target.parent):
            try:
                with partial.open("xb") as handle, self._asked(digest):
                    for piece in self._store.get(self._key(digest)).stream(min_chunk_size=CHUNK_BYTES):
                        hasher.update(piece)
                        written += handle.write(piece)
                if hasher.hexdigest() != digest:
                    raise _damaged(digest, f"{self._where}/{digest}")
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return written

    def path(self, digest: str) -> Path | None:
        """Return None: an object has no local file."""
        _checked(digest)
        return None

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""
        try:
            self.size(digest)
        except BlobMissing:
            return False
        return True

    def missing(self, digests: Iterable[str]) -> set[str]:
        """Return those of `digests` that are not there, asked for several at once."""
        asked = list(set(digests))
        if len(asked) <= 1:
            return {digest for digest in asked if not self.has(digest)}
        with ThreadPoolExecutor(_S3_THREADS, thread_name_prefix="dure-blobs") as pool:
            there = list(pool.map(self.has, asked))
        return {digest for digest, found in zip(asked, there, strict=True) if not found}

    def claim(self, digests: Iterable[str]) -> set[str]:
        """Return those that must be put: only putting it anew gives an object a new date."""
        asked = list(set(digests))
        if len(asked) <= 1:
            return {digest for digest in asked if not self._fresh(digest)}
        with ThreadPoolExecutor(_S3_THREADS, thread_name_prefix="dure-blobs") as pool:
            fresh = list(pool.map(self._fresh, asked))
        return {digest for digest, found in zip(asked, fresh, strict=True) if not found}

    def size(self, digest: str) -> int:
        """Return the blob's size in bytes."""
        with self._asked(digest):
            return int(self._store.head(self._key(digest))["size"])

    def _fresh(self, digest: str) -> bool:
        if time.monotonic() - self._claimed.get(digest, float("-inf")) < _FRESH_S:
            return True
        try:
            with self._asked(digest):
                dated_at = self._store.head(self._key(digest))["last_modified"].timestamp()
        except BlobMissing:
            return False
        if time.time() - dated_at >= _FRESH_S:
            return False
        if len(self._claimed) >= _CLAIMS:
            self._claimed.clear()
        self._claimed[digest] = time.monotonic()
        return True

    def _key(self, digest: str) -> str:
        key = f"blobs/{_checked(digest)[:2]}/{digest}"
        return f"{self._prefix}/{key}" if self._prefix else key

    @contextlib.contextmanager
    def _asked(self, digest: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise _missing(digest, self._where) from None
        except BaseError as error:
            if re.search(r"status code: 404\b", str(error)) or "NotFound" in type(error).__name__:
                raise _missing(digest, self._where) from None
            first = str(error).strip().splitlines()[0][:300]
            raise BlobError(
                f"The object store {self._where} refused blob {digest[:12]}… ({first}): check that it runs and that "
                "the credentials are valid with `dure doctor`."
            ) from error


def _share(blob: int | Path, folder: Path) -> None:
    """Let the group read a blob when its folder is the group's."""
    shared = stat.S_ISGID | stat.S_IWGRP
    if folder.stat().st_mode & shared == shared:
        os.chmod(blob, stat.S_IMODE(os.stat(blob).st_mode) | stat.S_IRGRP)  # noqa: PTH101, PTH116 - descriptors, too


def _checked(digest: str) -> str:
    # a digest becomes part of a path: it may come from a manifest that someone else wrote
    if not _DIGEST.fullmatch(digest):
        raise BlobError(f"{digest[:80]!r} is not a blob digest: it must be 64 characters of 0-9 and a-f.")
    return digest


def _missing(digest: str, where: str) -> BlobMissing:
    return BlobMissing(
        f"Blob {digest[:12]}… is not in {where}: it was removed or never written; save it again from where it came."
    )


def _damaged(digest: str, where: str) -> BlobError:
    return BlobError(
        f"Blob {digest[:12]}… at {where} is damaged (its hash differs): remove that object and save it again."
    )


def _verified(data: bytes, digest: str, where: str) -> bytes:
    if digest_of(data) != digest:
        raise _damaged(digest, where)
    return data


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `folder` into one sentence with what to do."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full: free some space",
            errno.EDQUOT: "the disk quota is used up: free some space or ask for more",
            errno.EACCES: "permission is denied: check its owner and group",
            errno.EPERM: "permission is denied: check its owner and group",
            errno.EROFS: "the file system is read-only: choose another folder",
        }
        if error.errno not in reasons:
            raise
        raise BlobError(f"{folder} cannot be written: {reasons[error.errno]}, then try again.") from error
