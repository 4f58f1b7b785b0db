"""Which memory this process has, and whose it is: what is mapped where, what nobody else can write, what can be read.

Linux 6.11 tells of one mapping when it is asked; before, the text of all is read, which takes milliseconds. The one
trap: an answer is of the moment, and any thread may map and unmap.
"""

from __future__ import annotations

import bisect
import ctypes
import fcntl
import os
import re
import struct
import sys
from dataclasses import dataclass
from typing import Any

_IOCTL_QUERY = 0xC0686611  # PROCMAP_QUERY of Linux 6.11: one mapping, where the text of all takes a millisecond
_QUERY_BYTES, _NAME_BYTES = 104, 4096
_READABLE, _SHARED, _NEXT, _OF_A_FILE = 1, 8, 16, 32

# a device or the kernel's own threads may hold pages of ours and write them past the page table; drivers share mappings
DEVICES = re.compile(r" /dev/(?!shm/|zero\b)|anon_inode:")
# the only file whose private mapping nobody changes under us is a blob
_BLOB = re.compile(r"/blobs/([0-9a-f]{2})/\1[0-9a-f]{62}( \(deleted\))?$")
_LINE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+) *(.*)$", re.MULTILINE)


class Private:
    """The memory of this process that nobody else can write: as in the text of all mappings, or as the kernel tells
    when it is asked.
    """

    def __init__(self, maps: str | None) -> None:
        self._maps = maps  # read when first asked, which is for memory that is not watched yet
        self._lows: list[int] = []
        self._highs: list[int] = []

    def _read(self, maps: str) -> None:
        self._maps = ""
        for low, high, rights, inode, path in _LINE.findall(maps):
            if not _is_private(path, of_a_file=inode != "0", shared=rights[3] != "p"):
                continue
            if self._highs and self._highs[-1] == int(low, 16):
                self._highs[-1] = int(high, 16)
            else:
                self._lows.append(int(low, 16))
                self._highs.append(int(high, 16))

    def covers(self, low: int, high: int) -> bool:
        """Tell whether all between two addresses is private."""
        if self._maps is None:
            return _covered(low, high)
        if self._maps:
            self._read(self._maps)
        index = bisect.bisect_right(self._lows, low) - 1
        return index >= 0 and high <= self._highs[index]


def _is_private(path: str, *, of_a_file: bool, shared: bool) -> bool:
    return not shared and (not of_a_file or _BLOB.search(path) is not None) and not path.startswith("[v")


def _covered(low: int, high: int) -> bool:
    """Ask the kernel whether all between two addresses is private."""
    with open("/proc/self/maps", "rb", 0) as handle:  # noqa: PTH123 - not a Path's
        while low < high:
            found = _mapping(handle.fileno(), low, 0)
            if found is None or not _is_private(found.path, of_a_file=found.inode != 0, shared=found.shared):
                return False
            low = found.high
    return True


@dataclass(frozen=True, slots=True)
class _Mapping:
    low: int
    high: int
    shared: bool
    inode: int
    path: str


def _mapping(handle: int, address: int, which: int) -> _Mapping | None:
    """Return the mapping at an address, or with `_NEXT` the next one that is `which`; None where there is none. OSError
    where this kernel does not tell.
    """
    name = ctypes.create_string_buffer(_NAME_BYTES)
    asked = bytearray(_QUERY_BYTES)
    struct.pack_into("3Q", asked, 0, _QUERY_BYTES, which, address)
    struct.pack_into("IIQ", asked, 80, _NAME_BYTES, 0, ctypes.addressof(name))
    try:
        fcntl.ioctl(handle, _IOCTL_QUERY, asked)
    except FileNotFoundError:
        return None
    low, high, flags, _, _, inode = struct.unpack_from("6Q", asked, 24)
    return _Mapping(low, high, bool(flags & _SHARED), inode, os.fsdecode(name.value))


def shared_files() -> list[str] | None:
    """Return the names of the files, devices among them, that this process maps and shares; None where the kernel does
    not tell so.
    """
    names, address = [], 0
    try:
        with open("/proc/self/maps", "rb", 0) as handle:  # noqa: PTH123 - not a Path's
            while (found := _mapping(handle.fileno(), address, _NEXT | _SHARED | _OF_A_FILE)) is not None:
                names.append(found.path)
                address = found.high
    except OSError:
        return None
    return names


def private_memory() -> Private | None:
    """Return which memory of this process nobody else writes; None where the system does not tell."""
    if shared_files() is not None:
        return Private(None)
    maps = text_of_all()
    return None if maps is None else Private(maps)


def text_of_all() -> str | None:
    """Return what Linux says of all mappings; None where it does not."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as handle:  # noqa: PTH123 - not a Path's
            return handle.read()
    except OSError:
        return None


def areas(rights: str = "") -> list[tuple[int, int]]:
    """Return the areas of this process's memory, each of which is watched as a whole or not at all; those with rights
    that begin so.
    """
    found = _LINE.findall(text_of_all() or "")
    return [(int(low, 16), int(high, 16)) for low, high, has, _, _ in found if has.startswith(rights)]


def readable(addresses: Any) -> list[tuple[int, int]]:
    """Return the areas that can be read and have one of some sorted addresses, up to the first that is in none; all
    areas where the kernel does not tell one by one.
    """
    found, at = [], 0
    try:
        with open("/proc/self/maps", "rb", 0) as handle:  # noqa: PTH123 - not a Path's
            while at < len(addresses):
                one = _mapping(handle.fileno(), int(addresses[at]), _READABLE)
                if one is None:
                    break
                found.append((one.low, one.high))
                at = int(addresses.searchsorted(sys.modules["numpy"].uint64(one.high)))
    except OSError:
        return areas("r")
    return found
