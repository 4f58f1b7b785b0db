"""The English clauses of `sentences`: each begins with a capital or a number and ends without a full stop.

The trap: `spoken_korean` has the same four functions over the same codes; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable

from dure.core import spoken_limits
from dure.core.wording import Told, amount_of, duration, gpus, money, ordinal

Say = Callable[[Told, str], str]

_BURST = {
    "disabled": "bursting is switched off",
    "not_burstable": "it was submitted with --no-burst",
    "data_stays": "its data must stay here",
    "strict": "its budget is strict",
    "amount": "it is predicted to cost more than its budget",
    "team_budget": "it is predicted to cost more than the team's budget has left",
}


def waiting(code: str, position: int, data: Told, currency: str) -> str:
    """Return why a job waits."""
    if code in {"WaitingForQuota", "TopologyPlacementFailed"}:
        place = f"{ordinal(position)} in line for {_tier(data)}"
        return f"{place}: {_kept_out(code, data, currency)}{_no_burst(data, currency)}"
    say = WAITING.get(code)
    told = say(data, currency) if say else f"It waits ({code})"
    return f"{told}{_no_burst(data, currency)}" if code in {"ExceedsMaxQuota", "NoMatchingFlavor"} else told


def helping(data: Told, currency: str) -> str:
    """Return one thing that would help."""
    say = HELPS.get(data.text("code"))
    return say(data, currency) if say else ""


def ended(code: str, data: Told, currency: str) -> str:
    """Return why a job ended or went back to the queue."""
    say = ENDED.get(code)
    said = say(data, currency) if say else f"It ended ({code})"
    rank, nodes = data.number("rank"), data.names("nodes")
    if rank is None or not 0 <= rank < len(nodes) or "Rank " in said:
        return said
    return f"{said} (rank {rank:g} on node {nodes[int(rank)]}, which ended the others)"


def happened(kind: str, data: Told, currency: str) -> str:
    """Return what an event tells."""
    say = EVENTS.get(kind)
    return say(data, currency) if say else f"{kind} happened to {data.text('subject', 'the platform')}"


def _kept_out(code: str, data: Told, currency: str) -> str:
    return spoken_limits.kept_out(data, currency, "en") or _in_the_way(code, data)


def _tier(data: Told) -> str:
    return data.text("tier") or "any tier"


def _in_the_way(code: str, data: Told) -> str:
    why = data.text("why")
    tier = _tier(data)
    if why == "ahead":
        return f"there is room, but it is kept for jobs that come before it{_past_use(data)}"
    if why == "guaranteed":
        return f"what is free of {tier} is guaranteed to other teams"
    if why == "team_quota":
        team = data.text("team", "the team")
        used = f" uses {gpus(data.number('used_milli'))} of its quota of {gpus(data.number('quota_milli'))}"
        used = used if "quota_milli" in data else "'s quota is used up"
        return f"team {team}{used}{_by(data, 'taken')}"
    if why in {"cluster_unavailable", "public_busy"}:
        clusters = ", ".join(data.names("clusters"))
        if why == "cluster_unavailable":
            return f"{clusters or 'the cluster'} does not answer at the moment"
        return f"all GPUs that it may rent on {clusters or 'public clusters'} are in use"
    if code == "TopologyPlacementFailed" or why == "not_on_one_node":
        return _apart(data)
    return _busy(data)


def _apart(data: Told) -> str:
    """Return that enough is free, but not where it would do."""
    need, free = data.number("gpus_milli"), data.number("free_milli")
    if data.number("nodes"):
        room = data.number("fitting") or 0
        where = f"in one {data.text('topology')}" if data.text("topology") else "together"
        return f"{_nodes(data)} are not free {where}: {room:g} {'has' if room == 1 else 'have'} so many free"
    largest = f", at most {gpus(data.number('largest_milli'))}" if "largest_milli" in data else ""
    where = "one GPU" if need is not None and need < 1000 else "one node"
    return f"{gpus(free)} of {_tier(data)} {_are(free)} free, but not together on {where}{largest}"


def _busy(data: Told) -> str:
    free, total, tier = data.number("free_milli"), data.number("total_milli"), _tier(data)
    if total is None:
        return f"the GPUs of {tier} are in use{_by(data)}"
    if free:
        left = f"only {amount_of(free)} of {gpus(total)} {_are(free)} free"
        return f"it needs {gpus(data.number('gpus_milli'))} and {left}{_by(data, 'the rest is used')}"
    subject = f"the only GPU of {tier} is" if total == 1000 else f"all {gpus(total)} of {tier} are"
    return f"{subject} in use{_by(data)}"


def _past_use(data: Told) -> str:
    used_s = data.number("used_gpu_s") or 0.0
    return f"; {used_s / 3600:.3g} GPU-hours of past use count" if used_s >= 360 else ""


def _are(milli: float | None) -> str:
    return "is" if milli is not None and 0 < milli <= 1000 else "are"


def _by(data: Told, subject: str = "") -> str:
    """Return ` by bob's j-1, team speech and 2 more jobs`."""
    names = list(dict.fromkeys(_holder(holder) for holder in data.parts("holders")))
    names = [name for name in names if name]
    if not names:
        return ""
    shown = names[:2]
    rest = max(data.count("holder_count"), len(names)) - len(shown)
    anonymous = any("job" not in holder for holder in data.parts("holders"))
    if rest > 0 and not anonymous:
        shown.append(f"{rest} more job{'s' if rest > 1 else ''}")
    listed = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"; {subject} by {listed}" if subject else f" by {listed}"


def _holder(holder: Told) -> str:
    if "job" not in holder:
        return f"team {holder.text('team')}" if "team" in holder else ""
    return f"{holder.text('user')}'s {holder.text('job')}" if "user" in holder else holder.text("job")


def _no_burst(data: Told, currency: str) -> str:
    """Return why it cannot leave for a public cluster, where that is for good and not a matter of the job's budget."""
    burst = data.part("burst")
    names = burst.names("failing")
    failing = [] if "strict" in names else [name for name in names if name in _BURST and name != "disabled"]
    if not failing:
        return ""
    reason = _BURST[failing[0]]
    if failing[0] in {"amount", "team_budget"} and "price" in burst:
        reason += f" ({money(burst.number('price'), currency)})"
    return f"; it cannot go to {burst.text('cluster', 'a public cluster')}: {reason}"


def _misconfigured(data: Told, _currency: str) -> str:
    what, name = data.text("what", "setting"), data.text("name")
    if what == "gpus":
        return f"{amount_of(data.number('gpus_milli'))} is not a possible number of GPUs: cancel it and submit it again"
    choices = f"; there are {', '.join(data.names('choices'))}" if data.names("choices") else ""
    return f"{what.capitalize()} {name!r} is no longer in platform.yaml{choices}: cancel it and submit it with another"


def _exceeds(data: Told, currency: str) -> str:
    if data.text("why") == "limit":
        return spoken_limits.over(data, currency, "en")
    need, tier = gpus(data.number("gpus_milli")), _tier(data)
    if data.text("why") == "team_quota":
        quota = gpus(data.number("quota_milli"))
        return f"It asks for {need} of {tier}, but team {data.text('team', '?')} may have {quota} at most"
    if data.number("nodes"):
        where = data.text("topology") or "cluster"
        return f"It asks for {_nodes(data)}, but no {where} has more than {data.number('fitting') or 0:g} of them"
    return f"It asks for {need} of {tier}, but the largest node has {gpus(data.number('largest_milli'))}"


def _nodes(data: Told) -> str:
    """Return `2 nodes with 4 GPUs of gold each`."""
    nodes = data.number("nodes") or 1
    return f"{nodes:g} nodes with {gpus((data.number('gpus_milli') or 0) / nodes)} of {_tier(data)} each"


def _no_flavor(data: Told, _currency: str) -> str:
    if data.text("why") == "public_only":
        cluster = data.part("burst").text("cluster", "public clusters")
        return f"Only {cluster} has GPUs of {_tier(data)}, and it may not go there"
    return f"No cluster of the platform has GPUs of {_tier(data)}"


def _on_hold(data: Told, _currency: str) -> str:
    return f"Queue {data.text('queue', 'of the team')} is on hold: an administrator starts it again in platform.yaml"


def _deactivated(data: Told, _currency: str) -> str:
    return "It is being cancelled" if data.text("why") == "cancelling" else "It was deactivated"


def _leaving(data: Told) -> str:
    names = [name for name in dict.fromkeys(_holder(holder) for holder in data.parts("holders")) if name]
    return f": {', '.join(names)}" if names else ""


WAITING: dict[str, Say] = {
    "Deactivated": _deactivated,
    "OnHold": _on_hold,
    "Misconfigured": _misconfigured,
    "NoMatchingFlavor": _no_flavor,
    "ExceedsMaxQuota": _exceeds,
    "WaitingForQuota": lambda data, _currency: _in_the_way("WaitingForQuota", data),
    "TopologyPlacementFailed": lambda data, _currency: _in_the_way("TopologyPlacementFailed", data),
    "WaitingForPreemptedWorkloads": lambda data, _currency: (
        f"Its GPUs are being freed by jobs that give way to it{_leaving(data)}"
    ),
    "PendingEvaluation": lambda _data, _currency: "It was just submitted and is decided on in a moment",
}


def _other_tier(data: Told, _currency: str) -> str:
    return f"{data.text('tier', 'another tier')} is free now: add --tier {data.text('tier', 'TIER')}"


def _fewer(data: Told, _currency: str) -> str:
    most = data.number("gpus_milli")
    if data.text("now") == "False":
        return f"it can have {gpus(most)} at most: use --gpus {amount_of(most)}"
    return f"{gpus(most)} would start now: use --gpus {amount_of(most)}"


def _burst(data: Told, currency: str) -> str:
    cluster = data.text("cluster", "a public cluster")
    price = f" for about {money(data.number('price'), currency)}" if "price" in data else ""
    if data.text("busy") == "True":
        return f"it goes to {cluster}{price} as soon as a GPU is free there"
    return f"it goes to {cluster} in {duration(data.number('in_s'))}{price} unless a GPU is free here first"


def _flex(data: Told, currency: str) -> str:
    price = f" for about {money(data.number('price'), currency)}" if "price" in data else ""
    when = f" in {duration(data.number('in_s'))}" if data.number("in_s") else ""
    return f"with --budget flex it may go to {data.text('cluster', 'a public cluster')}{when}{price}"


HELPS: dict[str, Say] = {
    "tier": _other_tier,
    "fewer_gpus": _fewer,
    "burst": _burst,
    "budget_flex": _flex,
    "wait": lambda _data, _currency: "it starts by itself: nothing needs to be done",
}


def _error(data: Told, _currency: str) -> str:
    name, value = data.text("ename", "an exception"), data.text("evalue").rstrip(".")
    if name == "NotStarted" and value:  # the worker's own sentence: no code of the person's ran
        return value
    return f"It raised {name}{': ' + value if value else ''}"


def _timeout(data: Told, _currency: str) -> str:
    limit = f" of {duration(data.number('timeout_s'))}" if "timeout_s" in data else ""
    return f"It was stopped at its time limit{limit}: use a longer --timeout"


def _memory(data: Told, _currency: str) -> str:
    limit = data.number("memory_bytes")
    told = f" of {limit / 1e9:.3g} GB" if limit else ""
    return f"It needed more memory than its limit{told}: ask for more, or work on less at a time"


def _refused(data: Told, _currency: str) -> str:
    value = data.text("evalue").rstrip(".")
    return f"It could not be started{': ' + value if value else ''}"


ENDED: dict[str, Say] = {
    "Error": _error,
    "ExitCode": lambda data, _c: f"The command ended with exit code {data.text('exit_code', 'other than 0')}",
    "Interrupted": lambda _data, _c: "It was interrupted",
    "CancelledByUser": lambda data, _c: f"It was cancelled{' by ' + data.text('user') if 'by_user' in data else ''}",
    "Timeout": _timeout,
    "OutOfMemory": _memory,
    "Killed": lambda _data, _c: "Its process was killed: see the end of its output",
    "WorkerLost": lambda _data, _c: (
        "Its worker was lost, so it is unknown how far it came: submit it again, or use --retries"
    ),
    "StartRefused": _refused,
    "TooManyLosses": lambda _data, _c: (
        "Its worker was lost too often before it began: an administrator looks at the nodes"
    ),
    "Preempted": lambda _data, _c: "It gave its GPUs to a job that goes first and starts again by itself",
    "DiskFull": lambda _data, _c: "The disk was full: free space, or ask an administrator, and submit it again",
    "NotTaken": lambda _data, _c: (
        "Its cluster cannot take it now (its disk may be full): it starts by itself once it can, and the log says why"
    ),
}


def _where(data: Told) -> str:
    node = ", ".join(data.names("nodes")) or data.text("node")
    place = "/".join(part for part in (data.text("cluster"), node) if part)
    tier = data.text("tier")
    if not place:
        return ""
    return f" on {gpus(data.number('gpus_milli'))} of {tier} at {place}" if tier else f" at {place}"


def _account(data: Told, currency: str) -> str:
    parts = []
    if "waited_s" in data:
        parts.append(f"waited {duration(data.number('waited_s'))}")
    if "ran_s" in data:
        parts.append(f"ran {duration(data.number('ran_s'))}")
    if "cost" in data:
        parts.append(f"cost {money(data.number('cost'), currency)}")
    return f" ({', '.join(parts)})" if parts else ""


def _because(data: Told, currency: str) -> str:
    if "reason" not in data:
        return ""
    told = ended(data.text("reason"), data, currency)
    return f": {told[:1].lower()}{told[1:]}"


def _submitted(data: Told, _currency: str) -> str:
    what = f"{data.text('user', 'Somebody')} submitted {data.text('name', data.text('subject', 'a job'))}"
    asks = f" for {gpus(data.number('gpus_milli'))} of {_tier(data)}" if "gpus_milli" in data else ""
    return f"{what}{asks}"


def _decided(data: Told, currency: str) -> str:
    price = f", predicted to cost {money(data.number('predicted_cost'), currency)}" if "predicted_cost" in data else ""
    waited = f" after waiting {duration(data.number('waited_s'))}" if "waited_s" in data else ""
    allowed = f" (allowed: {duration(data.number('allowed_wait_s'))}{_rule(data)})" if "allowed_wait_s" in data else ""
    return f"It may go to {data.text('cluster', 'a public cluster')}{waited}{allowed}{price}{_stayed(data, currency)}"


def _rule(data: Told) -> str:
    """Return how a proportional wait came about."""
    if data.text("rule") != "proportional" or "rule_wait_s" not in data or "predicted_gpu_hours" not in data:
        return ""
    return f", {duration(data.number('rule_wait_s'))} for each of {data.number('predicted_gpu_hours'):.3g} GPU-hours"


def _stayed(data: Told, currency: str) -> str:
    """Return what staying would have meant."""
    until, now = data.number("stays_until"), data.number("now")
    if until is None or now is None:
        return ""
    price = f", for {money(data.number('stays_cost'), currency)}" if data.number("stays_cost") else ""
    when = "at once" if until <= now else f"in {duration(until - now)} at the earliest"
    return f"; staying, it would start {when}{price}"


_RULES = {
    "InClusterQueue": "which has a higher priority",
    "InCohortReclamation": "which takes back what its team is guaranteed",
    "InCohortFairSharing": "whose team has the smaller share",
    "InCohortReclaimWhileBorrowing": "which has a higher priority",
}


def _preemptor(data: Told) -> str:
    who = data.text("by") or (f"a job of team {data.text('by_team')}" if "by_team" in data else "a job that goes first")
    why = _RULES.get(data.text("rule"), "")
    return f"{who}, {why}; it waits again and uses up no retry" if why else f"{who}; it waits again"


def _lost(data: Told) -> str:
    lost_s, ran_s = data.number("lost_s"), data.number("ran_s")
    if lost_s is None or ran_s is None or lost_s >= ran_s:
        return ""
    return f"; it saved its work {duration(lost_s)} before"


EVENTS: dict[str, Say] = {
    "job.submitted": _submitted,
    "job.waiting": lambda data, c: waiting(
        data.text("code", "PendingEvaluation"), data.count("position") or 1, data, c
    ),
    "job.burst_decided": _decided,
    "job.admitted": lambda data, _c: f"Admitted{_where(data)} after waiting {duration(data.number('waited_s'))}",
    "job.delayed": lambda data, c: f"It does not start yet{_because(data, c)}",
    "job.starting": lambda data, _c: f"Starting{_where(data)}",
    "job.running": lambda data, _c: f"Running{_where(data)}",
    "job.kept": lambda data, _c: (
        f"Kept idle for the next cell, after {int(data.number('cells') or 1)}; the GPU is in use"
    ),
    "job.resumed": lambda data, _c: f"Cell {int(data.number('cells') or 2)} runs in the kept process",
    "job.checkpointed": lambda _data, _c: "It saved its work; if it must give its GPUs away, only what follows is lost",
    "job.preempted": lambda data, _c: (
        f"It gives its {gpus(data.number('gpus_milli') or 1000)} to {_preemptor(data)}{_lost(data)}"
    ),
    "job.promised": lambda _data, _c: "Others give it their GPUs; it starts as soon as they are gone",
    "job.requeued": lambda data, c: f"Back in the queue{_because(data, c)}",
    "job.succeeded": lambda data, c: f"Succeeded{_account(data, c)}",
    "job.failed": lambda data, c: f"Failed{_account(data, c)}{_because(data, c)}",
    "job.cancelled": lambda data, c: f"Cancelled{_account(data, c)}{_because(data, c)}",
    "job.cancel_requested": lambda data, _c: f"{data.text('actor', 'Somebody')} asked to cancel it",
    "job.interrupted": lambda data, _c: f"{data.text('actor', 'Somebody')} interrupted it",
    "platform.loaded": lambda data, _c: f"The platform file was loaded{_file(data)}",
    "platform.refused": lambda data, _c: f"The platform file was refused, the old one stays: {_problem(data)}",
    "leader.changed": lambda data, _c: f"{data.text('holder', 'Another process')} leads now",
    "reservation.made": lambda data, _c: spoken_limits.happened("reservation.made", data, "en"),
    "reservation.released": lambda data, _c: spoken_limits.happened("reservation.released", data, "en"),
    "reservation.ended": lambda data, _c: spoken_limits.happened("reservation.ended", data, "en"),
    "blobs.collected": lambda data, _c: f"{data.count('count')} unused blobs were deleted",
    "session.saved": lambda data, _c: f"{data.text('actor', 'Somebody')}'s notebook is being saved as a session",
    "session.restored": lambda data, _c: (
        f"{data.text('actor', 'Somebody')} restored {data.count('restored')} variables of a session"
    ),
    "session.shared": lambda data, _c: (
        f"A session may be read by {', '.join(data.names('shared')) or 'nobody else'} from now on"
    ),
    "session.renamed": lambda _d, _c: "A session has another name, as its notebook was moved or deleted",
    "session.deleted": lambda data, _c: (
        f"{data.count('versions')} versions of a session were deleted{_reason(data)}"
        if data.count("versions") != 1
        else f"1 version of a session was deleted{_reason(data)}"
    ),
}


def _reason(data: Told) -> str:
    return {"expired": " because nobody had used them for long", "quota": " to make room"}.get(data.text("why"), "")


def _file(data: Told) -> str:
    return f" (version {data.text('digest')[:8]})" if "digest" in data else ""


def _problem(data: Told) -> str:
    return (data.text("error") or "it is not valid").rstrip(".")
