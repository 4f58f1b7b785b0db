"""Builders for stories about quota: one flavor, one resource, queues with a nominal quota of cpu."""

from dataclasses import replace

from dure.core.queueing.kueue.cycle import Cycle
from dure.core.queueing.kueue.infos import info_of
from dure.core.queueing.kueue.objects import (
    Admission,
    ClusterQueue,
    Condition,
    Flavor,
    Gates,
    PodSet,
    PodSetAdmission,
    Quota,
    ResourceGroup,
    Settings,
    Workload,
)
from dure.core.queueing.kueue.snapshot import build

CPU = ("default", "cpu")
GATES = Gates()


def a_queue(name, nominal, *, cohort="team", borrowing=None, lending=None, **fields):
    return ClusterQueue(
        name=name,
        cohort=cohort,
        groups=(ResourceGroup(frozenset({"cpu"}), ("default",)),),
        quotas={CPU: Quota(nominal, borrowing, lending)},
        **fields,
    )


def a_workload(name, cpu, *, priority=0, created_ns=0, minimum=None, count=1, local="lq"):
    pods = PodSet("main", count, {"cpu": cpu}, minimum)
    return Workload("ns", name, name, local, (pods,), priority, created_ns=created_ns)


def waiting(workload, queue, settings=None):
    return info_of(workload, (settings or Settings()).gates, queue)


def running(workload, queue, *, at_ns=0):
    held = PodSetAdmission("main", {"cpu": "default"}, dict(workload.pod_sets[0].requests), workload.pod_sets[0].count)
    conditions = (Condition("QuotaReserved", True, "QuotaReserved", "", at_ns),)
    return info_of(replace(workload, admission=Admission(queue, (held,)), conditions=conditions), GATES)


def a_snapshot(*queues, cohorts=(), infos=()):
    return build(queues, cohorts, [Flavor("default")], infos)


def cycle(snapshot, *heads, settings=None):
    return Cycle(snapshot, settings or Settings(), now_ns=10**12, number=1).run([(head, False) for head in heads])


def one_of(result, name):
    return next(entry for entry in result.entries if entry.info.workload.name == name)
