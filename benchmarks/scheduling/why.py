"""What forecasts cost: a refresh of all estimates, `why` with what would start a job sooner, and a plan.

The queue is made of equal parts of several sizes, tiers and teams, on more GPUs than it needs to move. The trap: the
figures grow with the queue, so each row names its length, and the work is that of one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

from benchmarks.measuring.figures import shown, table
from benchmarks.measuring.machine import told
from dure.core.forecast.distribution import Distribution, lognormal
from dure.core.forecast.draws import sampled
from dure.core.forecast.runtimes import History, case_of
from dure.core.forecast.starts import Course, Present, course, courses
from dure.core.model import (
    Budget,
    BudgetMode,
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
from dure.core.queueing.whatif import ahead, borrowed, middle, together

TIERS = ("bronze", "silver", "gold")
BUDGET_S = 0.8  # as the control plane has it
TRIALS_S = 3.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1000], help="lengths of the queue")
    chosen = parser.parse_args()
    print(told("dure"))
    report(chosen.jobs)


def report(lengths: Sequence[int]) -> None:
    """Print the table for queues of such lengths."""
    rows = []
    for jobs in lengths:
        rows += _rows(jobs)
    rows += _learning()
    table("Forecasts, one thread", ("what", "waiting", "CPU time"), rows)


def _rows(jobs: int) -> list[tuple[str, ...]]:
    present = Present(float(jobs), _platform(), tuple(_job(number) for number in range(jobs)))
    runs = Distribution(lognormal(1200.0, 1.2))

    def remaining(job: Job, part: float) -> float:
        return sampled(runs, job, present.now, part)

    last = present.jobs[-1]
    one = _cpu_s(lambda: course(present, remaining, 0))
    made: list[Course] = []
    many = _cpu_s(lambda: made.extend(courses(present, remaining, more=_within(BUDGET_S))))
    why = _cpu_s(lambda: _why(present, last, remaining))
    decided = sum(bool(known.begun) for known in made)
    return [
        ("one course: every start of one possible future", str(jobs), shown(one)),
        (
            f"a refresh of every estimate: {decided} courses, {len(made) - decided} moved from these",
            str(jobs),
            shown(many),
        ),
        ("what would start the last in line sooner", str(jobs), shown(why)),
    ]


def _why(present: Present, job: Job, remaining: Callable[[Job, float], float]) -> object:
    """Answer as the control plane does on a long queue."""
    base = middle(present, remaining, frozenset({job.id}))
    found = together(present, job, remaining, base)
    return found, borrowed(present, job, remaining, base.starts[job.id].in_s), ahead(present, job, remaining, [base])


def _within(budget_s: float) -> Callable[[int], bool]:
    began = time.process_time()
    return lambda done: (time.process_time() - began) * (done + 1) / max(1, done) < budget_s


def _learning() -> list[tuple[str, ...]]:
    history, count = History(600.0), 2_000
    cases = [case_of(_job(number)) for number in range(count)]
    learning = _cpu_s(
        lambda: [history.learn(case, 30.0 + number % 977, Phase.SUCCEEDED) for number, case in enumerate(cases)]
    )
    predicting = _cpu_s(lambda: [history.predict(case) for case in cases])
    return [
        ("learn from one ended job", "–", shown(learning / count)),
        ("predict one job's runtime", "–", shown(predicting / count)),
    ]


def _cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _job(number: int) -> Job:
    return Job(
        id=f"j-{number}",
        name=f"train {number % 7}",
        kind=Kind.COMMAND,
        user=f"user{number % 20}",
        team=f"team{number % 4}",
        request=Request(1000 * (1, 1, 2, 4)[number % 4], (*TIERS, None)[number % 7 % 4]),
        submitted_at=float(number),
        queued_at=float(number),
        budget=Budget(BudgetMode.FLEX if number % 5 == 0 else BudgetMode.STRICT),
        predicted_s=round(1.3 ** (number % 20 + 10), 1),
    )


def _platform() -> Platform:
    nodes = tuple(Node(f"n{number}", TIERS[number % 3], 8) for number in range(12))
    teams = [f"team{number}" for number in range(4)]
    return Platform(
        name="lab",
        clusters=(
            Cluster("lab", ClusterKind.PRIVATE, nodes),
            Cluster("cloud", ClusterKind.PUBLIC, (Node("c1", "gold", 8),), provision_s=120.0, prices={"gold": 3000.0}),
        ),
        tiers=tuple(Tier(tier, 100.0 * 3**rank) for rank, tier in enumerate(TIERS)),
        teams=tuple(Team(team, ("*",)) for team in teams),
        queues=tuple(Queue(team, team) for team in teams),
        priorities=(PriorityClass("normal", 0),),
        data_classes=(DataClass("open", may_leave=True),),
        environments=(Environment("default", "python3"),),
    )


if __name__ == "__main__":
    main()
