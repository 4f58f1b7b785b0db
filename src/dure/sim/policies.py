"""What a trace is replayed under: a plain policy's name, or a platform file, completed and changed by `--set`.

A policy file may be a part of a platform file: sections that it has not come from the trace or are the usual ones, so a
file with nothing but `burst:` is a policy. The trap: `--set` names list entries by their `name` (`teams.a.weight`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dure.adapters import platform_file
from dure.core.model import ClusterKind, Platform
from dure.core.platform import parse
from dure.core.platform_kueue import Files, namespaces, tiers_of
from dure.core.reservations import Reservation
from dure.sim.calendar import reservation
from dure.sim.plain import PLAIN, Cluster
from dure.sim.traces import BadRow, Trace

EVERYONES_TEAM = "everyone"
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_UNITS_S = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


class PolicyError(Exception):
    """A policy cannot be used: a code of `words.POLICY_ERRORS`, its particulars, and the entry that is wrong."""

    def __init__(self, code: str, *, row: BadRow | None = None, **data: Any) -> None:
        super().__init__(code)
        self.code = code
        self.row = row
        self.data = data


@dataclass(frozen=True, slots=True)
class Size:
    """The private cluster that the command line asks for."""

    nodes: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Policy:
    """One column of the result: `plain` with its cluster, or a platform. `notes` are codes of `words.NOTES`.

    `reservations` are those of the policy itself, beside the trace's.
    """

    name: str
    platform: Platform | None = None
    plain: Cluster | None = None
    reservations: tuple[Reservation, ...] = ()
    notes: tuple[tuple[str, Mapping[str, Any]], ...] = ()


def span_s(text: str) -> float:
    """Return the seconds of a span such as `30m`, `1.5h`, `7d` or `90`."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise PolicyError("bad_span", text=text)
    return float(match[1]) * _UNITS_S[match[2]]


def policies(names: Sequence[str], settings: Sequence[str], size: Size | None, trace: Trace) -> list[Policy]:
    """Return the policies in the order named; platform files once more with `settings`, if any.

    Plain policies get the cluster of `size`, else of the first platform's private nodes. Raises PolicyError and
    PlatformFileError.
    """
    if not names:
        raise PolicyError("none", names=", ".join(PLAIN))
    found: list[Policy] = []
    for name in names:
        path = Path(name)
        if name in PLAIN and not path.is_file():
            found.append(Policy(name))
        elif path.is_file():
            found.append(_platform(path, (), size, trace))
            if settings:
                found.append(_platform(path, settings, size, trace))
        else:
            raise PolicyError("unknown", name=name, names=", ".join(PLAIN))
    platforms = [policy.platform for policy in found if policy.platform is not None]
    if settings and not platforms:
        raise PolicyError("set_plain", name=names[0])
    return [policy if policy.platform is not None else _plain(policy.name, size, platforms, trace) for policy in found]


def _plain(name: str, size: Size | None, platforms: Sequence[Platform], trace: Trace) -> Policy:
    if size is None and not platforms and "clusters" in trace.document:
        told = _parsed(_Completion((), None, trace).complete({}))
        platforms = [told]
    if size is None and not platforms:
        raise PolicyError("no_cluster", name=name)
    if size is None:
        nodes = [
            node.gpus
            for cluster in platforms[0].clusters
            for node in cluster.nodes
            if cluster.kind is ClusterKind.PRIVATE
        ]
        size = Size(max(1, sum(nodes) // max(nodes, default=1)), max(nodes, default=1))
    note = ("plain", {"policy": name, "nodes": size.nodes, "gpus": size.gpus})
    return Policy(name, plain=Cluster(size.nodes, size.gpus), notes=(note,))


def _platform(path: Path, settings: Sequence[str], size: Size | None, trace: Trace) -> Policy:
    completion = _Completion(settings, size, trace)
    platform = platform_file.load(path, completion.complete)
    name = path.stem if not settings else f"{path.stem} {' '.join(settings)}"
    notes: list[tuple[str, Mapping[str, Any]]] = []
    if completion.added_teams:
        notes.append(("teams_added", {"policy": name, "count": len(completion.added_teams)}))
    tiers = {tier.name for tier in platform.tiers}
    dropped = sum(1 for job in trace.jobs if job.tier is not None and job.tier not in tiers)
    if dropped:
        notes.append(("tiers_dropped", {"policy": name, "count": dropped}))
    own = tuple(_reservations(path.name, completion.calendar, platform))
    return Policy(name, platform=platform, reservations=own, notes=tuple(notes))


def _reservations(file: str, calendar: Any, platform: Platform) -> Iterator[Reservation]:
    for number, item in enumerate(calendar if isinstance(calendar, list | tuple) else (calendar,), start=1):
        try:
            yield reservation(number, item, platform)
        except BadRow as error:
            raise PolicyError("bad_reservation", row=error, file=file, number=number) from None


def _parsed(document: Mapping[str, Any]) -> Platform:
    platform = parse(document)
    if not isinstance(platform, Platform):
        raise platform_file.PlatformFileError([str(problem) for problem in platform])
    return platform


@dataclass(slots=True)
class _Completion:
    """Makes a whole platform document of what a policy file says."""

    settings: Sequence[str]
    size: Size | None
    trace: Trace
    added_teams: list[str] = field(default_factory=list)
    calendar: Any = ()

    def complete(self, content: dict[str, Any], files: Files = ()) -> Mapping[str, Any]:
        """Return the document. Quotas, queues and teams are those of Kueue's objects where the policy names some."""
        usual = copy.deepcopy(dict(self.trace.document))
        queued = "kueue" in content
        if queued:
            usual = {key: value for key, value in usual.items() if key in {"clusters", "tiers"}}
            usual["teams"] = [{"name": team, "members": ["*"]} for team in namespaces(files)]
            if "clusters" not in content and "clusters" not in usual:
                usual["tiers"] = [{"name": tier} for tier in tiers_of(files)]
        document = {**usual, **content}
        if isinstance(document.get("reservations"), dict) and "calendar" in document["reservations"]:
            rules = dict(document["reservations"])
            self.calendar = rules.pop("calendar")
            document["reservations"] = rules
        if self.size is not None:
            self._resize(document)
        if "clusters" not in document:
            raise PolicyError("no_cluster", name=document.get("name", "the policy"))
        document.setdefault("tiers", [{"name": tier} for tier in _tiers_used(document)])
        document.setdefault("environments", [{"name": "default", "python": "python3"}])
        if "teams" not in document:
            document["teams"] = []
        if isinstance(document["teams"], list) and not queued:
            known = {team.get("name") for team in document["teams"] if isinstance(team, dict)}
            wanted = [team or EVERYONES_TEAM for team in self.trace.teams]
            if known and any(not team for team in self.trace.teams):
                wanted.remove(EVERYONES_TEAM)  # jobs of no team are of the file's first
            self.added_teams = [team for team in dict.fromkeys(wanted) if team not in known]
            document["teams"] = [
                *document["teams"],
                *({"name": team, "members": ["*"]} for team in self.added_teams),
            ]
        for setting in self.settings:
            _set(document, setting)
        return document

    def _resize(self, document: dict[str, Any]) -> None:
        """Give the policy the private nodes that were asked for, of the tier that its own or the first one has."""
        assert self.size is not None
        clusters = document.get("clusters", [])
        private = [c for c in clusters if isinstance(c, dict) and c.get("kind", "private") == "private"]
        tiers = [node.get("tier") for c in private for node in c.get("nodes", []) if isinstance(node, dict)]
        named = [tier.get("name") for tier in document.get("tiers", []) if isinstance(tier, dict)]
        tier = next(iter([*tiers, *named]), None) or "gpu"
        nodes = [{"name": f"node-{i + 1}", "tier": tier, "gpus": self.size.gpus} for i in range(self.size.nodes)]
        ours = {"name": private[0].get("name", "lab") if private else "lab", "kind": "private", "nodes": nodes}
        document["clusters"] = [ours, *(c for c in clusters if c not in private)]


def _tiers_used(document: Mapping[str, Any]) -> list[str]:
    nodes = [node for c in document["clusters"] if isinstance(c, dict) for node in c.get("nodes", [])]
    return [*dict.fromkeys(str(node.get("tier")) for node in nodes if isinstance(node, dict))]


def _set(document: dict[str, Any], text: str) -> None:
    """Change one dotted key of the document. `burst.wait` is short for rule and time: `fixed:30m`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise PolicyError("bad_set", text=text)
    parts = key.strip().split(".")
    if parts == ["burst", "wait"]:
        rule, colon, wait = value.partition(":")
        if not colon or _SPAN.fullmatch(wait.strip()) is None:
            raise PolicyError("bad_wait", text=text)
        burst = document.setdefault("burst", {})
        burst |= {"rule": rule.strip(), "wait_s": span_s(wait)}
        return
    try:
        plain = YAML(typ="safe", pure=True).load(value)
    except YAMLError:
        plain = value
    inside: Any = document
    for at, part in enumerate(parts[:-1]):
        inside = _step(inside, part, text, ".".join(parts[:at]) or "the file", parts[at + 1])
    if isinstance(inside, dict):
        inside[parts[-1]] = plain
    else:
        raise PolicyError("no_place", text=text, part=parts[-1], inside=".".join(parts[:-1]), choices="")


def _step(inside: Any, part: str, text: str, where: str, following: str) -> Any:
    if isinstance(inside, dict):
        return inside.setdefault(part, {} if following else None)
    if isinstance(inside, list):
        for item in inside:
            if isinstance(item, dict) and item.get("name") == part:
                return item
        names = [str(item.get("name")) for item in inside if isinstance(item, dict)]
        raise PolicyError("no_place", text=text, part=part, inside=where, choices=", ".join(names))
    raise PolicyError("no_place", text=text, part=part, inside=where, choices="")
