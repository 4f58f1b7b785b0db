"""A job or an event as a table row, and back: exactly what went in comes out.

Nothing else knows how a job is written down. The trap: a new nested dataclass in `core.model.Job` must be named in
`job_of`; the round-trip property test fails until it is. Text is JSON in ASCII, so that no database refuses a
character.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from dure.core.events import Draft, Event
from dure.core.model import Budget, BudgetMode, Goal, GpuShare, Job, Kind, Lease, NodeShare, Phase, Promise, Request

if TYPE_CHECKING:
    from sqlalchemy import Row

_APART = frozenset({"payload", "references", "result"})
_DOCUMENTED = tuple(field.name for field in fields(Job) if field.name not in _APART)
_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def job_row(job: Job) -> dict[str, Any]:
    """Return every column of `job`. Raises TypeError when payload or result hold more than JSON can say."""
    return job_changes(job) | {
        "id": job.id,
        "user": job.user,
        "team": job.team,
        "request_key": job.request_key,
        "submitted_at": job.submitted_at,
        "blobs": _text(job.references),
        "payload": _text(job.payload),
    }


def job_changes(job: Job) -> dict[str, Any]:
    """Return the columns of `job` that a commit may write."""
    return {
        "phase": str(job.phase),
        "goal": str(job.goal),
        "queued_at": job.queued_at,
        "ended_at": job.ended_at,
        "cost": job.cost,
        "version": job.version,
        "document": _text({name: getattr(job, name) for name in _DOCUMENTED}),
        "result": None if job.result is None else _text(job.result),
    }


def job_of(row: Row[*tuple[Any, ...]]) -> Job:
    """Return the job of a row: whole when the row has the columns `payload`, `blobs` and `result`, else listed."""
    document = json.loads(row.document)
    lease = document["lease"]
    document["kind"] = Kind(document["kind"])
    document["phase"] = Phase(document["phase"])
    document["goal"] = Goal(document["goal"])
    document["request"] = Request(**document["request"])
    document["budget"] = Budget(BudgetMode(document["budget"]["mode"]), document["budget"]["limit"])
    if lease is not None:
        lease["gpus"] = tuple(GpuShare(**gpu) for gpu in lease["gpus"])
        # Rows of versions before gangs name no others.
        lease["others"] = tuple(
            NodeShare(other["node"], tuple(GpuShare(**gpu) for gpu in other["gpus"]))
            for other in lease.get("others", ())
        )
        document["lease"] = Lease(**lease)
    promise = document.get("promise")
    if promise is not None:
        nodes, victims = tuple(promise["nodes"]), tuple(promise["victims"])
        document["promise"] = Promise(promise["cluster"], promise["tier"], nodes, victims, promise["until"])
    if "payload" in row._fields:
        document["payload"] = json.loads(row.payload)
        document["references"] = tuple(json.loads(row.blobs))
        document["result"] = None if row.result is None else json.loads(row.result)
    return Job(**document)


def event_row(event: Event) -> dict[str, Any]:
    """Return every column of `event`; `team` is taken out of its data so that it can be asked for."""
    team = event.data.get("team")
    return {
        "seq": event.seq,
        "at": event.at,
        "actor": event.actor,
        "subject": event.subject,
        "kind": event.kind,
        "team": team if isinstance(team, str) else None,
        "data": _text(event.data),
    }


def event_of(row: Row[*tuple[Any, ...]]) -> Event:
    """Return the event of a row."""
    return Event(row.seq, row.at, row.actor, row.subject, row.kind, json.loads(row.data))


def numbered(drafts: tuple[Draft, ...], last_seq: int, at: float, actor: str) -> list[Event]:
    """Return `drafts` as the events whose last one has the number `last_seq`."""
    first = last_seq - len(drafts) + 1
    return [
        Event(seq, at, actor, draft.subject, draft.kind, dict(draft.data)) for seq, draft in enumerate(drafts, first)
    ]


def digests(*texts: str | None) -> set[str]:
    """Return everything in JSON `texts` that may be a blob's digest; too many is harmless, too few loses data."""
    return {digest for text in texts if text for digest in _DIGEST.findall(text)}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} {value!r:.100} cannot be stored: only what JSON knows can")
