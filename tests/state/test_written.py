"""What the kernel says was not written is not looked at again, and nothing that was written is missed, however
it was.
"""

import ctypes
import mmap
import os
import struct
import subprocess
import sys
import threading
import traceback
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.state import FolderBlobs, capture, changed, restore, runs
from dure.state.memory import mappings, written
from dure.state.store.blobs import digest_of
from dure.state.store.sealing import CHUNK_BYTES
from tests.examples import examples

BYTES = 10 * 1024 * 1024  # two chunks and a half

needs_marks = pytest.mark.skipif(written.current() is None, reason="this kernel or sandbox has no asynchronous marks")


def digests(array):
    return chunk_digests(memoryview(array).cast("B"), written.current())


def chunk_digests(data, watched):
    """Return the BLAKE3 of every chunk, as a snapshot takes it: only what was written since the last look is hashed."""
    look = written.looked(data, watched)
    known = look.digests if look is not None else [None] * -(-data.nbytes // CHUNK_BYTES)
    unknown = [index for index, digest in enumerate(known) if digest is None]
    digests = dict(zip(unknown, written.hashed(data, unknown), strict=True))
    found = [digest or digests[index] for index, digest in enumerate(known)]
    if look is not None and watched is not None:
        watched[0].learn(look, found)
    return found


def pages():
    """Ones on pages that no other object shares, since a write beside an array marks its first or last page."""
    array = np.frombuffer(mmap.mmap(-1, BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), "u1")
    array[:] = 1
    return array


def truth(array):
    data = memoryview(array).cast("B")
    return [digest_of(data[start : start + CHUNK_BYTES]) for start in range(0, data.nbytes, CHUNK_BYTES)]


@pytest.fixture
def hashed(monkeypatch):
    """The numbers of the chunks that were hashed, look by look."""
    seen: list[list[int]] = []
    plain = written.hashed

    def spy(data, chunks):
        seen.append(list(chunks))
        return plain(data, chunks)

    monkeypatch.setattr(written, "hashed", spy)
    return seen


@needs_marks
def test_only_the_chunk_that_was_written_is_hashed_again(hashed):
    array = pages()
    first = digests(array)
    assert digests(array) == first
    array[5 * 1024 * 1024] = 2
    assert digests(array) == truth(array)
    assert hashed == [[0, 1, 2], [], [1]]


def by_view(array):
    array.reshape(2, -1)[1, ::-7][3] = 9


def by_ctypes(array):
    ctypes.memset(array.ctypes.data + 77, 5, 100)


def by_buffer(array):
    memoryview(array)[-1] = 9


def by_struct(array):
    struct.pack_into("<d", array, 4_200_000, 2.5)


def by_the_kernel(array):
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    os.readv(reader, [memoryview(array)[6_000_000:6_000_011]])
    os.close(reader)
    os.close(writer)


def by_a_thread(array):
    thread = threading.Thread(target=array.__setitem__, args=(3, 200))
    thread.start()
    thread.join()


def by_ufunc(array):
    np.add(array, 1, out=array)


def by_giving_pages_back(array):
    start = (array.ctypes.data + 2 * mmap.PAGESIZE) & -mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert libc.madvise(start, mmap.PAGESIZE, mmap.MADV_DONTNEED) == 0


def by_another_view_of_the_process(array):
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(array.ctypes.data + 8_000_000)
        memory.write(b"poked")


WRITES = [
    by_view,
    by_ctypes,
    by_buffer,
    by_struct,
    by_the_kernel,
    by_a_thread,
    by_ufunc,
    by_giving_pages_back,
    by_another_view_of_the_process,
]


@pytest.mark.skipif(sys.platform != "linux", reason="madvise and /proc")
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_no_way_of_writing_is_missed(write):
    array = np.ones(BYTES, "u1")
    for _ in range(2):
        before = digests(array)
        write(array)
        assert digests(array) == truth(array)
    assert before != digests(array) or write is by_buffer or write is by_struct or array[0] == 1


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
@pytest.mark.skipif(sys.platform != "linux", reason="madvise and /proc")
def test_restored_memory_is_watched_as_well(tmp_path, write):
    blobs = FolderBlobs(tmp_path)
    base = capture({"array": np.ones(BYTES, "u1")}, blobs=blobs)
    worker: dict[str, Any] = {}
    restore(base, blobs, into=worker)
    assert changed(worker, base, blobs=blobs).changed == ()
    before = worker["array"].copy()
    write(worker["array"])
    differs = not np.array_equal(before, worker["array"])
    assert changed(worker, base, blobs=blobs).changed == (("array",) if differs else ())
    again: dict[str, Any] = {}
    restore(base, blobs, into=again)
    assert np.array_equal(again["array"], before)


@needs_marks
def test_what_was_restored_and_not_written_is_not_hashed_again(tmp_path, monkeypatch):
    hashed: list[int] = []
    plain = digest_of

    def spy(piece):
        hashed.append(len(piece))
        return plain(piece)

    monkeypatch.setattr(runs, "digest_of", spy)
    blobs = FolderBlobs(tmp_path)
    base = capture({"array": np.ones(BYTES, "u1")}, blobs=blobs)
    worker: dict[str, Any] = {}
    restore(base, blobs, into=worker)
    del hashed[:]
    assert changed(worker, base, blobs=blobs).changed == ()
    assert [size for size in hashed if size > 4096] == []
    worker["array"][0] = 3
    assert changed(worker, base, blobs=blobs).changed == ("array",)
    assert [size for size in hashed if size > 4096] == [CHUNK_BYTES]


def test_new_memory_at_an_old_address_is_not_mistaken_for_the_old():
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    first = np.frombuffer(mmap.mmap(-1, BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), "u1")
    first[:] = 1
    assert digests(first) == truth(first)
    fixed = 0x10
    address = first.ctypes.data
    assert libc.mmap(address, BYTES, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | fixed, -1, 0) == address
    assert digests(first) == truth(first)
    # and where another run, which overlaps, was looked at in between
    half = first[: BYTES // 2]
    half[:] = 7
    assert libc.mmap(address, BYTES, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | fixed, -1, 0) == address
    assert digests(half) == truth(half)
    assert digests(first) == truth(first)


def test_memory_that_others_can_write_is_always_hashed():
    shared = shared_memory.SharedMemory(create=True, size=BYTES)
    try:
        array = np.frombuffer(shared.buf, "u1")  # type: ignore[arg-type]
        assert digests(array) == truth(array)
        code = (
            "import sys; from multiprocessing import shared_memory as s, resource_tracker as r\n"
            "m = s.SharedMemory(sys.argv[1]); m.buf[9] = 9; r.unregister(m._name, 'shared_memory'); m.close()"
        )
        subprocess.run([sys.executable, "-c", code, shared.name], check=True)
        assert array[9] == 9
        assert digests(array) == truth(array)
        del array
    finally:
        shared.close()
        shared.unlink()


def test_a_child_of_this_process_starts_from_nothing():
    array = np.ones(BYTES, "u1")
    digests(array)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            array[5] = 9
            code = 0 if digests(array) == truth(array) else 2
        except BaseException:  # nothing may leave the child, which would go on as a second pytest
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert digests(array) == truth(array)


def test_where_the_kernel_has_no_marks_every_byte_is_hashed(monkeypatch, hashed):
    monkeypatch.setattr(written, "current", lambda: None)
    array = np.ones(BYTES, "u1")
    assert digests(array) == digests(array) == truth(array)
    assert hashed == [[0, 1, 2], [0, 1, 2]]


def test_what_is_written_while_it_is_hashed_counts_next_time(monkeypatch):
    array = np.ones(BYTES, "u1")
    plain = written.hashed

    def slow(data, chunks):
        found = plain(data, chunks)
        array[1] = 50 + len(depth)  # after its chunk was hashed
        if not depth:
            depth.append(1)
            chunk_digests(data, written.current())  # another look takes the marks meanwhile
        return found

    depth: list[int] = []
    monkeypatch.setattr(written, "hashed", slow)
    digests(array)
    monkeypatch.setattr(written, "hashed", plain)
    assert digests(array) == truth(array)


@settings(max_examples=examples(40))
@given(st.data())
def test_any_mixture_of_writes_and_looks_at_overlapping_runs(data):
    whole = np.zeros(BYTES, "u1")
    runs = [whole, whole[: BYTES // 2], whole[3_000_001:], whole[4096 : CHUNK_BYTES + 9000]]
    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()):
            start = data.draw(st.integers(0, BYTES - 1))
            whole[start : start + data.draw(st.integers(1, 5000))] += 1
        run = data.draw(st.sampled_from(runs))
        assert digests(run) == truth(run)


MUTATIONS = {
    "big[data] = -1": {"big", "half", "nest"},
    "half[0] += 1": {"big", "half", "nest"},
    "nest['deep'][0][5] = 7": {"big", "half", "nest"},
    "ctypes.memset(big.ctypes.data + 8 * data, 1, 8)": {"big", "half", "nest"},
    "memoryview(big).cast('B')[8 * data] = 3": {"big", "half", "nest"},
    "frame.iloc[data % 200_000, frame.columns.get_loc('b')] = 5.5": {"frame"},
    "frame.loc[frame.index[3], 'b'] = 9.25": {"frame"},
    "frame['a'] += 1": {"frame"},
    "frame[f'z{data}'] = 1": {"frame"},
    "frame['b'].to_numpy(copy=False).base is None": {"frame"},
    "raw[data] = 4": {"raw"},
    "big.sort()": set(),
    "np.random.default_rng(data).shuffle(big)": {"big", "half", "nest"},
}


@settings(max_examples=examples(60))
@given(
    st.lists(st.tuples(st.sampled_from(sorted(MUTATIONS)), st.integers(0, 299_999)), min_size=1, max_size=4),
    st.booleans(),
)
def test_no_mutation_of_large_values_is_missed(tmp_path_factory, steps, restored):
    blobs = FolderBlobs(tmp_path_factory.mktemp("large"))
    scope: dict[str, Any] = {"big": np.arange(300_000.0), "raw": bytearray(2_000_000)}
    scope |= {"half": scope["big"][:1000], "frame": pd.DataFrame({"a": np.arange(200_000), "b": np.arange(2e5)})}
    scope["nest"] = {"deep": [scope["big"]]}
    base = capture(scope, blobs=blobs)
    if restored:
        scope = {}
        restore(base, blobs, into=scope)
    kernel: dict[str, Any] = {}
    restore(base, blobs, into=kernel)
    for code, number in steps:
        names = set(scope)
        exec(code, {"np": np, "ctypes": ctypes, "data": number, **scope})
        found = changed(scope, base, blobs=blobs)
        if MUTATIONS[code]:
            touched = [name for name in names if not same(scope[name], kernel[name])]
            assert set(touched) <= set(found.changed)
        if found.snapshot is not None:
            restore(found.snapshot, blobs, into=kernel)
            base = base.merged(found.snapshot)
        assert all(same(scope[name], kernel[name]) for name in names)


def same(one, other):
    if isinstance(one, dict):
        return same(one["deep"][0], other["deep"][0])
    return one.equals(other) if isinstance(one, pd.DataFrame) else bool(np.array_equal(one, other))


@needs_marks
def test_memory_that_is_known_as_one_thing_is_not_known_as_another():
    array = pages()
    current = written.current()
    assert current is not None
    watch, private = current
    address = written.address_of(memoryview(array))
    for known in ([None] * 3, ["unwritten"] * 3):
        look = watch.look(address, array.nbytes, private, "elements")
        assert look is not None
        assert look.digests == known
        watch.learn(look, ["unwritten"] * 3)
    assert digests(array) == truth(array)


@needs_marks
@pytest.mark.parametrize("cut_short", [False, True])
def test_marks_that_a_look_clears_are_told_to_who_asks_by_pages(monkeypatch, cut_short):
    watched = written.current()
    assert watched is not None
    watch = watched[0]
    array = np.frombuffer(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), "u1")
    array[:] = 1
    start = array.__array_interface__["data"][0]
    own = np.array([start // mmap.PAGESIZE], "u8")
    watch.pages_written(own)  # what other tests' looks took is told once
    assert not watch.watch_pages(own).any()
    assert not watch.pages_written(own).any()
    array[0] = 2
    if cut_short:
        with monkeypatch.context() as patched:
            patched.setattr(watch, "_take", interrupted)
            with pytest.raises(KeyboardInterrupt):
                watch.look(start, mmap.PAGESIZE, None)
    else:
        watch.look(start, 1 << 20, None)  # of which all but the first page is not watched yet
    assert watch.pages_written(own).all()


@needs_marks
def test_an_interrupt_between_the_kernels_answer_and_what_is_kept_of_it_makes_all_unknown(monkeypatch):
    one, watched = pages(), written.current()
    assert watched is not None
    digests(one)
    beside = one[4 * 1024 * 1024 :]
    digests(beside)
    one[5 * 1024 * 1024] = 9
    with monkeypatch.context() as patched:
        patched.setattr(watched[0], "_forget", interrupted)
        with pytest.raises(KeyboardInterrupt):
            digests(beside)
    assert digests(one) == truth(one)


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.skipif(mappings.shared_files() is None, reason="this kernel tells of all mappings only, as a text")
def test_one_mapping_that_is_asked_for_is_told_as_in_the_text_of_all(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(BYTES))
    with file.open("r+b") as handle:
        of_file = mmap.mmap(handle.fileno(), BYTES)
        copied = mmap.mmap(handle.fileno(), BYTES, flags=mmap.MAP_PRIVATE)
    shared, private = mmap.mmap(-1, BYTES), mmap.mmap(-1, BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    text = mappings.text_of_all()
    of_text, asked = mappings.Private(text), mappings.Private(None)
    areas = mappings.areas()
    wanted = [(low, high) for low, high in areas if high < 1 << 47]
    wanted += [(low, high + mmap.PAGESIZE) for low, high in wanted] + [(high, high + 1) for _, high in wanted]
    differ = [each for each in wanted if of_text.covers(*each) != asked.covers(*each)]
    assert all(areas != mappings.areas() for _ in differ), differ  # unless it was mapped meanwhile
    for data, is_private in ((of_file, False), (copied, False), (shared, False), (private, True)):
        start = np.frombuffer(data, "u1").__array_interface__["data"][0]
        assert asked.covers(start, start + BYTES) is is_private
    assert str(file) in (mappings.shared_files() or [])
    assert {path for _, _, rights, inode, path in mappings._LINE.findall(text or "") if rights[3] == "s"} <= set(
        mappings.shared_files() or []
    )


def test_a_process_that_maps_a_device_hashes_all(monkeypatch):
    monkeypatch.setattr(mappings, "shared_files", lambda: ["/dev/shm/some", "/dev/nvidia0"])
    assert written.current() is None
    monkeypatch.setattr(mappings, "shared_files", lambda: None)
    monkeypatch.setattr(
        mappings, "text_of_all", lambda: "7f0000000000-7f0000001000 rw-s 0 00:0e 12 anon_inode:[io_uring]\n"
    )
    assert written.current() is None


@needs_marks
def test_marks_that_are_cleared_before_the_kernel_refuses_what_follows_are_not_lost():
    watched = written.current()
    assert watched is not None
    watch, private = watched
    array, page = pages(), mmap.PAGESIZE
    start = array.__array_interface__["data"][0]
    middle = start + 4 * 1024 * 1024
    before = np.array([(start + BYTES) // page - 1], "u8")
    watch.watch_pages(before)  # what is one area now is known
    look = watch.look(start, middle - start, private)  # and two from here on
    assert look is not None
    watch.learn(look, ["known"])
    array[middle - start - 1] = 9
    watch.watch_pages(np.array([middle // page - 1, middle // page], "u8"))
    look = watch.look(start, middle - start, private)
    assert look is not None
    assert look.digests == [None]
