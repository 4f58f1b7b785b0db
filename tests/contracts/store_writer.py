"""A process that writes to a store and tells what was answered: `store_writer.py URL NAME COUNT [LIMIT_BYTES]`.

Each line was printed after the store had answered: `submitted ID` and `admitted ID`; at the end `done`, or the error.
"""

import resource
import sys

from dure.adapters.store import SqlStore
from dure.core.lifecycle import Signal
from dure.ports import StoreError
from tests.contracts.jobs import LEASE, a_job, step, submit


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def write(url, name, count, limit_bytes):
    store = SqlStore(url, wait_s=60)
    store.migrate()
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    for n in range(count):
        job = a_job(f"{name}-{n:05}", payload={"code": "x" * (20_000 if limit_bytes else 200)})
        submit(store, job)
        say("submitted", job.id)
        step(store, job, Signal.ADMIT, 200.0, lease=LEASE)
        say("admitted", job.id)
    say("done")


if __name__ == "__main__":
    try:
        write(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
    except StoreError as error:
        say("refused", type(error).__name__, error)
