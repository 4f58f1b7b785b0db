"""The Korean clauses of `sentences`, without a full stop; the same functions and codes as `spoken_english`.

The trap: words from the platform file (tiers, teams, clusters) are Latin, so particles are chosen by `josa`.
"""

from __future__ import annotations

from collections.abc import Callable

from dure.core import spoken_limits
from dure.core.wording import Told, amount_of, josa
from dure.core.wording import duration as _duration
from dure.core.wording import gpus as _gpus
from dure.core.wording import money as _money

Say = Callable[[Told, str], str]

_BURST = {
    "disabled": "버스트가 꺼져 있습니다",
    "not_burstable": "--no-burst로 제출되었습니다",
    "data_stays": "데이터를 외부로 내보낼 수 없습니다",
    "strict": "예산이 strict입니다",
    "amount": "예상 비용이 작업 예산보다 큽니다",
    "team_budget": "예상 비용이 팀의 남은 예산보다 큽니다",
}


def waiting(code: str, position: int, data: Told, currency: str) -> str:
    """Return why a job waits."""
    if code in {"WaitingForQuota", "TopologyPlacementFailed"}:
        return f"{_tier(data)} 대기 {position}번째: {_kept_out(code, data, currency)}{_no_burst(data, currency)}"
    say = WAITING.get(code)
    told = say(data, currency) if say else f"대기 중입니다({code})"
    return f"{told}{_no_burst(data, currency)}" if code in {"ExceedsMaxQuota", "NoMatchingFlavor"} else told


def helping(data: Told, currency: str) -> str:
    """Return one thing that would help."""
    say = HELPS.get(data.text("code"))
    return say(data, currency) if say else ""


def ended(code: str, data: Told, currency: str) -> str:
    """Return why a job ended or went back to the queue."""
    say = ENDED.get(code)
    said = say(data, currency) if say else f"종료되었습니다({code})"
    rank, nodes = data.number("rank"), data.names("nodes")
    if rank is None or not 0 <= rank < len(nodes) or "Rank " in said:
        return said
    return f"{said}(노드 {nodes[int(rank)]}의 rank {rank:g}에서 발생, 나머지 rank도 종료)"


def happened(kind: str, data: Told, currency: str) -> str:
    """Return what an event tells."""
    say = EVENTS.get(kind)
    return say(data, currency) if say else f"{data.text('subject', '플랫폼')}: {kind} 이벤트가 발생했습니다"


def duration(seconds: float | None) -> str:
    """Return a span in Korean."""
    return _duration(seconds, "ko")


def gpus(milli: float | None) -> str:
    """Return a number of GPUs in Korean."""
    return _gpus(milli, "ko")


def money(amount: float | None, currency: str) -> str:
    """Return an amount in Korean."""
    return _money(amount, currency, "ko")


def _kept_out(code: str, data: Told, currency: str) -> str:
    return spoken_limits.kept_out(data, currency, "ko") or _in_the_way(code, data)


def _tier(data: Told) -> str:
    return f"{data.text('tier')} 티어" if "tier" in data else "모든 티어"


def _in_the_way(code: str, data: Told) -> str:
    why = data.text("why")
    tier = _tier(data)
    if why == "ahead":
        return f"남은 GPU가 있지만 앞선 작업의 몫입니다{_past_use(data)}"
    if why == "guaranteed":
        return f"{tier}에 남은 GPU는 다른 팀에 보장된 몫입니다"
    if why == "team_quota":
        team = f"{data.text('team')} 팀" if "team" in data else "팀"
        if "quota_milli" not in data:
            return f"{josa(team, '이/가')} 할당량을 모두 사용 중입니다"
        used, quota = gpus(data.number("used_milli")), gpus(data.number("quota_milli"))
        return f"{josa(team, '이/가')} 할당량 {quota} 중 {josa(used, '을/를')} 사용 중입니다{_by(data)}"
    if why == "cluster_unavailable":
        clusters = ", ".join(data.names("clusters")) or "클러스터"
        return f"{josa(clusters, '이/가')} 지금 응답하지 않습니다"
    if why == "public_busy":
        clusters = ", ".join(data.names("clusters")) or "공용 클러스터"
        return f"{clusters}에서 빌릴 수 있는 GPU가 모두 사용 중입니다"
    if code == "TopologyPlacementFailed" or why == "not_on_one_node":
        return _apart(data)
    return _busy(data)


def _apart(data: Told) -> str:
    """Return that enough is free, but not where it would do."""
    need, free = data.number("gpus_milli"), data.number("free_milli")
    if data.number("nodes"):
        where = f"한 {data.text('topology')} 안에 " if data.text("topology") else ""
        room, nodes = data.number("fitting") or 0, data.number("nodes")
        each = f"{_tier(data)} {gpus((need or 0) / (nodes or 1))}"
        now = f"지금은 {room:g}개뿐입니다" if room else "지금은 없습니다"
        return f"{where}{each}씩 비어 있는 노드 {nodes:g}개가 필요하지만 {now}"
    where = "한 GPU" if need is not None and need < 1000 else "한 노드"
    largest = f"(최대 {gpus(data.number('largest_milli'))})" if "largest_milli" in data else ""
    return f"{_tier(data)}에 {josa(gpus(free), '이/가')} 남았지만 {where}에 모여 있지 않습니다{largest}"


def _past_use(data: Told) -> str:
    used_s = data.number("used_gpu_s") or 0.0
    return f"(최근 사용량 {used_s / 3600:.3g} GPU시간 반영)" if used_s >= 360 else ""


def _busy(data: Told) -> str:
    free, total, tier = data.number("free_milli"), data.number("total_milli"), _tier(data)
    if total is None:
        return f"{tier}의 GPU가 사용 중입니다{_by(data)}"
    if free:
        left = f"{gpus(total)} 중 {amount_of(free)}개만 남았습니다"
        return f"{josa(gpus(data.number('gpus_milli')), '이/가')} 필요하지만 {left}{_by(data)}"
    return f"{tier}의 {josa(gpus(total), '이/가')} {'모두 ' if total > 1000 else ''}사용 중입니다{_by(data)}"


def _by(data: Told) -> str:
    """Return `(사용: bob님의 j-1, speech 팀 외 2건)`."""
    names = list(dict.fromkeys(_holder(holder) for holder in data.parts("holders")))
    names = [name for name in names if name]
    if not names:
        return ""
    shown = names[:2]
    rest = max(data.count("holder_count"), len(names)) - len(shown)
    anonymous = any("job" not in holder for holder in data.parts("holders"))
    return f"(사용: {', '.join(shown)}{f' 외 {rest}건' if rest > 0 and not anonymous else ''})"


def _holder(holder: Told) -> str:
    if "job" not in holder:
        return f"{holder.text('team')} 팀" if "team" in holder else ""
    return f"{holder.text('user')}님의 {holder.text('job')}" if "user" in holder else holder.text("job")


def _no_burst(data: Told, currency: str) -> str:
    burst = data.part("burst")
    names = burst.names("failing")
    failing = [] if "strict" in names else [name for name in names if name in _BURST and name != "disabled"]
    if not failing:
        return ""
    price = ""
    if failing[0] in {"amount", "team_budget"} and "price" in burst:
        price = f"({money(burst.number('price'), currency)})"
    cluster = burst.text("cluster", "공용 클러스터")
    return f"; {josa(cluster, '으로/로')} 보낼 수 없습니다: {_BURST[failing[0]]}{price}"


def _misconfigured(data: Told, _currency: str) -> str:
    if data.text("what") == "gpus":
        count = amount_of(data.number("gpus_milli"))
        return f"{josa(count, '은/는')} 사용할 수 없는 GPU 수입니다. 취소하고 다시 제출하세요"
    kinds = {"tier": "티어", "environment": "환경", "team": "팀", "topology level": "토폴로지 단계"}
    what = f"{data.text('name')!r} {kinds.get(data.text('what'), '설정')}".strip()
    choices = f"(사용 가능: {', '.join(data.names('choices'))})" if data.names("choices") else ""
    return f"{josa(what, '이/가')} platform.yaml에서 사라졌습니다{choices}. 취소하고 다른 값으로 다시 제출하세요"


def _exceeds(data: Told, currency: str) -> str:
    if data.text("why") == "limit":
        return spoken_limits.over(data, currency, "ko")
    need = f"{_tier(data)} {gpus(data.number('gpus_milli'))}"
    if data.text("why") == "team_quota":
        quota = gpus(data.number("quota_milli"))
        return f"{josa(need, '을/를')} 요청했지만 {data.text('team', '해당')} 팀은 최대 {quota}까지 쓸 수 있습니다"
    if data.number("nodes"):
        most, where = f"{data.number('fitting') or 0:g}개", data.text("topology") or "클러스터"
        return f"{josa(_nodes(data), '을/를')} 요청했지만 한 {where}에 그런 노드는 최대 {most}입니다"
    largest = gpus(data.number("largest_milli"))
    return f"{josa(need, '을/를')} 요청했지만 가장 큰 노드에도 {largest}뿐입니다"


def _nodes(data: Told) -> str:
    """Return what a job over several nodes asks for."""
    nodes = data.number("nodes") or 1
    return f"{_tier(data)} {gpus((data.number('gpus_milli') or 0) / nodes)}씩 있는 노드 {nodes:g}개"


def _no_flavor(data: Told, _currency: str) -> str:
    if data.text("why") == "public_only":
        cluster = data.part("burst").text("cluster", "공용 클러스터")
        return f"{_tier(data)} GPU는 {cluster}에만 있고, 이 작업은 그곳으로 갈 수 없습니다"
    return f"이 플랫폼에는 {_tier(data)} GPU가 없습니다"


def _on_hold(data: Told, _currency: str) -> str:
    queue = f"{data.text('queue')} 큐" if "queue" in data else "팀의 큐"
    return f"{josa(queue, '이/가')} 보류 중입니다. 관리자가 platform.yaml에서 다시 시작해야 합니다"


def _deactivated(data: Told, _currency: str) -> str:
    return "취소하는 중입니다" if data.text("why") == "cancelling" else "비활성화되었습니다"


WAITING: dict[str, Say] = {
    "Deactivated": _deactivated,
    "OnHold": _on_hold,
    "Misconfigured": _misconfigured,
    "NoMatchingFlavor": _no_flavor,
    "ExceedsMaxQuota": _exceeds,
    "WaitingForQuota": lambda data, _currency: _in_the_way("WaitingForQuota", data),
    "TopologyPlacementFailed": lambda data, _currency: _in_the_way("TopologyPlacementFailed", data),
    "WaitingForPreemptedWorkloads": lambda data, _currency: f"자리를 내준 작업들이 GPU를 반납하는 중입니다{_by(data)}",
    "PendingEvaluation": lambda _data, _currency: "방금 제출되어 곧 결정됩니다",
}


def _other_tier(data: Told, _currency: str) -> str:
    tier = f"{data.text('tier')} 티어" if "tier" in data else "다른 티어"
    return f"지금 {josa(tier, '이/가')} 비어 있습니다: --tier {data.text('tier', 'TIER')}"


def _fewer(data: Told, _currency: str) -> str:
    most = data.number("gpus_milli")
    if data.text("now") == "False":
        return f"최대 {gpus(most)}까지 요청할 수 있습니다: --gpus {amount_of(most)}"
    return f"{gpus(most)}라면 지금 시작할 수 있습니다: --gpus {amount_of(most)}"


def _burst(data: Told, currency: str) -> str:
    cluster = data.text("cluster", "공용 클러스터")
    price = f" 약 {money(data.number('price'), currency)}에" if "price" in data else ""
    if data.text("busy") == "True":
        return f"{cluster}에 GPU가 비는 대로{price} 그곳에서 시작합니다"
    when = duration(data.number("in_s"))
    return f"먼저 비는 GPU가 없으면 {when} 뒤{price} {josa(cluster, '으로/로')} 보냅니다"


def _flex(data: Told, currency: str) -> str:
    cluster = josa(data.text("cluster", "공용 클러스터"), "으로/로")
    price = f" 약 {money(data.number('price'), currency)}에" if "price" in data else ""
    when = f" {duration(data.number('in_s'))} 뒤" if data.number("in_s") else ""
    return f"--budget flex를 쓰면{when}{price} {cluster} 갈 수 있습니다"


HELPS: dict[str, Say] = {
    "tier": _other_tier,
    "fewer_gpus": _fewer,
    "burst": _burst,
    "budget_flex": _flex,
    "wait": lambda _data, _currency: "차례가 되면 저절로 시작하니 기다리면 됩니다",
}


def _error(data: Told, _currency: str) -> str:
    value = data.text("evalue").rstrip(".")
    if data.text("ename") == "NotStarted" and value:
        return value
    return f"{data.text('ename', '예외')} 오류가 발생했습니다{': ' + value if value else ''}"


def _exit_code(data: Told, _currency: str) -> str:
    code = data.text("exit_code")
    return f"명령이 종료 코드 {josa(code, '으로/로')} 끝났습니다" if code else "명령이 오류로 끝났습니다"


def _timeout(data: Told, _currency: str) -> str:
    limit = f" {duration(data.number('timeout_s'))}" if "timeout_s" in data else ""
    return f"제한 시간{limit}에 도달해 중지되었습니다. --timeout을 늘리세요"


def _memory(data: Told, _currency: str) -> str:
    limit = data.number("memory_bytes")
    told = f"({limit / 1e9:.3g}GB)" if limit else ""
    return f"메모리 한도{told}를 넘었습니다. 메모리를 더 요청하거나 한 번에 처리하는 양을 줄이세요"


def _refused(data: Told, _currency: str) -> str:
    value = data.text("evalue").rstrip(".")
    return f"시작할 수 없었습니다{': ' + value if value else ''}"


ENDED: dict[str, Say] = {
    "Error": _error,
    "ExitCode": _exit_code,
    "Interrupted": lambda _data, _c: "중단되었습니다",
    "CancelledByUser": lambda _data, _c: "취소되었습니다",
    "Timeout": _timeout,
    "OutOfMemory": _memory,
    "Killed": lambda _data, _c: "프로세스가 강제 종료되었습니다. 출력의 끝부분을 확인하세요",
    "WorkerLost": lambda _data, _c: (
        "워커가 사라져 어디까지 실행되었는지 알 수 없습니다. 다시 제출하거나 --retries를 사용하세요"
    ),
    "StartRefused": _refused,
    "TooManyLosses": lambda _data, _c: "시작하기 전에 워커가 너무 자주 사라졌습니다. 관리자가 노드를 확인해야 합니다",
    "Preempted": lambda _data, _c: "우선하는 작업에 GPU를 내주었고 저절로 다시 시작합니다",
    "DiskFull": lambda _data, _c: "디스크가 가득 찼습니다. 공간을 확보하거나 관리자에게 요청한 뒤 다시 제출하세요",
    "NotTaken": lambda _data, _c: (
        "클러스터가 지금 작업을 받지 못합니다(디스크 부족일 수 있음). 가능해지면 저절로 시작하며 이유는 로그에 있습니다"
    ),
}


def _where(data: Told) -> str:
    node = ", ".join(data.names("nodes")) or data.text("node")
    place = "/".join(part for part in (data.text("cluster"), node) if part)
    if not place:
        return ""
    return f"{place}의 {_tier(data)} {gpus(data.number('gpus_milli'))}" if "tier" in data else place


def _at(data: Told, verb: str) -> str:
    where = _where(data)
    return f"{where}에서 {verb}" if where else verb


def _account(data: Told, currency: str) -> str:
    parts = []
    if "waited_s" in data:
        parts.append(f"대기 {duration(data.number('waited_s'))}")
    if "ran_s" in data:
        parts.append(f"실행 {duration(data.number('ran_s'))}")
    if "cost" in data:
        parts.append(f"비용 {money(data.number('cost'), currency)}")
    return f"({', '.join(parts)})" if parts else ""


def _because(data: Told, currency: str) -> str:
    return f": {ended(data.text('reason'), data, currency)}" if "reason" in data else ""


def _submitted(data: Told, _currency: str) -> str:
    name = data.text("name", data.text("subject", "작업"))
    user = f"{data.text('user')}님이" if "user" in data else "누군가"
    asks = f"({_tier(data)} {gpus(data.number('gpus_milli'))})" if "gpus_milli" in data else ""
    return f"{user} {name}{asks} 작업을 제출했습니다"


def _decided(data: Told, currency: str) -> str:
    waited = f"{duration(data.number('waited_s'))} 대기 후 " if "waited_s" in data else ""
    allowed = f"허용 대기 {duration(data.number('allowed_wait_s'))}{_rule(data)}" if "allowed_wait_s" in data else ""
    price = f"예상 비용 {money(data.number('predicted_cost'), currency)}" if "predicted_cost" in data else ""
    facts = ", ".join(fact for fact in (allowed, price, _stayed(data, currency)) if fact)
    cluster = josa(data.text("cluster", "공용 클러스터"), "으로/로")
    return f"{waited}{cluster} 보내기로 했습니다{f'({facts})' if facts else ''}"


def _rule(data: Told) -> str:
    if data.text("rule") != "proportional" or "rule_wait_s" not in data or "predicted_gpu_hours" not in data:
        return ""
    return f"(GPU {data.number('predicted_gpu_hours'):.3g}시간, 시간당 {duration(data.number('rule_wait_s'))})"


def _stayed(data: Told, currency: str) -> str:
    until, now = data.number("stays_until"), data.number("now")
    if until is None or now is None:
        return ""
    price = f"{money(data.number('stays_cost'), currency)}에 " if data.number("stays_cost") else ""
    when = "바로" if until <= now else f"일러도 {duration(until - now)} 뒤"
    return f"기다렸다면 {price}{when} 시작"


def _admitted(data: Told, _currency: str) -> str:
    return f"{duration(data.number('waited_s'))} 대기 후 {_where(data) or 'GPU'} 사용이 승인되었습니다"


def _asked(data: Told, what: str) -> str:
    return f"{data.text('actor')}님이 {what}" if "actor" in data else f"누군가 {what}"


_RULES = {
    "InClusterQueue": "우선순위가 더 높은",
    "InCohortReclamation": "팀에 보장된 몫을 돌려받는",
    "InCohortFairSharing": "팀의 사용 몫이 더 적은",
    "InCohortReclaimWhileBorrowing": "우선순위가 더 높은",
}


def _preemptor(data: Told) -> str:
    who = f"{data.text('by_team')} 팀의 작업" if "by_team" in data else "우선하는 작업"
    who = data.text("by") or who
    why = _RULES.get(data.text("rule"), "")
    return f"재시도 횟수를 쓰지 않고 다시 대기하며, {why} {who}에" if why else f"다시 대기하며, {who}에"


def _lost(data: Told) -> str:
    lost_s, ran_s = data.number("lost_s"), data.number("ran_s")
    if lost_s is None or ran_s is None or lost_s >= ran_s:
        return ""
    return f" ({duration(lost_s)} 전에 중간 결과를 저장했습니다)"


EVENTS: dict[str, Say] = {
    "job.submitted": _submitted,
    "job.waiting": lambda data, c: waiting(
        data.text("code", "PendingEvaluation"), data.count("position") or 1, data, c
    ),
    "job.burst_decided": _decided,
    "job.admitted": _admitted,
    "job.delayed": lambda data, c: f"아직 시작하지 못했습니다{_because(data, c)}",
    "job.starting": lambda data, _c: _at(data, "시작하는 중입니다"),
    "job.running": lambda data, _c: _at(data, "실행 중입니다"),
    "job.kept": lambda data, _c: (
        f"셀 {int(data.number('cells') or 1)}개를 실행하고 다음 셀을 기다리며 GPU를 유지합니다"
    ),
    "job.resumed": lambda data, _c: f"유지하던 프로세스에서 {int(data.number('cells') or 2)}번째 셀을 실행합니다",
    "job.checkpointed": lambda _data, _c: "중간 결과를 저장했습니다. GPU를 내주더라도 그 뒤에 계산한 것만 잃습니다",
    "job.preempted": lambda data, _c: (
        f"{_preemptor(data)} {josa(gpus(data.number('gpus_milli') or 1000), '을/를')} 내줍니다{_lost(data)}"
    ),
    "job.promised": lambda _data, _c: "다른 작업이 GPU를 내주며, 그 작업이 멈추는 대로 시작합니다",
    "job.requeued": lambda data, c: f"대기열로 돌아왔습니다{_because(data, c)}",
    "job.succeeded": lambda data, c: f"성공했습니다{_account(data, c)}",
    "job.failed": lambda data, c: f"실패했습니다{_account(data, c)}{_because(data, c)}",
    "job.cancelled": lambda data, c: f"취소되었습니다{_account(data, c)}{_because(data, c)}",
    "job.cancel_requested": lambda data, _c: _asked(data, "취소를 요청했습니다"),
    "job.interrupted": lambda data, _c: _asked(data, "중단시켰습니다"),
    "platform.loaded": lambda data, _c: f"플랫폼 파일을 불러왔습니다{_file(data)}",
    "platform.refused": lambda data, _c: f"플랫폼 파일을 거부하고 이전 설정을 유지합니다: {_problem(data)}",
    "leader.changed": lambda data, _c: f"이제 {josa(data.text('holder', '다른 프로세스'), '이/가')} 리더입니다",
    "reservation.made": lambda data, _c: spoken_limits.happened("reservation.made", data, "ko"),
    "reservation.released": lambda data, _c: spoken_limits.happened("reservation.released", data, "ko"),
    "reservation.ended": lambda data, _c: spoken_limits.happened("reservation.ended", data, "ko"),
    "blobs.collected": lambda data, _c: f"사용하지 않는 블롭 {data.count('count')}개를 삭제했습니다",
    "session.saved": lambda data, _c: f"{data.text('actor', '누군가')}님의 노트북을 세션으로 저장하고 있습니다",
    "session.restored": lambda data, _c: (
        f"{data.text('actor', '누군가')}님이 세션의 변수 {data.count('restored')}개를 복원했습니다"
    ),
    "session.shared": lambda data, _c: (
        f"이제 {', '.join(data.names('shared'))}님이 세션을 읽을 수 있습니다"
        if data.names("shared")
        else "세션 공유를 해제했습니다"
    ),
    "session.renamed": lambda _d, _c: "노트북을 옮기거나 삭제하여 세션 이름이 바뀌었습니다",
    "session.deleted": lambda data, _c: f"{_reason(data)}세션의 버전 {data.count('versions')}개를 삭제했습니다",
}


def _reason(data: Told) -> str:
    return {"expired": "오래 사용하지 않아 ", "quota": "공간을 확보하려고 "}.get(data.text("why"), "")


def _file(data: Told) -> str:
    return f"(버전 {data.text('digest')[:8]})" if "digest" in data else ""


def _problem(data: Told) -> str:
    return (data.text("error") or "올바르지 않습니다").rstrip(".")
