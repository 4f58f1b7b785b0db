"""The way in with a real browser: the link and the password page."""

import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.e2e.real import new_page

CHROMIUM = shutil.which("chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
PASSWORD = "correct horse battery"

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    page = new_page(chromium, viewport={"width": 1200, "height": 800})
    yield page
    page.context.close()


def test_one_click_on_the_link_ends_in_the_portal(door, page):
    page.goto(door.sign_in_link("root1", admin=True))
    page.wait_for_url(door.portal_url)
    expect(page.locator("body")).to_contain_text("portal of root1 admin=True")


def test_a_spent_link_says_so_and_shows_the_way(door, page, tmp_path):
    link = door.sign_in_link("alice")
    page.goto(link)
    page.wait_for_url(door.portal_url)
    page.goto(link)
    expect(page.get_by_role("alert")).to_contain_text("has been used")
    expect(page.get_by_role("link", name="Sign in with a password")).to_be_visible()
    page.screenshot(path=tmp_path / "spent.png")


def test_a_password_is_set_and_used(door, page, chromium, tmp_path):
    page.goto(door.sign_in_link("bob"))
    page.wait_for_url(door.portal_url)
    page.goto(f"{door.url}hub/password")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.screenshot(path=tmp_path / "password.png")
    page.get_by_role("button", name="Save the password").click()
    expect(page.get_by_role("status")).to_contain_text("Saved")
    fresh = new_page(chromium)
    fresh.goto(door.portal_url)
    fresh.get_by_label("Username").fill("bob")
    fresh.get_by_label("Password", exact=False).first.fill(PASSWORD)
    fresh.get_by_role("button", name="Sign in").click()
    fresh.wait_for_url(door.portal_url)
    expect(fresh.locator("body")).to_contain_text("portal of bob")
    fresh.context.close()
