"""Which threads keep a large value from being proved unchanged, and that no change of theirs is missed."""

import asyncio
import concurrent.futures
import os
import random
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.state import FolderBlobs
from dure.state.cut import alone, plain, remembered, weights
from tests.examples import examples
from tests.state.cutting import loaded, needs_marks, records, save

pytestmark = pytest.mark.usefixtures("small_parts")
DEADLINE_S = 20


def comes(true):
    until = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def remembers():
    return any(root.parts for root in remembered.roots.values())


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(2) as made:
        yield made


@needs_marks
def test_the_threads_of_a_pool_that_has_nothing_to_do_are_no_reason_to_look_again(tmp_path, pool):
    blobs, scope = FolderBlobs(tmp_path), {"data": records()}
    pool.submit(int).result()
    assert comes(lambda: alone.alone() is not None)
    base = save(scope, None, blobs)
    assert remembers()
    stop = threading.Event()
    pool.submit(stop.wait)  # sleeps as well: nobody who could wake it is awake
    assert comes(lambda: alone.alone() is not None)
    stop.set()
    assert save(scope, base, blobs).references() == base.references()


@needs_marks
def test_a_processes_pool_counts_while_it_owes_a_result():
    reading, writing = os.pipe()
    with concurrent.futures.ProcessPoolExecutor(1) as processes:
        processes.submit(int).result()
        assert comes(lambda: alone.alone() is not None)
        owed = processes.submit(os.read, reading, 1)
        assert alone.alone() is None
        os.write(writing, b".")
        assert owed.result() == b"."
        assert comes(lambda: alone.alone() is not None)
    os.close(reading)
    os.close(writing)


@needs_marks
@pytest.mark.parametrize("kind", ["timed", "sleeps", "reads", "works", "asyncio"])
def test_a_thread_that_wakes_by_itself_counts(kind):
    stop = threading.Event()
    reading, writing = os.pipe()

    def works():
        while not stop.is_set():
            pass

    def serves():
        loop = asyncio.new_event_loop()
        loop.add_reader(reading, loop.stop)
        loop.run_forever()
        loop.close()

    ways: dict[str, Any] = {
        "timed": lambda: stop.wait(DEADLINE_S),
        "sleeps": lambda: time.sleep(0.2),
        "reads": lambda: os.read(reading, 1),
        "works": works,
        "asyncio": serves,
    }
    thread = threading.Thread(target=ways[kind])
    thread.start()
    assert alone.alone() is None
    stop.set()
    os.write(writing, b".")
    thread.join()
    assert alone.alone() is not None
    os.close(reading)
    os.close(writing)


@needs_marks
def test_it_is_told_afterwards_that_a_thread_did_not_sleep_on(pool):
    pool.submit(int).result()
    assert comes(lambda: alone.alone() is not None)
    found = alone.alone()
    assert found is not None
    assert found.still()
    pool.submit(int).result()
    assert not found.still()


@needs_marks
def test_what_a_thread_changes_while_parts_are_pickled_is_seen_at_the_next_save(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(weights, "PART_WEIGHT", 8192)  # parts of many pages, most of which hold nothing else
    blobs, scope = FolderBlobs(tmp_path), {"data": records(40_000)}
    pool.submit(int).result()
    assert comes(lambda: alone.alone() is not None)
    base = save(scope, None, blobs)
    dumps, woken = plain.dumps, 0

    def woke(*given, **options):
        nonlocal woken
        made = dumps(*given, **options)
        for record in given[0][0]:
            if record["id"] == -1:  # another thread's doing: ours never lets anybody go on
                pool.submit(record["tags"].append, "late").result()
                woken += 1
        return made

    scope["data"][9000]["id"] = -1
    with monkeypatch.context() as patched:
        patched.setattr(plain, "dumps", woke)
        base = save(scope, base, blobs)
    assert woken == 1
    assert not remembers()
    assert comes(lambda: alone.alone() is not None)
    assert loaded(save(scope, base, blobs), blobs) == scope


@needs_marks
@settings(max_examples=examples(15))
@given(data=st.data())
def test_no_change_that_a_pool_makes_between_or_during_saves_is_missed(tmp_path_factory, data):
    blobs = FolderBlobs(tmp_path_factory.mktemp("blobs"))
    scope: dict[str, Any] = {"data": records(), "index": {f"key {n}": [n] for n in range(600)}}
    seed = data.draw(st.integers(0, 1 << 16))
    chance = random.Random(seed)

    def change():
        for _ in range(chance.randrange(1, 4)):
            record = chance.choice(scope["data"])
            record["tags"].append(chance.random())
            scope["index"][f"key {chance.randrange(600)}"].append(record["id"])

    base = None
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for beside in data.draw(st.lists(st.booleans(), min_size=1, max_size=5)):
            running = pool.submit(change)
            if beside:  # it may fall anywhere in the save, which then holds what was there when it looked
                base = save(scope, base, blobs)
            running.result()
            base = save(scope, base, blobs)
            assert loaded(base, blobs) == scope
