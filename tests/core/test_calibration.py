"""Predictions are corrected by what jobs predicted so really took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dure.core.burst import allowed_wait_s, due_at, expected_s, predicted_cost, predicted_s
from dure.core.forecast.calibration import Calibration
from tests.core.builders import NOW, a_job, a_platform
from tests.core.test_burst import OFFER

SECONDS = st.floats(1.0, 1e6)


@given(st.lists(SECONDS, max_size=50), SECONDS)
def test_predictions_that_were_right_stay_as_they_are(took, predicted_s):
    known = Calibration()
    for seconds in took:
        known.learn(seconds, seconds)
    assert known.expected_s(predicted_s) == pytest.approx(predicted_s)


def test_jobs_said_to_take_no_time_are_expected_to_take_what_such_jobs_took():
    known = Calibration()
    for _ in range(400):
        known.learn(0.0, 3600.0)
    assert known.expected_s(0.0) == pytest.approx(3600.0, rel=0.06)
    assert known.expected_s(1000.0) == 1000.0  # nothing is known of these


def test_a_few_jobs_change_little():
    known = Calibration()
    known.learn(60.0, 6000.0)
    assert 60.0 < known.expected_s(60.0) < 400.0


def test_jobs_that_run_longer_than_predicted_count_before_they_end_and_the_others_not():
    known = Calibration()
    known.overdue([(0.0, 100_000.0), (600.0, 599.0), (600.0, 600.0)])
    assert known.expected_s(0.0) == pytest.approx((100_000.0 + 20.0) / 21.0)
    assert known.expected_s(600.0) == 600.0
    known.overdue([])
    assert known.expected_s(0.0) == 1.0


def test_what_is_long_past_counts_less():
    known = Calibration()
    for took_s in [10_000.0] * 1000 + [100.0] * 2000:
        known.learn(100.0, took_s)
    assert known.expected_s(100.0) < 700.0


@given(st.lists(st.tuples(st.floats(0.0, 1e9), st.floats(0.0, 1e9)), max_size=30), st.floats(0.0, 1e9))
def test_what_is_expected_is_a_time(pairs, predicted_s):
    known = Calibration()
    for predicted, took in pairs:
        known.learn(predicted, took)
    assert 0.0 < known.expected_s(predicted_s) < float("inf")


def test_the_wait_and_the_cost_go_by_what_is_expected_and_deadlines_by_what_is_predicted():
    platform = a_platform()
    job = a_job(predicted_s=60.0, expected_s=7200.0)
    assert expected_s(job, platform) == 7200.0
    assert due_at(job, platform, OFFER) - NOW == allowed_wait_s(platform.burst, 2.0)
    assert predicted_cost(job, platform, OFFER) == pytest.approx(7203.0)
    urgent = a_job(predicted_s=60.0, expected_s=7200.0, deadline_at=NOW + 100.0)
    assert due_at(urgent, platform, OFFER) == NOW + 100.0 - predicted_s(urgent, platform) - OFFER.provision_s
    assert expected_s(a_job(predicted_s=60.0, expected_s=7200.0, timeout_s=90.0), platform) == 90.0
    assert expected_s(a_job(timeout_s=90.0, expected_s=7200.0), platform) == 90.0  # without a prediction: the limit
