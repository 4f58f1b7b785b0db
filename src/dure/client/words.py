"""How the user's side says what becomes of a job, in English and Korean.

The trap: notebook and command line show the same lines, so a line is changed here and nowhere else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dure.amounts import duration, money
from dure.client.moments import own_times

if TYPE_CHECKING:
    from dure.wire.messages import JobView, LeaseView, WhyView

SHOWN_NODES = 4
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
_PHASES_KO = {
    "queued": "대기",
    "admitted": "배정됨",
    "starting": "시작 중",
    "running": "실행 중",
    "succeeded": "성공",
    "failed": "실패",
    "cancelled": "취소됨",
}


def phase_word(phase: str, lang: str) -> str:
    """Return the phase's name for people."""
    return _PHASES_KO.get(phase, phase) if lang == "ko" else phase


def state_word(job: JobView, lang: str) -> str:
    """Return the phase for people; of a process that is kept for a next cell, since when it is idle."""
    if job.kept_since is None or job.phase != "running":
        return phase_word(job.phase, lang)
    since = time.strftime("%H:%M:%S", time.localtime(job.kept_since))
    return f"유지 중({since}부터 유휴)" if lang == "ko" else f"kept, idle since {since}"


def gpus_word(gpus: float, nodes: int = 1) -> str:
    """Return a number of GPUs without needless zeros, as "2×4" for 2 nodes with 4 each."""
    return f"{gpus:g}" if nodes == 1 else f"{nodes}×{gpus:g}"


def nodes_word(lease: LeaseView) -> str:
    """Return where a lease is, such as "lab/node-1" or "lab/node-1, node-2"."""
    names = [lease.node, *(other.node for other in lease.others)]
    more = f" +{len(names) - SHOWN_NODES}" if len(names) > SHOWN_NODES else ""
    return f"{lease.cluster}/{', '.join(names[:SHOWN_NODES])}{more}"


def place(job: JobView, lang: str = "en") -> str:
    """Return where the job runs or ran, such as "gold on lab/node-1 (simulated)"; "" when nowhere yet."""
    if job.lease is None:
        return ""
    lease = job.lease
    simulated = (" (시뮬레이션)" if lang == "ko" else " (simulated)") if lease.simulated else ""
    join = " · " if lang == "ko" else " on "
    return f"{lease.tier}{join}{nodes_word(lease)}{simulated}"


def waiting_line(job: JobView, lang: str = "en") -> str:
    """Return the one line to show while a job has not ended: its place and why it waits, or where it is."""
    korean = lang == "ko"
    if job.goal == "cancel":
        return f"{job.id}: 취소하는 중" if korean else f"{job.id}: cancelling"
    if job.phase == "queued":
        if job.verdict is None:
            return f"{job.id}: 대기 중" if korean else f"{job.id}: queued"
        return f"{job.id}: {told(job, lang)}"  # the sentence begins with the place in line
    where = place(job, lang)
    return " · ".join(filter(None, [f"{job.id}: {state_word(job, lang)}", where, _apart(job), job.reason_sentence]))


def told(job: JobView, lang: str = "en") -> str:
    """Return why a job waits and when it is expected to start, or how it ended, in this machine's own time."""
    if job.verdict is None:
        return own_times(job.reason_sentence or "")
    return own_times(job.verdict.sentence) + starts_in(job, lang)


def starts_in(job: JobView, lang: str = "en") -> str:
    """Return when a waiting job is expected to start, to follow a sentence; "" where nothing is known."""
    if job.eta is None or job.eta.p50_at is None:
        return ""
    return f" 예상 시작: {job.eta.short} 뒤." if lang == "ko" else f" Starts in {job.eta.short}."


def why_lines(story: WhyView, lang: str = "en") -> list[str]:
    """Return what is told of a waiting job below its reason: start, what is missing, what stands before, what helps."""
    return [*missing_lines(story, lang), *sooner_lines(story)]


def missing_lines(story: WhyView, lang: str = "en") -> list[str]:
    """Return what is known of a waiting job at once: when it starts and what is missing."""
    korean = lang == "ko"
    lines = [own_times(story.job.eta.sentence)] if story.job.eta else []
    for lacks in story.deficits:
        if lacks.more <= 0:
            continue
        quota = "" if lacks.quota is None or lacks.used is None else f"{lacks.used:g}/{lacks.quota:g}"
        if korean:
            quota = f", 팀 할당량 {quota} 사용" if quota else ""
            lines.append(f"{lacks.tier}: GPU {lacks.more:g}개 부족(여유 {lacks.free:g}개{quota})")
        else:
            quota = f", the team uses {quota} of its quota" if quota else ""
            more = f"{lacks.more:g} more GPU{'s' if lacks.more > 1 else ''}"
            lines.append(f"{lacks.tier}: {more} needed ({lacks.free:g} free{quota})")
    return lines


def sooner_lines(story: WhyView, before: JobView | None = None) -> list[str]:
    """Return what has to be found out first: whether it ends in time, what stands before it, what helps.

    `before`: the job as it was when its reason was told.
    """
    job = story.job
    lines = [own_times(line) for line in (story.deadline, story.ahead and story.ahead.sentence) if line]
    lines += [f"→ {own_times(option.sentence)}" for option in story.sooner]
    # The sentence names what helps most; only the rest is new.
    reason = (before or job).verdict
    said = reason.sentence.lower() if reason else ""
    helps = [told for told in (job.verdict.helps if job.verdict else ()) if told.rstrip(".").lower() not in said]
    lines += [f"→ {own_times(told)}" for told in helps]
    return [*lines, story.pending] if story.pending else lines


def end_line(job: JobView, lang: str = "en") -> str:
    """Return the one line at the end: what became of it, tier and place, waited, ran, cost, GPU freed."""
    korean = lang == "ko"
    where = place(job, lang)
    parts = [f"{job.id} {phase_word(job.phase, lang)}"]
    if where:
        parts += [where, _apart(job)] if job.isolation else [where]
    parts.append(f"대기 {duration(job.waited_s, 'ko')}" if korean else f"waited {duration(job.waited_s)}")
    if where:
        parts.append(f"실행 {duration(job.ran_s, 'ko')}" if korean else f"ran {duration(job.ran_s)}")
        parts.append(money(job.cost, job.currency, lang))
        parts.append("GPU 반납됨" if korean else "GPU freed")
    return " · ".join(parts)


def _apart(job: JobView) -> str:
    return (job.isolation or "").rstrip(".")


def size_word(size_bytes: float) -> str:
    """Return a size such as "12.3 MB" (1 MB = 1,000,000 bytes)."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable: GB takes every size")
