"""Forecasts of a living platform: learned from jobs that ended, issued for those that wait, compared with the truth."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dure.adapters.store import SqlStore
from dure.client.words import why_lines
from dure.control.commands import Commands
from dure.control.forecasts import Forecasts, ForecastSettings
from dure.control.planning import _IN_LINE, Planning
from dure.control.queries import Queries
from dure.core.forecast.runtimes import Basis
from dure.core.forecast.starts import Eta
from dure.sim.executor import Fate
from dure.wire.problems import CodedError
from tests.control.stage import ALICE, MATE, OTHER, Stage


class Lab(Stage):
    """A stage whose forecasts are kept in a database of their own."""

    def __init__(self, *, leads: bool = True) -> None:
        super().__init__()
        self.database = SqlStore("sqlite://")
        self.database.migrate()
        self.leading = leads
        self.forecasts = self.restarted()

    def restarted(self) -> Forecasts:
        forecasts = Forecasts(
            self.ports,
            self.platform,
            self.database.estimates,
            leads=lambda: self.leading,
            settings=ForecastSettings(courses=8),
        )
        self.commands = Commands(self.ports, self.platform, self._hint, predict=forecasts.predicted)
        self.queries = Queries(self.ports, self.platform, "1", lambda: self.loop.plan, forecasts=forecasts)
        return forecasts

    def ran(self, times: int, runs_s: float = 100.0, **asked: Any) -> None:
        """Let jobs of this kind run one after another."""
        for _ in range(times):
            self.submit(fate=Fate(run_s=runs_s), **asked)
            self.wait(runs_s + 10.0, step_s=5.0)
        self.forecasts.refresh()


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_what_ran_before_is_what_the_next_one_is_predicted_to_run(lab: Lab) -> None:
    first = lab.job(lab.submit(fate=Fate(run_s=100.0)))
    assert first.predicted_s is None
    assert first.fingerprint is not None
    lab.wait(120.0, step_s=5.0)
    lab.ran(4)
    predicted_s = lab.job(lab.submit()).predicted_s
    assert predicted_s is not None
    assert 80.0 < predicted_s < 130.0


def test_where_jobs_took_longer_than_predicted_the_next_one_is_expected_to_as_well(lab: Lab) -> None:
    lab.ran(5)
    assert lab.job(lab.submit()).expected_s == pytest.approx(100.0, rel=0.2)
    for _ in range(6):
        lab.submit(fate=Fate(run_s=9000.0), timeout_s=20_000)
        lab.wait(9100.0, step_s=300.0)
    lab.forecasts.refresh()
    late = lab.job(lab.submit())
    assert late.predicted_s is not None
    assert late.expected_s is not None
    assert late.expected_s > late.predicted_s
    lab.restarted().refresh()
    assert lab.job(lab.submit()).expected_s == late.expected_s


def test_a_restart_learns_the_same_from_the_store(lab: Lab) -> None:
    lab.ran(5)
    job = lab.job(lab.submit())
    before = lab.forecasts.likelihood(job)
    after = lab.restarted()
    after.refresh()
    assert after.likelihood(job).basis is before.basis is not Basis.DEFAULT
    assert after.likelihood(job).held.quantile(0.5) == pytest.approx(before.held.quantile(0.5), rel=0.05)


def test_a_waiting_job_is_told_when_it_starts_and_the_record_says_how_that_went(lab: Lab) -> None:
    lab.ran(6)
    lab.submit(fate=Fate(run_s=100.0))
    lab.tick()
    waiting = lab.submit(fate=Fate(run_s=100.0))
    lab.tick()
    lab.forecasts.refresh()
    eta = lab.queries.job(ALICE, waiting, "en").eta
    assert eta is not None
    assert eta.p50_at is not None
    assert eta.p90_at is not None
    assert 60.0 < eta.p50_at - lab.clock.now() < 160.0
    assert eta.p50_at <= eta.p90_at
    assert "Starts in about" in eta.sentence
    assert "뒤" in lab.queries.job(ALICE, waiting, "ko").eta.sentence  # type: ignore[union-attr]
    assert [one.began_at for one in lab.database.estimates.recent(10)] == [None]
    lab.wait(110.0, step_s=1.0)
    assert lab.phase(waiting) == "running"
    lab.forecasts.refresh()
    kept = lab.database.estimates.recent(10)
    assert [one.job_id for one in kept] == [waiting]
    assert kept[0].began_at == lab.job(waiting).began_at
    assert lab.forecasts.outlook.accuracy.count == 1
    assert lab.queries.job(ALICE, waiting, "en").eta is None


def test_what_was_estimated_before_a_restart_is_compared_after_it(lab: Lab) -> None:
    lab.ran(3)
    lab.submit(fate=Fate(run_s=100.0))
    lab.tick()
    waiting = lab.submit(fate=Fate(run_s=100.0))
    lab.tick()
    lab.forecasts.refresh()
    lab.wait(110.0, step_s=1.0)
    after = lab.restarted()
    after.refresh()
    assert [one.began_at for one in lab.database.estimates.recent(10)] == [lab.job(waiting).began_at]
    assert after.outlook.accuracy.count == 1
    lab.forecasts.refresh()
    raw = Eta(lab.clock.now(), 100.0, 200.0)
    assert after.corrected(raw) == lab.forecasts.corrected(raw) != raw


def test_a_job_that_is_cancelled_while_it_waits_leaves_no_estimate(lab: Lab) -> None:
    lab.submit(fate=Fate(run_s=100.0))
    lab.tick()
    waiting = lab.submit()
    lab.tick()
    lab.forecasts.refresh()
    lab.commands.cancel(ALICE, waiting)
    lab.tick()
    lab.forecasts.refresh()
    assert lab.database.estimates.recent(10) == []


def test_who_does_not_lead_shows_estimates_and_puts_none_on_record() -> None:
    lab = Lab(leads=False)
    lab.submit(fate=Fate(run_s=100.0))
    lab.tick()
    waiting = lab.submit()
    lab.tick()
    lab.forecasts.refresh()
    assert waiting in lab.forecasts.outlook.etas
    assert lab.database.estimates.recent(10) == []


def test_what_helps_a_waiting_job_is_what_was_found_by_trying_it(lab: Lab) -> None:
    for number in range(2):
        lab.submit(fate=Fate(run_s=3000.0), tier="gold", name=f"w{number}")
        lab.tick()
    waiting = lab.submit(tier="gold")
    lab.tick()
    at_once = lab.queries.job(ALICE, waiting, "en").verdict
    assert at_once is not None
    lab.forecasts.refresh()
    found = lab.forecasts.options(waiting)
    assert found
    for lang, said in (("en", "it starts now"), ("ko", "지금 시작합니다")):
        verdict = lab.queries.job(ALICE, waiting, lang).verdict
        assert verdict is not None
        assert f"--tier {found[0].data['tier']}" in verdict.helps[0]
        assert said in verdict.helps[0]
        assert verdict.helps[0].rstrip(".").lower()[1:] in verdict.sentence.lower()
    alone, listed = lab.queries.job(ALICE, waiting, "en").verdict, lab.queries.queue(ALICE, "en").waiting[0].verdict
    assert alone is not None
    assert listed is not None
    assert listed.helps == alone.helps
    lab.wait(301.0, step_s=60.0)
    assert lab.forecasts.options(waiting) is None  # too long ago to be told


def test_the_queue_shows_estimates_of_the_jobs_that_one_may_see(lab: Lab) -> None:
    lab.submit(fate=Fate(run_s=100.0))
    lab.tick()
    waiting = lab.submit()
    lab.tick()
    lab.forecasts.refresh()
    assert [job.eta is not None for job in lab.queries.queue(ALICE, "en").waiting] == [True]
    assert lab.queries.queue(OTHER, "en").waiting == []
    assert lab.queries.jobs(ALICE).jobs[0].id == waiting
    assert lab.queries.jobs(ALICE).jobs[0].eta is not None


def test_only_a_few_wait_for_an_answer_about_the_future(lab: Lab) -> None:
    """Each of them occupies one of the threads that serve everybody."""
    planning = Planning(lab.forecasts)
    in_line = [threading.Thread(target=_waits, args=(planning,)) for _ in range(_IN_LINE - 1)]
    with planning._taken(0.0):
        for thread in in_line:
            thread.start()
        while planning._line._value:
            in_line[0].join(0.01)
        with pytest.raises(CodedError, match="busy"), planning._taken(600.0):
            pass
    for thread in in_line:
        thread.join()
    with planning._taken(0.0):
        assert planning._line._value == _IN_LINE - 1


def test_why_says_that_its_alternatives_are_not_computed_yet_and_how_to_ask_again(lab: Lab) -> None:
    for number in range(3):
        lab.submit(fate=Fate(run_s=3000.0), tier="gold", name=f"w{number}")
        lab.tick()
    waiting = lab.queries.queue(ALICE, "en").waiting[-1].id
    line = lab.queries._planning._line
    for _ in range(_IN_LINE):
        assert line.acquire(blocking=False)
    try:
        for lang, said in (("en", "not computed yet"), ("ko", "아직 계산하지 못했습니다")):
            story = lab.queries.why(ALICE, waiting, lang)
            assert (story.sooner, story.ahead) == ([], None)
            assert story.pending is not None
            assert said in story.pending
            assert story.pending.endswith(f": dure why {waiting}")
            assert why_lines(story, lang)[-1] == story.pending
    finally:
        line.release(_IN_LINE)
    story = lab.queries.why(ALICE, waiting, "en")
    assert story.pending is None
    assert story.sooner


def test_why_at_once_tells_the_reason_and_what_is_known_and_waits_for_nobody(lab: Lab) -> None:
    for number in range(3):
        lab.submit(fate=Fate(run_s=3000.0), tier="gold", name=f"w{number}")
        lab.tick()
    lab.forecasts.refresh()
    waiting = lab.queries.queue(ALICE, "en").waiting[-1].id
    with lab.queries._planning._taken(0.0):  # somebody else's question is under way
        for lang, said in (("en", "Finding out"), ("ko", "알아보는 중")):
            story = lab.queries.why(ALICE, waiting, lang, at_once=True)
            assert story.job.verdict is not None
            assert story.job.eta is not None
            assert story.deficits
            assert (story.sooner, story.ahead) == ([], None)
            assert said in (story.pending or "")
    whole = lab.queries.why(ALICE, waiting, "en")
    known = lab.queries.why(ALICE, waiting, "en", at_once=True)
    assert (known.sooner, known.ahead, known.pending) == (whole.sooner, whole.ahead, None)
    lab.submit(tier="gold", name="new")
    lab.wait(10.0, step_s=5.0)
    lab.forecasts.refresh()
    stale = lab.queries.why(ALICE, waiting, "en", at_once=True)
    assert stale.sooner
    assert stale.pending is not None, "what was found before the last estimates may be found anew"


def test_a_refresh_rests_while_somebody_waits_for_an_answer(lab: Lab) -> None:
    for number in range(3):
        lab.submit(fate=Fate(run_s=3000.0), tier="gold", name=f"w{number}")
    lab.tick()
    rests: list[float | None] = []

    class Told(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout)
            return self.is_set()

    lab.forecasts._unasked = Told()
    with lab.forecasts.aside():
        lab.forecasts.refresh()
    assert rests
    assert lab.forecasts.outlook.etas, "it rests for some seconds at most"
    rests.clear()
    lab.clock.time += 60.0
    lab.forecasts.refresh()
    assert not rests


def test_where_no_start_is_in_sight_nothing_is_compared_with_one() -> None:
    """Few are known and many come: some futures never get to a job of low priority; the middle one would."""
    lab = Lab()
    mine = lab.submit(tier="gold", priority="low")
    for number in range(100):
        who, priority = OTHER if number % 2 else MATE, "normal" if number % 3 else "high"
        lab.submit(who, fate=Fate(run_s=30_000.0), name=f"w{number}", priority=priority, timeout_s=80_000)
        lab.clock.time += 20.0
    lab.tick()
    lab.forecasts.refresh()
    story = lab.queries.why(ALICE, mine, "en")
    assert story.job.eta is not None
    assert story.job.eta.p50_at is None
    assert "no start is in sight" in story.job.eta.sentence
    assert story.sooner
    assert [option.instead_s for option in story.sooner] == [None] * len(story.sooner)
    assert not any("instead" in line for line in why_lines(story))


def test_what_would_help_is_compared_with_what_is_left_of_the_wait(lab: Lab) -> None:
    for number in range(3):
        lab.submit(fate=Fate(run_s=3000.0), tier="gold", name=f"w{number}")
        lab.tick()
    lab.forecasts.refresh()
    waiting = lab.queries.queue(ALICE, "en").waiting[-1].id
    told = []
    for _ in range(2):
        story = lab.queries.why(ALICE, waiting, "en")
        assert story.job.eta is not None
        assert story.job.eta.p50_at is not None
        assert story.sooner
        left_s = story.job.eta.p50_at - lab.clock.time
        assert [option.instead_s for option in story.sooner] == [pytest.approx(left_s)] * len(story.sooner)
        told.append(left_s)
        lab.clock.time += 60.0
    assert told[1] == pytest.approx(told[0] - 60.0)


def _waits(planning: Planning) -> None:
    with planning._taken(600.0):
        pass
