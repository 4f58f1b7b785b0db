"""GPUs kept for a time: who is kept out by them, who not, and when they end by themselves."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.core.model import BudgetAction, Limit, Phase
from dure.core.queueing.decide import Decider
from dure.core.queueing.limits import Bounds
from dure.core.reservations import Reservation, Unfolding, keeps_out, lacking_now, most_reserved_milli, settled
from dure.core.sentences import verdict_sentence
from dure.core.usage import Account, Past, day_of
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform, a_team, placed, running

HOUR = 3600.0


def reserved(gpus=1, *, begins=NOW - 1, ends=NOW + 2 * HOUR, team="speech", tier="gold", **changes):
    made = Reservation("r-1", team, tier, gpus * 1000, begins, ends, "root", NOW - HOUR)
    return replace(made, **changes)


def platform(gpus=2, **changes):
    return a_platform(a_lab(a_node("n3", "gold", gpus)), **changes)


def plan(*jobs, reservations=(), on=None, past=None):
    decider = Decider(on or platform())
    decider.bounds = Bounds(past or Past(), tuple(reservations))
    for job in jobs:
        decider.put(job)
    return decider.decide(NOW)


def test_others_are_kept_out_and_told_for_whom():
    found = plan(a_job("j-1", gpus=2), reservations=[reserved()])
    verdict = found.verdicts["j-1"]
    assert verdict.code == "WaitingForQuota"
    assert verdict.data["why"] == "reserved"
    told = "1st in line for gold: 1 GPU of gold is reserved for team speech until 1970-01-12T15:46Z"
    assert verdict_sentence(verdict, "en").startswith(told)
    assert "1970-01-12T15:46Z까지 speech 팀에 예약되어 있습니다" in verdict_sentence(verdict, "ko")


def test_one_that_is_to_come_is_told_with_its_times_and_that_the_job_would_not_be_gone():
    found = plan(a_job("j-1", gpus=2, predicted_s=2 * HOUR), reservations=[reserved(begins=NOW + HOUR)])
    said = verdict_sentence(found.verdicts["j-1"], "en")
    assert "reserved for team speech from 1970-01-12T14:46Z to 1970-01-12T" in said
    assert "and this job is not predicted to end before" in said
    assert "끝날 것으로 예측되지 않습니다" in verdict_sentence(found.verdicts["j-1"], "ko")


def test_for_whom_of_a_team_it_is_only_that_team_is_told():
    mine = reserved(2, user="carol")
    own = plan(a_job(team="speech", user="dave"), reservations=[mine]).verdicts["j-1"]
    assert "carol of team speech" in verdict_sentence(own, "en")
    assert "speech 팀 carol님에게" in verdict_sentence(own, "ko")
    other = plan(a_job(), reservations=[mine]).verdicts["j-1"]
    assert "carol" not in str(other)


def test_what_is_left_is_for_everyone_and_what_is_kept_for_its_owner():
    others, own = a_job("j-1"), a_job("j-2", team="speech", at=NOW + 1)
    assert set(placed(plan(others, own, reservations=[reserved()]))) == {"j-1", "j-2"}
    second = a_job("j-3", at=NOW - 1)
    assert set(placed(plan(others, second, own, reservations=[reserved()]))) == {"j-3", "j-2"}


def test_a_reservation_for_one_person_is_not_for_the_rest_of_the_team():
    mine = reserved(2, user="carol")
    assert placed(plan(a_job(team="speech", user="dave"), reservations=[mine])) == {}
    assert placed(plan(a_job(team="speech", user="carol"), reservations=[mine]))


def test_who_is_predicted_to_end_before_it_begins_is_let_in():
    later = reserved(2, begins=NOW + HOUR)
    short, long = a_job(predicted_s=0.9 * HOUR), a_job(predicted_s=1.1 * HOUR)
    assert placed(plan(short, reservations=[later]))
    assert placed(plan(long, reservations=[later])) == {}


def test_what_the_owner_holds_comes_out_of_the_reservation():
    own = running(a_job("own", team="speech"), "lab", "n3", 0)
    assert placed(plan(own, a_job("j-1"), reservations=[reserved(1)]))
    assert placed(plan(own, a_job("j-1"), reservations=[reserved(2)])) == {}


def test_one_that_was_freed_or_is_of_another_tier_or_over_keeps_nothing():
    for nothing in (reserved(2, freed_at=NOW - 1), reserved(2, tier="silver"), reserved(2, ends=NOW)):
        assert placed(plan(a_job(gpus=2), reservations=[nothing]))


def test_nobody_who_waits_for_what_is_reserved_keeps_it_from_its_owner():
    jobs = (a_job("j-1", gpus=2), a_job("j-2", team="speech", gpus=2, at=NOW + 1))
    assert set(placed(plan(*jobs, reservations=[reserved(2)]))) == {"j-2"}


def test_the_most_that_is_reserved_at_any_one_time():
    known = [reserved(2, begins=NOW, ends=NOW + 10), reserved(3, begins=NOW + 10, ends=NOW + 20)]
    assert most_reserved_milli(known, "gold", NOW, NOW + 20) == 3000
    assert most_reserved_milli([*known, reserved(1, begins=NOW + 5, ends=NOW + 15)], "gold", NOW, NOW + 20) == 4000
    assert most_reserved_milli(known, "silver", NOW, NOW + 20) == 0


def test_it_ends_by_itself_when_nobody_uses_it_and_when_it_is_over():
    one, own = reserved(), running(a_job(team="speech"), "lab", "n3", 0)
    assert settled(one, [], NOW) is one
    assert settled(one, [running(a_job(), "lab", "n3", 0)], NOW + 900).freed_why == "unused"
    used = settled(one, [own], NOW)
    assert used.used_at == NOW
    assert settled(used, [], NOW + 900) is used, "once used it stays to its end"
    over = settled(used, [], NOW + 3 * HOUR)
    assert (over.freed_why, over.freed_at) == ("ended", one.ends_at)


# --- limits in the same decision


def test_one_plan_never_gives_more_than_a_limit():
    team = replace(a_team("vision"), user_limits=Limit(jobs=2))
    jobs = [a_job(f"j-{n}", at=NOW + n) for n in range(4)] + [a_job("bob", user="bob", at=NOW + 9)]
    found = plan(*jobs, on=platform(4, teams=[team]))
    assert set(placed(found)) == {"j-0", "j-1", "bob"}
    verdict = found.verdicts["j-2"]
    assert (verdict.code, verdict.data["why"], verdict.data["used"]) == ("WaitingForQuota", "limit", 2)
    assert "alice in team vision has 2 jobs on GPUs, and the limit of jobs at once is 2 jobs" in verdict_sentence(
        verdict, "en"
    )
    assert "한도" in verdict_sentence(verdict, "ko")


def test_a_hard_budget_stops_and_a_soft_one_goes_last():
    spent = Past(day_of(NOW), day_of(NOW), {("vision", None): Account(month_gpu_s=10 * HOUR)})
    first, second = a_job("j-1"), a_job("j-2", team="speech", at=NOW + 1)
    for action, wins in ((BudgetAction.HARD, {"j-2"}), (BudgetAction.SOFT, {"j-2"}), (BudgetAction.BURST, {"j-1"})):
        team = replace(a_team("vision"), budget_gpu_hours_per_month=9, budget_action=action)
        on = platform(1, teams=[team, a_team("speech")])
        assert set(placed(plan(first, second, on=on, past=spent))) == wins
    soft = replace(a_team("vision"), budget_gpu_hours_per_month=9, budget_action=BudgetAction.SOFT)
    on = platform(2, teams=[soft, a_team("speech")])
    assert set(placed(plan(first, second, on=on, past=spent))) == {"j-1", "j-2"}, "last, not never"


@pytest.mark.parametrize("phase", [Phase.ADMITTED, Phase.RUNNING])
def test_what_runs_counts(phase):
    team = replace(a_team("vision"), limits=Limit(gpus_milli=1000))
    there = replace(running(a_job("r"), "lab", "n3", 0), phase=phase)
    assert placed(plan(there, a_job("j-1"), on=platform(2, teams=[team]))) == {}


def test_what_an_owner_holds_counts_for_one_of_their_reservations_and_for_one_persons_first():
    both = [reserved(2), reserved(2, id="r-2", user="carol")]
    carol = running(a_job("j-0", gpus=2, team="speech", user="carol"), "lab", "n3", 0, 1)
    dave = running(a_job("j-0", gpus=2, team="speech", user="dave"), "lab", "n3", 0, 1)
    for holder in (carol, dave):
        found = plan(holder, a_job("j-1", gpus=2), reservations=both, on=platform(5))
        assert found.verdicts["j-1"].data["reserved_milli"] == 2000
        assert set(placed(plan(holder, a_job("j-1"), reservations=both, on=platform(5)))) == {"j-1"}
    for holder, left in ((carol, [("r-1", 2000)]), (dave, [("r-2", 2000)])):
        assert holder.lease is not None
        lacking = lacking_now(both, "gold", [(holder, holder.lease)], {"lab"}, NOW)
        assert [(one.reservation.id, one.reserved_milli) for one in lacking] == left


# --- while simulated time passes


def a_holder(job_id: str, since: float, *, cluster: str = "lab", **changes):
    return replace(
        running(a_job(job_id, team="speech"), cluster, "n3", 0), admitted_at=since, began_at=since, **changes
    )


def test_in_simulated_time_it_is_known_once_made_and_gone_once_released_unused_or_over():
    unused = reserved(begins=NOW + 100, ends=NOW + 5000, made_at=NOW + 10, grace_s=60.0)
    released = replace(unused, id="r-2", freed_at=NOW + 120, freed_why="released", grace_s=900.0)
    calendar = Unfolding([unused, released], platform())
    seen = {at: [one.id for one in calendar.at(NOW + at)] for at in (0, 10, 100, 119, 120, 159, 160)}
    assert seen == {
        0: [], 10: ["r-1", "r-2"], 100: ["r-1", "r-2"], 119: ["r-1", "r-2"], 120: ["r-1"], 159: ["r-1"], 160: [],
    }  # fmt: skip


def test_only_private_gpus_use_a_reservation():
    for cluster, left in (("lab", 1), ("cloud", 0)):
        calendar = Unfolding([reserved(begins=NOW, grace_s=60.0)], platform())
        calendar.put(a_holder("own", NOW, cluster=cluster))
        assert len(calendar.at(NOW + 60)) == left


@settings(max_examples=150, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=5),
    begins=st.integers(0, 20),
    grace=st.integers(1, 8),
    lasts=st.integers(1, 20),
    looks=st.sets(st.integers(0, 45)),
)
def test_looking_seldom_finds_what_looking_every_second_finds(spans, begins, grace, lasts, looks):
    one = reserved(begins=NOW + begins, ends=NOW + begins + lasts, grace_s=float(grace))
    calendar, often = Unfolding([one], platform()), one
    for at in range(46):
        for number, (since, ran) in enumerate(spans):
            held = a_holder(f"j-{number}", NOW + since)
            if at == since + ran:
                calendar.put(replace(held, phase=Phase.SUCCEEDED, ended_at=NOW + at))
        before = [a_holder("j", NOW + since) for since, ran in spans if since < at < since + ran]
        often = settled(often, before, NOW + at)
        for number, (since, _) in enumerate(spans):
            if at == since:  # a tick settles what was, and then decides
                calendar.put(a_holder(f"j-{number}", NOW + since))
                if often.freed_at is None:
                    often = settled(often, [a_holder("j", NOW + since)], NOW + at)
        if at in looks:
            assert bool(calendar.at(NOW + at)) == (often.freed_at is None)


@settings(max_examples=300, deadline=None)
@given(
    calendar=st.lists(
        st.tuples(
            st.sampled_from(("speech", "vision")),
            st.sampled_from((None, "carol", "dave")),
            st.integers(1, 4),
            st.integers(-3, 5),
            st.integers(1, 5),
        ),
        max_size=8,
    ),
    held=st.lists(
        st.tuples(
            st.sampled_from(("speech", "vision", "other")),
            st.sampled_from(("carol", "dave")),
            st.integers(1, 3),
            st.integers(0, 6),
        ),
        max_size=6,
    ),
    asked=st.tuples(st.sampled_from(("speech", "other")), st.integers(1, 4), st.integers(1, 9)),
)
def test_one_pass_through_the_calendar_keeps_out_whom_a_look_at_each_time_would(calendar, held, asked):
    on = platform(14)
    reservations = [
        reserved(gpus, team=team, begins=NOW + begins * HOUR, ends=NOW + (begins + lasts) * HOUR, user=user)
        for team, user, gpus, begins, lasts in calendar
    ]
    holders = [
        running(
            a_job(f"h-{number}", gpus=gpus, tier="gold", team=team, user=user, predicted_s=lasts * HOUR),
            *("lab", "n3", *range(gpus)),
        )
        for number, (team, user, gpus, lasts) in enumerate(held)
    ]
    job = a_job(gpus=asked[1], team=asked[0], user="carol", predicted_s=asked[2] * HOUR)
    pairs = [(one, one.lease) for one in holders if one.lease is not None]
    kept = keeps_out(job, "gold", on, reservations, pairs, NOW)
    assert (kept is not None) == _kept_out_at_some_time(job, reservations, holders)
    if kept is not None:
        assert kept.reserved_milli > 0
        assert not kept.reservation.is_for(job)


def _kept_out_at_some_time(job, reservations, holders):
    end = NOW + job.predicted_s
    others = [one for one in reservations if not one.is_for(job) and one.overlaps(NOW, end)]
    for at in {max(NOW, one.begins_at) for one in others}:
        there = [one for one in holders if at <= NOW or max(NOW, one.admitted_at + one.predicted_s) > at]
        left = {one.id: one.lease.gpus_milli for one in there}
        kept = 0
        for one in sorted((one for one in others if one.keeps(at)), key=lambda known: known.user is None):
            lacks = one.gpus_milli
            for holder in there:
                taken = min(lacks, left[holder.id]) if one.is_for(holder) else 0
                left[holder.id] -= taken
                lacks -= taken
            kept += lacks
        used = sum(one.lease.gpus_milli for one in there)
        if kept and used + kept + job.request.gpus_milli > 14_000:
            return True
    return False
