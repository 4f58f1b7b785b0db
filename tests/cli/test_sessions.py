"""`dure sessions` as a real process: references, tables, both languages, sharing, deleting."""

import json
import math
import time

import pytest

from dure.client import Client, Login, session_refs
from dure.state import FolderBlobs, capture
from dure.wire.sessions import SaveRequest, SessionDocument
from tests.api.plane import PEOPLE, token, until


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
            changed="b, 둘, +3",
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
    assert "  b, 둘, +3  번호 2" in dure("sessions", "show", "train.ipynb").stdout
    content = dure("sessions", "show", f"{kept}@1").stdout
    assert "a generator" in content
    assert "저장 안 됨" in dure("--lang", "ko", "sessions", "show", f"{kept}@1").stdout
    assert json.loads(dure("sessions", "list", "--json").stdout)["sessions"][0]["id"] == kept


def test_versions_are_compared(dure, kept):
    assert [line.split() for line in dure("sessions", "diff", "train.ipynb").stdout.splitlines()[1:]] == [
        ["b", "new"],
        ["a", "changed"],
    ]
    assert dure("sessions", "diff", "train.ipynb@2").stderr.strip() == "Nothing differs between versions 2 and 2."
    assert json.loads(dure("sessions", "diff", f"{kept}@2", "1", "--json").stdout)["removed"] == ["b"]


def test_a_session_takes_another_name(dure, kept):
    assert (
        dure("sessions", "rename", "train.ipynb", "deep/model.ipynb").stdout == "deep/train.ipynb → deep/model.ipynb\n"
    )
    assert dure("sessions").stdout.splitlines()[1].split()[:2] == [kept, "deep/model.ipynb"]
    again = dure("sessions", "rename", kept, "deep/model.ipynb")
    assert (again.returncode, "already" in again.stderr) == (2, True)


def test_an_earlier_version_becomes_the_newest_or_a_session_of_its_own(dure, kept):
    assert dure("sessions", "fork", f"{kept}@1", "my copy").stdout == (
        "my copy holds version 1: `%session restore 'my copy'`.\n"
    )
    assert "a generator" in dure("sessions", "show", "my copy@1").stdout
    assert "already" in dure("sessions", "fork", kept, "my copy").stderr
    assert "cannot be ''" in dure("sessions", "fork", kept, "").stderr
    assert "Say which version" in dure("sessions", "restore", kept).stderr
    assert "Version 3 of deep/train.ipynb is version 1 again" in dure("sessions", "restore", f"{kept}@1").stdout
    absent = (
        "Session deep/train.ipynb has no version 9 (any more): list them with `dure sessions show deep/train.ipynb`."
    )
    for command in (("restore", f"{kept}@9"), ("show", f"{kept}@9"), ("diff", f"{kept}@9")):
        assert dure("sessions", *command).stderr.strip() == absent
    newest = dure("sessions", "delete", f"{kept}@3", "--yes").stderr
    assert "newest of session deep/train.ipynb and goes only with it: `dure sessions delete deep/train.ipynb`" in newest
    assert dure("sessions", "diff", f"{kept}@1", "3").stderr.strip() == "Nothing differs between versions 1 and 3."
    assert dure("sessions", "show", kept).stdout.splitlines()[1].split()[0] == "3"
    assert "no time of day" in dure("sessions", "diff", kept, "--since", "25:99").stderr
    assert "leave it out, or @N" in dure("sessions", "diff", f"{kept}@1", "--since", "00:00").stderr
    newest = json.loads(dure("sessions", "show", kept, "--json").stdout)["versions"][0]["at"]
    until(lambda: time.time() >= math.ceil(newest))
    since = time.strftime("%H:%M:%S", time.localtime(math.ceil(newest)))
    assert dure("sessions", "diff", kept, "--since", since).stderr.startswith("Nothing differs between versions ")
    assert dure("sessions", "delete", "my copy", "--yes").returncode == 0
    assert "PERSON cannot be 'a b'" in dure("sessions", "share", kept, "a b").stderr


def test_what_the_last_cells_changed_is_undone_from_outside_one_after_another(dure, kept):
    undone = dure("sessions", "undo", "train.ipynb").stdout.splitlines()
    assert undone[0].startswith("Version 3 of deep/train.ipynb is version 1 again, as of ")
    assert undone[1:] == ["Undone: a, b.", "To take this back: `dure sessions restore deep/train.ipynb@2`."]
    assert dure("sessions", "diff", f"{kept}@1", "3").stderr.strip() == "Nothing differs between versions 1 and 3."
    again = dure("sessions", "undo", kept)
    assert (again.returncode, again.stdout) == (1, "")
    assert "No earlier version of deep/train.ipynb holds anything else" in again.stderr
    assert "되돌릴 것이 없습니다" in dure("--lang", "ko", "sessions", "undo", kept).stderr
    assert dure("sessions", "restore", f"{kept}@2").returncode == 0  # takes it back
    assert "되돌린 변수: a, b" in dure("--lang", "ko", "sessions", "undo", kept).stdout
    shown = json.loads(dure("sessions", "show", kept, "--json").stdout)["versions"]
    origins = [(version["number"], version["origin"], version["label"]) for version in shown]
    assert origins[:3] == [(5, 1, ""), (4, 2, ""), (3, 1, "")]
    assert f"dure sessions restore {kept}@1" in dure("sessions", "undo", f"{kept}@1").stderr
    assert dure("sessions", "restore", f"{kept}@4").returncode == 0
    for number in (2, 3, 4, 5):
        assert dure("sessions", "delete", f"{kept}@{number}", "--yes").returncode == 0
    assert "Version 7 of deep/train.ipynb is version 1 again" in dure("sessions", "undo", kept).stdout, "over the gap"


def test_what_was_saved_last_gets_a_label_from_outside(dure, kept):
    told = dure("sessions", "save", "train.ipynb").stdout
    assert told.startswith("Version 2 of deep/train.ipynb was saved at ")
    assert "`dure sessions save train.ipynb LABEL`" in told
    told = dure("sessions", "save", "train.ipynb", "before", "tuning").stdout
    assert told.endswith(" after cell 0, is labelled: before tuning (before: 번호 2)\n")
    assert "이름표: 첫 모델 (이전: 번호 1)" in dure("--lang", "ko", "sessions", "save", f"{kept}@1", "첫 모델").stdout
    shown = json.loads(dure("sessions", "show", kept, "--json").stdout)["versions"]
    assert [(version["number"], version["label"]) for version in shown] == [(2, "before tuning"), (1, "첫 모델")]
    assert "at most 200 letters" in dure("sessions", "save", kept, "x" * 201).stderr
    assert "has no version 9" in dure("sessions", "save", f"{kept}@9", "x").stderr
    assert dure("sessions", "share", kept, "mate").returncode == 0
    for command in (("save", kept, "mine"), ("undo", kept)):
        refused = dure("sessions", *command, who="mate")
        assert (refused.returncode != 0, "only alice may" in refused.stderr) == (True, True)


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


def test_sessions_of_some_do_not_crowd_out_those_of_others(platform, kept, dure, monkeypatch):
    asked = SaveRequest(name="mine.ipynb", team="vision", parent=0, kernel="k", document="0" * 64)
    sessions = platform.plane.sessions
    own = sessions.save(PEOPLE["root"], asked).session
    others = [sessions.save(PEOPLE["alice"], asked.model_copy(update={"name": f"{n}.ipynb"})).session for n in range(3)]
    mates = sessions.save(PEOPLE["mate"], asked).session
    others += [sessions.save(PEOPLE["alice"], asked.model_copy(update={"name": f"{n}.ipynb"})).session for n in (3, 4)]
    monkeypatch.setattr(session_refs, "_LISTED", 2)
    try:
        with Client(Login(platform.url, token("root"), "file")) as client:
            assert {own, mates}.isdisjoint(session.id for session in client.sessions(limit=2).sessions)
            assert session_refs.found(client, "mine.ipynb").id == own
            assert session_refs.found(client, "mate/mine.ipynb").id == mates
            assert session_refs.found(client, mates).id == mates
        cut = dure("sessions", "list", "--limit", "1")
        assert cut.stderr == "5 more: name a person with --user, or more of them with --limit.\n"
    finally:
        for session in (own, mates, *others):
            sessions.delete(PEOPLE["root"], session)
