"""What is remembered of flavor assignments, so that the same question in the same state is not worked out again.

An assignment follows from the workload's shape, from what the accounts that it looks at use, from whether anybody in
the queue ranks below it, and from what preemption could do where these do not tell. The trap: who lets anything else
decide about an assignment must put it into the shape or into the state, or two different questions share an answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.objects import FlavorResource
from dure.core.queueing.kueue.snapshot import QueueNode
from dure.core.queueing.kueue.tree import Account

LIMIT = 50_000
"""So many answers and shapes of a whole engine are remembered, about 1.5 kB each; then all are forgotten at once."""

Answer = tuple[int, int]
Asked = tuple[FlavorResource, int, Answer]


@dataclass(frozen=True, slots=True)
class Question:
    """What preemption could do for an amount has to be asked anew; by the answer, what follows."""

    key: FlavorResource
    amount: int
    after: dict[Answer, Any]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of one shape in one queue: by state, an assignment (and whether it hunts) or a question.

    An assignment hunts when victims are to be searched for it. Who holds quota of the queue and has a priority below
    `bar` might be one. Queues of a cohort that differ by name only share what is `known`.
    """

    queue: QueueNode
    watched: tuple[Account, ...]
    bar: float
    known: dict[tuple[int, ...], Any]

    def state(self) -> tuple[int, ...]:
        """Return what the accounts use now, and whether somebody in the queue ranks below the shape."""
        state = [account.usage for account in self.watched]
        if self.bar != -math.inf:
            state.append(self.queue.lowest_priority() < self.bar)
        return tuple(state)


@dataclass(slots=True)
class Memory:
    """All that an engine remembers, by queue (`QueueNode.remembered`) and shape; `count` of it, within the limit."""

    limit: int = LIMIT
    count: int = 0
    _queues: dict[int, QueueNode] = field(default_factory=dict)
    _shared: dict[object, dict[tuple[int, ...], Any]] = field(default_factory=dict)

    def begin(self, queue: QueueNode, info: Info) -> Remembered | None:
        """Begin to remember the workload's shape in a queue; None where nodes or no shape decide too."""
        shape = info.shape
        if shape is None or queue.places:
            return None
        self._grow()
        shared = self._shared.setdefault((_kind(queue), shape), {})
        known = queue.remembered[shape] = Remembered(queue, _watched(queue, info), bar_of(queue, info), shared)
        self._queues[id(queue)] = queue
        return known

    def keep(self, known: Remembered, state: tuple[int, ...], asked: Sequence[Asked], result: object) -> None:
        """Keep the result for a state and the answers that led to it."""
        self._grow()
        steps: dict[Any, Any] = known.known
        at: Any = state
        for key, amount, answer in asked:
            steps = steps.setdefault(at, Question(key, amount, {})).after
            at = answer
        steps[at] = result

    def clear(self) -> None:
        """Forget everything."""
        for queue in self._queues.values():
            queue.remembered.clear()
        self._queues.clear()
        self._shared.clear()
        self.count = 0

    def _grow(self) -> None:
        if self.count >= self.limit:
            self.clear()
        self.count += 1


def _kind(queue: QueueNode) -> object:
    """Return what decides about assignments in a queue beside the accounts' usage: equal for equal queues."""
    spec = queue.spec
    return id(queue.parent), spec.groups, tuple(sorted(spec.quotas.items(), key=str)), spec.fungibility, spec.preemption


def bar_of(queue: QueueNode, info: Info) -> float:
    """Return the priority from which on nobody in the queue can be preempted by the workload."""
    policy = queue.spec.preemption.within_queue
    return -math.inf if policy == "Never" else info.priority + (policy == "LowerOrNewerEqualPriority")


def _watched(queue: QueueNode, info: Info) -> tuple[Account, ...]:
    """Return the accounts that an assignment may look at: of the queue and of all cohorts above."""
    resources = {name for one in info.requests for name in one.amounts} | {"pods"}
    watched: dict[int, Account] = {}
    for group in queue.spec.groups:
        for key in ((flavor, name) for flavor in group.flavors for name in sorted(group.covered & resources)):
            above: Account | None = queue.account(key)
            while above is not None:
                watched[id(above)] = above
                above = above.parent
    return tuple(watched.values())
