"""How far forecasts are off: runtimes learned from ended jobs, and starts by running the decisions forward.

Real traces, split in time: the first half of the jobs teaches, the second half is judged. Beside ours stand the
requested limit, the mean of a person's last two runs and the global median; for starts, the same decisions run forward
with every job taken to use its whole limit (two weeks where it then begins in none of them). The trap: nothing may be
learned before it happened, so jobs teach when they end.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from zlib import crc32

from benchmarks.measuring.figures import table
from benchmarks.measuring.machine import told
from dure.core.forecast.draws import sampled
from dure.core.forecast.record import Issued, Record
from dure.core.forecast.runtimes import Case, History, case_of
from dure.core.forecast.starts import HORIZON_S, Present, course, courses, etas
from dure.core.model import (
    Cluster,
    ClusterKind,
    DataClass,
    Environment,
    Job,
    Kind,
    Node,
    Phase,
    Platform,
    PriorityClass,
    Queue,
    Request,
    Team,
    Tier,
)
from dure.core.queueing.decide import Decider
from dure.core.queueing.forward import What, Work, forward
from dure.core.reasons import Ended

DEFAULT_S = 600.0
DECIDED_JOBS = 1_200
"""Courses by decisions are made until they have decided on so many jobs: at least two."""
POINTS = 60
"""At how many moments of a trace estimates are made: of every job that waits then and has none yet."""
_NODES = {
    "103959": 3,
    "ee9e8c": 14,
    "0e4a51": 5,
    "7f04ca": 9,
    "2869ce": 4,
    "6214e9*": 5,
    "b436b2*": 8,
    "e13805": 1,
    "6c71a0": 8,
    "11cb48": 1,
}
_LIMITS_S = (3600.0, 4 * 3600.0, 12 * 3600.0, 86_400.0, 2 * 86_400.0, 7 * 86_400.0, 30 * 86_400.0)


@dataclass(frozen=True, slots=True)
class Ran:
    """One job of a trace: what was known of it, when it was submitted, how long it ran, and how it ended."""

    at: float
    case: Case
    ran_s: float
    cut_off: bool = False


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with traces/")
    parser.add_argument("--jobs", type=int, default=12_000, help="at most so many jobs of a trace for runtimes")
    parser.add_argument("--queue-jobs", type=int, default=1_500, help="at most so many jobs of a trace for starts")
    parser.add_argument("--seconds", type=float, default=130.0, help="after so many, no further trace is begun")
    chosen = parser.parse_args()
    traces = chosen.data / "traces"
    if not traces.is_dir():
        raise SystemExit(f"There are no traces in {traces}: name their folder with --data.")
    print(told("dure"))
    began = time.monotonic()
    eagle, philly = sorted_by_time(_eagle(traces)), sorted_by_time(_philly(traces))
    chronus = sorted_by_time(_chronus(traces))
    rows = []
    for name, ran in (("NREL Eagle", eagle), ("Philly", philly), ("Chronus", chronus)):
        rows += _runtimes(name, ran[: chosen.jobs])
    columns = ("trace", "method", "jobs", "median |ln error|", "pinball p50", "pinball p90", "ended before p90")
    table("Runtimes, second half of each trace", columns, rows)
    queues, left_out, until = list[tuple[str, ...]](), list[str](), began + chosen.seconds
    for name, jobs, nodes, per_node in _queues(eagle, philly):
        if time.monotonic() > until:
            left_out.append(name)
        else:
            queues += _starts(name, _limited(jobs, per_node, chosen.queue_jobs), nodes, per_node)
    titles = (
        "trace",
        "method",
        "estimates",
        "on days",
        "at moments",
        "started before p90",
        "median error",
        "p90 of error",
        "CPU of a refresh, s",
    )
    table("Starts, second half of each trace (* looked at while estimates were built or mended)", titles, queues)
    if left_out:
        print(f"Left out for lack of time ({chosen.seconds:.0f} s): {', '.join(left_out)}.")


def _queues(eagle: Sequence[Ran], philly: Sequence[Ran]) -> Iterator[tuple[str, Sequence[Ran], int, int]]:
    """Yield traces with nodes and GPUs a node: of Philly so few that its jobs keep about nine of ten GPUs busy."""
    for cluster, nodes in _NODES.items():
        if cluster == "6214e9*":  # those looked at come after those that were not: time may be short
            yield "NREL Eagle, 256 nodes*", eagle, 1, 256
        one = [job for job in philly if job.case.team == cluster.rstrip("*")]
        yield f"Philly {cluster.rstrip('*')}, {nodes * 8} GPUs{'*' * cluster.endswith('*')}", one, nodes, 8


def sorted_by_time(ran: Iterable[Ran]) -> list[Ran]:
    """Return jobs in the order of submission."""
    return sorted(ran, key=lambda one: one.at)


def _eagle(traces: Path) -> Iterator[Ran]:
    for row in _rows(traces / "nrel-eagle-sample.csv"):
        case = Case(
            user=row["user"],
            team=row["account"],
            kind="command",
            name=row["name"],
            environment=row["partition"],
            tier=None,
            gpus_milli=int(row["nodes_req"]) * 1000,
            fingerprint=row["work_dir"] + row["submit_line"],
            limit_s=float(row["wallclock_req"]),
        )
        yield Ran(_seconds(row["submit_time"]), case, float(row["run_time"]), row["state"] == "TIMEOUT")


def _philly(traces: Path) -> Iterator[Ran]:
    for row in _rows(traces / "philly.csv"):
        yield Ran(_seconds(row["timestamp"]), _bare(row["cluster"], "job", row["num_gpus"]), float(row["duration"]))


def _chronus(traces: Path) -> Iterator[Ran]:
    for row in _rows(traces / "chronus-philly-slo.csv"):
        yield Ran(
            float(row["submit_time"]), _bare(row["user"], row["model_name"], row["num_gpu"]), float(row["duration"])
        )


def _bare(team: str, name: str, gpus: str) -> Case:
    return Case(user=team, team=team, kind="command", name=name, environment="", tier=None, gpus_milli=int(gpus) * 1000)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _runtimes(name: str, ran: Sequence[Ran]) -> list[tuple[str, ...]]:
    history, running = History(DEFAULT_S), list[tuple[float, int]]()
    half = len(ran) // 2
    said: dict[str, list[tuple[float, float, float]]] = {}
    for number, one in enumerate(ran):
        while running and running[0][0] <= one.at:
            ended = heapq.heappop(running)[1]
            _teach(history, ran[ended], str(ended))
        if number >= half:
            held = history.predict(one.case).held
            plain = {
                "requested limit": one.case.limit_s,
                "mean of last two": history.last_two_s(one.case),
                "global median": history.global_median_s(),
            }
            said.setdefault("ours", []).append((one.ran_s, held.quantile(0.5), held.quantile(0.9)))
            for method, seconds in plain.items():
                if seconds is not None:
                    said.setdefault(method, []).append((one.ran_s, seconds, seconds))
        history.expect(str(number), one.case)
        heapq.heappush(running, (one.at + one.ran_s, number))
    return [(name, method, *_judged(found)) for method, found in said.items()]


def _teach(history: History, one: Ran, job_id: str) -> None:
    if one.cut_off:
        history.learn(one.case, one.ran_s, Phase.FAILED, Ended.TIMEOUT, job_id=job_id)
    else:
        history.learn(one.case, one.ran_s, Phase.SUCCEEDED, job_id=job_id)


def _judged(found: Sequence[tuple[float, float, float]]) -> tuple[str, ...]:
    errors = [abs(math.log(max(p50, 1.0) / max(real, 1.0))) for real, p50, _ in found]
    within = sum(real <= p90 * 1.0001 for real, _, p90 in found) / len(found)
    p50 = sum(_pinball(real, said, 0.5) for real, said, _ in found) / len(found)
    p90 = sum(_pinball(real, said, 0.9) for real, _, said in found) / len(found)
    return (str(len(found)), f"{median(errors):.3f}", f"{p50:.3f}", f"{p90:.3f}", f"{within:.0%}")


def _pinball(real: float, said: float, part: float) -> float:
    off = math.log(max(real, 1.0)) - math.log(max(said, 1.0))
    return max(part * off, (part - 1.0) * off)


def _limited(ran: Sequence[Ran], per_node: int, at_most: int) -> list[Ran]:
    """Return jobs that fit on one node, each with a limit: its own, or one drawn as people ask (see the page)."""
    found = []
    for one in ran:
        if one.case.gpus_milli > per_node * 1000:
            continue
        limit_s = one.case.limit_s
        if limit_s is None:
            asked = max(one.ran_s, 60.0) * (1.2 + 8.0 * (crc32(f"{one.at}{one.ran_s}".encode()) / 2**32) ** 2)
            limit_s = next((limit for limit in _LIMITS_S if limit >= asked), asked)
        found.append(replace(one, case=replace(one.case, limit_s=limit_s)))
        if len(found) == at_most:
            break
    return found


def _starts(name: str, ran: Sequence[Ran], nodes: int, per_node: int) -> list[tuple[str, ...]]:
    lab = _Lab(_platform(nodes, per_node, {one.case.team for one in ran}))
    lab.run(ran)
    begin = ran[len(ran) // 2].at
    rows: list[tuple[str, ...]] = []
    for method, said in lab.said.items():
        judged = [
            (real - at, p50, p90, at)
            for job_id, (at, p50, p90) in said.items()
            if at >= begin and (real := lab.real.get(job_id)) is not None
        ]
        if not judged:
            continue
        errors = sorted(abs(wait - p50) for wait, p50, *_ in judged)
        within = sum(wait <= p90 for wait, _, p90, _ in judged) / len(judged)
        cost = median(lab.took[method]) if lab.took[method] else 0.0
        rows.append(
            (
                name,
                method,
                str(len(judged)),
                str(len({int(at // 86_400.0) for *_, at in judged})),
                str(len({at for *_, at in judged})),
                f"{within:.1%}",
                f"{median(errors) / 60:.1f} min",
                f"{errors[int(0.9 * len(errors))] / 60:.1f} min",
                f"{cost:.2f}",
            )
        )
    return rows


class _Lab:
    """One platform with a trace running through it, and what three methods say of each start."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.history = History(DEFAULT_S)
        self.record = Record()
        self.jobs: dict[str, Job] = {}
        self.real: dict[str, float] = {}
        self.said: dict[str, dict[str, tuple[float, float, float]]] = {
            "ours": {},
            "ours, not corrected": {},
            "requested limit": {},
        }
        self.pause = 0
        self.every = 1
        self.took: dict[str, list[float]] = {method: [] for method in self.said}

    def run(self, ran: Sequence[Ran]) -> None:
        """Let the trace happen; before each new instant, estimate for those who have no estimate yet."""
        self.every = max(1, 2 * len(ran) // POINTS)  # a job has two moments: it arrives and it ends
        works = [Work(_job(number, one), one.ran_s) for number, one in enumerate(ran)]
        at = ran[0].at
        for step in forward(Decider(self.platform, explains=False), self.platform, at, (), works):
            if step.at > at:
                self._estimate(at)
                at = step.at
            self._note(step.what, step.job, step.at)

    def _note(self, what: What, job: Job, at: float) -> None:
        self.jobs[job.id] = job
        if what is What.ARRIVED:
            self.history.expect(job.id, case_of(job))
        elif what is What.BEGAN:
            self.real[job.id] = at
            self.record.settle(job.id, at)
        elif what is What.ENDED:
            del self.jobs[job.id]
            if job.began_at is not None:
                self.history.learn(case_of(job), at - job.began_at, job.phase, job.reason, job_id=job.id)

    def _estimate(self, now: float) -> None:
        waiting = [job for job in self.jobs.values() if job.phase is Phase.QUEUED]
        fresh = [job.id for job in waiting if job.id not in self.said["ours"]]
        self.pause -= 1
        if not fresh or self.pause > 0:
            return
        self.pause = self.every
        present = Present(now, self.platform, tuple(self.jobs.values()))
        self.record.refresh()
        found = {job.id: self.history.predict(case_of(job)) for job in present.jobs}
        held = {job_id: likelihood.held for job_id, likelihood in found.items()}
        began = time.process_time()
        watched = frozenset(fresh)
        futures = courses(
            present,
            lambda job, part: sampled(held[job.id], job, now, part),
            watched=watched,
            more=lambda done: done * len(present.jobs) < DECIDED_JOBS,
            seen=lambda job: found[job.id].seen,
        )
        self.took["ours"].append(time.process_time() - began)
        for job_id, raw in etas(now, futures, fresh).items():
            shown = self.record.corrected(raw, now)
            if raw.p50_s is None or raw.p90_s is None or shown.p50_s is None or shown.p90_s is None:
                continue
            self.record.issue(Issued(job_id, 0, now, raw.p50_s, raw.p90_s, shown.p50_s, shown.p90_s))
            self.said["ours"][job_id] = (now, shown.p50_s, shown.p90_s)
            self.said["ours, not corrected"][job_id] = (now, raw.p50_s, raw.p90_s)
        plain = course(present, _whole_limit(now), 0, watched=watched)
        for job_id in fresh:
            in_s = plain.starts[job_id].in_s if job_id in plain.starts else HORIZON_S
            self.said["requested limit"][job_id] = (now, in_s, in_s)


def _whole_limit(now: float) -> Callable[[Job, float], float]:
    return lambda job, _part: max(1.0, (job.timeout_s or DEFAULT_S) - (now - job.began_at if job.began_at else 0.0))


def _job(number: int, one: Ran) -> Job:
    case = one.case
    return Job(
        id=f"j-{number}",
        name=case.name,
        kind=Kind.COMMAND,
        user=case.user,
        team=case.team,
        request=Request(case.gpus_milli, "gold"),
        submitted_at=one.at,
        queued_at=one.at,
        environment="default",
        timeout_s=case.limit_s,
        fingerprint=case.fingerprint,
    )


def _platform(nodes: int, per_node: int, teams: set[str]) -> Platform:
    names = sorted(teams)
    return Platform(
        name="trace",
        clusters=(Cluster("lab", ClusterKind.PRIVATE, tuple(Node(f"n{n}", "gold", per_node) for n in range(nodes))),),
        tiers=(Tier("gold"),),
        teams=tuple(Team(team, ("*",)) for team in names),
        queues=tuple(Queue(team, team) for team in names),
        priorities=(PriorityClass("normal", 0),),
        data_classes=(DataClass("open", may_leave=True),),
        environments=(Environment("default", "python3"),),
    )


if __name__ == "__main__":
    main()
