"""Who may call which endpoint: every route and every role, in one table that a new route must join."""

import time
from typing import Any

import pytest

from dure.ports import Principal
from dure.wire.messages import JobRequest
from dure.wire.sessions import SaveRequest
from dure.wire.usage import ReservationRequest

ROLES = (None, "other", "mate", "alice", "root")  # nobody, another team, a team mate, the owner, an administrator
# Streams that may be opened are not opened here (they do not end): tests/api/test_streams.py does.
OPENS = "opens"
TABLE: dict[tuple[str, str], tuple[Any, ...]] = {
    ("GET", "/api/health"): (200, 200, 200, 200, 200),
    ("GET", "/api/me"): (401, 200, 200, 200, 200),
    ("GET", "/api/platform"): (401, 200, 200, 200, 200),
    ("GET", "/api/environments"): (401, 200, 200, 200, 200),
    ("GET", "/api/queue"): (401, 200, 200, 200, 200),
    ("GET", "/api/events"): (401, 200, 200, 200, 200),
    ("GET", "/api/events/stream"): (401, OPENS, OPENS, OPENS, OPENS),
    ("GET", "/api/blobs/access?team=vision"): (401, 422, 200, 200, 200),
    ("POST", "/api/jobs"): (401, 422, 201, 201, 201),
    ("POST", "/api/plan"): (401, 422, 200, 200, 200),
    ("GET", "/api/jobs"): (401, 200, 200, 200, 200),
    ("GET", "/api/jobs/{job_id}"): (401, 404, 200, 200, 200),
    ("GET", "/api/jobs/{job_id}/why"): (401, 404, 200, 200, 200),
    ("POST", "/api/jobs/{job_id}/cancel"): (401, 404, 403, 200, 200),
    ("POST", "/api/jobs/{job_id}/control"): (401, 404, 403, 204, 204),
    ("GET", "/api/jobs/{job_id}/output"): (401, 404, 403, 200, 200),
    ("GET", "/api/jobs/{job_id}/stream"): (401, 404, 403, OPENS, OPENS),
    ("GET", "/api/jobs/{job_id}/artifacts"): (401, 404, 403, 200, 200),
    # The owner may ask, and is told that there is no such file.
    ("GET", "/api/jobs/{job_id}/artifacts/{path:path}"): (401, 404, 403, 404, 404),
    ("GET", "/api/sessions"): (401, 200, 200, 200, 200),
    ("PUT", "/api/sessions"): (401, 422, 200, 200, 200),
    ("POST", "/api/sessions/renamed"): (401, 204, 204, 204, 204),
    ("GET", "/api/sessions/{session_id}"): (401, 404, 404, 200, 200),
    ("DELETE", "/api/sessions/{session_id}"): (401, 404, 404, 204, 204),
    ("PUT", "/api/sessions/{session_id}/share"): (401, 404, 404, 200, 403),
    ("POST", "/api/sessions/{session_id}/restored"): (401, 404, 404, 204, 403),
    # The owner may ask, and is told that no version has bytes that could be read.
    ("GET", "/api/sessions/{session_id}/diff?before=1&after=2"): (401, 404, 404, 409, 403),
    ("GET", "/api/sessions/{session_id}/versions/{number}"): (401, 404, 404, 409, 403),
    ("DELETE", "/api/sessions/{session_id}/versions/{number}"): (401, 404, 404, 204, 204),
    ("PUT", "/api/sessions/{session_id}/versions/{number}/label"): (401, 404, 404, 204, 403),
    ("GET", "/api/usage"): (401, 200, 200, 200, 200),
    ("GET", "/api/reservations"): (401, 200, 200, 200, 200),
    ("POST", "/api/reservations"): (401, 422, 403, 403, 201),
    # Made by an administrator for alice: a team mate sees it.
    ("DELETE", "/api/reservations/{reservation_id}"): (401, 404, 403, 204, 204),
}
BODIES = {
    "/api/sessions": {"name": "of the caller", "team": "vision", "parent": 0, "kernel": "k", "document": "a" * 64},
    "/api/sessions/renamed": {"before": "a.ipynb", "after": "b.ipynb"},
    "/api/sessions/{session_id}/share": {"people": ["mate"]},
    "/api/sessions/{session_id}/restored": {"number": 1, "restored": 3},
    "/api/sessions/{session_id}/versions/{number}/label": {"label": "before tuning"},
    "/api/reservations": {"team": "vision", "tier": "bronze", "begins_at": time.time(), "ends_at": time.time() + 3600},
    "/api/jobs": {"kind": "command", "name": "n", "payload": {"argv": ["true"]}, "team": "vision"},
    "/api/plan": {"kind": "command", "name": "n", "payload": {"argv": ["true"]}, "team": "vision"},
    "/api/jobs/{job_id}/control": {"op": "interrupt"},
}


def test_every_route_is_in_the_table(plane):
    paths = plane.app().openapi()["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert found == {(method, _plain(path)) for method, path in TABLE}


def test_every_route_says_who_may_call_it(plane):
    for path, methods in plane.app().openapi()["paths"].items():
        for method, told in methods.items():
            assert told["x-who"], (method, path)
            assert f"Who: {told['x-who']}" in told["description"], (method, path)


@pytest.mark.parametrize(("method", "path"), TABLE)
def test_what_each_role_is_answered(plane, http, method, path):
    request = JobRequest(kind="command", name="n", payload={"argv": ["true"]}, team="vision")
    for role, expected in zip(ROLES, TABLE[method, path], strict=True):
        if expected == OPENS:
            continue
        job = plane.commands.submit(Principal("alice", teams=("vision",)), request, None)
        url = path.replace("{job_id}", job.id).replace("{path:path}", "x/y.txt").replace("{number}", "1")
        url = url.replace("{session_id}", a_session(plane, f"{method} {path} {ROLES.index(role)}"))
        url = url.replace("{reservation_id}", a_reservation(plane))
        answer = http(role).request(method, url, json=BODIES.get(path))
        assert answer.status_code == expected, (role, answer.text)
        if expected >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert "alice" not in answer.text or expected == 403


def test_what_a_team_mate_sees_of_a_job_is_its_row(plane, http):
    request = JobRequest(kind="cell", name="n", payload={"code": "secret = 1"}, team="vision")
    job = plane.commands.submit(Principal("alice", teams=("vision",)), request, None)
    assert "secret" not in http("mate").get(f"/api/jobs/{job.id}").text
    assert job.id not in http("other").get("/api/jobs").text
    assert job.id not in http("other").get("/api/queue").text
    assert job.id not in http("other").get("/api/events").text
    assert job.id in http("mate").get("/api/jobs").text


def a_reservation(plane):
    request = ReservationRequest(
        team="vision", user="alice", tier="bronze", begins_at=time.time(), ends_at=time.time() + 60
    )
    root = Principal("root", admin=True, teams=("vision",))
    reservations = plane.commands.reservations
    for known in reservations.listed(root, None, None).reservations:
        reservations.release(root, known.id)
    return reservations.make(root, request).id


def a_session(plane, name):
    for parent in (0, 1):
        request = SaveRequest(name=name, team="vision", parent=parent, kernel="k", document=f"{parent:064x}")
        saved = plane.sessions.save(Principal("alice", teams=("vision",)), request)
    return saved.session


def _plain(path):
    return path.partition("?")[0].replace(":path}", "}")


def test_why_names_what_stands_before_a_job_as_far_as_the_asker_may_see(plane, http):
    request = JobRequest(kind="command", name="n", payload={"argv": ["true"]}, team="vision", tier="bronze", gpus=1)
    alice = Principal("alice", teams=("vision",))
    jobs = [plane.commands.submit(alice, request, None) for _ in range(6)]
    story = http("mate").get(f"/api/jobs/{jobs[-1].id}/why").json()
    assert story["ahead"]["waiting_jobs"] == 5
    assert any(f"alice's {job.id}" in story["ahead"]["sentence"] for job in jobs[:5])
    (sooner,) = story["sooner"]
    assert (sooner["option"], sooner["in_s"]) == ("--tier silver", 0)
    assert sooner["cost"] > 0
    korean = http("mate").get(f"/api/jobs/{jobs[-1].id}/why", headers={"Accept-Language": "ko"}).json()
    assert "GPU시간" in korean["ahead"]["sentence"]
