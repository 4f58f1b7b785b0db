"""One head of a queue on its way through a cycle: its assignment, its targets, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from dure.core.queueing.kueue.assignment import Assignment
from dure.core.queueing.kueue.candidates import Target
from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.objects import Amounts
from dure.core.queueing.kueue.pending import GENERIC
from dure.core.queueing.kueue.snapshot import QueueNode

NOT_NOMINATED, SKIPPED, GATED, NOMINATED, ASSUMED = "", "skipped", "preemptionGated", "nominated", "assumed"
EVICTED = "evicted"


@dataclass(slots=True, eq=False)
class Entry:
    """A head within a cycle. `message` and `reason` say why it waits; `requeue` where it goes.

    One that `waits` has neither quota nor victims, whatever becomes of those before it.
    """

    info: Info
    node: QueueNode
    assignment: Assignment
    targets: list[Target]
    message: str
    preemptor: bool = False
    waits: bool = False
    status: str = NOT_NOMINATED
    reason: str = ""
    requeue: str = GENERIC
    preempting: tuple[Target, ...] = ()
    migrating: Info | None = None
    replacing: Info | None = None

    def record(self, assignment: Assignment, targets: list[Target]) -> None:
        """Take another assignment, with its message and how far its scan came."""
        self.assignment = assignment
        self.targets = targets
        self.message = assignment.message
        self.info.progress = assignment.resumable

    def usage(self) -> Amounts:
        """Return what the head adds to its queue; nothing when it holds quota already."""
        return {} if self.info.reserved_ns is not None else self.assignment.usage

    def skip(self, message: str, reason: str, *, keep_progress: bool) -> None:
        """Leave the head for a later cycle."""
        self.status = SKIPPED
        self.message = message
        self.reason = reason
        if not keep_progress:
            self.info.progress = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a workload waits: Kueue's reason token and message. `entry` is the last evaluation, if there was one.

    `as_like` names another workload of the same shape whose evaluation stands for this one.
    """

    reason: str
    message: str
    queue: str = ""
    entry: Entry | None = None
    as_like: str | None = None
