"""A kept job's time limit counts for each of its cells, so it may run for longer than one limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dure.control.compare import Rules, compare
from dure.ports import Observation
from dure.wire.cells import MAX_KEEP_S
from tests.core.builders import NOW, a_job, running

RULES = Rules(grace_s=10, overtime_s=60, kept_session_s=1000)


@pytest.mark.parametrize(
    ("keep_s", "after_s", "stopped"),
    [(0, 169, False), (0, 171, True), (60, 171, False), (60, 1000 + MAX_KEEP_S + 171, True)],
)
def test_only_what_outlived_every_limit_is_stopped(keep_s: float, after_s: float, stopped: bool):
    job = replace(running(a_job(timeout_s=100, keep_s=keep_s), "lab", "node-1", 0), began_at=NOW)
    seen = Observation(job.id, job.attempt, "running", began=True, began_at=NOW)
    acts = compare(job, seen, answered=True, now=NOW + after_s, rules=RULES).acts
    assert [act.what for act in acts] == (["stop"] if stopped else [])


@pytest.mark.parametrize("keep_s", [0, 60])
def test_only_a_job_that_asked_to_be_kept_is(keep_s: float):
    job = replace(running(a_job(keep_s=keep_s), "lab", "node-1", 0), began_at=NOW)
    seen = Observation(job.id, job.attempt, "running", began=True, began_at=NOW, kept_since=NOW + 1)
    assert (compare(job, seen, answered=True, now=NOW + 2, rules=RULES).kept is not None) is (keep_s > 0)
