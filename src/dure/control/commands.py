"""What people ask of the platform: submit, cancel, talk to a running job. Checks first, then one transaction.

Nothing here waits for the loop: a command writes what is wanted and hints the loop, which is level-triggered. The
trap: every check that needs the platform reads it once, so an edit in between cannot mix two versions.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from dure.control import access
from dure.control.platform_holder import PlatformHolder
from dure.control.reservations import Reservations
from dure.core import lifecycle
from dure.core.events import Draft
from dure.core.forecast.runtimes import fingerprint
from dure.core.model import (
    WHOLE_GPU_MILLI,
    Budget,
    BudgetMode,
    Job,
    Kind,
    Phase,
    Platform,
    Request,
)
from dure.ports import Changes, ExecutorUnavailableError, JobQuery, Ports, Principal, VersionConflictError
from dure.wire.messages import MAX_PAYLOAD_BYTES, Control, JobRequest
from dure.wire.problems import CodedError

_REQUIRED_PAYLOAD: dict[Kind, tuple[str, ...]] = {
    Kind.CELL: ("code",),
    Kind.COMMAND: ("argv",),
    Kind.FUNCTION: ("call",),
}
_CONFLICT_RETRIES = 8
PENDING_PER_USER = 20_000
T = TypeVar("T")


class Commands:
    """The only way by which people change anything. Thread-safe; raises CodedError for every refusal."""

    def __init__(
        self,
        ports: Ports,
        platform: PlatformHolder,
        hint: Callable[[], None],
        *,
        pending_per_user: int = PENDING_PER_USER,
        predict: Callable[[Job], Job] = lambda job: job,
    ) -> None:
        """`pending_per_user` jobs of one person may wait; `predict` adds to a job how long it is expected to run."""
        self._ports = ports
        self._platform = platform
        self._hint = hint
        self._pending_per_user = pending_per_user
        self._predict = predict
        self._lock = threading.Lock()
        self._room: dict[str, int] = {}
        self.reservations = Reservations(ports, platform, hint)

    def draft(self, principal: Principal, request: JobRequest, request_key: str | None = None) -> Job:
        """Return the job that `submit` would put into the queue, checked as it does, and write nothing."""
        platform = self._platform.current
        team = access.team_of(principal, request.team, tuple(t.name for t in platform.teams))
        self._check_environment(platform, request)
        job = self._job_of(principal, team, platform, request, request_key)
        return self._predict(job)

    def submit(self, principal: Principal, request: JobRequest, request_key: str | None) -> Job:
        """Put a job into its team's queue and return it; the same `request_key` again returns the same job."""
        job = self.draft(principal, request, request_key)
        self._check_pending(principal)
        self._check_team_pending(principal, job.team)
        for _ in range(_CONFLICT_RETRIES):
            try:
                stored = self._ports.store.submit(job, [lifecycle.submitted(job)], job.submitted_at)
            except VersionConflictError:  # the random id is taken; the next one will not be
                job = self.draft(principal, request, request_key)
                continue
            self._hint()
            return stored
        raise CodedError("busy")

    def cancel(self, principal: Principal, job_id: str) -> Job:
        """Ask for the job's end and return it; asking again changes nothing. Raises `already_ended`."""
        for _ in range(_CONFLICT_RETRIES):
            job = access.require_owner(principal, self._ports.store.job(job_id), job_id, "cancel")
            if job.phase.terminal:
                raise CodedError("already_ended", job=job_id, phase=job.phase.value, action="cancel")
            step = lifecycle.ask_cancel(job, "user")
            if step is None:
                return job
            changes = Changes((step.job,), (step.event,), actor=principal.name)
            try:
                self._ports.store.commit(changes, self._ports.clock.now())
            except VersionConflictError:
                continue
            self._hint()
            return step.job
        raise CodedError("busy")

    def control(self, principal: Principal, job_id: str, message: Control) -> None:
        """Pass a message to a running job. A queued or starting job that is interrupted is cancelled instead."""
        asks = "interrupt" if message.op == "interrupt" else "send this job input"
        job = access.require_owner(principal, self._ports.store.job(job_id), job_id, asks)
        if job.phase.terminal:
            raise CodedError("already_ended", job=job_id, phase=job.phase.value, action=message.op)
        if message.op == "cell":
            _check_cell(message)
        if job.phase is Phase.QUEUED and message.op == "interrupt":
            self.cancel(principal, job_id)
            return
        if not self._sent(job, message):
            if message.op == "interrupt":
                self.cancel(principal, job_id)
                return
            if message.op == "stdin" and job.phase is Phase.RUNNING:
                raise CodedError("not_asked", job=job_id)
            raise CodedError("not_running", job=job_id, phase=job.phase.value)
        if message.op == "interrupt":
            told = Draft("job.interrupted", job.id, {"team": job.team, "user": job.user})
            self._ports.store.commit(Changes((), (told,), principal.name), self._ports.clock.now())

    def _sent(self, job: Job, message: Control) -> bool:
        if job.lease is None:
            return False
        executor = self._ports.executors.get(job.lease.cluster)
        if executor is None:
            return False
        try:
            return executor.send(job.id, job.attempt, message.model_dump(exclude_none=message.op != "provide"))
        except ExecutorUnavailableError as error:
            raise CodedError("busy") from error

    def _check_environment(self, platform: Platform, request: JobRequest) -> None:
        name = request.environment or platform.environments[0].name
        names = [environment.name for environment in platform.environments]
        if name not in names:
            raise CodedError("unknown_environment", environment=name, choices=", ".join(names))
        python = _minor(self._platform.fingerprint(name).get("python"))
        if request.python is None or python is None or python == request.python:
            return
        fitting = [n for n in names if _minor(self._platform.fingerprint(n).get("python")) == request.python]
        raise CodedError(
            "environment_python",
            kernel=request.python,
            python=python,
            environment=name,
            choices=", ".join(fitting) or "none",
        )

    def _check_pending(self, principal: Principal) -> None:
        limit = self._pending_per_user
        with self._lock:
            room = self._room[principal.name] = self._room.get(principal.name, 0) - 1
        if room > 0:  # so many were missing when last counted, and only submissions make it fewer
            return
        query = JobQuery(user=principal.name, phases=(Phase.QUEUED,), limit=limit)
        pending = self._ports.store.count(query)
        with self._lock:
            self._room[principal.name] = limit - pending
        if pending >= limit:
            raise CodedError("queue_full", user=principal.name, pending=pending, limit=limit)

    def _check_team_pending(self, principal: Principal, name: str) -> None:
        """Raise `pending_limit` when the team, or this person in it, has as many jobs waiting as it may."""
        teams = {team.name: team for team in self._platform.current.teams}
        team = teams[access.team_of(principal, name, tuple(teams))]  # an edit may have taken it away since
        for limit, user in ((team.user_limits.pending, principal.name), (team.limits.pending, None)):
            if limit is None:
                continue
            query = JobQuery(teams=(name,), user=user, phases=(Phase.QUEUED,), limit=max(1, limit))
            pending = self._ports.store.count(query)
            if pending >= limit:
                raise CodedError("pending_limit", who=user or name, team=name, pending=pending, limit=limit)

    def _job_of(
        self, principal: Principal, team: str, platform: Platform, request: JobRequest, request_key: str | None
    ) -> Job:
        kind = Kind(request.kind)
        _check_payload(kind, request)
        now = self._ports.clock.now()
        priority = _named(request.priority, "normal", {p.name: p for p in platform.priorities}, "priority")
        data = _named(request.data, "open", {d.name: d for d in platform.data_classes}, "data_class", key="data")
        return Job(
            id=self._ports.ids.job_id(),
            name=printable(request.name),
            kind=kind,
            user=principal.name,
            team=team,
            request=_request_of(platform, request),
            submitted_at=now,
            queued_at=now,
            environment=request.environment or platform.environments[0].name,
            priority=priority.name,
            priority_value=priority.value,
            budget=_budget_of(request),
            deadline_at=request.deadline_at,
            burstable=True if request.burst is None else request.burst,
            data_class=data.name,
            timeout_s=request.timeout_s or platform.default_timeout_s,
            keep_s=request.keep_s,
            fingerprint=fingerprint(kind, request.payload),
            retries=request.retries,
            payload=request.payload | ({"python": request.python} if request.python else {}),
            references=tuple(request.references),
            inputs=dict(request.inputs),
            request_key=request_key,
        )


def printable(text: str) -> str:
    """Return the text without what would act on a terminal or turn a line around (control and bidi characters)."""
    return "".join(sign if sign.isprintable() else " " for sign in text).strip() or "job"


def _minor(version: object) -> str | None:
    return ".".join(version.split(".")[:2]) if isinstance(version, str) else None


def _check_cell(message: Control) -> None:
    if message.cell is None:
        raise CodedError("payload_invalid", kind="cell", problem="the message has no 'cell'")
    _check_size(Kind.CELL, message.cell.model_dump())


def _check_size(kind: Kind, payload: object) -> None:
    size = len(json.dumps(payload))
    if size > MAX_PAYLOAD_BYTES:
        hint = "keep large values in variables, which travel as blobs, not in the code"
        raise CodedError("too_large", what=kind.value, size_bytes=size, limit_bytes=MAX_PAYLOAD_BYTES, hint=hint)


def _check_payload(kind: Kind, request: JobRequest) -> None:
    for field in _REQUIRED_PAYLOAD[kind]:
        if field not in request.payload:
            raise CodedError("payload_invalid", kind=kind.value, problem=f"its payload has no {field!r}")
    argv = request.payload.get("argv")
    if kind is Kind.COMMAND and not (isinstance(argv, list) and argv and all(isinstance(a, str) for a in argv)):
        raise CodedError("payload_invalid", kind=kind.value, problem="argv is not a list of at least one text")
    if request.keep_s > 0 and (kind is not Kind.CELL or request.retries):
        problem = "keep_s is for cells, and not together with retries: what is kept cannot be started again"
        raise CodedError("payload_invalid", kind=kind.value, problem=problem)
    _check_size(kind, request.payload)


def _named(asked: str | None, default: str, known: dict[str, T], what: str, key: str | None = None) -> T:
    """Return what is known by the asked name; without one by the default's, else the first of the platform file."""
    if asked is None:
        return known.get(default) or next(iter(known.values()))
    if asked not in known:
        raise CodedError(f"unknown_{what}", **{key or what: asked}, choices=", ".join(known))
    return known[asked]


def _budget_of(request: JobRequest) -> Budget:
    if request.budget is None:
        return Budget()
    if isinstance(request.budget, str):
        return Budget(BudgetMode(request.budget))
    return Budget(BudgetMode.AMOUNT, float(request.budget))


def _request_of(platform: Platform, request: JobRequest) -> Request:
    """Return what the queue is asked for; `gpus` and `memory_bytes` of a submission are each node's."""
    milli = round(request.gpus * WHOLE_GPU_MILLI)
    if abs(milli - request.gpus * WHOLE_GPU_MILLI) > 1e-6 or milli < 1:
        raise CodedError("bad_fraction", gpus=request.gpus)
    if milli > WHOLE_GPU_MILLI and milli % WHOLE_GPU_MILLI:
        raise CodedError("bad_fraction", gpus=request.gpus)
    tiers = [tier.name for tier in platform.tiers]
    if request.tier is not None and request.tier not in tiers:
        raise CodedError("unknown_tier", tier=request.tier, choices=", ".join(tiers))
    nodes = [n for c in platform.clusters for n in c.nodes if request.tier in {None, n.tier}]
    most = max((node.gpus for node in nodes), default=0)
    if milli > most * WHOLE_GPU_MILLI:
        raise CodedError("too_many_gpus", gpus=f"{request.gpus:g}", tier=request.tier or "any tier", most=most)
    levels = request.required_topology, request.preferred_topology
    for level in levels:
        if level is not None and level not in platform.topology:
            raise CodedError("unknown_topology", level=level, choices=", ".join(platform.topology) or "–")
    if None not in levels:
        raise CodedError("two_topologies", required=levels[0], preferred=levels[1])
    if request.nodes > 1:
        _check_nodes(platform, request, milli)
    return Request(milli * request.nodes, request.tier, request.memory_bytes, request.nodes, *levels)


def _check_nodes(platform: Platform, request: JobRequest, milli: int) -> None:
    """Raise CodedError unless so many nodes of one tier, each with so much, stand together as is required."""
    if request.kind != Kind.COMMAND.value:
        raise CodedError("one_node", kind=request.kind, nodes=request.nodes)
    if milli % WHOLE_GPU_MILLI:
        raise CodedError("parts_of_nodes", gpus=request.gpus, nodes=request.nodes)
    depth = platform.topology.index(request.required_topology) + 1 if request.required_topology else 0
    able = Counter(
        (cluster.name, node.tier, *(node.labels.get(level, "") for level in platform.topology[:depth]))
        for cluster in platform.clusters
        for node in cluster.nodes
        if request.tier in {None, node.tier} and node.gpus * WHOLE_GPU_MILLI >= milli
    )
    most = max(able.values(), default=0)
    if request.nodes > most:
        asked = {"nodes": request.nodes, "gpus": f"{request.gpus:g}", "tier": request.tier or "any tier", "most": most}
        raise CodedError("too_many_nodes", **asked, place=request.required_topology or "cluster")
