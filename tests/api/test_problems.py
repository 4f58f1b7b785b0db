"""Refusals: problem+json for everything that can go wrong, also what nobody foresaw."""

import errno
import logging

import pytest

from dure.api.limits import MAX_BODY_BYTES, MAX_FORM_BYTES
from dure.ports import ExecutorUnavailableError, StoreBusyError, StoreFullError
from dure.wire.problems import CodedError

JOB = {"kind": "command", "name": "n", "payload": {"argv": ["true"]}}


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        (("GET", "/api/nowhere", {}), 404, "not_found"),
        (("GET", "/nowhere", {}), 404, "not_found"),
        (("DELETE", "/api/jobs", {}), 405, "method_not_allowed"),
        (("POST", "/api/jobs", {"content": b"{", "headers": JSON}), 400, "malformed_json"),
        (("POST", "/api/jobs", {"content": b"\xff", "headers": JSON}), 400, "malformed_json"),
        (("POST", "/api/jobs", {"json": {}}), 422, "invalid_request"),
        (("POST", "/api/jobs", {"json": JOB | {"teir": "gold"}}), 422, "invalid_request"),
        (("POST", "/api/jobs", {"json": JOB | {"tier": "platinum"}}), 422, "unknown_tier"),
        (("POST", "/api/jobs", {"json": JOB | {"environment": "none"}}), 422, "unknown_environment"),
        (("POST", "/api/jobs", {"json": JOB | {"gpus": 99}}), 422, "too_many_gpus"),
        (("POST", "/api/jobs", {"json": JOB | {"gpus": 1.5}}), 422, "bad_fraction"),
        (("POST", "/api/jobs", {"json": JOB | {"team": "speech"}}), 422, "unknown_team"),
        (("POST", "/api/jobs", {"json": JOB | {"payload": {}}}), 422, "payload_invalid"),
        (("POST", "/api/jobs", {"content": b"0" * (MAX_BODY_BYTES + 1)}), 413, "too_large"),
        (("POST", "/sign-in", {"content": b"0" * (MAX_FORM_BYTES + 1)}), 413, "too_large"),
        (("GET", "/api/jobs?limit=501", {}), 422, "invalid_request"),
        (("GET", "/api/jobs?cursor=x", {}), 422, "invalid_request"),
        (("GET", "/api/jobs?phase=asleep", {}), 422, "invalid_request"),
        (("GET", "/api/jobs/j-none", {}), 404, "job_not_found"),
        (("GET", "/api/events/stream", {"headers": {"last-event-id": "x"}}), 422, "invalid_request"),
        (("GET", "/api/jobs/j-1/stream", {"headers": {"last-event-id": b"\xb2.1"}}), 422, "invalid_request"),
    ],
)  # fmt: skip
def test_each_refusal_is_a_coded_problem(http, call, status, code):
    method, path, request = call
    answer = http("alice").request(method, path, **request)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["status"], problem["type"]) == (code, status, f"urn:dure:problem:{code}")
    assert problem["detail"].endswith(".")


def test_a_body_without_a_length_is_counted_as_it_comes(http):
    pieces = (b"0" * 1_000_000 for _ in range(20))
    answer = http("alice").post("/api/jobs", content=pieces)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("headers", "query", "korean"),
    [
        ({}, "", False),
        ({"accept-language": "ko-KR,ko;q=0.9,en;q=0.8"}, "", True),
        ({"accept-language": "en-US,ko;q=0.5"}, "", False),
        ({"accept-language": "fr, ko;q=0.3"}, "", True),
        ({"accept-language": "ko;q=x"}, "", False),
        ({"accept-language": "ko"}, "?lang=en", False),
        ({}, "?lang=ko", True),
    ],
)
def test_the_sentence_is_in_the_asked_language(http, headers, query, korean):
    detail = http("alice").get(f"/api/jobs/j-none{query}", headers=headers).json()["detail"]
    assert ("작업" in detail) is korean


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (StoreFullError("full"), (507, "disk_full")),
        (OSError(errno.ENOSPC, "No space left on device", "/state/x"), (507, "disk_full")),
        (StoreBusyError("busy"), (503, "busy")),
        (ExecutorUnavailableError("gone"), (503, "busy")),
        (RuntimeError("secret detail"), (500, "internal_error")),
        (CodedError("invalid_request", problem="half \ud800"), (422, "invalid_request")),
    ],
)
def test_trouble_below_becomes_a_problem(plane, http, monkeypatch, caplog, *, error, answered):
    def fail(*_arguments: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr(plane.queries, "queue", fail)
    with caplog.at_level(logging.WARNING, "dure.api"):
        answer = http("alice").get("/api/queue")
    assert (answer.status_code, answer.json()["code"]) == answered
    assert "secret detail" not in answer.text
    if answered[0] == 500:
        assert answer.json()["data"]["incident"] in [record.__dict__.get("incident") for record in caplog.records]


def test_a_change_by_cookie_must_come_from_our_own_pages(plane):
    from starlette.testclient import TestClient

    from tests.api.plane import PEOPLE

    def portal(app):
        app.state.session = lambda request: PEOPLE["alice"] if request.cookies.get("dure") == "1" else None

    client = TestClient(plane.app(portal_mount=portal), cookies={"dure": "1"}, base_url="http://dure.test")
    assert client.get("/api/me").json()["name"] == "alice"
    for headers, expected in (
        ({}, 403),
        ({"origin": "http://evil.test"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://dure.test"}, 403),
        ({"sec-fetch-site": "same-origin"}, 201),
        ({"origin": "http://dure.test"}, 201),
        ({"x-dure-csrf": "1", "sec-fetch-site": "none"}, 201),
        # A wrong token does not fall back on the cookie.
        ({"authorization": "Bearer nonsense-nonsense", "x-dure-csrf": "1"}, 401),
    ):
        answer = client.post("/api/jobs", json=JOB, headers=headers)
        assert answer.status_code == expected, (headers, answer.text)
        if expected == 403:
            assert answer.json()["code"] == "cross_site"


def test_a_hub_style_token_is_taken_too(http):
    from tests.api.plane import token

    answer = http(None).get("/api/me", headers={"Authorization": f"token {token('mate')}"})
    assert answer.json()["name"] == "mate"


def test_the_same_key_twice_is_one_job(http):
    one = http("alice").post("/api/jobs", json=JOB, headers={"Idempotency-Key": "k1"})
    two = http("alice").post("/api/jobs", json=JOB, headers={"Idempotency-Key": "k1"})
    assert one.json()["id"] == two.json()["id"]
    assert len(http("alice").get("/api/jobs").json()["jobs"]) == 1


def test_everything_lies_below_the_base_path(plane):
    from starlette.testclient import TestClient

    client = TestClient(plane.app(base_path="/services/dure"))
    assert client.get("/services/dure/api/health").json() == {"status": "ok", "version": "1.2.3"}
    assert client.get("/api/health").status_code == 404


def test_the_description_and_its_page_need_nothing_from_elsewhere(http):
    page = http(None).get("/api/docs")
    assert page.status_code == 200
    assert "src=" not in page.text
    assert "http" not in page.text.replace("<meta http-equiv", "")
    assert http(None).get("/api/openapi.json").json()["paths"]["/api/jobs"]["post"]["responses"]["400"]


def test_words_of_ours_in_a_sentence_are_korean_there():
    asked = {"nodes": 3, "gpus": "4", "tier": "gold", "most": 1}
    told = CodedError("too_many_nodes", **asked, place="cluster").sentence("ko")
    assert told.startswith("gold GPU 4개씩 있는 노드 3개를 한 클러스터 안에서 제공할 수 없습니다.")
    assert "한 rack 안에서" in CodedError("too_many_nodes", **asked, place="rack").sentence("ko")
    assert CodedError("one_node", kind="cell", nodes=2).sentence("ko").startswith("셀 작업은")
