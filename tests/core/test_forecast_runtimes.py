"""How long jobs run, learned from those that ended."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dure.core.forecast.distribution import BINS, Distribution, edge_s, lognormal
from dure.core.forecast.runtimes import Basis, Case, History, case_of, fingerprint
from dure.core.model import Kind, Phase
from dure.core.reasons import Ended
from tests.core.builders import a_job

ANA = Case(
    user="ana",
    team="vision",
    kind="command",
    name="train",
    environment="default",
    tier="gold",
    gpus_milli=1000,
    fingerprint="train.py",
)


def learned(*runs: tuple[Case, float], default_s: float = 600.0) -> History:
    history = History(default_s)
    for case, seconds in runs:
        history.learn(case, seconds, Phase.SUCCEEDED)
    return history


@given(st.floats(1.0, 1e6), st.floats(0.05, 3.0), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_rise_and_agree_with_the_chance_to_be_done(
    median_s: float, spread: float, low: float, high: float
) -> None:
    distribution = Distribution(lognormal(median_s, spread))
    low, high = sorted((low, high))
    assert distribution.quantile(low) <= distribution.quantile(high)
    seconds = distribution.quantile(high)
    if edge_s(0) < seconds < edge_s(BINS):
        assert distribution.chance_within(seconds) == pytest.approx(high, abs=1e-6)


@given(st.floats(1.0, 1e6), st.floats(0.0, 1e8), st.floats(0.01, 0.99), st.none() | st.floats(1.0, 1e5))
def test_what_is_left_is_never_negative_nor_past_the_limit(
    median_s: float, elapsed_s: float, part: float, limit_s: float | None
) -> None:
    distribution = Distribution(lognormal(median_s, 1.0), limit_s)
    left_s = distribution.remaining(part, elapsed_s)
    assert left_s >= 0.0
    assert limit_s is None or left_s <= max(0.0, limit_s - elapsed_s) + 1e-6
    assert limit_s is not None or elapsed_s < 1e7 or left_s > 0.0


def test_a_job_that_outlived_the_median_is_expected_to_take_longer_in_all() -> None:
    distribution = Distribution(lognormal(100.0, 1.0))
    assert 300.0 + distribution.remaining(0.5, 300.0) > 350.0


def test_without_history_the_default_is_taken_with_a_wide_spread_below_the_limit() -> None:
    history = History(600.0)
    found = history.predict(ANA)
    assert found.basis is Basis.DEFAULT
    assert 450.0 < found.held.quantile(0.5) < 800.0
    assert found.held.quantile(0.9) > 4 * found.held.quantile(0.5)
    assert history.predict(replace(ANA, limit_s=60.0)).held.quantile(0.99) <= 60.0


def test_the_same_script_again_is_expected_to_run_as_long_as_before() -> None:
    other = replace(ANA, user="bo", name="eval", fingerprint="eval.py")
    found = learned(*[(other, 30.0)] * 40, *[(ANA, 7200.0)] * 6).predict(ANA)
    assert found.basis in {Basis.SCRIPT, Basis.NAME}
    assert 6000.0 < found.held.quantile(0.5) < 8500.0


def test_one_persons_thousand_equal_jobs_are_not_what_a_newcomer_runs() -> None:
    crowd = [(replace(ANA, user="bo", name="sweep"), 20.0)] * 1000
    others = [(replace(ANA, user=f"u{n}", name=f"n{n}", fingerprint=f"f{n}"), 3600.0) for n in range(12)]
    newcomer = replace(ANA, user="new", name="mine", fingerprint="mine.py")
    assert learned(*others, *crowd).predict(newcomer).held.quantile(0.5) > 600.0


def test_a_job_ended_by_its_limit_only_says_that_it_would_have_run_longer() -> None:
    history = learned(*[(ANA, 3000.0)] * 10)
    cut = replace(ANA, limit_s=600.0)
    for _ in range(20):
        history.learn(cut, 600.0, Phase.FAILED, Ended.TIMEOUT)
    assert history.predict(ANA).held.quantile(0.5) > 1500.0
    assert history.predict(cut).held.quantile(0.5) == pytest.approx(600.0, rel=0.01)


def test_an_early_crash_frees_gpus_soon_but_does_not_make_success_look_quick() -> None:
    history = learned(*[(ANA, 3000.0)] * 10)
    for _ in range(10):
        history.learn(ANA, 5.0, Phase.FAILED, Ended.ERROR)
    found = history.predict(ANA)
    assert found.held.quantile(0.25) < 30.0
    assert found.done.quantile(0.5) > 2000.0


def test_of_a_limit_that_is_never_used_up_the_used_part_is_learned() -> None:
    history = History(600.0)
    for number in range(30):
        limit_s = 3600.0 * (1 + number % 5)
        case = replace(ANA, name=f"job {number}", fingerprint=f"{number}", limit_s=limit_s, gpus_milli=1000 * number)
        history.learn(case, limit_s / 10, Phase.SUCCEEDED)
    fresh = replace(ANA, name="other", fingerprint="other", limit_s=36_000.0)
    assert 1000.0 < history.predict(fresh).held.quantile(0.5) < 8000.0


def test_memory_is_bounded_whoever_comes() -> None:
    history = History(600.0, max_groups=50)
    for number in range(300):
        history.learn(replace(ANA, user=f"u{number}", name=f"n{number}", fingerprint=f"{number}"), 60.0, Phase.FAILED)
    assert history.groups <= 50
    assert history.predict(ANA).held.quantile(0.5) > 0


def test_where_only_everybodys_median_tells_something_predictions_come_near_it() -> None:
    """People's last jobs say nothing here, so who believes them is off twice as far."""
    history, off_ours, off_plain = History(600.0), [], []
    for number in range(900):
        case = replace(ANA, user=f"u{number % 3}", name=f"n{number % 5}", fingerprint=f"f{number % 7}")
        real_s = 1000.0 * math.exp(math.sin(12.9898 * number * number))
        if number >= 600:
            off_ours.append(abs(math.log(history.predict(case).held.quantile(0.5) / real_s)))
            off_plain.append(abs(math.log((history.global_median_s() or 1.0) / real_s)))
        history.expect(str(number), case)
        history.learn(case, real_s, Phase.SUCCEEDED, job_id=str(number))
    assert sum(off_ours) < 1.05 * sum(off_plain)


def test_a_plain_method_that_foretells_better_takes_over_and_gives_way_again() -> None:
    history = History(600.0)
    for number in range(400):
        case = replace(ANA, limit_s=(600.0, 7200.0)[number % 2])
        history.expect(str(number), case)
        history.learn(case, 0.97 * (case.limit_s or 0.0), Phase.SUCCEEDED, job_id=str(number))
    assert abs(math.log(history.predict(replace(ANA, limit_s=7200.0)).held.quantile(0.5) / 7000.0)) < 0.2
    for number in range(400, 1500):
        case = replace(ANA, limit_s=(600.0, 7200.0)[number % 2])
        history.expect(str(number), case)
        history.learn(case, 60.0, Phase.SUCCEEDED, job_id=str(number))
    assert history.predict(replace(ANA, limit_s=7200.0)).held.quantile(0.5) < 120.0


def test_errors_are_told_beside_those_of_plain_methods() -> None:
    history = History(600.0)
    for number in range(60):
        case = replace(ANA, fingerprint=f"f{number % 2}", name=f"n{number % 2}", limit_s=86_400.0)
        history.learn(case, (60.0, 6000.0)[number % 2], Phase.SUCCEEDED)
    errors = history.errors()
    assert errors.count == 60
    assert errors.ours is not None
    assert errors.limit is not None
    assert errors.last_two is not None
    assert errors.ours < errors.last_two < errors.limit
    assert errors.limit == pytest.approx((math.log(86_400 / 60) + math.log(86_400 / 6000)) / 2, rel=0.5)


def test_the_same_code_has_the_same_fingerprint_and_a_kept_cell_is_of_its_own_kind() -> None:
    payload = {"code": "train(1)", "snapshot": "ab"}
    assert fingerprint(Kind.CELL, payload) == fingerprint(Kind.CELL, payload | {"snapshot": "cd"})
    assert fingerprint(Kind.CELL, payload) != fingerprint(Kind.CELL, {"code": "train(2)"})
    assert fingerprint(Kind.COMMAND, {}) is None
    assert case_of(a_job(keep_s=60.0)).kind == "kept"
    assert case_of(a_job()).kind == a_job().kind.value
