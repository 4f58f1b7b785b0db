"""The commented platform file that `dure init` writes: this machine's GPUs, or simulated ones that say so.

The trap: this text is the first thing an administrator reads and edits; it must parse back without a problem, which
a test holds for every set of GPUs.
"""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import sys
from collections.abc import Sequence
from itertools import groupby

from dure.adapters.gpus import FoundGpu

_GIB = 1024**3
_GOLD_BYTES = 38 * _GIB
_SILVER_BYTES = 15 * _GIB
_PREIMPORTS = ("numpy", "pandas", "sklearn", "matplotlib.pyplot", "torch")  # each cell would wait for them otherwise

_SIMULATED_LAB = """\
      # No NVIDIA GPU was found, so these are SIMULATED: they queue, cost and end like real ones, and compute on CPU.
      - {name: sim-bronze, tier: bronze, gpus: 2, model: simulated, simulated: true}
      - {name: sim-silver, tier: silver, gpus: 1, model: simulated, simulated: true}
      - {name: sim-gold, tier: gold, gpus: 1, model: simulated, simulated: true}
"""

_TEXT = """\
# The platform: GPUs, people, prices, rules. Dure reads this file again when it is saved; what is wrong is told
# with its line and the old rules stay. Money is in `currency`, quotas may be fractions (0.5), _s means seconds.

name: Dure
currency: KRW

# Who may see and change everything.
admins: {admins}

# How people sign in. Without this section: by the links that `dure up` and `dure user add NAME` print, and by passwords
# that people set after their first link. With it: by GitHub, Google or any OpenID Connect provider; members and admins
# of this file may enter, and whoever `allow_…` settings name. Secrets come from the environment of `dure up`, as
# ${{NAME}}. Changes count from the next `dure up`. The provider needs the callback http(s)://ADDRESS/hub/oauth_callback.
# authenticator:
#   class: github  # or: google, generic-oauth (with authorize_url, token_url, userdata_url, username_claim)
#   settings:
#     client_id: 0123456789abcdef
#     client_secret: ${{DURE_CLIENT_SECRET}}
#     oauth_callback_url: https://dure.example.org/hub/oauth_callback
#     # allowed_organizations: [our-lab]

# Places with GPUs, in order of preference. Private ones are yours; public ones cost money and data leaves the house.
clusters:
  - name: lab
    kind: private
    nodes:
{nodes}
  # SIMULATED cloud: costs are counted as if real, nothing is rented. A node takes provision_s seconds to be ready.
  - name: cloud
    kind: public
    provision_s: 3
    prices: {{gold: 4000}}  # of one GPU for an hour
    nodes:
      - {{name: cloud-1, tier: gold, gpus: 2, model: simulated, simulated: true}}

# Where nodes stand, outermost first (Kueue: Topology): each node then has `labels: {{block: b1, rack: r1}}`, and
# `dure run --nodes 4 --required-topology rack` gets four nodes of one rack.
# topology: [block, rack]

# Classes of GPU (Kueue: ResourceFlavor). The price is the internal one, on private clusters.
tiers:
  - {{name: bronze, price_per_gpu_hour: 300, description: "small: trying things out"}}
  - {{name: silver, price_per_gpu_hour: 600, description: "medium: everyday training"}}
  - {{name: gold, price_per_gpu_hour: 1500, description: "large: long or big training"}}

# People who share a quota, a weight and a budget. "*" is everyone who is signed in; it lets nobody in by itself:
# people are invited with `dure user add NAME`. nominal_quota guarantees a team private GPUs per tier: others may use
# them meanwhile and give them back. borrowing_limit is the most beyond that (none named: no limit; 0: never more than
# nominal_quota), lending_limit the most that others may use. Leave out budget_per_month for no limit of money.
teams:
  - name: lab
    members: ["*"]
    # nominal_quota: {{gold: 1, silver: 1}}
    # borrowing_limit: {{gold: 0}}
    # lending_limit: {{gold: 1}}
    # cohort: science
    weight: 1
    budget_per_month: 100000
    # limits: {{jobs: 20, gpus: 4, gpu_hours_per_day: 50, pending: 1000}}  # of the team, at once; pending: waiting
    # user_limits: {{jobs: 4, gpus: 2, gpu_hours_per_day: 12, pending: 100}}  # of each of its people
    # budget_gpu_hours_per_month: 500
    # budget_action: burst  # a used-up budget keeps jobs from public clusters; soft: they run last; hard: none starts

# GPUs kept for a time: administrators may do so, and with `members: true` a team's people within its nominal_quota.
# What nobody uses for grace_s seconds is freed.
reservations: {{members: false, grace_s: 900}}

# Teams that lend to one another before they turn to the rest; with a parent, a tree (Kueue: Cohort).
# cohorts:
#   - {{name: science, nominal_quota: {{gold: 1}}, weight: 1}}

# Where a team's jobs wait (Kueue: LocalQueue). `stop_policy: Hold` admits nothing new until it is None again.
queues:
  - {{name: lab, team: lab, stop_policy: None}}

# Higher goes first (Kueue: WorkloadPriorityClass). Jobs are `normal` unless they say otherwise.
priorities:
  - {{name: high, value: 100}}
  - {{name: normal, value: 0}}
  - {{name: low, value: -100}}

# Have a cluster with Kueue? Its objects decide instead: take out `queues`, `cohorts`, `weight` and quotas of teams, and
# `strategy` and `preemption` below, and name the files, beside this one. A flavor's label dure.dev/tier names its tier.
# kueue: [kueue.yaml]

# How jobs are admitted, in Kueue's words. Whoever is stopped to make room waits again and loses no retry.
queueing:
  strategy: BestEffortFIFO  # or StrictFIFO: nobody of a team overtakes its first waiting job
  preemption:
    within_cluster_queue: Never  # or LowerPriority: a team's higher priorities take GPUs from its lower ones
    reclaim_within_cohort: Any  # a team takes back what it is guaranteed; or Never
    borrow_within_cohort: Never
  # Teams by weight; within a team, who used less lately goes first (use counts half after half_life_s).
  fair_sharing: {{enabled: true, preemption: false, half_life_s: 604800}}
  backfill: true  # short jobs run on GPUs that a larger one waits for, if they end before it can start

# When a job that waits may go to a public cluster: after wait_s per predicted GPU-hour (`proportional`, within the
# limits) or after wait_s (`fixed`), sooner for a deadline. Only if its budget, its team's budget and its data allow.
burst:
  enabled: true
  rule: proportional
  wait_s: 540
  min_wait_s: 5
  max_wait_s: 86400  # a lower one sends the longest jobs away first, which costs most
  default_predicted_s: 600  # how long a job is taken to run when nothing is known of it

# How far a job's data may travel. Jobs are `open` unless they say otherwise.
data_classes:
  - {{name: open, may_leave: true}}
  - {{name: private, may_leave: false}}

# What notebooks hold is saved after each cell and brought back when they are opened again. A session that nobody has
# used for ttl_days goes; beyond quota_bytes a person's oldest versions go, those with a label last.
sessions:
  save: true
  ttl_days: 30
  quota_bytes: 53687091200

# Software to run in: an interpreter that has `dure` installed, and what is imported before a job asks for it.
environments:
  - name: default
    python: {python}
    preimports: {preimports}
"""


def initial_text(gpus: Sequence[FoundGpu], user: str, python: str | None = None) -> str:
    """Return the first platform file's text for the GPUs found; `python` defaults to the interpreter that runs this."""
    admins = [user] if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", user) else []
    return _TEXT.format(
        admins=json.dumps(admins),
        nodes=_found_nodes(gpus) if gpus else _SIMULATED_LAB,
        python=json.dumps(python or sys.executable, ensure_ascii=False),
        preimports=json.dumps([name for name in _PREIMPORTS if importlib.util.find_spec(name.partition(".")[0])]),
    )


def tier_of(gpu: FoundGpu) -> str:
    """Return the tier that `dure init` puts a GPU into, by its memory."""
    if gpu.memory_bytes >= _GOLD_BYTES:
        return "gold"
    return "silver" if gpu.memory_bytes >= _SILVER_BYTES else "bronze"


def _found_nodes(gpus: Sequence[FoundGpu]) -> str:
    """Return one node per model of this machine: a node has GPUs of one tier."""
    host = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().split(".")[0].lower()).strip("-")[:30] or "node"
    lines = ["      # Found by NVML. A machine with several models is several nodes here, one for each.\n"]
    ordered = sorted(gpus, key=lambda gpu: (gpu.model, gpu.memory_bytes))
    kinds = [list(group) for _, group in groupby(ordered, key=lambda gpu: (gpu.model, gpu.memory_bytes))]
    for number, kind in enumerate(kinds, start=1):
        first = kind[0]
        name = host if len(kinds) == 1 else f"{host}-{number}"
        memory = f"        gpu_memory_bytes: {first.memory_bytes}\n" if first.memory_bytes else ""
        uuids = [gpu.uuid for gpu in sorted(kind, key=lambda gpu: gpu.index)]
        lines.append(
            f"      - name: {name}\n        tier: {tier_of(first)}\n        gpus: {len(kind)}\n"
            f"        model: {json.dumps(first.model, ensure_ascii=False)}\n"
            f"{memory}        uuids: {json.dumps(uuids)}\n"
            "        # sharing: mps  # parts of a GPU by MPS (its daemon must run), or mig; else they take turns\n"
        )
    return "".join(lines)
