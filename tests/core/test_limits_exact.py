"""Limits that need a prediction are asked of each job by itself, whoever of its kind stands before it."""

import random
from dataclasses import replace

from dure.core.model import BudgetAction, GpuShare, Job, Lease, Limit, Phase, Request
from dure.core.queueing.decide import Decider
from dure.core.queueing.limits import Bounds, Limited, held_by
from dure.core.usage import Account, Past, day_of, month_of
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform, a_team, amount, running

HOUR = 3600.0


def plan_of(platform, jobs, past):
    decider = Decider(platform)
    decider.bounds = Bounds(past)
    for job in jobs:
        decider.put(job)
    return decider.decide(NOW)


def vision(**changes):
    return a_platform(a_lab(a_node("n1", "gold", 32)), teams=[replace(a_team("vision"), **changes)])


def used(hours, user="alice"):
    account = Account(hours * HOUR, hours * HOUR, 0.0)
    return Past(day_of(NOW), month_of(NOW), {("vision", None): account, ("vision", user): account})


def test_a_shorter_job_behind_one_that_does_not_fit_the_day_starts():
    jobs = [a_job("j-1", predicted_s=5 * HOUR), a_job("j-2", predicted_s=HOUR), a_job("j-3", predicted_s=3 * HOUR)]
    plan = plan_of(vision(user_limits=Limit(gpu_hours_per_day=10)), jobs, used(8))
    assert [admission.job_id for admission in plan.admissions] == ["j-2"]
    told = {job_id: (verdict.data["used"], verdict.data["need"]) for job_id, verdict in plan.verdicts.items()}
    assert told == {"j-1": (9.0, 5.0), "j-3": (9.0, 3.0)}, "each is told its own need, after what this plan gave"
    assert all(verdict.position == 1 + (job == "j-3") for job, verdict in plan.verdicts.items())


def test_the_first_of_a_new_day_is_the_one_that_waited_longest_however_long_it_runs():
    jobs = [a_job("j-1", predicted_s=12 * HOUR), a_job("j-2", at=NOW + 1, predicted_s=HOUR)]
    plan = plan_of(vision(user_limits=Limit(gpu_hours_per_day=10)), jobs, used(0))
    assert [admission.job_id for admission in plan.admissions] == ["j-1"]


def test_who_is_over_the_limit_does_not_count_for_those_who_wait_for_gpus():
    platform = a_platform(
        a_lab(a_node("n1", "gold", 1)),
        teams=[replace(a_team("vision"), limits=Limit(gpu_hours_per_day=10)), a_team("speech")],
    )
    lease = Lease("lab", "n1", "gold", (GpuShare(0),))
    jobs = [a_job("r", team="speech", phase=Phase.RUNNING, lease=lease, admitted_at=NOW, predicted_s=HOUR)]
    jobs += [a_job(f"j-{i}", at=NOW + i, predicted_s=hours * HOUR) for i, hours in enumerate((8, 1, 8, 2))]
    plan = plan_of(platform, jobs, used(5))
    places = {job_id: (verdict.data["why"], verdict.position) for job_id, verdict in plan.verdicts.items()}
    assert places == {"j-0": ("limit", 1), "j-1": ("gpus_busy", 1), "j-2": ("limit", 2), "j-3": ("gpus_busy", 2)}


def test_what_one_job_may_not_cost_another_of_its_kind_may():
    """A budget of so much money keeps a long job in the house; a short one of the same person is told otherwise."""
    from tests.core.builders import a_cloud

    platform = a_platform(a_lab(a_node("n1", "bronze", 1)), a_cloud(1, price=3600.0))
    budget = amount(100.0)
    lease = Lease("cloud", "c1", "gold", (GpuShare(0),), 3600.0)
    jobs = [
        a_job("r", phase=Phase.RUNNING, lease=lease, admitted_at=NOW),
        a_job("j-1", budget=budget, predicted_s=500.0),
        a_job("j-2", budget=budget, predicted_s=50.0),
    ]
    plan = plan_of(platform, jobs, Past())
    assert plan.verdicts["j-1"].data["why"] == "public_only"
    assert plan.verdicts["j-2"].data["why"] == "public_busy"


def test_with_gpus_for_everybody_exactly_those_wait_whom_a_limit_keeps_out():
    """So says a plain look at every limit of each job, after any plan."""
    for seed in range(60):
        draw = random.Random(seed)
        team = replace(
            a_team("vision", budget=draw.choice((None, 4000.0))),
            limits=Limit(jobs=draw.choice((None, 9)), gpu_hours_per_day=draw.choice((None, 12.0))),
            user_limits=Limit(gpus_milli=draw.choice((None, 5000)), gpu_hours_per_day=draw.choice((None, 6.0, 0.0))),
            budget_gpu_hours_per_month=draw.choice((None, 15.0)),
            budget_action=draw.choice((BudgetAction.HARD, BudgetAction.BURST)),
        )
        platform = a_platform(a_lab(a_node("n1", "gold", 200), a_node("n2", "bronze", 200)), teams=[team])
        past = used(draw.choice((0.0, 4.0)), draw.choice(("alice", "bob")))
        jobs = [
            replace(
                a_job(f"j-{i:02}", at=NOW + draw.randrange(5), user=draw.choice(("alice", "bob", "cho"))),
                request=Request(draw.choice((500, 1000, 2000)), draw.choice(("gold", "bronze", None))),
                priority_value=draw.choice((0, 0, 100)),
                predicted_s=draw.choice((None, 60.0, HOUR, 3 * HOUR, 9 * HOUR)),
                timeout_s=draw.choice((None, 2 * HOUR)),
            )
            for i in range(30)
        ]
        plan = plan_of(platform, jobs, past)
        by_id = {job.id: job for job in jobs}
        held = [(by_id[one.job_id], one.lease) for one in plan.admissions]
        after = Limited(team, platform, past, held_by(platform, "vision", held, NOW))
        for job_id, verdict in plan.verdicts.items():
            refusal = after.refusal(by_id[job_id])
            assert refusal is not None, (seed, job_id)
            assert (verdict.code, verdict.data) == refusal
            assert after.lets(by_id[job_id]) is False
        assert {job_id for job_id in plan.verdicts if by_id[job_id].reason != plan.verdicts[job_id].code.value} == {
            *plan.changed
        }


def test_who_asks_for_more_than_a_limit_ever_allows_is_told_that_and_not_to_wait_for_their_other_job():
    team = replace(a_team("vision"), user_limits=Limit(jobs=1, gpus_milli=1000))
    platform = a_platform(a_lab(a_node("n1", "gold", 4)), teams=[team])
    jobs = [running(a_job("j-0"), "lab", "n1", 0), a_job("j-1", gpus=2), a_job("j-2")]
    plan = plan_of(platform, jobs, Past())
    assert {job_id: verdict.code.value for job_id, verdict in plan.verdicts.items()} == {
        "j-1": "ExceedsMaxQuota",
        "j-2": "WaitingForQuota",
    }
    assert plan.verdicts["j-1"].data["limit"] == "gpus"


def test_exactly_those_are_named_as_changed_on_whose_record_another_code_stands():
    """Of one decider over random days of teams with limits, whose records always follow its plans."""
    for seed in range(60):
        draw = random.Random(seed)
        limits = Limit(jobs=draw.choice((None, 1, 2)), gpus_milli=draw.choice((None, 1000)))
        hours = draw.choice((None, None, 2.0))
        team = replace(a_team("vision"), user_limits=replace(limits, gpu_hours_per_day=hours))
        if draw.random() < 0.4:
            team = replace(team, budget_action=BudgetAction.HARD, budget_gpu_hours_per_month=draw.choice((1.0, 3.0)))
        decider = Decider(a_platform(a_lab(a_node("n1", "gold", 3)), teams=[team, a_team("speech")]))
        jobs: dict[str, Job] = {}
        now = NOW
        for step in range(25):
            if draw.random() < 0.6:
                who, of_team = draw.choice(("x", "y", "z")), draw.choice(("vision", "vision", "speech"))
                seconds = draw.choice((600.0, 5400.0, 9000.0))
                gpus = draw.choice((1, 1, 2))
                job = a_job(f"j-{step}", gpus=gpus, team=of_team, user=who, at=now, predicted_s=seconds)
                jobs[job.id] = job
                decider.put(job)
            elif holders := [job.id for job in jobs.values() if job.phase is Phase.RUNNING]:
                ended = draw.choice(holders)
                decider.drop(ended)
                del jobs[ended]
            now += draw.choice((1.0, 60.0, 3600.0))
            plan = decider.decide(now)
            told = {job_id: verdict.code.value for job_id, verdict in plan.verdicts.items()}
            assert set(plan.changed) == {job_id for job_id, code in told.items() if jobs[job_id].reason != code}
            for job_id in plan.changed:
                jobs[job_id] = replace(jobs[job_id], reason=told[job_id])
            for one in plan.admissions:
                jobs[one.job_id] = replace(
                    jobs[one.job_id], phase=Phase.RUNNING, lease=one.lease, admitted_at=now, began_at=now, reason=None
                )
            for job_id in (*plan.changed, *(one.job_id for one in plan.admissions)):
                decider.put(jobs[job_id])
