"""Limits of teams and people: what they count, what they let in, and the numbers that they give."""

from dataclasses import replace

import pytest

from dure.core.model import BudgetAction, GpuShare, Lease, Limit, Phase
from dure.core.queueing import limits as rules
from dure.core.queueing.limits import holdings, levels, overdrawn
from dure.core.usage import DAY_S, Account, Past, day_of
from tests.core.builders import a_job, a_platform, a_team

NOON = 20_000 * DAY_S + DAY_S / 2
HOUR = 3600.0


def platform(**changes):
    return a_platform(teams=[replace(a_team("vision"), **changes), a_team("speech")])


def running(job_id="r", *, gpus=1, user="alice", since=NOON, predicted_s=HOUR, price=0.0):
    lease = Lease("lab", "n3", "gold", tuple(GpuShare(i) for i in range(gpus)), price)
    return a_job(
        job_id, gpus=gpus, user=user, phase=Phase.RUNNING, lease=lease, admitted_at=since, predicted_s=predicted_s
    )


def held(*arguments, **changes):
    job = running(*arguments, **changes)
    return job, job.lease


def past(team=None, user=None, name="alice"):
    accounts = {("vision", None): team or Account(), ("vision", name): user or Account()}
    return Past(day_of(NOON), day_of(NOON), accounts)


def refusal(job, platform, past, holders, now):
    team = rules.limited(platform, job.team)
    if team is None:
        return None
    return rules.refusal(job, team, platform, past, holdings(platform, job.team, job.user, holders, now))


def why(found):
    return None if found is None else (found[0].value, found[1]["limit"], found[1]["whose"])


def test_a_team_without_limits_is_never_kept_out():
    assert refusal(a_job(gpus=100), platform(), past(), [held()] * 50, NOON) is None


@pytest.mark.parametrize(
    ("limits", "job", "found"),
    [
        ({"user_limits": Limit(jobs=2)}, a_job(), None),
        ({"user_limits": Limit(jobs=1)}, a_job(), ("WaitingForQuota", "jobs", "user")),
        ({"user_limits": Limit(jobs=1)}, a_job(user="bob"), None),
        ({"limits": Limit(jobs=1)}, a_job(user="bob"), ("WaitingForQuota", "jobs", "team")),
        ({"limits": Limit(jobs=1)}, a_job(team="speech"), None),
        ({"user_limits": Limit(gpus_milli=1500)}, a_job(gpus=0.5), None),
        ({"user_limits": Limit(gpus_milli=1500)}, a_job(gpus=1), ("WaitingForQuota", "gpus", "user")),
        ({"user_limits": Limit(gpus_milli=1500)}, a_job(gpus=2), ("ExceedsMaxQuota", "gpus", "user")),
    ],
)
def test_jobs_and_gpus_at_once(limits, job, found):
    assert why(refusal(job, platform(**limits), past(), [held()], NOON)) == found


def test_the_numbers_are_told():
    limited = platform(user_limits=Limit(jobs=1))
    found = refusal(a_job(), limited, past(), [held()], NOON)
    assert found is not None
    told = found[1]
    assert (told["used"], told["need"], told["most"], told["user"], told["team"]) == (1, 1, 1, "alice", "vision")


def test_gpu_hours_a_day_count_what_was_what_runs_and_what_is_asked():
    limited = platform(user_limits=Limit(gpu_hours_per_day=4))
    job = a_job(predicted_s=HOUR)
    two = past(user=Account(day_gpu_s=2 * HOUR))
    assert refusal(job, limited, two, [held()], NOON) is None, "two used, one runs, one asked: four"
    found = refusal(job, limited, two, [held(gpus=2)], NOON)
    assert why(found) == ("WaitingForQuota", "gpu_hours_per_day", "user")


def test_what_runs_counts_today_only_until_midnight_and_only_since_midnight():
    limited = platform(user_limits=Limit(gpu_hours_per_day=14))
    team = limited.teams[0]
    long = held(since=NOON - DAY_S, predicted_s=10 * DAY_S)
    found = holdings(limited, "vision", "alice", [long], NOON)
    (level,) = levels(team, "alice", past(), found)
    assert level.used == 24
    assert level.until == day_of(NOON) + DAY_S


def test_the_first_job_of_a_day_is_let_in_even_if_predicted_over_the_limit():
    limited = platform(user_limits=Limit(gpu_hours_per_day=1))
    long = a_job(predicted_s=10 * HOUR)
    assert refusal(long, limited, past(), [], NOON) is None
    assert refusal(long, limited, past(user=Account(day_gpu_s=1.0)), [], NOON) is not None
    assert refusal(long, platform(user_limits=Limit(gpu_hours_per_day=0)), past(), [], NOON) is not None


@pytest.mark.parametrize("action", [BudgetAction.HARD, BudgetAction.SOFT, BudgetAction.BURST])
def test_only_a_hard_budget_keeps_out_and_counts_the_predicted_cost_of_what_runs(action):
    limited = platform(budget_per_month=1000.0, budget_action=action)
    spent = past(team=Account(month_cost=300.0))
    job = a_job(predicted_s=HOUR)  # gold costs 400 an hour
    cheap, dear = held(price=300.0), held(price=301.0)
    assert refusal(job, limited, spent, [cheap], NOON) is None
    found = refusal(job, limited, spent, [dear], NOON)
    assert why(found) == (("WaitingForQuota", "budget", "team") if action is BudgetAction.HARD else None)


def test_a_soft_budget_that_is_used_up_is_said_to_be():
    limited = platform(budget_gpu_hours_per_month=5, budget_action=BudgetAction.SOFT)
    assert not overdrawn(limited, "vision", past(team=Account(month_gpu_s=3 * HOUR)), [held()], NOON)
    assert overdrawn(limited, "vision", past(team=Account(month_gpu_s=4 * HOUR)), [held()], NOON)
    assert not overdrawn(limited, "speech", past(), [], NOON)
    hard = platform(budget_gpu_hours_per_month=5, budget_action=BudgetAction.HARD)
    assert not overdrawn(hard, "vision", past(team=Account(month_gpu_s=9 * HOUR)), [], NOON)
