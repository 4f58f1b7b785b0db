"""The order in which the heads of all queues are processed in one cycle: classical, or a tournament of shares.

The trap: the tournament is run anew after every head, because each accepted head changes the shares of the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dure.core.queueing.kueue.candidates import queue_time
from dure.core.queueing.kueue.entries import Entry
from dure.core.queueing.kueue.objects import Settings
from dure.core.queueing.kueue.tree import Group, Node, Share


def classical_key(entry: Entry, settings: Settings) -> tuple[Any, ...]:
    """Return what heads are ordered by without fair sharing: less borrowing, then priority, then time."""
    info, gates = entry.info, settings.gates
    order = info.order
    return (
        info.reserved_ns is None,
        not (entry.preemptor and gates.prioritize_preemptors),
        entry.assignment.borrowing,
        -info.priority if gates.priority_sorting_within_cohort else 0,
        queue_time(info.workload, settings) if order is None else order[1],
    )


def in_order(entries: list[Entry], settings: Settings) -> Iterator[Entry]:
    """Yield the heads in the order of processing; the caller accepts one before it asks for the next."""
    if not settings.fair_sharing:
        yield from entries if len(entries) == 1 else sorted(entries, key=lambda entry: classical_key(entry, settings))
        return
    waiting = {entry.node.name: entry for entry in entries}
    while waiting:
        first = next(iter(waiting.values()))
        winner: Entry | None = first
        if first.node.parent is not None:
            root = first.node.parent.root
            winner = _tournament(root, waiting, _shares(root, waiting), settings)
        assert winner is not None
        del waiting[winner.node.name]
        yield winner


Shares = dict[tuple[str, str], Share]


def _shares(root: Group, waiting: dict[str, Entry]) -> Shares:
    """Return each head's share, below every cohort on its way to the root, as if it were accepted."""
    shares: Shares = {}
    for queue in root.subtree_queues():
        entry = waiting.get(queue.name)
        if entry is None:
            continue
        usage = entry.usage()
        entry.node.take(usage)
        node: Node = entry.node
        for group in entry.node.path():
            shares[group.name, entry.info.key] = node.share()
            node = group
        entry.node.give(usage)
    return shares


def _tournament(group: Group, waiting: dict[str, Entry], shares: Shares, settings: Settings) -> Entry | None:
    found = [_tournament(child, waiting, shares, settings) for child in group.groups]
    found += [waiting.get(queue.name) for queue in group.queues]
    candidates = [entry for entry in found if entry is not None]
    if not candidates:
        return None
    return min(candidates, key=lambda entry: _fair_key(entry, shares[group.name, entry.info.key], settings))


def _fair_key(entry: Entry, share: Share, settings: Settings) -> tuple[Any, ...]:
    gates = settings.gates
    borrows = gates.fair_sharing_prioritize_non_borrowing and share.borrows_any_of(entry.usage())
    return (
        not (gates.prioritize_preemptors and entry.preemptor),
        borrows,
        share.order,
        -entry.info.priority if gates.priority_sorting_within_cohort else 0,
        queue_time(entry.info.workload, settings),
    )
