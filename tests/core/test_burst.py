"""When a waiting job may leave for a public cluster, condition by condition."""

from dataclasses import replace

import pytest

from dure.core.burst import Offer, allowed_wait_s, decide_burst, due_at
from dure.core.model import BurstPolicy
from tests.core.builders import FLEX, NOW, STRICT, a_job, a_platform, amount

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
