"""What ports.Store promises, on every database."""

from dataclasses import replace

import pytest

from dure.adapters.store import SqlStore
from dure.core import lifecycle
from dure.core.events import Draft
from dure.core.lifecycle import Signal
from dure.core.model import Goal, Phase, Promise
from dure.ports import Changes, JobQuery, StaleFenceError, StoreUnavailableError, VersionConflictError
from dure.sim.store import MemoryStore
from tests.contracts.conftest import DATABASES
from tests.contracts.jobs import LEASE, a_job, finished, step, submit, whole_log


class ClosedMemoryStore(MemoryStore):
    def close(self):
        """What it holds outlives whoever closes it, as a database's content does."""


@pytest.fixture(params=[*DATABASES, "memory"])
def open_store(request, tmp_path):
    """Open the test's store as often as there are processes; the simulation's store is one object for all of them."""
    if request.param == "memory":
        memory = ClosedMemoryStore()
        yield lambda: memory
        return
    address = f"sqlite:///{tmp_path / 'dure.db'}"
    url = address if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = []

    def opening():
        store = SqlStore(url)
        opened.append(store)
        store.migrate()
        return store

    yield opening
    for store in opened:
        store.close()


WAITING = Draft("job.waiting", "j-00000001", {"team": "vision", "code": "quota"})


def listed(job):
    return replace(job, payload={}, references=(), result=None)


# --- submitting and reading


def test_a_new_database_is_empty(store):
    assert store.last_seq() == 0
    assert store.jobs(JobQuery()) == []
    assert tuple(store.active()[0]) == ()
    assert store.job("j-00000001") is None
    assert store.events(0, 10) == []
    assert store.spent(0.0) == {}
    assert store.references(0.0) == frozenset()


def test_a_submitted_job_is_read_whole(store):
    job = a_job(request_key="k1")
    assert submit(store, job) == job
    assert store.job(job.id) == job


def test_a_job_survives_closing_and_opening(open_store):
    job = a_job()
    first = open_store()
    submit(first, job)
    first.close()
    assert open_store().job(job.id) == job


def test_listed_jobs_come_without_their_large_parts(store):
    job = a_job()
    submit(store, job)
    assert store.jobs(JobQuery()) == [listed(job)]
    assert tuple(store.active()[0]) == (listed(job),)
    assert tuple(store.changed(0)[0]) == (listed(job),)


def test_for_whom_others_were_stopped_and_where_it_starts_is_kept_over_a_restart(store):
    job = a_job()
    submit(store, job)
    stopped = lifecycle.promised(job, Promise("lab", "gold", ("n1", "n2"), ("j-1", "j-2"), 230.0))
    store.commit(Changes((stopped.job,), (stopped.event,)), 110.0)
    assert store.job(job.id) == stopped.job
    assert store.active()[0][0].promise == stopped.job.promise


def test_the_same_request_key_of_the_same_user_is_the_same_job(store):
    first = a_job("j-00000001", request_key="k")
    submit(store, first)
    assert submit(store, a_job("j-00000002", request_key="k", name="sent again")) == first
    assert store.job("j-00000002") is None
    assert len(whole_log(store)) == 1


def test_a_repeated_submission_returns_the_job_as_it_is_by_now(store):
    job = a_job(request_key="k")
    submit(store, job)
    admitted = step(store, job, Signal.ADMIT, 110.0, lease=LEASE)
    assert submit(store, a_job("j-00000002", request_key="k")) == admitted


def test_request_keys_of_different_users_have_nothing_to_do_with_each_other(store):
    submit(store, a_job("j-00000001", request_key="k", user="alice"))
    submit(store, a_job("j-00000002", request_key="k", user="bob"))
    submit(store, a_job("j-00000003"))
    submit(store, a_job("j-00000004"))
    assert len(store.jobs(JobQuery())) == 4


def test_a_job_id_that_is_taken_is_refused(store):
    job = a_job()
    submit(store, job)
    with pytest.raises(VersionConflictError, match="fresh id"):
        submit(store, a_job(user="bob", name="another"))
    assert store.job(job.id) == job
    assert len(whole_log(store)) == 1


def test_what_is_not_json_is_refused_before_anything_is_written(store):
    with pytest.raises(TypeError, match="only what JSON knows"):
        submit(store, a_job(payload={"code": object()}))
    assert whole_log(store) == []


# --- listing


@pytest.fixture
def ten_jobs(store):
    jobs = [
        a_job(f"j-{n:08}", at=100.0 + n // 2, user="alice" if n % 2 else "bob", team=f"team-{n % 3}") for n in range(10)
    ]
    for job in jobs:
        submit(store, job)
    return [job.id for job in reversed(jobs)]  # newest first; two jobs share each time


def ids(jobs):
    return [job.id for job in jobs]


def test_jobs_are_listed_newest_first(store, ten_jobs):
    assert ids(store.jobs(JobQuery())) == ten_jobs
    assert ids(store.jobs(JobQuery(limit=3))) == ten_jobs[:3]


def test_pages_follow_each_other_without_gap_or_repetition(store, ten_jobs):
    seen, before = [], None
    while page := store.jobs(JobQuery(limit=3, before=before)):
        seen += ids(page)
        before = (page[-1].submitted_at, page[-1].id)
    assert seen == ten_jobs


def test_jobs_are_filtered_by_team_user_and_phase(store, ten_jobs):
    step(store, store.job(ten_jobs[0]), Signal.ADMIT, 200.0, lease=LEASE)
    assert ids(store.jobs(JobQuery(user="bob"))) == ten_jobs[1::2]
    assert {job.team for job in store.jobs(JobQuery(teams=("team-0", "team-2")))} == {"team-0", "team-2"}
    assert ids(store.jobs(JobQuery(phases=(Phase.ADMITTED,)))) == ten_jobs[:1]
    assert ids(store.jobs(JobQuery(phases=(Phase.ADMITTED, Phase.QUEUED)))) == ten_jobs
    assert store.jobs(JobQuery(teams=())) == []


def test_counting_stops_at_the_limit(store, ten_jobs):
    assert store.count(JobQuery()) == 10
    assert store.count(JobQuery(user="bob")) == 5
    assert store.count(JobQuery(limit=3)) == 3
    assert store.count(JobQuery(before=(0.0, ""))) == 10


# --- what is active, what changed


def test_active_shows_every_change_and_drops_what_ended(store, open_store):
    jobs = [a_job(f"j-{n:08}") for n in range(3)]
    for job in jobs:
        submit(store, job)
    other = open_store()
    assert ids(other.active()[0]) == ids(jobs)
    admitted = step(store, jobs[1], Signal.ADMIT, 110.0, lease=LEASE)
    finished(store, jobs[0], at=120.0)
    submit(store, a_job("j-00000009"))
    for reader in (store, other, open_store()):
        active, seq = reader.active()
        assert {job.id: job for job in active} == {
            job.id: listed(job) for job in (admitted, jobs[2], a_job("j-00000009"))
        }
        assert seq == store.last_seq()


def test_changed_gives_what_moved_after_a_number_ended_or_not(store):
    jobs = [a_job(f"j-{n:08}") for n in range(3)]
    for job in jobs:
        submit(store, job)
    seq = store.last_seq()
    assert store.changed(seq) == ([], seq)
    finished(store, jobs[2], at=120.0, result={"status": "ok"})
    changed, last = store.changed(seq)
    assert [(job.id, job.phase) for job in changed] == [("j-00000002", Phase.SUCCEEDED)]
    assert last == store.last_seq()


# --- committing


def test_a_commit_writes_jobs_and_numbered_events_together(store):
    job = a_job()
    submit(store, job)
    admitted = lifecycle.advance(job, Signal.ADMIT, 110.0, lifecycle.Facts(lease=LEASE))
    stored = store.commit(Changes((admitted.job,), (admitted.event, WAITING), actor="loop"), 111.0)
    assert [(e.seq, e.at, e.actor, e.kind) for e in stored] == [
        (2, 111.0, "loop", "job.admitted"),
        (3, 111.0, "loop", "job.waiting"),
    ]
    assert list(store.events(1, 10)) == list(stored)
    assert store.job(job.id) == admitted.job


def test_committing_a_listed_job_loses_neither_payload_nor_references(store):
    job = a_job()
    submit(store, job)
    finished(store, store.active()[0][0], at=120.0, result={"status": "ok", "exit_code": 0})
    ended = store.job(job.id)
    assert (ended.payload, ended.references) == (job.payload, job.references)
    assert ended.result == {"status": "ok", "exit_code": 0}


def test_a_commit_without_result_leaves_the_stored_one(store):
    job = a_job()
    submit(store, job)
    ended = finished(store, job, at=120.0, result={"status": "ok"})
    later = replace(listed(ended), version=ended.version + 1, reason="annotated")
    store.commit(Changes((later,), (WAITING,)), 130.0)
    assert store.job(job.id).result == {"status": "ok"}
    assert store.job(job.id).reason == "annotated"


def test_a_job_that_moved_on_refuses_the_whole_commit(store):
    one, two = a_job("j-00000001"), a_job("j-00000002")
    submit(store, one)
    submit(store, two)
    cancelled = lifecycle.ask_cancel(one, "user")
    assert cancelled is not None
    store.commit(Changes((cancelled.job,), (cancelled.event,)), 105.0)
    steps = [lifecycle.advance(job, Signal.ADMIT, 110.0, lifecycle.Facts(lease=LEASE)) for job in (two, one)]
    changes = Changes(tuple(s.job for s in steps), tuple(s.event for s in steps))
    with pytest.raises(VersionConflictError, match=r"j-00000001 .stored version 1, wanted to write 1"):
        store.commit(changes, 110.0)
    assert store.job(two.id) == two
    assert store.job(one.id).goal is Goal.CANCEL
    assert len(whole_log(store)) == 3


def test_an_unknown_job_refuses_the_commit(store):
    ghost = lifecycle.advance(a_job(), Signal.CANCEL, 110.0)
    with pytest.raises(VersionConflictError, match="stored version none"):
        store.commit(Changes((ghost.job,), (ghost.event,)), 110.0)
    assert whole_log(store) == []


def test_two_steps_of_one_job_in_one_commit_are_taken_in_order(store):
    job = a_job()
    submit(store, job)
    admitted = lifecycle.advance(job, Signal.ADMIT, 110.0, lifecycle.Facts(lease=LEASE))
    starting = lifecycle.advance(admitted.job, Signal.START, 110.0)
    store.commit(Changes((admitted.job, starting.job), (admitted.event, starting.event)), 110.0)
    assert store.job(job.id) == starting.job


def test_a_change_that_no_event_tells_of_is_a_defect(store):
    job = a_job()
    submit(store, job)
    with pytest.raises(ValueError, match="without an event"):
        store.commit(Changes((replace(job, version=1),), ()), 110.0)
    assert store.job(job.id) == job


def test_an_empty_commit_writes_nothing(store):
    assert list(store.commit(Changes(), 1.0)) == []
    assert whole_log(store) == []


# --- events


def test_events_are_read_by_number_subject_and_team(store):
    drafts = (
        Draft("job.waiting", "j-1", {"team": "vision"}),
        Draft("job.waiting", "j-2", {"team": "speech"}),
        Draft("platform.loaded", "platform", {}),
        Draft("job.waiting", "j-1", {"team": "vision", "text": "\x00 줄 \ud800"}),
    )
    stored = store.commit(Changes(events=drafts), 5.0)
    assert list(store.events(0, 10)) == list(stored)
    assert [e.seq for e in store.events(1, 2)] == [2, 3]
    assert [e.seq for e in store.events(0, 10, subject="j-1")] == [1, 4]
    assert [e.seq for e in store.events(0, 10, teams=["vision"])] == [1, 3, 4]
    assert [e.seq for e in store.events(0, 10, teams=[])] == [3]
    assert [e.seq for e in store.events(1, 1, subject="j-1", teams=["vision", "speech"])] == [4]
    assert store.events(0, 10)[3].data["text"] == "\x00 줄 \ud800"


# --- leadership


def test_one_leads_until_time_runs_out(store):
    first = store.lead("a", 100.0, 10.0)
    assert (first.holder, first.fence, first.until) == ("a", 1, 110.0)
    assert store.lead("b", 109.9, 10.0) is None
    second = store.lead("b", 110.0, 10.0)
    assert (second.holder, second.fence) == ("b", 2)
    assert store.lead("a", 111.0, 10.0) is None


def test_renewing_keeps_the_fence(store):
    first = store.lead("a", 100.0, 10.0)
    again = store.lead("a", 105.0, 10.0)
    assert (again.fence, again.until) == (first.fence, 115.0)
    assert store.lead("b", 112.0, 10.0) is None


def test_resigning_lets_the_next_one_lead_at_once(store):
    store.lead("a", 100.0, 1000.0)
    store.resign("b")
    assert store.lead("b", 101.0, 10.0) is None
    store.resign("a")
    assert store.lead("b", 101.0, 10.0).fence == 2


def test_who_comes_back_after_resigning_gets_a_new_fence(store):
    store.lead("a", 100.0, 10.0)
    store.resign("a")
    assert store.lead("a", 101.0, 10.0).fence == 2


def test_fences_grow_across_restarts(open_store):
    open_store().lead("a", 100.0, 10.0)
    assert open_store().lead("b", 200.0, 10.0).fence == 2


def test_a_deposed_leader_writes_nothing(store):
    job = a_job()
    submit(store, job)
    old = store.lead("a", 100.0, 10.0).fence
    step(store, job, Signal.ADMIT, 105.0, fence=old, lease=LEASE)
    new = store.lead("b", 120.0, 10.0).fence
    admitted = store.job(job.id)
    with pytest.raises(StaleFenceError, match=r"fence 1.*fence 2 leads"):
        step(store, admitted, Signal.START, 121.0, fence=old)
    with pytest.raises(StaleFenceError):
        store.commit(Changes(events=(WAITING,)), 121.0, old)
    with pytest.raises(StaleFenceError):
        store.commit(Changes(), 121.0, old)
    assert store.job(job.id) == admitted
    assert len(whole_log(store)) == 2
    step(store, admitted, Signal.START, 122.0, fence=new)


def test_users_commit_without_a_fence_whoever_leads(store):
    store.lead("a", 100.0, 10.0)
    store.commit(Changes(events=(WAITING,)), 101.0)
    assert len(whole_log(store)) == 1


# --- money and blobs


def test_spent_sums_what_ended_since(store):
    for n, (team, at) in enumerate([("vision", 200.0), ("vision", 300.0), ("speech", 400.0), ("vision", 500.0)]):
        job = a_job(f"j-{n}", team=team)
        submit(store, job)
        finished(store, job, at=at, held_s=10.0)
    submit(store, a_job("j-9"))
    assert store.spent(300.0) == {"vision": 20.0, "speech": 10.0}
    assert store.spent(0.0) == {"vision": 30.0, "speech": 10.0}
    assert store.spent(501.0) == {}


def test_references_are_of_unfinished_and_recently_ended_jobs(store):
    def digest(n):
        return f"{n:064x}"

    for n in range(3):
        job = a_job(f"j-{n}", references=(digest(10 * n + 1),), payload={"snapshot": digest(10 * n + 2), "n": [n]})
        submit(store, job)
    result = {"snapshot": digest(5), "artifacts": [{"path": "a.txt", "digest": digest(6)}], "changed": ["x"]}
    finished(store, store.job("j-0"), at=200.0, result=result)
    finished(store, store.job("j-1"), at=300.0)
    unfinished = {digest(21), digest(22)}
    assert store.references(300.0) == unfinished
    assert store.references(299.0) == unfinished | {digest(11), digest(12)}
    assert store.references(100.0) == unfinished | {digest(n) for n in (1, 2, 5, 6, 11, 12)}


# --- addresses


@pytest.mark.parametrize("url", ["", "no-address", "mysql://host/dure", "sqlite:////no/such/folder/dure.db"])
def test_an_address_that_cannot_work_is_told_in_one_sentence(url):
    with pytest.raises(StoreUnavailableError, match=r"database"):
        SqlStore(url).migrate()


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "dure.db").write_bytes(b"a diary, not a database\n" * 100)
    with pytest.raises(StoreUnavailableError, match=r"dure\.db cannot be used \(file is not a database\)"):
        SqlStore(f"sqlite:///{tmp_path / 'dure.db'}").migrate()


def test_only_the_owner_reads_the_sqlite_file(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path / 'dure.db'}")
    store.migrate()
    submit(store, a_job())
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    store.close()


def test_a_database_in_memory_serves_tests_and_simulation():
    store = SqlStore("sqlite://")
    store.migrate()
    submit(store, a_job())
    assert store.job("j-00000001") == a_job()
    assert len(whole_log(store)) == 1
    store.close()
