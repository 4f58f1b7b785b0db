"""Why something waits or ended: reason codes and the verdict that carries them.

Waiting codes are Kueue's tokens (KEP-10852) word for word; ending codes are ours. The sentences for people are made
from a code and its `data` in `sentences` (English and Korean); a test holds that every code has one in each language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Waiting(StrEnum):
    """Why a queued job is not admitted, most severe first (Kueue's precedence)."""

    DEACTIVATED = "Deactivated"
    ON_HOLD = "OnHold"
    MISCONFIGURED = "Misconfigured"
    NO_MATCHING_FLAVOR = "NoMatchingFlavor"
    EXCEEDS_MAX_QUOTA = "ExceedsMaxQuota"
    WAITING_FOR_QUOTA = "WaitingForQuota"
    TOPOLOGY_PLACEMENT_FAILED = "TopologyPlacementFailed"
    WAITING_FOR_PREEMPTED_WORKLOADS = "WaitingForPreemptedWorkloads"
    PENDING_EVALUATION = "PendingEvaluation"


class Ended(StrEnum):
    """Why a job failed, was cancelled, went back to the queue or does not start on the GPUs that it has."""

    ERROR = "Error"
    EXIT_CODE = "ExitCode"
    INTERRUPTED = "Interrupted"
    CANCELLED_BY_USER = "CancelledByUser"
    TIMEOUT = "Timeout"
    OUT_OF_MEMORY = "OutOfMemory"
    KILLED = "Killed"
    WORKER_LOST = "WorkerLost"
    START_REFUSED = "StartRefused"
    TOO_MANY_LOSSES = "TooManyLosses"
    PREEMPTED = "Preempted"
    DISK_FULL = "DiskFull"
    NOT_TAKEN = "NotTaken"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why one job waits: a code, its place, what is missing, who is in the way, what would help.

    `position` is 1 for the next in line; `blockers` are job ids in the way (holders first, then those ahead);
    `data` holds the numbers of the sentence (`tier`, `gpus_milli`, `free_milli`, `quota_milli`, …) as plain JSON;
    `helps` are things the user could do, each `{"code": …, …}`: `tier` (another tier is free now), `fewer_gpus`,
    `burst` (with `in_s` and `price`), `budget_flex`, `wait`. With `found` it is one of `whatif.Change` that was tried
    and starts the job in `in_s` for `price`.
    """

    code: Waiting
    position: int
    data: Mapping[str, Any] = field(default_factory=dict)
    blockers: tuple[str, ...] = ()
    helps: tuple[Mapping[str, Any], ...] = ()
