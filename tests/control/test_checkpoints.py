"""Who saved its work last loses least and goes first; the loop learns of checkpoints from executors."""

from dataclasses import replace
from pathlib import Path

import pytest

import dure
from dure.adapters.executors.attempts import Attempt
from dure.control.compare import Rules, compare
from dure.core.model import Phase, Team
from dure.core.sentences import event_sentence
from dure.ports import Observation
from dure.sim.executor import Fate
from tests.control.stage import OTHER, Stage
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform, running

VISION = Team("vision", ("*",), quota_milli={"gold": 2000})
SPEECH = Team("speech", ("*",), quota_milli={"gold": 0})
LONG = Fate(run_s=100_000.0)


@pytest.mark.parametrize(("every_s", "loser"), [(float("inf"), "newer"), (100.0, "older")])
def test_who_saved_its_work_last_is_preempted_first(every_s: float, loser: str) -> None:
    stage = Stage(a_platform(a_lab(a_node("n1", "gold", 2)), teams=(VISION, SPEECH)))
    jobs = {"older": stage.submit(OTHER, fate=replace(LONG, checkpoint_every_s=every_s))}
    stage.wait(250.0, step_s=10.0)
    jobs["newer"] = stage.submit(OTHER, fate=LONG)
    stage.wait(360.0, step_s=10.0)
    mine = stage.submit()
    stage.wait(60.0, step_s=5.0)
    assert stage.phase(mine) in {"running", "succeeded"}
    assert [name for name, job in jobs.items() if "preempted" in stage.kinds(job)] == [loser]
    saved = [event for event in stage.events(jobs["older"]) if event.kind == "job.checkpointed"]
    assert bool(saved) is (loser == "older")
    if saved:
        told = next(event for event in stage.events(jobs["older"]) if event.kind == "job.preempted")
        assert told.data["lost_s"] < 100.0 < told.data["ran_s"]
        assert "saved its work" in event_sentence(told, "en")
        assert "저장" in event_sentence(told, "ko")


def test_a_new_attempt_has_saved_nothing() -> None:
    stage = Stage()
    job = stage.submit(fate=[Fate(run_s=500.0, checkpoint_every_s=20.0, lost_after_s=100.0), LONG], retries=1)
    stage.wait(90.0, step_s=5.0)
    assert stage.job(job).checkpointed_at is not None
    stage.wait(60.0, step_s=5.0)
    assert stage.job(job).attempt == 2
    assert stage.job(job).checkpointed_at is None


@pytest.mark.parametrize(
    ("known", "said", "taken"),
    [
        (None, NOW + 5.0, True),
        (None, NOW - 50.0, False),  # before its code began: of no attempt of this job
        (NOW + 5.0, NOW + 6.0, False),  # a job that saves all the time is told of now and then
        (NOW + 5.0, NOW + 70.0, True),
        (NOW + 90.0, NOW + 9e9, False),  # a time to come counts as now, and that is no news
    ],
)
def test_a_checkpoint_is_taken_down_where_it_is_news(known: float | None, said: float, taken: bool) -> None:
    job = replace(running(a_job("a"), "lab", "n1", 0), began_at=NOW, checkpointed_at=known)
    seen = Observation(job.id, job.attempt, "running", began=True, began_at=NOW, checkpointed_at=said)
    found = compare(job, seen, answered=True, now=NOW + 100.0, rules=Rules()).checkpointed_at
    assert (found is not None) is taken
    assert job.phase is Phase.RUNNING


def test_a_job_says_so_with_a_file_and_outside_a_job_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Attempt(tmp_path, "j-1", 1)
    monkeypatch.delenv("DURE_CHECKPOINT_FILE", raising=False)
    dure.checkpointed()
    assert attempt.checkpointed_at() is None
    monkeypatch.setenv("DURE_CHECKPOINT_FILE", str(tmp_path / "checkpointed"))
    dure.checkpointed()
    assert attempt.checkpointed_at() == (tmp_path / "checkpointed").stat().st_mtime
    monkeypatch.setenv("DURE_CHECKPOINT_FILE", str(tmp_path / "no" / "such" / "folder"))
    dure.checkpointed()


def test_a_link_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpointed").symlink_to(Path(__file__))
    assert Attempt(tmp_path, "j-1", 1).checkpointed_at() is None
