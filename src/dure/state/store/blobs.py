"""Where the bytes of snapshots lie: a folder or an S3 bucket (`s3blobs`), addressed by the BLAKE3 of what is inside.

A blob never changes and is never overwritten, so "is it there" is all that a writer asks. The one trap: a name says
what the bytes must be, not that they are; every read hashes what it got, and only `path` hands out bytes unchecked.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from blake3 import blake3

from dure.state.store.sealing import (
    CHUNK_BYTES,
    HEADER_BYTES,
    LENGTH_BYTES,
    MARK,
    Seal,
    SealError,
    scratch,
    sealed_whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Garbage collection spares blobs that were put within the hour; twice this must be less, with time left to submit.
FRESH_S = 900.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNMOUNTED = (errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN)  # of NFS and FUSE


class BlobError(Exception):
    """The store cannot keep or give a blob; the text says what, where and what to do."""


class BlobMissing(BlobError):  # noqa: N818 - says what is so, as FileNotFoundError's kin do elsewhere here
    """The store does not hold this blob."""


class StoreAwayError(BlobError):
    """The store does not answer, or cannot be written now: the same may be done later."""


class Blobs(Protocol):
    """A content-addressed store. Digests are BLAKE3 in hex, 64 characters, of the plain bytes."""

    @property
    def parallel(self) -> int:
        """How many puts or gets pay at once."""

    def put(self, data: Any, *, digest: str | None = None, mapped: bool = False) -> str:
        """Keep `data` (bytes-like, contiguous) and return its digest; nothing is written when it is there already. What
        is going to be `mapped` when it is restored is compressed only where it nearly vanishes.
        """

    def put_file(self, path: str | os.PathLike[str]) -> str:
        """Keep a file's content and return its digest."""

    def get(self, digest: str) -> bytes:
        """Return the verified bytes. BlobMissing where there are none, BlobError where their hash is another one."""

    def get_into(self, digest: str, memory: memoryview) -> int:
        """Put the verified bytes into `memory`, without a copy in between where that can be, and return their number;
        BlobError where they are more.
        """

    def get_file(self, digest: str, path: str | os.PathLike[str]) -> int:
        """Write the verified bytes to `path`, which appears whole or not at all; return their number."""

    def path(self, digest: str) -> Path | None:
        """Return the local file that holds exactly the bytes, unverified; None where there is no such file."""

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""

    def claim(self, digests: Iterable[str]) -> set[str]:
        """Return those that must be put: absent, or so old that garbage collection might take them.

        It spares the others for half an hour at least, which is the time to refer to them in a submission.
        """


def digest_of(data: Any) -> str:
    """Return the BLAKE3 of bytes-like `data` in hex.

    On one thread: BLAKE3's own threads are slower on runs of a chunk's size, and a process that was forked from one
    which had used them would wait for them for ever.
    """
    return blake3(data).hexdigest()


def open_blobs(access: Mapping[str, Any]) -> Blobs:
    """Return the store that a BlobAccess dict describes (`kind` folder or s3; `key` where it is encrypted)."""
    kind = access.get("kind")
    seal = seal_of(access)
    if kind == "folder":
        return FolderBlobs(access["root"], seal)
    if kind == "s3":
        from dure.state.store.s3blobs import S3Blobs

        return S3Blobs(access, seal)
    raise BlobError(f"Blob access of kind {kind!r} is not known: write kind: folder or kind: s3.")


def seal_of(access: Mapping[str, Any]) -> Seal:
    """Return how this access's blobs are sealed. BlobError where its key is none."""
    key = access.get("key")
    try:
        return Seal(None if key is None else base64.b64decode(key, validate=True))
    except (SealError, ValueError) as error:
        raise BlobError(
            f"This team's blobs cannot be opened ({error}): ask the administrator for a valid key."
        ) from None


class FolderBlobs:
    """Blobs as files `<root>/blobs/<first two characters>/<digest>`, written beside and renamed into place.

    A folder that is its group's (setgid and group-writable) makes blobs readable for the group whatever the umask is,
    so that a team can share one root.
    """

    parallel = 1

    def __init__(self, root: str | os.PathLike[str], seal: Seal | None = None) -> None:
        self.root = Path(root)
        self._seal = seal or Seal()
        self._blobs = self.root / "blobs"

    def __repr__(self) -> str:
        return f"FolderBlobs({str(self.root)!r})"

    def put(self, data: Any, *, digest: str | None = None, mapped: bool = False) -> str:
        """Keep `data` and return its digest; `digest`, when the caller has just hashed the same bytes, saves a pass.
        What is going to be `mapped` lies as it is where files can be mapped.
        """
        view = memoryview(data).cast("B")
        digest = digest or digest_of(view)
        target = self._file(digest)
        if not self._freshened(target) or _torn(target, view.nbytes):
            packed = self._seal.pack(view, digest, mapped=mapped)
            with self._writing(target) as handle:
                handle.write(view if packed is None else packed)
                _share(handle.fileno(), target.parent)
        return digest

    def put_file(self, path: str | os.PathLike[str]) -> str:
        """Keep a file's content and return its digest. The file is copied first: somebody may write to it meanwhile."""
        self._make(self._blobs)
        hasher = blake3()
        with write_errors(self._blobs), tempfile.TemporaryDirectory(dir=self._blobs, prefix=".put-") as folder:
            copy = Path(folder, "copy")
            with open(path, "rb") as source, copy.open("xb") as sink:  # noqa: PTH123 - path may be any PathLike
                while piece := source.read(CHUNK_BYTES):
                    hasher.update(piece)
                    sink.write(piece)
            digest = hasher.hexdigest()
            target = self._file(digest)
            if not self._freshened(target) or _torn(target, copy.stat().st_size):
                self._make(target.parent)
                copy = self._sealed(copy, digest)
                _share(copy, target.parent)
                copy.replace(target)
        return digest

    def _sealed(self, copy: Path, digest: str) -> Path:
        if not self._seal.encrypts:
            return copy
        sealed = copy.with_name("sealed")
        with copy.open("rb") as source, sealed.open("xb") as sink:
            for piece in self._seal.frames(source, copy.stat().st_size, digest):
                sink.write(piece)
        return sealed

    def get(self, digest: str) -> bytes:
        """Return the verified bytes."""
        target = self._there(digest)
        with self._read_errors(digest):
            data = target.read_bytes()
        return unsealed(self._seal, data, digest, str(target))

    def get_into(self, digest: str, memory: memoryview) -> int:
        """Put the verified bytes into `memory` and return their number."""
        target = self._there(digest)
        with self._read_errors(digest), target.open("rb", buffering=0) as handle:
            stored = scratch(os.fstat(handle.fileno()).st_size, "stored")
            stored = stored[: handle.readinto(stored) or 0]
        return unsealed_into(self._seal, stored, digest, memory, str(target))

    def get_file(self, digest: str, path: str | os.PathLike[str]) -> int:
        """Write the verified bytes to `path` and return their number."""
        source = self._there(digest)
        try:
            with source.open("rb") as handle, self._writing(Path(path)) as sink:
                return unseal_file(self._seal, handle, sink, digest, str(source))
        except FileNotFoundError:
            raise missing(digest, str(self.root), self._seal) from None

    def path(self, digest: str) -> Path | None:
        """Return the blob's file, or None where it is not there or sealed."""
        target = self._there(digest)
        try:
            with target.open("rb") as handle:
                return None if handle.read(len(MARK)) == MARK else target
        except FileNotFoundError:
            return None

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""
        return self._there(digest).exists()

    def claim(self, digests: Iterable[str]) -> set[str]:
        """Date those that are there to now, and return those that must be put."""
        return {digest for digest in digests if not self._freshened(self._file(digest))}

    def _file(self, digest: str) -> Path:
        name = self._seal.name(checked(digest))
        return self._blobs / name[:2] / name

    def _there(self, digest: str) -> Path:
        """Return the blob's file, which may have been written before the team had a key."""
        target = self._file(digest)
        if self._seal.encrypts and not target.exists():
            plain = self._blobs / digest[:2] / digest
            return plain if plain.exists() else target
        return target

    @contextlib.contextmanager
    def _read_errors(self, digest: str) -> Iterator[None]:
        """Turn the operating system's refusals to read a blob into the store's own errors."""
        try:
            yield
        except FileNotFoundError:
            raise missing(digest, str(self.root), self._seal) from None
        except OSError as error:
            raise BlobError(f"Blob {digest[:12]}… in {self.root} cannot be read: {error.strerror}.") from error

    def _freshened(self, target: Path) -> bool:
        with write_errors(self._blobs):
            try:
                os.utime(target)
            except FileNotFoundError:
                return False
            except PermissionError:  # a colleague's file, which only its owner may date
                return time.time() - target.stat().st_mtime < FRESH_S
        return True

    def _make(self, folder: Path) -> None:
        with write_errors(self._blobs if folder.is_relative_to(self._blobs) else folder):
            folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _writing(self, target: Path) -> Iterator[Any]:
        """Give a file that becomes `target` when the block ends well and leaves nothing when it does not."""
        self._make(target.parent)
        with write_errors(self._blobs if target.is_relative_to(self._blobs) else target.parent):
            # O_EXCL with mode 0666: the umask and a setgid folder decide, which mkstemp's 0600 would not let them
            partial = target.parent / f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}"
            try:
                with partial.open("xb") as handle:
                    yield handle
                partial.replace(target)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise


def _torn(target: Path, size_bytes: int) -> bool:
    """Tell whether a blob's file is shorter than it must be, as a file may be after the power went."""
    try:
        with target.open("rb") as handle:
            stored = os.fstat(handle.fileno()).st_size
            begin = handle.read(HEADER_BYTES + LENGTH_BYTES) if stored != size_bytes else b""
    except FileNotFoundError:
        return True
    return stored != size_bytes and not sealed_whole(begin, stored, size_bytes)


def _share(blob: int | Path, folder: Path) -> None:
    """Let the group read a blob when its folder is the group's."""
    shared = stat.S_ISGID | stat.S_IWGRP
    if folder.stat().st_mode & shared == shared:
        os.chmod(blob, stat.S_IMODE(os.stat(blob).st_mode) | stat.S_IRGRP)  # noqa: PTH101, PTH116 - descriptors, too


def checked(digest: str) -> str:
    """Return the digest. BlobError where it is none: it becomes part of a path, and anybody may write a manifest."""
    if not _DIGEST.fullmatch(digest):
        raise BlobError(f"{digest[:80]!r} is not a blob digest: it must be 64 characters of 0-9 and a-f.")
    return digest


def missing(digest: str, where: str, seal: Seal) -> BlobMissing:
    """Return the error for a blob that is not there."""
    how = (
        "it was removed, or never written with this team's key" if seal.encrypts else "it was removed or never written"
    )
    return BlobMissing(f"Blob {digest[:12]}… is not in {where}: {how}; save it again from where it came.")


def damaged(digest: str, where: str) -> BlobError:
    """Return the error for a blob that is not what its name says."""
    return BlobError(
        f"Blob {digest[:12]}… at {where} is damaged (its hash differs): remove that object and save it again."
    )


def unsealed(seal: Seal, data: bytes, digest: str, where: str) -> bytes:
    """Return a stored blob's plain bytes, verified."""
    try:
        plain = seal.open(data, digest)
    except SealError as error:
        raise BlobError(f"Blob {digest[:12]}… at {where} cannot be opened: {error}.") from None
    if digest_of(plain) != digest:
        raise damaged(digest, where)
    return plain


def unsealed_into(seal: Seal, data: memoryview, digest: str, memory: memoryview, where: str) -> int:
    """Put a stored blob's plain bytes, verified, into `memory` and return their number."""
    try:
        size = seal.open_into(data, digest, memory)
    except SealError:  # a blob of another kind than nearly all, or one that cannot be opened, which this tells
        plain = unsealed(seal, bytes(data), digest, where)
        if len(plain) > len(memory):
            raise BlobError(f"Blob {digest[:12]}… has {len(plain)} bytes, more than was saved of it.") from None
        memory[: len(plain)] = plain
        return len(plain)
    if digest_of(memory[:size]) != digest:
        raise damaged(digest, where)
    return size


def unseal_file(seal: Seal, source: Any, sink: Any, digest: str, where: str) -> int:
    """Copy a stored blob's plain bytes from one open file to another and verify them; return their number.

    On an error the sink holds what was copied until then.
    """
    sealed = source.read(len(MARK)) == MARK
    source.seek(0)
    hasher = blake3()
    written = 0
    try:
        for piece in seal.opened(source, digest) if sealed else iter(lambda: source.read(CHUNK_BYTES), b""):
            hasher.update(piece)
            written += sink.write(piece)
    except SealError as error:
        raise BlobError(f"Blob {digest[:12]}… at {where} cannot be opened: {error}.") from None
    if hasher.hexdigest() != digest:
        raise damaged(digest, where)
    return written


@contextlib.contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `folder` into one sentence with what to do."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full: free some space",
            errno.EDQUOT: "the disk quota is used up: free some space or ask for more",
            errno.EACCES: "permission is denied: check its owner and group",
            errno.EPERM: "permission is denied: check its owner and group",
            errno.EIO: "the disk reports an error: check it, or choose another folder",
            errno.EROFS: "the file system is read-only: choose another folder",
            **dict.fromkeys(_UNMOUNTED, "its file server does not answer: mount it again"),
        }
        if error.errno not in reasons:
            raise
        raise StoreAwayError(f"{folder} cannot be written: {reasons[error.errno]}, then try again.") from error
