"""Every step of the transition table, and what a job has waited, run and cost across attempts."""

from dataclasses import replace

import pytest

from dure.core.events import KINDS
from dure.core.lifecycle import (
    EVENT_OF_PHASE,
    TABLE,
    Facts,
    Signal,
    UnknownTransitionError,
    advance,
    ask_cancel,
    diagram,
    submitted,
    until,
)
from dure.core.model import Goal, GpuShare, Lease, Phase
from tests.core.builders import NOW, a_job

LEASE = Lease("lab", "n3", "gold", (GpuShare(0), GpuShare(1)), price_per_gpu_hour=1800.0)  # 1 per second for both
STEPS = [(phase, signal, target) for phase, steps in TABLE.items() for signal, target in steps.items()]
UNKNOWN = [(phase, signal) for phase in Phase for signal in Signal if signal not in TABLE[phase]]


def a_job_in(phase: Phase):
    job = a_job(gpus=2)
    if phase is Phase.QUEUED:
        return job
    job = replace(job, phase=phase, attempt=1, lease=LEASE, admitted_at=NOW)
    return replace(job, began_at=NOW + 1) if phase is Phase.RUNNING else job


def a_run(job, *signals, every_s=10.0, start=NOW, facts=None):
    """Advance through `signals`, one every `every_s` seconds."""
    now = start
    for signal in signals:
        now += every_s
        job = advance(job, signal, now, facts or Facts(lease=LEASE)).job
    return job


@pytest.mark.parametrize(("phase", "signal", "target"), STEPS)
def test_every_step_of_the_table_is_taken_and_told(phase, signal, target):
    before = a_job_in(phase)
    step = advance(before, signal, NOW + 5, Facts(lease=LEASE))
    assert step.job.phase is target
    assert step.job.version == before.version + 1
    assert step.event.kind == EVENT_OF_PHASE[target]
    assert step.event.subject == before.id
    assert step.event.data["team"] == "vision"
    assert step.event.data["user"] == "alice"
    assert before.phase is phase


@pytest.mark.parametrize(("phase", "signal"), UNKNOWN)
def test_every_other_signal_raises_with_what_is_known_of_the_job(phase, signal):
    with pytest.raises(UnknownTransitionError) as raised:
        advance(a_job_in(phase), signal, NOW, Facts(lease=LEASE))
    assert "j-1" in str(raised.value)
    assert str(phase) in str(raised.value)
    assert str(signal) in str(raised.value)
    assert raised.value.job.id == "j-1"
    assert raised.value.signal is signal


def test_nothing_is_admitted_without_a_lease():
    with pytest.raises(UnknownTransitionError):
        advance(a_job(), Signal.ADMIT, NOW)


def test_terminal_phases_are_those_that_nothing_leaves():
    assert {phase for phase, steps in TABLE.items() if not steps} == {phase for phase in Phase if phase.terminal}


def test_gpus_are_held_from_admission_to_the_end_and_the_lease_says_so():
    for phase, _, target in STEPS:
        after = advance(a_job_in(phase), _, NOW + 5, Facts(lease=LEASE)).job
        assert (after.lease is not None) or not target.holds_gpus


def test_a_job_that_ran_once_waited_ran_and_cost():
    job = a_run(a_job(gpus=2), Signal.ADMIT, Signal.START, Signal.BEGIN, Signal.SUCCEED)
    assert (job.waited_s, job.ran_s, job.cost) == (10, 10, 30)
    assert (job.attempt, job.losses) == (1, 0)
    assert job.ended_at == NOW + 40


def test_waiting_running_and_cost_add_up_over_a_lost_worker():
    job = a_run(a_job(gpus=2), Signal.ADMIT, Signal.START, Signal.BEGIN)
    job = advance(job, Signal.REQUEUE, NOW + 40, Facts(reason="WorkerLost", lost=True)).job
    assert (job.phase, job.lease, job.losses) == (Phase.QUEUED, None, 1)
    assert (job.waited_s, job.ran_s, job.cost) == (10, 10, 30)
    assert (job.queued_at, job.submitted_at) == (NOW + 40, NOW)
    assert (job.admitted_at, job.began_at) == (None, None)
    job = a_run(job, Signal.ADMIT, Signal.START, Signal.BEGIN, Signal.FAIL, start=NOW + 40)
    assert (job.waited_s, job.ran_s, job.cost) == (20, 20, 60)
    assert (job.attempt, job.losses) == (2, 1)


def test_a_worker_lost_before_the_code_began_is_a_false_start():
    job = a_run(a_job(gpus=2), Signal.ADMIT, Signal.START)
    after = advance(job, Signal.REQUEUE, NOW + 30, Facts(reason="WorkerLost", lost=True)).job
    assert (after.losses, after.false_starts) == (0, 1)


def test_code_began_when_the_worker_says_but_never_before_the_lease_or_after_now():
    job = a_run(a_job(gpus=2), Signal.ADMIT, Signal.START)
    now = job.admitted_at + 5

    def began_at(told):
        return advance(job, Signal.BEGIN, now, Facts(at=told)).job.began_at

    assert (began_at(now - 2), began_at(None)) == (now - 2, now)
    assert (began_at(now + 100), began_at(now - 100)) == (now, job.admitted_at)


def test_a_preempted_job_has_not_lost_its_worker():
    job = a_run(a_job(gpus=2), Signal.ADMIT, Signal.START)
    assert advance(job, Signal.REQUEUE, NOW + 30, Facts(reason="Preempted")).job.losses == 0


def test_a_job_that_never_began_held_gpus_that_are_paid_for_but_ran_nothing():
    job = a_run(a_job(gpus=2), Signal.ADMIT, Signal.START, Signal.CANCEL)
    assert (job.ran_s, job.cost) == (0, 20)


def test_a_job_cancelled_in_the_queue_waited_and_cost_nothing():
    job = a_run(a_job(), Signal.CANCEL)
    assert (job.waited_s, job.ran_s, job.cost) == (10, 0, 0)


def test_a_clock_that_steps_back_never_makes_negative_times():
    job = a_run(a_job(gpus=2), Signal.ADMIT, Signal.START, Signal.BEGIN, Signal.SUCCEED, every_s=-5.0)
    assert (job.waited_s, job.ran_s, job.cost) == (0, 0, 0)


def test_the_event_of_the_end_accounts_for_the_job():
    job = a_run(a_job(gpus=2), Signal.ADMIT, Signal.START, Signal.BEGIN)
    data = advance(job, Signal.FAIL, NOW + 40, Facts(reason="Error", data={"ename": "ValueError"})).event.data
    assert data["reason"] == "Error"
    assert data["ename"] == "ValueError"
    assert (data["waited_s"], data["ran_s"], data["cost"]) == (10, 10, 30)
    assert (data["cluster"], data["node"], data["tier"], data["gpus"]) == ("lab", "n3", "gold", [0, 1])


def test_asking_to_cancel_changes_the_goal_only_and_only_once():
    step = ask_cancel(a_job(), "asked")
    assert step is not None
    assert (step.job.goal, step.job.phase, step.job.version) == (Goal.CANCEL, Phase.QUEUED, 1)
    assert step.event.kind == "job.cancel_requested"
    assert ask_cancel(step.job, "again") is None
    assert ask_cancel(a_run(a_job(), Signal.CANCEL), "too late") is None


def test_a_submission_is_told_with_what_it_asks_for():
    event = submitted(a_job(gpus=0.5))
    assert (event.kind, event.data["gpus_milli"], event.data["tier"]) == ("job.submitted", 500, "gold")


def test_every_event_of_a_phase_is_a_known_kind():
    assert set(EVENT_OF_PHASE) == set(Phase)
    assert set(EVENT_OF_PHASE.values()) <= KINDS


def test_the_diagram_shows_every_step():
    text = diagram()
    assert text.startswith("stateDiagram-v2")
    for phase, signal, target in STEPS:
        assert f"    {phase} --> {target}: {signal}\n" in text
    for phase in Phase:
        assert (f"    {phase} --> [*]\n" in text) == phase.terminal


def test_what_goes_on_counts_to_the_moment_it_is_looked_at_and_no_further_when_it_has_ended():
    waits = a_job(gpus=2)
    assert until(waits, NOW + 30).waited_s == 30
    runs = a_run(waits, Signal.ADMIT, Signal.START, Signal.BEGIN)
    assert (until(runs, NOW + 50).waited_s, until(runs, NOW + 50).ran_s, until(runs, NOW + 50).cost) == (10, 20, 40)
    lost = a_run(runs, Signal.REQUEUE, start=NOW + 40)
    assert (until(lost, NOW + 60).waited_s, until(lost, NOW + 60).cost) == (20, 40), "its run is no waiting"
    ended = a_run(runs, Signal.SUCCEED, start=NOW + 40)
    assert until(ended, NOW + 500) == ended
    assert (ended.ran_s, ended.cost) == (20, 40)
