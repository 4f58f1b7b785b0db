"""Limits and reservations through commands and the loop: what is refused, frees itself, survives a restart."""

from dataclasses import replace

import pytest

from dure.core.model import BudgetAction, Limit, ReservationPolicy
from dure.sim.executor import Fate
from dure.wire.problems import CodedError
from dure.wire.usage import ReservationRequest
from tests.control.stage import ALICE, MATE, OTHER, ROOT, Stage
from tests.core.builders import a_platform, a_team

HOUR = 3600.0


def staged(policy=None, **team):
    teams = [replace(a_team("vision"), **{"quota_milli": {"gold": 1000}} | team), a_team("speech")]
    return Stage(a_platform(teams=teams, reservations=policy or ReservationPolicy()))


def asked(stage, **changes):
    now = stage.clock.now()
    usual = {"team": "vision", "tier": "gold", "begins_at": now, "ends_at": now + HOUR}
    return ReservationRequest(**(usual | changes))


def refused(call):
    with pytest.raises(CodedError) as caught:
        call()
    assert caught.value.sentence("ko").strip()
    return caught.value.code


def phases(stage, who=ROOT):
    return [one.phase for one in stage.commands.reservations.listed(who, 0.0, None).reservations]


def test_too_many_waiting_are_refused_for_the_person_and_for_the_team():
    stage = staged(user_limits=Limit(pending=2), limits=Limit(pending=3))
    for _ in range(2):
        stage.submit()
    assert refused(stage.submit) == "pending_limit"
    stage.submit(MATE)
    assert refused(lambda: stage.submit(MATE)) == "pending_limit"


def test_what_was_used_is_in_the_store_and_counts_after_a_restart():
    stage = staged(user_limits=Limit(gpu_hours_per_day=10 / HOUR))
    first = stage.submit(fate=Fate(run_s=20.0), timeout_s=30)
    stage.tick()
    stage.wait(25)
    assert stage.phase(first) == "succeeded"
    (use,) = stage.store.uses(0.0)
    assert use.user == "alice"
    assert use.gpu_s >= 20
    stage.loop.resign()
    stage.loop = stage.new_loop("second")
    second = stage.submit()
    stage.tick(3)
    assert stage.phase(second) == "queued"
    assert stage.queries.job(ALICE, second, "en").verdict.data["limit"] == "gpu_hours_per_day"


def test_members_reserve_within_their_quota_and_only_where_the_file_says():
    assert refused(lambda: staged().commands.reservations.make(ALICE, asked(staged()))) == "not_allowed"
    stage = staged(ReservationPolicy(members=True))
    make = stage.commands.reservations.make
    make(ALICE, asked(stage, begins_at=stage.clock.now() + HOUR, ends_at=stage.clock.now() + 2 * HOUR))
    later = asked(stage, begins_at=stage.clock.now() + HOUR, ends_at=stage.clock.now() + 2 * HOUR)
    assert refused(lambda: make(ALICE, later)) in {"reservation_quota", "reservation_full"}
    assert refused(lambda: make(OTHER, asked(stage))) == "unknown_team"
    assert refused(lambda: make(ALICE, asked(stage, tier="platinum"))) == "unknown_tier"
    assert refused(lambda: make(ALICE, asked(stage, ends_at=stage.clock.now()))) == "reservation_times"
    assert refused(lambda: make(ROOT, asked(stage, gpus=9))) == "reservation_full"


def test_one_that_nobody_uses_is_freed_and_told_and_one_that_is_used_stays_to_its_end():
    stage = staged(ReservationPolicy(grace_s=5))
    stage.tick()
    stage.commands.reservations.make(ROOT, asked(stage, ends_at=stage.clock.now() + 60))
    other = stage.submit(OTHER, fate=Fate(run_s=1.0), timeout_s=5)
    stage.tick(2)
    assert stage.phase(other) == "queued"
    assert stage.queries.job(OTHER, other, "en").verdict.data["for_team"] == "vision"
    stage.wait(8)
    assert phases(stage) == ["unused"]
    assert stage.phase(other) in {"succeeded", "running", "starting"}
    stage.wait(8)
    stage.commands.reservations.make(ROOT, asked(stage, ends_at=stage.clock.now() + 20))
    own = stage.submit(ALICE, fate=Fate(run_s=2.0), timeout_s=5)
    stage.wait(10)
    assert stage.phase(own) == "succeeded"
    assert phases(stage)[-1] == "used"
    stage.wait(15)
    assert phases(stage)[-1] == "ended"
    kinds = [event.kind for event in stage.store.events(0, 10_000) if event.kind.startswith("reservation")]
    assert kinds == ["reservation.made", "reservation.released", "reservation.made", "reservation.ended"]


def test_other_teams_see_that_gpus_are_kept_and_not_for_whom_of_the_team():
    stage = staged()
    made = stage.commands.reservations.make(ROOT, asked(stage, user="alice", note="thesis"))
    (seen,) = stage.commands.reservations.listed(OTHER, None, None).reservations
    assert (seen.team, seen.user, seen.note, seen.made_by, seen.may_release) == ("vision", None, "", None, False)
    assert refused(lambda: stage.commands.reservations.release(OTHER, made.id)) == "reservation_not_found"
    assert refused(lambda: stage.commands.reservations.release(MATE, made.id)) == "not_allowed"
    stage.commands.reservations.release(ALICE, made.id)
    stage.commands.reservations.release(ALICE, made.id)
    assert phases(stage) == ["released"]


def test_a_job_whose_team_has_used_up_a_soft_budget_says_so_while_it_waits():
    stage = staged(budget_gpu_hours_per_month=1.0, budget_action=BudgetAction.SOFT)
    used = stage.submit(fate=Fate(run_s=HOUR + 60.0))
    stage.tick()
    waits = stage.submit()
    stage.tick()
    assert not stage.queries.job(ALICE, waits, "en").over_budget
    stage.wait(HOUR + 50.0, step_s=50.0)
    assert stage.phase(used) == "running"
    for lang, said in (("en", "used up this month's budget"), ("ko", "예산을 다 써서")):
        seen = stage.queries.job(ALICE, waits, lang)
        assert seen.over_budget
        assert seen.verdict is not None
        assert said in seen.verdict.sentence
        assert said in stage.queries.queue(ALICE, lang).waiting[0].verdict.sentence
    assert not stage.queries.job(ALICE, used, "en").over_budget
    theirs = stage.submit(OTHER)
    stage.tick()
    assert not stage.queries.job(OTHER, theirs, "en").over_budget


def test_what_is_kept_is_told_with_what_is_free_and_counts_only_for_others():
    stage = staged()
    stage.commands.reservations.make(ROOT, asked(stage, team="vision", user="alice"))
    by_name = {
        who: {tier.name: tier for tier in stage.queries.platform(who, "en").tiers}["gold"]
        for who in (ALICE, MATE, OTHER)
    }
    assert [by_name[who].reserved for who in (ALICE, MATE, OTHER)] == [0.0, 1.0, 1.0]
    assert by_name[MATE].kept[0].startswith("1 GPU of gold is reserved for alice of team vision until ")
    assert by_name[OTHER].kept[0].startswith("1 GPU of gold is reserved for team vision until ")
    stage.submit()
    stage.tick()
    assert {tier.name: tier for tier in stage.queries.platform(OTHER, "ko").tiers}["gold"].kept == []
