"""One scheduler with Kueue's semantics, kept between decisions: objects and workloads in, cycles out.

`configure` says what there is, `submit` lets a workload wait, `adopt` takes over one that holds quota, `cycle` decides
about the heads, `finish` and `release` give quota back and wake those whom that may help. `trial` undoes everything
done inside it. The trap: a preempted workload holds its quota until `release` says that its pods are gone; who does not
call it waits for ever.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from dure.core.copies import altered
from dure.core.queueing.kueue import status
from dure.core.queueing.kueue.cycle import Cycle, CycleResult, Refused
from dure.core.queueing.kueue.entries import ASSUMED, EVICTED, Entry, Waiting
from dure.core.queueing.kueue.infos import Info, info_of
from dure.core.queueing.kueue.matching import selector_holds
from dure.core.queueing.kueue.memory import Memory
from dure.core.queueing.kueue.objects import (
    Amounts,
    ClusterQueue,
    Cohort,
    Condition,
    Flavor,
    Labels,
    LocalQueue,
    Machine,
    Objects,
    Settings,
    Topology,
    Workload,
)
from dure.core.queueing.kueue.pending import PendingQueue, Waking
from dure.core.queueing.kueue.second import NODE_FAILURES, retry_s, stands_on, wants_second_pass
from dure.core.queueing.kueue.snapshot import QueueNode, Snapshot, build, inactive_reasons
from dure.core.queueing.kueue.trials import Trial
from dure.core.queueing.kueue.usage import UsageLedger, priced


class Engine:
    """A scheduler. `placeable` is asked before a head is admitted or preempts: False leaves it waiting."""

    def __init__(self, settings: Settings | None = None, *, placeable: Callable[[Entry], bool] | None = None) -> None:
        self.settings = settings or Settings()
        self.placeable = placeable
        self.objects = Objects()
        self.snapshot: Snapshot = build(())
        self.pending: dict[str, PendingQueue] = {}
        self.strays: dict[str, tuple[Workload, Waiting]] = {}
        self.ledger = UsageLedger(self.settings.usage_policy) if self.settings.usage_policy is not None else None
        self.number = 0
        self.memory = Memory()
        self._doors: dict[str, LocalQueue] = {}
        self._homes: dict[str, str] = {}
        self._queues: list[PendingQueue] = []
        self._awake: set[int] = set()
        self._trees: dict[int, Waking] = {}
        self._told: dict[str, Entry | Refused] = {}
        self._due: list[tuple[int, str]] = []
        self._again: dict[str, tuple[int, int]] = {}
        self._trial: Trial | None = None

    def configure(
        self,
        *,
        flavors: Iterable[Flavor],
        cluster_queues: Iterable[ClusterQueue],
        cohorts: Iterable[Cohort] = (),
        local_queues: Iterable[LocalQueue] = (),
        namespaces: Mapping[str, Labels] | None = None,
        checks: frozenset[str] | None = None,
        topologies: Iterable[Topology] = (),
        machines: Iterable[Machine] = (),
    ) -> None:
        """Set what there is, for the first time or anew. Workloads that hold quota keep it, all others are tried again.

        A workload whose cluster queue is gone waits as a stray; one that held quota there loses it.
        """
        held = [info for node in self.snapshot.queues.values() for info in node.workloads.values()]
        scanned = {info.key: info for queue in self._queues for info in queue}
        waiting = [info.workload for info in scanned.values()]
        waiting += [workload for workload, _ in self.strays.values()]
        self.objects = Objects(
            tuple(flavors),
            tuple(cluster_queues),
            tuple(cohorts),
            tuple(local_queues),
            namespaces,
            checks,
            tuple(topologies),
            tuple(machines),
        )
        self._doors = {door.key: door for door in self.objects.local_queues}
        if self.ledger is not None:
            self.ledger.weights = {door.key: door.weight for door in self.objects.local_queues}
        names = {queue.name for queue in self.objects.cluster_queues}
        before, self.snapshot = (
            self.snapshot,
            build(
                self.objects.cluster_queues,
                self.objects.cohorts,
                self.objects.flavors,
                (info for info in held if info.queue in names),
                checks,
                topologies=self.objects.topologies,
                machines=self.objects.machines,
                overlapping=self.settings.gates.topology_overlapping,
            ),
        )
        for name, node in self.snapshot.queues.items():
            if name in before.queues:
                node.generation += before.queues[name].generation
        self.memory.clear()
        self._make_queues()
        self._homes = {info.key: info.queue for info in held if info.queue in names}
        self.strays = {}
        for workload in [info.workload for info in held if info.queue not in names]:
            waiting.append(replace(workload, admission=None))
        for workload in waiting:
            self.submit(workload)
            before_now = scanned.get(workload.key)
            info = self.pending[self._homes[workload.key]].get(workload.key) if workload.key in self._homes else None
            if before_now is not None and info is not None:
                info.progress, info.evaluated_generation = before_now.progress, before_now.evaluated_generation

    def _make_queues(self) -> None:
        sticky = {queue.name: queue.sticky for queue in self._queues}
        self._awake.clear()
        self._trees.clear()
        self._queues = []
        for index, spec in enumerate(self.objects.cluster_queues):
            usage = self.ledger.usage if self.ledger is not None and spec.usage_based else None
            top = self.snapshot.queues[spec.name].top()
            queue = PendingQueue(
                spec.name,
                spec.strategy == "StrictFIFO",
                self.settings,
                usage if self.settings.usage_sharing else None,
                index=index,
                waking=self._trees.setdefault(id(top), Waking(awake=self._awake)),
                sticky=sticky.get(spec.name),
            )
            self._queues.append(queue)
        self.pending = {queue.name: queue for queue in self._queues}

    def submit(self, workload: Workload, now_ns: int = 0) -> None:
        """Let a workload wait, or take over a changed one that waits already."""
        if workload.key in self._homes and self._forget_waiting(workload.key) is None:
            return
        self.strays.pop(workload.key, None)
        refusal = self._refused(workload)
        if refusal is not None:
            self.strays[workload.key] = (workload, refusal)
            return
        queue = self._doors[f"{workload.namespace}/{workload.queue}"].cluster_queue
        self._wait(info_of(workload, self.settings.gates, queue, self.settings.rewriting), now_ns)

    def _wait(self, info: Info, now_ns: int) -> None:
        self._touch(info.queue)
        self._homes[info.key] = info.queue
        due = info.workload.requeue_at_ns
        if due is not None and due > now_ns:
            self.pending[info.queue].park(info)
            heapq.heappush(self._due, (due, info.key))
        else:
            self.pending[info.queue].push(info)

    def _refused(self, workload: Workload) -> Waiting | None:
        """Return why a workload cannot even wait in a queue, or None."""
        door = self._doors.get(f"{workload.namespace}/{workload.queue}")
        if not workload.active:
            return Waiting("Deactivated", "The workload is deactivated")
        if door is None:
            return Waiting("Misconfigured", f"LocalQueue {workload.queue} is terminating or missing")
        if door.cluster_queue not in self.pending:
            return Waiting("Misconfigured", f"ClusterQueue {door.cluster_queue} is terminating or missing")
        if door.stop_policy in {"Hold", "HoldAndDrain"}:
            return Waiting("Suspended", f"LocalQueue {workload.queue} is stopped", door.cluster_queue)
        return None

    def adopt(self, workload: Workload) -> bool:
        """Take over a workload that holds quota (`admission`); False when its cluster queue is not known."""
        info = info_of(workload, self.settings.gates)
        if info.queue not in self.snapshot.queues:
            return False
        self._touch(info.queue)
        self._forget_waiting(workload.key)
        if workload.key in self._homes:
            self.snapshot.remove(self.snapshot.queues[self._homes[workload.key]].workloads[workload.key])
        self.strays.pop(workload.key, None)
        self._homes[workload.key] = info.queue
        self.snapshot.insert(info)
        if wants_second_pass(workload):
            self._again[workload.key] = (0, 0)
        return True

    def lose(self, node: str, now_ns: int) -> list[str]:
        """Say that a node failed; return the workloads whose pods on it are to be placed anew.

        The next cycles look for other nodes and evict a workload that gets none; `configure` drops the node itself.
        """
        found = [info for info in self.held() if not info.evicted and stands_on(info.workload, node)]
        for info in found:
            self._remember(info)
            admitted = Condition("Admitted", True, "Admitted", "The workload is admitted", now_ns)
            reserved = Condition("QuotaReserved", True, "QuotaReserved", "", info.reserved_ns or now_ns)
            workload = status.with_condition(status.with_condition(info.workload, reserved), admitted)
            info.workload = replace(workload, unhealthy=(*workload.unhealthy, node))
            info.reserved_ns = info.reserved_ns or now_ns
            self._again[info.key] = (now_ns, 0)
        return [info.key for info in found]

    def holding(self, key: str) -> Info | None:
        """Return the workload of that key when it holds quota, or None."""
        name = self._homes.get(key)
        return None if name is None else self.snapshot.queues[name].workloads.get(key)

    def held(self) -> Iterator[Info]:
        """Yield every workload that holds quota, by queue."""
        for node in self.snapshot.queues.values():
            yield from node.workloads.values()

    def waiting(self) -> Iterator[Info]:
        """Yield every workload that waits in a queue."""
        for queue in self._queues:
            yield from queue

    def _forget_waiting(self, key: str) -> Info | None:
        name = self._homes.get(key)
        if name is None or key in self.snapshot.queues[name].workloads:
            return None
        self._touch(name)
        info = self.pending[name].forget(key)
        if info is not None:
            del self._homes[key]
        return info

    def finish(self, key: str, now_ns: int = 0) -> bool:
        """Forget a workload that ended or was deleted; return whether it was known. What it held is free."""
        self._told.pop(key, None)
        if self.strays.pop(key, None) is not None:
            return True
        info = self.holding(key)
        if info is None:
            return self._forget_waiting(key) is not None
        self._free(info, now_ns)
        return True

    def _free(self, info: Info, now_ns: int) -> None:
        self._touch(info.queue)
        self.snapshot.remove(info)
        self.pending[info.queue].forget(info.key)
        del self._homes[info.key]
        self.wake(info.queue, now_ns)

    def evict(self, key: str, reason: str, message: str, now_ns: int) -> bool:
        """Mark a workload as one that must go; it holds its quota until `release`. Return whether it held any."""
        info = self.holding(key)
        if info is None or info.evicted:
            return info is not None
        self._remember(info)
        info.workload = status.evicted(info.workload, reason, message, now_ns)
        info.evicted = True
        info.order = None
        return True

    def release(self, key: str, now_ns: int, requeue_at_ns: int | None = None) -> bool:
        """Free what an evicted workload held, its pods being gone; it waits again, at the earliest at that time."""
        info = self.holding(key)
        if info is None:
            return False
        self._free(info, now_ns)
        kept = tuple(one for one in info.workload.conditions if one.type not in {"QuotaReserved", "Admitted"})
        self.submit(altered(info.workload, admission=None, requeue_at_ns=requeue_at_ns, conditions=kept), now_ns)
        return True

    def wake(self, queue: str | None = None, now_ns: int = 0) -> None:
        """Let what waits for change be tried again: in the queue's whole cohort tree, or everywhere."""
        suits = None if self.objects.namespaces is None else self._suits
        for tree in self._trees.values() if queue is None else (self.pending[queue].waking,):
            self._touch_tree(tree)
            tree.wake()
            for index in sorted(tree.parked):
                self._touch(self._queues[index].name)
                self._queues[index].unpark(now_ns, suits)

    def _suits(self, info: Info) -> bool:
        if self.objects.namespaces is None:
            return True
        labels = self.objects.namespaces.get(info.workload.namespace)
        selector = self.snapshot.queues[info.queue].spec.namespace_selector
        return labels is not None and selector_holds(selector, labels)

    def cycle(self, now_ns: int) -> CycleResult:
        """Decide about the head of every queue and return what becomes of each; no entries when nobody waits.

        Accepted heads hold quota from then on; targets of preemption are marked as evicted. Call it until it admits
        nothing and preempts nothing new.
        """
        self._end_backoffs(now_ns)
        heads = self._second_heads(now_ns) + self._heads()
        if not heads:
            return CycleResult([], [])
        self.number += 1
        if self.ledger is not None and self.settings.usage_sharing:
            for node in self.snapshot.queues.values():
                for info in node.workloads.values() if node.spec.usage_based else ():
                    info.local_usage = self.ledger.usage(f"{info.workload.namespace}/{info.workload.queue}")
        run = Cycle(
            self.snapshot,
            self.settings,
            now_ns,
            self.number,
            self.objects.namespaces,
            memory=self.memory,
            placeable=self.placeable,
            ready=not self.settings.block_admission or self._all_ready(),
        )
        result = run.run(heads)
        for entry in result.entries:
            self._settle(entry, now_ns)
        for refused in result.refused:
            self._told[refused.info.key] = refused
            self.pending[refused.info.queue].requeue(refused.info, refused.requeue, now_ns)
        return result

    def _second_heads(self, now_ns: int) -> list[tuple[Info, bool]]:
        """Return the workloads that hold quota and look for places again."""
        heads = []
        for key, (due_ns, _) in [*self._again.items()]:
            info = self.holding(key)
            if info is None or not wants_second_pass(info.workload):
                del self._again[key]
            elif due_ns <= now_ns:
                self._touch(info.queue)
                self._remember(info)
                heads.append((info, False))
        return heads

    def _heads(self) -> list[tuple[Info, bool]]:
        """Return the head of every queue that has one, and whether it is a preemptor whose victims still leave."""
        heads = []
        inactive, trial = self.snapshot.inactive, self._trial
        for index in sorted(self._awake):
            queue = self._queues[index]
            if queue.name in inactive:
                continue
            if trial is not None:
                trial.touch(queue.name)
            info = queue.head()
            if info is not None:
                if trial is not None:
                    trial.remember(info)
                heads.append((info, queue.sticky is not None and queue.is_preemptor(info)))
        return heads

    def _end_backoffs(self, now_ns: int) -> None:
        while self._due and self._due[0][0] <= now_ns:
            _, key = heapq.heappop(self._due)
            name = self._homes.get(key)
            if name is not None and key in self.pending[name].parked:
                self._touch(name)
                self.pending[name].push(self.pending[name].parked[key])

    def _all_ready(self) -> bool:
        return all(info.workload.has("PodsReady") for info in self.held() if not info.evicted)

    def ready(self, key: str, now_ns: int) -> bool:
        """Say that the pods of a workload are ready, for `block_admission`; return whether it holds quota."""
        info = self.holding(key)
        if info is None:
            return False
        self._remember(info)
        told = Condition("PodsReady", True, "PodsReady", "All pods are ready", now_ns)
        info.workload = status.with_condition(info.workload, told)
        return True

    def _settle(self, entry: Entry, now_ns: int) -> None:
        """Put what a cycle decided about one head into effect."""
        if not entry.waits:
            self._settle_others(entry, now_ns)
        info = entry.info
        if info.key in self._again:
            self._settle_again(entry, now_ns)
            return
        if entry.status != ASSUMED:
            self._told[info.key] = entry
            self.pending[info.queue].requeue(info, entry.requeue, now_ns)
            return
        self._told.pop(entry.info.key, None)
        self.pending[entry.info.queue].forget(entry.info.key)
        if self.ledger is not None and entry.node.spec.usage_based:
            workload = entry.info.workload
            price = priced(entry.info.requests, entry.node, self.settings)
            self.ledger.enter(f"{workload.namespace}/{workload.queue}", entry.info.key, price)

    def _settle_others(self, entry: Entry, now_ns: int) -> None:
        """Let those go for whom a head was decided on: victims, the slice before, the variant that migrates."""
        for target in entry.preempting:
            if not target.info.evicted:
                self._remember(target.info)
                self.evict(target.info.key, "Preempted", target.reason, now_ns)
        if entry.status == ASSUMED and entry.replacing is not None:
            self._free(entry.replacing, now_ns)
        if entry.migrating is not None:
            self.evict(entry.migrating.key, "FlavorMigration", "", now_ns)

    def _settle_again(self, entry: Entry, now_ns: int) -> None:
        """Put into effect what a cycle decided about a workload that holds quota already."""
        _, attempt = self._again.pop(entry.info.key)
        if entry.status == EVICTED:
            self.evict(entry.info.key, NODE_FAILURES, entry.message, now_ns)
        elif entry.status != ASSUMED:
            self._again[entry.info.key] = (now_ns + retry_s(attempt + 1) * 10**9, attempt + 1)

    def explain(self, key: str) -> Waiting | None:
        """Return why a workload waits, or None when it holds quota or is not known."""
        if key in self.strays:
            return self.strays[key][1]
        name = self._homes.get(key)
        if name is None or self.holding(key) is not None:
            return None
        spec = self.snapshot.queues[name].spec
        if name in self.snapshot.inactive:
            why = inactive_reasons(spec, self.snapshot.flavors, self.objects.checks)
            if "Stopped" in why:
                return Waiting("Suspended", f"ClusterQueue {name} is stopped", name)
            return Waiting("Suspended", f"ClusterQueue {name} is inactive", name)
        told, like = self._told.get(key), None
        if told is None:
            like = self._of_shape(key, name)
            told = self._told[like] if like is not None else None
        if told is None:
            return Waiting("PendingEvaluation", "The workload waits for its turn", name)
        return Waiting(told.reason, told.message, name, told if isinstance(told, Entry) else None, like)

    def _of_shape(self, key: str, name: str) -> str | None:
        """Return another workload of the queue that was evaluated and has the same shape, or None."""
        info = self.pending[name].get(key)
        like = None if info is None else self.pending[name].told_like(info)
        return like if like in self._told else None

    def node(self, queue: str) -> QueueNode:
        """Return the cluster queue in the tree, with its quota, usage and workloads."""
        return self.snapshot.queues[queue]

    def take(self, queue: str, usage: Amounts) -> None:
        """Count usage of a cluster queue that no workload of it has."""
        self._touch(queue)
        self.snapshot.queues[queue].take(usage)

    @contextmanager
    def trial(self) -> Iterator[Engine]:
        """Let everything that happens inside be undone at the end, whatever it is but `configure`; not nested."""
        if self._trial is not None:
            message = "a trial is under way already: end it before the next"
            raise RuntimeError(message)
        self._trial = Trial(self.snapshot, self.pending)
        before = (self.number, dict(self._homes), dict(self._told), dict(self.strays), dict(self._again))
        due, awake = list(self._due), set(self._awake)
        ledger = self.ledger.copy() if self.ledger is not None else None
        try:
            yield self
        finally:
            touched, self._trial = self._trial, None
            self.number, self._homes, self._told, self.strays, self._again = before
            self._due = due
            self._awake.clear()
            self._awake.update(awake)
            if self.ledger is not None and ledger is not None:
                self.ledger.restore(ledger)
            touched.undo()

    def _touch(self, name: str) -> None:
        if self._trial is not None:
            self._trial.touch(name)

    def _touch_tree(self, tree: Waking) -> None:
        if self._trial is not None:
            self._trial.touch_tree(tree)

    def _remember(self, info: Info) -> None:
        if self._trial is not None:
            self._trial.remember(info)
