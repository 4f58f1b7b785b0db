"""How limits and reservations are said, in English and Korean: clauses without a full stop.

The trap: data of other versions lacks keys; what is absent is not told, and no sentence ever fails.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dure.core.model import WHOLE_GPU_MILLI
from dure.core.wording import Told, gpus, josa, money

_GPUS = "gpus"


def limited(data: Told, currency: str, lang: str) -> str:
    """Return why a limit keeps a job out."""
    limit, person = data.text("limit"), data.text("whose") == "user"
    korean = lang == "ko"
    team, user = data.text("team", "?"), data.text("user", "?")
    used = amount(limit, data.number("used") or 0.0, currency, lang)
    most = amount(limit, data.number("most") or 0.0, currency, lang)
    need = amount(limit, data.number("need") or 0.0, currency, lang)
    if korean:
        who = f"{team} 팀의 {josa(user, '은/는')}" if person else josa(f"{team} 팀", "은/는")
        what = label(limit, lang)
        return f"{who} {what} 한도 {most} 중 {used}를 쓰고 있고 이 작업에 {need}가 필요합니다"
    who = f"{user} in team {team}" if person else f"team {team}"
    return f"{who} is at {used}, the limit of {label(limit, lang)} is {most}, and this needs {need}"


def over(data: Told, currency: str, lang: str) -> str:
    """Return that a job asks for more than its limit ever allows."""
    limit, person = data.text("limit"), data.text("whose") == "user"
    need = amount(limit, data.number("need") or 0.0, currency, lang)
    most = amount(limit, data.number("most") or 0.0, currency, lang)
    team = data.text("team", "?")
    if lang == "ko":
        whose = f"{team} 팀 구성원 한 사람" if person else f"{team} 팀"
        return f"{need}를 요청했지만 {whose}의 {label(limit, lang)} 한도는 {most}입니다"
    whose = f"one person of team {team}" if person else f"team {team}"
    return f"It asks for {need}, but the limit of {label(limit, lang)} for {whose} is {most}"


def last(lang: str) -> str:
    """Return that a team's soft budget is used up."""
    if lang == "ko":
        return "팀이 이번 달 예산을 다 써서 다른 팀의 작업이 모두 먼저 실행됩니다(dure usage)."
    return "Its team has used up this month's budget, so it runs after all other teams' jobs (dure usage)."


def label(limit: str, lang: str) -> str:
    """Return what a limit is called."""
    found = _LABELS.get(limit)
    return limit if found is None else found[lang == "ko"]


def amount(limit: str, value: float, currency: str, lang: str) -> str:
    """Return an amount in the limit's own unit."""
    if limit == _GPUS:
        return gpus(value, lang)
    if limit == "budget":
        return money(value, currency, lang)
    if limit == "jobs":
        count = f"{value:g}"
        return f"작업 {count}개" if lang == "ko" else f"{count} job{'' if value == 1 else 's'}"
    hours = f"{value:.3g}"
    return f"{hours} GPU시간" if lang == "ko" else f"{hours} GPU-hours"


def number(limit: str, value: float) -> float:
    """Return an amount as its unit has it: GPUs and not thousandths of them."""
    return value / WHOLE_GPU_MILLI if limit == _GPUS else value


def reserved(data: Told, lang: str) -> str:
    """Return that GPUs are kept for a reservation."""
    count, tier, team = gpus(data.number("reserved_milli"), lang), data.text("tier", "?"), data.text("for_team", "?")
    if lang == "ko":
        return f"{tier}의 {count}가 {team} 팀에 예약되어 있어 그 전에 끝날 수 없습니다"
    verb = "is" if (data.number("reserved_milli") or 0) <= WHOLE_GPU_MILLI else "are"
    return f"{count} of {tier} {verb} reserved for team {team}, and it is not predicted to end before"


_LABELS = {
    "jobs": ("jobs at once", "동시 작업"),
    _GPUS: ("GPUs at once", "동시 GPU"),
    "gpu_hours_per_day": ("GPU-hours a day (UTC)", "하루 GPU시간(UTC)"),
    "budget_gpu_hours": ("GPU-hours a month", "월 GPU시간"),
    "budget": ("the monthly budget", "월 예산"),
}


def kept_out(data: Told, currency: str, lang: str) -> str | None:
    """Return why a limit or a reservation keeps a job out now, None when it is neither."""
    why = data.text("why")
    if why == "limit":
        return limited(data, currency, lang)
    return reserved(data, lang) if why == "reserved" else None


def happened(kind: str, data: Told, lang: str) -> str:
    """Return what became of a reservation."""
    what = kind.removeprefix("reservation.")
    unused = data.text("why") == "unused"
    count, tier, team = gpus(data.number("gpus_milli"), lang), data.text("tier", "?"), data.text("team", "?")
    begins, ends = (moment(data.number(key)) for key in ("begins_at", "ends_at"))
    if lang == "ko":
        whose = f"{team} 팀" + (f" {data.text('for_user')}님" if "for_user" in data else "")
        which = f"{whose}의 {tier} {count} 예약({begins}부터 {ends}까지)"
        if what == "made":
            return f"{data.text('actor', '누군가')}님이 {josa(which, '을/를')} 했습니다"
        if what == "released":
            return f"{josa(which, '이/가')} {'사용되지 않아 ' if unused else ''}해제되었습니다"
        return f"{josa(which, '이/가')} 끝났습니다"
    whose = f"team {team}" + (f" ({data.text('for_user')})" if "for_user" in data else "")
    which = f"{count} of {tier} for {whose} from {begins} to {ends}"
    if what == "made":
        return f"{data.text('actor', 'Somebody')} reserved {which}"
    if what == "released":
        return f"The reservation of {which} was released{', because nobody used it' if unused else ''}"
    return f"The reservation of {which} ended"


def moment(at: float | None) -> str:
    """Return a time in UTC, said to be so."""
    return "?" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
