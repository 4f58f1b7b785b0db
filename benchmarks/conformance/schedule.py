"""Cases of whole scheduling cycles: who is admitted, who preempts, who is left where, and what everybody is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from benchmarks.conformance.reading import (
    Case,
    Document,
    UnsupportedError,
    gates_of,
    parsed,
    queue_of,
    same,
)
from dure.core.queueing.kueue import entries as states
from dure.core.queueing.kueue import status
from dure.core.queueing.kueue.cycle import Cycle, CycleResult, Refused, admission_of
from dure.core.queueing.kueue.entries import Entry
from dure.core.queueing.kueue.infos import Info, info_of
from dure.core.queueing.kueue.objects import Condition, Settings, UsagePolicy, Workload
from dure.core.queueing.kueue.pending import PendingQueue
from dure.core.queueing.kueue.preemption import JOB_UID, path_text, preemption_message
from dure.core.queueing.kueue.second import NODE_FAILURES, wants_second_pass
from dure.core.queueing.kueue.shapes import (
    cohort_of,
    flavor_of,
    local_queue_of,
    machines_of,
    topology_of,
    workload_of,
)
from dure.core.queueing.kueue.snapshot import Snapshot, build
from dure.core.queueing.kueue.usage import UsageLedger, natural, priced

NOW_NS = 2 * 10**18
IGNORE = "IgnoreUndeclared"
PARENT = "kueue.x-k8s.io/concurrent-admission-parent"
NAMESPACES = {
    "default": {},
    "eng-alpha": {"dep": "eng"},
    "eng-beta": {"dep": "eng"},
    "eng-gamma": {"dep": "eng"},
    "sales": {"dep": "sales"},
    "lend": {"dep": "lend"},
}


@dataclass
class World:
    """The objects of a case, and what the cycles make of them. `broken` means that nothing can be written."""

    snapshot: Snapshot
    pending: dict[str, PendingQueue]
    settings: Settings
    workloads: dict[str, Workload]
    ledger: UsageLedger | None = None
    broken: bool = False
    requests: dict[str, list[tuple[str, dict[str, int]]]] = field(default_factory=dict)
    evictions: Counter[tuple[str, str]] = field(default_factory=Counter)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    number: int = 0

    def cycle(self) -> CycleResult | None:
        """Run one cycle; None when nobody waits."""
        self.number += 1
        held = [info for node in self.snapshot.queues.values() for info in node.workloads.values()]
        heads = [(info, False) for info in held if wants_second_pass(info.workload)]
        for name, queue in self.pending.items():
            if name not in self.snapshot.inactive:
                info = queue.head()
                if info is not None:
                    heads.append((info, queue.is_preemptor(info)))
        if not heads:
            return None
        self._measure_usage()
        cycle = Cycle(self.snapshot, self.settings, NOW_NS, self.number, NAMESPACES, self._admit)
        result = cycle.run(heads)
        for entry in result.entries:
            self._apply(entry)
        for refused in result.refused:
            self._requeue(refused)
        return result

    def _measure_usage(self) -> None:
        if self.ledger is None:
            return
        for node in self.snapshot.queues.values():
            for info in node.workloads.values() if node.spec.usage_based else ():
                info.local_usage = self.ledger.usage(f"{info.workload.namespace}/{info.workload.queue}")

    def _admit(self, entry: Entry) -> bool:
        if self.broken:
            return False
        workload = self.workloads[entry.info.key]
        fresh = not workload.has("QuotaReserved")
        granular = self.settings.gates.observability
        changed = status.reserved(workload, admission_of(entry), entry.node.spec, NOW_NS, granular=granular)
        self.workloads[workload.key] = changed
        if fresh:
            self.events.append(("Normal", workload.key, "QuotaReserved"))
        if changed.has("Admitted") and not workload.unhealthy:
            self.events.append(("Normal", workload.key, "Admitted"))
        if self.ledger is not None and entry.node.spec.usage_based and fresh:
            price = priced(entry.info.requests, entry.node, self.settings)
            self.ledger.enter(f"{workload.namespace}/{workload.queue}", workload.key, price)
        if entry.replacing is not None:
            self._replace(entry, entry.replacing.key)
        return True

    def _replace(self, entry: Entry, key: str) -> None:
        new = entry.info.workload
        told = (
            f"Replaced to accommodate a workload (UID: {new.uid}, JobUID: {new.labels.get(JOB_UID, '')}) "
            "due to workload slice aggregation"
        )
        ended = Condition("Finished", True, "WorkloadSliceReplaced", told, NOW_NS)
        self.workloads[key] = status.with_condition(self.workloads[key], ended)
        self.events.append(("Normal", key, "WorkloadSliceReplaced"))

    def _apply(self, entry: Entry) -> None:
        for target in entry.preempting:
            if not target.info.evicted:
                self._preempt(entry, target.info, target.reason)
        if entry.migrating is not None:
            told = (
                f"Evicted to accommodate a workload (UID: {entry.info.workload.uid}) due to migration to more "
                "favorable resource flavor"
            )
            self._evict(entry.migrating.key, "FlavorMigration", told)
            self.events.append(("Normal", entry.migrating.key, "EvictedDueToFlavorMigration"))
        if entry.status == states.ASSUMED:
            self.pending[entry.info.queue].forget(entry.info.key)
        elif entry.status == states.EVICTED:
            self._evict(entry.info.key, NODE_FAILURES, entry.message)
            self.events.append(("Normal", entry.info.key, f"EvictedDueTo{NODE_FAILURES}"))
        else:
            self._requeue(entry)

    def _preempt(self, entry: Entry, info: Info, reason: str) -> None:
        own = path_text(entry.node)
        told = preemption_message(entry.info.workload, reason, own, path_text(self.snapshot.queues[info.queue]))
        self.workloads[info.key] = status.preempted(self.workloads[info.key], reason, told, NOW_NS)
        self.evictions[info.key, "Preempted"] += 1
        self.events += [
            ("Normal", info.key, "EvictedDueToPreempted"),
            ("Normal", info.key, "Preempted"),
            ("Normal", entry.info.key, "PreemptedWorkload"),
        ]

    def _evict(self, key: str, reason: str, told: str) -> None:
        self.workloads[key] = status.evicted(self.workloads[key], reason, told, NOW_NS)
        self.evictions[key, reason] += 1

    def _requeue(self, one: Entry | Refused) -> None:
        key = one.info.key
        if wants_second_pass(one.info.workload):
            self.events.append(("Warning", key, "SecondPassFailed"))
            return
        self.pending[one.info.queue].requeue(one.info, one.requeue, NOW_NS)
        kind = one.status if isinstance(one, Entry) else states.NOT_NOMINATED
        if kind not in {states.NOT_NOMINATED, states.SKIPPED, states.GATED}:
            return
        granular = self.settings.gates.observability
        reason = one.reason if granular else "Pending"
        self.events.append(("Warning", key, reason))
        if self.broken:
            return
        changed = status.refused(self.workloads[key], reason, one.message, NOW_NS, granular=granular)
        if kind == states.GATED:
            changed = status.gated(changed, one.message, NOW_NS)
        self.workloads[key] = changed
        self.requests[key] = [(entry.name, dict(entry.amounts)) for entry in one.info.requests]


def _found(document: Document) -> list[Document]:
    return (document.get("status") or {}).get("conditions") or []


def _world(
    case: Case,
    settings: Settings,
    *,
    queues: Iterable[Document],
    local: Iterable[Document],
    flavors: Iterable[Document],
    ledger: UsageLedger | None = None,
) -> World:
    documents = case.tc.get("workloads") or []
    controllers = {
        one["metadata"]["name"]: (one.get("spec") or {}).get("controllerName", "")
        for one in case.tc.get("admissionChecks") or ()
        if any(found["type"] == "Active" and found["status"] == "True" for found in _found(one))
    }
    objects = case.tc.get("objects") or ()
    ranges = [one for one in objects if "limits" in (one.get("spec") or {})]
    runtimes = [one for one in objects if one.get("handler") is not None]
    if len(ranges) + len(runtimes) != len(objects):
        raise UnsupportedError("objects other than LimitRange and RuntimeClass")
    overheads = {one["metadata"]["name"]: (one.get("overhead") or {}).get("podFixed") or {} for one in runtimes}
    read = (workload_of(document, ranges, overheads=overheads, queued=True) for document in documents)
    workloads = {one.key: one for one in read}
    specs = [queue_of(one) for one in queues]
    variants = {spec.name for spec in specs if spec.concurrent and settings.gates.concurrent_admission}
    holding = [
        info
        for info in (info_of(one, settings.gates) for one in workloads.values() if status.holds(one))
        if info.queue and (info.queue not in variants or info.workload.parent is not None)
    ]
    snapshot = build(
        specs,
        [cohort_of(one) for one in case.tc.get("cohorts") or ()],
        [flavor_of(one) for one in (*flavors, *(case.tc.get("resourceFlavors") or ()))],
        holding,
        frozenset(controllers),
        topologies=[topology_of(one) for one in case.tc.get("topologies") or ()],
        machines=machines_of(case.tc.get("nodes") or (), case.tc.get("pods") or ()),
        overlapping=settings.gates.topology_overlapping,
        controllers=controllers,
    )
    usage = ledger.usage if ledger is not None else None
    pending = {
        spec.name: PendingQueue(spec.name, spec.strategy == "StrictFIFO", settings, usage if spec.usage_based else None)
        for spec in specs
    }
    doors = {one.key: one for one in map(local_queue_of, local)}
    for workload in workloads.values():
        door = doors.get(f"{workload.namespace}/{workload.queue}")
        waits = status.admissible(workload, settings.gates)
        parent = settings.gates.concurrent_admission and workload.labels.get(PARENT) == "true"
        if door is not None and door.cluster_queue in pending and waits and not parent:
            pending[door.cluster_queue].push(info_of(workload, settings.gates, door.cluster_queue))
    world = World(snapshot, pending, settings, workloads, ledger)
    for one in documents:
        key, found = workload_of(one).key, one.get("status") or {}
        if found.get("resourceRequests"):
            world.requests[key] = _requests(one)
        for entry in (found.get("schedulingStats") or {}).get("evictions") or ():
            world.evictions[key, entry["reason"]] = entry["count"]
    return world


def cycles(case: Case) -> None:
    """TestSchedule and its relatives: one cycle."""
    case.known(
        "workloads",
        "additionalClusterQueues",
        "additionalLocalQueues",
        "cohorts",
        "enableFairSharing",
        "wantAssignments",
        "wantWorkloads",
        "wantLeft",
        "wantInadmissibleLeft",
        "wantEvents",
        "wantSkippedPreemptions",
        "eventCmpOpts",
        "wantPreemptionTargetRecomputations",
        "admissionError",
        "wantWorkloadUseMergePatch",
        "objects",
        "admissionChecks",
        "nodes",
        "pods",
        "quotaCheckStrategy",
        "resourceFlavors",
        "topologies",
    )
    settings = Settings(
        gates=gates_of(case.tc),
        fair_sharing=bool(case.tc.get("enableFairSharing")),
        ignore_undeclared=case.tc.get("quotaCheckStrategy") == IGNORE,
    )
    shared = case.shared["cfg"]
    world = _world(
        case,
        settings,
        queues=[*(shared.get("clusterQueues") or ()), *(case.tc.get("additionalClusterQueues") or ())],
        local=[*(shared.get("queues") or ()), *(case.tc.get("additionalLocalQueues") or ())],
        flavors=shared.get("resourceFlavors") or (),
    )
    world.broken = bool(case.tc.get("admissionError"))
    result = world.cycle() or CycleResult([], [])
    _same_workloads(case, world)
    _same_assignments(case, world)
    left = {name: sorted(queue.waiting) for name, queue in world.pending.items() if queue.waiting}
    same("left", _sorted(case.tc.get("wantLeft")), left)
    left = {name: sorted(queue.inadmissible) for name, queue in world.pending.items() if queue.inadmissible}
    same("inadmissible", _sorted(case.tc.get("wantInadmissibleLeft")), left)
    if case.tc.get("wantEvents"):
        wanted = [(one["EventType"], _event_key(one), one["Reason"]) for one in case.tc["wantEvents"]]
        same("events", sorted(wanted), sorted(world.events))
    for name, count in (case.tc.get("wantSkippedPreemptions") or {}).items():
        same(f"skipped preemptions of {name}", count, result.skipped.get(name, 0))
    for name, counts in (case.tc.get("wantPreemptionTargetRecomputations") or {}).items():
        for outcome, count in counts.items():
            same(f"searches repeated for {name}", count, result.recomputed.get(name, {}).get(outcome, 0))


def _event_key(event: Document) -> str:
    return f"{event['Key'].get('Namespace', '')}/{event['Key'].get('Name', '')}"


def _sorted(wanted: Document | None) -> dict[str, list[str]]:
    return {name: sorted(keys) for name, keys in (wanted or {}).items() if keys}


def _requests(document: Document) -> list[tuple[str, dict[str, int]]]:
    return [(one["name"], parsed(one.get("resources"))) for one in document["status"].get("resourceRequests") or ()]


def _same_assignments(case: Case, world: World) -> None:
    nodes = [node for node in world.snapshot.queues.values() if node.active]
    got = {key: info.workload.admission for node in nodes for key, info in node.workloads.items()}
    wanted = {
        key: workload_of({"status": {"admission": one}}).admission
        for key, one in (case.tc.get("wantAssignments") or {}).items()
    }
    same("assigned workloads", set(wanted), set(got))
    for key, one in wanted.items():
        same(f"assignment of {key}", one, got[key])


def _same_workloads(case: Case, world: World) -> None:
    wanted = {workload_of(one).key: one for one in case.tc.get("wantWorkloads") or ()}
    same("workloads", set(wanted), set(world.workloads))
    for key, document in wanted.items():
        expected, got = workload_of(document), world.workloads[key]
        same(f"conditions of {key}", _conditions(expected), _conditions(got))
        same(f"admission of {key}", expected.admission, got.admission)
        same(f"checks of {key}", expected.checks, got.checks)
        same(f"requests of {key}", _requests(document) if document.get("status") else [], world.requests.get(key, []))
        stats = (document.get("status") or {}).get("schedulingStats") or {}
        evictions = {(key, one["reason"]): one["count"] for one in stats.get("evictions") or ()}
        same(f"evictions of {key}", evictions, {pair: n for pair, n in world.evictions.items() if pair[0] == key})


def _conditions(workload: Workload) -> list[tuple[str, bool, str, str]]:
    return sorted((one.type, one.status, one.reason, one.message) for one in workload.conditions)


def usage_cycles(case: Case) -> None:
    """TestScheduleForAFS: as many cycles as workloads, with usage-based admission."""
    case.known("workloads", "wantWorkloads", "initialUsage", "deleteQueue")
    gates = gates_of(case.tc)
    on = bool((case.tc.get("featureGates") or {}).get("AdmissionFairSharing"))
    ledger = UsageLedger(UsagePolicy(half_life_s=10.0, sampling_s=1.0))
    for one in map(local_queue_of, case.shared["queues"]):
        ledger.weights[one.key] = one.weight
    for name, used in (case.tc.get("initialUsage") or {}).items():
        ledger.consumed[f"default/{name}"] = _natural(used)
    settings = Settings(gates=gates, fair_sharing=on, usage_policy=ledger.policy)
    world = _world(
        case,
        settings,
        queues=case.shared["clusterQueues"],
        local=case.shared["queues"],
        flavors=case.shared["resourceFlavors"],
        ledger=ledger if settings.usage_sharing else None,
    )
    for _ in world.workloads:
        world.cycle()
    _same_workloads(case, world)


def _natural(used: Document) -> dict[str, Fraction]:
    return natural(parsed(used))


def _seconds(text: str) -> float:
    total, number = 0.0, ""
    for letter in text.replace("ms", "L"):
        if letter.isdigit() or letter == ".":
            number += letter
        else:
            total += float(number) * {"h": 3600.0, "m": 60.0, "s": 1.0, "L": 0.001}[letter]
            number = ""
    return total


def usage_head(case: Case) -> None:
    """TestFsAdmission: the head of a queue whose local queues used different amounts."""
    case.known("afsConfig", "cq", "initConsumedResources", "lqs", "wantWl", "wls")
    config = case.tc.get("afsConfig") or {}
    weights = {name: float(value) for name, value in (config.get("resourceWeights") or {}).items()}
    policy = UsagePolicy(
        _seconds(config.get("usageHalfLifeTime", "0s")), _seconds(config.get("usageSamplingInterval", "0s")), weights
    )
    settings = Settings(gates=gates_of(case.tc), usage_policy=policy)
    ledger = UsageLedger(policy)
    # The table's queue knows no local queue, so that every weight is 1.
    for name, used in (case.tc.get("initConsumedResources") or {}).items():
        ledger.consumed[name] = _natural(used)
    spec = queue_of(case.tc["cq"])
    usage = ledger.usage if spec.usage_based and settings.usage_sharing else None
    queue = PendingQueue(spec.name, spec.strategy == "StrictFIFO", settings, usage)
    for one in case.tc.get("wls") or ():
        queue.push(info_of(workload_of(one), settings.gates, spec.name))
    head = queue.head()
    same("head", workload_of(case.tc["wantWl"]).key, head.key if head else None)


SCHEDULE: dict[str, Callable[[Case], None]] = {
    "TestSchedule": cycles,
    "TestScheduleForFairSharing": cycles,
    "TestScheduleRecomputePreemptionTargets": cycles,
    "TestScheduleConcurrentAdmission": cycles,
    "TestScheduleForAFS": usage_cycles,
    "TestFsAdmission": usage_head,
}
