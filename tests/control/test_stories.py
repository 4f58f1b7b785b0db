"""What happens to a job, told as stories on the production loop."""

from dataclasses import replace

import pytest

from dure.core.model import Budget, BudgetMode, BurstPolicy, Phase
from dure.ports import ExecutorUnavailableError, StartRefusedError
from dure.sim.executor import NEVER, Fate
from tests.control.stage import ALICE, LONG, OTHER, ROOT, SLOW_START, Stage
from tests.core.builders import a_lab, a_node, a_platform, a_team

ONE_GOLD = a_platform(a_lab(a_node("n1", "gold")))


def test_a_job_is_submitted_runs_and_is_done(stage):
    job = stage.submit(fate=Fate(begin_after_s=0.2, run_s=3.0, result={"status": "ok", "snapshot": None}))
    assert stage.hints == 1, "the loop is told at once"
    stage.tick()
    assert stage.phase(job) == "admitted"
    stage.tick()
    assert stage.phase(job) == "starting"
    stage.wait(1)
    assert stage.phase(job) == "running"
    stage.wait(3)
    done = stage.job(job)
    assert (done.phase, done.reason, done.attempt) == (Phase.SUCCEEDED, None, 1)
    assert done.result == {"status": "ok", "snapshot": None}
    assert done.ran_s == pytest.approx(3.0, abs=0.6)
    assert stage.kinds(job) == ["submitted", "admitted", "starting", "running", "succeeded"]
    assert stage.nothing_is_held()
    stage.tick()
    assert stage.seen() == [], "the executor was told to forget it"


@pytest.mark.parametrize(
    ("result", "phase", "reason"),
    [
        ({"status": "error", "error": {"ename": "ValueError", "evalue": "bad"}}, "failed", "Error"),
        ({"status": "exit", "exit_code": 3}, "failed", "ExitCode"),
        ({"status": "timeout"}, "failed", "Timeout"),
        ({"status": "memory"}, "failed", "OutOfMemory"),
        ({"status": "killed"}, "failed", "Killed"),
        ({"status": "disk_full"}, "failed", "DiskFull"),
        ({"status": "refused", "error": {"ename": "", "evalue": "no"}}, "failed", "StartRefused"),
        ({"status": "interrupted"}, "cancelled", "Interrupted"),
        ({"status": "of a newer worker"}, "failed", "Killed"),
    ],
)
def test_each_end_has_its_reason_and_frees_the_gpus(stage, result, phase, reason):
    job = stage.submit(fate=Fate(result=result))
    stage.wait(3)
    assert (stage.phase(job), stage.reason(job)) == (phase, reason)
    assert stage.job(job).result == result
    assert stage.nothing_is_held()


# --- cancelling


@pytest.mark.parametrize("ticks", [0, 1, 2])
def test_cancelling_before_user_code_begins_runs_nothing(stage, ticks):
    job = stage.submit(fate=SLOW_START)
    stage.tick(ticks)
    assert stage.phase(job) == ["queued", "admitted", "starting"][ticks]
    stage.commands.cancel(ALICE, job)
    stage.wait(10)
    assert (stage.phase(job), stage.reason(job)) == ("cancelled", "CancelledByUser")
    assert stage.world.begun.get(job, 0) == 0
    assert stage.nothing_is_held()


def test_cancelling_while_running_stops_it_and_its_gpu_is_free_only_then(stage):
    job = stage.submit(fate=LONG)
    stage.wait(2)
    stage.commands.cancel(ALICE, job)
    stage.tick()
    assert stage.phase(job) == "running", "until its processes are gone"
    assert stage.job(job).goal == "cancel"
    stage.wait(10)
    assert (stage.phase(job), stage.reason(job)) == ("cancelled", "CancelledByUser")
    assert stage.nothing_is_held()


def test_a_job_that_succeeds_before_its_cancellation_comes_through_has_succeeded(stage):
    job = stage.submit(fate=Fate(run_s=1.0))
    stage.wait(1)
    stage.clock.time += 5
    stage.commands.cancel(ALICE, job)
    stage.tick()
    assert stage.phase(job) == "succeeded"


def test_cancelling_while_another_waits_lets_that_one_run(stage):
    first, second = stage.submit(fate=LONG), stage.submit(fate=LONG)
    stage.wait(2)
    assert stage.reason(second) == "WaitingForQuota"
    stage.commands.cancel(ALICE, first)
    stage.wait(10)
    assert stage.phase(second) == "running"


def test_an_interrupt_while_queued_cancels(stage):
    stage.submit(fate=LONG)
    job = stage.submit()
    stage.tick()
    stage.interrupt(job)
    stage.tick()
    assert (stage.phase(job), stage.world.begun.get(job, 0)) == ("cancelled", 0)


def test_an_interrupt_while_nobody_listens_yet_cancels(stage):
    job = stage.submit(fate=LONG)
    stage.executors["lab"].failing["start"] = ExecutorUnavailableError("away")
    stage.tick()
    assert stage.phase(job) == "admitted"
    stage.interrupt(job)
    stage.executors["lab"].failing.clear()
    stage.wait(10)
    assert (stage.phase(job), stage.world.begun.get(job, 0)) == ("cancelled", 0)


def test_an_interrupt_while_running_reaches_the_worker(stage):
    job = stage.submit(fate=LONG)
    stage.wait(2)
    stage.interrupt(job)
    stage.tick()
    assert (stage.phase(job), stage.reason(job)) == ("cancelled", "Interrupted")
    assert "interrupted" in stage.kinds(job)


# --- losing workers


def test_a_worker_lost_before_user_code_began_is_replaced(stage):
    job = stage.submit(fate=[Fate(begin_after_s=2.0, lost_after_s=1.0), Fate(run_s=1.0)])
    stage.wait(10)
    assert (stage.phase(job), stage.job(job).attempt, stage.job(job).false_starts) == ("succeeded", 2, 1)
    assert stage.world.begun[job] == 1
    requeued = next(event for event in stage.events(job) if event.kind == "job.requeued")
    assert requeued.data["reason"] == "WorkerLost"


def test_a_worker_lost_after_user_code_began_is_not_replaced_unasked(stage):
    job = stage.submit(fate=Fate(run_s=100.0, lost_after_s=2.0))
    stage.wait(5)
    assert (stage.phase(job), stage.reason(job), stage.world.begun[job]) == ("failed", "WorkerLost", 1)
    assert stage.nothing_is_held()


def test_with_retries_it_is_and_only_so_often(stage):
    dying = Fate(run_s=100.0, lost_after_s=2.0)
    once = stage.submit(fate=[dying, Fate()], retries=1)
    stage.wait(10)
    assert (stage.phase(once), stage.world.begun[once]) == ("succeeded", 2)
    again = stage.submit(fate=dying, retries=2)
    stage.wait(20)
    assert (stage.phase(again), stage.reason(again), stage.world.begun[again]) == ("failed", "WorkerLost", 3)


def test_a_loss_before_user_code_began_uses_up_no_retry(stage):
    born_dead, dying = Fate(begin_after_s=2.0, lost_after_s=1.0), Fate(run_s=100.0, lost_after_s=2.0)
    job = stage.submit(fate=[born_dead, dying, Fate()], retries=1)
    stage.wait(20)
    assert (stage.phase(job), stage.job(job).attempt) == ("succeeded", 3)
    assert (stage.job(job).losses, stage.job(job).false_starts) == (1, 1)


def test_a_job_whose_workers_always_die_at_birth_is_given_up(stage):
    job = stage.submit(fate=Fate(begin_after_s=2.0, lost_after_s=0.5))
    stage.wait(30)
    assert (stage.phase(job), stage.reason(job)) == ("failed", "TooManyLosses")
    assert stage.job(job).attempt == 6
    assert stage.nothing_is_held()


def test_a_process_killed_before_user_code_began_is_replaced_too(stage):
    """By the system, short of memory, say: nobody's code ran."""
    job = stage.submit(fate=[Fate(begin_after_s=100.0), Fate()])
    stage.tick(2)
    attempt = stage.world.attempts[job, 1]
    attempt.stop_by = stage.clock.now()
    stage.wait(5)
    assert (stage.phase(job), stage.job(job).attempt, stage.world.begun[job]) == ("succeeded", 2, 1)


def test_an_attempt_that_never_begins_does_not_hold_its_gpu_for_ever(stage):
    job = stage.submit(fate=[Fate(begin_after_s=NEVER), Fate()])
    stage.wait(2390, step_s=10)
    assert stage.phase(job) == "starting"
    stage.wait(60, step_s=5)
    assert (stage.phase(job), stage.job(job).attempt) == ("succeeded", 2)


def test_a_time_limit_that_the_worker_does_not_keep_is_kept_by_the_loop(stage):
    job = stage.submit(fate=Fate(run_s=10_000.0), timeout_s=30, retries=3)
    stage.wait(95)
    assert stage.phase(job) == "running", "the worker has its grace, and a margin"
    stage.wait(20)
    assert (stage.phase(job), stage.reason(job), stage.world.begun[job]) == ("failed", "Timeout", 1)
    assert stage.nothing_is_held()


# --- starts that are refused, executors that do not answer


def test_a_start_that_is_refused_for_good_fails_with_the_sentence(stage):
    job = stage.submit()
    stage.executors["lab"].failing["start"] = StartRefusedError("there is no such image")
    stage.tick(2)
    assert (stage.phase(job), stage.reason(job)) == ("failed", "StartRefused")
    assert "there is no such image" in stage.queries.job(ALICE, job, "en").reason_sentence
    assert stage.nothing_is_held()


def test_an_executor_that_does_not_answer_loses_nothing(stage):
    running, starting = stage.submit(fate=Fate(run_s=5.0)), stage.submit(tier="silver", fate=SLOW_START)
    stage.wait(1)
    away = ExecutorUnavailableError("no answer")
    stage.executors["lab"].failing.update(observe=away, start=away, stop=away, forget=away)
    waiting = stage.submit(tier="bronze")
    stage.wait(60)
    assert [stage.phase(job) for job in (running, starting, waiting)] == ["running", "starting", "queued"]
    assert stage.queries.job(ALICE, waiting, "en").verdict.sentence.count("does not answer") == 1
    stage.executors["lab"].failing.clear()
    stage.wait(60)
    assert [stage.phase(job) for job in (running, starting, waiting)] == ["succeeded"] * 3
    assert stage.nothing_is_held()


def test_an_accepted_start_whose_answer_was_lost_is_not_started_again(stage):
    job = stage.submit(fate=Fate(run_s=2.0))
    lab = stage.executors["lab"]
    start = lab.inner.start

    def accepts_and_is_silent(launch, fence):
        start(launch, fence)
        raise ExecutorUnavailableError("no answer in time")

    lab.inner.start = accepts_and_is_silent
    stage.wait(5)
    assert (stage.phase(job), stage.job(job).attempt, stage.world.begun[job]) == ("succeeded", 1, 1)


def test_one_cluster_that_does_not_answer_keeps_no_other_from_working(stage):
    stage.executors["cloud"].failing["observe"] = ExecutorUnavailableError("no answer")
    job = stage.submit()
    stage.wait(3)
    assert stage.phase(job) == "succeeded"


# --- burst and money


def test_a_job_bursts_after_its_wait_and_the_decision_is_stored_with_its_inputs(stage):
    stage.submit(fate=LONG)
    job = stage.submit(budget="flex", fate=Fate(run_s=36.0))
    stage.wait(59)
    assert stage.phase(job) == "queued"
    stage.wait(3)
    assert stage.job(job).lease.cluster == "cloud"
    decided = next(event.data for event in stage.events(job) if event.kind == "job.burst_decided")
    assert (decided["go"], decided["failing"], decided["rule"]) == (True, [], "fixed")
    assert (decided["waited_s"], decided["allowed_wait_s"]) == (pytest.approx(60.0), 60.0)
    assert decided["price_per_gpu_hour"] == 3600.0
    assert decided["stays_until"] > decided["now"]  # what staying would have meant
    assert {"predicted_s", "predicted_cost", "budget", "data_class", "may_leave", "due_at"} <= set(decided)
    stage.wait(60)
    assert stage.phase(job) == "succeeded"
    assert stage.job(job).cost == pytest.approx(36.0, abs=2.0)


@pytest.mark.parametrize(
    "asked", [{"budget": "strict"}, {"budget": "flex", "burst": False}, {"budget": "flex", "data": "private"}]
)
def test_what_may_not_leave_waits(stage, asked):
    stage.submit(fate=LONG)
    job = stage.submit(**asked)
    stage.wait(120)
    assert stage.phase(job) == "queued"
    assert "burst_decided" not in stage.kinds(job)


def test_a_teams_monthly_budget_holds():
    policy = BurstPolicy(rule="fixed", wait_s=5.0, default_predicted_s=100.0)
    stage = Stage(a_platform(teams=[a_team("vision", budget=150.0), a_team("speech")], burst=policy))
    stage.submit(OTHER, fate=Fate(run_s=100_000.0))
    first = stage.submit(budget="flex", fate=Fate(run_s=100.0))
    second = stage.submit(budget="flex", fate=Fate(run_s=100.0))
    stage.wait(20)
    assert (stage.phase(first), stage.phase(second)) == ("running", "queued"), "what runs is promised already"
    stage.wait(200)
    assert stage.phase(first) == "succeeded"
    assert stage.job(first).cost == pytest.approx(100.0, abs=5.0)
    assert stage.phase(second) == "queued"
    view = stage.queries.job(ALICE, second, "en")
    assert "more than the team's budget has left" in str(view.verdict)


def test_an_amount_is_a_limit_for_the_job_alone(stage):
    stage.submit(fate=LONG)
    poor, rich = stage.submit(budget=100.0), stage.submit(budget=10_000.0)
    stage.wait(70)
    assert stage.job(poor).budget == Budget(BudgetMode.AMOUNT, 100.0)
    assert [stage.job(job).lease is not None for job in (poor, rich)] == [False, True]


# --- explaining


def test_a_reason_is_written_when_it_changes_and_not_at_every_tick(stage):
    stage.submit(fate=LONG)
    job = stage.submit()
    stage.wait(30)
    assert stage.kinds(job) == ["submitted", "waiting"]
    before = stage.store.last_seq()
    stage.wait(10)
    assert stage.store.last_seq() == before, "nothing happened, so nothing was written"
    queue = stage.platform.current.queues[0]
    stage.platform.replace(replace(stage.platform.current, queues=(replace(queue, stopped=True),)))
    stage.wait(10)
    assert stage.kinds(job) == ["submitted", "waiting", "waiting"]
    assert stage.reason(job) == "OnHold"


def test_the_log_names_no_job_of_another_team(stage):
    theirs = stage.submit(OTHER, fate=LONG, name="secret project")
    mine = stage.submit()
    stage.wait(2)
    told = str([dict(event.data) for event in stage.events(mine)])
    assert theirs not in told
    assert "secret" not in told
    view = stage.queries.job(ALICE, mine, "en").verdict
    assert "speech" in view.sentence
    assert theirs not in str(view)
    assert theirs in str(stage.queries.job(ROOT, mine, "en").verdict)


def test_whoever_holds_or_waits_for_a_part_of_a_gpu_is_told_what_keeps_it_apart():
    stage = Stage()
    first, second = stage.submit(gpus=0.5, tier="gold"), stage.submit(gpus=0.75, tier="gold")
    stage.tick()
    views = {job: stage.queries.job(ALICE, job, "en") for job in (first, second)}
    assert views[first].isolation == "Half a GPU, simulated: nothing is really shared."
    lease, verdict = views[first].lease, views[second].verdict
    assert lease is not None
    assert verdict is not None
    assert lease.sharing == "time-slice"
    assert "0.75 GPU, simulated: nothing is really shared." in verdict.sentence


# --- where its values are


def digest(letter):
    return letter * 64


def node_of(stage, job):
    lease = stage.job(job).lease
    return None if lease is None else lease.node


def test_the_second_cell_goes_to_the_node_of_the_first_when_both_are_free():
    stage = Stage(a_platform(a_lab(a_node("n1", "gold"), a_node("n2", "gold"))))
    blocker = stage.submit(fate=LONG)
    first = stage.submit(fate=Fate(run_s=1.0), inputs={digest("a"): 10**9})
    stage.wait(2)
    assert (node_of(stage, blocker), node_of(stage, first)) == ("n1", "n2")
    stage.commands.cancel(ALICE, blocker)
    stage.wait(10)
    assert stage.nothing_is_held()
    stage.platform.replace(replace(stage.platform.current))  # the file was saved: the decider is made anew
    near, other = stage.submit(inputs={digest("a"): 10**9, digest("b"): 5}), stage.submit()
    stage.tick()
    assert (node_of(stage, near), node_of(stage, other)) == ("n2", "n1")
    assert stage.job(near).inputs == {digest("a"): 10**9, digest("b"): 5}
