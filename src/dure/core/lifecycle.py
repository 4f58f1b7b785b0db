"""The only place where a job's phase changes: one transition table and the function that applies it.

Who decides *that* a signal is due (retry, give up, preempt) is the loop; this module decides only what a signal does.
The trap: an unknown (phase, signal) pair is a defect of the caller and raises, it is never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from dure.core.copies import altered
from dure.core.events import Draft
from dure.core.model import Goal, Job, Lease, Phase, Promise
from dure.core.pricing import cost_of
from dure.core.reasons import Ended


class Signal(StrEnum):
    """What can happen to a job."""

    ADMIT = "admit"
    START = "start"
    BEGIN = "begin"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    REQUEUE = "requeue"


_ENDINGS = {Signal.SUCCEED: Phase.SUCCEEDED, Signal.FAIL: Phase.FAILED, Signal.CANCEL: Phase.CANCELLED}

TABLE: Mapping[Phase, Mapping[Signal, Phase]] = {
    Phase.QUEUED: {Signal.ADMIT: Phase.ADMITTED, Signal.FAIL: Phase.FAILED, Signal.CANCEL: Phase.CANCELLED},
    Phase.ADMITTED: {
        Signal.START: Phase.STARTING,
        Signal.REQUEUE: Phase.QUEUED,
        Signal.FAIL: Phase.FAILED,
        Signal.CANCEL: Phase.CANCELLED,
    },
    Phase.STARTING: {Signal.BEGIN: Phase.RUNNING, Signal.REQUEUE: Phase.QUEUED, **_ENDINGS},
    Phase.RUNNING: {Signal.REQUEUE: Phase.QUEUED, **_ENDINGS},
    Phase.SUCCEEDED: {},
    Phase.FAILED: {},
    Phase.CANCELLED: {},
}

EVENT_OF_PHASE: Mapping[Phase, str] = {
    Phase.QUEUED: "job.requeued",
    Phase.ADMITTED: "job.admitted",
    Phase.STARTING: "job.starting",
    Phase.RUNNING: "job.running",
    Phase.SUCCEEDED: "job.succeeded",
    Phase.FAILED: "job.failed",
    Phase.CANCELLED: "job.cancelled",
}


class UnknownTransitionError(Exception):
    """A signal that the table does not know for the job's phase; carries what is known of the job."""

    def __init__(self, job: Job, signal: Signal) -> None:
        super().__init__(
            f"job {job.id} (attempt {job.attempt}, version {job.version}) is {job.phase} and cannot {signal}; "
            f"allowed: {', '.join(TABLE[job.phase]) or 'nothing'}"
        )
        self.job = job
        self.signal = signal


@dataclass(frozen=True, slots=True)
class Step:
    """A job after a signal, and the event that tells of it."""

    job: Job
    event: Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What came with a signal: the lease for `admit`, a reason code, a result, whether it counts as a loss.

    `at` is when it happened, if that was before it was seen: seconds since the epoch.
    """

    lease: Lease | None = None
    reason: str | None = None
    result: Mapping[str, Any] | None = None
    lost: bool = False
    at: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def advance(job: Job, signal: Signal, now: float, facts: Facts | None = None) -> Step:
    """Return the job after `signal` (as `after`) and the event to write with it."""
    facts = facts or Facts()
    changed = after(job, signal, now, facts)
    return Step(changed, Draft(EVENT_OF_PHASE[changed.phase], job.id, _told(job, changed, facts)))


def after(job: Job, signal: Signal, now: float, facts: Facts) -> Job:
    """Return the job after `signal`, for time that nobody lives in and no event tells of.

    Raises UnknownTransitionError when the table has no such step. Leaving a phase that holds GPUs settles the lease's
    cost and running time; `now` is seconds since the epoch.
    """
    target = TABLE[job.phase].get(signal)
    if target is None:
        raise UnknownTransitionError(job, signal)
    changes: dict[str, Any] = {"phase": target, "reason": facts.reason, "version": job.version + 1, "kept_since": None}
    if target is Phase.ADMITTED:
        if facts.lease is None:
            raise UnknownTransitionError(job, signal)
        changes |= {
            "lease": facts.lease,
            "promise": None,
            "attempt": job.attempt + 1,
            "admitted_at": now,
            "waited_s": job.waited_s + max(0.0, now - job.queued_at),
        }
    elif target is Phase.RUNNING:
        changes["began_at"] = _between(job.admitted_at, facts.at, now)
    elif target is Phase.QUEUED:
        changes |= _settled(job, now) | {
            "lease": None,
            "preempted_by": None,
            "queued_at": now,
            "admitted_at": None,
            "began_at": None,
            "checkpointed_at": None,
            "losses": job.losses + int(facts.lost and job.phase is Phase.RUNNING),
            "false_starts": job.false_starts + int(facts.lost and job.phase is not Phase.RUNNING),
        }
    elif target.terminal:
        changes |= _settled(job, now) | {
            "preempted_by": None,
            "promise": None,
            "ended_at": now,
            "result": facts.result,
            "failure": dict(facts.data),
        }
        if job.phase is Phase.QUEUED:
            changes["waited_s"] = job.waited_s + max(0.0, now - job.queued_at)
    return altered(job, **changes)


def submitted(job: Job) -> Draft:
    """Return the event of a job's submission: all that a replay of the log needs to submit it again."""
    data = {
        "name": job.name,
        "user": job.user,
        "team": job.team,
        "tier": job.request.tier,
        "gpus_milli": job.request.gpus_milli,
        "priority": job.priority,
        "environment": job.environment,
        "nodes": job.request.nodes,
        "burstable": job.burstable,
        "budget": job.budget.mode.value,
        "data_class": job.data_class,
        "deadline_at": job.deadline_at,
        "timeout_s": job.timeout_s,
        "predicted_s": job.predicted_s,
    }
    return Draft("job.submitted", job.id, data)


def ask_cancel(job: Job, reason: str) -> Step | None:
    """Return the job with goal `cancel`, or None when it has that goal or has ended."""
    if job.phase.terminal or job.goal is Goal.CANCEL:
        return None
    after = replace(job, goal=Goal.CANCEL, version=job.version + 1)
    return Step(after, Draft("job.cancel_requested", job.id, {"reason": reason, "team": job.team, "user": job.user}))


def preempt(job: Job, by: Job, reason: str, now: float) -> Step:
    """Return the job with the one that it must give its GPUs to, and the event; `reason` is Kueue's.

    It keeps phase and lease until it is gone. The event names the other job only to its own team.
    """
    if not job.phase.holds_gpus or job.lease is None:
        raise UnknownTransitionError(job, Signal.REQUEUE)
    after = replace(job, preempted_by=by.id, version=job.version + 1)
    began = job.began_at if job.began_at is not None else now
    data = {"team": job.team, "user": job.user, "attempt": job.attempt, "reason": Ended.PREEMPTED, "rule": reason}
    data |= {"by_team": by.team, "tier": job.lease.tier, "gpus_milli": job.lease.gpus_milli, "ran_s": now - began}
    data["lost_s"] = now - max(began, job.checkpointed_at or began)
    if by.team == job.team:
        data["by"] = by.id
    return Step(after, Draft("job.preempted", job.id, data))


def delayed(job: Job) -> Step:
    """Return the admitted job that its cluster cannot take now; the next step of its life takes the reason away."""
    after = replace(job, reason=Ended.NOT_TAKEN, version=job.version + 1)
    data = {"team": job.team, "user": job.user, "attempt": job.attempt, "reason": Ended.NOT_TAKEN}
    return Step(after, Draft("job.delayed", job.id, data))


def promised(job: Job, promise: Promise) -> Step:
    """Return the waiting job for which others are stopped, and the event, which names none of them."""
    after = replace(job, promise=promise, version=job.version + 1)
    gpus_milli, victims = job.request.gpus_milli, len(promise.victims)
    data = {"team": job.team, "user": job.user, "tier": promise.tier, "gpus_milli": gpus_milli, "victims": victims}
    return Step(after, Draft("job.promised", job.id, data))


def keep(job: Job, since: float | None, cells: int) -> Step:
    """Return the job whose process is kept idle `since` then, or (None) runs a next cell; `cells` were run so far.

    It is used and paid for like one that runs: the phase stays.
    """
    after = replace(job, kept_since=since, version=job.version + 1)
    lease = job.lease.gpus_milli if job.lease else 0
    data = {"team": job.team, "user": job.user, "attempt": job.attempt, "cells": cells, "gpus_milli": lease}
    return Step(after, Draft("job.resumed" if since is None else "job.kept", job.id, data))


def checkpoint(job: Job, at: float, now: float) -> Step:
    """Return the job whose code said `at` that its work is saved; a time outside its attempt so far is brought in."""
    at = _between(job.began_at, at, now)
    after = replace(job, checkpointed_at=at, version=job.version + 1)
    data = {"team": job.team, "user": job.user, "attempt": job.attempt, "saved_at": at}
    return Step(after, Draft("job.checkpointed", job.id, data))


def diagram() -> str:
    """Return the transition table as a Mermaid state diagram (docs/ARCHITECTURE.md is checked against it)."""
    lines = ["stateDiagram-v2", "    [*] --> queued: submit"]
    for phase, steps in TABLE.items():
        lines += [f"    {phase} --> {target}: {signal}" for signal, target in steps.items()]
        if not steps:
            lines.append(f"    {phase} --> [*]")
    return "\n".join(lines) + "\n"


def until(job: Job, now: float) -> Job:
    """Return the job with its wait, running time and cost counted to `now`, in seconds since the epoch."""
    if job.phase is Phase.QUEUED:
        return replace(job, waited_s=job.waited_s + max(0.0, now - job.queued_at))
    return job if job.phase.terminal else replace(job, **_settled(job, now))


def _between(earliest: float | None, at: float | None, now: float) -> float:
    """A cluster's clock may differ from ours: what it tells lies between the lease and now."""
    return now if at is None else min(now, max(at, now if earliest is None else earliest))


def _settled(job: Job, now: float) -> dict[str, Any]:
    if job.lease is None or job.admitted_at is None:
        return {}
    ran_s = 0.0 if job.began_at is None else max(0.0, now - job.began_at)
    held_s = max(0.0, now - job.admitted_at)
    return {"ran_s": job.ran_s + ran_s, "cost": job.cost + cost_of(job.lease, held_s)}


def _told(before: Job, after: Job, facts: Facts) -> dict[str, Any]:
    data: dict[str, Any] = {"team": after.team, "user": after.user, "attempt": after.attempt}
    lease = after.lease or before.lease
    if lease is not None:
        data |= {
            "cluster": lease.cluster,
            "node": lease.node,
            "tier": lease.tier,
            "gpus_milli": lease.gpus_milli,
        }
        data["gpus"] = [gpu.index for gpu in lease.gpus]
        if lease.others:
            data["nodes"] = [share.node for share in lease.shares]
    if facts.reason is not None:
        data["reason"] = facts.reason
    if after.phase is Phase.ADMITTED:
        data["waited_s"] = after.waited_s
    if after.phase.terminal or after.phase is Phase.QUEUED:
        data |= {"waited_s": after.waited_s, "ran_s": after.ran_s, "cost": after.cost}
    return data | dict(facts.data)
