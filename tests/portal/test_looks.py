"""What a person meets: no accessibility defect in any language or colours, no script needed, the keyboard suffices."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.portal.conftest import ADA, ALICE
from tests.portal.lively import make_lively

pytestmark = pytest.mark.browser
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "ko-KR"])
def test_axe_finds_nothing_on_any_page(plane, open_page, scheme, locale):
    empty = open_page(locale=locale, color_scheme=scheme)
    problems = {"empty": Axe().run(empty, options=RULES).response["violations"]}
    jobs = make_lively(plane)
    page = open_page(locale=locale, color_scheme=scheme)
    waiting = jobs["waiting0"].id
    paths = [
        "",
        "events",
        f"jobs/{jobs['ended'].id}",
        f"jobs/{waiting}",
        f"jobs/{waiting}/cancel",
        "jobs/j-none",
        "usage",
        "reservations",
    ]
    for path in paths:
        page.goto(f"{plane.url}{path}")
        problems[path] = Axe().run(page, options=RULES).response["violations"]
    told = {
        path: [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found]
        for path, found in problems.items()
        if found
    }
    page.complaints[:] = [text for text in page.complaints if "404" not in text]
    assert told == {}


@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_is_wider_than_the_window_and_targets_are_large_enough(plane, open_page, width):
    jobs = make_lively(plane)
    long = plane.running(name="runs/" + "a_very_long_name_" * 9, tier="bronze")
    page = open_page(width=width)
    for path in ("", "events", f"jobs/{jobs['ended'].id}", f"jobs/{jobs['waiting0'].id}", f"jobs/{long.id}"):
        page.goto(f"{plane.url}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        small = page.evaluate(
            """[...document.querySelectorAll('button, summary, nav a, input, select, .job, .button')]
                .filter(e => e.type !== 'hidden' && e.checkVisibility())
                .map(e => [e.outerHTML, e.getBoundingClientRect().height]).filter(([, height]) => height < 24)"""
        )
        assert small == [], path


@pytest.mark.parametrize("locale", ["en-GB", "ko-KR"])
def test_an_empty_lab_fits_a_phone_and_the_navigation_is_one_line_for_administrators(plane, open_page, locale):
    phone = open_page(width=390, locale=locale)
    for path in ("", "events", "sessions", "usage", "reservations"):
        phone.goto(f"{plane.url}{path}")
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390, path
    page = open_page(ADA, width=1200, locale=locale)
    # The Hub adds two pages, which this control plane does not have.
    page.evaluate(
        """document.querySelector('nav').insertAdjacentHTML(
            'beforeend', '<a href="#">My notebook</a><a href="#">Workspaces</a>')"""
    )
    assert page.locator("header").bounding_box()["height"] < 60


def test_times_are_written_as_the_command_line_writes_them(plane, open_page):
    page = open_page()
    job = plane.running(name="holds")
    page.clock.set_fixed_time("2030-02-03T04:05:06Z")
    page.goto(f"{plane.url}jobs/{job.id}")
    expect(page.locator(".story time").first).to_have_text(re.compile(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$"))
    assert "\n\n" not in page.locator("#same").inner_text()


def test_the_theme_button_wins_over_the_system(plane, open_page):
    page = open_page(color_scheme="light")
    body = page.locator("body")
    expect(body).to_have_css("background-color", "rgb(246, 247, 246)")
    page.get_by_role("button", name="Dark").click()
    expect(body).to_have_css("background-color", "rgb(18, 22, 26)")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Light").click()
    expect(body).to_have_css("background-color", "rgb(246, 247, 246)")


def test_without_scripts_everything_can_be_read_and_done(plane, open_page):
    job = make_lively(plane)["waiting0"]
    page = open_page(java_script_enabled=False)
    row = page.locator(f"#w-{job.id}")
    expect(row).to_contain_text("in line for gold")
    expect(page.locator(".copy")).to_have_count(0)
    expect(page.locator("#usage .plot")).to_be_hidden()
    page.locator("#usage summary").click()
    expect(page.locator("#usage table")).to_be_visible()
    row.get_by_role("button").click()
    page.get_by_role("button", name="Yes, cancel it").click()
    plane.phase(job, "cancelled")
    page.goto(f"{plane.url}?lang=ko")
    expect(page.locator("h1")).to_have_text("대기열과 GPU")


def test_a_person_with_a_keyboard_alone_cancels_a_job(plane, open_page):
    plane.running(name="holds")
    job = plane.submit(name="waits")
    page = open_page()
    button = page.locator(f"#w-{job.id} button")
    expect(button).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(40):
        if button.evaluate("e => e === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(button).to_be_focused()
    assert button.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Yes, cancel it").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"#e-{job.id}")).to_contain_text("cancelled")
    assert plane.store.job(job.id).user == ALICE.name


def test_focus_and_an_open_table_survive_a_live_update(plane, open_page):
    holding = plane.running(name="holds")
    waiting = plane.submit(name="waits")
    page = open_page()
    expect(page.locator("#stream-state")).to_have_text("Live")
    page.locator("#usage summary").click()
    button = page.locator(f"#r-{holding.id} button")
    button.focus()
    later = plane.submit(name="later")
    expect(page.locator(f"#w-{later.id}")).to_be_visible()
    expect(button).to_be_focused()
    expect(page.locator("#usage table")).to_be_visible()
    expect(page.locator("#usage canvas")).to_be_visible()
    assert waiting.id != later.id


def test_the_first_cell_can_be_copied(plane, open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("%%gpu\n")
