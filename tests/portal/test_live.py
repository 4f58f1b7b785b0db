"""The first page and a job's page follow what happens without being reloaded, and catch up after a cut."""

import re

import pytest
from playwright.sync_api import expect

from tests.portal.conftest import ALICE, BOB, until

pytestmark = pytest.mark.browser


def mark(page):
    """Leave a mark that only a reload removes."""
    page.evaluate("window.sameDocument = true")


def test_a_job_appears_moves_on_and_ends_without_a_reload(plane, open_page):
    page = open_page()
    expect(page.locator("#stream-state")).to_have_text("Live")
    mark(page)
    first = plane.running(name="first")
    expect(page.locator(f"#r-{first.id}")).to_contain_text("running")
    expect(page.locator("#gpu-lab-n3-0")).to_contain_text("first")
    second = plane.submit(name="second")
    expect(page.locator(f"#w-{second.id}")).to_contain_text("1st in line for gold")
    plane.end(first)
    expect(page.locator(f"#e-{first.id}")).to_contain_text("succeeded")
    expect(page.locator(f"#r-{second.id}")).to_be_visible()
    assert page.evaluate("window.sameDocument")


def test_what_happens_to_my_jobs_is_read_aloud_and_what_happens_to_others_is_not(plane, open_page):
    page = open_page()
    expect(page.locator("#stream-state")).to_have_text("Live")
    plane.running(BOB, "whisper", "bronze")
    job = plane.running(name="mine")
    expect(page.locator("#announce")).to_contain_text("Running on 1 GPU of gold")
    plane.end(job)
    expect(page.locator("#announce")).to_contain_text("Succeeded")
    assert page.locator("#announce").get_attribute("aria-live") == "polite"


def test_a_cut_stream_resumes_by_its_cursor_and_the_page_catches_up(plane, open_page):
    page = open_page()
    expect(page.locator("#stream-state")).to_have_text("Live")
    mark(page)
    before = plane.running(name="before")
    expect(page.locator(f"#r-{before.id}")).to_be_visible()
    # With the web server away the stream cannot come back before the job is there.
    plane.stop()
    meanwhile = plane.submit(name="meanwhile")
    plane.phase(meanwhile, "queued")
    asked = []
    page.on("request", lambda request: asked.extend([request.headers] if "/live" in request.url else []))
    plane.serve()
    expect(page.locator(f"#w-{meanwhile.id}")).to_be_visible()
    assert page.evaluate("window.sameDocument")
    assert any(int(headers.get("last-event-id", 0)) > 0 for headers in asked)
    # The browser itself reports the refused connections of the meantime.
    page.complaints[:] = [text for text in page.complaints if "net::ERR" not in text]


def test_a_hidden_page_pauses_its_stream_and_catches_up_when_it_is_seen_again(plane, open_page):
    page = open_page()
    expect(page.locator("#stream-state")).to_have_text("Live")
    hide = """hidden => {
        Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    until(lambda: plane.app.state.streams._open.total() == 0, "the end of the hidden page's stream")
    job = plane.running(name="unseen")
    page.evaluate(hide, False)
    expect(page.locator(f"#r-{job.id}")).to_be_visible()


def test_the_output_of_a_running_job_grows_on_its_page(plane, open_page):
    job = plane.running(name="talks")
    plane.prints(job, {"type": "stream", "name": "stdout", "text": "one\n"})
    page = open_page(path=f"jobs/{job.id}")
    expect(page.locator("#output")).to_contain_text("one")
    mark(page)
    plane.prints(job, {"type": "stream", "name": "stdout", "text": "\x1b[31mtwo\x1b[0m\n"})
    expect(page.locator("#output .t-f1")).to_have_text("two")
    plane.end(job)
    expect(page.locator("#live .phase")).to_have_text("succeeded")
    assert page.evaluate("window.sameDocument")


def test_spans_tick_and_times_are_local(plane, open_page):
    plane.running(name="ticks")
    page = open_page(timezone_id="Asia/Seoul")
    tick = page.locator("#running .tick").first
    shown = tick.text_content()
    expect(tick).not_to_have_text(shown)
    page.goto(f"{plane.url}events")
    times = page.locator(".log time")
    expect(times.first).to_have_text(re.compile(r"^\d{2}:\d{2}:\d{2}$"))
    utc = times.first.get_attribute("datetime")[11:13]
    assert (int(utc) + 9) % 24 == int(times.first.text_content()[:2])


def test_the_calendar_comes_again_in_the_browsers_zone(plane, open_page):
    page = open_page(timezone_id="Asia/Seoul")
    page.goto(f"{plane.url}reservations")
    expect(page.locator("[data-zone]")).to_have_text("All times are of the zone Asia/Seoul.")


def test_the_picture_of_the_last_hour_is_drawn(plane, open_page):
    page = open_page()
    expect(page.locator("#usage canvas")).to_be_visible()
    plane.running(name="counts")
    expect(page.locator("dl.big dd").first).to_have_text("1 of 6")
    expect(page.locator("#usage canvas")).to_be_visible()
    data = page.evaluate("fetch(document.getElementById('usage').dataset.src).then(r => r.json())")
    assert data[1][-1] == 1
    assert data[2][-1] == 0


@pytest.mark.parametrize("plane", ["/services/dure"], indirect=True)
def test_everything_lives_below_the_prefix_too(plane, open_page):
    job = plane.running(name="deep")
    page = open_page()
    expect(page.locator("#stream-state")).to_have_text("Live")
    outside = []
    page.on("request", lambda request: outside.extend([] if request.url.startswith(plane.url) else [request.url]))
    page.get_by_role("link", name="deep").first.click()
    expect(page.locator("h1")).to_contain_text("deep")
    page.get_by_role("link", name="Events").click()
    expect(page.locator(".log")).to_contain_text(job.id)
    page.get_by_role("button", name="한국어").click()
    expect(page.locator("h1")).to_have_text("이벤트")
    assert outside == []


def test_other_teams_jobs_are_nowhere_in_what_the_browser_gets(plane, open_page):
    plane.running(BOB, "hush-hush", "gold")
    plane.submit(BOB, "hush-hush")
    plane.submit(ALICE, "mine")
    page = open_page()
    expect(page.locator("#gpu-lab-n3-0")).to_contain_text("team speech")
    expect(page.locator("#waiting")).to_contain_text("1 job of another team waits as well")
    assert "hush" not in page.content()
    assert "bob" not in page.content()
