"""Stories of the queue: who gets GPUs, in which order, and what the others are told."""

from dataclasses import replace

import pytest

from dure.core.lifecycle import Facts, Signal, advance
from dure.core.model import BurstPolicy, Goal, Limit, Queue
from dure.core.queueing.decide import decide
from dure.core.queueing.explain import visible
from dure.core.reasons import Waiting
from tests.core.builders import (
    FLEX,
    NOW,
    STRICT,
    a_cloud,
    a_job,
    a_lab,
    a_node,
    a_platform,
    a_snapshot,
    a_team,
    amount,
    placed,
    running,
)

HELD = running(a_job("j-held", user="bob", team="speech"), "lab", "n3", 0)


def the_plan(*jobs, **changes):
    snapshot = a_snapshot(*jobs, **changes)
    plan = decide(snapshot)
    plan.check(snapshot)
    return plan


def the_verdict(job_id, *jobs, **changes):
    return the_plan(*jobs, **changes).verdicts[job_id]


def helps(verdict):
    return {told["code"]: told for told in verdict.helps}


# --- order ---


def test_higher_priority_goes_first_then_the_older_then_the_id():
    low = a_job("j-a", priority_value=-100, at=NOW - 9)
    old = a_job("j-c", at=NOW - 5)
    new = a_job("j-b", at=NOW)
    assert placed(the_plan(low, new, old)) == {"j-c": ("lab", "n3", (0,))}
    plan = the_plan(low, new, old, HELD)
    assert {job: verdict.position for job, verdict in plan.verdicts.items()} == {"j-c": 1, "j-b": 2, "j-a": 3}


def test_a_requeued_job_keeps_its_place():
    again = a_job("j-z", at=NOW - 100, queued_at=NOW)
    assert set(placed(the_plan(again, a_job("j-a", at=NOW - 50)))) == {"j-z"}


def test_jobs_for_different_tiers_do_not_block_each_other():
    plan = the_plan(HELD, a_job("j-1"), a_job("j-2", tier="silver", at=NOW + 1))
    assert placed(plan) == {"j-2": ("lab", "n2", (0,))}


# --- tiers ---


def test_any_tier_takes_the_cheapest_free_one():
    plan = the_plan(*(a_job(f"j-{n}", tier=None, at=NOW + n) for n in range(5)))
    assert [admission.lease.tier for admission in plan.admissions] == ["bronze", "bronze", "silver", "gold"]
    assert plan.verdicts["j-4"].data["tier"] is None
    assert {reason["tier"] for reason in plan.verdicts["j-4"].data["tiers"]} == {"bronze", "silver", "gold"}


def test_private_leases_carry_the_internal_price_and_public_ones_the_clusters():
    plan = the_plan(HELD, a_job("j-1", tier="silver"), a_job("j-2", budget=FLEX, at=NOW - 60))
    prices = {admission.job_id: admission.lease.price_per_gpu_hour for admission in plan.admissions}
    assert prices == {"j-1": 200.0, "j-2": 3600.0}


# --- gangs and fractions ---


def test_a_gang_gets_all_of_its_gpus_on_one_node_or_none():
    lab = a_lab(a_node("n1", "gold", 2), a_node("n2", "gold", 2))
    busy = [running(a_job("r1"), "lab", "n1", 0), running(a_job("r2"), "lab", "n2", 1)]
    plan = the_plan(*busy, a_job("j-1", gpus=2), platform=a_platform(lab))
    verdict = plan.verdicts["j-1"]
    assert not plan.admissions
    assert verdict.code is Waiting.TOPOLOGY_PLACEMENT_FAILED
    assert verdict.data["free_milli"] == 2000
    assert verdict.data["largest_milli"] == 1000
    assert helps(verdict)["fewer_gpus"]["gpus_milli"] == 1000


def test_a_waiting_gang_is_not_overtaken_on_the_nodes_that_it_waits_for():
    lab = a_lab(a_node("n1", "gold", 2))
    gang = a_job("j-1", gpus=2)
    small = a_job("j-2", at=NOW + 1)
    verdict = the_verdict("j-2", running(a_job("r"), "lab", "n1", 0), gang, small, platform=a_platform(lab))
    assert verdict.code is Waiting.WAITING_FOR_QUOTA
    assert verdict.data["why"] == "ahead"
    assert verdict.position == 2
    assert verdict.blockers == ("r", "j-1")


def test_a_gang_does_not_keep_nodes_that_could_never_take_it():
    lab = a_lab(a_node("n1", "gold", 2), a_node("n2", "gold", 1))
    jobs = [running(a_job("r"), "lab", "n1", 0), a_job("j-1", gpus=2), a_job("j-2", at=NOW + 1)]
    assert placed(the_plan(*jobs, platform=a_platform(lab))) == {"j-2": ("lab", "n2", (0,))}


def test_fractions_share_a_gpu_before_they_open_another():
    plan = the_plan(*(a_job(f"j-{n}", tier="bronze", gpus=0.5, at=NOW + n) for n in range(3)))
    assert [gpus for _, _, gpus in placed(plan).values()] == [(0,), (0,), (1,)]


def test_a_whole_gpu_never_goes_to_a_shared_one():
    shared = running(a_job("r", gpus=0.25), "lab", "n3", 0)
    verdict = the_verdict("j-1", shared, a_job("j-1"))
    assert verdict.code is Waiting.WAITING_FOR_QUOTA
    assert verdict.data["why"] == "gpus_busy"
    assert helps(verdict)["fewer_gpus"]["gpus_milli"] == 750


def test_a_fraction_that_only_fits_in_crumbs_waits_for_topology():
    crumbs = [running(a_job(f"r{n}", gpus=0.6, tier="bronze"), "lab", "n1", n) for n in range(2)]
    verdict = the_verdict("j-1", *crumbs, a_job("j-1", gpus=0.5, tier="bronze"))
    assert verdict.code is Waiting.TOPOLOGY_PLACEMENT_FAILED
    assert verdict.data["free_milli"] == 800
    assert verdict.data["largest_milli"] == 400


# --- quota ---


def test_a_team_gets_its_quota_and_no_more():
    platform = a_platform(teams=[a_team("vision", {"bronze": 1000}), a_team("speech")])
    jobs = [a_job("j-1", tier="bronze"), a_job("j-2", tier="bronze", at=NOW + 1)]
    plan = the_plan(*jobs, platform=platform)
    verdict = plan.verdicts["j-2"]
    assert set(placed(plan)) == {"j-1"}
    assert (verdict.code, verdict.data["why"]) == (Waiting.WAITING_FOR_QUOTA, "team_quota")
    assert (verdict.data["used_milli"], verdict.data["quota_milli"]) == (1000, 1000)
    assert verdict.blockers == ("j-1",)


def test_a_team_at_its_quota_does_not_hold_up_other_teams():
    platform = a_platform(teams=[a_team("vision", {"bronze": 0}), a_team("speech")])
    jobs = [a_job("j-1", tier="bronze", budget=FLEX), a_job("j-2", tier="bronze", team="speech", at=NOW + 1)]
    assert set(placed(the_plan(*jobs, platform=platform))) == {"j-2"}


def test_a_small_job_does_not_use_up_the_quota_that_its_teams_gang_waits_for():
    platform = a_platform(a_lab(a_node("n1", "gold", 4)), teams=[a_team("vision", {"gold": 2000}), a_team("speech")])
    jobs = [running(a_job("r"), "lab", "n1", 0), a_job("j-1", gpus=2), a_job("j-2", at=NOW + 1)]
    plan = the_plan(*jobs, platform=platform)
    assert not plan.admissions
    assert plan.verdicts["j-1"].data["why"] == "team_quota"
    assert plan.verdicts["j-2"].data["why"] == "ahead"
    assert plan.verdicts["j-2"].position == 2


def test_public_leases_do_not_count_towards_the_private_quota():
    platform = a_platform(teams=[a_team("vision", {"gold": 1000}), a_team("speech")])
    rented = running(a_job("r"), "cloud", "c1", 0)
    assert set(placed(the_plan(rented, a_job("j-1"), platform=platform))) == {"j-1"}


# --- reasons, most severe first ---


def test_a_stopped_queue_admits_nothing():
    platform = replace(a_platform(), queues=(Queue("vision-q", "vision", stopped=True), Queue("speech", "speech")))
    plan = the_plan(a_job("j-1", tier="no such"), a_job("j-2", team="speech"), platform=platform)
    assert plan.verdicts["j-1"].code is Waiting.ON_HOLD
    assert plan.verdicts["j-1"].data["queue"] == "vision-q"
    assert set(placed(plan)) == {"j-2"}


@pytest.mark.parametrize(
    ("job", "what"),
    [
        (a_job(tier="platinum"), "tier"),
        (a_job(environment="tf"), "environment"),
        (a_job(team="gone"), "team"),
        (a_job(gpus=1.5), "gpus"),
        (a_job(gpus=0), "gpus"),
    ],
)
def test_what_a_reload_took_away_is_misconfigured(job, what):
    verdict = the_verdict("j-1", job)
    assert verdict.code is Waiting.MISCONFIGURED
    assert verdict.data["what"] == what


def test_a_job_that_is_being_cancelled_is_never_placed():
    assert the_verdict("j-1", a_job(goal=Goal.CANCEL)).code is Waiting.DEACTIVATED


def test_a_tier_without_gpus_matches_no_flavor():
    verdict = the_verdict("j-1", a_job(tier="silver"), platform=a_platform(a_lab(a_node("n", "gold"))))
    assert (verdict.code, verdict.data["why"]) == (Waiting.NO_MATCHING_FLAVOR, "no_gpus")
    assert helps(verdict)["tier"]["tier"] == "gold"


def test_a_tier_that_only_the_cloud_has_needs_a_budget():
    platform = a_platform(a_lab(a_node("n", "bronze")), a_cloud())
    verdict = the_verdict("j-1", a_job(), platform=platform)
    assert (verdict.code, verdict.data["why"]) == (Waiting.NO_MATCHING_FLAVOR, "public_only")
    assert "budget_flex" in helps(verdict)
    assert placed(the_plan(a_job(budget=FLEX), platform=platform)) == {"j-1": ("cloud", "c1", (0,))}


@pytest.mark.parametrize(("gpus", "most"), [(3, 2000), (64, 2000)])
def test_more_than_the_largest_node_exceeds(gpus, most):
    verdict = the_verdict("j-1", a_job(gpus=gpus, tier="bronze"))
    assert (verdict.code, verdict.data["why"]) == (Waiting.EXCEEDS_MAX_QUOTA, "larger_than_node")
    assert helps(verdict)["fewer_gpus"] == {"code": "fewer_gpus", "gpus_milli": most, "now": False}


def test_more_than_the_cloud_has_exceeds_too():
    platform = a_platform(a_lab(a_node("n", "bronze")), a_cloud(gpus=2))
    verdict = the_verdict("j-1", a_job(gpus=4, budget=FLEX), platform=platform)
    assert (verdict.code, verdict.data["largest_milli"]) == (Waiting.EXCEEDS_MAX_QUOTA, 2000)


def test_more_than_the_teams_quota_exceeds_for_ever():
    platform = a_platform(teams=[a_team("vision", {"bronze": 1000})])
    verdict = the_verdict("j-1", a_job(gpus=2, tier="bronze"), platform=platform)
    assert (verdict.code, verdict.data["why"]) == (Waiting.EXCEEDS_MAX_QUOTA, "team_quota")
    assert verdict.data["quota_milli"] == 1000


def test_a_cluster_that_does_not_answer_gets_nothing_and_is_named():
    plan = the_plan(a_job(tier="bronze"), unavailable=frozenset({"lab"}))
    verdict = plan.verdicts["j-1"]
    assert not plan.admissions
    assert (verdict.code, verdict.data["why"]) == (Waiting.WAITING_FOR_QUOTA, "cluster_unavailable")
    assert verdict.data["clusters"] == ["lab"]


def test_a_second_private_cluster_takes_over_from_one_that_does_not_answer():
    platform = a_platform(a_lab(), a_lab(a_node("m1", "gold"), name="annex"))
    plan = the_plan(a_job(), platform=platform, unavailable=frozenset({"lab"}))
    assert placed(plan) == {"j-1": ("annex", "m1", (0,))}


# --- what would help ---


def test_other_tiers_that_are_free_now_are_offered_the_nearest_in_price_first():
    verdict = the_verdict("j-1", HELD, a_job())
    assert [told["tier"] for told in verdict.helps if told["code"] == "tier"] == ["silver", "bronze"]


def test_a_tier_is_not_offered_when_this_very_plan_takes_it():
    verdict = the_verdict("j-1", HELD, a_job(), a_job("j-2", tier="silver", at=NOW + 1))
    assert [told["tier"] for told in verdict.helps if told["code"] == "tier"] == ["bronze"]


def test_blockers_are_holders_first_then_those_ahead_and_few():
    verdict = the_verdict("j-9", HELD, *(a_job(f"j-{n}", at=NOW + n) for n in range(10)))
    assert verdict.position == 10
    assert verdict.blockers == ("j-held", "j-0", "j-1", "j-2")


def test_other_teams_are_anonymous_to_those_who_may_not_see_them():
    verdict = visible(the_verdict("j-1", HELD, a_job()), lambda job_id: job_id != "j-held")
    assert verdict.blockers == ()
    assert verdict.data["holders"] == [{"team": "speech", "gpus_milli": 1000}]


# --- burst ---


def test_a_job_goes_to_the_cloud_once_it_waited_long_enough_and_the_plan_says_when_to_look():
    early = the_plan(HELD, a_job(budget=FLEX), now=NOW + 59)
    assert not early.admissions
    assert early.wake_at == NOW + 60
    assert helps(early.verdicts["j-1"])["burst"]["in_s"] == 1
    due = the_plan(HELD, a_job(budget=FLEX), now=NOW + 60)
    assert placed(due) == {"j-1": ("cloud", "c1", (0,))}
    assert due.admissions[0].burst["failing"] == []
    assert due.wake_at is None


def test_wake_at_is_the_earliest_due_burst():
    jobs = [a_job("j-1", budget=FLEX), a_job("j-2", budget=FLEX, at=NOW + 1, deadline_at=NOW + 640)]
    assert the_plan(HELD, *jobs).wake_at == NOW + 640 - 600 - 3


def test_private_gpus_are_used_before_rented_ones():
    assert placed(the_plan(a_job(budget=FLEX, at=NOW - 999)))["j-1"][0] == "lab"


def test_a_strict_job_is_told_what_flex_would_do():
    verdict = the_verdict("j-1", HELD, a_job(budget=STRICT, at=NOW - 999))
    assert verdict.data["burst"]["failing"] == ["strict"]
    assert helps(verdict)["budget_flex"]["price"] == pytest.approx(603.0)


def test_an_amount_that_is_too_small_keeps_the_job_here():
    plan = the_plan(HELD, a_job("j-1", budget=amount(600), at=NOW - 99), a_job("j-2", budget=amount(604), at=NOW - 99))
    assert set(placed(plan)) == {"j-2"}
    assert plan.verdicts["j-1"].data["burst"]["failing"] == ["amount"]


def test_the_teams_month_pays_for_what_runs_and_for_what_this_plan_admits():
    platform = a_platform(teams=[a_team("vision", budget=2000.0), a_team("speech")])
    jobs = [a_job(f"j-{n}", budget=FLEX, at=NOW - 99 + n) for n in range(2)]
    assert len(the_plan(HELD, *jobs, platform=platform).admissions) == 2
    plan = the_plan(HELD, *jobs, platform=platform, spent={"vision": 1000.0})
    assert set(placed(plan)) == {"j-0"}
    assert plan.verdicts["j-1"].data["burst"]["failing"] == ["team_budget"]
    rented = running(a_job("r", predicted_s=600.0), "cloud", "c1", 1, price=3600.0)
    plan = the_plan(HELD, rented, *jobs, platform=platform, spent={"vision": 1000.0})
    assert not plan.admissions


def test_a_full_cloud_is_waited_for_in_order():
    full = [running(a_job(f"r{n}"), "cloud", "c1", n) for n in range(2)]
    jobs = [a_job(f"j-{n}", budget=FLEX, at=NOW - 99 + n) for n in range(2)]
    plan = the_plan(HELD, *full, *jobs)
    assert plan.wake_at is None
    assert helps(plan.verdicts["j-0"])["burst"]["busy"] is True


def test_a_due_gang_is_not_overtaken_in_the_cloud():
    jobs = [
        running(a_job("r"), "cloud", "c1", 0),
        a_job("j-1", gpus=2, budget=FLEX, at=NOW - 99),
        a_job("j-2", budget=FLEX, at=NOW - 98),
    ]
    lab = a_lab(a_node("n", "gold", 2))
    held = [running(a_job(f"h{n}"), "lab", "n", n) for n in range(2)]
    assert not the_plan(*held, *jobs, platform=a_platform(lab, a_cloud())).admissions


def test_a_gang_that_leaves_keeps_nothing_here():
    lab = a_lab(a_node("n", "gold", 2))
    held = running(a_job("h"), "lab", "n", 0)
    jobs = [a_job("j-1", gpus=2, budget=FLEX, at=NOW - 99), a_job("j-2")]
    plan = the_plan(held, *jobs, platform=a_platform(lab, a_cloud()))
    assert placed(plan) == {"j-1": ("cloud", "c1", (0, 1)), "j-2": ("lab", "n", (1,))}


def test_the_cheapest_public_cluster_comes_first():
    platform = a_platform(a_lab(), a_cloud(price=9000.0), a_cloud(price=100.0, name="spot"))
    plan = the_plan(HELD, a_job(budget=FLEX, at=NOW - 99), platform=platform)
    assert plan.admissions[0].lease.cluster == "spot"


def test_a_public_cluster_that_does_not_answer_gets_nothing():
    plan = the_plan(HELD, a_job(budget=FLEX, at=NOW - 99), unavailable=frozenset({"cloud"}))
    assert not plan.admissions


def test_bursting_switched_off_is_silent():
    platform = a_platform(burst=BurstPolicy(enabled=False))
    plan = the_plan(HELD, a_job(budget=FLEX, at=NOW - 999), platform=platform)
    assert plan.verdicts["j-1"].data["burst"]["failing"] == ["disabled"]
    assert plan.wake_at is None


# --- the file changed under running jobs ---


def test_leases_on_what_the_platform_no_longer_has_do_no_harm():
    jobs = [running(a_job("r1"), "gone", "n1", 0), running(a_job("r2"), "lab", "n3", 5)]
    assert set(placed(the_plan(*jobs, a_job()))) == {"j-1"}


def test_the_order_of_the_list_changes_nothing():
    jobs = [a_job(f"j-{n}", gpus=1 + n % 2, tier=None, at=NOW - n, budget=FLEX) for n in range(12)]
    assert decide(a_snapshot(*jobs)) == decide(a_snapshot(*reversed(jobs)))


def test_ten_thousand_equal_jobs_are_explained_one_by_one():
    plan = the_plan(HELD, *(a_job(f"j-{n:05}", at=NOW + n) for n in range(10_000)))
    assert plan.verdicts["j-09999"].position == 10_000
    assert plan.verdicts["j-09999"].data is plan.verdicts["j-09998"].data


@pytest.mark.parametrize("kept", [{"budget": STRICT}, {"burstable": False}, {"data_class": "private"}])
def test_one_that_may_not_leave_keeps_no_other_of_its_person_from_a_tier_that_only_clouds_have(kept):
    platform = a_platform(a_lab(a_node("n1", "silver")), a_cloud(2), burst=BurstPolicy(rule="fixed", wait_s=0.0))
    stays = a_job("j-1", at=NOW - 9, **({"budget": FLEX} | kept))
    others = [a_job(f"j-{i}", at=NOW - 9 + i, budget=FLEX) for i in (2, 3, 4)]
    plan = decide(a_snapshot(stays, *others, platform=platform))
    assert sorted(placed(plan)) == ["j-2", "j-3"]
    assert plan.verdicts["j-1"].data["why"] == "public_only"
    assert plan.verdicts["j-4"].data["why"] == "public_busy", "it may leave, and is told that there is no room"


def test_one_too_dear_for_its_budget_keeps_no_cheaper_one_from_a_tier_that_only_clouds_have():
    platform = a_platform(a_lab(a_node("n1", "silver")), a_cloud(2), burst=BurstPolicy(rule="fixed", wait_s=0.0))
    dear = a_job("j-1", at=NOW - 9, budget=amount(500.0), predicted_s=900.0)
    cheap = a_job("j-2", at=NOW - 8, budget=amount(500.0), predicted_s=90.0)
    assert sorted(placed(decide(a_snapshot(dear, cheap, platform=platform)))) == ["j-2"]


def test_no_more_leave_for_a_public_cluster_than_the_limits_let_run():
    rule = BurstPolicy(rule="fixed", wait_s=0.0)
    jobs = [a_job(f"j-{i}", user=user, at=NOW - 9 + i, budget=FLEX) for i, user in enumerate(("ann", "ann", "bob"))]

    def left(**limits):
        team = replace(a_team("vision"), **limits)
        platform = a_platform(a_lab(a_node("n1", "silver")), a_cloud(4), teams=[team], burst=rule)
        plan = decide(a_snapshot(*jobs, platform=platform))
        told = {job_id: plan.verdicts[job_id].data.get("limit") for job_id in plan.verdicts}
        return sorted(placed(plan)), told

    assert left() == (["j-0", "j-1", "j-2"], {})
    assert left(limits=Limit(jobs=2)) == (["j-0", "j-1"], {"j-2": "jobs"})
    assert left(user_limits=Limit(gpus_milli=1000)) == (["j-0", "j-2"], {"j-1": "gpus"})


def test_nothing_is_kept_for_one_whom_a_limit_keeps_out_now_that_the_one_before_it_left():
    rule = BurstPolicy(rule="fixed", wait_s=60.0)
    vision = replace(a_team("vision"), user_limits=Limit(jobs=1))
    lab = a_lab(a_node("n1", "gold", 2))
    platform = a_platform(lab, a_cloud(2), teams=[vision, a_team("speech")], burst=rule)
    held = running(a_job("j-held", user="bob", team="speech"), "lab", "n1", 0)
    jobs = [a_job(f"j-{i}", gpus=2, at=NOW - 90 / i, budget=FLEX) for i in (1, 2)]
    other = a_job("k-1", at=NOW - 1, user="eve", team="speech", burstable=False)
    plan = the_plan(held, *jobs, other, platform=platform)
    assert placed(plan) == {"j-1": ("cloud", "c1", (0, 1)), "k-1": ("lab", "n1", (1,))}
    assert plan.verdicts["j-2"].data["limit"] == "jobs"


def test_a_job_for_which_others_leave_does_not_leave_itself():
    rule = BurstPolicy(rule="fixed", wait_s=0.0)
    vision = replace(a_team("vision"), quota_milli={"gold": 1000})
    platform = a_platform(a_lab(a_node("n1", "gold")), a_cloud(2), teams=[vision, a_team("speech")], burst=rule)
    held = running(a_job("j-held", user="bob", team="speech"), "lab", "n1", 0)
    jobs = [a_job(f"j-{i}", at=NOW - 9 + i, budget=FLEX) for i in (1, 2)]
    plan = the_plan(held, *jobs, platform=platform)
    assert placed(plan) == {"j-2": ("cloud", "c1", (0,))}
    assert (plan.preemptions, plan.again) == ((), True), "a plan that gives GPUs stops nobody"
    left = advance(jobs[1], Signal.ADMIT, NOW, Facts(lease=plan.admissions[0].lease)).job
    plan = the_plan(held, jobs[0], left, platform=platform)
    assert [(one.job_id, one.by) for one in plan.preemptions] == [("j-held", "j-1")]
    assert not plan.admissions
    verdict = plan.verdicts["j-1"]
    assert verdict.data["why"] == "leaving"
    assert [told["code"] for told in verdict.helps] == ["wait"]
