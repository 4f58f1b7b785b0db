"""Every refusal of a command, and what a repeated or crossed command does."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from dure.core.model import Environment, Node
from dure.ports import ExecutorUnavailableError, Principal, VersionConflictError
from dure.sim.executor import Fate
from dure.wire.messages import MAX_PAYLOAD_BYTES, Control, JobRequest
from dure.wire.problems import CodedError
from tests.control.stage import ALICE, MATE, OTHER, ROOT, Stage
from tests.core.builders import a_platform

BOTH = Principal("both", teams=("vision", "speech"))
LONER = Principal("loner")


def refused(call):
    with pytest.raises(CodedError) as caught:
        call()
    for lang in ("en", "ko"):
        assert caught.value.sentence(lang).strip()
    return caught.value


COMMAND = {"kind": "command", "payload": {"argv": ["true"]}}


@pytest.mark.parametrize(
    ("asked", "code", "told"),
    [
        ({"tier": "platinum"}, "unknown_tier", "bronze, silver, gold"),
        ({"environment": "nowhere"}, "unknown_environment", "default"),
        ({"priority": "urgent"}, "unknown_priority", "high, normal, low"),
        ({"data": "medical"}, "unknown_data_class", "open, private"),
        ({"team": "speech"}, "unknown_team", "vision"),
        ({"gpus": 3}, "too_many_gpus", "3 GPUs of gold on one node do not exist on this platform; the most is 2"),
        ({"gpus": 3, "tier": None}, "too_many_gpus", "3 GPUs of any tier on one node"),
        ({"gpus": 1.5}, "bad_fraction", "1.5"),
        ({"gpus": 0.0005}, "bad_fraction", "0.0005"),
        ({"gpus": 0.1234567}, "bad_fraction", "steps of 0.001"),
        ({"nodes": 2}, "one_node", "A cell runs on one node, not on 2"),
        (COMMAND | {"nodes": 2, "gpus": 0.5}, "parts_of_nodes", "0.5 GPUs on each of 2 nodes"),
        (COMMAND | {"nodes": 99}, "too_many_nodes", "of gold each do not exist in one cluster; the most is"),
        ({"payload": {}}, "payload_invalid", "'code'"),
        ({"kind": "command", "payload": {}}, "payload_invalid", "'argv'"),
        ({"kind": "command", "payload": {"argv": []}}, "payload_invalid", "at least one text"),
        ({"kind": "command", "payload": {"argv": "ls"}}, "payload_invalid", "list"),
        ({"kind": "command", "payload": {"argv": ["ls", 1]}}, "payload_invalid", "text"),
        ({"kind": "function", "payload": {}}, "payload_invalid", "'call'"),
        ({"payload": {"code": "x" * (MAX_PAYLOAD_BYTES + 1)}}, "too_large", str(MAX_PAYLOAD_BYTES)),
    ],
)
def test_what_cannot_be_submitted_is_told_in_one_sentence_and_leaves_nothing(stage, asked, code, told):
    problem = refused(lambda: stage.submit(**asked))
    assert problem.code == code
    assert told in str(problem)
    assert stage.store.last_seq() == 0


def test_a_team_that_an_edit_takes_away_while_its_job_is_submitted_is_told(stage):
    def edited(job):
        platform = stage.platform.current
        teams = tuple(team for team in platform.teams if team.name != job.team)
        stage.platform.replace(replace(platform, teams=teams))
        return job

    stage.commands._predict = edited
    assert refused(stage.submit).code == "unknown_team"
    assert stage.store.last_seq() == 0
    assert stage.hints == 0


def test_the_team_is_found_asked_for_or_refused(stage):
    assert stage.job(stage.submit(ALICE)).team == "vision"
    assert stage.job(stage.submit(BOTH, team="speech")).team == "speech"
    assert stage.job(stage.submit(ROOT)).team == "vision"
    assert stage.job(stage.submit(ROOT, team="speech")).team == "speech"
    assert refused(lambda: stage.submit(BOTH)).code == "team_needed"
    assert refused(lambda: stage.submit(LONER)).code == "no_team"
    assert refused(lambda: stage.submit(Principal("gone", teams=("dissolved",)))).code == "no_team"
    assert refused(lambda: stage.submit(LONER, team="vision")).code == "unknown_team"
    assert refused(lambda: stage.submit(Principal("root2", admin=True))).code == "team_needed"


def test_another_python_is_refused_once_it_is_known_and_fitting_environments_are_named(stage):
    environments = tuple(Environment(name, "p") for name in ("default", "old", "older"))
    stage.platform.replace(replace(stage.platform.current, environments=environments))
    assert stage.submit(python="3.11"), "nothing is known yet: the worker looks again"
    stage.platform.learn_environment("default", {"python": "3.12.4"})
    stage.platform.learn_environment("old", {"python": "3.11.9"})
    stage.platform.learn_environment("older", {"error": "it does not start"})
    problem = refused(lambda: stage.submit(python="3.11"))
    assert (problem.code, problem.data["choices"]) == ("environment_python", "old")
    assert "Python 3.11" in str(problem)
    assert "Python 3.12" in str(problem)
    assert stage.submit(python="3.12")
    assert stage.submit(python="3.11", environment="old")
    assert stage.submit(python="3.11", environment="older")


def test_the_same_key_of_the_same_person_is_the_same_job(stage):
    first = stage.submit(key="k")
    assert stage.submit(key="k", name="sent again") == first
    assert stage.submit(MATE, key="k") != first
    assert stage.submit() != stage.submit()
    stage.wait(5)
    assert stage.submit(key="k") == first, "also when it has ended"
    assert stage.phase(first) == "succeeded"


def test_an_id_that_is_taken_is_drawn_again(stage):
    stage.submit()
    stage.ports.ids.count = 0
    assert stage.submit() == "j-2"


def test_one_person_may_have_so_many_jobs_waiting(stage):
    stage = Stage(pending_per_user=3)
    jobs = [stage.submit() for _ in range(3)]
    problem = refused(stage.submit)
    assert (problem.code, problem.data["pending"]) == ("queue_full", 3)
    assert stage.submit(MATE), "each has a limit of their own"
    stage.commands.cancel(ALICE, jobs[2])
    stage.tick()  # one is admitted, one cancelled
    assert stage.submit()
    assert stage.submit()
    assert refused(stage.submit).code == "queue_full"


# --- cancelling and talking to jobs


def test_who_may_cancel(stage):
    job = stage.submit(fate=Fate(run_s=100))
    assert refused(lambda: stage.commands.cancel(ALICE, "j-none")).code == "job_not_found"
    assert refused(lambda: stage.commands.cancel(OTHER, job)).code == "job_not_found"
    problem = refused(lambda: stage.commands.cancel(MATE, job))
    assert (problem.code, "alice and administrators" in str(problem)) == ("not_allowed", True)
    assert stage.job(job).goal == "run"
    assert stage.commands.cancel(ROOT, job).goal == "cancel"
    assert stage.commands.cancel(ALICE, job).goal == "cancel"
    assert stage.kinds(job).count("cancel_requested") == 1
    assert stage.events(job)[-1].actor == "root"


def test_what_has_ended_cannot_be_changed(stage):
    job = stage.submit()
    stage.wait(5)
    for call in (
        lambda: stage.commands.cancel(ALICE, job),
        lambda: stage.interrupt(job),
        lambda: stage.commands.control(ALICE, job, Control(op="stdin", text="x")),
    ):
        problem = refused(call)
        assert (problem.code, problem.data["phase"]) == ("already_ended", "succeeded")


def test_a_message_to_who_does_not_run_is_refused(stage):
    job = stage.submit(fate=Fate(begin_after_s=5.0))
    stage.submit(OTHER)
    assert refused(lambda: stage.commands.control(ALICE, job, Control(op="stdin", text="x"))).code == "not_running"
    assert refused(lambda: stage.commands.control(MATE, job, Control(op="stdin", text="x"))).code == "not_allowed"
    assert refused(lambda: stage.commands.control(OTHER, job, Control(op="interrupt"))).code == "job_not_found"
    stage.wait(6)
    stage.commands.control(ALICE, job, Control(op="stdin", text="x"))
    assert stage.executors["lab"].asked[-1][:3] == ("send", job, 1)


def test_an_executor_that_does_not_answer_a_message_is_busy_and_nothing_changes(stage):
    job = stage.submit(fate=Fate(run_s=100))
    stage.wait(2)
    stage.executors["lab"].failing["send"] = ExecutorUnavailableError("no answer")
    assert refused(lambda: stage.interrupt(job)).code == "busy"
    assert (stage.job(job).goal, "interrupted" in stage.kinds(job)) == ("run", False)


def test_a_cancel_that_crosses_the_loop_is_repeated(stage, monkeypatch):
    job = stage.submit(fate=Fate(run_s=100))
    commit = stage.store.commit
    crossed: list[bool] = []

    def first_the_loop(changes, at, fence=None):
        if not crossed:
            crossed.append(True)
            stage.tick()
        return commit(changes, at, fence)

    monkeypatch.setattr(stage.store, "commit", first_the_loop)
    assert stage.commands.cancel(ALICE, job).goal == "cancel"
    assert stage.phase(job) == "admitted"


def test_a_cancel_that_always_crosses_is_busy(stage, monkeypatch):
    job = stage.submit()

    def conflicts(*_arguments):
        raise VersionConflictError("moved on")

    monkeypatch.setattr(stage.store, "commit", conflicts)
    assert refused(lambda: stage.commands.cancel(ALICE, job)).code == "busy"


def test_the_largest_inputs_of_a_job_come_over_the_wire_and_are_bounded():
    def asked(inputs):
        return JobRequest(kind="cell", name="In[1]", payload={"code": "1"}, inputs=inputs)

    request = asked({"ab" * 32: 5})
    assert JobRequest.model_validate_json(request.model_dump_json()) == request
    for wrong in ({"no digest": 1}, {"ab" * 32: 0}, {"ab" * 32: 2**60}, {f"{n:064x}": 1 for n in range(17)}):
        with pytest.raises(ValidationError):
            asked(wrong)


def several_nodes(gpus=2, nodes=3):
    made = a_platform()
    lab = made.clusters[0]
    return replace(made, clusters=(replace(lab, nodes=tuple(Node(f"g{n}", "gold", gpus) for n in range(nodes))),))


def test_a_job_over_several_nodes_gets_all_of_them_and_shows_them():
    stage = Stage(several_nodes())
    first = stage.submit(kind="command", payload=COMMAND["payload"], nodes=2, gpus=2, fate=Fate(run_s=60.0))
    stage.tick()
    job = stage.queries.job(ALICE, first, "en")
    assert (job.gpus, job.nodes) == (2, 2)
    assert job.lease is not None
    assert (job.lease.node, [other.node for other in job.lease.others]) == ("g0", ["g1"])
    assert job.lease.share == 4


@pytest.mark.parametrize(
    ("lang", "told"), [("en", "2 nodes with 2 GPUs of gold each are not free"), ("ko", "노드 2개")]
)
def test_a_job_over_several_nodes_is_told_that_they_are_not_free_together(lang, told):
    stage = Stage(several_nodes(gpus=3, nodes=4))
    for _ in range(4):
        stage.submit(gpus=2, fate=Fate(run_s=60.0))
        stage.tick()
    waits = stage.submit(kind="command", payload=COMMAND["payload"], nodes=2, gpus=2)
    stage.tick()
    verdict = stage.queries.job(ALICE, waits, lang).verdict
    assert verdict is not None
    assert told in verdict.sentence
