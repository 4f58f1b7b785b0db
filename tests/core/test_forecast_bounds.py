"""Forecasts know what time alone opens and closes: reservations, limits of a day, budgets of a month."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dure.core.forecast.starts import Present, course
from dure.core.model import BudgetAction, GpuShare, Lease, Limit, Phase
from dure.core.queueing.decide import Decider, decide
from dure.core.queueing.forward import What, Work, forward
from dure.core.queueing.limits import Bounds
from dure.core.reasons import Waiting
from dure.core.reservations import Reservation
from dure.core.sentences import verdict_sentence
from dure.core.usage import DAY_S, Account, Past, Use, day_of, month_of
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform, a_snapshot, a_team

HOUR = 3600.0
MIDNIGHT = day_of(NOW) + DAY_S


def starts(*jobs, teams=None, bounds=None, seconds=HOUR, **changes):
    platform = a_platform(a_lab(a_node("n1", "gold", 2)), teams=teams or [a_team("vision"), a_team("speech")])
    present = Present(NOW, platform, jobs, bounds=bounds or Bounds(), **changes)
    found = course(present, lambda _job, _part: seconds, 0)
    return {job_id: start.in_s for job_id, start in found.starts.items()}


def reserved(begins, ends, gpus=2, **changes):
    return Reservation("r-1", "speech", "gold", gpus * 1000, NOW + begins, NOW + ends, "prof", NOW, **changes)


def test_who_is_kept_out_by_a_reservation_starts_when_it_ends_and_its_owner_at_once():
    bounds = Bounds(Past(), (reserved(0.0, 2 * HOUR),))
    assert starts(a_job("j-1", predicted_s=HOUR), a_job("j-2", team="speech"), bounds=bounds) == {
        "j-1": 2 * HOUR,
        "j-2": 0.0,
    }


@pytest.mark.parametrize(
    ("grace_s", "over_s"), [(2 * HOUR, 2 * HOUR), (900.0, 0.5 * HOUR + 900.0)], ids=["kept", "freed"]
)
def test_who_would_not_be_gone_before_one_to_come_starts_after_it_or_when_nobody_used_it(grace_s, over_s):
    bounds = Bounds(Past(), (reserved(0.5 * HOUR, 2 * HOUR, grace_s=grace_s),))
    found = starts(a_job("j-1", predicted_s=HOUR), a_job("j-2", at=NOW + 1, predicted_s=0.4 * HOUR), bounds=bounds)
    assert found["j-1"] == over_s
    assert found["j-2"] == 0.0


@pytest.mark.parametrize("whose", ["limits", "user_limits"])
def test_who_is_over_a_limit_by_day_starts_at_the_next_utc_midnight(whose):
    limit, team = Limit(gpu_hours_per_day=4), a_team("vision")
    team = replace(team, limits=limit) if whose == "limits" else replace(team, user_limits=limit)
    account = Account(4 * HOUR, 4 * HOUR, 0.0)
    past = Past(day_of(NOW), month_of(NOW), {("vision", None): account, ("vision", "alice"): account})
    assert starts(a_job("j-1"), teams=[team], bounds=Bounds(past)) == {"j-1": MIDNIGHT - NOW}


def test_a_hard_budget_lets_jobs_start_again_when_the_month_begins():
    team = replace(a_team("vision"), budget_gpu_hours_per_month=4.0, budget_action=BudgetAction.HARD)
    past = Past(day_of(NOW), month_of(NOW), {("vision", None): Account(0.0, 4 * HOUR, 0.0)})
    month = month_of(month_of(NOW) + 32 * DAY_S)
    found = starts(a_job("j-1"), teams=[team], bounds=Bounds(past))
    assert found == ({"j-1": month - NOW} if month - NOW < 14 * DAY_S else {})


def test_what_ends_on_the_way_counts_for_the_day():
    """Two jobs of an hour use up the day; the third waits for the next one though GPUs are free."""
    team = replace(a_team("vision"), limits=Limit(gpu_hours_per_day=2.5))
    lease = Lease("lab", "n1", "gold", (GpuShare(0),))
    jobs = [a_job("r", phase=Phase.RUNNING, attempt=1, lease=lease, admitted_at=NOW, began_at=NOW, predicted_s=HOUR)]
    jobs += [a_job(f"j-{number}", at=NOW + number, predicted_s=HOUR) for number in (1, 2)]
    found = starts(*jobs, teams=[team])
    assert found == {"j-1": 0.0, "j-2": MIDNIGHT - NOW}


def test_who_can_never_start_is_not_followed_to_the_end_of_days():
    """A crowd of arrivals goes on for days; only whoever may start is worth following."""
    team = replace(a_team("vision"), user_limits=Limit(gpus_milli=1000))
    recent = tuple(a_job(f"r-{number}", at=NOW - 10 + number) for number in range(9))
    platform = a_platform(a_lab(a_node("n1", "gold", 2)), teams=[team])
    present = Present(NOW, platform, (a_job("j-1", gpus=2), a_job("j-2", gpus=8)), recent=recent, span_s=10.0)
    found = course(present, lambda _job, _part: 1.0, 0)
    assert found.starts == {}
    assert found.until_s < HOUR


def test_uses_are_added_to_the_accounts_of_their_day_and_month():
    past = Past(day_of(NOW), month_of(NOW), {("vision", None): Account(1.0, 2.0, 3.0)})
    uses = [Use(day_of(NOW), "vision", "ann", 10.0, 1.0), Use(day_of(NOW) - DAY_S, "vision", "ann", 5.0, 1.0)]
    uses += [Use(month_of(NOW) - DAY_S, "vision", "ann", 99.0, 9.0)]
    after = past.plus(uses)
    before_month = day_of(NOW) - DAY_S < month_of(NOW)
    assert after.of("vision") == Account(11.0, 12.0 if before_month else 17.0, 4.0 if before_month else 5.0)
    assert after.of("vision", "ann").day_gpu_s == 10.0


@pytest.mark.parametrize(
    "team",
    [
        {"budget_action": BudgetAction.HARD, "budget_gpu_hours_per_month": 1.0},
        {"budget_action": BudgetAction.HARD, "budget_per_month": 10.0},
        {"user_limits": Limit(gpu_hours_per_day=0.0)},
    ],
)
def test_one_job_that_alone_is_over_its_budget_opens_nothing_with_a_new_month_and_the_run_ends(team):
    """A replay would else ask at every new month until the calendar ends."""
    platform = a_platform(a_lab(a_node("n1", "gold", 2)), teams=[replace(a_team("vision"), **team), a_team("speech")])
    jobs = [a_job("j-1", predicted_s=10 * HOUR), a_job("j-2", team="speech")]
    told = list(forward(Decider(platform, explains=False), platform, NOW, (), [Work(job, HOUR) for job in jobs]))
    assert {step.job.id for step in told if step.what is What.BEGAN} == {"j-2"}
    assert max(step.at for step in told) == NOW + HOUR
    plan = decide(a_snapshot(*jobs, platform=platform))
    assert plan.wake_at is None
    verdict = plan.verdicts["j-1"]
    assert verdict.code is Waiting.WAITING_FOR_QUOTA
    assert "until" not in verdict.data
    assert "this job alone is predicted to need" in verdict_sentence(verdict, "en")
    assert "이 작업 하나에만" in verdict_sentence(verdict, "ko")
    assert "begins anew" not in verdict_sentence(verdict, "en")
