"""Who sees and changes what: the whole table, and what is left out for those who may only see."""

import pytest

from dure.control import access
from dure.core.events import Draft
from dure.ports import Changes, Principal
from dure.sim.executor import Fate
from dure.wire.problems import CodedError
from tests.control.stage import ALICE, MATE, OTHER, ROOT

MOVED = Principal("alice", teams=("speech",))  # left the team, kept her jobs
NOBODY = Principal("nobody")
NAMESAKE = Principal("Alice", teams=())


@pytest.fixture
def job(stage):
    failed = {"status": "error", "error": {"ename": "KeyError", "evalue": "patient 17"}, "artifacts": []}
    made = stage.submit(fate=Fate(result=failed))
    stage.wait(5)
    return made


@pytest.mark.parametrize(
    ("who", "sees", "changes"),
    [
        (ALICE, True, True),
        (MOVED, True, True),
        (ROOT, True, True),
        (Principal("boss", admin=True), True, True),
        (MATE, True, False),
        (OTHER, False, False),
        (NOBODY, False, False),
        (NAMESAKE, False, False),
    ],
)
def test_the_table(stage, job, who, sees, changes):
    assert (access.may_see(who, stage.job(job)), access.acts_for(who, stage.job(job).user)) == (sees, changes)
    listed = [view.id for view in stage.queries.jobs(who).jobs]
    assert (job in listed) == (sees and who is not MOVED)
    asks = {
        "job": lambda: stage.queries.job(who, job, "en"),
        "why": lambda: stage.queries.why(who, job, "en"),
        "artifact": lambda: stage.queries.artifact(who, job, "x"),
    }
    codes = {}
    for name, ask in asks.items():
        try:
            ask()
            codes[name] = "shown"
        except CodedError as error:
            codes[name] = error.code
    if not sees:
        assert set(codes.values()) == {"job_not_found"}
    else:
        assert codes == {
            "job": "shown",
            "why": "shown",
            "artifact": "artifact_not_found" if changes else "not_allowed",
        }


def test_members_of_the_team_see_that_it_failed_and_not_what_it_said(stage, job):
    for who, shown in ((ALICE, True), (ROOT, True), (MATE, False)):
        view = stage.queries.why(who, job, "en")
        assert view.job.phase == "failed"
        assert ("patient 17" in view.model_dump_json()) is shown
        assert (view.job.result is not None) is shown
        events = stage.queries.events(who, 0, 100, None, "en")
        assert ("patient 17" in events.model_dump_json()) is shown
        assert "KeyError" in view.job.reason_sentence


def test_what_a_platform_file_says_wrong_is_for_administrators(stage):
    told = Draft("platform.refused", "platform", {"error": "platform.yaml line 3: secret"})
    stage.store.commit(Changes((), (told,)), 1.0)
    stage.platform.refuse("platform.yaml line 3: secret")
    for who, shown in ((ROOT, True), (ALICE, False), (NOBODY, False)):
        assert ("secret" in stage.queries.events(who, 0, 100, None, "en").model_dump_json()) is shown
        assert ("secret" in stage.queries.platform(who, "en").model_dump_json()) is shown


def test_holders_of_other_teams_are_a_team_and_a_share(stage):
    job = stage.submit(name="secret project", fate=Fate(run_s=100))
    stage.wait(2)
    for who, shown in ((ALICE, True), (MATE, True), (ROOT, True), (OTHER, False)):
        queue = stage.queries.queue(who, "en")
        held = [holder for gpu in queue.gpus for holder in gpu.holders]
        assert [holder["team"] for holder in held] == ["vision"]
        assert ("job" in held[0]) is shown
        assert (job in queue.model_dump_json()) is shown
        assert ("secret" in queue.model_dump_json()) is shown


def test_others_waiting_jobs_are_counted_only(stage):
    stage.submit(fate=Fate(run_s=100))
    mine, theirs = stage.submit(), stage.submit(OTHER)
    stage.wait(2)
    view = stage.queries.queue(OTHER, "en")
    assert ([job.id for job in view.waiting], view.others_waiting) == ([theirs], 1)
    assert mine not in view.model_dump_json()


def test_a_filter_by_team_shows_no_more_than_the_team_does(stage):
    job = stage.submit()
    assert stage.queries.jobs(OTHER, team="vision").jobs == []
    assert [view.id for view in stage.queries.jobs(ROOT, team="vision").jobs] == [job]
    assert stage.queries.jobs(OTHER, user="alice").jobs == []


@pytest.mark.parametrize("cursor", ["x", "1", "1.x", "1.1.1", "²", "1.²", "٣.١", "-1.0", "9" * 5000 + ".1"])
def test_a_cursor_that_nobody_gave_is_refused(stage, cursor):
    job = stage.submit()
    with pytest.raises(CodedError) as caught:
        stage.queries.output(ALICE, job, cursor, 10)
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize("cursor", ["x", "x_j-1", "nan_j-1", "inf_j-1"])
def test_a_page_that_nobody_gave_is_refused(stage, cursor):
    with pytest.raises(CodedError) as caught:
        stage.queries.jobs(ALICE, cursor=cursor)
    assert caught.value.code == "invalid_request"
