"""`dure sessions` as a real process: references, tables, both languages, sharing, deleting."""

import json

import pytest

from dure.state import FolderBlobs, capture
from dure.wire.sessions import SaveRequest, SessionDocument
from tests.api.plane import PEOPLE


@pytest.fixture
def kept(platform):
    """Two versions of alice's notebook."""
    plane = platform.plane
    blobs = FolderBlobs(plane.ports.blobs.access("vision")["root"])
    for parent, namespace in enumerate(({"a": 1, "rows": (row for row in "ab")}, {"a": 2, "b": [3]})):
        snapshot = capture(namespace, blobs=blobs)
        document = SessionDocument(snapshot=snapshot.store(blobs), made={"a": 4, "rows": 4})
        request = SaveRequest(
            name="deep/train.ipynb",
            team="vision",
            parent=parent,
            kernel="k",
            document=blobs.put(document.model_dump_json().encode()),
            size_bytes=2048,
            new_bytes=1024,
            label="번호 " + str(parent + 1),
        )
        saved = plane.sessions.save(PEOPLE["alice"], request)
    yield saved.session
    if plane.store.sessions.get(saved.session) is not None:
        plane.sessions.delete(PEOPLE["alice"], saved.session)


def test_sessions_are_listed_and_shown(dure, kept):
    lines = dure("sessions").stdout.splitlines()
    assert lines[0].split() == ["SESSION", "NAME", "OWNER", "SAVED", "VERSIONS", "SIZE", "SHARED", "EXPIRES"]
    assert lines[1].split()[:3] == [kept, "deep/train.ipynb", "alice"]
    assert [line.split()[0] for line in dure("sessions", "show", "train.ipynb").stdout.splitlines()[1:]] == ["2", "1"]
    content = dure("sessions", "show", f"{kept}@1").stdout
    assert "a generator" in content
    assert "저장 안 됨" in dure("--lang", "ko", "sessions", "show", f"{kept}@1").stdout
    assert json.loads(dure("sessions", "list", "--json").stdout)["sessions"][0]["id"] == kept


def test_versions_are_compared(dure, kept):
    assert [line.split() for line in dure("sessions", "diff", "train.ipynb").stdout.splitlines()[1:]] == [
        ["b", "new"],
        ["a", "changed"],
    ]
    assert dure("sessions", "diff", "train.ipynb@2").stderr.strip() == "No difference."
    assert json.loads(dure("sessions", "diff", f"{kept}@2", "1", "--json").stdout)["removed"] == ["b"]


def test_a_session_takes_another_name(dure, kept):
    assert (
        dure("sessions", "rename", "train.ipynb", "deep/model.ipynb").stdout == "deep/train.ipynb → deep/model.ipynb\n"
    )
    assert dure("sessions").stdout.splitlines()[1].split()[:2] == [kept, "deep/model.ipynb"]
    again = dure("sessions", "rename", kept, "deep/model.ipynb")
    assert (again.returncode, "already" in again.stderr) == (2, True)


def test_sharing_and_its_end(dure, kept):
    assert "No sessions." in dure("sessions", who="mate").stderr
    assert "%session restore alice/deep/train.ipynb" in dure("sessions", "share", kept, "mate").stdout
    assert dure("sessions", "show", "alice/deep/train.ipynb@2", who="mate").returncode == 0
    assert "may not share" in dure("sessions", "share", kept, "both", who="mate").stderr
    assert dure("sessions", "share", kept, "both").returncode == 0
    assert "not shared with maet" in dure("sessions", "unshare", kept, "maet").stderr
    assert "still shared with mate" in dure("sessions", "unshare", kept, "both").stdout
    assert dure("sessions", "unshare", "deep/train.ipynb").returncode == 0
    assert "There is no session" in dure("sessions", "show", kept, who="mate").stderr
    assert dure("sessions", "share", kept).returncode == 2


def test_deleting_asks_and_spares_the_newest(dure, kept):
    assert "--yes" in dure("sessions", "delete", kept).stderr
    assert "goes only with it" in dure("sessions", "delete", f"{kept}@2", "--yes").stderr
    assert dure("sessions", "delete", f"{kept}@1", "--yes").returncode == 0
    assert "has no version 1" in dure("sessions", "show", f"{kept}@1").stderr
    assert "alice/deep/train.ipynb is deleted." in dure("sessions", "delete", kept, "--yes", who="root").stdout
    assert "There is no session" in dure("sessions", "show", kept).stderr
