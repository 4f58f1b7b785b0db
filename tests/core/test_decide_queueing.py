"""Stories of sharing: guarantees and their reclaim, victims, gangs that wait, past use, deadlines."""

from dataclasses import replace

import pytest

from dure.core.lifecycle import Facts, Signal, advance, preempt, promised
from dure.core.model import QueueingPolicy, Team
from dure.core.queueing.compile import RESOURCE, compiled
from dure.core.queueing.decide import Decider, decide
from dure.core.queueing.order import ENTRY_S, effective_priority, faded
from dure.core.reasons import Waiting
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform, a_snapshot, placed, running

VISION = Team("vision", ("*",), {"gold": 2000})
SPEECH = Team("speech", ("*",))


def lab(*gpus, teams=(VISION, SPEECH), **policy):
    nodes = [a_node(f"n{index}", "gold", count) for index, count in enumerate(gpus)]
    return a_platform(a_lab(*nodes), teams=teams, queueing=QueueingPolicy(**policy))


def the_plan(*jobs, **changes):
    snapshot = a_snapshot(*jobs, **changes)
    plan = decide(snapshot)
    plan.check(snapshot)
    return plan


def speaks(job_id, node, *indexes, began=10.0, **changes):
    """A running job of team speech, begun so many seconds ago."""
    job = running(a_job(job_id, gpus=len(indexes), team="speech", **changes), "lab", node, *indexes)
    return replace(job, began_at=NOW - began)


# --- guarantees ---


def test_a_team_takes_back_what_it_is_guaranteed_from_who_loses_least():
    held = [speaks("old", "n0", 0, began=900), speaks("new", "n0", 1, began=5)]
    plan = the_plan(*held, a_job("j-1"), platform=lab(2))
    assert [(p.job_id, p.by, p.reason) for p in plan.preemptions] == [("new", "j-1", "InCohortReclamation")]
    verdict = plan.verdicts["j-1"]
    assert verdict.code is Waiting.WAITING_FOR_PREEMPTED_WORKLOADS
    assert verdict.blockers[0] == "new"


def test_nobody_is_stopped_when_the_gang_still_would_not_fit_on_a_node():
    """Two borrowed GPUs on two nodes do not make a gang of two on one."""
    held = [speaks("a", "n0", 0), speaks("b", "n1", 0)]
    assert not the_plan(*held, a_job("j-1", gpus=2), platform=lab(1, 1)).preemptions


def test_victims_are_those_of_the_node_that_makes_room():
    held = [speaks("a", "n0", 0, began=1), speaks("b", "n1", 0, began=50), speaks("c", "n1", 1, began=60)]
    plan = the_plan(*held, a_job("j-1", gpus=2), platform=lab(1, 2))
    assert {p.job_id for p in plan.preemptions} == {"b", "c"}


def test_a_kept_session_is_never_stopped():
    held = [speaks("kept", "n0", 0, keep_s=60.0), speaks("b", "n0", 1, began=900)]
    assert [p.job_id for p in the_plan(*held, a_job("j-1"), platform=lab(2)).preemptions] == ["b"]


def test_who_waits_for_victims_gets_their_gpus_and_they_do_not_take_them_back():
    held, platform = (speaks("a", "n0", 0), speaks("b", "n0", 1)), lab(2)
    first = the_plan(*held, a_job("j-1"), platform=platform)
    (stopped,) = (one for one in held if one.id == first.preemptions[0].job_id)
    (stays,) = (one for one in held if one is not stopped)
    ours, others = promised(a_job("j-1"), first.promises["j-1"]).job, a_job("k", team="speech", priority_value=100)
    leaving = preempt(stopped, ours, "InCohortReclamation", NOW).job
    waits = the_plan(leaving, stays, ours, others, platform=platform)
    assert not waits.preemptions
    assert not waits.admissions
    gone = advance(leaving, Signal.REQUEUE, NOW, Facts(reason="Preempted")).job
    plan = the_plan(gone, stays, ours, others, platform=platform)
    assert set(placed(plan)) == {"j-1"}
    assert not plan.preemptions
    assert placed(plan)["j-1"] == ("lab", "n0", (stopped.lease.gpus[0].index,))


def test_who_waits_for_one_that_does_not_go_takes_what_is_free_after_a_while():
    held, platform = (speaks("a", "n0", 0), speaks("b", "n0", 1)), lab(2)
    first = the_plan(*held, a_job("j-1"), platform=platform)
    ours, behind = promised(a_job("j-1"), first.promises["j-1"]).job, a_job("j-2")
    stuck = next(one for one in held if one.id == first.preemptions[0].job_id)
    stuck = preempt(stuck, ours, "InCohortReclamation", NOW).job
    until = first.promises["j-1"].until
    assert not the_plan(stuck, ours, behind, platform=platform, now=until - 1).admissions
    assert set(placed(the_plan(stuck, ours, behind, platform=platform, now=until))) == {"j-1"}


def test_borrowers_are_not_reclaimed_by_borrowers():
    held = [speaks(f"s{n}", "n0", n) for n in range(2)]
    assert not the_plan(*held, a_job("j-1"), platform=lab(2, teams=(Team("vision", ("*",)), SPEECH))).preemptions


@pytest.mark.parametrize(("policy", "victims"), [("Never", []), ("LowerPriority", ["low"])])
def test_priorities_preempt_within_a_team_only_where_the_platform_file_says_so(policy, victims):
    low = replace(speaks("low", "n0", 0), priority_value=-100)
    plan = the_plan(low, a_job("j-1", team="speech"), platform=lab(1, teams=(SPEECH,), within_cluster_queue=policy))
    assert [p.job_id for p in plan.preemptions] == victims


def test_shares_preempt_only_where_the_platform_file_says_so():
    held = [speaks(f"s{n}", "n0", n) for n in range(4)]
    teams = (Team("vision", ("*",)), SPEECH)
    assert not the_plan(*held, a_job("j-1"), platform=lab(4, teams=teams)).preemptions
    plan = the_plan(*held, a_job("j-1"), platform=lab(4, teams=teams, share_preempts=True))
    assert [p.reason for p in plan.preemptions] == ["InCohortFairSharing"]


def test_what_is_not_lent_stays_free_and_is_told():
    team = replace(VISION, lending_milli={"gold": 0})
    plan = the_plan(a_job("k", team="speech"), platform=lab(2, teams=(team, SPEECH)))
    assert not plan.admissions
    assert plan.verdicts["k"].code is Waiting.EXCEEDS_MAX_QUOTA


# --- gangs, reservation, backfill ---


def test_short_jobs_run_on_what_a_gang_waits_for_and_long_ones_do_not():
    long_one = speaks("r", "n0", 0, predicted_s=600.0)
    gang = a_job("gang", gpus=2, team="speech", at=NOW - 50)
    short = a_job("short", team="speech", predicted_s=60.0)
    late = a_job("late", team="speech", predicted_s=6000.0, at=NOW - 1)
    unknown = a_job("unknown", team="speech", at=NOW - 2)
    plan = the_plan(long_one, gang, short, late, unknown, platform=lab(2, teams=(SPEECH,)))
    assert set(placed(plan)) == {"short"}
    assert plan.verdicts["late"].data["why"] == "gpus_busy"
    closed = the_plan(long_one, gang, short, platform=lab(2, teams=(SPEECH,), backfill=False))
    assert not closed.admissions


def test_nobody_stops_others_on_nodes_that_are_kept_for_another_however_soon_it_ends():
    """It would start only when they are gone, and so end later than it says."""
    speech = replace(SPEECH, quota_milli={"gold": 2000})
    platform = lab(2, teams=(Team("vision", ("*",)), speech), within_cluster_queue="LowerPriority")
    ours = replace(running(a_job("ours", priority_value=-100), "lab", "n0", 0), predicted_s=5000.0, keep_s=0.0)
    theirs = speaks("theirs", "n0", 1, predicted_s=5000.0, keep_s=1.0)
    gang = a_job("gang", gpus=2, team="speech", at=NOW - 900)
    jobs = [a_job(name, at=NOW - 90, predicted_s=runs_s) for name, runs_s in (("long", 90000.0), ("short", 60.0))]
    plan = the_plan(ours, theirs, gang, *jobs, platform=platform)
    assert not plan.preemptions
    assert [one.by for one in the_plan(ours, theirs, *jobs, platform=platform).preemptions] == ["long"]


def test_a_gang_keeps_one_node_and_others_stay_open():
    held = [speaks("r", "n0", 0, predicted_s=600.0), speaks("q", "n1", 0, predicted_s=6000.0)]
    gang = a_job("gang", gpus=2, team="speech", at=NOW - 50)
    plan = the_plan(*held, gang, a_job("j", team="speech"), platform=lab(2, 2, teams=(SPEECH,)))
    assert placed(plan) == {"j": ("lab", "n1", (1,))}


def test_over_time_nobody_is_let_in_any_more_so_that_the_gang_starts():
    over = speaks("r", "n0", 0, predicted_s=600.0, began=700)
    gang = a_job("gang", gpus=2, team="speech", at=NOW - 50)
    short = a_job("short", team="speech", predicted_s=1.0)
    assert not the_plan(over, gang, short, platform=lab(2, teams=(SPEECH,))).admissions


# --- who goes first ---


def test_who_used_less_goes_first_at_equal_priority():
    jobs = [a_job("a", user="much", at=NOW - 9, team="speech"), a_job("b", user="little", team="speech")]
    platform = lab(1, teams=(SPEECH,))
    used = {("speech", "much"): 7200.0}
    plan = the_plan(*jobs, platform=platform, used=used)
    assert set(placed(plan)) == {"b"}
    assert plan.verdicts["a"].data["used_gpu_s"] == 7200.0
    urgent = replace(jobs[0], priority_value=100)
    assert set(placed(the_plan(urgent, jobs[1], platform=platform, used=used))) == {"a"}
    off = lab(1, teams=(SPEECH,), fair_sharing=False)
    assert set(placed(the_plan(*jobs, platform=off, used=used))) == {"a"}


def test_people_take_turns_because_entering_counts_at_once():
    jobs = [a_job(f"a{n}", user="a", at=NOW - 9, team="speech") for n in range(3)]
    jobs += [a_job(f"b{n}", user="b", team="speech") for n in range(3)]
    plan = the_plan(*jobs, platform=lab(4, teams=(SPEECH,)))
    assert [admission.job_id for admission in plan.admissions] == ["a0", "b0", "a1", "b1"]
    assert ENTRY_S > 0


def test_past_use_halves():
    assert faded(100.0, 60.0, 60.0) == 50.0
    assert faded(100.0, 0.0, 60.0) == 100.0
    assert faded(100.0, 5.0, 0.0) == 0.0


def test_teams_with_the_smaller_share_go_first():
    teams = (Team("vision", ("*",), weight=3.0), SPEECH)
    jobs = [a_job(f"v{n}", at=NOW + 1) for n in range(4)] + [a_job(f"s{n}", team="speech") for n in range(4)]
    first = [admission.job_id[0] for admission in the_plan(*jobs, platform=lab(4, teams=teams)).admissions]
    assert first.count("v") == 3


def test_a_deadline_lifts_as_slack_shrinks_and_never_stops_anybody():
    platform = lab(1, teams=(SPEECH,), within_cluster_queue="LowerPriority")
    job = a_job("d", team="speech", deadline_at=NOW + 3600, predicted_s=600.0)
    values = [effective_priority(job, platform, NOW + s) for s in (-9000, 0, 1500, 2999, 3599, 3600)]
    assert values == [*sorted(values[:-1]), 0.0]
    assert values[0] == 0.0
    assert values[-2] == 100.0
    plan = the_plan(speaks("r", "n0", 0), replace(job, deadline_at=NOW + 610), platform=platform)
    assert not plan.preemptions
    jobs = [a_job("first", team="speech", at=NOW - 9), replace(job, deadline_at=NOW + 700)]
    assert set(placed(the_plan(*jobs, platform=platform))) == {"d"}


# --- what it compiles to ---


def test_the_cohort_holds_what_nobody_is_guaranteed():
    objects = compiled(lab(4))
    root = objects.cohorts[0]
    assert root.quotas["gold", RESOURCE].nominal == 2000
    assert [queue.name for queue in objects.queues] == ["vision", "speech"]
    assert objects.queues[0].quotas["gold", RESOURCE].nominal == 2000


def test_a_decider_that_was_told_of_changes_decides_as_a_new_one():
    platform = lab(2)
    decider = Decider(platform)
    jobs = [speaks("a", "n0", 0), speaks("b", "n0", 1), a_job("j-1")]
    for job in [*jobs, a_job("gone")]:
        decider.put(job)
    decider.decide(NOW)
    decider.drop("gone")
    assert decider.decide(NOW) == decide(a_snapshot(*jobs, platform=platform))
