"""What would start a waiting job sooner, found by running the platform's decisions again with the job changed."""

from __future__ import annotations

from dataclasses import replace

from dure.core import spoken_forecasts
from dure.core.forecast.draws import Remaining
from dure.core.forecast.record import Accuracy
from dure.core.forecast.runtimes import Basis
from dure.core.forecast.starts import Present, course
from dure.core.model import GpuShare, Job, Lease, Phase, Platform
from dure.core.queueing.whatif import Change, Option, ahead, middle, options, together
from tests.core.builders import FLEX, NOW, STRICT, a_cloud, a_job, a_lab, a_node, a_platform, a_team

RUNS_S = 1800.0


def holds(job_id: str, node: str, tier: str, gpus: int = 1, **changes: object) -> Job:
    lease = Lease("lab", node, tier, tuple(GpuShare(index) for index in range(gpus)))
    held = replace(a_job(job_id, gpus=gpus, tier=tier), phase=Phase.RUNNING, attempt=1, lease=lease)
    return replace(held, admitted_at=NOW - 60, began_at=NOW - 60, **changes)  # type: ignore[arg-type]


def runs(seconds: float = RUNS_S) -> Remaining:
    return lambda _job, _part: seconds


def found(job: Job, *others: Job, platform: Platform | None = None) -> dict[Change, Option]:
    present = Present(NOW, platform or a_platform(a_lab(), a_cloud()), (*others, job))
    return {option.change: option for option in options(present, job, runs())}


def test_on_a_long_queue_one_future_with_changed_twins_finds_what_a_future_of_its_own_for_each_change_finds() -> None:
    platform = a_platform(
        a_lab(*(a_node(f"n{n}", ("gold", "silver", "bronze")[n % 3], 4) for n in range(6))), a_cloud()
    )
    jobs = tuple(
        a_job(f"j-{n:02}", gpus=1 + n % 4, tier=("gold", "gold", "silver", "bronze")[n % 4], at=NOW + n, budget=STRICT)
        for n in range(60)
    )
    present = Present(NOW + 100, platform, jobs)
    asking = [job for job in jobs if job.id in {"j-37", "j-44", "j-53", "j-59"}]
    base = middle(present, runs(), frozenset(job.id for job in asking))
    at_once = {job.id: together(present, job, runs(), base) for job in asking}
    for job in asking:
        alone, twins = (
            {(one.change, *one.data.values()): one for one in some}
            for some in (options(present, job, runs()), at_once[job.id])
        )
        for some, others in ((alone, twins), (twins, alone)):
            for change, one in some.items():
                if one.instead_s is not None and one.in_s < 0.7 * one.instead_s:
                    assert abs(others[change].in_s - one.in_s) < 0.1 * one.instead_s
    assert any(at_once.values())


def test_a_free_tier_starts_it_now_and_the_price_of_that_is_told() -> None:
    option = found(a_job("j-1"), holds("j-0", "n3", "gold"))[Change.TIER]
    assert option.in_s == 0.0
    assert option.instead_s == RUNS_S
    assert option.data["tier"] in {"bronze", "silver"}
    assert option.cost == {"bronze": 100.0, "silver": 200.0}[option.lease.tier] * RUNS_S / 3600


def test_a_tier_that_is_just_as_busy_is_not_told() -> None:
    others = (holds("j-0", "n3", "gold"), holds("j-2", "n2", "silver"), holds("j-3", "n1", "bronze", 2))
    assert Change.TIER not in found(a_job("j-1"), *others)


def test_money_is_an_option_for_a_strict_job_only_where_it_really_starts_sooner() -> None:
    option = found(a_job("j-1", budget=STRICT), holds("j-0", "n3", "gold"))[Change.BUDGET_FLEX]
    assert option.lease.cluster == "cloud"
    assert 60.0 <= option.in_s < RUNS_S / 2
    assert option.cost > 0
    assert Change.BUDGET_FLEX not in found(a_job("j-1", budget=FLEX), holds("j-0", "n3", "gold"))
    private = a_job("j-1", budget=STRICT, data_class="private")
    assert Change.BUDGET_FLEX not in found(private, holds("j-0", "n3", "gold"))


def test_a_job_that_may_not_burst_is_told_what_bursting_would_do() -> None:
    option = found(a_job("j-1", budget=FLEX, burstable=False), holds("j-0", "n3", "gold"))[Change.BURST]
    assert option.lease.cluster == "cloud"


def test_the_most_gpus_that_start_sooner_are_told_and_no_fewer() -> None:
    platform = a_platform(a_lab(a_node("n1", "gold", 8)))
    told = found(a_job("j-1", gpus=8), holds("j-0", "n1", "gold", 4), platform=platform)
    assert told[Change.FEWER_GPUS].data["gpus_milli"] == 4000
    assert told[Change.FEWER_GPUS].in_s == 0.0


def test_a_team_at_its_quota_is_told_what_it_would_have_to_borrow() -> None:
    platform = a_platform(a_lab(a_node("n1", "gold", 2)), teams=[a_team("vision", {"gold": 1000}), a_team("speech")])
    option = found(a_job("j-1"), holds("j-0", "n1", "gold"), platform=platform)[Change.BORROW]
    assert option.in_s == 0.0
    assert option.data == {"team": "vision", "tier": "gold", "gpus_milli": 1000}


def test_a_job_that_can_never_start_as_it_is_is_told_what_would_start_at_all() -> None:
    platform = a_platform(a_lab(a_node("n1", "gold", 2)))
    option = found(a_job("j-1", gpus=4), platform=platform)[Change.FEWER_GPUS]
    assert option.instead_s is None
    assert option.in_s == 0.0


def test_what_stands_before_a_job_is_counted_in_gpu_hours_and_whose_end_makes_room_is_named() -> None:
    jobs = (holds("j-0", "n3", "gold"), a_job("j-1"), a_job("j-2", at=NOW + 1), a_job("j-9", tier="bronze"))
    present = Present(NOW, a_platform(a_lab()), jobs)
    courses = [course(present, runs(), number, watched=frozenset({"j-2"})) for number in range(3)]
    before = ahead(present, jobs[2], runs(), courses)
    assert before.held_gpu_hours == RUNS_S / 3600
    assert before.waiting_gpu_hours == RUNS_S / 3600
    assert before.waiting_jobs == 1
    assert before.after == {"j-1": 1.0}


def test_every_option_and_forecast_has_a_sentence_in_both_languages() -> None:
    lease = Lease("cloud", "c1", "gold", (GpuShare(0),), 3600.0)
    data = {"tier": "silver", "gpus_milli": 2000, "team": "vision"}
    for change in Change:
        option = Option(change, 600.0, 7200.0, lease, 120.0, 100.0, data)
        english = spoken_forecasts.sooner(option, "KRW", "en")
        assert "about 10 min" in english
        assert "instead of about 2 h" in english
        assert "약 10분 뒤" in spoken_forecasts.sooner(option, "KRW", "ko")
        assert (spoken_forecasts.flag(option) is None) == (change is Change.BORROW)
    for basis in Basis:
        assert "5 min" in spoken_forecasts.runs(300.0, 900.0, basis, "en")
        assert "5분" in spoken_forecasts.runs(300.0, 900.0, basis, "ko")
    assert spoken_forecasts.short(0.0, 0.2, "en", start=True) == "now"
    assert spoken_forecasts.short(0.0, 65.0, "ko", start=True) == "지금 – 1분"
    assert spoken_forecasts.short(0.0, 0.2, "en") == "5 s"  # a run is no moment
    none = Accuracy(0, None, None)
    assert spoken_forecasts.starts(0.0, 0.2, none, "en") == "Starts at any moment."
    assert spoken_forecasts.starts(0.0, 65.0, none, "ko") == "곧 시작하고, 10번 중 9번은 1분 안에 시작합니다."
    told = spoken_forecasts.starts(1500.0, 4200.0, Accuracy(214, 0.91, 240.0), "en")
    assert told == (
        "Starts in about 25 min; nine times in ten within 1 h 15 min. "
        "Of the last 214 estimates, 91% started within theirs; median error 4 min."
    )
    for name in ("disabled", "not_burstable", "data_stays", "strict", "amount", "team_budget", "wait"):
        assert spoken_forecasts.not_there((name,), 600.0, "en") != name
        assert spoken_forecasts.not_there((name,), 600.0, "ko") != name
