"""The truth about jobs, GPUs and the platform: frozen data that every other part derives its view from.

GPUs are counted in thousandths (`gpus_milli`, 1000 = one GPU) because fractions must add up exactly; money is a
float in the platform's currency; times are seconds since the epoch. The trap: a `Job` is one row *and* one
immutable value, so a change is always a new value with `version + 1` made by `lifecycle`, never an edit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dure.core.queueing.kueue.objects import ClusterQueue, Flavor, LocalQueue, Settings
from dure.core.queueing.kueue.objects import Cohort as KueueCohort
from dure.core.session import SessionPolicy

WHOLE_GPU_MILLI = 1000
EVERYONE = "*"
ROOT_COHORT = "dure"


class Phase(StrEnum):
    """What is observed of a job. Changed by `lifecycle.advance` only."""

    QUEUED = "queued"
    ADMITTED = "admitted"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True when nothing can happen to the job any more."""
        return self in TERMINAL

    @property
    def holds_gpus(self) -> bool:
        """True while an attempt of the job has a lease."""
        return self in HOLDING


TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})
HOLDING = frozenset({Phase.ADMITTED, Phase.STARTING, Phase.RUNNING})


class Goal(StrEnum):
    """What the user wants, kept apart from what is observed."""

    RUN = "run"
    CANCEL = "cancel"


class Kind(StrEnum):
    """What a job executes."""

    CELL = "cell"
    COMMAND = "command"
    FUNCTION = "function"


class BudgetMode(StrEnum):
    """Whether a job may cost money: `flex` up to the team's budget, `strict` never, `amount` up to a limit."""

    FLEX = "flex"
    STRICT = "strict"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True)
class Budget:
    """A job's willingness to pay; `limit` is money and set only for `amount`."""

    mode: BudgetMode = BudgetMode.STRICT
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class GpuShare:
    """One GPU of a node, or a part of it."""

    index: int
    share_milli: int = WHOLE_GPU_MILLI


@dataclass(frozen=True, slots=True)
class NodeShare:
    """GPUs of one node that a gang holds besides those of its first node."""

    node: str
    gpus: tuple[GpuShare, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """GPUs given to one attempt of a job until it ends: of one node, or of the first (`node`) and `others` of a gang.

    All nodes are of one cluster and one tier.
    """

    cluster: str
    node: str
    tier: str
    gpus: tuple[GpuShare, ...]
    price_per_gpu_hour: float = 0.0
    others: tuple[NodeShare, ...] = ()

    @property
    def gpus_milli(self) -> int:
        """Thousandths of a GPU held, on all nodes."""
        return sum(gpu.share_milli for share in self.shares for gpu in share.gpus)

    @property
    def shares(self) -> tuple[NodeShare, ...]:
        """What is held of each node, the first node first."""
        return (NodeShare(self.node, self.gpus), *self.others)


@dataclass(frozen=True, slots=True)
class Promise:
    """Where a waiting job starts for which `victims` were stopped: on these nodes, as soon as all of them are gone.

    From `until` on (seconds since the epoch) it waits for them no longer: one of them does not go.
    """

    cluster: str
    tier: str
    nodes: tuple[str, ...]
    victims: tuple[str, ...]
    until: float


@dataclass(frozen=True, slots=True)
class Request:
    """What a job asks of the queue. `tier` None means any tier.

    A gang over several `nodes` gets them together or not at all; `gpus_milli` is the total, split evenly. All of them
    are in one domain of the level `required_topology`, or as near each other as can be from `preferred_topology` on.
    """

    gpus_milli: int = WHOLE_GPU_MILLI
    tier: str | None = None
    memory_bytes: int | None = None
    nodes: int = 1
    required_topology: str | None = None
    preferred_topology: str | None = None

    @property
    def shape(self) -> tuple[int, int, str | None]:
        """What decides whether some nodes have room for the request."""
        return self.gpus_milli, self.nodes, self.required_topology

    @property
    def node_milli(self) -> int:
        """Thousandths of a GPU that each node of the request gives."""
        return self.gpus_milli // self.nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One submission by a person, with everything that is known of it.

    `predicted_s` is how long it should run, `expected_s` what jobs predicted so take in the mean.
    `preempted_by` is set while it still has GPUs that it must give to that job, and `promise` while it waits after
    others were stopped for it. `inputs` are the largest of the blobs that it reads, with the bytes that each stands
    for: a place that has them is preferred.
    """

    id: str
    name: str
    kind: Kind
    user: str
    team: str
    request: Request
    submitted_at: float
    environment: str = "default"
    priority: str = "normal"
    priority_value: int = 0
    budget: Budget = Budget()
    deadline_at: float | None = None
    burstable: bool = True
    data_class: str = "open"
    timeout_s: float | None = None
    keep_s: float = 0.0
    retries: int = 0
    predicted_s: float | None = None
    expected_s: float | None = None
    fingerprint: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    inputs: Mapping[str, int] = field(default_factory=dict)
    request_key: str | None = None
    goal: Goal = Goal.RUN
    phase: Phase = Phase.QUEUED
    attempt: int = 0
    losses: int = 0  # of attempts whose code had begun
    false_starts: int = 0  # of attempts lost before that
    preempted_by: str | None = None
    promise: Promise | None = None
    lease: Lease | None = None
    queued_at: float = 0.0
    admitted_at: float | None = None
    began_at: float | None = None
    kept_since: float | None = None  # it runs no code since then: its process is kept for a next cell
    checkpointed_at: float | None = None  # this attempt's work is saved as of then
    ended_at: float | None = None
    waited_s: float = 0.0
    ran_s: float = 0.0
    cost: float = 0.0
    reason: str | None = None
    failure: Mapping[str, Any] = field(default_factory=dict)  # ename, evalue, exit_code: also where jobs are listed
    result: Mapping[str, Any] | None = None
    version: int = 0

    @property
    def outputs(self) -> Collection[str]:
        """The largest of the blobs that it wrote, known at its end."""
        wrote: Mapping[str, int] = (self.result or {}).get("outputs") or {}
        return wrote.keys()


class ClusterKind(StrEnum):
    """Whether using a cluster costs money and lets data leave the house."""

    PRIVATE = "private"
    PUBLIC = "public"


class Sharing(StrEnum):
    """How parts of one GPU are kept apart: by turns, by MPS with limits, or as instances of a MIG GPU."""

    TIME_SLICE = "time-slice"
    MPS = "mps"
    MIG = "mig"


def domain_of(labels: Mapping[str, str], level: str | None) -> tuple[str, ...]:
    """Return the values of a node's labels, which are outermost first, down to a level; none for None."""
    levels = [] if level is None else [*labels]
    return tuple(labels[one] for one in levels[: levels.index(level) + 1 if level in levels else None])


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with GPUs of one tier. `simulated` GPUs only exist in the books and are said to be so.

    `uuids` names its real GPUs, by index, as CUDA_VISIBLE_DEVICES takes them; empty when the index is the name.
    `labels` say where it stands: one for each level of the platform's topology.
    """

    name: str
    tier: str
    gpus: int
    model: str = "simulated"
    gpu_memory_bytes: int | None = None
    simulated: bool = False
    uuids: tuple[str, ...] = ()
    sharing: Sharing = Sharing.TIME_SLICE
    labels: Mapping[str, str] = field(default_factory=dict)

    def domain(self, level: str | None) -> tuple[str, ...]:
        """Return the domain of a level that it is in: its values down to that level; None is its whole cluster."""
        return domain_of(self.labels, level)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A place with GPUs. `provision_s` is how long a node takes to be ready after it was asked for."""

    name: str
    kind: ClusterKind
    nodes: tuple[Node, ...]
    provision_s: float = 0.0
    prices: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tier:
    """A class of GPU. `price_per_gpu_hour` is the internal price on private clusters."""

    name: str
    price_per_gpu_hour: float = 0.0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that a team, or each of its people, may have: at once, in a day, waiting. None: no limit."""

    jobs: int | None = None
    gpus_milli: int | None = None
    gpu_hours_per_day: float | None = None
    pending: int | None = None


class BudgetAction(StrEnum):
    """What a used-up budget does: keeps jobs from public clusters, runs them last, or lets none start."""

    BURST = "burst"
    SOFT = "soft"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class Team:
    """People who share a queue, a quota, a weight and a budget.

    A member `*` is everyone who is signed in. By tier: `quota_milli` is guaranteed and can be taken back while others
    use it, `borrowing_milli` is the most beyond it (absent: no limit), `lending_milli` the most of it that others may
    use (absent: all). `cohort` None is the platform's own.
    """

    name: str
    members: tuple[str, ...]
    quota_milli: Mapping[str, int] = field(default_factory=dict)
    weight: float = 1.0
    budget_per_month: float | None = None
    borrowing_milli: Mapping[str, int] = field(default_factory=dict)
    lending_milli: Mapping[str, int] = field(default_factory=dict)
    cohort: str | None = None
    limits: Limit = Limit()
    user_limits: Limit = Limit()
    budget_gpu_hours_per_month: float | None = None
    budget_action: BudgetAction = BudgetAction.BURST


@dataclass(frozen=True, slots=True)
class Cohort:
    """Teams and cohorts that lend each other what they do not use (Kueue: Cohort).

    `parent` None is the platform's own cohort `dure`, which owns every private GPU that nobody is guaranteed.
    """

    name: str
    parent: str | None = None
    quota_milli: Mapping[str, int] = field(default_factory=dict)
    borrowing_milli: Mapping[str, int] = field(default_factory=dict)
    lending_milli: Mapping[str, int] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class QueueingPolicy:
    """How jobs are admitted: Kueue's strategies and preemption policies by their own names.

    `half_life_s` is how fast a person's past use fades; 0 orders people by nothing but priority and time. With
    `share_preempts` a team with a smaller share may also take GPUs that others borrowed (Kueue: fairSharing).
    """

    strategy: str = "BestEffortFIFO"
    within_cluster_queue: str = "Never"
    reclaim_within_cohort: str = "Any"
    borrow_within_cohort: str = "Never"
    fair_sharing: bool = True
    share_preempts: bool = False
    half_life_s: float = 604800.0
    backfill: bool = True


@dataclass(frozen=True, slots=True)
class Queue:
    """Where a team's jobs wait (Kueue: LocalQueue). `stopped` holds new admissions."""

    name: str
    team: str
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class PriorityClass:
    """A named priority (Kueue: WorkloadPriorityClass); higher goes first."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class DataClass:
    """How far a job's data may travel."""

    name: str
    may_leave: bool


@dataclass(frozen=True, slots=True)
class Environment:
    """Software to run in: a Python interpreter and what its fork server imports beforehand."""

    name: str
    python: str
    preimports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BurstPolicy:
    """When a waiting job may go to a public cluster.

    `fixed` waits `wait_s`; `proportional` waits `wait_s` per predicted GPU-hour, within `min_wait_s` and `max_wait_s`:
    a low `max_wait_s` sends the longest jobs away first, which costs most.
    A job without a prediction of its own is taken to run `default_predicted_s`.
    """

    enabled: bool = True
    rule: str = "proportional"
    wait_s: float = 540.0
    min_wait_s: float = 0.0
    max_wait_s: float = 86400.0
    default_predicted_s: float = 600.0


@dataclass(frozen=True, slots=True)
class ReservationPolicy:
    """Who may reserve GPUs: administrators, and with `members` a team's people within its quota.

    One that is not used for `grace_s` seconds is freed; none begins more than `ahead_days` from now.
    """

    members: bool = False
    grace_s: float = 900.0
    ahead_days: float = 90.0


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Who signs people in at the Hub instead of Dure's own links and passwords; `settings` are that class's own.

    A text `${NAME}` stands for the environment variable: secrets are nowhere else.
    """

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KueueObjects:
    """What a platform's queueing is to Kueue: flavors are named as tiers, a LocalQueue's namespace is a team.

    `public` are the flavors that no queue lists: jobs reach them by burst only. Amounts are thousandths of a GPU.
    In a queue of `memoryless` teams past use does not count (no `admissionScope`).
    """

    flavors: tuple[Flavor, ...]
    public: tuple[Flavor, ...]
    cohorts: tuple[KueueCohort, ...]
    queues: tuple[ClusterQueue, ...]
    local_queues: tuple[LocalQueue, ...]
    priorities: tuple[PriorityClass, ...]
    settings: Settings = field(default_factory=Settings)
    memoryless: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Platform:
    """The whole of `platform.yaml`, valid as a whole. Lists keep the file's order: it is the order of preference."""

    name: str
    clusters: tuple[Cluster, ...]
    tiers: tuple[Tier, ...]
    teams: tuple[Team, ...]
    queues: tuple[Queue, ...]
    priorities: tuple[PriorityClass, ...]
    data_classes: tuple[DataClass, ...]
    environments: tuple[Environment, ...]
    burst: BurstPolicy = BurstPolicy()
    currency: str = "KRW"
    admins: tuple[str, ...] = ()
    default_timeout_s: float | None = None
    digest: str = ""
    authenticator: Authenticator | None = None
    cohorts: tuple[Cohort, ...] = ()
    queueing: QueueingPolicy = QueueingPolicy()
    sessions: SessionPolicy = field(default_factory=SessionPolicy)
    reservations: ReservationPolicy = ReservationPolicy()
    topology: tuple[str, ...] = ()
    """Levels of nodes, such as block and rack, outermost first: names of their labels (Kueue: Topology)."""
    kueue: KueueObjects | None = None
    """Kueue's own objects, which then are the whole of what quotas, cohorts, strategies and preemption say."""

    def members(self) -> dict[str, tuple[str, ...]]:
        """Members by team, `*` for everyone among them."""
        return {team.name: team.members for team in self.teams}

    def teams_of(self, user: str) -> tuple[str, ...]:
        """Names of the teams that list `user`, or `*` for everyone, as a member, in the file's order."""
        return tuple(team.name for team in self.teams if user in team.members or EVERYONE in team.members)
