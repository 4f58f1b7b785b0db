"""Kueue's feature gates by name: what each changes here, which one brings which, and which change no decision.

The trap: turning a gate off turns off all that need it, and turning one on turns on all that it needs, unless they are
named too.
"""

from __future__ import annotations

from collections.abc import Mapping

from dure.core.queueing.kueue.objects import GATE_NAMES, Gates

NEEDS: dict[str, tuple[str, ...]] = {
    "ElasticJobsViaWorkloadSlicesWithTAS": ("ElasticJobsViaWorkloadSlices", "TopologyAwareScheduling"),
    "FlavorFungibilityPreserveScanProgress": ("FlavorFungibility",),
    "KueueDRAIntegrationConsumableCapacity": ("KueueDRAIntegration",),
    "KueueDRAIntegrationExtendedResource": ("KueueDRAIntegration",),
    "KueueDRAIntegrationPartitionableDevices": ("KueueDRAIntegration",),
    "TASBalancedPlacement": ("TopologyAwareScheduling",),
    "TASFailedNodeReplacement": ("TopologyAwareScheduling",),
    "TASFailedNodeReplacementFailFast": ("TopologyAwareScheduling", "TASFailedNodeReplacement"),
    "TASHandleOverlappingFlavors": ("TopologyAwareScheduling",),
    "TASMultiLayerTopology": ("TopologyAwareScheduling",),
    "TASProfileMixed": ("TopologyAwareScheduling",),
    "TASRecomputeAssignmentWithinSchedulingCycle": ("TopologyAwareScheduling",),
    "TASReplaceNodeDueToNotReadyOverFixedTime": ("TopologyAwareScheduling", "TASFailedNodeReplacement"),
    "TASReplaceNodeOnNodeTaints": ("TopologyAwareScheduling",),
    "TASReplaceNodeOnPodTermination": ("TopologyAwareScheduling", "TASFailedNodeReplacement"),
    "TASRespectNodeAffinityPreferred": ("TopologyAwareScheduling",),
    "UnadmittedWorkloadsExplicitStatus": ("UnadmittedWorkloadsObservability",),
}
"""The gates that a gate needs, by Kueue's names."""

WITHOUT_EFFECT = frozenset({
    # Validation, jobs, other clusters, metrics and certificates: nothing of it is in a decision about quota.
    "AssignQueueLabelsForPods", "CleanupProvisioningRequestsOnEviction", "CustomMetricLabels",
    "DeferRayServiceFinalizationForRedisCleanup", "DisableWaitForPodsReady",
    "FailureRecoveryPolicy", "FastQuotaReleaseInPodIntegration",
    "FinishOrphanedWorkloads", "LWSImmutableGroupSize", "LocalQueueMetrics",
    "ManagedJobsNamespaceSelectorAlwaysRespected", "MetricForWorkloadCreationLatency", "MetricsForCohorts",
    "MultiKueue", "MultiKueueAdaptersForCustomJobs", "MultiKueueClusterProfile",
    "MultiKueueIncrementalDispatcherConfig", "MultiKueueIncrementalDispatcherRespectConfigOrder",
    "MultiKueueKubeConfigPathValidation", "MultiKueueManagerQuotaAutomation", "MultiKueueRemoteSpecSync",
    "PodIntegrationValidateGroupOwner", "RejectUpdatesToCQWithInvalidOnFlavors", "RemoveFinalizersWithStrictPatch",
    "ShortWorkloadNames", "SkipAncestorCheckForDeletedWorkloads",
    "SparkApplicationIntegration", "TASValidateWorkloadSliceSize", "TLSOptions", "ValidateRayAndSparkJobUpdates",
    "VisibilityOnDemand", "WorkloadIdentifierAnnotations", "WorkloadPriorityClassDefaulting",
    "WorkloadRequestUseMergePatch", "WorkloadValidateResourcesAreNonNegative", "WorkloadValidationForPodSetMetadata",
    # Faster ways to the same answer, and how a placement is packed for the API server.
    "TASAssignmentsEncodingByHostnamePrefix", "TASCacheNodeMatchResults", "TASCacheTopologyTree",
    "TASCachingRemainingResources", "TASMultiLayerTopology", "UnadmittedWorkloadsExplicitStatus",
    "VectorizedResourceRequests",
    # Which observation of a node makes it unhealthy; what is decided here begins when it is.
    "TASFailedNodeReplacement", "TASReplaceNodeDueToNotReadyOverFixedTime", "TASReplaceNodeOnNodeTaints",
    "TASReplaceNodeOnPodTermination",
    # Claims of devices are resolved to requests before a workload waits.
    "KueueDRAIntegration", "KueueDRAIntegrationConsumableCapacity", "KueueDRAIntegrationExtendedResource",
    "KueueDRAIntegrationPartitionableDevices", "KueueDRARejectWorkloadsWhenDRADisabled",
})  # fmt: skip
"""Gates of Kueue that change nothing that is decided here."""


NOT_BUILT = frozenset({"SchedulerLibraryIntegration"})
"""Gates that are off in Kueue too, and may only be named to stay so."""


def resolved(named: Mapping[str, bool]) -> dict[str, bool]:
    """Return the gates that are named, and those that follow from them."""
    values: dict[str, bool] = {}

    def close(name: str) -> None:
        values[name] = False
        for other, needed in NEEDS.items():
            if name in needed and values.get(other, True):
                close(other)

    def open_all(name: str) -> None:
        values[name] = True
        for needed in NEEDS.get(name, ()):
            open_all(needed)

    for name, on in named.items():
        if not on:
            close(name)
    for name, on in named.items():
        if on:
            open_all(name)
    return {**values, **named}


def unknown(named: Mapping[str, bool]) -> list[str]:
    """Return the gates among these that nothing is known of, or that are not built and on."""
    off = {name for name in NOT_BUILT if not named.get(name)}
    return sorted(set(named) - set(GATE_NAMES) - WITHOUT_EFFECT - off)


def gates_from(named: Mapping[str, bool], **fields: bool) -> Gates:
    """Return the gates with these values by Kueue's names; `fields` are further ones by the names of `Gates`."""
    changed = {GATE_NAMES[name]: on for name, on in resolved(named).items() if name in GATE_NAMES}
    return Gates(**{**fields, **changed})
