"""What a job would cost and when it would start, before it is submitted. As `messages`: fields are only ever added.

The trap: nothing here is a promise; each start comes with the time that nine of ten keep to, and the record of that.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dure.wire.messages import EtaView, View


class PlanRow(View):
    """What would become of the job on one cluster's GPUs of one tier.

    `chance` is how often it would begin there, from 0 to 1, when this tier is asked for. `finish_p50_at` and
    `finish_p90_at` are seconds since the epoch; `deadline_chance` is None without a deadline or a start here. `note`
    says why it would not begin here, or only later; `runs` says the runtime in the asked language.
    """

    tier: str
    cluster: str
    cluster_kind: Literal["private", "public"]
    simulated: bool
    asked: bool
    chance: float
    eta: EtaView | None = None
    run_p50_s: float
    run_p90_s: float
    runs: str = ""
    cost_p50: float
    cost_p90: float
    finish_p50_at: float | None = None
    finish_p90_at: float | None = None
    deadline_chance: float | None = None
    note: str = ""


class RuntimeErrors(View):
    """How far predicted runtimes were off lately: the middle factor, for ours and for plain methods (1 is exact)."""

    count: int = 0
    ours: float | None = None
    last_two: float | None = None
    limit: float | None = None
    global_median: float | None = None


class PlanView(View):
    """The plan of a job that was not submitted. `runtime` says how long it runs and what that rests on."""

    name: str
    team: str
    gpus: float
    nodes: int = 1
    currency: str
    deadline_at: float | None = None
    rows: list[PlanRow]
    runtime: str
    errors: RuntimeErrors
    record: str = ""
    now: float = Field(description="Seconds since the epoch on the server.")
