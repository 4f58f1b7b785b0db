"""What is said of forecasts, in English and Korean: when a job starts, how long it runs, what would start it sooner.

The trap: a forecast that reads like a promise is taken for one, so a start is never told without the time that nine of
ten keep to, and figures are rounded to what they are worth.
"""

from __future__ import annotations

from dure.amounts import duration, moment, money
from dure.core.forecast.record import Accuracy
from dure.core.forecast.runtimes import Basis
from dure.core.queueing.whatif import Ahead, Change, Option
from dure.core.wording import Told, amount_of, gpus, josa

_STEPS = ((60.0, 5.0), (600.0, 60.0), (3600.0, 300.0), (6 * 3600.0, 900.0), (86_400.0, 3600.0))
_DAY_STEP_S = 6 * 3600.0
_ENOUGH = 10  # of fewer estimates a percentage says nothing

_SOON_S = 5.0
_HARDLY = 0.005
_NOW_S = 1.0  # what is free is begun on within milliseconds
_HARD = {
    "en": {
        "disabled": "bursting is switched off",
        "not_burstable": "needs --burst",
        "data_stays": "its data must stay here",
        "strict": "needs --budget flex",
        "amount": "costs more than its budget",
        "team_budget": "costs more than the team has left",
    },
    "ko": {
        "disabled": "버스트가 꺼져 있습니다",
        "not_burstable": "--burst가 필요합니다",
        "data_stays": "데이터를 외부로 내보낼 수 없습니다",
        "strict": "--budget flex가 필요합니다",
        "amount": "작업 예산보다 비쌉니다",
        "team_budget": "팀의 남은 예산보다 비쌉니다",
    },
}

_BASIS = {
    "en": {
        Basis.SCRIPT: "this very script",
        Basis.NAME: "your jobs of this name",
        Basis.USER: "your own jobs",
        Basis.TEAM: "the team's jobs",
        Basis.EVERYONE: "everyone's jobs",
        Basis.LIMIT: "how much of their time limit jobs use",
        Basis.DEFAULT: "the platform's default, as nothing like it ran before",
    },
    "ko": {
        Basis.SCRIPT: "이 스크립트의 이전 실행",
        Basis.NAME: "같은 이름의 내 작업",
        Basis.USER: "내 작업들",
        Basis.TEAM: "팀의 작업들",
        Basis.EVERYONE: "모든 사람의 작업들",
        Basis.LIMIT: "작업이 제한 시간을 쓰는 정도",
        Basis.DEFAULT: "비슷한 작업이 없어 플랫폼 기본값",
    },
}


def about(seconds: float, lang: str) -> str:
    """Return a span as exactly as a forecast may tell it: `25 min`, `1 h 15 min`, `2 d 6 h`."""
    step = next((step for most, step in _STEPS if seconds < most), _DAY_STEP_S)
    return duration(max(step, round(seconds / step) * step), lang)


def short(p50_s: float | None, p90_s: float | None, lang: str, *, start: bool = False) -> str:
    """Return a span for a column of a table: `25 min – 1 h 10 min`; `?` when it is not known. A `start` may be now."""
    korean = lang.startswith("ko")
    if p50_s is None:
        return "?"
    if p90_s is None:
        return f"{about(p50_s, lang)} 이상" if korean else f"over {about(p50_s, lang)}"
    now = "지금" if korean else "now"
    middle, late = (now if start and at_s < _NOW_S else about(at_s, lang) for at_s in (p50_s, p90_s))
    return middle if middle == late else f"{middle} – {late}"


def starts(p50_s: float | None, p90_s: float | None, accuracy: Accuracy, lang: str) -> str:
    """Return when a job starts and how far such words held so far, as sentences."""
    korean = lang.startswith("ko")
    if p50_s is None:
        return "지금 상태로는 언제 시작할지 알 수 없습니다." if korean else "As things stand, no start is in sight."
    middle = about(p50_s, lang)
    if p90_s is not None and p50_s < _NOW_S:
        late = about(p90_s, lang)
        if p90_s < _NOW_S:
            said = "곧 시작합니다." if korean else "Starts at any moment."
        elif korean:
            said = f"곧 시작하고, 10번 중 9번은 {late} 안에 시작합니다."
        else:
            said = f"Starts at any moment; nine times in ten within {late}."
    elif p90_s is None:
        said = f"약 {middle} 뒤 또는 그보다 늦게 시작합니다." if korean else f"Starts in about {middle} or much later."
    elif korean:
        said = f"약 {middle} 뒤 시작하고, 10번 중 9번은 {about(p90_s, lang)} 안에 시작합니다."
    else:
        said = f"Starts in about {middle}; nine times in ten within {about(p90_s, lang)}."
    told = record(accuracy, lang)
    return f"{said} {told}" if told else said


def record(accuracy: Accuracy, lang: str) -> str:
    """Return how the last estimates did as a sentence, empty while there are too few."""
    if accuracy.count < _ENOUGH or accuracy.within_p90 is None or accuracy.median_error_s is None:
        return ""
    part, error = f"{accuracy.within_p90:.0%}", duration(accuracy.median_error_s, lang)
    if lang.startswith("ko"):
        return f"최근 예측 {accuracy.count}건 중 {part}가 그 안에 시작했고, 오차 중앙값은 {error}입니다."
    return f"Of the last {accuracy.count} estimates, {part} started within theirs; median error {error}."


def deadline(deadline_at: float, now: float, chance: float, lang: str) -> str:
    """Return how likely a waiting job is done by its deadline, as a sentence."""
    at, part, korean = moment(deadline_at), f"{chance:.0%}", lang.startswith("ko")
    if deadline_at <= now:
        return f"마감({at})이 지났습니다." if korean else f"Its deadline, {at}, has passed."
    if chance < _HARDLY:
        return (
            f"지금 상태로는 마감({at})을 지킬 수 없습니다."
            if korean
            else f"As things stand, its deadline, {at}, is missed."
        )
    if korean:
        return f"지금 상태로 마감({at})까지 끝날 가능성은 {part}입니다."
    return f"As things stand, it is done by its deadline, {at}, with a chance of {part}."


def looking(lang: str) -> str:
    """Return that what helps a job is being found out."""
    if lang.startswith("ko"):
        return "앞에 무엇이 있고 어떻게 하면 더 빨리 시작하는지 알아보는 중 …"
    return "Finding out what stands before it and what would start it sooner …"


def pending(job_id: str, lang: str) -> str:
    """Return that others asked first, so that what helps a job is not computed yet, and how to ask again."""
    if lang.startswith("ko"):
        return (
            "다른 질문이 먼저 처리되고 있어, 앞에 무엇이 있고 어떻게 하면 더 빨리 시작하는지 아직 계산하지 못했습니다. "
            f"몇 초 뒤 다시 확인하세요: dure why {job_id}"
        )
    return (
        "What stands before it and what would start it sooner is not computed yet, for others asked first. "
        f"Ask again in a few seconds: dure why {job_id}"
    )


def runs(p50_s: float, p90_s: float, basis: Basis, lang: str) -> str:
    """Return how long a job runs and what that rests on, as a sentence."""
    middle, late, rests = about(p50_s, lang), about(p90_s, lang), _BASIS["ko" if lang.startswith("ko") else "en"][basis]
    if lang.startswith("ko"):
        return f"실행 시간은 약 {middle}, 10번 중 9번은 {late} 이하입니다(근거: {rests})."
    return f"Runs about {middle}, nine times in ten at most {late} (going by {rests})."


def cost(p50: float, p90: float, currency: str, lang: str) -> str:
    """Return a cost for a column of a table: `₩120 – ₩400`."""
    middle, late = money(p50, currency, lang), money(p90, currency, lang)
    return middle if middle == late else f"{middle} – {late}"


def sooner(option: Option, currency: str, lang: str) -> str:
    """Return one change that starts a job sooner, as a sentence."""
    instead = ""
    if option.instead_s is not None:
        later = about(option.instead_s, lang)
        instead = f"(지금대로면 약 {later} 뒤)" if lang.startswith("ko") else f" instead of about {later}"
    clause = helping(Told(option.told()), currency, lang, instead)
    return f"{clause[:1].upper()}{clause[1:]}."


def helping(data: Told, currency: str, lang: str, instead: str = "") -> str:
    """Return a change that was found to start a job sooner (`Option.told`) as a clause without a full stop."""
    korean = lang.startswith("ko")
    in_s, price = data.number("in_s") or 0.0, money(data.number("price") or 0.0, currency, lang)
    if in_s < _SOON_S:
        when = "지금" if korean else "now"
    else:
        when = f"약 {about(in_s, lang)} 뒤" if korean else f"in about {about(in_s, lang)}"
    if korean:
        return f"{_change_korean(data)} {when} 시작합니다{instead}. 비용은 약 {price}입니다"
    return f"{_change_english(data)} it starts {when}{instead}, for about {price}"


def flag(option: Option) -> str | None:
    """Return what to add to the command or cell, None where an administrator would have to act."""
    match option.change:
        case Change.TIER:
            return f"--tier {option.data['tier']}"
        case Change.FEWER_GPUS:
            return _fewer(Told(option.data))
        case Change.BUDGET_FLEX:
            return "--budget flex --burst"
        case Change.BURST:
            return "--burst"
        case Change.BORROW:
            return None


def _fewer(data: Told) -> str:
    nodes = data.count("nodes")
    return f"--nodes {nodes}" if nodes else f"--gpus {amount_of(data.number('gpus_milli') or 0.0)}"


def stands_before(found: Ahead, after: str | None, lang: str) -> str:
    """Return what stands before a job as a sentence; `after` names whose end makes room for it, as far as told."""
    held, waiting = f"{found.held_gpu_hours:.1f}", f"{found.waiting_gpu_hours:.1f}"
    if lang.startswith("ko"):
        said = f"실행 중인 작업이 GPU를 약 {held} GPU시간 더 쓰고, 먼저 시작할 대기 작업은 없습니다."
        if found.waiting_jobs:
            more = f"먼저 시작할 대기 작업 {found.waiting_jobs}개가 약 {waiting} GPU시간을 씁니다"
            said = f"실행 중인 작업이 GPU를 약 {held} GPU시간 더 쓰고, {more}."
        return f"{said} {josa(after, '이/가')} 끝나면 차례가 올 가능성이 큽니다." if after else said
    said = f"What runs will use about {held} GPU-hours more, and nothing that waits starts before it."
    if found.waiting_jobs:
        jobs = "1 job that starts" if found.waiting_jobs == 1 else f"{found.waiting_jobs} jobs that start"
        said = f"What runs will use about {held} GPU-hours more, and {jobs} before it about {waiting}."
    return f"{said} Most likely it starts when {after} ends." if after else said


def not_there(failing: tuple[str, ...], in_s: float, lang: str) -> str:
    """Return why a job would not begin on a public cluster, or from when on; `failing` is of a burst decision."""
    korean = lang.startswith("ko")
    hard = next((name for name in failing if name != "wait"), None)
    if hard is not None:
        return _HARD["ko" if korean else "en"].get(hard, hard)
    when = about(in_s, lang)
    if "wait" not in failing:
        return "private GPU가 먼저 빕니다" if korean else "private GPUs are free before"
    return f"{when} 뒤까지 기다려야 갈 수 있습니다" if korean else f"may go there after waiting {when}"


def _change_english(data: Told) -> str:
    cluster, tier, milli = data.text("cluster"), data.text("tier"), data.number("gpus_milli") or 0
    match data.text("code"):
        case Change.TIER:
            return f"with --tier {tier}"
        case Change.FEWER_GPUS:
            return f"with {_fewer(data)}"
        case Change.BUDGET_FLEX:
            return f"with --budget flex --burst, on {cluster},"
        case Change.BURST:
            return f"with --burst, on {cluster},"
        case _:
            more = f"{gpus(milli)} of {tier}"
            return f"if an administrator lets team {data.text('team')} have {more} more,"


def _change_korean(data: Told) -> str:
    cluster, tier, milli = data.text("cluster"), data.text("tier"), data.number("gpus_milli") or 0
    match data.text("code"):
        case Change.TIER:
            return f"--tier {josa(tier, '을/를')} 쓰면"
        case Change.FEWER_GPUS:
            return f"{josa(_fewer(data), '으로/로')} 줄이면"
        case Change.BUDGET_FLEX:
            return f"--budget flex --burst를 쓰면 {cluster}에서"
        case Change.BURST:
            return f"--burst를 쓰면 {cluster}에서"
        case _:
            more = f"{tier} {gpus(milli, 'ko')}"
            return f"관리자가 {data.text('team')} 팀에 {josa(more, '을/를')} 더 허용하면"
