"""Compares what is on record of one job with what its executor reports: which signals are due, which acts.

Pure. Here, and nowhere else, it is decided whether an attempt that vanished is retried or given up: an attempt whose
user code never began is safe to start anew; one that began may have had effects and is only repeated when the
submission allowed retries. The trap: no observation from an executor that did not answer means *unknown*, not lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dure.core.lifecycle import Facts, Signal
from dure.core.model import Goal, Job, Phase
from dure.core.reasons import Ended
from dure.ports import Observation
from dure.wire.cells import MAX_KEEP_S
from dure.wire.messages import MAX_KEPT_SESSION_S


@dataclass(frozen=True, slots=True)
class Rules:
    """When the loop gives up. Seconds."""

    max_losses: int = 5
    grace_s: float = 10.0
    start_timeout_s: float = 2400.0  # longer than a worker may take to restore a job's data
    overtime_s: float = 60.0
    kept_session_s: float = MAX_KEPT_SESSION_S
    checkpoints_every_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Act:
    """Something to ask of a job's executor after the transaction."""

    what: Literal["start", "stop", "forget"]
    job_id: str
    attempt: int
    cluster: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A process began to wait for a next cell (`since` then, after `cells` of them), or runs one (None)."""

    since: float | None
    cells: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """Signals to apply in order, then whether the process is kept and its work was saved, then acts."""

    signals: tuple[tuple[Signal, Facts], ...] = ()
    acts: tuple[Act, ...] = ()
    kept: Kept | None = None
    checkpointed_at: float | None = None


NOTHING = Judgement()
_FAILURES: Mapping[str, Ended] = {
    "error": Ended.ERROR,
    "exit": Ended.EXIT_CODE,
    "timeout": Ended.TIMEOUT,
    "memory": Ended.OUT_OF_MEMORY,
    "killed": Ended.KILLED,
    "refused": Ended.START_REFUSED,
    "disk_full": Ended.DISK_FULL,
}


def compare(  # noqa: PLR0911 -- one return per case, in order of precedence
    job: Job, seen: Observation | None, *, answered: bool, now: float, rules: Rules
) -> Judgement:
    """Return what is due for one job that has not ended.

    `seen` is the observation of exactly the job's current attempt, or None; `answered` tells whether its executor was
    reached this time; `now` is seconds since the epoch.
    """
    if job.phase is Phase.QUEUED:
        if job.goal is Goal.CANCEL:
            return Judgement(((Signal.CANCEL, Facts(reason=Ended.CANCELLED_BY_USER)),))
        return NOTHING
    if not answered or job.lease is None:
        return NOTHING
    if job.preempted_by is not None and job.goal is Goal.RUN:
        gone = _preempted(job, seen)
        if gone is not None:
            return gone
    if seen is None:
        return _absent(job, rules)
    if seen.state == "ended":
        return _ended(job, seen, now, rules)
    if seen.state == "lost":
        return _lost(job, began=seen.began, rules=rules, began_at=seen.began_at)
    caught_up = _catch_up(job, began=seen.began, at=seen.began_at)
    if job.goal is Goal.CANCEL or job.preempted_by is not None or _overdue(job, now, rules) or _stuck(seen, now, rules):
        return Judgement(caught_up, (_act(job, "stop"),))
    if seen.state == "pending":  # asking again is harmless, and a new control plane must hand adopted attempts over
        return Judgement(caught_up, (_act(job, "start"),))
    changed = job.keep_s > 0 and seen.began and seen.kept_since != job.kept_since
    kept = Kept(seen.kept_since, seen.cells) if changed else None
    return Judgement(caught_up, kept=kept, checkpointed_at=_checkpoint(job, seen, now, rules))


def _checkpoint(job: Job, seen: Observation, now: float, rules: Rules) -> float | None:
    """Return when the job saved its work, where that is news; a job that saves all the time is told of now and then."""
    at = seen.checkpointed_at
    if at is None or job.began_at is None:
        return None
    known = job.began_at if job.checkpointed_at is None else job.checkpointed_at + rules.checkpoints_every_s
    return at if min(at, now) > known else None


def _preempted(job: Job, seen: Observation | None) -> Judgement | None:
    """Return what is due for a job that must give its GPUs away, None while it runs or when it ended by itself.

    It waits again whether its code began or not, and uses up no retry: it was our wish that it stopped.
    """
    facts = Facts(reason=Ended.PREEMPTED)
    if seen is not None and seen.state == "ended":
        if (seen.result or {}).get("status", "killed") != "killed":
            return None
        caught_up = _catch_up(job, began=seen.began, at=seen.began_at)
        return Judgement((*caught_up, (Signal.REQUEUE, facts)), (_act(job, "forget"),))
    if seen is None or seen.state == "lost":
        return Judgement(((Signal.REQUEUE, facts),), (_act(job, "stop"), _act(job, "forget")))
    return None


def refused(job: Job, seen: Observation | None, why: str) -> Judgement | None:
    """Return what is due when the attempt can never be started, None when it went on nevertheless.

    One that was accepted before (by an earlier control plane, say) is stopped first: its GPUs are free only then.
    """
    facts = _facts_of("refused", {"status": "refused", "error": {"ename": "", "evalue": why}})
    if seen is None:
        return Judgement(((Signal.FAIL, facts),)) if job.phase is Phase.ADMITTED else None
    if seen.state == "pending":
        return Judgement(_catch_up(job, began=False), (_act(job, "stop"),))
    if _killed_before_it_began(seen) and job.goal is Goal.RUN:
        return Judgement((*_catch_up(job, began=False), (Signal.FAIL, facts)), (_act(job, "forget"),))
    return None


def clusterless(job: Job, rules: Rules) -> Judgement:
    """Return what is due for a job on a cluster that is neither in the platform file nor has an executor any more."""
    return _lost(job, began=job.phase is Phase.RUNNING, rules=rules)


def _absent(job: Job, rules: Rules) -> Judgement:
    if job.phase is Phase.ADMITTED:
        if job.goal is Goal.CANCEL:
            facts = Facts(reason=Ended.CANCELLED_BY_USER)
            return Judgement(((Signal.CANCEL, facts),), (_act(job, "stop"),))
        return Judgement(acts=(_act(job, "start"),))
    return _lost(job, began=job.phase is Phase.RUNNING, rules=rules)


def _catch_up(job: Job, *, began: bool, at: float | None = None) -> tuple[tuple[Signal, Facts], ...]:
    signals: list[tuple[Signal, Facts]] = []
    if job.phase is Phase.ADMITTED:
        signals.append((Signal.START, Facts()))
    if began and job.phase is not Phase.RUNNING:
        signals.append((Signal.BEGIN, Facts(at=at)))
    return tuple(signals)


def _ended(job: Job, seen: Observation, now: float, rules: Rules) -> Judgement:
    if _killed_before_it_began(seen) and job.goal is Goal.RUN:
        return _lost(job, began=False, rules=rules)  # nobody's code ran, so it is as good as never started
    result = seen.result or {}
    status = str(result.get("status", "killed"))
    if status == "killed" and _overdue(job, now, rules):
        status = "timeout"
    facts = _facts_of(status, result)
    if status == "ok":
        signal = Signal.SUCCEED
    elif status == "interrupted" or job.goal is Goal.CANCEL:
        signal = Signal.CANCEL
        reason = Ended.CANCELLED_BY_USER if job.goal is Goal.CANCEL else Ended.INTERRUPTED
        facts = Facts(reason=reason, result=result, data=facts.data)
    else:
        signal = Signal.FAIL
    return Judgement((*_catch_up(job, began=seen.began, at=seen.began_at), (signal, facts)), (_act(job, "forget"),))


def _killed_before_it_began(seen: Observation) -> bool:
    return seen.state == "ended" and not seen.began and (seen.result or {}).get("status", "killed") == "killed"


def _facts_of(status: str, result: Mapping[str, Any]) -> Facts:
    if status == "ok":
        return Facts(result=result)
    data: dict[str, Any] = {}
    error = result.get("error")
    if isinstance(error, Mapping):
        data |= {"ename": str(error.get("ename", ""))[:100], "evalue": str(error.get("evalue", ""))[:500]}
    if result.get("exit_code") is not None:
        data["exit_code"] = result["exit_code"]
    if type(result.get("rank")) is int:
        data["rank"] = result["rank"]
    return Facts(reason=_FAILURES.get(status, Ended.KILLED), result=result, data=data)


def _lost(job: Job, *, began: bool, rules: Rules, began_at: float | None = None) -> Judgement:
    acts = (_act(job, "stop"), _act(job, "forget"))
    caught_up = _catch_up(job, began=began, at=began_at)
    if job.goal is Goal.CANCEL:
        return Judgement((*caught_up, (Signal.CANCEL, Facts(reason=Ended.CANCELLED_BY_USER))), acts)
    if began and job.losses >= job.retries:
        return Judgement((*caught_up, (Signal.FAIL, Facts(reason=Ended.WORKER_LOST))), acts)
    if not began and job.false_starts >= rules.max_losses:
        return Judgement((*caught_up, (Signal.FAIL, Facts(reason=Ended.TOO_MANY_LOSSES))), acts)
    facts = Facts(reason=Ended.WORKER_LOST, lost=True)
    return Judgement((*caught_up, (Signal.REQUEUE, facts)), acts)


def _overdue(job: Job, now: float, rules: Rules) -> bool:
    """The worker keeps the time limit itself; this catches one that did not.

    A kept job's limit counts for each of its cells, the last of which may begin at the end of the session.
    """
    if job.began_at is None or job.timeout_s is None:
        return False
    kept_s = rules.kept_session_s + MAX_KEEP_S if job.keep_s > 0 else 0.0
    return now > job.began_at + kept_s + job.timeout_s + rules.grace_s + rules.overtime_s


def _stuck(seen: Observation, now: float, rules: Rules) -> bool:
    """An attempt that never begins must not hold its GPUs for ever."""
    return seen.state == "pending" and seen.accepted_at is not None and now > seen.accepted_at + rules.start_timeout_s


def _act(job: Job, what: Literal["start", "stop", "forget"]) -> Act:
    cluster = job.lease.cluster if job.lease else ""
    return Act(what, job.id, job.attempt, cluster)
