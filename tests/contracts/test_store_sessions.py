"""Sessions in the database: a version follows the newest or is refused; what goes in comes out."""

from dataclasses import replace

import pytest

from dure.core.events import Draft
from dure.core.session import Holding, Session, Version
from dure.ports import VersionConflictError


def a_session(name="a.ipynb", *, user="alice", session_id="s-1", used_at=1.0):
    return Session(
        id=session_id, user=user, team="vision", name=name, created_at=1.0, used_at=used_at, shared=("mate", "하나")
    )


def a_version(number, *, session="s-1", at=1.0):
    return Version(
        session=session,
        number=number,
        parent=number - 1,
        at=at,
        kernel="k",
        cell=3,
        document=f"{number:064x}",
        size_bytes=2**40,
        new_bytes=7,
        variables=5,
        unsaved=1,
        python="3.11.9",
        label="before tuning",
        origin=None if number == 1 else 1,
        changed="a, 둘, +3",
    )


def save(store, number, session=None, dropped=None, events=()):
    session = session or a_session()
    store.sessions.save(replace(session, newest=number), a_version(number, session=session.id), dropped or {}, events)


def test_what_was_saved_is_read_again(store):
    save(store, 1)
    save(store, 2)
    assert store.sessions.get("s-1") == replace(a_session(), newest=2)
    assert store.sessions.find("alice", "vision", "a.ipynb") == replace(a_session(), newest=2)
    assert list(store.sessions.versions(["s-1"])) == [a_version(1), a_version(2)]
    assert store.sessions.get("s-2") is None
    assert store.sessions.documents() == {a_version(1).document, a_version(2).document}


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_version_that_does_not_follow_the_newest_is_refused_whole(store, number):
    save(store, 1)
    save(store, 2)
    before = store.last_seq()
    with pytest.raises(VersionConflictError):
        save(store, number, dropped={"s-1": [1]}, events=[Draft("session.saved", "s-1", {})])
    assert [version.number for version in store.sessions.versions(["s-1"])] == [1, 2]
    assert store.last_seq() == before


def test_versions_go_in_the_transaction_of_the_one_that_comes(store):
    save(store, 1)
    save(store, 2, dropped={"s-1": [1]}, events=[Draft("session.saved", "s-1", {"team": "vision"})])
    assert [version.number for version in store.sessions.versions(["s-1"])] == [2]
    assert [event.kind for event in store.events(0, 10)] == ["session.saved"]


def test_a_person_sees_their_own_and_their_teams(store):
    save(store, 1)
    save(store, 1, a_session(user="bob", session_id="s-2", used_at=5.0))
    save(store, 1, replace(a_session(user="eve", session_id="s-3"), team="speech"))
    assert [session.id for session in store.sessions.listed("alice", ("vision",), 10)] == ["s-2", "s-1"]
    assert [session.id for session in store.sessions.listed("alice", (), 10)] == ["s-1"]
    private = replace(a_session(user="carol", session_id="s-4"), shared=())
    save(store, 1, private)
    assert [session.id for session in store.sessions.listed("alice", ("vision",), 10)] == ["s-2", "s-1"]
    assert [session.id for session in store.sessions.listed("carol", (), 10)] == ["s-4"]
    assert len(store.sessions.listed("root", None, 10)) == 4
    assert [session.id for session in store.sessions.listed("root", None, 10, owner="bob", name="a.ipynb")] == ["s-2"]
    assert store.sessions.listed("root", None, 10, owner="bob", name="b.ipynb") == []
    assert [version.session for version in store.sessions.versions_of("bob")] == ["s-2"]
    assert set(store.sessions.users()) == {"alice", "bob", "carol", "eve"}


def test_sharing_use_and_deletion(store):
    save(store, 1)
    save(store, 1, a_session(user="bob", session_id="s-2", used_at=5.0))
    store.sessions.share("s-1", ("*",), [Draft("session.shared", "s-1", {})], 8.0, "alice")
    assert store.sessions.get("s-1") == replace(a_session(), shared=("*",), newest=1)
    store.sessions.use("s-1", [], 9.0, "kim")  # who restores it knows nothing of a share a moment ago
    assert store.sessions.get("s-1") == replace(a_session(), shared=("*",), used_at=9.0, newest=1)
    assert [session.id for session in store.sessions.unused(6.0)] == ["s-2"]
    store.sessions.delete(["s-1"], [Draft("session.deleted", "s-1", {})], 9.0, "alice")
    assert store.sessions.get("s-1") is None
    assert store.sessions.versions(["s-1"]) == []


def test_sessions_take_other_names_one_after_another_or_none_does(store):
    save(store, 1)
    save(store, 1, a_session("b.ipynb", session_id="s-2"))
    before = store.last_seq()
    with pytest.raises(VersionConflictError):
        store.sessions.rename({"s-2": "c.ipynb", "s-1": "c.ipynb"}, [Draft("session.renamed", "s-1", {})], 9.0, "alice")
    assert store.last_seq() == before
    assert store.sessions.get("s-2").name == "b.ipynb"
    store.sessions.rename({"s-2": "c.ipynb", "s-1": "b.ipynb"}, [Draft("session.renamed", "s-1", {})], 9.0, "alice")
    assert [store.sessions.get(each).name for each in ("s-1", "s-2")] == ["b.ipynb", "c.ipynb"]
    assert store.events(before, 10)[0].kind == "session.renamed"
    save(store, 2, replace(a_session(), name="b.ipynb"))


def test_what_sessions_hold_is_counted_by_the_database(store):
    for number in (1, 2, 3):
        save(store, number)
    save(store, 1, a_session(user="bob", session_id="s-2"))
    both = {"s-1": Holding(3, 2**40 + 14, 1.0, 2**40), "s-2": Holding(1, 2**40, 1.0, 2**40)}
    assert store.sessions.holdings(user="alice") == {"s-1": both["s-1"]}
    assert store.sessions.holdings(session_ids=["s-1", "s-2", "s-3"]) == both
    assert store.sessions.holdings(session_ids=[]) == {}
    store.sessions.drop({"s-1": [1]}, [], 2.0, "alice")
    assert store.sessions.holdings(user="alice")["s-1"].held_bytes == 2**40 + 7


def test_a_label_changes_nothing_else_of_a_version(store):
    save(store, 1)
    save(store, 2)
    store.sessions.label("s-1", 1, "튜닝 전", 9.0)
    assert list(store.sessions.versions(["s-1"])) == [replace(a_version(1), label="튜닝 전"), a_version(2)]
    assert store.sessions.get("s-1") == replace(a_session(used_at=9.0), newest=2)


def test_what_dropped_versions_added_is_counted_with_the_next_while_an_older_one_stays(store):
    for number in (1, 2, 3, 4):
        save(store, number)
    store.sessions.drop({"s-1": [2, 3]}, [], 2.0, "alice")
    assert [version.new_bytes for version in store.sessions.versions(["s-1"])] == [7, 21]
    store.sessions.drop({"s-1": [1]}, [], 2.0, "alice")
    assert store.sessions.holdings(user="alice")["s-1"].held_bytes == 2**40
