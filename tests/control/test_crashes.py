"""What a crash, a second leader, a full disk or an edited platform file does to jobs, told on the production loop."""

from dataclasses import replace

import pytest

from dure.client.words import waiting_line
from dure.core.model import Environment
from dure.ports import ExecutorUnavailableError, StoreFullError, VersionConflictError
from dure.sim.executor import Fate
from tests.control.stage import ALICE, LONG, SLOW_START
from tests.core.builders import a_cloud, a_lab, a_node

# --- crashes and two leaders


def test_a_crash_between_commit_and_act_is_made_good_by_the_next_one(stage):
    class KilledError(BaseException):
        pass

    job = stage.submit(fate=Fate(run_s=2.0))
    stage.executors["lab"].failing["start"] = KilledError()
    with pytest.raises(KilledError):
        stage.tick()
    assert stage.phase(job) == "admitted"
    stage.executors["lab"].failing.clear()
    second = stage.new_loop("second")
    stage.tick(loop=second)
    assert stage.phase(job) == "admitted", "the dead one still leads"
    stage.clock.time += 6
    for _ in range(8):
        stage.clock.time += 0.5
        stage.tick(loop=second)
    assert (stage.phase(job), stage.job(job).attempt, stage.world.begun[job]) == ("succeeded", 1, 1)


def test_a_cancelled_job_that_was_admitted_at_the_crash_never_starts(stage):
    job = stage.submit()
    stage.executors["lab"].failing["start"] = ExecutorUnavailableError("away")
    stage.tick()
    stage.commands.cancel(ALICE, job)
    stage.executors["lab"].failing = {"stop": ExecutorUnavailableError("away")}
    stage.tick()
    assert stage.phase(job) == "cancelled"
    stage.executors["lab"].failing.clear()
    stage.wait(5)
    assert stage.world.begun.get(job, 0) == 0


def test_a_job_that_its_cluster_cannot_take_says_so_until_it_starts(stage):
    job = stage.submit(fate=LONG)
    stage.executors["lab"].failing["start"] = ExecutorUnavailableError("No space left on device")
    stage.wait(5)
    told = stage.queries.shown(ALICE, stage.job(job), "en")
    assert (told.phase, told.reason) == ("admitted", "NotTaken")
    assert "cannot take it now" in waiting_line(told)
    assert stage.kinds(job).count("delayed") == 1
    stage.executors["lab"].failing.clear()
    stage.wait(5)
    told = stage.queries.shown(ALICE, stage.job(job), "en")
    assert (told.phase, told.reason, told.reason_sentence) == ("running", None, None)


def test_of_two_loops_one_acts(stage):
    second = stage.new_loop("second")
    job = stage.submit(fate=Fate(run_s=2.0))
    for _ in range(12):
        stage.clock.time += 0.5
        stage.tick()
        stage.tick(loop=second)
    assert (stage.loop.leads, second.leads) == (True, False)
    assert (stage.phase(job), stage.world.begun[job]) == ("succeeded", 1)
    stage.loop.resign()
    stage.tick(loop=second)
    assert second.leads


def test_a_leader_that_slept_writes_nothing_more(stage):
    second = stage.new_loop("second")
    stage.tick()
    job = stage.submit(fate=LONG)

    def meanwhile():
        stage.clock.time += 7
        stage.tick(3, loop=second)

    stage.executors["lab"].before["observe"] = meanwhile
    stage.tick()
    assert not stage.loop.leads
    assert (stage.phase(job), stage.job(job).attempt) == ("starting", 1)


def test_a_leader_that_slept_does_not_stop_what_it_never_heard_of(stage):
    second = stage.new_loop("second")
    stage.tick()
    started = []

    def meanwhile():
        stage.clock.time += 7
        started.append(stage.submit(fate=LONG))
        stage.tick(2, loop=second)

    stage.executors["lab"].before["observe"] = meanwhile
    stage.tick()
    assert not stage.loop.leads
    for _ in range(30):
        stage.clock.time += 1
        stage.tick(loop=second)
    assert stage.phase(started[0]) == "running"


def test_a_job_that_changes_under_the_loops_hands_is_decided_anew(stage):
    job = stage.submit(fate=LONG)

    def cancels():
        stage.commands.cancel(ALICE, job)

    stage.tick()
    stage.executors["lab"].before["observe"] = cancels
    assert stage.loop.tick() == 0.0, "at once, without a pause"
    stage.wait(10)
    assert stage.phase(job) == "cancelled"


def test_a_full_disk_stops_decisions_and_loses_nothing(stage, monkeypatch):
    running = stage.submit(fate=Fate(run_s=3.0))
    stage.wait(1)
    waiting = stage.submit(tier="silver")

    def full(*_arguments):
        raise StoreFullError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "commit", full)
        for _ in range(10):
            stage.clock.time += 1
            with pytest.raises(StoreFullError):
                stage.tick()
    stage.wait(5)
    assert [stage.phase(job) for job in (running, waiting)] == ["succeeded"] * 2
    assert stage.nothing_is_held()


def test_a_commit_that_conflicts_for_ever_is_no_endless_loop_inside_a_tick(stage, monkeypatch):
    stage.submit()

    def conflicts(*_arguments):
        raise VersionConflictError("moved on")

    stage.tick()
    monkeypatch.setattr(stage.store, "commit", conflicts)
    assert [stage.loop.tick() for _ in range(3)] == [0.0] * 3


# --- edits of the platform file


def test_an_environment_that_goes_while_its_job_waits_is_explained_and_comes_back(stage):
    both = replace(stage.platform.current, environments=(Environment("default", "p"), Environment("torch", "p")))
    stage.platform.replace(both)
    stage.submit(fate=Fate(run_s=4.0))
    job = stage.submit(environment="torch")
    stage.tick()
    stage.platform.replace(replace(both, environments=both.environments[:1]))
    stage.tick()
    assert stage.reason(job) == "Misconfigured"
    assert "torch" in stage.queries.job(ALICE, job, "en").verdict.sentence
    stage.platform.replace(both)
    stage.wait(10)
    assert stage.phase(job) == "succeeded"


def test_an_environment_that_goes_between_admission_and_start_fails_with_the_sentence(stage):
    job = stage.submit(fate=SLOW_START)
    stage.tick(2)
    stage.platform.replace(replace(stage.platform.current, environments=(Environment("other", "p"),)))
    stage.wait(12)
    assert (stage.phase(job), stage.reason(job)) == ("failed", "StartRefused")
    assert "'default' is no longer in platform.yaml" in stage.queries.job(ALICE, job, "en").reason_sentence
    assert stage.world.begun.get(job, 0) == 0
    assert stage.nothing_is_held()


def test_a_cluster_that_goes_lets_its_jobs_end_and_takes_no_new_ones(stage):
    running, waiting = stage.submit(fate=Fate(run_s=5.0)), stage.submit()
    stage.wait(2)
    stage.platform.replace(replace(stage.platform.current, clusters=(a_lab(a_node("m1", "gold"), name="other"),)))
    stage.wait(10)
    assert stage.phase(running) == "succeeded"
    assert stage.phase(waiting) == "admitted", "on the new cluster, which has no executor in this stage"


def test_a_job_on_a_cluster_that_nobody_knows_any_more_is_not_stuck(stage):
    begun, starting = stage.submit(fate=LONG), stage.submit(fate=SLOW_START, tier="silver")
    stage.wait(2)
    lab = stage.executors.pop("lab")
    stage.tick()
    assert stage.phase(begun) == "running", "it is in the platform file: its executor will come"
    stage.platform.replace(replace(stage.platform.current, clusters=(a_cloud(),)))
    stage.tick()
    assert (stage.phase(begun), stage.reason(begun)) == ("failed", "WorkerLost")
    assert stage.phase(starting) == "queued"
    assert lab.asked


def test_a_node_that_goes_is_not_given_to_anybody(stage):
    stage.submit(fate=Fate(run_s=3.0))
    waiting = stage.submit()
    stage.wait(1)
    stage.platform.replace(replace(stage.platform.current, clusters=(a_lab(a_node("n2", "silver")), a_cloud())))
    stage.wait(10)
    assert (stage.phase(waiting), stage.reason(waiting)) == ("queued", "NoMatchingFlavor")
