"""Which large runs of memory were written since they were last hashed, as the kernel tells: the rest need no look at
all.

Linux 6.7 and later mark pages that are written (asynchronous write protection of userfaultfd, asked by PAGEMAP_SCAN);
elsewhere `Watch.open` gives None and every byte is hashed (docs/decisions/0012). The one trap: a mark says only that
this process wrote through its page table, so memory that others can write (shared mappings, memory that a device was
given) is never watched.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import mmap
import os
import platform
import re
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from dure.state.memory import mappings
from dure.state.store.sealing import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

WATCHED_BYTES = 1024 * 1024  # hashing less costs about as much as asking
_LOOKS = 8192  # how many runs of memory are remembered
_NEAR = 64  # pages; what lies between two that are so near is asked for with them
_REGIONS = 4096  # how many one call to the kernel returns
_PAGE = mmap.PAGESIZE
_ALL = (0, 1 << 63)
_HASH_THREADS = 8

_SYSCALL = {"x86_64": 323, "aarch64": 282}  # userfaultfd(2)
_USER_MODE_ONLY = 1  # needs no privilege; protection without a handler works for the kernel's writes as well
_API = 0xAA
_FEATURE_WP_ASYNC = 1 << 15
_MODE_WP = 2
_IOCTL_API = 0xC018AA3F
_IOCTL_REGISTER = 0xC020AA00
_IOCTL_SCAN = 0xC0606610
_SCAN_PROTECT = 1  # PM_SCAN_WP_MATCHING: read the marks and clear them in one step
_SCAN_CHECK = 2  # PM_SCAN_CHECK_WPASYNC: refuse memory that is not watched, such as a new mapping at an old address
_WRITTEN, _PRESENT, _SWAPPED = 1 << 1, 1 << 3, 1 << 4
_SCAN_FLAGS = _SCAN_PROTECT | _SCAN_CHECK
_SCAN_MASKS = (0, 0, 0, 0, _WRITTEN | _PRESENT | _SWAPPED)


@dataclass(slots=True)
class Look:
    """One run of memory as it was hashed, by chunk; None where the digest is not known."""

    start: int
    size_bytes: int
    digests: list[str | None]
    written: set[int] = field(default_factory=set)  # chunks that were written while they were being hashed
    chunk_bytes: int = CHUNK_BYTES

    @property
    def low(self) -> int:
        """Start of its first page."""
        return self.start & -_PAGE

    @property
    def high(self) -> int:
        """End of its last page."""
        return (self.start + self.size_bytes + _PAGE - 1) & -_PAGE

    def forget(self, low: int, high: int) -> None:
        """Drop the digests of the chunks that have a byte between two addresses."""
        first = max(low - self.start, 0) // self.chunk_bytes
        last = (min(high - self.start, self.size_bytes) - 1) // self.chunk_bytes
        for index in range(first, last + 1):
            self.digests[index] = None
            self.written.add(index)


class Watch:
    """What the kernel and this process remember of its memory. One per process; see `current`."""

    def __init__(self, faults: int, pagemap: int) -> None:
        self._faults = faults
        self._pagemap = pagemap
        self._lock = threading.Lock()
        self._looks: dict[tuple[int, int, str], Look] = {}
        # what looks found written, or first watched, since `pages_written`; None as long as nobody asked that
        self._taken: list[tuple[int, int]] | None = None
        self._broken = False  # an interrupt came between the kernel's answer and what is kept of it
        self._areas: list[tuple[int, int]] = []  # as they were; where they changed, the kernel refuses to tell
        self._vector = (ctypes.c_uint64 * (3 * _REGIONS))()
        self._at = ctypes.addressof(self._vector)

    @classmethod
    def open(cls) -> Watch | None:
        """Return a watch, or None where this system has none."""
        number = _SYSCALL.get(platform.machine())
        if sys.platform != "linux" or number is None or not _kernel_has_it():
            return None
        faults = pagemap = -1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            faults = libc.syscall(number, os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY)
            if faults < 0:
                return None
            fcntl.ioctl(faults, _IOCTL_API, bytearray(struct.pack("3Q", _API, _FEATURE_WP_ASYNC, 0)))
            pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            return cls(faults, pagemap)
        except OSError:
            for handle in (faults, pagemap):
                if handle >= 0:
                    os.close(handle)
            return None

    def close(self) -> None:
        """Watch nothing any more."""
        os.close(self._faults)
        os.close(self._pagemap)

    def look(
        self,
        start: int,
        size_bytes: int,
        private: mappings.Private | None,
        kind: str = "bytes",
        chunk_bytes: int = CHUNK_BYTES,
    ) -> Look | None:
        """Return what is known of a run of memory, after clearing its marks; None where it cannot be watched.

        Without `private` the caller vouches that nobody else can write this memory. `kind` says of what the digests
        are: memory that was given back and taken again unwritten is not known as something else.

        The marks are cleared before the caller hashes, so what is written meanwhile counts at the next look.
        """
        with self._unbroken():
            known = self._looks.pop((start, size_bytes, kind), None)
            look = Look(start, size_bytes, [None] * -(-size_bytes // chunk_bytes), chunk_bytes=chunk_bytes)
            try:
                written = self._written(look.low, look.high)
                if written is None:
                    # not watched yet, or new memory at an address that was: whatever was known of it is void
                    self._void(look.low, look.high)
                    if private is not None and not private.covers(look.low, look.high):
                        return None
                    _register(self._faults, look.low, look.high)
                    if self._written(look.low, look.high) is None:
                        return None
                else:
                    if known is not None and known.chunk_bytes == chunk_bytes:
                        look.digests = list(known.digests)
                    self._take(written)
                    for low, high in written:
                        self._forget(low, high)
                        if low < start + size_bytes and high > start:
                            look.forget(low, high)
            except OSError:
                self._void(look.low, look.high)
                return None
            look.written.clear()
            while len(self._looks) >= _LOOKS:
                del self._looks[next(iter(self._looks))]
            self._looks[start, size_bytes, kind] = look
            return look

    def learn(self, look: Look, digests: list[str]) -> None:
        """Remember the digests of what was looked at, but of chunks whose marks another look has taken since."""
        with self._lock:
            look.digests = [None if index in look.written else digest for index, digest in enumerate(digests)]

    def pages_written(self, pages: Any) -> Any:
        """Return for each page, given by sorted numbers, whether it may have been written since `watch_pages`; clears
        the marks.
        """
        with self._unbroken():
            return self._marked(pages, None)

    def watch_pages(self, pages: Any) -> Any:
        """Clear the marks of pages, given by sorted numbers, and return for each whether it cannot be watched.

        What was written until now must be the caller's own doing, while nobody else ran, since the last `pages_written`
        of these pages.
        """
        private = mappings.private_memory()
        if private is None:
            return sys.modules["numpy"].ones(len(pages), bool)
        with self._unbroken():
            return self._marked(pages, private)

    def _marked(self, pages: Any, private: mappings.Private | None) -> Any:
        """Return which pages are marked; with `private`, which cannot be watched or were taken by another look."""
        numpy = sys.modules["numpy"]
        taken, self._taken = self._taken or [], []
        found_rows = [numpy.array(taken, "u8").reshape(-1, 2)]
        refused = numpy.ones(len(pages), bool)
        for begin, end in self._runs(numpy, pages):
            low, high = int(pages[begin]) * _PAGE, (int(pages[end - 1]) + 1) * _PAGE
            try:
                found = self._scan(low, high)
                if found is None and private is not None and private.covers(low, high):
                    self._forget(low, high)  # marks are cleared up to where it was refused
                    _register(self._faults, low, high)
                    found = self._scan(low, high)
            except OSError:
                found = None
            if found is None:
                self._areas = []
                self._forget(low, high)
                continue
            refused[begin:end] = False
            self._forget_all(found)
            if private is None:
                found_rows.append(found)
        rows = numpy.concatenate(found_rows)
        if len(rows):
            first = numpy.searchsorted(pages, rows[:, 0] // _PAGE)
            last = numpy.searchsorted(pages, (rows[:, 1] + numpy.uint64(_PAGE - 1)) // _PAGE)
            steps = numpy.zeros(len(pages) + 1, "i8")
            numpy.add.at(steps, first, 1)
            numpy.add.at(steps, last, -1)
            refused |= numpy.cumsum(steps[:-1]) > 0
        return refused

    def _runs(self, numpy: Any, pages: Any) -> list[tuple[int, int]]:
        found = _runs(numpy, pages, self._areas)
        if found is None:  # to read all areas takes milliseconds
            self._areas = mappings.areas()
            found = _runs(numpy, pages, self._areas, known=True)
        return found or []

    def forget(self) -> None:
        """Remember nothing."""
        with self._lock:
            self._looks.clear()

    @contextlib.contextmanager
    def _unbroken(self) -> Iterator[None]:
        """Hold the lock; after a use that was cut short nothing that was known is believed."""
        with self._lock:
            if self._broken:
                self._looks.clear()
                self._take([_ALL])
            self._broken = True
            yield
            self._broken = False

    def _take(self, written: list[tuple[int, int]]) -> None:
        if self._taken is not None:
            self._taken = self._taken + written if len(self._taken) < _LOOKS else [_ALL]

    def _void(self, low: int, high: int) -> None:
        """Forget what was known of memory of which some marks may be cleared, and some not."""
        self._take([(low, high)])
        self._forget(low, high)

    def _forget(self, low: int, high: int) -> None:
        for look in self._looks.values():
            if look.start < high and look.start + look.size_bytes > low:
                look.forget(low, high)

    def _forget_all(self, written: Any) -> None:
        for look in self._looks.values():
            begin, end = written[:, 1].searchsorted(look.low, "right"), written[:, 0].searchsorted(look.high)
            for low, high in written[begin:end].tolist():
                look.forget(max(low, look.low), min(high, look.high))

    def _written(self, low: int, high: int) -> list[tuple[int, int]] | None:
        """Return the ranges that were written, and clear their marks; None where the range is not watched."""
        found = self._scan(low, high)
        return None if found is None else [(begin, end) for begin, end in found.tolist()]

    def _scan(self, low: int, high: int) -> Any:
        """Return the same as rows of an array, which makes no object for each."""
        numpy = sys.modules["numpy"]
        vector = numpy.frombuffer(self._vector, "u8").reshape(-1, 3)
        rows = []
        covered = position = low
        while position < high:
            asked = bytearray(struct.pack("12Q", 96, _SCAN_FLAGS, position, high, 0, self._at, _REGIONS, *_SCAN_MASKS))
            try:
                count = fcntl.ioctl(self._pagemap, _IOCTL_SCAN, asked)
            except PermissionError:
                return None
            if count:
                begins, ends, categories = vector[:count].T.copy()
                before = numpy.concatenate([numpy.array([covered], "u8"), ends[:-1]])
                # a page that was protected is there, swapped out, or marked; one that is nothing was given back
                there = categories & numpy.uint64(_PRESENT | _SWAPPED) != 0
                bad = (begins != before) | (categories & numpy.uint64(_WRITTEN) != 0) | ~there
                rows.append(numpy.stack([numpy.minimum(begins, before)[bad], ends[bad]], 1))
                covered = int(ends[-1])
            reached = struct.unpack("12Q", asked)[4]
            if reached <= position:
                raise OSError("the kernel's scan of this process's pages stands still")
            # with room left it saw all, although Linux then tells where it went on inside of the call
            position = high if count < _REGIONS else reached
        if covered < high:
            rows.append(numpy.array([[covered, high]], "u8"))
        return numpy.concatenate(rows) if rows else numpy.empty((0, 2), "u8")


Watched = tuple[Watch, mappings.Private | None] | None  # what may be watched now; None where every byte must be hashed
_current: list[Watch | None] = []


def looked(data: memoryview, watched: Watched) -> Look | None:
    """Return what is known of the bytes, after clearing their marks; None where they are few or cannot be watched."""
    if watched is None or data.nbytes < WATCHED_BYTES:
        return None
    watch, private = watched
    start = address_of(data)
    return watch.look(start, data.nbytes, private) if start else None


def hashed(data: memoryview, chunks: list[int]) -> list[str]:
    """Return the BLAKE3 of some chunks of `data`."""

    def hashed_one(index: int) -> str:
        return blake3(data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]).hexdigest()

    threads = min(_HASH_THREADS, os.cpu_count() or 1, len(chunks))
    if threads < 2:
        return [hashed_one(index) for index in chunks]
    # one thread a chunk: BLAKE3's own threads are slower than one on runs of this size
    with ThreadPoolExecutor(threads, thread_name_prefix="dure-hash") as pool:
        return list(pool.map(hashed_one, chunks))


def address_of(data: memoryview) -> int:
    """Return where the bytes are, 0 where that cannot be told without numpy."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return 0
    return int(numpy.frombuffer(data, "u1").__array_interface__["data"][0])


def current() -> tuple[Watch, mappings.Private] | None:
    """Return this process's watch and what it may watch now; None where every byte must be hashed."""
    files = mappings.shared_files()
    maps = mappings.text_of_all() if files is None else None
    if files is None and maps is None:
        return None
    if any(mappings.DEVICES.search(f" {each}") for each in files or [maps or ""]):
        for watch in _current:
            if watch is not None:
                watch.forget()
        return None
    if not _current:
        _current.append(Watch.open())
    watch = _current[0]
    return None if watch is None else (watch, mappings.Private(maps))


def _runs(numpy: Any, pages: Any, areas: list[tuple[int, int]], *, known: bool = False) -> list[tuple[int, int]] | None:
    """Return runs of near pages of one area, each as indices from and to. Where all areas are `known`, pages outside
    are in none; else None is returned if there are such pages.
    """
    if not len(pages):
        return []
    lows = numpy.array([low // _PAGE for low, _ in areas], "u8")
    highs = numpy.array([0, *(high // _PAGE for _, high in areas)], "u8")
    area = numpy.searchsorted(lows, pages, "right")
    inside = pages < highs[area]
    if not (known or inside.all()):
        return None
    cut = (numpy.diff(pages) > _NEAR) | (numpy.diff(area) != 0) | (numpy.diff(inside) != 0)
    edges = [0, *(cut.nonzero()[0] + 1).tolist(), len(pages)]
    return [(begin, end) for begin, end in itertools.pairwise(edges) if inside[begin]]


def _after_fork() -> None:
    # the descriptors speak of the parent's memory, of which a child knows nothing
    for watch in _current:
        if watch is not None:
            with contextlib.suppress(OSError):
                watch.close()
    _current.clear()


os.register_at_fork(after_in_child=_after_fork)


def _kernel_has_it() -> bool:
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    return release is not None and (int(release[1]), int(release[2])) >= (6, 7)


def _register(faults: int, low: int, high: int) -> None:
    fcntl.ioctl(faults, _IOCTL_REGISTER, bytearray(struct.pack("4Q", low, high - low, _MODE_WP, 0)))
