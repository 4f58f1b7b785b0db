"""Plain policies: what the published simulators agree on, and that no GPU is ever given twice."""

import csv
import random
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.sim.plain import PLAIN, Cluster, Floor, Task, fifo, sjf, srtf, tiresias
from tests.examples import examples

PHILLY = Path(__file__).resolve().parents[3] / "shared" / "data" / "traces" / "philly.csv"


def starts(turns) -> list[int]:
    return [turn.start_s for turn in turns]


def test_the_head_of_a_fifo_queue_blocks_those_behind_it():
    tasks = [Task(0, 10, 6), Task(1, 10, 4), Task(2, 1, 1)]
    assert starts(fifo(tasks, Cluster(1))) == [0, 10, 10]


def test_sjf_takes_the_shortest_that_waits_and_its_head_blocks_too():
    tasks = [Task(0, 10, 8), Task(1, 50, 1), Task(2, 5, 8), Task(3, 7, 1)]
    assert starts(sjf(tasks, Cluster(1))) == [0, 15, 10, 15]


def test_at_one_instant_ends_come_first_then_arrivals_then_placement():
    assert starts(fifo([Task(0, 10, 8), Task(10, 1, 8)], Cluster(1))) == [0, 10]
    assert starts(sjf([Task(0, 10, 8), Task(1, 9, 8), Task(10, 1, 8)], Cluster(1))) == [0, 11, 10]


def test_small_tasks_go_where_they_fit_best_and_large_ones_to_empty_nodes():
    floor = Floor(Cluster(3))
    assert floor.take(5) == [0, 5]
    assert floor.take(2) == [0, 2]
    assert floor.take(3) == [1, 3]
    assert floor.take(16) is None
    assert floor.take(8) == [2, 8]
    floor.give_back([0, 5])
    floor.give_back([0, 2])
    assert floor.take(12) == [0, 8, 1, 4]


def test_a_remainder_goes_to_a_further_node():
    floor = Floor(Cluster(2))
    assert floor.take(6) == [0, 6]
    assert floor.take(12) is None
    assert floor.take(10) == [1, 8, 0, 2]


def test_srtf_preempts_and_pays_for_it():
    long, short = srtf([Task(0, 100, 8), Task(10, 5, 8)], Cluster(1))
    assert (short.start_s, short.end_s, short.preemptions) == (10, 15, 0)
    assert (long.start_s, long.end_s, long.preemptions, long.waited_s) == (0, 15 + 90 + 30, 1, 5)
    assert long.spells == [(0, 10), (15, 135)]


def test_tiresias_lets_those_go_first_that_had_little_and_decides_once_a_minute():
    hungry, fresh = tiresias([Task(0, 10_000, 8), Task(600, 60, 8)], Cluster(1))
    crosses_s = 18_000 // 8 + 1
    assert fresh.start_s == -(-crosses_s // 60) * 60
    assert hungry.preemptions == 1


def test_a_task_larger_than_the_cluster_never_runs_and_blocks_nobody():
    for policy in PLAIN.values():
        huge, small = policy([Task(0, 5, 99), Task(1, 5, 1)], Cluster(2))
        assert (huge.start_s, huge.end_s) == (-1, -1)
        assert small.end_s > 0


tasks_drawn = st.lists(
    st.builds(Task, st.integers(0, 60), st.integers(1, 50), st.sampled_from([1, 2, 3, 4, 6, 8, 16])), max_size=30
)


@settings(max_examples=examples(120))
@given(tasks=tasks_drawn, name=st.sampled_from(sorted(PLAIN)))
def test_every_task_ends_runs_long_enough_and_no_gpu_is_given_twice(tasks, name):
    cluster = Cluster(2, 8)
    turns = PLAIN[name](tasks, cluster)
    assert turns == PLAIN[name](tasks, cluster)
    changes: list[tuple[int, int]] = []
    for task, turn in zip(tasks, turns, strict=True):
        spells = turn.spells or [(turn.start_s, turn.end_s)]
        assert turn.start_s >= task.submit_s
        assert sum(ends - begins for begins, ends in spells) >= task.run_s
        assert turn.end_s - task.submit_s == turn.waited_s + sum(ends - begins for begins, ends in spells)
        for begins, ends in spells:
            changes += [(begins, task.gpus), (ends, -task.gpus)]
    used = 0
    for _, gpus in sorted(changes):
        used += gpus
        assert 0 <= used <= 16


@settings(max_examples=examples(80))
@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=40), st.randoms())
def test_a_floor_gives_back_exactly_what_was_taken(asks, chance: random.Random):
    floor = Floor(Cluster(4))
    held: list[list[int]] = []
    for gpus, release in asks:
        if release and held:
            floor.give_back(held.pop(chance.randrange(len(held))))
        taken = floor.take(gpus)
        if taken is not None:
            held.append(taken)
        per_node = [0] * 4
        for one in held:
            for node, count in zip(one[::2], one[1::2], strict=True):
                per_node[node] += count
        assert [8 - count for count in per_node] == floor.on_node
        assert floor.free == 32 - sum(per_node)


@pytest.mark.skipif(not PHILLY.is_file(), reason="the Philly trace is not here (../shared/data/traces)")
@pytest.mark.parametrize(("policy", "mean_completion_s"), [(fifo, 18_171.3), (sjf, 9_874.975)])
def test_the_philly_week_takes_as_long_as_in_the_helios_simulator(policy, mean_completion_s):
    """Measured with HeliosArtifact's own FIFO and SJF; job by job they begin at the same second (benchmarks)."""
    with PHILLY.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if "2017-10-01" <= row["timestamp"] < "2017-10-08"]
    rows.sort(key=lambda row: row["timestamp"])
    at = [int(datetime.fromisoformat(row["timestamp"] + "+00:00").timestamp()) for row in rows]
    tasks = [
        Task(t - at[0], int(float(row["duration"])), int(row["num_gpus"])) for t, row in zip(at, rows, strict=True)
    ]
    turns = policy(tasks, Cluster(70))
    mean = sum(turn.end_s - task.submit_s for task, turn in zip(tasks, turns, strict=True)) / len(tasks)
    assert len(tasks) == 10_650
    assert mean == pytest.approx(mean_completion_s, abs=0.01)
