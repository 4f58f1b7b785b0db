"""Who may open which address of the portal: every address and every role, in one table that a new address must join."""

import re
from datetime import UTC, datetime
from functools import reduce

import pytest

from dure.ports import Principal
from dure.wire.sessions import SaveRequest
from dure.wire.usage import ReservationRequest
from tests.portal.conftest import ADA, ALICE, BOB, MATE, until

ROLES = (None, BOB, MATE, ALICE, ADA)  # nobody, another team, a team mate, the owner, an administrator
OURS = {"sec-fetch-site": "same-origin"}  # what a browser adds to a form of this site
# A stream that may be opened is not opened here (it does not end): tests/portal/test_live.py does.
OPENS = "opens"
ALL, SEEN = (401, 200, 200, 200, 200), (401, 404, 200, 200, 200)
# A form that nobody signed in sends leads to the first page, which asks who it is.
TABLE = {
    ("GET", "/"): ALL,
    ("GET", "/parts/queue"): ALL,
    ("GET", "/parts/usage"): ALL,
    ("GET", "/parts/events"): ALL,
    ("GET", "/live"): (401, OPENS, OPENS, OPENS, OPENS),
    ("GET", "/events"): ALL,
    ("GET", "/jobs/{job_id}"): SEEN,
    ("GET", "/jobs/{job_id}/part"): SEEN,
    ("GET", "/jobs/{job_id}/output"): (401, 404, 403, 200, 200),
    ("GET", "/jobs/{job_id}/cancel"): (401, 404, 403, 200, 200),
    ("POST", "/jobs/{job_id}/cancel"): (303, 404, 403, 303, 303),
    # The owner may ask, and is told that there is no such file.
    ("GET", "/jobs/{job_id}/files/{path:path}"): (401, 404, 403, 404, 404),
    ("GET", "/usage"): ALL,
    ("GET", "/reservations"): ALL,
    ("POST", "/reservations"): (303, 422, 403, 403, 303),
    # Made by an administrator for alice: a team mate sees it.
    ("GET", "/reservations/{reservation_id}/release"): (401, 404, 403, 200, 200),
    ("POST", "/reservations/{reservation_id}/release"): (303, 404, 403, 303, 303),
    ("GET", "/sessions"): ALL,
    ("GET", "/sessions/{session_id}"): (401, 404, 404, 200, 200),
    ("GET", "/sessions/{session_id}/delete"): (401, 404, 404, 200, 200),
    ("POST", "/sessions/{session_id}/delete"): (303, 404, 404, 303, 303),
    ("POST", "/sessions/{session_id}/share"): (303, 404, 404, 303, 403),
    # How somebody becomes somebody, and what only their own browser keeps.
    ("GET", "/oauth_callback"): (403, 403, 403, 403, 403),
    ("POST", "/sign-in"): (422, 422, 422, 422, 422),
    ("POST", "/sign-out"): (303, 303, 303, 303, 303),
    ("POST", "/preferences"): (303, 303, 303, 303, 303),
}
CHANGING = [path for method, path in TABLE if method == "POST" and path not in {"/sign-in", "/preferences"}]
HOUR_S = 3600.0


def test_every_address_is_in_the_table(plane):
    included = [one for one in plane.app.routes if hasattr(one, "original_router")]
    ours = [one.original_router for one in included if not one.include_context.prefix.startswith("/api")]
    assert {(method, one.path) for router in ours for one in router.routes for method in one.methods} == set(TABLE)


@pytest.mark.parametrize(("method", "path"), TABLE)
def test_what_each_role_is_answered(plane, method, path):
    for role, expected in zip(ROLES, TABLE[method, path], strict=True):
        if expected == OPENS:
            continue
        url = path.removeprefix("/").replace("{path:path}", "x/y.txt")
        if "{job_id}" in url:
            url = url.replace("{job_id}", plane.submit(name="secret-name").id)
        if "{session_id}" in url:
            url = url.replace("{session_id}", a_session(plane, f"secret-name {method} {path} {role}"))
        if "{reservation_id}" in url:
            url = url.replace("{reservation_id}", a_reservation(plane))
        answer = plane.http(role).request(method, url, headers=OURS, data=form(plane, path), follow_redirects=False)
        assert answer.status_code == expected, (role, answer.text)
        assert "secret-name" not in answer.text or expected == 200
        if answer.headers.get("content-type", "").startswith("text/html"):
            assert "script-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", CHANGING)
def test_no_other_site_can_make_a_signed_in_browser_change_anything(plane, path):
    url = re.sub(r"\{\w+\}", "x", path.removeprefix("/"))
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://other.test"}, {}):
        answer = plane.http().post(url, headers=headers, data=form(plane, path), follow_redirects=False)
        assert answer.status_code == 403, (headers, answer.text)


def form(plane, path):
    if path != "/reservations":
        return {}
    begins, ends = (datetime.fromtimestamp(plane.clock.now() + hours * HOUR_S, UTC) for hours in (1, 2))
    times = {"begins": f"{begins:%Y-%m-%dT%H:%M}", "ends": f"{ends:%Y-%m-%dT%H:%M}"}
    return {"team": "vision", "tier": "gold", **times}


def a_reservation(plane):
    now = plane.clock.now()
    reservations = plane.commands.reservations
    for known in reservations.listed(ADA, None, None).reservations:
        if known.may_release:
            reservations.release(ADA, known.id)
    asked = {"team": "vision", "user": "alice", "tier": "gold", "begins_at": now, "ends_at": now + HOUR_S}
    return reservations.make(ADA, ReservationRequest.model_validate(asked | {"note": "secret-name"})).id


def a_session(plane, name):
    request = SaveRequest(name=name, team="vision", parent=0, kernel="k", document="0" * 64)
    return plane.sessions.save(Principal("alice", teams=("vision",)), request).session


READ = [
    "me",
    "platform",
    "environments",
    "queue",
    "events",
    "events?limit=500",
    "jobs",
    "usage",
    "reservations",
    "sessions",
]


def test_another_team_is_told_of_no_person_job_or_output_of_ours(plane):
    running = plane.running(name="secret-name")  # all gold there is
    plane.prints(running, {"type": "stream", "name": "stdout", "text": "secret-output"})
    waiting = plane.submit(name="secret-name")
    plane.submit(BOB, name="bobs")
    theirs = plane.submit(BOB, name="bobs", deadline_at=plane.clock.now() + HOUR_S)
    until(lambda: plane.stored(theirs).reason, "a reason for bob's job to wait")
    session = a_session(plane, "secret-name.ipynb")
    reservation = a_reservation(plane)
    secrets = ["alice", "secret", session, running.id, waiting.id]
    pages = [
        path.removeprefix("/") for method, path in TABLE if method == "GET" and path not in {"/live", "/oauth_callback"}
    ]
    addresses = [
        *pages,
        *(f"api/{path}" for path in READ),
        *(f"api/jobs/{theirs.id}{more}" for more in ("", "/why", "/output", "/artifacts")),
        *(f"api/events?subject={subject}" for subject in (running.id, session, reservation)),
        "api/jobs?user=alice&team=vision",
        f"jobs/{theirs.id}?whole=true",
    ]
    ids = {"{job_id}": theirs.id, "{session_id}": session, "{reservation_id}": reservation, "{path:path}": "x.txt"}
    for lang in ("en", "ko"):
        client = plane.http(BOB, **{"Accept-Language": lang})
        for address in addresses:
            url = reduce(lambda text, name: text.replace(name, ids[name]), ids, address)
            told = client.get(url).text
            assert not [secret for secret in secrets if secret in told and secret not in url], (lang, url)
