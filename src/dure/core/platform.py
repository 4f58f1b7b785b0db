"""Decides whether a platform document is valid, and turns it into a `Platform`: plain data in, all problems out.

Keys follow Kueue's words where Kueue has one (`nominal_quota`, `stop_policy`, `weight`). The trap: a reference
is only checked against a section that could be read, or one misspelt section would be reported once per line
that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dure.core import platform_kueue, platform_limits
from dure.core import platform_queueing as queueing
from dure.core.document import Path, Problem, Reader
from dure.core.model import (
    EVERYONE,
    Authenticator,
    BurstPolicy,
    Cluster,
    ClusterKind,
    DataClass,
    Environment,
    Node,
    Platform,
    PriorityClass,
    Queue,
    Sharing,
    Team,
    Tier,
)
from dure.core.platform_queueing import by_tier, name_of
from dure.core.session import SessionPolicy

__all__ = ["Problem", "parse"]

MAX_GPUS_PER_NODE = 1024
BURST_RULES = ("fixed", "proportional")
STOP_POLICIES = ("None", "Hold")
DEFAULT_PRIORITY = "normal"
DEFAULT_ENVIRONMENT = "default"
DEFAULT_PRIORITIES = (
    PriorityClass("high", 100),
    PriorityClass(DEFAULT_PRIORITY, 0),
    PriorityClass("low", -100),
)
DEFAULT_DATA_CLASSES = (DataClass("open", may_leave=True), DataClass("private", may_leave=False))

_KEYS = (
    "name",
    "currency",
    "topology",
    "admins",
    "default_timeout_s",
    "clusters",
    "tiers",
    "cohorts",
    "teams",
    "queues",
    "queueing",
    "kueue",
    "priorities",
    "burst",
    "data_classes",
    "environments",
    "authenticator",
    "sessions",
    "reservations",
)
_LEVEL = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LEVEL_RULE = "the name of a node's label, such as rack"
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_RULE = "a label's value: letters, digits and . _ -"
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_PERSON_RULE = "a user name of letters, digits and . _ @ -"
_UUID = re.compile(r"(GPU|MIG)-[A-Za-z0-9/-]{8,80}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_AUTHENTICATOR = re.compile(r"[a-z][a-z0-9-]*|[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SECRET = re.compile(r"(.*_)?(secret|password|token|private_key)")


def parse(
    document: Mapping[Any, Any],
    *,
    digest: str = "",
    check_python: Callable[[str], Problem | None] | None = None,
    kueue: platform_kueue.Files = (),
) -> Platform | tuple[Problem, ...]:
    """Return the platform that `document` describes, or every problem that it has.

    `check_python` looks at one environment's interpreter on the real machine and returns what is wrong (its
    path is set here); without it any non-empty text passes. `kueue` are the documents of the files that it names.
    """
    reader = Reader()
    top = reader.mapping((), document, _KEYS)
    name = reader.text((), top, "name", default="Dure")
    currency = reader.text((), top, "currency", default="KRW", pattern=re.compile("[A-Z]{3}"), rule="an ISO 4217 code")
    admins = _people(reader, ("admins",), top.get("admins", []), everyone=False)
    timeout_s = reader.number((), top, "default_timeout_s", default=None, above=0)
    tiers = _tiers(reader, top)
    topology = reader.texts(("topology",), top.get("topology", []), _LEVEL, _LEVEL_RULE)
    clusters = _clusters(reader, top, topology)
    cohorts = queueing.cohorts(reader, top)
    teams = _teams(reader, top)
    queues = _queues(reader, top, teams)
    policy = queueing.policy(reader, top)
    queueing.check_guarantees(reader, clusters, teams, cohorts)
    priorities = _priorities(reader, top)
    burst = _burst(reader, top)
    data_classes = _data_classes(reader, top)
    environments = _environments(reader, top, check_python)
    authenticator = _authenticator(reader, top)
    sessions = _sessions(reader, top)
    reservations = platform_limits.reservations(reader, top)
    taken = platform_kueue.objects(reader, top, kueue, teams, clusters)
    if taken is not None:
        teams, queues = platform_kueue.with_quotas(teams, taken), platform_kueue.queues_of(taken)
        priorities = taken.priorities or priorities
    if reader.problems:
        return tuple(reader.problems)
    return Platform(
        name=name,
        clusters=clusters,
        tiers=tiers,
        teams=teams,
        queues=queues,
        priorities=priorities,
        data_classes=data_classes,
        environments=environments,
        burst=burst,
        currency=currency,
        admins=admins,
        default_timeout_s=timeout_s,
        digest=digest,
        authenticator=authenticator,
        cohorts=cohorts,
        queueing=policy,
        sessions=sessions,
        reservations=reservations,
        topology=topology,
        kueue=taken,
    )


def _tiers(reader: Reader, top: Mapping[str, Any]) -> tuple[Tier, ...]:
    tiers = []
    for path, item in reader.items(top, "tiers", ("name", "price_per_gpu_hour", "description"), required=True):
        tiers.append(
            Tier(
                name=name_of(reader, path, item, "tiers"),
                price_per_gpu_hour=reader.number(path, item, "price_per_gpu_hour", default=0.0) or 0.0,
                description=reader.text(path, item, "description", default=""),
            )
        )
    return tuple(tiers)


def _clusters(reader: Reader, top: Mapping[str, Any], topology: Sequence[str]) -> tuple[Cluster, ...]:
    clusters = []
    keys = ("name", "kind", "provision_s", "prices", "nodes")
    for path, item in reader.items(top, "clusters", keys, required=True):
        name = name_of(reader, path, item, "clusters")
        kind = reader.choice(path, item, "kind", tuple(kind.value for kind in ClusterKind), default="private")
        nodes = _nodes(reader, path, item, topology)
        prices = by_tier(reader, (*path, "prices"), item.get("prices", {}), reader.money)
        public = kind == ClusterKind.PUBLIC
        if kind == ClusterKind.PRIVATE and "prices" in item:
            reader.add(
                (*path, "prices"),
                "a private cluster has no prices of its own",
                "to leave it out: what its GPUs cost is price_per_gpu_hour of tiers",
            )
        if public:
            for tier in dict.fromkeys(node.tier for node in nodes if node.tier):
                if tier not in prices and not reader.has(((*path, "prices", tier), (*path, "prices"))):
                    reader.add(
                        (*path, "prices") if "prices" in item else path,
                        f"public cluster {name!r} has GPUs of tier {tier!r} without a price",
                        f"`prices: {{{tier}: 4000}}`, the price of one GPU for an hour",
                    )
        clusters.append(
            Cluster(
                name=name,
                kind=ClusterKind(kind or ClusterKind.PRIVATE),
                nodes=nodes,
                provision_s=reader.number(path, item, "provision_s", default=0.0) or 0.0,
                prices=prices,
            )
        )
    return tuple(clusters)


def _nodes(reader: Reader, cluster: Path, item: Mapping[str, Any], topology: Sequence[str]) -> tuple[Node, ...]:
    nodes = []
    keys = ("name", "tier", "gpus", "model", "gpu_memory_bytes", "simulated", "uuids", "sharing", "labels")
    for path, node in reader.items(item, "nodes", keys, required=True, parent=cluster):
        simulated = reader.flag(path, node, "simulated", default=False)
        gpus = reader.integer(path, node, "gpus", least=1, most=MAX_GPUS_PER_NODE)
        uuids = reader.texts((*path, "uuids"), node.get("uuids", []), _UUID, "a GPU's UUID as `nvidia-smi -L` shows it")
        if uuids and len(node["uuids"]) != gpus:
            reader.add(
                (*path, "uuids"), f"there are {len(node['uuids'])} UUIDs for {gpus} GPUs", "one for each GPU, or none"
            )
        nodes.append(
            Node(
                name=name_of(reader, path, node, (*cluster, "nodes")),
                tier=reader.reference(path, node, "tier", "tiers", "tier"),
                gpus=gpus,
                model=reader.text(path, node, "model", default="simulated" if simulated else "unknown"),
                gpu_memory_bytes=(
                    reader.integer(path, node, "gpu_memory_bytes", least=1) if "gpu_memory_bytes" in node else None
                ),
                simulated=simulated,
                uuids=uuids,
                sharing=_sharing(reader, path, node, uuids),
                labels=_labels(reader, path, node, topology, alone=item.get("kind") == ClusterKind.PUBLIC),
            )
        )
    return tuple(nodes)


def _labels(
    reader: Reader, path: Path, node: Mapping[str, Any], topology: Sequence[str], *, alone: bool
) -> Mapping[str, str]:
    """Return where a node stands: a value for every level of the topology; `alone` it need say none."""
    labels = reader.mapping((*path, "labels"), node.get("labels", {}), tuple(topology))
    missing = [level for level in topology if level not in labels]
    if missing and not alone and not reader.has(((*path, "labels"),)):
        right = f"`labels: {{{', '.join(f'{level}: …' for level in missing)}}}` at the node"
        reader.add(path, f"it has no label {', '.join(missing)}, which topology names", right)
    at = (*path, "labels")
    return {
        level: reader.text(at, labels, level, default=str(node.get("name", "")), pattern=_LABEL, rule=_LABEL_RULE)
        for level in topology
    }


def _sharing(reader: Reader, path: Path, node: Mapping[str, Any], uuids: tuple[str, ...]) -> Sharing:
    choices = tuple(sharing.value for sharing in Sharing)
    sharing = reader.choice(path, node, "sharing", choices, default=Sharing.TIME_SLICE.value)
    if sharing == Sharing.MIG and not (uuids and all(uuid.startswith("MIG-") for uuid in uuids)):
        right = "`uuids` with the MIG-… names of its instances, one for each of `gpus`, as `nvidia-smi -L` shows them"
        if node.get("simulated") is not True:
            reader.add((*path, "sharing"), "the instances that share its GPUs are not named", right)
    return Sharing(sharing or Sharing.TIME_SLICE)


def _teams(reader: Reader, top: Mapping[str, Any]) -> tuple[Team, ...]:
    teams = []
    keys = ("name", "members", "cohort", *queueing.QUOTA_KEYS, "weight", *platform_limits.KEYS)
    for path, item in reader.items(top, "teams", keys, required=True):
        weight = reader.number(path, item, "weight", default=1.0)
        bounds: dict[str, Any] = {**queueing.quotas(reader, path, item), **platform_limits.limits(reader, path, item)}
        teams.append(
            Team(
                name=name_of(reader, path, item, "teams"),
                members=_people(reader, (*path, "members"), item.get("members", []), everyone=True),
                weight=1.0 if weight is None else weight,
                cohort=reader.reference(path, item, "cohort", "cohorts", "cohort") if "cohort" in item else None,
                **bounds,
            )
        )
    return tuple(teams)


def _queues(reader: Reader, top: Mapping[str, Any], teams: tuple[Team, ...]) -> tuple[Queue, ...]:
    queues = []
    seen: dict[str, Path] = {}
    for path, item in reader.items(top, "queues", ("name", "team", "stop_policy")):
        name = name_of(reader, path, item, "queues")
        team = reader.reference(path, item, "team", "teams", "team")
        if team and team in seen:
            reader.add(
                (*path, "team"),
                f"team {team!r} has a queue already ({_dotted(seen[team])})",
                "one queue per team",
            )
        seen.setdefault(team, path)
        stop = reader.choice(path, item, "stop_policy", STOP_POLICIES, default="None")
        queues.append(Queue(name=name, team=team, stopped=stop == "Hold"))
    taken = {queue.name for queue in queues}
    queues.extend(
        Queue(name=owner.name if owner.name not in taken else f"{owner.name}-queue", team=owner.name)
        for owner in teams
        if owner.name not in seen
    )
    return tuple(queues)


def _priorities(reader: Reader, top: Mapping[str, Any]) -> tuple[PriorityClass, ...]:
    if "priorities" not in top:
        return DEFAULT_PRIORITIES
    priorities = tuple(
        PriorityClass(
            name_of(reader, path, item, "priorities"),
            reader.integer(path, item, "value", least=-1_000_000_000, most=1_000_000_000),
        )
        for path, item in reader.items(top, "priorities", ("name", "value"))
    )
    _needs(reader, top, "priorities", DEFAULT_PRIORITY, "priority")
    return priorities


def _burst(reader: Reader, top: Mapping[str, Any]) -> BurstPolicy:
    path: Path = ("burst",)
    keys = ("enabled", "rule", "wait_s", "min_wait_s", "max_wait_s", "default_predicted_s")
    item = reader.mapping(path, top.get("burst", {}), keys)
    usual = BurstPolicy()
    policy = BurstPolicy(
        enabled=reader.flag(path, item, "enabled", default=usual.enabled),
        rule=reader.choice(path, item, "rule", BURST_RULES, default=usual.rule),
        wait_s=reader.seconds(path, item, "wait_s", usual.wait_s),
        min_wait_s=reader.seconds(path, item, "min_wait_s", usual.min_wait_s),
        max_wait_s=reader.seconds(path, item, "max_wait_s", usual.max_wait_s),
        default_predicted_s=reader.seconds(path, item, "default_predicted_s", usual.default_predicted_s),
    )
    if policy.min_wait_s > policy.max_wait_s:
        reader.add(
            (*path, "min_wait_s" if "min_wait_s" in item else "max_wait_s"),
            f"min_wait_s {policy.min_wait_s:g} is more than max_wait_s {policy.max_wait_s:g}",
            "min_wait_s of at most max_wait_s",
        )
    return policy


def _sessions(reader: Reader, top: Mapping[str, Any]) -> SessionPolicy:
    path: Path = ("sessions",)
    item = reader.mapping(path, top.get("sessions", {}), ("save", "ttl_days", "quota_bytes"))
    usual = SessionPolicy()
    ttl_days = reader.number(path, item, "ttl_days", default=usual.ttl_days, above=0)
    quota_bytes = usual.quota_bytes
    if "quota_bytes" in item:
        quota_bytes = reader.integer(path, item, "quota_bytes", least=1)
    save = reader.flag(path, item, "save", default=usual.save)
    return SessionPolicy(save, ttl_days or usual.ttl_days, quota_bytes)


def _data_classes(reader: Reader, top: Mapping[str, Any]) -> tuple[DataClass, ...]:
    if "data_classes" not in top:
        return DEFAULT_DATA_CLASSES
    return tuple(
        DataClass(name_of(reader, path, item, "data_classes"), reader.flag(path, item, "may_leave", default=None))
        for path, item in reader.items(top, "data_classes", ("name", "may_leave"), required=True)
    )


def _environments(
    reader: Reader, top: Mapping[str, Any], check_python: Callable[[str], Problem | None] | None
) -> tuple[Environment, ...]:
    environments = []
    for path, item in reader.items(top, "environments", ("name", "python", "preimports"), required=True):
        python = reader.text(path, item, "python", default=None)
        problem = check_python(python) if python and check_python else None
        if problem:
            reader.add((*path, "python"), problem.wrong, problem.right)
        preimports = reader.texts((*path, "preimports"), item.get("preimports", []), _MODULE, "a module's name")
        name = name_of(reader, path, item, "environments")
        environments.append(Environment(name=name, python=python, preimports=preimports))
    _needs(reader, top, "environments", DEFAULT_ENVIRONMENT, "environment")
    return tuple(environments)


def _authenticator(reader: Reader, top: Mapping[str, Any]) -> Authenticator | None:
    if "authenticator" not in top:
        return None
    path: Path = ("authenticator",)
    item = reader.mapping(path, top["authenticator"], ("class", "settings"))
    rule = "github, google, generic-oauth, or another JupyterHub authenticator such as package.module.Class"
    kind = reader.text(path, item, "class", default=None, pattern=_AUTHENTICATOR, rule=rule)
    at = (*path, "settings")
    settings = reader.mapping(at, item.get("settings", {}), None)
    for name, value in settings.items():
        _setting(reader, (*at, name), value, secret=_SECRET.fullmatch(name) is not None)
    return Authenticator(kind, settings)


def _setting(reader: Reader, path: Path, value: Any, *, secret: bool) -> None:
    """Note what is wrong with a setting: plain data only, and secrets and references only as `${NAME}`."""
    if isinstance(value, Mapping):
        for key, content in value.items():
            _setting(reader, (*path, str(key)), content, secret=_SECRET.fullmatch(str(key)) is not None)
    elif isinstance(value, list):
        for index, content in enumerate(value):
            _setting(reader, (*path, index), content, secret=secret)
    elif isinstance(value, str) and _REFERENCE.fullmatch(value):
        return
    elif secret:
        right = f"`${{DURE_{str(path[-1]).upper()}}}`, the environment variable that has it when `dure up` starts"
        reader.add(path, "a secret stands in the file", right)
    elif isinstance(value, str) and "${" in value:
        reader.add(path, f"{value!r} is no reference", "`${NAME}` and nothing else, or a text without `${`")
    elif value is not None and not isinstance(value, str | bool | int | float):
        reader.add(path, f"{value!r} is not allowed", "text, a number, true, false, or a list or mapping of those")


def _people(reader: Reader, path: Path, value: Any, *, everyone: bool) -> tuple[str, ...]:
    pattern = re.compile(rf"{_PERSON.pattern}|{re.escape(EVERYONE)}") if everyone else _PERSON
    rule = f"{_PERSON_RULE}, or '*' for everyone who is signed in" if everyone else _PERSON_RULE
    return reader.texts(path, value, pattern, rule)


def _needs(reader: Reader, top: Mapping[str, Any], section: str, name: str, what: str) -> None:
    if top.get(section) and isinstance(top[section], list) and name not in reader.names(section):
        right = f"one of them with `name: {name}`, which jobs have unless they name another"
        reader.add((section,), f"there is no {what} {name!r}", right)


def _dotted(path: Path) -> str:
    return Problem(path, "", "").where
