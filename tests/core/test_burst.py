"""When a waiting job may leave for a public cluster, condition by condition."""

from dataclasses import replace

import pytest

from dure.core.burst import Offer, allowed_wait_s, decide_burst, due_at, staying
from dure.core.events import Event
from dure.core.model import BurstPolicy, Request
from dure.core.sentences import event_sentence
from tests.core.builders import FLEX, NOW, STRICT, a_cloud, a_job, a_lab, a_node, a_platform, amount, running

OFFER = Offer(cluster="cloud", tier="gold", price_per_gpu_hour=3600.0, provision_s=3.0)
FIXED = BurstPolicy(rule="fixed", wait_s=60.0, default_predicted_s=100.0)
PLATFORM = a_platform(burst=FIXED)
READY = a_job(budget=FLEX)
COST = 103.0  # one GPU at 1 per second for 100 s, provisioning included


def failing(job, *, platform=PLATFORM, now=NOW + 60, left=None, offer=OFFER):
    return decide_burst(job, now, platform, offer, left).failing


def test_a_job_that_waited_as_long_as_allowed_goes():
    decision = decide_burst(READY, NOW + 60, PLATFORM, OFFER)
    assert decision.go
    assert decision.failing == ()
    assert decision.predicted_cost == pytest.approx(COST)


def test_every_input_is_kept_as_plain_data():
    document = decide_burst(READY, NOW + 10, PLATFORM, OFFER, 500.0).document()
    assert document["waited_s"] == 10
    assert document["allowed_wait_s"] == 60
    assert document["due_at"] == NOW + 60
    assert document["budget_left"] == 500
    assert document["failing"] == ["wait"]
    assert document["budget"] == "flex"
    assert document["may_leave"] is True


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (replace(READY, burstable=False), ("not_burstable",)),
        (replace(READY, data_class="private"), ("data_stays",)),
        (replace(READY, data_class="vanished on reload"), ("data_stays",)),
        (replace(READY, budget=STRICT), ("strict",)),
        (replace(READY, budget=amount(COST - 1)), ("amount",)),
        (replace(READY, budget=amount(COST + 1)), ()),
        (replace(READY, budget=amount(COST + 1), cost=2.0), ("amount",)),
        (replace(READY, queued_at=NOW + 1), ("wait",)),
        (replace(READY, queued_at=NOW + 30, waited_s=30.0), ()),
    ],
)
def test_each_condition_alone_keeps_the_job_here(job, expected):
    assert failing(job) == expected


def test_the_teams_budget_must_cover_the_prediction():
    assert failing(READY, left=COST - 1) == ("team_budget",)
    assert failing(READY, left=COST + 1) == ()


def test_bursting_can_be_switched_off():
    assert failing(READY, platform=a_platform(burst=replace(FIXED, enabled=False))) == ("disabled",)


def test_the_proportional_wait_grows_with_predicted_gpu_hours_within_its_limits():
    policy = BurstPolicy(rule="proportional", wait_s=100.0, min_wait_s=10.0, max_wait_s=500.0)
    assert allowed_wait_s(policy, 2.0) == 200
    assert allowed_wait_s(policy, 0.001) == 10
    assert allowed_wait_s(policy, 100.0) == 500


def test_a_long_job_waits_longer_than_a_short_one():
    platform = a_platform(burst=BurstPolicy(rule="proportional", wait_s=360.0))
    assert due_at(a_job(predicted_s=1000.0), platform, OFFER) == NOW + 100
    assert due_at(a_job(predicted_s=1000.0, gpus=2), platform, OFFER) == NOW + 200


def test_a_deadline_leaves_time_to_provision_and_run():
    job = replace(READY, deadline_at=NOW + 120)
    assert due_at(job, PLATFORM, OFFER) == NOW + 120 - 100 - 3
    assert due_at(replace(job, deadline_at=NOW + 10_000), PLATFORM, OFFER) == NOW + 60


def test_a_deadline_that_is_lost_already_goes_at_once():
    assert due_at(replace(READY, deadline_at=NOW - 5), PLATFORM, OFFER) == NOW


def test_the_time_limit_bounds_the_prediction():
    assert decide_burst(replace(READY, timeout_s=10.0), NOW, PLATFORM, OFFER).predicted_s == 10


def test_nobody_waits_for_private_gpus_that_do_not_exist():
    assert failing(READY, now=NOW, offer=replace(OFFER, private_chance=False)) == ()


def test_what_staying_would_have_meant_is_kept_beside_the_decision():
    lab = a_lab(a_node("n1", "gold", 2), a_node("n2", "gold", 1))
    platform = a_platform(lab, a_cloud(), burst=FIXED)
    long, short = running(a_job("long", predicted_s=500.0), "lab", "n1", 0), running(a_job("short"), "lab", "n1", 1)
    other = running(a_job("other", predicted_s=300.0), "lab", "n2", 0)
    held = (long, short, other)  # all began ten seconds ago
    assert staying(a_job(), NOW, platform, held) == {
        "stays_until": NOW + 90.0, "stays_cost": pytest.approx(400.0 * 100 / 3600),
    }  # fmt: skip
    assert staying(a_job(gpus=2), NOW, platform, held)["stays_until"] == NOW + 490.0
    gang = replace(a_job(), request=Request(2000, "gold", nodes=2))
    assert staying(gang, NOW, platform, held)["stays_until"] == NOW + 290.0
    assert staying(a_job(gpus=0.5), NOW, platform, ())["stays_until"] == NOW
    assert staying(a_job(gpus=3), NOW, platform, held) == {"stays_until": None, "stays_cost": None}
    overrun = running(a_job("long", predicted_s=1.0), "lab", "n2", 0)
    assert staying(a_job(gpus=1), NOW, a_platform(a_lab(a_node("n2", "gold")), burst=FIXED), (overrun,))[
        "stays_until"
    ] == NOW  # fmt: skip


def test_the_decision_is_told_with_its_rule_its_price_and_the_alternative():
    platform = a_platform(burst=BurstPolicy(rule="proportional", wait_s=600.0))
    decision = decide_burst(replace(READY, predicted_s=7200.0), NOW + 1200, platform, OFFER)
    data = {**decision.document(), "stays_until": NOW + 3000, "stays_cost": 800.0}
    event = Event(1, NOW, "loop", "j-1", "job.burst_decided", data)
    assert event_sentence(event, "en") == (
        "It may go to cloud after waiting 20 min (allowed: 20 min, 10 min for each of 2 GPU-hours), predicted to cost "
        "₩7,203; staying, it would start in 30 min at the earliest, for ₩800."
    )
    assert event_sentence(event, "ko") == (
        "20분 대기 후 cloud로 보내기로 했습니다(허용 대기 20분(GPU 2시간, 시간당 10분), 예상 비용 7,203원, "
        "기다렸다면 800원에 일러도 30분 뒤 시작)."
    )


def test_what_staying_would_have_meant_looks_at_nodes_that_stand_together():
    rack = [replace(a_node(f"n{i}", "gold"), labels={"rack": one}) for i, one in enumerate("abb")]
    platform = replace(a_platform(a_lab(*rack), burst=FIXED), topology=("rack",))
    held = (running(a_job("other", predicted_s=300.0), "lab", "n2", 0),)
    apart = replace(a_job(), request=Request(2000, "gold", nodes=2))
    together = replace(a_job(), request=Request(2000, "gold", nodes=2, required_topology="rack"))
    assert staying(apart, NOW, platform, held)["stays_until"] == NOW
    assert staying(together, NOW, platform, held)["stays_until"] == NOW + 290.0
    three = replace(a_job(), request=Request(3000, "gold", nodes=3, required_topology="rack"))
    assert staying(three, NOW, platform, held)["stays_until"] is None
