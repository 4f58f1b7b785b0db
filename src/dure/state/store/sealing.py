"""How a blob lies in the store: as its plain bytes, or sealed, which is compressed where that pays and encrypted where
the team has a key.

A sealed blob is a header and frames of at most 4 MiB, each compressed by itself and then encrypted (AES-256-GCM, the
header, the digest and the frame's number authenticated with it) or, without a key, followed by a checksum. Digests are
always of the plain bytes. With a key the stored name is a keyed hash of the digest, so that nobody without it can ask
whether a content is there. The one trap: any blob may begin with the mark by chance, so what does not open is compared
with its digest as it lies.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import struct
import threading
from typing import TYPE_CHECKING, Any

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 4 * 1024 * 1024
KEY_BYTES = 32
MARK = b"\x89dure\r\n\x01"
_HEADER = struct.Struct("<8sBBHIQ8s")  # mark, zstd, encrypted, flags, bytes of a frame, plain bytes, nonce
HEADER_BYTES = _HEADER.size
LENGTH_BYTES = 4  # before each frame
_BRACE = 1  # a flag: the plain bytes begin with a brace, so it may be a manifest
_LENGTH = struct.Struct("<I")
_SMALL = 4096  # compressing less saves no block of a disk
_SAMPLE, _SAMPLES = 8192, 4
_PAYS = 0.75  # of the plain size: beyond it a blob stays plain
# the same of memory that is mapped when it is restored: expanding it would be what a person waits for
_VANISHES = 1 / 32
_LEVEL = 1
_own = threading.local()
_TAG = 16  # bytes, as AES-GCM's


def chunks_of(data: bytes) -> list[memoryview]:
    """Return the chunks of some bytes, of none an empty one."""
    view = memoryview(data)
    return [view[low : low + CHUNK_BYTES] for low in range(0, max(len(view), 1), CHUNK_BYTES)]


class SealError(Exception):
    """These bytes cannot be opened; the text is why, as part of a sentence."""


class Seal:
    """Names and wraps one team's blobs. Without a key it compresses only."""

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) != KEY_BYTES:
            raise SealError(f"a blob key has {KEY_BYTES} bytes and this one {len(key)}")
        self._cipher = _Checksum() if key is None else _Gcm(blake3(b"content", key=key).digest())
        self._names = None if key is None else blake3(b"names", key=key).digest()

    @property
    def encrypts(self) -> bool:
        """Whether there is a key."""
        return self._names is not None

    def name(self, digest: str) -> str:
        """Return the name that a blob has in the store: 64 characters of 0-9 and a-f."""
        if self._names is None:
            return digest
        return blake3(bytes.fromhex(digest), key=self._names).hexdigest()

    def pack(self, data: memoryview, digest: str, *, mapped: bool = False) -> bytes | None:
        """Return the bytes to store, or None where the plain bytes are to be stored; `mapped` bytes are whenever that
        is not a great waste.
        """
        if not self.encrypts and data[: len(MARK)] != MARK:  # plain bytes that begin so would be taken for sealed ones
            bound = _VANISHES if mapped else _PAYS
            if len(data) < _SMALL or not _probably_pays(data, bound):
                return None
            packed = b"".join(self.frames(data, len(data), digest))
            return packed if len(packed) < bound * len(data) else None
        return b"".join(self.frames(data, len(data), digest))

    def frames(self, data: Any, size_bytes: int, digest: str) -> Iterator[bytes]:
        """Yield the sealed bytes of `data`, a memoryview or an open file, piece by piece."""
        read = data.read if hasattr(data, "read") else _reader(data)
        frame = read(CHUNK_BYTES)
        flags = _BRACE if bytes(frame[:1]) == b"{" else 0
        header = _HEADER.pack(MARK, 1, self.encrypts, flags, CHUNK_BYTES, size_bytes, os.urandom(8))
        yield header
        for index in range(_frames(size_bytes, CHUNK_BYTES)):
            body = self._cipher.encrypt(_nonce(header, index), _compressed(frame), _bound(header, digest, index))
            yield _LENGTH.pack(len(body)) + body
            frame = read(CHUNK_BYTES)

    def open(self, data: bytes, digest: str) -> bytes:
        """Return the plain bytes, not yet compared with the digest. SealError where they cannot be opened."""
        if not data.startswith(MARK):
            return data
        try:
            return b"".join(self.opened(io.BytesIO(data), digest))
        except SealError:
            if blake3(data).hexdigest() == digest:  # plain bytes that begin so by chance
                return data
            raise

    def open_into(self, data: memoryview, digest: str, memory: memoryview) -> int:
        """Put a stored blob's plain bytes, not yet compared with the digest, into `memory` and return their number.

        For blobs of one frame, which are most; others, and those that `memory` is too small for, are a SealError.
        """
        if data[: len(MARK)] != MARK:
            return _placed(data, memory)
        header = bytes(data[:HEADER_BYTES])
        size, frame_bytes, encrypted = _parsed(header)
        begin = HEADER_BYTES + LENGTH_BYTES
        (length,) = _LENGTH.unpack(data[HEADER_BYTES:begin]) if len(data) >= begin else (0,)
        if _frames(size, frame_bytes) != 1 or len(data) != begin + length or encrypted != self.encrypts:
            raise SealError("it has more than one frame")
        body = self._cipher.decrypt_aside(_nonce(header, 0), data[begin:], _bound(header, digest, 0))
        plain = body[1:] if bytes(body[:1]) == b"\x00" else memoryview(_expanded(bytes(body), frame_bytes))
        if len(plain) != size:
            raise SealError("a part of it is missing")
        return _placed(plain, memory)

    def opened(self, source: Any, digest: str) -> Iterator[bytes]:
        """Yield the plain bytes of a sealed blob that is read from `source`, an open file."""
        header = source.read(HEADER_BYTES)
        size, frame_bytes, encrypted = _parsed(header)
        if encrypted and not self.encrypts:
            raise SealError("it is encrypted and no key was given")
        cipher = self._cipher if encrypted else _Checksum()
        for index in range(_frames(size, frame_bytes)):
            length = source.read(_LENGTH.size)
            size_here = _LENGTH.unpack(length)[0] if len(length) == _LENGTH.size else 0
            body = source.read(size_here)
            if not size_here or len(body) != size_here:
                raise SealError("a part of it is missing")
            body = cipher.decrypt(_nonce(header, index), body, _bound(header, digest, index))
            frame = _expanded(body, frame_bytes)
            if len(frame) != min(frame_bytes, size - index * frame_bytes):
                raise SealError("a part of it is missing")
            yield frame
        if source.read(1):
            raise SealError("it is longer than it says")


def sealed_size(header: bytes) -> int | None:
    """Return the plain size that a sealed blob's first bytes tell; None where they are those of a plain one."""
    return _parsed(header)[0] if header.startswith(MARK) and len(header) >= HEADER_BYTES else None


def sealed_whole(begin: bytes, stored_bytes: int, size_bytes: int) -> bool:
    """Tell from a stored blob's first bytes and its length whether it is sealed, has this plain size and is not cut.

    Beyond one frame the cut is not told.
    """
    if not begin.startswith(MARK) or len(begin) < HEADER_BYTES + LENGTH_BYTES:
        return False
    size, frame_bytes, _ = _parsed(begin)
    if size != size_bytes:
        return False
    return _frames(size, frame_bytes) > 1 or stored_bytes == len(begin) + _LENGTH.unpack(begin[HEADER_BYTES:])[0]


def may_be_manifest(header: bytes) -> bool:
    """Tell from a blob's first bytes whether its plain content may be a manifest."""
    if header.startswith(MARK) and len(header) >= HEADER_BYTES:
        return bool(_HEADER.unpack(header[:HEADER_BYTES])[3] & _BRACE)
    return header.startswith(b"{")


def _parsed(header: bytes) -> tuple[int, int, bool]:
    if len(header) < HEADER_BYTES:
        raise SealError("its header is cut short")
    _, codec, encrypted, _, frame_bytes, size, _ = _HEADER.unpack(header[:HEADER_BYTES])
    if codec != 1 or encrypted > 1 or not 0 < frame_bytes <= CHUNK_BYTES:
        raise SealError("a newer dure wrote it: update dure here")
    return size, frame_bytes, bool(encrypted)


def _frames(size_bytes: int, frame_bytes: int) -> int:
    return max(1, -(-size_bytes // frame_bytes))  # an empty blob has a frame, too, which vouches for its header


def _nonce(header: bytes, index: int) -> bytes:
    return header[-8:] + _LENGTH.pack(index)


def _bound(header: bytes, digest: str, index: int) -> bytes:
    return header + bytes.fromhex(digest) + _LENGTH.pack(index)


def _placed(plain: memoryview, memory: memoryview) -> int:
    if len(plain) > len(memory):
        raise SealError("it is longer than it says")
    memory[: len(plain)] = plain
    return len(plain)


def scratch(size_bytes: int, use: str) -> memoryview:
    """Return memory of this thread's, the same each time: new memory costs as much as what is copied to it."""
    kept = _own.__dict__.setdefault("kept", {})
    if len(kept.get(use, b"")) < size_bytes:
        kept[use] = bytearray(max(size_bytes, CHUNK_BYTES + 4096))
    return memoryview(kept[use])[:size_bytes]


def _reader(data: memoryview) -> Any:
    at = 0

    def read(size_bytes: int) -> memoryview:
        nonlocal at
        at += size_bytes
        return data[at - size_bytes : at]

    return read


# --- zstd: Python's own from 3.14, else the package of that name


@functools.cache
def _zstd() -> Any:
    for name in ("compression.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return None


def _compressed(frame: Any) -> bytes:
    """Return a frame's body: one byte that says how, then the bytes."""
    zstd = _zstd()
    if zstd is not None and len(frame) >= _SMALL and _probably_pays(frame):
        packed: bytes = zstd.compress(frame, _LEVEL)
        if len(packed) < _PAYS * len(frame):
            return b"\x01" + packed
    return b"\x00" + bytes(frame)


def _expanded(body: bytes, frame_bytes: int) -> bytes:
    if body[:1] == b"\x00":
        return body[1:]
    if body[:1] != b"\x01":
        raise SealError("a part of it is missing")
    zstd = _zstd()
    if zstd is None:
        raise SealError("it is compressed and this Python has no zstd: type pip install zstandard")
    try:
        # a frame says its size first; one that lies about it is not expanded beyond what a frame may have
        size = _stated_size(zstd, body[1:])
        return bytes(zstd.decompress(body[1:])) if 0 < size <= frame_bytes else b""
    except Exception as error:
        raise SealError("a part of it is damaged") from error


def _stated_size(zstd: Any, data: bytes) -> int:
    if hasattr(zstd, "frame_content_size"):
        return int(zstd.frame_content_size(data))
    return int(zstd.get_frame_info(data).decompressed_size or 0)


def _probably_pays(data: Any, bound: float = _PAYS) -> bool:
    """Tell from a few samples whether compressing pays; they cost a fiftieth of compressing it all."""
    zstd = _zstd()
    if zstd is None:
        return False
    step = max(len(data) // _SAMPLES, _SAMPLE)
    sample = b"".join(bytes(data[start : start + _SAMPLE]) for start in range(0, len(data), step))
    return len(zstd.compress(sample, _LEVEL)) < bound * len(sample)


# --- what ends a frame


class _Checksum:
    """Stands where a cipher would, for teams without a key: a flipped bit is found, nothing is hidden."""

    @staticmethod
    def encrypt(_: bytes, body: bytes, bound: bytes) -> bytes:
        return body + blake3(bound).update(body).digest(_TAG)

    @staticmethod
    def decrypt(_: bytes, body: bytes, bound: bytes) -> bytes:
        if blake3(bound).update(body[:-_TAG]).digest(_TAG) != body[-_TAG:]:
            raise SealError("a part of it is damaged")
        return body[:-_TAG]

    @classmethod
    def decrypt_aside(cls, nonce: bytes, body: memoryview, bound: bytes) -> memoryview:
        return memoryview(cls.decrypt(nonce, bytes(body), bound))


class _Gcm:
    """AES-GCM, from the package cryptography, which only teams with a key need."""

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise SealError(
                "it is encrypted and cryptography is not installed: type pip install cryptography"
            ) from None
        self._cipher = AESGCM(key)
        self._invalid = (InvalidTag, ValueError)

    def encrypt(self, nonce: bytes, body: bytes, bound: bytes) -> bytes:
        return bytes(self._cipher.encrypt(nonce, body, bound))

    def decrypt_aside(self, nonce: bytes, body: memoryview, bound: bytes) -> memoryview:
        """Decrypt into memory of this thread, where the package can (since 47)."""
        if not hasattr(self._cipher, "decrypt_into") or len(body) < _TAG:
            return memoryview(self.decrypt(nonce, bytes(body), bound))
        plain = scratch(len(body) - _TAG, "plain")
        try:
            self._cipher.decrypt_into(nonce, body, bound, plain)
        except self._invalid:
            raise _unopened() from None
        return plain

    def decrypt(self, nonce: bytes, body: bytes, bound: bytes) -> bytes:
        try:
            return bytes(self._cipher.decrypt(nonce, body, bound))
        except self._invalid:
            raise _unopened() from None


def _unopened() -> SealError:
    return SealError("it does not open with this team's key: it is damaged, or another key wrote it")
