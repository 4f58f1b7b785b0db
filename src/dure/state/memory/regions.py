"""Memory that restored buffers live in: blob files mapped copy-on-write one after another, or plain anonymous
pages.

Mapping makes a restore cost the same at any size; a write makes private pages and never reaches a blob. The
one trap: a file that is cut short after it was mapped kills the process with SIGBUS, so sizes are checked
first and blobs are never opened for writing.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import weakref
    from collections.abc import Sequence
    from pathlib import Path

MAPPED_BYTES = 1024 * 1024  # mapping a smaller buffer costs more than reading it
_MAP_PRIVATE = 0x02
_MAP_FIXED = 0x10
_MAP_ANONYMOUS = 0x20
_MAP_NORESERVE = 0x4000
_MADV_HUGEPAGE = 14
_FAILED = ctypes.c_void_p(-1).value


def empty(size_bytes: int) -> memoryview:
    """Return zeroed memory, which lives as long as a view of it; on Linux pages appear when they are first written."""
    if not mapping_works() or not size_bytes:
        return memoryview(Block(size_bytes))
    address, memory = _reserved(size_bytes)
    # all of it is filled at once: a fault for each 2 MiB instead of each 4 KiB; refused where that is switched off
    _libc().madvise(address, size_bytes, _MADV_HUGEPAGE)
    return memory


def of_files(paths: Sequence[Path | None], chunk_bytes: int, size_bytes: int) -> memoryview:
    """Map files, all but the last of `chunk_bytes`, as one run of `size_bytes`; None leaves zeros to be filled.
    OSError where a size is wrong.
    """
    address, memory = _reserved(size_bytes)
    for index, path in enumerate(paths):
        if path is None:
            continue
        offset = index * chunk_bytes
        expected = min(chunk_bytes, size_bytes - offset)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(handle).st_size
            if found != expected:
                raise OSError(f"{path} has {found} bytes where {expected} were saved")
            _map(address + offset, expected, _MAP_PRIVATE | _MAP_FIXED, handle)
        finally:
            os.close(handle)
    return memory


def _reserved(size_bytes: int) -> tuple[int, memoryview]:
    address = _map(0, size_bytes, _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE, -1)
    return address, memoryview(_mapped_type(size_bytes).from_address(address)).cast("B")


def _map(address: int, size_bytes: int, flags: int, handle: int) -> int:
    found = _libc().mmap(address, size_bytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, handle, 0)
    if found == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot map {size_bytes} bytes: {os.strerror(code)}")
    return int(found)


class Block(bytearray):
    """Memory of a restored buffer where nothing is mapped; its type says that no one else holds it."""


class Mapped(ctypes.Array):  # type: ignore[type-arg]
    """The Python owner of mapped memory: numpy keeps it as an array's base, and its end unmaps."""

    _type_ = ctypes.c_ubyte
    _length_ = 0

    def __del__(self) -> None:
        _spoiled.pop(id(self), None)
        if self._length_ and not sys.is_finalizing():
            _libc().munmap(ctypes.addressof(self), self._length_)


_spoiled: dict[int, tuple[int, int, str]] = {}  # of mapped memory by the id of its owner: from, to, and why


def spoil(memory: weakref.ref[Any], reason: str) -> None:
    """Note that mapped memory holds damaged bytes, so that nothing on it is saved as if they were the person's."""
    owner = memory()
    if isinstance(owner, Mapped):
        low = ctypes.addressof(owner)
        _spoiled[id(owner)] = (low, low + owner._length_, reason)


def spoiled(address: int, size_bytes: int) -> str:
    """Return why a run of memory must not be saved; empty where nothing is wrong with it."""
    for low, high, reason in list(_spoiled.values()):
        if address < high and low < address + size_bytes:
            return reason
    return ""


def mapping_works() -> bool:
    """Tell whether this system maps as we do it (Linux; elsewhere buffers are read into memory)."""
    return sys.platform == "linux"


@functools.lru_cache(maxsize=256)
def _mapped_type(size_bytes: int) -> Any:
    return type("Mapped", (Mapped,), {"_type_": ctypes.c_ubyte, "_length_": size_bytes})


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int64,
    ]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc
