"""Which versions of a person's sessions stay: never fewer than the newest of each."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from dure.core.session import MAX_VERSIONS, Session, SessionPolicy, Version, held_bytes, may_read, renamed, surplus

DAY_S = 86_400.0
NOW = 100 * DAY_S


def a_version(number, *, session="s-1", at=NOW, size_bytes=100, new_bytes=10):
    return Version(
        session=session,
        number=number,
        parent=number - 1,
        at=at,
        kernel="k",
        cell=number,
        document=f"{number:064x}",
        size_bytes=size_bytes,
        new_bytes=new_bytes,
        variables=1,
        unsaved=0,
    )


def a_session(**changes):
    return Session(id="s-1", user="alice", team="vision", name="a.ipynb", created_at=0, used_at=0, **changes)


def test_within_time_and_quota_everything_stays():
    found = surplus([a_version(1), a_version(2)], SessionPolicy(), NOW)
    assert found.dropped == {}
    assert found.stays_bytes == 110


def test_an_old_version_goes_and_the_newest_stays_however_old():
    versions = [a_version(1, at=0), a_version(2, at=1)]
    assert surplus(versions, SessionPolicy(), NOW).dropped == {"s-1": (1,)}


def test_beyond_the_quota_the_oldest_of_all_sessions_go_first():
    versions = [
        a_version(1, at=NOW - 9),
        a_version(2, at=NOW - 1),
        a_version(1, session="s-2", at=NOW - 5, size_bytes=50),
        a_version(2, session="s-2", at=NOW - 4, size_bytes=50, new_bytes=20),
    ]
    assert held_bytes(versions[:2]) + held_bytes(versions[2:]) == 180
    assert surplus(versions, SessionPolicy(quota_bytes=170), NOW).dropped == {"s-1": (1,)}
    assert surplus(versions, SessionPolicy(quota_bytes=160), NOW).dropped == {"s-1": (1,), "s-2": (1,)}


def test_a_session_has_a_most_number_of_versions():
    versions = [a_version(number) for number in range(1, MAX_VERSIONS + 3)]
    assert surplus(versions, SessionPolicy(), NOW).dropped == {"s-1": (1, 2)}


def test_of_too_many_versions_the_labelled_ones_stay_and_what_those_between_added_is_still_counted():
    versions = [a_version(number) for number in range(1, MAX_VERSIONS + 3)]
    versions[0] = replace(versions[0], label="before tuning")
    found = surplus(versions, SessionPolicy(), NOW)
    assert found.dropped == {"s-1": (2, 3)}
    assert found.stays_bytes == held_bytes(versions)
    labelled = [replace(version, label="kept") for version in versions]
    assert surplus(labelled, SessionPolicy(), NOW).dropped == {"s-1": (1, 2)}


def test_labelled_versions_stay_with_their_session_and_go_last_beyond_the_quota():
    old, labelled, later, newest = (a_version(number, at=at) for number, at in enumerate((0, 1, NOW - 9, NOW), 1))
    labelled = replace(labelled, label="before tuning")
    other = [a_version(1, session="s-2", at=NOW - 5), a_version(2, session="s-2", at=NOW - 4)]
    versions = [old, labelled, later, newest, *other]
    assert surplus(versions, SessionPolicy(), NOW).dropped == {"s-1": (1,)}
    for quota_bytes, dropped in (
        (230, {"s-1": (1,)}),
        (225, {"s-1": (1, 3), "s-2": (1,)}),
        (215, {"s-1": (1, 2, 3), "s-2": (1,)}),
    ):
        assert surplus(versions, SessionPolicy(quota_bytes=quota_bytes), NOW).dropped == dropped


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 60), st.integers(1, 200), st.integers(0, 50)),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 2000),
)
def test_the_newest_of_each_session_always_stays_and_the_rest_fits(drawn, quota_bytes):
    numbers: dict[int, int] = {}
    versions = []
    for session, age_days, size_bytes, new_bytes in sorted(drawn, key=lambda one: -one[1]):
        numbers[session] = numbers.get(session, 0) + 1
        made = a_version(
            numbers[session],
            session=f"s-{session}",
            at=NOW - age_days * DAY_S,
            size_bytes=size_bytes,
            new_bytes=new_bytes,
        )
        versions.append(made)
    found = surplus(versions, SessionPolicy(quota_bytes=quota_bytes), NOW)
    left = [v for v in versions if v.number not in found.dropped.get(v.session, ())]
    newest = {
        session: max(v.number for v in versions if v.session == session) for session in {v.session for v in versions}
    }
    assert {(v.session, v.number) for v in left} >= set(newest.items())
    total = sum(held_bytes([v for v in left if v.session == session]) for session in newest)
    assert total == found.stays_bytes
    assert total <= quota_bytes or len(left) == len(newest)


def test_who_may_read():
    private, shared, open_to_all = a_session(), a_session(shared=("mate",)), a_session(shared=("*",))
    assert may_read(private, "alice", ())
    assert not may_read(private, "mate", ("vision",))
    assert may_read(shared, "mate", ("vision",))
    assert not may_read(shared, "mate", ("speech",))
    assert not may_read(shared, "third", ("vision",))
    assert may_read(open_to_all, "third", ("vision",))
    assert not may_read(open_to_all, "third", ())


def named(*names):
    return [
        Session(id=f"s-{at}", user="alice", team=team, name=name, created_at=0, used_at=0)
        for at, (team, name) in enumerate((name if isinstance(name, tuple) else ("vision", name)) for name in names)
    ]


def test_a_session_follows_its_notebook_and_a_folder_takes_all_along():
    sessions = named("a/x.ipynb", "a/deep/y.ipynb", "ab.ipynb", "a", ("speech", "a/x.ipynb"))
    assert renamed(sessions, "a/x.ipynb", "z.ipynb") == {"s-0": "z.ipynb", "s-4": "z.ipynb"}
    assert renamed(sessions, "a", "b/c") == {
        "s-0": "b/c/x.ipynb",
        "s-1": "b/c/deep/y.ipynb",
        "s-3": "b/c",
        "s-4": "b/c/x.ipynb",
    }
    assert renamed(sessions, "nothing", "b") == {}
    assert renamed(sessions, "a/x.ipynb", "n" * 1025) == {}


def test_what_is_deleted_or_had_the_name_before_makes_way():
    sessions = named("a.ipynb", "a.ipynb (deleted)", "b.ipynb", ("speech", "b.ipynb"))
    assert renamed(sessions, "a.ipynb", None) == {"s-0": "a.ipynb (deleted 2)"}
    assert list(renamed(sessions, "a.ipynb", "b.ipynb").items()) == [("s-2", "b.ipynb (deleted)"), ("s-0", "b.ipynb")]


@given(
    st.lists(st.sampled_from(["a", "a/x", "a/y", "b", "b/x", "b/x (deleted)", "c"]), unique=True),
    st.sampled_from(["a", "b", "c", "a/x"]),
    st.one_of(st.none(), st.sampled_from(["a", "b", "c", "b/x", "d"])),
)
@example(["b", "b/x"], "b", "b/x").via("a folder that goes below itself")
@example(["a/x", "b/x", "b/x (deleted)"], "b", "a").via("a name made way for, which another moves to")
def test_no_two_sessions_ever_have_one_name(names, before, after):
    sessions = named(*names)
    now = {session.id: session.name for session in sessions}
    for session_id, name in renamed(sessions, before, after).items():
        assert name not in {other for each, other in now.items() if each != session_id}
        now[session_id] = name
