"""Sessions over HTTP: who may do what, two kernels of one notebook, quota, time to live, and what garbage stays."""

import json

import pytest

from dure.core.session import MAX_VERSIONS, SessionPolicy
from dure.state import FolderBlobs, Snapshot, capture
from dure.wire.messages import JobRequest
from dure.wire.sessions import SessionDocument
from tests.api.plane import PEOPLE


def saving(parent=0, **changes):
    body = {"name": "train.ipynb", "team": "vision", "parent": parent, "kernel": "k", "document": f"{parent + 1:064x}"}
    return body | changes


def save(http, parent=0, who="alice", **changes):
    return http(who).put("/api/sessions", json=saving(parent, **changes))


def saved(http, count=1, **changes):
    for parent in range(count):
        answer = save(http, parent, **changes)
        assert answer.status_code == 200, answer.text
    return answer.json()["session"]


def share(http, session, *people):
    return http("alice").put(f"/api/sessions/{session}/share", json={"people": list(people)})


def with_policy(plane, **changes):
    current = plane.platform.current
    object.__setattr__(current, "sessions", SessionPolicy(**changes))


@pytest.fixture
def team_blobs(plane):
    return FolderBlobs(plane.ports.blobs.access("vision")["root"])


def kept(http, blobs, namespace, parent=0, **changes):
    snapshot = capture(namespace, blobs=blobs)
    made = dict.fromkeys(snapshot.variables, parent + 1)
    document = SessionDocument(snapshot=snapshot.store(blobs), cell=parent + 1, made=made)
    digest = blobs.put(document.model_dump_json().encode())
    size = {"size_bytes": snapshot.size_bytes, "new_bytes": snapshot.size_bytes}
    answer = save(http, parent, document=digest, **size, **changes)
    assert answer.status_code == 200, answer.text
    return answer.json()["session"]


def test_a_version_follows_the_newest_and_is_kept_once(http):
    session = saved(http, 2)
    assert save(http, 1).json() == {
        "session": session,
        "team": "vision",
        "number": 2,
        "dropped": 0,
        "name": "train.ipynb",
    }
    assert save(http, 1).json()["session"] == session
    detail = http("alice").get(f"/api/sessions/{session}").json()
    assert [version["number"] for version in detail["versions"]] == [2, 1]


def test_two_kernels_of_one_notebook_never_save_over_each_other(http):
    saved(http, 2)
    late = save(http, 1, kernel="another", document="f" * 64)
    assert late.status_code == 409
    assert late.json()["code"] == "session_moved"
    assert "%session fork" in late.json()["detail"]
    assert save(http, 2, kernel="another").status_code == 200  # once it has taken the newest
    assert save(http, 2).status_code == 409


def rename(http, before, after, who="alice"):
    answer = http(who).post("/api/sessions/renamed", json={"before": before, "after": after})
    assert answer.status_code == 204, answer.text


def test_a_session_follows_its_notebook_while_its_kernel_still_knows_the_old_name(http):
    session = saved(http, 2)
    theirs = saved(http, who="mate")
    rename(http, "train.ipynb", "deep/model.ipynb")
    kept = save(http, 2, session=session).json()
    assert (kept["session"], kept["number"], kept["name"]) == (session, 3, "deep/model.ipynb")
    assert http("mate").get(f"/api/sessions/{theirs}").json()["session"]["name"] == "train.ipynb"
    new = save(http).json()
    assert new["session"] not in {session, theirs}, "another notebook of the old name begins anew"
    assert save(http, 1, session=session, who="mate").json()["session"] == theirs, "an id is no key to others' sessions"
    rename(http, "deep", None)
    assert save(http, 3, session=session).json()["name"] == "deep/model.ipynb (deleted)"
    kinds = [event["kind"] for event in http("alice").get("/api/events").json()["events"]]
    assert kinds.count("session.renamed") == 2
    assert "model" not in http("root").get("/api/events").text


def test_a_team_mate_reads_only_what_is_shared_and_only_reads(http):
    session = saved(http, 2)
    path = f"/api/sessions/{session}"
    assert http("mate").get(path).status_code == 404
    assert http("mate").get("/api/sessions").json()["sessions"] == []
    assert share(http, session, "mate", "other").status_code == 200
    detail = http("mate").get(path).json()
    assert detail["versions"][0]["document"] == f"{2:064x}"
    assert detail["session"]["shared"] == []  # with whom else is the owner's affair
    assert http("both").get(path).status_code == 404
    assert http("other").get(path).status_code == 404, "named, but of another team"
    assert http("mate").delete(path).status_code == 403
    assert http("mate").delete(f"{path}/versions/1").status_code == 403
    assert http("mate").put(f"{path}/share", json={"people": ["other"]}).status_code == 403
    assert http("mate").post(f"{path}/restored", json={"number": 2, "restored": 1}).status_code == 204
    share(http, session, "*")
    assert http("both").get(path).status_code == 200
    assert http("other").get(path).status_code == 404
    share(http, session)
    assert http("mate").get(path).status_code == 404


def test_a_label_makes_no_version_so_that_a_kernel_goes_on_after_it(http):
    session = saved(http, 2)
    share(http, session, "mate")
    path = f"/api/sessions/{session}/versions"
    assert http("alice").put(f"{path}/2/label", json={"label": "튜닝 전"}).status_code == 204
    shown = http("mate").get(f"/api/sessions/{session}").json()["versions"]
    assert [(version["number"], version["label"]) for version in shown] == [(2, "튜닝 전"), (1, "")]
    assert http("mate").put(f"{path}/2/label", json={"label": "mine"}).status_code == 403
    assert http("other").put(f"{path}/2/label", json={"label": "mine"}).status_code == 404
    assert http("alice").put(f"{path}/9/label", json={"label": "x"}).json()["code"] == "version_not_found"
    assert http("alice").put(f"{path}/2/label", json={"label": ""}).status_code == 422
    assert save(http, 1).json()["number"] == 2, "what was sent again is still kept once"
    for parent in range(2, MAX_VERSIONS + 3):
        assert save(http, parent).status_code == 200
    shown = http("alice").get(f"/api/sessions/{session}").json()["versions"]
    assert (shown[-1]["number"], shown[-1]["label"], len(shown)) == (2, "튜닝 전", MAX_VERSIONS)


def test_a_session_is_not_shared_with_a_name_that_nobody_signs_in_with(http, plane):
    session = saved(http)
    refused = share(http, session, "mate", "maet")
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_person")
    assert "Nobody can sign in here as maet, so nothing was shared" in refused.json()["detail"]
    assert plane.store.sessions.get(session).shared == ()
    assert share(http, session, "mate", "*").status_code == 200


def test_an_administrator_sees_sizes_and_deletes_but_reads_nothing(http, team_blobs):
    session = kept(http, team_blobs, {"secret_plan": 1}, changed="secret_plan", label="secret_plan")
    detail = http("root").get(f"/api/sessions/{session}").json()
    assert detail["session"]["size_bytes"] > 0
    assert [version["document"] for version in detail["versions"]] == [None]
    assert http("root").get(f"/api/sessions/{session}/versions/1").status_code == 403
    assert http("root").get(f"/api/sessions/{session}/diff?before=1&after=1").status_code == 403
    assert "secret_plan" not in http("root").get(f"/api/sessions/{session}").text
    assert http("root").delete(f"/api/sessions/{session}").status_code == 204
    assert http("alice").get(f"/api/sessions/{session}").status_code == 404


def test_contents_and_differences_are_told_from_manifests(http, team_blobs):
    session = kept(http, team_blobs, {"a": [1], "b": "text", "stays": 0, "gen": (each for each in (1, 2))})
    kept(http, team_blobs, {"a": [1, 2], "c": 3, "stays": 0}, parent=1)
    shown = {v["name"]: v for v in http("alice").get(f"/api/sessions/{session}/versions/1").json()["variables"]}
    assert shown["a"]["type"] == "list"
    assert shown["a"]["cell"] == 1
    assert "generator" in shown["gen"]["lost"]
    found = http("alice").get(f"/api/sessions/{session}/diff?before=1&after=2").json()
    assert (found["added"], found["removed"], found["changed"]) == (["c"], ["b"], ["a"])
    assert http("alice").get(f"/api/sessions/{session}/diff?before=1&after=9").status_code == 404


def test_beyond_the_quota_the_oldest_go_and_the_newest_is_refused_only_when_nothing_else_helps(plane, http):
    with_policy(plane, quota_bytes=150)
    session = saved(http, 2, size_bytes=100, new_bytes=40)
    answer = save(http, 2, size_bytes=100, new_bytes=40)
    assert answer.json()["dropped"] == 1
    detail = http("alice").get(f"/api/sessions/{session}").json()
    assert [version["number"] for version in detail["versions"]] == [3, 2]
    refused = save(http, 3, size_bytes=200, new_bytes=100)
    assert refused.json()["code"] == "session_quota"
    assert http("alice").get(f"/api/sessions/{session}").json()["session"]["newest"] == 3
    assert http("alice").get("/api/sessions").json()["held_bytes"] == 140


def test_unused_sessions_expire_and_used_ones_stay(plane, http):
    session = saved(http)
    with_policy(plane, ttl_days=1e-9)
    assert plane.sessions.expire() == 1
    assert http("alice").get(f"/api/sessions/{session}").status_code == 404
    with_policy(plane)
    session = saved(http)
    assert plane.sessions.expire() == 0
    assert http("alice").get(f"/api/sessions/{session}").status_code == 200


def test_garbage_collection_keeps_what_a_session_reaches_and_no_more(plane, http, team_blobs):
    session = kept(http, team_blobs, {"data": bytearray(1_000_000)})
    gone = team_blobs.put(b"nobody refers to this")
    plane.ports.blobs.collect({"vision": plane.sessions.documents()}, 0)
    assert not team_blobs.has(gone)
    assert http("alice").get(f"/api/sessions/{session}/versions/1").status_code == 200
    digest = http("alice").get(f"/api/sessions/{session}").json()["versions"][0]["document"]
    chunks = Snapshot.load(json.loads(team_blobs.get(digest))["snapshot"], team_blobs).references()
    assert chunks
    assert all(team_blobs.has(chunk) for chunk in chunks)
    http("alice").delete(f"/api/sessions/{session}")
    plane.ports.blobs.collect({"vision": plane.sessions.documents()}, 0)
    assert not team_blobs.has(digest)
    assert not any(team_blobs.has(chunk) for chunk in chunks)


def test_the_log_does_not_grow_with_every_cell_and_names_no_notebook(plane, http):
    session = saved(http, 20, name="private idea.ipynb")
    share(http, session, "mate")
    http("alice").post(f"/api/sessions/{session}/restored", json={"number": 3, "restored": 2})
    http("alice").delete(f"/api/sessions/{session}/versions/1")
    found = http("alice").get("/api/events").json()["events"]
    assert [event["kind"] for event in found] == [
        "session.saved",
        "session.shared",
        "session.restored",
        "session.deleted",
    ]
    assert "private idea" not in json.dumps(found)
    korean = http("alice").get("/api/events", headers={"Accept-Language": "ko"}).json()["events"]
    assert all(ord(event["sentence"][-2]) > 0xAC00 for event in korean)


def test_switched_off_nothing_is_saved_and_the_sentence_says_who_can_help(plane, http):
    with_policy(plane, save=False)
    assert save(http).json()["code"] == "sessions_off"
    assert http("alice").get("/api/sessions").json()["policy"]["save"] is False


def test_the_newest_version_goes_only_with_its_session(http):
    session = saved(http, 2)
    assert http("alice").delete(f"/api/sessions/{session}/versions/2").status_code == 409
    assert http("alice").delete(f"/api/sessions/{session}/versions/1").status_code == 204


def test_a_session_of_who_is_in_several_teams_goes_to_the_named_one_or_the_first(http):
    assert save(http, who="both", team=None).json()["team"] == PEOPLE["both"].teams[0]
    assert save(http, who="both", team="speech").json()["team"] == "speech"
    assert save(http, who="alice", team="speech").status_code == 422


def test_the_log_tells_only_its_owner_and_administrators_that_a_session_exists(plane, http):
    session = saved(http)
    share(http, session, "both")
    request = JobRequest(kind="command", name="n", payload={"argv": ["true"]}, team="vision")
    job = plane.commands.submit(PEOPLE["mate"], request, None)
    page = http("mate").get("/api/events?limit=1").json()
    assert [event["subject"] for event in page["events"]] == [job.id], "what is passed over does not end a page"
    for who, told in (("alice", True), ("root", True), ("mate", False), ("both", False), ("other", False)):
        log = http(who).get("/api/events").text
        assert (session in log) is told, who
        assert ("session.shared" in log) is told, who
        assert bool(http(who).get(f"/api/events?subject={session}").json()["events"]) is told, who
