"""The one event log's record: audit trail, story, live-update cursor and usage ledger in one.

`kind` is one of KINDS and `data` is plain JSON; sentences are made from them by `reasons` and the portal's catalogue,
never stored. The trap: an event without the team it concerns cannot be shown to anyone but administrators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = frozenset(
    {
        "job.submitted",
        "job.waiting",
        "job.burst_decided",
        "job.admitted",
        "job.delayed",
        "job.starting",
        "job.running",
        "job.kept",
        "job.resumed",
        "job.checkpointed",
        "job.preempted",
        "job.promised",
        "job.requeued",
        "job.succeeded",
        "job.failed",
        "job.cancelled",
        "job.cancel_requested",
        "job.interrupted",
        "platform.loaded",
        "platform.refused",
        "leader.changed",
        "blobs.collected",
        "reservation.made",
        "reservation.released",
        "reservation.ended",
        "session.saved",
        "session.restored",
        "session.shared",
        "session.renamed",
        "session.deleted",
    }
)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before the store gave it a sequence number and a time."""

    kind: str
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse kinds that no reader knows."""
        if self.kind not in KINDS:
            raise ValueError(f"unknown event kind {self.kind!r}; add it to core.events.KINDS")


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log. `seq` grows without gaps in commit order; `at` is seconds since the epoch."""

    seq: int
    at: float
    actor: str
    subject: str
    kind: str
    data: Mapping[str, Any]
