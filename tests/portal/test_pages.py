"""The pages as plain HTML: what they say, who sees what, forms without a script, and what is refused."""

import html
import re

import pytest

from dure.core import lifecycle
from tests.core.builders import a_job
from tests.portal.conftest import ADA, ALICE, BOB, TOKENS, token
from tests.portal.lively import make_lively

SCRIPT_OR_STYLE = re.compile(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", re.IGNORECASE)
ELSEWHERE = re.compile(r'(?:href|src|action|hx-get|hx-sse:connect|data-src)="((?!/|data:|#)[^"]*)"')


@pytest.fixture
def lively(plane):
    return make_lively(plane)


def test_the_first_page_tells_who_holds_what_who_waits_and_why(plane, lively):
    page = plane.http().get("").text
    for said in (
        "2.5 of 6",
        "0.5 free",
        "team speech",
        "simulated",
        "public cloud: costs money",
        "₩3,600 per GPU hour",
    ):
        assert said in page
    assert "1st in line for gold" in page
    assert "--budget</span> flex" in page  # an option is not broken off its dashes
    assert "It raised ValueError" in page
    assert "1 job of another team waits as well" in page
    assert "secret of the speech team" not in page
    assert plane.notices[0] in page


def test_the_same_page_in_korean(plane, lively):
    page = plane.http(**{"accept-language": "ko-KR,ko;q=0.9"}).get("").text
    assert '<html lang="ko"' in page
    for said in ("대기열과 GPU", "시뮬레이션", "퍼블릭 클라우드: 비용 발생", "gold 티어 대기 1번째", "6개 중 2.5개"):
        assert said in page
    for english in ("Waiting", "Cancel", "simulated", "queued"):
        assert f">{english}<" not in page


def test_no_page_holds_a_script_or_style_of_its_own_or_leaves_the_platform(plane, lively):
    client = plane.http()
    paths = [
        "",
        "events",
        f"jobs/{lively['ended'].id}",
        f"jobs/{lively['waiting0'].id}",
        "jobs/j-none",
        "usage",
        "reservations",
    ]
    for path in [*paths, f"jobs/{lively['waiting0'].id}/cancel", "parts/queue", "parts/events"]:
        answer = client.get(path)
        assert not SCRIPT_OR_STYLE.search(answer.text), path
        assert ELSEWHERE.findall(answer.text) == [], path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"


def test_a_jobs_page_has_its_story_its_picture_its_output_and_its_files(plane, lively):
    client = plane.http()
    job = lively["ended"]
    page = client.get(f"jobs/{job.id}").text
    assert "Admitted on 1 GPU of silver" in page
    assert page.count('class="part-') == 3
    assert '<span class="t-bold">fitting</span> 1797 digits <span class="t-f2">ok</span>' in page
    assert "epoch 10/10" in page
    assert "epoch 9/10" not in page
    assert '<img class="picture" src="data:image/png;base64,' in page
    assert "accuracy 0.974" in page
    assert "<b>bold</b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert f"dure why {job.id}" in page
    (link,) = re.findall(r'href="/(jobs/[^"]+/files/[^"]+)"', page)
    file = client.get(link)
    assert file.content == b"\x00weights"
    assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''model%20weights.pt"
    assert "sandbox" in file.headers["content-security-policy"]


def test_a_failed_jobs_page_says_why(plane, lively):
    page = plane.http().get(f"jobs/{lively['failed'].id}").text
    assert "ValueError" in page
    assert 'class="out out-error"' in page


def test_why_a_job_did_not_run_is_told_in_the_readers_language_in_its_reason_its_story_and_its_output(plane):
    job = plane.running(ALICE, "typo", "bronze")
    why = "The program 'pyhton' was not found in the environment 'default' or in the folder."
    plane.prints(job, {"type": "error", "ename": "NotStarted", "evalue": why, "traceback": [f"NotStarted: {why}"]})
    plane.end(job, {"status": "error", "error": {"ename": "NotStarted", "evalue": why}})
    korean = html.unescape(plane.http(**{"accept-language": "ko"}).get(f"jobs/{job.id}").text)
    assert korean.count("'pyhton' 프로그램이 'default' 환경에도 폴더에도 없습니다.") >= 3
    assert why not in korean
    assert "NotStarted 오류" not in korean
    english = html.unescape(plane.http().get(f"jobs/{job.id}").text)
    assert english.lower().count(why[1:].lower().rstrip(".")) >= 3
    assert "raised NotStarted" not in english


def test_while_others_questions_come_first_the_page_says_what_is_not_computed_and_asks_again(plane, lively):
    waiting = next(job for job in plane.queries.queue(ADA, "en").waiting if job.goal == "run")
    line = plane.queries._planning._line
    held = 0
    while line.acquire(blocking=False):
        held += 1
    try:
        page = plane.http(ADA).get(f"jobs/{waiting.id}?whole=1").text
        korean = plane.http(ADA).get(f"jobs/{waiting.id}?whole=1", headers={"Accept-Language": "ko"}).text
    finally:
        line.release(held)
    assert f"not computed yet, for others asked first. Ask again in a few seconds: dure why {waiting.id}" in page
    assert f'<a href="/jobs/{waiting.id}?whole=1">Ask again</a>' in page
    assert "아직 계산하지 못했습니다" in korean
    assert ">다시 확인</a>" in korean
    assert "not computed yet" not in plane.http(ADA).get(f"jobs/{waiting.id}?whole=1").text


def test_a_waiting_jobs_page_comes_with_its_reason_at_once_and_asks_for_the_rest_by_itself(plane, lively):
    waiting = next(job for job in plane.queries.queue(ADA, "en").waiting if job.goal == "run")
    first = plane.http(ADA).get(f"jobs/{waiting.id}").text
    assert waiting.verdict.sentence.split(";")[0].split(":")[0] in first
    assert "Finding out what stands before it" in first
    assert 'hx-trigger="load, dure:job' in first
    rest = plane.http(ADA).get(f"jobs/{waiting.id}/part").text
    assert "Finding out" not in rest
    again = plane.http(ADA).get(f"jobs/{waiting.id}").text
    assert "Finding out" not in again, "what was found is known at once"
    assert 'hx-trigger="dure:job' in again


def test_members_of_the_team_see_a_job_but_not_its_output_others_see_neither(plane, lively):
    job = lively["ended"]
    assert plane.http(ADA).get(f"jobs/{job.id}").text.count("fitting") == 1
    ours = plane.submit(ADA, "ada's", "bronze")
    page = plane.http(ALICE).get(f"jobs/{ours.id}")
    assert page.status_code == 200
    assert "Only its owner and administrators" in page.text
    assert "Artifacts" not in page.text
    assert plane.http(ALICE).get(f"jobs/{ours.id}/cancel").status_code == 403
    for path in ("", "/part", "/output", "/cancel", "/files/out/model%20weights.pt"):
        answer = plane.http(BOB).get(f"jobs/{job.id}{path}")
        assert answer.status_code == 404, path
        assert "There is no job" in answer.text


def test_cancelling_works_without_a_script_and_asks_first(plane, lively):
    client = plane.http()
    job = lively["waiting0"]
    asked = client.get(f"jobs/{job.id}/cancel?back=/")
    assert "Cancel this job?" in asked.text
    origin = plane.url.rstrip("/")
    answer = client.post(f"jobs/{job.id}/cancel", data={"back": "/"}, headers={"origin": origin})
    assert answer.url.path == "/"
    plane.phase(job, "cancelled")
    again = client.post(f"jobs/{job.id}/cancel", headers={"origin": origin})
    assert again.status_code == 200
    assert "cancelled" in again.text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://elsewhere.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://other.127.0.0.1"},
        {},
    ],
)
def test_a_form_on_another_site_cancels_nothing(plane, headers):
    job = plane.submit(name="stays")
    answer = plane.http().post(f"jobs/{job.id}/cancel", headers=headers)
    assert answer.status_code == 403
    assert plane.store.job(job.id).goal == "run"


def test_nobody_sends_a_reader_elsewhere_through_us(plane):
    client = plane.http()
    for back in (
        "https://elsewhere.example/",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "/\t/elsewhere.example",
        "/../x",
        "/x\r\nSet-Cookie: a",
    ):
        answer = client.post("preferences", data={"theme": "dark", "back": back}, follow_redirects=False)
        assert answer.headers["location"] == "/"
        answer = client.get(f"?token={token(ALICE)}", follow_redirects=False)
        assert answer.headers["location"] == "/"


def test_the_question_before_cancelling_leads_nobody_elsewhere(plane):
    job = plane.submit(name="stays")
    for back in ("https://elsewhere.example/", "/%09/elsewhere.example", "javascript:alert(1)"):
        page = plane.http().get(f"jobs/{job.id}/cancel?back={back}").text
        assert 'name="back" value="/"' in page


def test_half_a_surrogate_pair_is_shown_as_a_question_mark(plane):
    job = plane.running()
    plane.prints(job, {"type": "stream", "name": "stdout", "text": "half \ud800 pair"})
    artifacts = [{"path": "odd \udc80", "size_bytes": 8, "digest": "0" * 64}]
    plane.end(job, {"status": "ok", "artifacts": artifacts})
    page = plane.http().get(f"jobs/{job.id}")
    assert page.status_code == 200
    assert "half ? pair" in page.text


def test_language_and_colours_are_kept(plane):
    client = plane.http()
    assert 'data-theme="dark"' in client.post("preferences", data={"theme": "dark", "back": "/events"}).text
    page = client.post("preferences", data={"lang": "ko", "back": "/events"})
    assert page.url.path == "/events"
    assert 'lang="ko" data-theme="dark"' in page.text
    assert "data-theme" not in client.post("preferences", data={"theme": "system", "back": "/"}).text


def test_a_token_leaves_the_address_and_becomes_a_cookie_that_no_script_sees(plane):
    client = plane.http(None)
    refused = client.get("")
    assert refused.status_code == 401
    assert "dure up" in refused.text
    moved = client.get(f"events?kind=job.failed&token={token(ALICE)}", follow_redirects=False)
    assert moved.status_code == 303
    assert moved.headers["location"] == "/events?kind=job.failed"
    cookie = moved.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert not any(known in cookie for known in TOKENS)
    assert client.get("events").status_code == 200
    # The API takes the same session, but for reading only or from our own pages.
    assert client.get("api/me").json()["name"] == "alice"
    assert client.post("api/jobs/j-1/cancel").status_code == 403


def test_a_wrong_token_is_said_to_be_wrong_and_a_typed_one_signs_in(plane):
    client = plane.http(None)
    wrong = client.get("?token=not-the-right-token")
    assert wrong.status_code == 401
    assert "not this platform" in wrong.text
    assert client.post("sign-in", data={"token": token(BOB), "back": "/events"}).url.path == "/events"
    out = client.post("sign-out", headers={"origin": plane.url.rstrip("/")})
    assert out.status_code == 401


def test_a_forged_cookie_is_nobodys(plane):
    client = plane.http(None)
    client.cookies.set("dure-session", "ImFsaWNlIg.aaaa.bbbb")
    assert client.get("").status_code == 401
    fragment = client.get("parts/queue", headers={"hx-request": "true"})
    assert fragment.status_code == 401
    assert fragment.headers["hx-refresh"] == "true"


def test_an_empty_platform_offers_the_first_cell(plane):
    page = plane.http().get("").text
    assert "%%gpu" in page
    assert "Run your first cell on a GPU" in page


def test_the_log_filters_by_its_address(plane, lively):
    client = plane.http()
    job = lively["ended"]
    assert plane.http().get("events").text.count("<li id=") > 10
    one = client.get(f"events?job={job.id}").text
    assert "job.succeeded" in one
    assert lively["failed"].id not in one
    kinds = client.get("events?kind=job.failed").text
    assert kinds.count("<li id=") == 1
    assert "ada submitted" in client.get("events?user=ada").text
    assert "No event fits" in client.get("events?user=nobody").text
    assert "speech" not in client.get("events").text


def test_the_log_goes_on_page_by_page(plane):
    for number in range(110):  # more than a page, however many of them are decided by now
        plane.submit(name=f"n{number}", tier="gold")
    client = plane.http()
    seen, paths = [], ["events"]
    while paths:
        text = client.get(paths[0].replace("&amp;", "&")).text
        seen += [int(number) for number in re.findall(r'id="ev-(\d+)"', text)]
        paths = re.findall(r'href="/(events\?[^"]*before=\d+)"', text)
    assert len(seen) > 100
    assert seen == sorted(set(seen), reverse=True)


def test_unknown_pages_and_bad_values_are_pages_with_a_sentence(plane):
    client = plane.http()
    for path, status in (("nowhere", 404), ("events?before=x", 422), ("jobs/j-1/output?begin=x", 422)):
        answer = client.get(path)
        assert answer.status_code == status, path
        assert answer.headers["content-type"].startswith("text/html")
        assert "That did not work" in answer.text


def test_static_files_are_served_and_hidden_ones_are_not(plane):
    client = plane.http(None)
    for name in (
        "portal.css",
        "portal.js",
        "dure.svg",
        "vendor/htmx.min.js",
        "vendor/hx-sse.js",
        "vendor/uPlot.iife.min.js",
    ):
        answer = client.get(f"static/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "no-cache"
    assert client.get("static/../app.py").status_code != 200
    assert client.get("static/%2e%2e/app.py").status_code != 200


def test_a_refused_platform_file_is_told_to_administrators_only(plane):
    plane.platform.refuse("platform.yaml:3: tiers: names twice")
    assert "names twice" in plane.http(ADA).get("").text
    assert "names twice" not in plane.http(ALICE).get("").text


def test_thousands_of_waiting_jobs_make_no_longer_a_page_than_a_hundred(plane):
    plane.running(name="holds")
    for number in range(130):
        plane.submit(name=f"n{number}", tier="gold")
    few = plane.http().get("").text
    jobs = [a_job(f"j-{n:06d}", at=plane.clock.now(), user="alice", team="vision") for n in range(2_000)]
    for job in jobs:
        plane.store.submit(job, [lifecycle.submitted(job)], job.submitted_at)
    many = plane.http().get("").text
    assert few.count('id="w-') == many.count('id="w-') == 100
    assert "and 30 more" in few
    assert "and 2030 more" in many
    assert abs(len(many) - len(few)) < 5_000
