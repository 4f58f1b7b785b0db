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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
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
PROCESSES = 2
_SECTIONS = ("runtimes", "starts")
_LEAST_JOBS = 200
POINTS = 60
"""At how many moments of a trace estimates are made: of every job that waits then and has none yet."""
_NODES = {
    "Philly e13805, 8 GPUs": (1, 8),
    "Philly 11cb48, 8 GPUs": (1, 8),
    "Philly 6c71a0, 64 GPUs": (8, 8),
    "NREL Eagle, 256 nodes*": (1, 256),
    "Philly 2869ce, 32 GPUs*": (4, 8),
    "Philly 7f04ca, 72 GPUs*": (9, 8),
    "Philly 0e4a51, 40 GPUs*": (5, 8),
    "Philly 103959, 24 GPUs*": (3, 8),
    "Philly ee9e8c, 112 GPUs*": (14, 8),
    "Philly b436b2, 64 GPUs*": (8, 8),
    "Philly 6214e9, 40 GPUs*": (5, 8),
}
"""Traces with nodes and GPUs a node: of Philly so few that its jobs keep about nine of ten GPUs busy."""
_LIMITS_S = (3600.0, 4 * 3600.0, 12 * 3600.0, 86_400.0, 2 * 86_400.0, 7 * 86_400.0, 30 * 86_400.0)


@dataclass(frozen=True, slots=True)
class Ran:
    """One job of a trace: what was known of it, when it was submitted, how long it ran, and how it ended."""

    at: float
    case: Case
    ran_s: float
    cut_off: bool = False


def main() -> None:
    """Print the tables that were asked for: both when none was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sections", nargs="*", choices=[[], *_SECTIONS], help="which tables (both)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with traces/")
    parser.add_argument("--jobs", type=int, default=12_000, help="at most so many jobs of a trace for runtimes")
    parser.add_argument("--queue-jobs", type=int, default=1_500, help="at most so many jobs of a trace for starts")
    parser.add_argument("--only", nargs="*", default=[], help="of the starts, traces with such a word")
    parser.add_argument("--later", type=int, nargs="*", default=[], help="of the starts, traces from such a job on")
    chosen = parser.parse_args()
    traces = chosen.data / "traces"
    if not traces.is_dir():
        raise SystemExit(f"There are no traces in {traces}: name their folder with --data.")
    print(told("dure"))
    wanted = chosen.sections or _SECTIONS
    if "runtimes" in wanted:
        _print_runtimes(traces, chosen.jobs)
    if "starts" in wanted:
        _print_starts(traces, chosen.queue_jobs, chosen.only, chosen.later)


def _print_runtimes(traces: Path, jobs: int) -> None:
    names = ("NREL Eagle", "Philly", "Chronus")
    found = [sorted_by_time(read(traces))[:jobs] for read in (_eagle, _philly, _chronus)]
    with ProcessPoolExecutor(PROCESSES) as pool:
        rows = [row for some in pool.map(_runtimes, names, found) for row in some]
    columns = ("trace", "method", "jobs", "median of abs(ln error)", "pinball p50", "pinball p90", "ended before p90")
    table("Runtimes, second half of each trace", columns, rows)


def _print_starts(traces: Path, jobs: int, only: Sequence[str], later: Sequence[int]) -> None:
    """Judge every trace in a process of its own, two at once; the longest begin first."""
    names = [name for name in _NODES if not only or any(word in name for word in only)]
    windows = [(name, first) for name in names for first in later or (0,)]
    with ProcessPoolExecutor(PROCESSES) as pool:
        running = [pool.submit(_starts, traces, *window, jobs) for window in reversed(windows)]
        found = [known for run in reversed(running) if (known := run.result()).jobs >= _LEAST_JOBS]
    fresh = [known for known in found if not known.looked_at]
    rows = [known.row() for known in found]
    if 1 < len(fresh) < len(found):
        rows.append(_together("never looked at, together", fresh).row())
    rows.append(_together("all together", found).row())
    table("Starts, second half of each trace (* looked at while estimates were built or mended)", _TITLES, rows)
    shares = [share for known in found for share in _rush_shares(known.said)]
    print(f"Of {len(shares)} rushes, each counted once: {sum(shares) / len(shares):.1%} of starts before p90.\n")


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


@dataclass(frozen=True, slots=True)
class _Said:
    """What was said of a start and what came: seconds from `at` on. `again`: the job had an earlier estimate.

    `raw90_s` is p90 before correction, `limit_s` what the requested limit says (None: nothing within HORIZON_S).
    """

    at: float
    wait_s: float
    p50_s: float
    p90_s: float
    raw90_s: float
    limit_s: float | None
    again: bool


@dataclass(frozen=True, slots=True)
class _Judged:
    """One trace's row, or that of several together."""

    name: str
    jobs: int
    said: tuple[_Said, ...]
    looked_at: bool
    rushes: int

    def row(self) -> tuple[str, ...]:
        """Return the row, in the order of `_TITLES`."""
        firsts = [one for one in self.said if not one.again]
        if not firsts:
            return (self.name, f"{self.jobs:,}", *("–" for _ in _TITLES[2:]))
        late = sum(one.limit_s is None for one in firsts)
        limits = [abs(one.wait_s - (HORIZON_S if one.limit_s is None else one.limit_s)) for one in firsts]
        over = "over " if 2 * late > len(firsts) else ""
        return (
            self.name,
            f"{self.jobs:,}",
            f"{len(firsts):,}",
            str(self.rushes),
            _share(one.wait_s <= one.p90_s for one in firsts),
            _share(one.wait_s <= one.raw90_s for one in firsts),
            _share(one.wait_s <= one.p90_s for one in self.said),
            f"{median(abs(one.wait_s - one.p50_s) for one in firsts) / 60:,.0f} min",
            f"{over}{median(limits) / 60:,.0f} min",
        )


_TITLES = (
    "trace",
    "jobs of the trace",
    "estimates",
    "rushes",
    "started before p90",
    "not corrected",
    "with those renewed",
    "median error",
    "of the requested limit",
)


def _share(held: Iterable[bool]) -> str:
    kept = list(held)
    return f"{sum(kept) / len(kept):.1%}"


def _together(name: str, found: Sequence[_Judged]) -> _Judged:
    said = tuple(one for known in found for one in known.said)
    jobs, rushes = sum(known.jobs for known in found), sum(known.rushes for known in found)
    return _Judged(name, jobs, said, looked_at=False, rushes=rushes)


def _starts(traces: Path, name: str, first: int, at_most: int) -> _Judged:
    """Let one trace happen, from its `first` job on, and return what was said of starts in its second half."""
    nodes, per_node = _NODES[name]
    ran = sorted_by_time(_eagle(traces) if name.startswith("NREL") else _philly(traces))
    ran = [one for one in ran if name.startswith("NREL") or one.case.team in name]
    ran = _limited(ran[first:], per_node, at_most)
    if len(ran) < _LEAST_JOBS:
        return _Judged(name, len(ran), (), looked_at=False, rushes=0)
    lab = _Lab(_platform(nodes, per_node, {one.case.team for one in ran}), ran[len(ran) // 2].at)
    lab.run(ran)
    said = tuple(lab.judged())
    title = f"{name.rstrip('*')} from job {first:,}" if first else name
    return _Judged(title, len(ran), said, title.endswith("*"), len(_rush_shares(said)))


def _rush_shares(said: Iterable[_Said]) -> list[float]:
    """Return of each future that they saw what part started before p90.

    Who is estimated before the first one's p90 is over waits for the same.
    """
    rushes: list[list[bool]] = []
    until = -math.inf
    for one in sorted(said, key=lambda known: (known.at, known.p90_s)):
        if not one.again:
            if one.at >= until:
                until = one.at + one.p90_s
                rushes.append([])
            rushes[-1].append(one.wait_s <= one.p90_s)
    return [sum(kept) / len(kept) for kept in rushes]


class _Lab:
    """One platform with a trace running through it, and what we and the requested limit say of each start."""

    def __init__(self, platform: Platform, judged_from: float) -> None:
        self.platform = platform
        self.judged_from = judged_from
        self.history = History(DEFAULT_S)
        self.record = Record()
        self.jobs: dict[str, Job] = {}
        self.real: dict[str, float] = {}
        self.issued: dict[tuple[str, int], Issued] = {}
        self.limits: dict[str, float] = {}
        self.pause = 0
        self.every = 1

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

    def judged(self) -> Iterator[_Said]:
        """Yield what was said in the second half of those that began, first estimates and renewed ones."""
        first: dict[str, Issued] = {}
        for (job_id, _), one in self.issued.items():
            first.setdefault(job_id, one)
            if one.issued_at >= self.judged_from and job_id in self.real:
                wait_s, again = self.real[job_id] - one.issued_at, first[job_id] is not one
                limit_s = self.limits.get(job_id)
                yield _Said(one.issued_at, wait_s, one.p50_s, one.p90_s, one.raw90_s, limit_s, again)

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
        self.pause -= 1
        if self.pause > 0 or not any((job.id, 0) not in self.issued for job in waiting):
            return
        self.pause = self.every
        due = {job.id: number for job in waiting if (number := self._due(job, now)) is not None}
        present = Present(now, self.platform, tuple(self.jobs.values()))
        found = {job.id: self.history.predict(case_of(job)) for job in present.jobs}
        futures = courses(
            present,
            lambda job, part: sampled(found[job.id].held, job, now, part),
            watched=frozenset(due),
            more=lambda done: done * len(present.jobs) < DECIDED_JOBS,
            seen=lambda job: found[job.id].seen,
        )
        self.record.refresh(now)
        for job_id, raw in etas(now, futures, due).items():
            shown = self.record.corrected(raw)
            if raw.p50_s is None or raw.p90_s is None or shown.p50_s is None or shown.p90_s is None:
                continue
            issued = Issued(job_id, due[job_id], now, raw.p50_s, raw.p90_s, shown.p50_s, shown.p90_s)
            self.record.issue(issued)
            self.issued[job_id, due[job_id]] = issued
        fresh = frozenset(job_id for job_id, number in due.items() if not number)
        if now >= self.judged_from and fresh:
            plain = course(present, _whole_limit(now), 0, watched=fresh)
            self.limits.update((job_id, start.in_s) for job_id, start in plain.starts.items() if job_id in fresh)

    def _due(self, job: Job, now: float) -> int | None:
        """Return the number of the estimate to put on record: the first is 0 however long the job has waited."""
        if (job.id, 0) not in self.issued:
            return 0
        return self.record.due(job.id, now - job.queued_at)


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
