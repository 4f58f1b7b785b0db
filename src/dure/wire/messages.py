"""What goes over HTTP: requests, views, problems. Plain pydantic models.

Times are seconds since the epoch, GPUs a number (0.5 is half a GPU), money in the platform's currency. The trap:
clients of other versions read these, so fields are only ever added, with a default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dure.wire.cells import MAX_KEEP_S

Kind = Literal["cell", "command", "function"]
Phase = Literal["queued", "admitted", "starting", "running", "succeeded", "failed", "cancelled"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")]
Level = Annotated[str, Field(min_length=1, max_length=317)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

USER_AGENT = "dure"  # our own clients: a body of theirs that cannot be understood is of another version
MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
MAX_REFERENCES = 10_000
MAX_INPUTS = 16
MAX_INPUT_BYTES = 2**50
MAX_KEPT_SESSION_S = 12 * 3600.0  # a kept GPU takes cells at most this long after its start


class Wire(BaseModel):
    """Common strictness: unknown fields are refused, so that a misspelt option is told and not ignored."""

    model_config = ConfigDict(extra="forbid")


class View(BaseModel):
    """Common leniency of answers: a client passes over fields that a newer server added."""

    model_config = ConfigDict(extra="ignore")


class JobRequest(Wire):
    """A submission. `budget` is "flex", "strict" or an amount of money; None means the platform's default.

    `gpus` and `memory_bytes` are those of each of its `nodes`: it gets all of them or none. They stand together in one
    domain of the topology's level `required_topology`, or if it can be in one of `preferred_topology`.
    `inputs` are the largest blobs that it reads, with their bytes: of nodes in use it goes to one that has them.
    """

    kind: Kind
    name: Annotated[str, Field(min_length=1, max_length=200)]
    payload: dict[str, Any]
    team: Name | None = None
    tier: Name | None = None
    gpus: Annotated[float, Field(gt=0, le=1024)] = 1
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    required_topology: Level | None = None
    preferred_topology: Level | None = None
    priority: Name | None = None
    budget: Literal["flex", "strict"] | Annotated[float, Field(ge=0)] | None = None
    deadline_at: float | None = None
    burst: bool | None = None
    data: Name | None = None
    environment: Name | None = None
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    keep_s: Annotated[float, Field(ge=0, le=MAX_KEEP_S)] = 0
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    memory_bytes: Annotated[int, Field(gt=0)] | None = None
    python: Annotated[str, Field(pattern=r"^3\.\d+$")] | None = None
    references: Annotated[list[Digest], Field(max_length=MAX_REFERENCES)] = Field(default_factory=list)
    inputs: Annotated[dict[Digest, Annotated[int, Field(gt=0, le=MAX_INPUT_BYTES)]], Field(max_length=MAX_INPUTS)] = (
        Field(default_factory=dict)
    )


class NodeShareView(View):
    """GPUs of one node that a job has besides those of its first node."""

    node: str
    gpus: list[int]


class LeaseView(View):
    """Where a job runs or ran. `sharing` says how parts of one GPU are kept apart; None when it is held whole.

    `node` and `gpus` are rank 0's; `others` those of the ranks after it. `share` is all GPUs together.
    """

    cluster: str
    cluster_kind: Literal["private", "public"]
    node: str
    tier: str
    gpus: list[int]
    share: float
    price_per_gpu_hour: float
    simulated: bool
    sharing: Literal["time-slice", "mps", "mig"] | None = None
    others: list[NodeShareView] = Field(default_factory=list)


class VerdictView(View):
    """Why a job waits, as code and numbers and as one sentence in the asked language."""

    code: str
    position: int
    sentence: str
    helps: list[str] = Field(default_factory=list)
    blockers: list[str] = Field(default_factory=list)
    data: dict[str, Any] = Field(default_factory=dict)


class EtaView(View):
    """When a job's code begins: seconds since the epoch, half and nine tenths of the times; None is not known.

    `record_count`, `record_within_p90` and `record_median_error_s` tell how such estimates did: of the last so many
    this part began before their p90. `short` and `sentence` say it in the asked language.
    """

    issued_at: float
    p50_at: float | None
    p90_at: float | None
    chances: dict[str, float] = Field(default_factory=dict)
    record_count: int = 0
    record_within_p90: float | None = None
    record_median_error_s: float | None = None
    short: str
    sentence: str


class Artifact(View):
    """A file that a job left under $DURE_OUTPUT_DIR."""

    path: str
    size_bytes: int
    digest: str


class ArtifactList(View):
    """The files that a job left."""

    artifacts: list[Artifact]


class JobView(View):
    """A job. `result` and `artifacts` are its owner's and administrators' to see, and absent for the rest of the team.

    `gpus` are those of each of its `nodes`.
    """

    id: str
    name: str
    kind: Kind
    user: str
    team: str
    phase: Phase
    goal: Literal["run", "cancel"]
    attempt: int
    tier: str | None
    gpus: float
    nodes: int = 1
    required_topology: str | None = None
    preferred_topology: str | None = None
    priority: str
    environment: str
    budget: Literal["flex", "strict"] | float
    burst: bool
    data: str
    deadline_at: float | None
    timeout_s: float | None
    submitted_at: float
    admitted_at: float | None
    began_at: float | None
    ended_at: float | None
    kept_since: float | None = None
    checkpointed_at: float | None = None
    over_budget: bool = False
    waited_s: float
    ran_s: float
    cost: float
    currency: str
    reason: str | None = None
    reason_sentence: str | None = None
    lease: LeaseView | None = None
    isolation: str | None = None
    verdict: VerdictView | None = None
    eta: EtaView | None = None
    predicted_s: float | None = None
    result: dict[str, Any] | None = None
    artifacts: list[Artifact] = Field(default_factory=list)


class JobList(View):
    """A page of jobs, newest first; `next` is the cursor of the following page."""

    jobs: list[JobView]
    next: str | None = None


class OutputList(View):
    """A page of output messages; `cursor` ("attempt.seq") continues after them; `done` when nothing more will come."""

    messages: list[dict[str, Any]]
    cursor: str
    done: bool


class EventView(View):
    """One entry of the event log."""

    seq: int
    at: float
    actor: str
    subject: str
    kind: str
    data: dict[str, Any]
    sentence: str


class EventList(View):
    """A page of events in order."""

    events: list[EventView]
    last_seq: int


class DeficitView(View):
    """What is missing of one tier: GPUs asked, free now, how many more are needed; `quota` where that is the limit."""

    tier: str
    asked: float
    free: float
    more: float
    quota: float | None = None
    used: float | None = None


class SoonerView(View):
    """One change that starts the job sooner: in `in_s` seconds instead of `instead_s` (None: never), for `cost` money.

    `change` is fewer_gpus, tier, budget_flex, burst or borrow; `data` holds what it needs said; `option` is what to
    add to the command or cell, None where an administrator would have to act.
    """

    change: str
    in_s: float
    instead_s: float | None
    cost: float
    cluster: str
    tier: str
    data: dict[str, Any] = Field(default_factory=dict)
    option: str | None = None
    sentence: str


class AheadView(View):
    """What stands before the job: GPU-hours of those that run on its tiers, and of those that start before it."""

    held_gpu_hours: float
    waiting_gpu_hours: float
    waiting_jobs: int
    sentence: str


class WhyView(View):
    """A job's story: what it is now, why, and every event in order.

    While it waits: what is missing of each tier, what stands before it, and what would start it sooner, soonest first;
    with a deadline, the chance to be done by then, as a number and as a sentence. Where others' questions come first,
    or the answer was wanted at once, only what is known, and in `pending` that the rest is not computed yet.
    """

    job: JobView
    events: list[EventView]
    deficits: list[DeficitView] = Field(default_factory=list)
    ahead: AheadView | None = None
    sooner: list[SoonerView] = Field(default_factory=list)
    deadline_chance: float | None = None
    deadline: str | None = None
    pending: str | None = None


class GpuView(View):
    """One GPU and who holds which part of it. `holders` of other teams show the team, not the job."""

    cluster: str
    cluster_kind: Literal["private", "public"]
    node: str
    index: int
    tier: str
    model: str
    simulated: bool
    price_per_gpu_hour: float
    free: float
    holders: list[dict[str, Any]] = Field(default_factory=list)


class QueueView(View):
    """The whole picture: what waits, in order, what runs, and every GPU."""

    waiting: list[JobView]
    waiting_more: int = 0
    running: list[JobView]
    running_more: int = 0
    others_waiting: int = 0
    gpus: list[GpuView]
    now: float


class TierView(View):
    """A tier with what is free now and its prices by cluster; `reserved` of that is kept for others than the caller.

    `kept` tells of the reservations that are on and still lack GPUs, the caller's own, too, as sentences.
    """

    name: str
    description: str
    total: float
    free: float
    reserved: float = 0.0
    kept: list[str] = Field(default_factory=list)
    prices: dict[str, float]
    simulated: bool


class EnvironmentView(View):
    """An environment and, once its fork server answered, the versions in it."""

    name: str
    python: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    modules: list[str] = Field(default_factory=list)
    error: str | None = None


class EnvironmentList(View):
    """The platform's environments, in the order of preference."""

    environments: list[EnvironmentView]


class PlatformView(View):
    """What a user may know of the platform: choices, prices, defaults, notices."""

    name: str
    version: str
    currency: str
    simulated: bool
    tiers: list[TierView]
    teams: list[str]
    priorities: list[str]
    data_classes: list[str]
    environments: list[EnvironmentView]
    notices: list[str] = Field(default_factory=list)


class Health(View):
    """The control plane answers; which version of Dure it is."""

    status: Literal["ok"]
    version: str


class Me(View):
    """The caller."""

    name: str
    admin: bool
    teams: list[str]


class BlobAccess(View):
    """How to reach a team's blobs; exactly what `dure.state.store.blobs.open_blobs` takes."""

    kind: Literal["folder", "s3"]
    root: str | None = None
    bucket: str | None = None
    prefix: str | None = None
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    key: str | None = Field(default=None, repr=False)  # base64, where this team's blobs are encrypted
    key_changed: bool = False  # the team's blobs were written with another: what is kept now would not open under it


class NextCell(Wire):
    """A cell for the process that an earlier one left (`keep_s`).

    `names` are those that the process may use as it has them once it has restored `snapshot`; `others` are what else
    the notebook has, which the process has to ask for. `extras`: random states and settings, as one blob.
    """

    code: str
    snapshot: Digest | None = None
    extras: Digest | None = None
    names: Annotated[list[str], Field(max_length=MAX_REFERENCES)] = Field(default_factory=list)
    others: Annotated[list[str], Field(max_length=MAX_REFERENCES)] = Field(default_factory=list)
    cell_name: str | None = None
    sources: dict[str, dict[str, str]] = Field(default_factory=dict)
    keep_s: Annotated[float, Field(ge=0, le=MAX_KEEP_S)] = 0
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    provide_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30
    keep_partial: bool = False


class CommMessage(Wire):
    """What the browser's end of a widget says to the running cell. Buffers are base64."""

    comm_id: Annotated[str, Field(max_length=200)]
    data: dict[str, Any] = Field(default_factory=dict)
    buffers: Annotated[list[str], Field(max_length=1000)] = Field(default_factory=list)


class Control(Wire):
    """A message to a running job: interrupt it, answer its input(), provide names it misses, pass on what a widget
    says (`comm`), or as it is kept for a next cell: run that `cell`, or `finish`. With an `id`, repeating it changes
    nothing.
    """

    op: Literal["interrupt", "stdin", "provide", "comm", "cell", "finish"]
    comm: CommMessage | None = None
    id: Annotated[str, Field(max_length=64)] | None = None
    cell: NextCell | None = None
    text: str | None = None
    names: dict[str, Digest | None] | None = None
    snapshot: Digest | None = None


class Problem(BaseModel):
    """RFC 9457 problem details with our `code`; `detail` is one sentence with what, where and what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    data: dict[str, Any] = Field(default_factory=dict)
