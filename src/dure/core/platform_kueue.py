"""Takes Kueue's own objects as the queueing part of a platform: what they mean here, and what cannot be taken.

Decisions run on the objects themselves; only names change (a flavor is called as its tier, a LocalQueue's namespace is
its team) and GPUs are counted in thousandths. Quotas of cpu, memory and the like are left out: only GPUs are shared
here. The trap: a path is (file, document, …), so problems here are told by `told`, with the object's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dure.core.document import Path, Problem, Reader, did_you_mean
from dure.core.model import WHOLE_GPU_MILLI, Cluster, ClusterKind, KueueObjects, PriorityClass, Queue, Team
from dure.core.queueing.compile import CLUSTER_LABEL, TIER_LABEL
from dure.core.queueing.compile import RESOURCE as GPU
from dure.core.queueing.kueue import schema, shapes
from dure.core.queueing.kueue.matching import selector_holds, untolerated_taint
from dure.core.queueing.kueue.objects import (
    ClusterQueue,
    Cohort,
    Flavor,
    FlavorResource,
    LocalQueue,
    Quota,
    ResourceGroup,
)
from dure.core.queueing.kueue.problems import problems_of
from dure.core.queueing.kueue.quantity import UNLIMITED

SECTION = "kueue"
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_REPLACED = ("cohorts", "queues")
_OF_TEAM = ("cohort", "nominal_quota", "borrowing_limit", "lending_limit", "weight")
_OF_QUEUEING = ("strategy", "preemption")
_WORDS = {"Borrow": "MayStopSearch", "Preempt": "MayStopSearch"}

Files = Sequence[Sequence[Any]]
"""The documents of each file that `kueue:` names."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The objects of one kind by name, and where each is."""

    at: dict[str, Path]
    flavors: list[Flavor]
    queues: list[ClusterQueue]
    cohorts: list[Cohort]
    doors: list[LocalQueue]
    priorities: list[PriorityClass]


def documents(files: Files) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield every document with its path, those inside of a List too; what is no mapping is left out."""
    for place, file in enumerate(files):
        for index, content in enumerate(file):
            path: Path = (SECTION, place, index)
            if isinstance(content, Mapping) and str(content.get("kind", "")).endswith("List"):
                items = content.get("items")
                for at, item in enumerate(items if isinstance(items, list) else ()):
                    if isinstance(item, Mapping):
                        yield (*path, "items", at), item
            elif isinstance(content, Mapping):
                yield path, content


def title(document: Mapping[str, Any]) -> str:
    """Return an object's kind and name, as problems call it."""
    metadata = document.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, Mapping) else ""
    if document.get("kind") == "LocalQueue" and isinstance(metadata, Mapping):
        name = f"{metadata.get('namespace', '')}/{name}"
    return f"{document.get('kind', '')} {name}".strip()


def told(problem: Problem, files: Files) -> str | None:
    """Return the problem's text when it is about an object of a Kueue file, else None."""
    for path, document in documents(files):
        if problem.path[: len(path)] == path:
            where = Problem(problem.path[len(path) :], "", "").where
            field = f" {where}" if where else ""
            return f"{title(document)}{field}: {problem.wrong}; right would be {problem.right}"
    return None


def tier_of(flavor: Mapping[str, Any]) -> str:
    """Return the tier that a ResourceFlavor document names, by label or else by its own name."""
    spec = flavor.get("spec")
    labels = spec.get("nodeLabels") if isinstance(spec, Mapping) else None
    label = labels.get(TIER_LABEL) if isinstance(labels, Mapping) else None
    return str(label or _name(flavor))


def tiers_of(files: Files) -> tuple[str, ...]:
    """Return the tiers of the flavors with a quota of GPUs, in the files' order."""
    listed = {
        str(flavor.get("name"))
        for _, document in documents(files)
        for group in _entries(document.get("spec"), "resourceGroups")
        for flavor in _entries(group, "flavors")
        if any(entry.get("name") == GPU for entry in _entries(flavor, "resources"))
    }
    flavors = [one for _, one in documents(files) if one.get("kind") == "ResourceFlavor"]
    return tuple(dict.fromkeys(tier_of(one) for one in flavors if _name(one) in listed))


def _name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""


def namespaces(files: Files) -> tuple[str, ...]:
    """Return the namespaces that have LocalQueues, in the files' order."""
    found = [
        str((one.get("metadata") or {}).get("namespace", ""))
        for _, one in documents(files)
        if one.get("kind") == "LocalQueue" and isinstance(one.get("metadata"), Mapping)
    ]
    return tuple(dict.fromkeys(found))


def _entries(holder: Any, key: str) -> list[Mapping[str, Any]]:
    found = holder.get(key) if isinstance(holder, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def objects(
    reader: Reader, top: Mapping[str, Any], files: Files, teams: Sequence[Team], clusters: Sequence[Cluster]
) -> KueueObjects | None:
    """Return what `kueue:` brings, None where it is not there or has problems."""
    if SECTION not in top:
        return None
    before = len(reader.problems)
    _said_twice(reader, top)
    found = _read(reader, files)
    if len(reader.problems) == before and all(files):  # what could not be read is told already
        taken = _Taking(reader, found, teams, clusters).objects("priorities" in top)
        if len(reader.problems) == before:
            return taken
    return None


def queues_of(kueue: KueueObjects) -> tuple[Queue, ...]:
    """Return each team's queue; it is stopped when its LocalQueue or ClusterQueue is."""
    stopped = {queue.name for queue in kueue.queues if queue.stop_policy != "None"}
    return tuple(
        Queue(door.name, door.namespace, door.stop_policy != "None" or door.cluster_queue in stopped)
        for door in kueue.local_queues
    )


def with_quotas(teams: Sequence[Team], kueue: KueueObjects) -> tuple[Team, ...]:
    """Return the teams with the guarantee and weight of their ClusterQueue, where it is theirs alone."""
    homes = {door.namespace: door.cluster_queue for door in kueue.local_queues}
    shared = Counter(homes.values())
    queues = {queue.name: queue for queue in kueue.queues}
    found = []
    for team in teams:
        queue = queues[homes[team.name]]
        quota = {tier: quota.nominal for (tier, _), quota in queue.quotas.items()} if shared[queue.name] == 1 else {}
        found.append(replace(team, quota_milli=quota, weight=queue.weight))
    return tuple(found)


def _said_twice(reader: Reader, top: Mapping[str, Any]) -> None:
    """Note what the platform file says itself though Kueue's objects say it."""
    right = "to leave it out: the objects of `kueue` say it"
    for section in _REPLACED:
        if top.get(section):
            reader.add((section,), "stands beside `kueue`", right)
    teams = top.get("teams")
    for index, team in enumerate(teams if isinstance(teams, list) else ()):
        for key in _OF_TEAM if isinstance(team, Mapping) else ():
            if key in team:
                reader.add(("teams", index, key), "stands beside `kueue`", right)
    queueing = top.get("queueing")
    for key in _OF_QUEUEING:
        if isinstance(queueing, Mapping) and key in queueing:
            reader.add(("queueing", key), "stands beside `kueue`", right)


def _read(reader: Reader, files: Files) -> _Found:
    """Return the objects, with what is wrong with their form and between them noted."""
    found = _Found({}, [], [], [], [], [])
    before = len(reader.problems)
    for path, document in documents(files):
        group = str(document.get("apiVersion", "")).startswith(schema.GROUP)
        kind = str(document.get("kind"))
        if not group or kind not in schema.KINDS:
            if group and kind not in schema.OTHER_KINDS:
                kinds = (*schema.KINDS, *schema.OTHER_KINDS)
                right = f"one of {', '.join(kinds)}{did_you_mean(kind, kinds)}"
                reader.add((*path, "kind"), f"{kind!r} is not a kind of Kueue's", right)
            continue  # a Namespace, a Topology: of no meaning for quotas
        wrong = [*schema.faults(document)]
        for at, told_of, right in wrong:
            reader.add((*path, *at), told_of, right)
        if not wrong:
            found.at.setdefault(title(document), path)
            _take(found, kind, document)
    if len(reader.problems) > before:
        return found
    if not found.queues and all(files):  # what could not be read is told already
        reader.add((SECTION,), "there is no ClusterQueue in these files", "files with ClusterQueues and LocalQueues")
    for one in problems_of(found.flavors, found.queues, found.cohorts, found.doors):
        owner = max((name for name in found.at if f"{one.place} ".startswith(f"{name} ")), key=len, default="")
        where = one.place[len(owner) :].strip()
        reader.add(found.at.get(owner, (SECTION,)), f"{where}: {one.what}" if where else one.what, f"to {one.remedy}")
    return found


def _take(found: _Found, kind: str, document: Mapping[str, Any]) -> None:
    if kind == "ResourceFlavor":
        found.flavors.append(shapes.flavor_of(document))
    elif kind == "ClusterQueue":
        found.queues.append(shapes.queue_of(document))
    elif kind == "Cohort":
        found.cohorts.append(shapes.cohort_of(document))
    elif kind == "LocalQueue":
        found.doors.append(shapes.local_queue_of(document))
    else:
        one = shapes.priority_class_of(document)
        found.priorities.append(PriorityClass(one.name, one.value))


class _Taking:
    """Turns objects of good form into those of a platform, noting what it has nothing for."""

    def __init__(self, reader: Reader, found: _Found, teams: Sequence[Team], clusters: Sequence[Cluster]) -> None:
        self._reader = reader
        self._found = found
        self._teams = teams
        self._public = {cluster.name for cluster in clusters if cluster.kind is ClusterKind.PUBLIC}
        self._tiers: dict[str, str] = {}

    def objects(self, priorities_beside: bool) -> KueueObjects:  # noqa: FBT001 -- whether the platform file has some
        found = self._found
        flavors, public = self._flavors()
        for queue in found.queues:
            self._judge(queue)
        doors = self._doors()
        if found.priorities and priorities_beside:
            right = "to leave it out: the WorkloadPriorityClasses of `kueue` say it"
            self._reader.add(("priorities",), "stands beside `kueue`", right)
        homes = {door.namespace: door.cluster_queue for door in doors}
        forgetful = {queue.name for queue in found.queues if not queue.usage_based}
        return KueueObjects(
            flavors=flavors,
            public=public,
            cohorts=tuple(replace(cohort, quotas=self._quotas(cohort.quotas)) for cohort in found.cohorts),
            queues=tuple(self._queue(queue) for queue in found.queues),
            local_queues=doors,
            priorities=self._priorities(),
            memoryless=frozenset(team for team, queue in homes.items() if queue in forgetful),
        )

    def _flavors(self) -> tuple[tuple[Flavor, ...], tuple[Flavor, ...]]:
        members: list[ClusterQueue | Cohort] = [*self._found.queues, *self._found.cohorts]
        listed = {flavor for one in members for flavor, resource in one.quotas if resource == GPU}
        flavors, public = [], []
        names: dict[str, str] = {}
        for flavor in self._found.flavors:
            at = self._found.at[f"ResourceFlavor {flavor.name}"]
            tier = flavor.labels.get(TIER_LABEL, flavor.name)
            if flavor.name not in listed:
                if flavor.labels.get(CLUSTER_LABEL) in self._public:
                    public.append(flavor)
                continue  # of other resources, or of a public cluster that burst reaches
            if not self._reader.known("tiers", tier):
                choices = ", ".join(self._reader.names("tiers"))
                wrong = f"no tier of platform.yaml is {tier!r}"
                self._add(at, wrong, f"`spec: {{nodeLabels: {{{TIER_LABEL}: …}}}}` with one of {choices}", "spec")
            elif tier in names:
                wrong = f"tier {tier!r} is ResourceFlavor {names[tier]} already"
                self._add(at, wrong, f"another tier, in platform.yaml and as label {TIER_LABEL}", "spec")
            if (taint := untolerated_taint(flavor, ())) is not None:
                wrong = f"jobs here bring no tolerations, so taint {taint.get('key')!r} would keep all of them out"
                self._add(at, wrong, "the same key under the flavor's own `tolerations`", "spec", "nodeTaints")
            names[tier] = flavor.name
            self._tiers[flavor.name] = tier
            flavors.append(Flavor(tier, labels={TIER_LABEL: tier}))
        return tuple(flavors), tuple(public)

    def _judge(self, queue: ClusterQueue) -> None:
        """Note what a queue asks for that nothing here does."""
        at = self._found.at[f"ClusterQueue {queue.name}"]
        if queue.checks:
            names = ", ".join(name for name, _ in queue.checks)
            self._add(at, f"nothing here answers admission checks ({names})", "a queue without them", "spec")
        if queue.stop_policy == "HoldAndDrain":
            self._add(at, "running jobs are not drained here", "Hold", "spec", "stopPolicy")
        if queue.concurrent:
            wrong = "a job is not admitted to several flavors at once here"
            self._add(at, wrong, "to leave it out", "spec", "concurrentAdmissionPolicy")
        if queue.fungibility.preference == "PreemptionOverBorrowing":
            right = "to leave it out: whenCanBorrow and whenCanPreempt say the order"
            self._add(at, "flavors are not weighed like this here", right, "spec", "flavorFungibility", "preference")
        for group in queue.groups:
            stray = {name for flavor, name in queue.quotas if flavor in group.flavors} - group.covered
            for name in sorted(stray):
                wrong = f"{name} has quota and is not in coveredResources"
                self._add(at, wrong, "to list there what has quota, and nothing else", "spec", "resourceGroups")
        others = {name for _, name in queue.quotas if name != GPU and ("gpu" in name.lower() or "/mig-" in name)}
        for name in sorted(others):
            right = f"{GPU}; a MIG instance or a GPU of another make is a tier of its own here"
            self._add(at, f"{name} is not counted here", right, "spec", "resourceGroups")

    def _doors(self) -> tuple[LocalQueue, ...]:
        """Return one LocalQueue for each team, by namespace or else by name."""
        doors: list[LocalQueue] = []
        used: set[str] = set()
        for index, team in enumerate(self._teams):
            own = [door for door in self._found.doors if door.namespace == team.name]
            own = own or [door for door in self._found.doors if door.name == team.name]
            exact = [door for door in own if door.name == team.name]
            used.update(door.key for door in own)
            if len(own) > 1 and len(exact) != 1:
                names = ", ".join(door.key for door in own)
                right = f"one LocalQueue of the team, or one that is named {team.name}"
                self._reader.add(
                    ("teams", index, "name"), f"team {team.name!r} has several LocalQueues: {names}", right
                )
            elif not own:
                wrong = f"team {team.name!r} has no LocalQueue in the files of `kueue`"
                right = f"a LocalQueue in namespace {team.name}, or of that name"
                self._reader.add(("teams", index, "name"), wrong, right)
            else:
                door = (exact or own)[0]
                self._enter(door)
                doors.append(replace(door, namespace=team.name))
        for door in self._found.doors:
            if door.key not in used:
                right = f"a team `{door.namespace}` in platform.yaml, or to take the LocalQueue out"
                wrong = f"no team of platform.yaml has the name of its namespace {door.namespace!r}, nor its own"
                self._add(self._found.at[f"LocalQueue {door.key}"], wrong, right, "metadata")
        return tuple(doors)

    def _enter(self, door: LocalQueue) -> None:
        """Note what keeps a LocalQueue from its ClusterQueue here."""
        at = self._found.at[f"LocalQueue {door.key}"]
        queue = next(one for one in self._found.queues if one.name == door.cluster_queue)
        if not selector_holds(queue.namespace_selector, {NAMESPACE_LABEL: door.namespace}):
            wrong = f"its namespaceSelector does not take namespace {door.namespace!r} by its label {NAMESPACE_LABEL}"
            if queue.namespace_selector is None:
                wrong = f"it has no namespaceSelector, and so takes no namespace, {door.namespace!r} neither"
            right = f"`namespaceSelector: {{}}`, or `matchLabels: {{{NAMESPACE_LABEL}: {door.namespace}}}`"
            self._add(self._found.at[f"ClusterQueue {queue.name}"], wrong, right, "spec", "namespaceSelector")
        if not any(resource == GPU for _, resource in queue.quotas):
            self._add(at, f"ClusterQueue {queue.name} has no quota of {GPU}", "a ClusterQueue with some", "spec")
        if door.stop_policy == "HoldAndDrain":
            self._add(at, "running jobs are not drained here", "Hold", "spec", "stopPolicy")
        if door.weight != 1.0:
            wrong = "past use counts by person here, and persons have equal weights"
            self._add(at, wrong, "to leave it out", "spec", "fairSharing")

    def _queue(self, queue: ClusterQueue) -> ClusterQueue:
        tiers = [self._tiers.get(name, name) for one in queue.groups if GPU in one.covered for name in one.flavors]
        rules = queue.fungibility
        return replace(
            queue,
            groups=(ResourceGroup(frozenset({GPU}), tuple(tiers)),) if tiers else (),
            quotas=self._quotas(queue.quotas),
            fungibility=replace(
                rules,
                when_can_borrow=_WORDS.get(rules.when_can_borrow, rules.when_can_borrow),
                when_can_preempt=_WORDS.get(rules.when_can_preempt, rules.when_can_preempt),
            ),
            namespace_selector={},
        )

    def _quotas(self, quotas: Mapping[FlavorResource, Quota]) -> dict[FlavorResource, Quota]:
        return {
            (self._tiers.get(flavor, flavor), GPU): Quota(
                _milli(quota.nominal) or 0, _milli(quota.borrowing_limit), _milli(quota.lending_limit)
            )
            for (flavor, resource), quota in quotas.items()
            if resource == GPU
        }

    def _priorities(self) -> tuple[PriorityClass, ...]:
        """Return the classes; a job that names none has Kueue's priority of 0, which is called `normal` here."""
        found = self._found.priorities
        if found and all(one.name != "normal" for one in found):
            return (*found, PriorityClass("normal", 0))
        return tuple(found)

    def _add(self, at: Path, wrong: str, right: str, *field: str) -> None:
        self._reader.add((*at, *field), wrong, right)


def _milli(gpus: int | None) -> int | None:
    if gpus is None or gpus == UNLIMITED:
        return gpus
    return gpus * WHOLE_GPU_MILLI
