"""Many writers at once, killed at any moment: nothing answered is lost, nothing is half there, numbers have no gap."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dure.core import lifecycle
from dure.core.events import Draft
from dure.core.lifecycle import Facts, Signal
from dure.core.model import Phase
from dure.ports import Changes, StaleFenceError, StoreBusyError, VersionConflictError
from tests.contracts.jobs import LEASE, a_job, step, submit, whole_log

WRITERS = 8
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def writer_process(url, name, count, *more):
    command = [sys.executable, str(Path(__file__).with_name("store_writer.py")), url, name, str(count), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def checked_against(store, answered):
    """Every answer holds, and each job has exactly the events of what is stored of it."""
    kinds: dict[str, list[str]] = {}
    for event in whole_log(store):
        kinds.setdefault(event.subject, []).append(event.kind)
    for line in answered:
        what, job_id = line.split()
        assert f"job.{what}" in kinds.get(job_id, []), line
    for job_id, told in kinds.items():
        job = store.job(job_id)
        assert told == ["job.submitted", "job.admitted"][: job.version + 1]
        assert job.phase is (Phase.ADMITTED if job.version else Phase.QUEUED)
        assert job.payload


def test_threads_lose_no_event_and_leave_no_gap(store):
    def write(writer):
        seen = []
        for n in range(25):
            job = a_job(f"j-{writer}-{n}")
            submit(store, job)
            seen.append(store.commit(Changes(events=(Draft("job.waiting", job.id, {}),)), 1.0)[0].seq)
        return seen

    with ThreadPoolExecutor(WRITERS) as pool:
        numbers = list(pool.map(write, range(WRITERS)))
    assert len(whole_log(store)) == WRITERS * 25 * 2
    assert len(store.active()[0]) == WRITERS * 25
    assert all(own == sorted(own) for own in numbers)
    assert len({seq for own in numbers for seq in own}) == WRITERS * 25


def test_processes_lose_no_event_and_leave_no_gap(store, store_url):
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(writer_process(store_url, f"w{n}", 20)) for n in range(WRITERS)]
        answered = [line for process in processes for line in process.stdout.read().splitlines()]
    assert answered.count("done") == WRITERS
    checked_against(store, [line for line in answered if line != "done"])
    assert store.last_seq() == WRITERS * 20 * 2


def test_a_reader_by_number_never_misses_a_commit(store):
    """What changes after a number was shown has a higher number, whoever commits first (a cursor's whole point)."""
    done = threading.Event()

    def write(writer):
        for n in range(40):
            store.commit(Changes(events=(Draft("job.waiting", f"{writer}-{n}", {}),)), 1.0)

    def read():
        seen: list[int] = []
        while True:
            last_round = done.is_set()
            page = store.events(seen[-1] if seen else 0, 7)
            seen += [event.seq for event in page]
            if last_round and not page:
                return seen
            done.wait(0.005)  # a reader that spins keeps the interpreter from the writers

    with ThreadPoolExecutor(WRITERS + 2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            list(pool.map(write, range(WRITERS)))
        finally:
            done.set()
        for reader in readers:
            assert reader.result() == list(range(1, WRITERS * 40 + 1))


@pytest.mark.slow
def test_killing_a_writer_at_any_moment_leaves_a_consistent_database(store, store_url):
    answered = []
    for n in range(8):
        with writer_process(store_url, f"k{n}", 100_000) as process:
            answered += [process.stdout.readline().strip() for _ in range(3 + 7 * n)]
            process.kill()
            answered += [line.strip() for line in process.stdout if line.endswith("\n")]
        checked_against(store, answered)
        submit(store, a_job(f"j-{n}"))  # no lock was left behind
        step(store, a_job(f"j-{n}"), Signal.ADMIT, 1.0, lease=LEASE)
    if store_url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(store_url.removeprefix("sqlite:///"))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_same_submission_from_many_threads_is_one_job(store):
    def send(n):
        return submit(store, a_job(f"j-{n}", request_key="same"))

    with ThreadPoolExecutor(WRITERS) as pool:
        returned = {job.id for job in pool.map(send, range(WRITERS))}
    assert len(returned) == 1
    assert len(whole_log(store)) == 1


def test_of_many_that_change_one_job_exactly_one_wins(store):
    job = a_job()
    submit(store, job)

    def change(_):
        try:
            step(store, job, Signal.ADMIT, 110.0, lease=LEASE)
        except VersionConflictError:
            return 0
        return 1

    with ThreadPoolExecutor(WRITERS) as pool:
        assert sum(pool.map(change, range(WRITERS))) == 1
    assert len(whole_log(store)) == 2


def test_of_many_candidates_exactly_one_leads(open_store):
    stores = [open_store() for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        won = [led for led in pool.map(lambda n: stores[n].lead(f"c{n}", 100.0, 10.0), range(WRITERS)) if led]
    assert [led.fence for led in won] == [1]


def test_what_a_new_leader_reads_no_old_one_can_change(store):
    """A commit with the old fence is either there when the new leader reads, or refused: never after."""
    old = store.lead("old", 0.0, 1.0).fence
    for n in range(40):
        submit(store, a_job(f"j-{n}"))
    written, taken = [], threading.Event()

    def keep_writing():
        for n in range(40):
            after = lifecycle.advance(a_job(f"j-{n}"), Signal.ADMIT, 1.0, Facts(lease=LEASE))
            try:
                store.commit(Changes((after.job,), (after.event,)), 1.0, old)
            except StaleFenceError:
                return
            written.append(after.job.id)
            if n == 5:
                taken.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(keep_writing)
        assert taken.wait(30)
        assert store.lead("new", 2.0, 1.0).fence == old + 1
        read = {job.id for job in store.active()[0] if job.phase is Phase.ADMITTED}
        writing.result()
    assert read == set(written)


def test_a_writer_that_waits_too_long_is_told_that_the_database_is_busy(open_store):
    patient, impatient = open_store(), open_store(wait_s=0.2)
    with patient._writing() as connection:
        connection.exec_driver_sql("UPDATE head SET last_seq = last_seq")
        with pytest.raises(StoreBusyError, match="another writer"):
            submit(impatient, a_job())
        assert impatient.job("j-00000001") is None  # readers need not wait
    submit(impatient, a_job())
    assert len(whole_log(patient)) == 1
