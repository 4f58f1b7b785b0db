"""This platform's own past jobs as a trace: from the running platform, or from the folder that holds its state.

Reads only; a folder's database is opened beside a running platform without disturbing it. The trap: an event's number
says nothing of its time, so the first one to read is searched for by halving, which needs times that do not go back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.core.model import WHOLE_GPU_MILLI
from dure.core.reservations import Reservation
from dure.sim.documents import events_trace
from dure.sim.policies import PolicyError
from dure.sim.traces import Trace

if TYPE_CHECKING:
    from dure.client import Client

PAGE = 200
Record = Mapping[str, Any]
Page = Callable[[int, int], list[Record]]
"""Returns events after a number, in order, so many at most."""


def of_platform(client: Client, since: float) -> Trace:
    """Return the jobs that were submitted to a running platform since then, as far as the caller may see them."""
    last = client.events(after=-1, limit=1).last_seq

    def page(after: int, limit: int) -> list[Record]:
        return [event.model_dump() for event in client.events(after=after, limit=limit).events]

    trace = events_trace(client.login.url, _logged(page, last, since))
    listed = client.reservations().reservations
    return _with_older(
        trace,
        (
            Reservation(
                id=one.id,
                team=one.team,
                tier=one.tier,
                gpus_milli=round(one.gpus * WHOLE_GPU_MILLI),
                begins_at=one.begins_at,
                ends_at=one.ends_at,
                made_by="",
                made_at=float("-inf"),
                user=one.user,
            )
            for one in listed
            if one.phase in {"planned", "on", "used"}
        ),
    )


def of_folder(folder: Path, database_url: str, since: float) -> Trace:
    """Return the jobs that were submitted since then, from a platform's state. Raises PolicyError without one."""
    from sqlalchemy.exc import SQLAlchemyError

    from dure.adapters.store import SqlStore
    from dure.ports import StoreError

    if database_url.startswith("sqlite") and not (folder / "dure.sqlite").is_file():
        raise PolicyError("no_log", folder=folder)
    store = SqlStore(database_url)

    def page(after: int, limit: int) -> list[Record]:
        return [
            {"seq": e.seq, "at": e.at, "subject": e.subject, "kind": e.kind, "data": e.data}
            for e in store.events(after, limit)
        ]

    try:
        trace = events_trace(str(folder), _logged(page, store.last_seq(), since))
        return _with_older(trace, (one for one in store.reservations(since) if one.freed_at is None))
    except (SQLAlchemyError, StoreError):
        raise PolicyError("no_log", folder=folder) from None
    finally:
        store.close()


def _with_older(trace: Trace, standing: Iterable[Reservation]) -> Trace:
    """Return the trace with reservations that still stand and of which its part of the log tells nothing."""
    known = {one.id for one in trace.reservations}
    older = (replace(one, made_at=float("-inf"), used_at=None) for one in standing if one.id not in known)
    return replace(trace, reservations=(*trace.reservations, *older))


def _logged(page: Page, last: int, since: float) -> Iterator[tuple[int, Record]]:
    """Yield the events from `since` on, each with its number."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        found = page(middle, 1)
        if found and found[0]["at"] < since:
            low = middle + 1
        else:
            high = middle
    while True:
        events = page(low, PAGE)
        if not events:
            return
        for event in events:
            yield int(event["seq"]), event
        low = int(events[-1]["seq"])
