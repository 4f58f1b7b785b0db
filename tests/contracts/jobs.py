"""Jobs and their steps, as short as a story needs them."""

from dure.core import lifecycle
from dure.core.lifecycle import Facts, Signal
from dure.core.model import GpuShare, Job, Kind, Lease, Request
from dure.ports import Changes

LEASE = Lease("lab", "node-1", "gold", (GpuShare(0),), price_per_gpu_hour=3600.0)


def a_job(job_id="j-00000001", *, at=100.0, **facts):
    defaults = {
        "name": "In[7]",
        "kind": Kind.CELL,
        "user": "alice",
        "team": "vision",
        "request": Request(tier="gold"),
        "submitted_at": at,
        "queued_at": at,
        "payload": {"code": "x = 1", "snapshot": "ab" * 32},
        "references": ("cd" * 32,),
    }
    return Job(id=job_id, **(defaults | facts))


def submit(store, job):
    return store.submit(job, [lifecycle.submitted(job)], job.submitted_at)


def step(store, job, signal, at, fence=None, **facts):
    """Advance and commit; return the job after."""
    after = lifecycle.advance(job, signal, at, Facts(**facts))
    store.commit(Changes((after.job,), (after.event,)), at, fence)
    return after.job


def finished(store, job, *, at, result=None, held_s=1.0):
    """Take a queued job through its life; it ends at `at` and has cost `held_s` (at one a second)."""
    job = step(store, job, Signal.ADMIT, at - held_s, lease=LEASE)
    job = step(store, job, Signal.START, at - held_s)
    job = step(store, job, Signal.BEGIN, at - held_s)
    return step(store, job, Signal.SUCCEED, at, result=result)


def whole_log(store):
    """Return every event, having checked that the numbers have no gap."""
    log = store.events(0, 1_000_000)
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert store.last_seq() == len(log)
    return log
