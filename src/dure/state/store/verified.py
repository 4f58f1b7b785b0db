"""Which files of blobs were hashed a moment ago on this machine, told among processes that share an ancestor.

A worker's fork server makes the table once; its forks find there that a file needs not be hashed again. The trap: a
file is known by its inode and size, so one that was written over in place would pass; blobs are only ever renamed into
place, and after a few minutes each is hashed anew.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import time
from pathlib import Path

VALID_S = 600.0
_SLOTS = 1 << 16  # of chunks of 4 MiB: 256 GiB
_ENTRY = struct.Struct("<QQ")  # what it is, and until when (milliseconds of the machine's monotonic clock)
_table: list[mmap.mmap] = []


def share() -> None:
    """Make the table; forks made from now on share it."""
    if not _table:
        _table.append(mmap.mmap(-1, _SLOTS * _ENTRY.size))


def known(path: Path, digest: str) -> bool:
    """Return whether this very file was found to have this digest within the last minutes."""
    if not _table:
        return False
    mark = _mark(path, digest)
    if mark is None:
        return False
    found, until_ms = _ENTRY.unpack_from(_table[0], mark % _SLOTS * _ENTRY.size)
    return bool(found == mark and time.monotonic() * 1000 < until_ms)


def note(path: Path, digest: str) -> None:
    """Remember that this file was just found to have this digest."""
    mark = _mark(path, digest) if _table else None
    if mark is not None:
        until_ms = int((time.monotonic() + VALID_S) * 1000)
        _ENTRY.pack_into(_table[0], mark % _SLOTS * _ENTRY.size, mark, until_ms)


def _mark(path: Path, digest: str) -> int | None:
    try:
        found = path.stat()
    except OSError:
        return None
    text = f"{found.st_dev} {found.st_ino} {found.st_size} {digest}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
