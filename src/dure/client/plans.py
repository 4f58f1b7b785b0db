"""How a plan (`--plan`) is shown, the same in a terminal and a notebook: a title, a table and a few lines below.

The trap: the tier that was asked for is marked by a word and not by colour alone, and what never starts says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dure.amounts import money
from dure.client.moments import own_times
from dure.client.words import gpus_word

if TYPE_CHECKING:
    from dure.wire.plans import PlanRow, PlanView

_COLUMNS = {
    "en": ("TIER", "WHERE", "ASKED", "STARTS IN", "RUNS", "COST", "NOTE"),
    "ko": ("티어", "위치", "요청", "예상 시작", "실행", "비용", "비고"),
}
_DEADLINE = {"en": "IN TIME", "ko": "기한 내"}


def plan_title(plan: PlanView, lang: str) -> str:
    """Return the heading; it says that nothing was submitted."""
    gpus = gpus_word(plan.gpus, plan.nodes)
    if lang == "ko":
        return f"계획: {plan.name} (GPU {gpus}개, {plan.team} 팀). 제출하지 않았습니다."
    several = plan.gpus > 1 or plan.nodes > 1
    return f"Plan of {plan.name} ({gpus} GPU{'s' if several else ''}, team {plan.team}). Nothing was submitted."


def plan_columns(plan: PlanView, lang: str) -> tuple[str, ...]:
    """Return the columns; the chance to be done in time only where there is a deadline."""
    told = "ko" if lang == "ko" else "en"
    *columns, note = _COLUMNS[told]
    return (*columns, note) if plan.deadline_at is None else (*columns, _DEADLINE[told], note)


def plan_rows(plan: PlanView, lang: str) -> list[tuple[str, ...]]:
    """Return the cells of each row."""
    return [_row(plan, row, lang) for row in plan.rows]


def plan_below(plan: PlanView, lang: str) -> list[str]:
    """Return what is said below the table: what the runtime rests on, and how well such words held so far."""
    said = [plan.runtime]
    errors = plan.errors
    if errors.ours is not None and errors.count >= 10:
        other = "" if errors.last_two is None else _beside(errors.last_two, lang)
        said.append(
            f"최근 예측 실행 시간 {errors.count}건의 오차는 중앙값 {errors.ours:.1f}배입니다{other}."
            if lang == "ko"
            else f"Of the last {errors.count} predicted runtimes, the middle one was off by a factor of "
            f"{errors.ours:.1f}{other}."
        )
    return [*said, plan.record] if plan.record else said


def _beside(last_two: float, lang: str) -> str:
    if lang == "ko":
        return f"(직전 두 실행의 평균: {last_two:.1f}배)"
    return f" (the mean of one's last two runs: {last_two:.1f})"


def _row(plan: PlanView, row: PlanRow, lang: str) -> tuple[str, ...]:
    korean = lang == "ko"
    simulated = (" (시뮬레이션)" if korean else " (simulated)") if row.simulated else ""
    asked = ("예" if korean else "yes") if row.asked else ""
    note = own_times(row.note)
    if row.eta is not None and row.chance < 1.0:
        part = f"{row.chance:.0%}"
        note = f"이 티어를 요청하면 {part}가 여기서 시작" if korean else f"{part} of the time it starts here"
    elif row.eta is None and not note:
        note = "다른 곳에서 먼저 시작" if korean else "starts elsewhere before"
    cells = (
        row.tier,
        f"{row.cluster}{simulated}",
        asked,
        row.eta.short if row.eta else "–",
        row.runs,
        _span(money(row.cost_p50, plan.currency, lang), money(row.cost_p90, plan.currency, lang)),
    )
    if plan.deadline_at is None:
        return (*cells, note)
    return (*cells, "–" if row.deadline_chance is None else f"{row.deadline_chance:.0%}", note)


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} – {high}"
