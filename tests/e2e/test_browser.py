"""The way in with a real browser: the link and the password page."""

import re

import pytest
from playwright.sync_api import expect

from tests.browsers import PATIENCE_S, needs_browser
from tests.e2e.real import new_page

PASSWORD = "correct horse battery"

pytestmark = [pytest.mark.browser, needs_browser]


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


def test_tokens_and_people_fit_a_phone_and_are_korean_for_those_who_read_korean(door, chromium):
    context = chromium.new_context(locale="ko-KR", viewport={"width": 390, "height": 800})
    phone = context.new_page()
    phone.set_default_timeout(PATIENCE_S * 1000)
    phone.goto(door.sign_in_link("root1", admin=True))
    phone.wait_for_url(door.portal_url)
    phone.goto(f"{door.url}hub/token")
    phone.get_by_label("용도").fill("laptop")
    phone.get_by_role("button", name="토큰 만들기").click()
    expect(phone.locator("#token-area pre")).to_have_text(
        re.compile(f"^dure login {re.escape(door.url.rstrip('/'))} --token [0-9a-f]{{32}}$")
    )
    phone.reload()
    expect(phone.get_by_role("row", name="laptop")).to_be_visible()
    expect(phone.locator("time").first).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d$"))
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.goto(f"{door.url}hub/admin")
    expect(phone.get_by_role("button", name="허브 종료")).to_be_visible()
    expect(phone.get_by_role("button", name="자세히").first).to_be_visible()
    english = re.findall(r"[A-Z][a-z]+ [A-Za-z]+", phone.locator("#react-admin-hook").inner_text())
    assert english == []
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
