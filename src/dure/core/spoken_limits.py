"""How limits and reservations are said, in English and Korean: clauses without a full stop.

The trap: data of other versions lacks keys; what is absent is not told, and no sentence ever fails.
"""

from __future__ import annotations

from dure.amounts import moment
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
    if "alone" in data:
        return _alone(data, need, most, lang)
    predicted, day = limit not in {"jobs", _GPUS}, f"{_moment(data, 'until')}" if "until" in data else ""
    if korean:
        who = f"{team} 팀의 {josa(f'{user}님', '은/는')}" if person else josa(f"{team} 팀", "은/는")
        told = f"{who} {label(limit, lang)} 한도 {most} 중 {josa(used, '을/를')} 쓰고 있"
        if limit == "jobs":
            return f"{told}습니다"
        needs = f"이 작업에는 {josa(need, '이/가')} {'더 필요할 것으로 예측됩니다' if predicted else '더 필요합니다'}"
        return f"{told}고 {needs}{f'({day}에 새로 셉니다)' if day else ''}"
    who = f"{user} in team {team}" if person else f"team {team}"
    if limit == "jobs":
        return f"{who} has {used} on GPUs, and the limit of {label(limit, lang)} is {most}"
    at = f"{who} {'is at' if predicted else 'holds'} {used}{' with what runs' if predicted else ''}"
    at = f"{at}, the limit of {label(limit, lang)} is {most}"
    needs = f"this {'is predicted to need' if predicted else 'needs'} {need} more"
    return f"{at}, and {needs}{f'; the count begins anew at {day}' if day else ''}"


def _alone(data: Told, need: str, most: str, lang: str) -> str:
    """Return that the job by itself is predicted to be over a limit, and what to do."""
    limit, team, person = data.text("limit"), data.text("team", "?"), data.text("whose") == "user"
    if lang == "ko":
        whose = f"{team} 팀 구성원 한 사람" if person else f"{team} 팀"
        said = f"{whose}의 {label(limit, lang)} 한도는 {most}인데 이 작업 하나에만 {josa(need, '이/가')} 필요할 것으로"
        return f"{said} 예측되므로, --timeout이나 GPU를 줄이거나 관리자에게 한도를 높여 달라고 해야 합니다"
    whose = f"one person of team {team}" if person else f"team {team}"
    said = f"the limit of {label(limit, lang)} for {whose} is {most}, and this job alone is predicted to need {need}"
    return f"{said}: it needs a shorter --timeout, fewer GPUs, or an administrator who raises the limit"


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
    return f"{hours} GPU시간" if lang == "ko" else f"{hours} GPU-hour{'' if hours == '1' else 's'}"


def number(limit: str, value: float) -> float:
    """Return an amount as its unit has it: GPUs and not thousandths of them."""
    return value / WHOLE_GPU_MILLI if limit == _GPUS else value


def reserved(data: Told, lang: str) -> str:
    """Return that GPUs are kept for a reservation; one that is still to come, that the job would not end before."""
    count, tier, team = gpus(data.number("reserved_milli"), lang), data.text("tier", "?"), data.text("for_team", "?")
    comes, ends = "begins_at" in data, _moment(data, "until") if "until" in data else ""
    if lang == "ko":
        whose = f"{team} 팀 {data.text('for_user')}님에게" if "for_user" in data else f"{team} 팀에"
        since = f"{_moment(data, 'begins_at')}부터 " if comes else ""
        kept = f"{tier}의 {josa(count, '이/가')} {since}{f'{ends}까지 ' if ends else ''}{whose} 예약되어 있"
        return f"{kept}고, 이 작업은 그 전에 끝날 것으로 예측되지 않습니다" if comes else f"{kept}습니다"
    verb = "is" if (data.number("reserved_milli") or 0) <= WHOLE_GPU_MILLI else "are"
    whose = f"{data.text('for_user')} of team {team}" if "for_user" in data else f"team {team}"
    kept = f"{count} of {tier} {verb} reserved for {whose}"
    if comes:
        span = f"from {_moment(data, 'begins_at')} to {ends}" if ends else f"from {_moment(data, 'begins_at')}"
        return f"{kept} {span}, and this job is not predicted to end before"
    return f"{kept} until {ends}" if ends else kept


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
    begins, ends = _moment(data, "begins_at"), _moment(data, "ends_at")
    if lang == "ko":
        whose = f"{team} 팀" + (f" {data.text('for_user')}님" if "for_user" in data else "")
        which = f"{whose}의 {tier} {count} 예약({begins}부터 {ends}까지)"
        if what == "made":
            return f"{data.text('actor', '누군가')}님이 {which}을 했습니다"
        if what == "released":
            return f"{which}이 {'사용되지 않아 ' if unused else ''}해제되었습니다"
        return f"{which}이 끝났습니다"
    whose = f"team {team}" + (f" ({data.text('for_user')})" if "for_user" in data else "")
    which = f"{count} of {tier} for {whose} from {begins} to {ends}"
    if what == "made":
        return f"{data.text('actor', 'Somebody')} reserved {which}"
    if what == "released":
        return f"The reservation of {which} was released{', because nobody used it' if unused else ''}"
    return f"The reservation of {which} ended"


def _moment(data: Told, key: str) -> str:
    at = data.number(key)
    return "?" if at is None else moment(at)
