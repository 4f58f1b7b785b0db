"""What ports.Executor promises, of real processes and of the simulation alike."""

import pytest

from dure.adapters.executors.forkservers import ForkServers
from dure.ports import StaleFenceError
from tests.contracts.executors import Local, Simulated, seen_of


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    shared = ForkServers(folder, folder)
    yield shared
    shared.stop_all()


@pytest.fixture(params=["local", "simulated"])
def bench(request, tmp_path):
    made = Local(tmp_path, request.getfixturevalue("servers")) if request.param == "local" else Simulated()
    yield made
    made.close()


@pytest.fixture
def executor(bench):
    opened = bench.open()
    opened.fence(1)
    return opened


def state(executor, job_id, attempt=1):
    seen = seen_of(executor, job_id, attempt)
    return seen.state if seen else None


def reaches(bench, executor, job_id, wanted, attempt=1):
    bench.until(lambda: state(executor, job_id, attempt) == wanted)
    return seen_of(executor, job_id, attempt)


# --- starting


def test_an_attempt_runs_and_its_end_is_reported_until_it_is_forgotten(bench, executor):
    executor.start(bench.launch("j-1"), 1)
    assert state(executor, "j-1") in {"pending", "running", "ended"}
    ended = reaches(bench, executor, "j-1", "ended")
    assert (ended.result["status"], ended.began) == ("ok", True)
    assert bench.begun("j-1") == 1
    assert state(executor, "j-1") == "ended"
    executor.forget("j-1", 1, 1)
    assert executor.observe() == []


def test_a_failure_carries_its_exit_code(bench, executor):
    executor.start(bench.launch("j-1", exit_code=3), 1)
    result = reaches(bench, executor, "j-1", "ended").result
    assert (result["status"], result["exit_code"]) == ("exit", 3)


def test_starting_again_starts_nothing_more_whoever_asks(bench, executor):
    launch = bench.launch("j-1", runs_s=1)
    for _ in range(3):
        executor.start(launch, 1)
    other = bench.open()
    other.start(launch, 1)
    reaches(bench, executor, "j-1", "running")
    other.start(launch, 1)
    reaches(bench, executor, "j-1", "ended")
    other.start(launch, 1)
    reaches(bench, other, "j-1", "ended")
    assert bench.begun("j-1") == 1


def test_attempts_of_one_job_are_apart(bench, executor):
    executor.start(bench.launch("j-1", 1), 1)
    reaches(bench, executor, "j-1", "ended")
    executor.start(bench.launch("j-1", 2, exit_code=5), 1)
    assert reaches(bench, executor, "j-1", "ended", attempt=2).result["exit_code"] == 5
    assert state(executor, "j-1", 1) == "ended"
    executor.forget("j-1", 1, 1)
    assert [seen.attempt for seen in executor.observe()] == [2]


def test_what_was_never_accepted_is_not_listed(bench, executor):
    assert executor.observe() == []
    executor.forget("j-unknown", 1, 1)
    assert executor.observe() == []


# --- leaders


def test_an_older_leader_neither_starts_nor_stops_nor_forgets(bench, executor):
    executor.start(bench.launch("j-1", runs_s=600), 1)
    reaches(bench, executor, "j-1", "running")
    executor.fence(3)
    for asked in (executor, bench.open()):
        with pytest.raises(StaleFenceError):
            asked.start(bench.launch("j-2"), 2)
        with pytest.raises(StaleFenceError):
            asked.stop("j-1", 1, 1.0, 2)
        with pytest.raises(StaleFenceError):
            asked.forget("j-1", 1, 2)
        asked.fence(2)  # a lower number changes nothing
        with pytest.raises(StaleFenceError):
            asked.start(bench.launch("j-2"), 2)
        assert [(seen.job_id, seen.state) for seen in asked.observe()] == [("j-1", "running")]
    executor.start(bench.launch("j-3"), 3)
    reaches(bench, executor, "j-3", "ended")


def test_who_leads_again_knows_what_others_started_meanwhile(bench, executor):
    second = bench.open()
    second.fence(2)
    second.start(bench.launch("j-1", runs_s=600), 2)
    reaches(bench, second, "j-1", "running")
    executor.fence(3)
    assert state(executor, "j-1") == "running"


def test_a_new_control_plane_adopts_what_runs_and_what_has_ended(bench, executor):
    executor.start(bench.launch("j-1", runs_s=600), 1)
    executor.start(bench.launch("j-2", exit_code=4), 1)
    executor.start(bench.launch("j-3"), 1)
    reaches(bench, executor, "j-1", "running")
    reaches(bench, executor, "j-2", "ended")
    reaches(bench, executor, "j-3", "ended")
    executor.forget("j-3", 1, 1)
    again = bench.open()
    again.fence(2)
    assert {seen.job_id: seen.state for seen in again.observe()} == {"j-1": "running", "j-2": "ended"}
    assert seen_of(again, "j-2").result["exit_code"] == 4
    again.stop("j-1", 1, 0.5, 2)
    assert reaches(bench, again, "j-1", "ended").result["status"] == "killed"


# --- stopping


def test_what_is_stopped_before_it_was_started_never_starts(bench, executor):
    executor.stop("j-1", 1, 1.0, 1)
    executor.start(bench.launch("j-1"), 1)
    executor.start(bench.launch("j-2"), 1)
    reaches(bench, executor, "j-2", "ended")
    ended = reaches(bench, executor, "j-1", "ended")
    assert (ended.result["status"], ended.began) == ("killed", False)
    bench.open().start(bench.launch("j-1"), 1)
    assert bench.begun("j-1") == 0


def test_a_running_attempt_is_stopped(bench, executor):
    executor.start(bench.launch("j-1", runs_s=600), 1)
    reaches(bench, executor, "j-1", "running")
    executor.stop("j-1", 1, 2.0, 1)
    executor.stop("j-1", 1, 2.0, 1)
    ended = reaches(bench, executor, "j-1", "ended")
    assert (ended.result["status"], ended.began) == ("killed", True)
    executor.stop("j-1", 1, 2.0, 1)  # over already: nothing changes
    assert seen_of(executor, "j-1") == ended


# --- losing


def test_a_lost_worker_is_reported_lost_and_that_it_had_begun(bench, executor):
    executor.start(bench.launch("j-1", runs_s=600), 1)
    reaches(bench, executor, "j-1", "running")
    bench.until(lambda: bench.begun("j-1"))
    bench.lose(executor, "j-1")
    assert reaches(bench, executor, "j-1", "lost").began
    executor.stop("j-1", 1, 1.0, 1)
    executor.forget("j-1", 1, 1)
    assert executor.observe() == []
    assert bench.open().observe() == []
    assert bench.begun("j-1") == 1


def test_a_worker_lost_before_user_code_began_is_told_apart(bench):
    executor = bench.lose_at_birth("j-1")
    assert not reaches(bench, executor, "j-1", "lost").began
    assert bench.begun("j-1") == 0


# --- messages


def test_an_interrupt_reaches_a_running_attempt(bench, executor):
    executor.start(bench.launch("j-1", runs_s=600), 1)
    reaches(bench, executor, "j-1", "running")
    assert executor.send("j-1", 1, {"op": "interrupt"}) is True
    assert reaches(bench, executor, "j-1", "ended").result["status"] == "interrupted"


def test_a_message_to_nobody_is_not_taken(bench, executor):
    assert executor.send("j-1", 1, {"op": "interrupt"}) is False
    executor.start(bench.launch("j-1"), 1)
    reaches(bench, executor, "j-1", "ended")
    bench.until(lambda: executor.send("j-1", 1, {"op": "interrupt"}) is False)
    assert executor.send("j-1", 2, {"op": "interrupt"}) is False
    executor.stop("j-2", 1, 1.0, 1)
    assert executor.send("j-2", 1, {"op": "interrupt"}) is False
