"""Kueue's objects as frozen values: flavors, quotas, cluster queues, cohorts, local queues and workloads.

Amounts are integers as `quantity` counts them, times are nanoseconds. The trap: a limit that is None is no limit, a
limit of 0 forbids; and a namespace selector of None matches nothing, an empty one everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dure.core.queueing.kueue.rewriting import AS_REQUESTED, Rewriting

FlavorResource = tuple[str, str]
"""(flavor, resource): what quotas and usage are counted by."""

Amounts = dict[FlavorResource, int]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Flavor:
    """A ResourceFlavor: labels and taints of its nodes, tolerations that it brings."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    tolerations: tuple[Mapping[str, Any], ...] = ()
    topology: str | None = None


@dataclass(frozen=True, slots=True)
class PriorityClass:
    """A WorkloadPriorityClass: a name for a priority."""

    name: str
    value: int
    description: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    """A Topology: node labels from the widest level (block) to the narrowest (rack or host)."""

    name: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """A node of the cluster as topology-aware placement sees it. `used` is what pods take that it did not place."""

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, int]
    taints: tuple[Mapping[str, str], ...] = ()
    ready: bool = True
    used: Mapping[str, int] = field(default_factory=dict)

    @property
    def free(self) -> dict[str, int]:
        """What is left of the node beside pods that are not placed here."""
        names = {**self.allocatable, **self.used}
        return {name: self.allocatable.get(name, 0) - self.used.get(name, 0) for name in names}


@dataclass(frozen=True, slots=True)
class Quota:
    """What one node of the cohort tree owns of one flavor and resource."""

    nominal: int
    borrowing_limit: int | None = None
    lending_limit: int | None = None


@dataclass(frozen=True, slots=True)
class ResourceGroup:
    """Resources that are taken from the same flavor, and the flavors in the order of preference."""

    covered: frozenset[str]
    flavors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preemption:
    """The preemption policies of a cluster queue; `borrow_policy` None means that the block is absent."""

    within_queue: str = "Never"
    reclaim: str = "Never"
    borrow_policy: str | None = None
    borrow_max_priority: int | None = None

    @property
    def borrow_forbidden(self) -> bool:
        """Whether a workload that borrows may not preempt in the cohort."""
        return self.borrow_policy in {None, "Never"}


@dataclass(frozen=True, slots=True)
class Fungibility:
    """When to look at the next flavor; an empty text is Kueue's default."""

    when_can_borrow: str = "MayStopSearch"
    when_can_preempt: str = "TryNextFlavor"
    preference: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterQueue:
    """A ClusterQueue. `migration` is the mode of its concurrent admission, None where it has none."""

    name: str
    cohort: str | None = None
    groups: tuple[ResourceGroup, ...] = ()
    quotas: Mapping[FlavorResource, Quota] = field(default_factory=dict)
    strategy: str = "BestEffortFIFO"
    preemption: Preemption = Preemption()
    fungibility: Fungibility = Fungibility()
    namespace_selector: Mapping[str, Any] | None = field(default_factory=dict)
    weight: float = 1.0
    stop_policy: str = "None"
    checks: tuple[tuple[str, frozenset[str]], ...] = ()
    usage_based: bool = False
    last_acceptable_flavor: str | None = None
    migration: str | None = None

    @property
    def concurrent(self) -> bool:
        """Whether workloads are admitted as variants, one for each flavor (concurrent admission)."""
        return self.migration is not None


@dataclass(frozen=True, slots=True)
class Cohort:
    """A Cohort: groups queues and cohorts, may own quota."""

    name: str
    parent: str | None = None
    quotas: Mapping[FlavorResource, Quota] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class LocalQueue:
    """A LocalQueue: the door of one namespace to a cluster queue."""

    namespace: str
    name: str
    cluster_queue: str
    weight: float = 1.0
    stop_policy: str = "None"

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PodSet:
    """Pods of one shape. `requests` are those of one pod; `shape` is what makes two pod sets equal for scheduling.

    `problems` are requests above limits, `misfits` what the namespace's LimitRanges refuse.
    """

    name: str
    count: int
    requests: Mapping[str, int] = field(default_factory=dict)
    min_count: int | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity_terms: tuple[Mapping[str, Any], ...] | None = None
    tolerations: tuple[Mapping[str, Any], ...] = ()
    topology: Mapping[str, Any] | None = None
    shape: str = ""
    problems: tuple[str, ...] = ()
    misfits: tuple[str, ...] = ()
    preferred_terms: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """One status condition."""

    type: str
    status: bool
    reason: str
    message: str
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class PodSetAdmission:
    """The flavors and the usage that a pod set was admitted with, and where its pods are if a topology says so.

    `levels` are those that its domains are named by; `delayed` says that places come after the admission checks.
    """

    name: str
    flavors: Mapping[str, str]
    usage: Mapping[str, int]
    count: int | None = None
    topology: tuple[tuple[tuple[str, ...], int], ...] = ()
    levels: tuple[str, ...] = ()
    delayed: str | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Where a workload holds quota."""

    cluster_queue: str
    pod_sets: tuple[PodSetAdmission, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckState:
    """The state of one admission check of a workload; `updates` are what it changes of pod sets (`podSetUpdates`)."""

    name: str
    state: str
    message: str = ""
    updates: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """A Workload: what waits, runs and is preempted as one."""

    namespace: str
    name: str
    uid: str = ""
    queue: str = ""
    pod_sets: tuple[PodSet, ...] = ()
    priority: int = 0
    boost: int = 0
    created_ns: int = 0
    generation: int = 0
    active: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    allowed_flavors: tuple[str, ...] | None = None
    parent: tuple[str, str] | None = None
    gates: tuple[str, ...] = ()
    open_gates: frozenset[str] = frozenset()
    replaces: str | None = None
    admission: Admission | None = None
    conditions: tuple[Condition, ...] = ()
    checks: tuple[CheckState, ...] = ()
    reclaimable: Mapping[str, int] = field(default_factory=dict)
    requeue_at_ns: int | None = None
    gated_by: str = ""
    unhealthy: tuple[str, ...] = ()
    owned_by_pod: bool = False
    elastic: bool = False

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of that type, or None."""
        for one in self.conditions:
            if one.type == kind:
                return one
        return None

    def has(self, kind: str) -> bool:
        """Return whether the condition of that type is true."""
        found = self.condition(kind)
        return found is not None and found.status


@dataclass(frozen=True, slots=True)
class Gates:
    """Kueue's feature gates that the engine knows, at the defaults of v0.20."""

    admission_fair_sharing: bool = True
    admission_gated_by: bool = True
    balanced_placement: bool = False
    concurrent_admission: bool = False
    elastic_slices: bool = True
    elastic_slices_topology: bool = False
    fair_sharing_preempt_within_nominal: bool = True
    fair_sharing_prioritize_non_borrowing: bool = True
    flavor_fungibility: bool = True
    multi_kueue_orchestrated_preemption: bool = False
    observability: bool = True
    partial_admission: bool = True
    pod_owned_stay: bool = True
    preferred_affinity: bool = False
    replacement_fail_fast: bool = True
    preserve_scan_progress: bool = True
    prioritize_preemptors: bool = False
    priority_boost: bool = False
    priority_sorting_within_cohort: bool = True
    quota_check_strategy: bool = True
    reclaimable_pods: bool = True
    recompute_on_overlap: bool = True
    scheduling_hash: bool = True
    topology: bool = True
    topology_overlapping: bool = True
    topology_profile_mixed: bool = True
    topology_recompute: bool = True


GATE_NAMES = {
    "AdmissionFairSharing": "admission_fair_sharing",
    "AdmissionGatedBy": "admission_gated_by",
    "ConcurrentAdmission": "concurrent_admission",
    "ElasticJobsViaWorkloadSlices": "elastic_slices",
    "ElasticJobsViaWorkloadSlicesWithTAS": "elastic_slices_topology",
    "FairSharingPreemptWithinNominal": "fair_sharing_preempt_within_nominal",
    "FairSharingPrioritizeNonBorrowing": "fair_sharing_prioritize_non_borrowing",
    "FlavorFungibility": "flavor_fungibility",
    "FlavorFungibilityPreserveScanProgress": "preserve_scan_progress",
    "MultiKueueOrchestratedPreemption": "multi_kueue_orchestrated_preemption",
    "PartialAdmission": "partial_admission",
    "PrioritizePreemptorWorkloads": "prioritize_preemptors",
    "PriorityBoost": "priority_boost",
    "PrioritySortingWithinCohort": "priority_sorting_within_cohort",
    "QuotaCheckStrategy": "quota_check_strategy",
    "ReclaimablePods": "reclaimable_pods",
    "RecomputeAssignmentUponPreemptionTargetsOverlap": "recompute_on_overlap",
    "SchedulingEquivalenceHashing": "scheduling_hash",
    "SkipReassignmentForPodOwnedWorkloads": "pod_owned_stay",
    "TASBalancedPlacement": "balanced_placement",
    "TASFailedNodeReplacementFailFast": "replacement_fail_fast",
    "TASHandleOverlappingFlavors": "topology_overlapping",
    "TASProfileMixed": "topology_profile_mixed",
    "TASRecomputeAssignmentWithinSchedulingCycle": "topology_recompute",
    "TASRespectNodeAffinityPreferred": "preferred_affinity",
    "TopologyAwareScheduling": "topology",
    "UnadmittedWorkloadsObservability": "observability",
}
"""Kueue's name of each gate that the engine knows, to the field of `Gates`."""


@dataclass(frozen=True, slots=True)
class UsagePolicy:
    """Admission fair sharing: how fast past usage fades, and what each resource weighs."""

    half_life_s: float
    sampling_s: float
    resource_weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a scheduler runs: gates, fair sharing and its strategies, the order of evicted workloads.

    `block_admission` is `waitForPodsReady.blockAdmission`: nobody is admitted while somebody's pods are not ready.
    `rewriting` says which requests count and as what.
    """

    gates: Gates = Gates()
    fair_sharing: bool = False
    strategies: tuple[str, ...] = ("LessThanOrEqualToFinalShare", "LessThanInitialShare")
    usage_policy: UsagePolicy | None = None
    order_by_eviction: bool = True
    ignore_undeclared: bool = False
    block_admission: bool = False
    rewriting: Rewriting = AS_REQUESTED

    @property
    def ignores_undeclared(self) -> bool:
        """Whether a resource that a queue does not list is no reason to wait."""
        return self.ignore_undeclared and self.gates.quota_check_strategy

    @property
    def usage_sharing(self) -> bool:
        """Whether admission fair sharing is on."""
        return self.usage_policy is not None and self.gates.admission_fair_sharing


@dataclass(frozen=True, slots=True)
class Objects:
    """What an engine is configured with. `namespaces` are labels by name; None means that no selector is asked."""

    flavors: tuple[Flavor, ...] = ()
    cluster_queues: tuple[ClusterQueue, ...] = ()
    cohorts: tuple[Cohort, ...] = ()
    local_queues: tuple[LocalQueue, ...] = ()
    namespaces: Mapping[str, Labels] | None = None
    checks: frozenset[str] | None = None
    topologies: tuple[Topology, ...] = ()
    machines: tuple[Machine, ...] = ()
