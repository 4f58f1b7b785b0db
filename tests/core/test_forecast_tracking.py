"""p90 of starts is kept by nine of ten, whatever the courses say and however starts come about."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.core.forecast.record import Issued, Record
from dure.core.forecast.starts import Eta
from dure.core.forecast.tracking import LATE, LEAST, MOST, RATE, Tracker
from tests.examples import examples

HOUR_S = 3600.0


@dataclass
class Stream:
    """Jobs that come, are told a p90 and start, on a record that is asked before each."""

    record: Record = field(default_factory=Record)
    kept: list[bool] = field(default_factory=list)
    issued: list[Issued] = field(default_factory=list)
    _starts: list[tuple[float, str]] = field(default_factory=list)

    def ask(self, now: float, waits_s: list[float], p50_s: float = HOUR_S, p90_s: float = 2 * HOUR_S) -> None:
        """At `now` so many jobs are submitted that really wait so long; the courses say the same of each."""
        while self._starts and self._starts[0][0] <= now:
            at, job_id = heapq.heappop(self._starts)
            self.record.settle(job_id, at)
        self.record.refresh(now)
        shown = self.record.corrected(Eta(now, p50_s, p90_s))
        assert shown.p90_s is not None
        assert shown.p50_s == p50_s <= shown.p90_s
        for wait_s in waits_s:
            one = Issued(f"j-{len(self.issued)}", 0, now, p50_s, p90_s, p50_s, shown.p90_s)
            self.issued.append(one)
            self.record.issue(one)
            heapq.heappush(self._starts, (now + wait_s, one.job_id))
            self.kept.append(wait_s <= shown.p90_s)

    def within(self, last: int) -> float:
        """Return what part of the last estimates was kept."""
        return sum(self.kept[-last:]) / last


@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("every_s", [1200.0, HOUR_S, 6 * HOUR_S])
def test_far_too_early_or_late_a_p90_comes_to_be_kept_by_nine_of_ten(bias: float, every_s: float) -> None:
    stream, chance = Stream(), Random(7)
    for number in range(int(400 * max(1.0, 2 * HOUR_S / every_s))):
        stream.ask(number * every_s, [HOUR_S * math.exp(bias + 0.5 * chance.gauss())], 600.0)
    assert 0.85 <= stream.within(len(stream.kept) // 2) <= 0.95


def test_where_waits_drift_p90_drifts_with_them() -> None:
    stream, chance = Stream(), Random(7)
    for number in range(1500):
        drift = math.sin(number / 150.0)
        stream.ask(number * 3 * HOUR_S, [HOUR_S * math.exp(drift + 0.5 * chance.gauss())], 600.0)
    assert 0.85 <= stream.within(1200) <= 0.95


def test_bursts_that_are_late_together_are_kept_nine_times_of_ten() -> None:
    stream, chance = Stream(), Random(7)
    for number in range(1500):
        together = chance.gauss()
        size = 1 if chance.random() < 0.7 else 40
        waits_s = [HOUR_S * math.exp(1.0 + together + 0.2 * chance.gauss()) for _ in range(size)]
        stream.ask(number * 5 * HOUR_S, waits_s, 600.0)
    assert 0.85 <= stream.within(len(stream.kept) // 2) <= 0.95


def test_one_rush_moves_p90_no_further_than_one_job_would() -> None:
    few, many = Stream(), Stream()
    few.ask(0.0, [9 * HOUR_S])
    many.ask(0.0, [9 * HOUR_S] * 500)
    for stream in (few, many):
        stream.ask(10 * HOUR_S, [HOUR_S])
    assert few.issued[-1].p90_s == many.issued[-1].p90_s > 2 * HOUR_S


def test_who_still_waits_past_p90_counts_before_the_start_and_only_once() -> None:
    record = Record()
    for number in range(5):
        record.issue(Issued(f"j-{number}", 0, 1000.0 * number, 100.0, 200.0, 100.0, 200.0))
    eta = Eta(0.0, 100.0, 200.0)
    assert record.corrected(eta) == eta
    record.refresh(6000.0)
    late = record.corrected(eta)
    assert late.p90_s is not None
    assert late.p90_s > 200.0
    for number in range(5):
        record.settle(f"j-{number}", 7000.0)
    assert record.corrected(eta) == late


def test_a_start_that_was_noticed_late_counts_by_when_it_was() -> None:
    noticed, at_once = Record(), Record()
    for record in (noticed, at_once):
        record.issue(Issued("j-1", 0, 0.0, 100.0, 200.0, 100.0, 200.0))
    noticed.refresh(500.0)
    for record in (noticed, at_once):
        record.settle("j-1", 150.0)
    eta = Eta(0.0, 100.0, 200.0)
    assert noticed.corrected(eta) == at_once.corrected(eta) != eta


def test_a_job_that_never_starts_leaves_nothing_behind() -> None:
    record, eta = Record(), Eta(0.0, 100.0, 200.0)
    record.issue(Issued("j-1", 0, 0.0, 100.0, 200.0, 100.0, 200.0))
    record.refresh(500.0)
    assert record.corrected(eta) != eta
    record.settle("j-1", None)
    assert record.corrected(eta) == eta
    assert record.accuracy().count == 0


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.floats(0.0, 1e5), st.lists(st.floats(0.0, 1e6), min_size=1, max_size=5)), max_size=25))
def test_p90_is_never_before_the_middle_and_a_restart_forgets_nothing(
    asked: list[tuple[float, list[float]]],
) -> None:
    stream, now = Stream(), 0.0
    for pause_s, waits_s in asked:
        now += pause_s
        stream.ask(now, waits_s)
    began = {job_id: at for at, job_id in stream._starts}
    kept = [*stream.issued]
    for place, one in enumerate(kept):
        if one.job_id not in began:
            real = [known for known in stream.record._firsts if known.job_id == one.job_id]
            kept[place] = real[0] if real else one
    restarted = Record()
    restarted.load(kept)
    restarted.refresh(now)
    stream.record.refresh(now)
    for p50_s in (10.0, 1000.0, HOUR_S, 10 * HOUR_S):
        eta = Eta(now, p50_s, 3 * p50_s)
        assert restarted.corrected(eta) == stream.record.corrected(eta)
    assert restarted.open.keys() == stream.record.open.keys()
    assert restarted.accuracy() == stream.record.accuracy()


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0.0, 1.0)), min_size=1, max_size=60))
def test_over_any_rushes_the_share_of_late_starts_is_one_tenth_but_for_what_the_stretch_moved(
    seen: list[tuple[int, float]],
) -> None:
    tracker = Tracker(2)
    for number, (kind, share) in enumerate(seen):
        rush = tracker.rush(kind, 100.0 * number, 50.0)
        rush.known, rush.late = 1000, round(1000 * share)
    for kind in (0, 1):
        assert LEAST <= tracker.log_stretch(kind) <= MOST
    own = [round(1000 * share) / 1000 - LATE for kind, share in seen if kind == 0]
    sums = [RATE / 2 * sum(own[:end]) for end in range(len(own) + 1)]
    if own and min(sums) > LEAST / 2 and max(sums) < MOST / 2:
        moved = tracker._own[0].sum()
        assert sum(own) / len(own) == pytest.approx(moved / (RATE / 2 * len(own)))
