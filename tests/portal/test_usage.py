"""The last hour from the log: the present minus what happened since, for any story that the lifecycle allows."""

import random
from dataclasses import replace

from dure.adapters.store import SqlStore
from dure.control.views import Viewer, job_view
from dure.core import lifecycle
from dure.core.lifecycle import Facts, Signal
from dure.core.model import GpuShare, Lease, Phase
from dure.portal.timeline import WIDTH, attempts_of
from dure.portal.usage import STEP_S, WINDOW_S, Usage
from dure.ports import Changes, Principal
from dure.wire.messages import EventView
from tests.core.builders import NOW, a_job, a_platform

LEASE = Lease("lab", "n1", "gold", (GpuShare(0, 500),), 400.0)


class Hand:
    """A clock that a test moves."""

    def __init__(self, at):
        self.at = at

    def now(self):
        return self.at


def step(store, job, signal, at, **facts):
    done = lifecycle.advance(store.job(job.id), signal, at, Facts(**facts))
    store.commit(Changes((done.job,), (done.event,)), at)
    return done.job


def submitted(store, job_id, at):
    job = replace(a_job(job_id), submitted_at=at, queued_at=at)
    return store.submit(job, [lifecycle.submitted(job)], at)


def live(store, seed, begin, end):
    """Play a random day and return the true (GPUs, waiting) after each step of it."""
    rng = random.Random(seed)
    truth, count, at = {}, 0, begin
    signals = {
        Phase.QUEUED: [Signal.ADMIT, Signal.ADMIT, Signal.CANCEL],
        Phase.ADMITTED: [Signal.START, Signal.REQUEUE],
        Phase.STARTING: [Signal.BEGIN, Signal.REQUEUE],
        Phase.RUNNING: [Signal.SUCCEED, Signal.FAIL, Signal.REQUEUE],
    }
    while at < end:
        active = store.active()[0]
        if not active or rng.random() < 0.3:
            count += 1
            submitted(store, f"j-{seed}-{count}", at)
        else:
            job = rng.choice(active)
            signal = rng.choice([s for s in signals[job.phase] if s in lifecycle.TABLE[job.phase]])
            step(store, job, signal, at, lease=LEASE if signal is Signal.ADMIT else None)
        active = store.active()[0]
        truth[at] = (
            sum(job.lease.gpus_milli for job in active if job.lease) / 1000,
            sum(job.phase is Phase.QUEUED for job in active),
        )
        at += rng.uniform(STEP_S, 60)
    return truth


def level(history, at):
    place = max((i for i, when in enumerate(history.at) if when <= at), default=0)
    return history.gpus[place], history.waiting[place]


def test_a_portal_that_starts_late_and_one_that_followed_tell_the_same_truth():
    for seed in range(5):
        store = SqlStore("sqlite://")
        store.migrate()
        clock = Hand(NOW)
        following = Usage(store, clock)
        following.history()
        truth = live(store, seed, NOW, NOW + 4000)
        clock.at = NOW + 4000
        late = Usage(store, clock).history()
        followed = following.history()
        for at, known in truth.items():
            if at > clock.at - WINDOW_S + STEP_S:
                assert level(late, at) == known, (seed, at)
                assert level(followed, at) == known, (seed, at)
        assert late.at[0] >= clock.at - WINDOW_S - STEP_S
        assert late.at == sorted(late.at)
        store.close()


def test_what_is_remembered_does_not_grow():
    store = SqlStore("sqlite://")
    store.migrate()
    clock = Hand(NOW)
    usage = Usage(store, clock)
    for number in range(40):
        clock.at += WINDOW_S / 10
        submitted(store, f"j-{number}", clock.at)
        assert len(usage.history().at) <= WINDOW_S / STEP_S + 2
    assert usage.history().waiting[-1] == 40
    assert len(usage.history().at) < 15
    store.close()


def told(store, job_id):
    return [
        EventView(seq=e.seq, at=e.at, actor=e.actor, subject=e.subject, kind=e.kind, data=dict(e.data), sentence="")
        for e in store.events(0, 100, subject=job_id)
    ]


def shown(job):
    return job_view(Viewer(Principal("ada", admin=True), a_platform(), "en", 0.0, lambda _job_id: None), job)


def test_the_picture_has_a_row_for_each_attempt():
    store = SqlStore("sqlite://")
    store.migrate()
    job = submitted(store, "j-1", NOW)
    step(store, job, Signal.ADMIT, NOW + 10, lease=LEASE)
    step(store, job, Signal.START, NOW + 11)
    step(store, job, Signal.REQUEUE, NOW + 20, lost=True)
    step(store, job, Signal.ADMIT, NOW + 50, lease=LEASE)
    step(store, job, Signal.START, NOW + 50)
    step(store, job, Signal.BEGIN, NOW + 52)
    job = step(store, job, Signal.SUCCEED, NOW + 100)
    first, second = attempts_of(shown(job), told(store, "j-1"), NOW + 500)
    assert [(part.kind, part.seconds) for part in first.parts] == [("waited", 10), ("started", 10)]
    assert first.outcome == "requeued"
    assert [(part.kind, part.seconds) for part in second.parts] == [("waited", 30), ("started", 2), ("ran", 48)]
    assert (second.outcome, second.where) == ("succeeded", "lab/n1")
    for row in (first, second):
        for left, right in zip(row.parts, row.parts[1:], strict=False):
            assert left.left + left.width <= right.left + 1
        assert all(part.left + part.width <= WIDTH for part in row.parts)
    store.close()


def test_a_waiting_job_is_drawn_until_now():
    store = SqlStore("sqlite://")
    store.migrate()
    job = submitted(store, "j-1", NOW)
    (row,) = attempts_of(shown(job), told(store, "j-1"), NOW + 7)
    assert [(part.kind, part.seconds, part.width) for part in row.parts] == [("waited", 7, WIDTH)]
    store.close()
