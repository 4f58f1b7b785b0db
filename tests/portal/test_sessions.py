"""The pages of sessions: who sees what, comparing, sharing and deleting without a script; no accessibility defect."""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from dure.portal import session_routes
from dure.state import FolderBlobs, capture
from dure.wire.sessions import SaveRequest, SessionDocument
from tests.portal.conftest import ADA, ALICE, BOB
from tests.portal.test_looks import RULES

OURS = {"sec-fetch-site": "same-origin"}  # what a browser adds to a form of this site


@pytest.fixture
def kept(plane):
    blobs = FolderBlobs(plane.blobs.access("vision")["root"])
    namespaces: list[dict[str, Any]] = [
        {"a": 1, "<b>rows": 0},
        {"a": 2, "model": [3], "rows": (r for r in "ab")},
    ]
    for parent, namespace in enumerate(namespaces):
        snapshot = capture(namespace, blobs=blobs)
        document = SessionDocument(snapshot=snapshot.store(blobs), made={"a": 4})
        request = SaveRequest(
            name="deep/<i>train.ipynb",
            team="vision",
            parent=parent,
            kernel="k",
            document=blobs.put(document.model_dump_json().encode()),
            size_bytes=3 * 2**30,
            new_bytes=1024,
            label="before lunch",
            changed="<b>rows, a",
        )
        saved = plane.sessions.save(ALICE, request)
    return saved.session


def test_the_list_and_one_session(plane, kept):
    client = plane.http()
    page = client.get("sessions").text
    assert "deep/&lt;i&gt;train.ipynb" in page
    assert "3.0 GiB" in page
    page = client.get(f"sessions/{kept}").text
    assert "before lunch" in page
    assert page.count("<td>&lt;b&gt;rows, a</td>") == 2
    assert "a generator" in page
    assert "<i>train" not in page
    page = client.get(f"sessions/{kept}?before=1&after=2").text
    assert re.search(r"<dt>new</dt><dd>model</dd>", page)
    assert "&lt;b&gt;rows" in page
    korean = plane.http(**{"accept-language": "ko"}).get(f"sessions/{kept}").text
    assert "버전 2의 내용" in korean
    assert ">Versions<" not in korean


def test_a_long_list_says_how_many_more_there_are(plane, monkeypatch):
    monkeypatch.setattr(session_routes, "SHOWN", 2)
    for number in range(5):
        asked = SaveRequest(name=f"{number}.ipynb", team="vision", parent=0, kernel="k", document="0" * 64)
        plane.sessions.save(ALICE, asked)
    page = plane.http().get("sessions").text
    assert page.count(".ipynb</a>") == 2
    assert "and 3 more" in page


def test_an_administrator_sees_sizes_until_it_is_shared_and_another_team_nothing(plane, kept):
    ada, bob = plane.http(ADA), plane.http(BOB)
    page = ada.get(f"sessions/{kept}").text
    assert "You see sizes and times" in page
    assert "a generator" not in page
    assert "before lunch" not in page
    assert "Share read-only" not in page
    assert plane.http().post(f"sessions/{kept}/share", data={"people": "ada, bob"}, headers=OURS).status_code == 200
    page = ada.get(f"sessions/{kept}").text
    assert "--trust alice" in page
    assert "a generator" in page
    for path in ("", "/delete", "?before=1&amp;after=2"):
        assert bob.get(f"sessions/{kept}{path}").status_code == 404
    assert bob.post(f"sessions/{kept}/delete", headers=OURS).status_code == 404
    assert "train.ipynb" not in bob.get("sessions").text


def test_a_form_of_another_site_changes_nothing(plane, kept):
    for path in ("delete", "share"):
        assert plane.http().post(f"sessions/{kept}/{path}").status_code == 403
    assert plane.store.sessions.get(kept) is not None


def test_deleting_asks_first_and_then_it_is_gone(plane, kept):
    client = plane.http()
    assert "can no longer be restored" in client.get(f"sessions/{kept}/delete?version=1").text
    assert "<span>Dure 0.1.0</span>" in client.get(f"sessions/{kept}/delete").text
    client.post(f"sessions/{kept}/delete", data={"version": 1}, headers=OURS)
    assert client.get(f"sessions/{kept}?version=1").status_code == 404
    client.post(f"sessions/{kept}/delete", data={"version": 0}, headers=OURS)
    assert client.get(f"sessions/{kept}").status_code == 404


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "ko-KR"])
def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(plane, open_page, kept, scheme, locale):
    page = open_page(locale=locale, color_scheme=scheme, width=375)
    for path in ("sessions", f"sessions/{kept}?before=1&after=2", f"sessions/{kept}/delete"):
        page.goto(f"{plane.url}{path}")
        found = Axe().run(page, options=RULES).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, path


@pytest.mark.browser
def test_the_keyboard_suffices_to_delete(plane, open_page, kept):
    page = open_page()
    page.goto(f"{plane.url}sessions")
    page.get_by_role("link", name="train.ipynb").press("Enter")
    page.get_by_role("link", name="Delete this session").press("Enter")
    page.get_by_role("button", name="Yes, delete it").press("Enter")
    page.wait_for_url(f"{plane.url}sessions")
    assert plane.store.sessions.get(kept) is None
