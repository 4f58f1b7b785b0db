"""The account file: links that work once, passwords that are not kept, limits, and who may enter."""

import asyncio
import threading
import time

import pytest

from dure.hub import accounts, front_door
from dure.hub.authenticator import DureAuthenticator

PASSWORD = "correct horse battery"


def test_a_link_works_once_even_when_many_open_it_at_once(tmp_path):
    token = accounts.create_link(tmp_path, "alice")
    found = []
    threads = [threading.Thread(target=lambda: found.append(accounts.use_link(tmp_path, token))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["None"] * 7 + ["alice"]


def test_an_old_link_is_of_no_use(tmp_path):
    token = accounts.create_link(tmp_path, "alice", valid_s=60, now_s=1000)
    assert accounts.link_user(tmp_path, token, now_s=1059) == "alice"
    assert accounts.use_link(tmp_path, token, now_s=1061) is None


def test_a_new_link_leaves_an_older_one_good(tmp_path):
    first, second = accounts.create_link(tmp_path, "alice"), accounts.create_link(tmp_path, "alice")
    assert accounts.use_link(tmp_path, first) == "alice"
    assert accounts.use_link(tmp_path, second) == "alice"


def test_the_file_is_its_owners_alone_and_holds_no_secret(tmp_path):
    token = accounts.create_link(tmp_path, "alice")
    accounts.set_password(tmp_path, "alice", PASSWORD)
    path = tmp_path / "hub" / "accounts.sqlite"
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    assert token.encode() not in content
    assert PASSWORD.encode() not in content


def test_a_password_is_right_or_wrong(tmp_path):
    accounts.set_password(tmp_path, "alice", PASSWORD)
    assert accounts.verify(tmp_path, "alice", PASSWORD)
    assert not accounts.verify(tmp_path, "alice", PASSWORD + " ")
    assert not accounts.verify(tmp_path, "nobody", PASSWORD)


def test_an_account_without_a_password_lets_no_password_in(tmp_path):
    accounts.create_link(tmp_path, "alice")
    assert not accounts.verify(tmp_path, "alice", "")


def test_failures_close_the_door_for_a_while_and_only_that_door(tmp_path):
    for second in range(accounts.FAILURES_MAX):
        assert accounts.begin_attempt(tmp_path, "alice", now_s=1000.0 + second) == 0
    left = accounts.FAILURES_WINDOW_S - 5
    assert accounts.begin_attempt(tmp_path, "alice", now_s=1005.0) == pytest.approx(left)
    assert accounts.begin_attempt(tmp_path, "bob", now_s=1005.0) == 0
    assert accounts.begin_attempt(tmp_path, "alice", now_s=1001.0 + accounts.FAILURES_WINDOW_S) == 0


def test_the_right_password_forgets_the_wrong_ones(tmp_path):
    accounts.set_password(tmp_path, "alice", PASSWORD)
    for _ in range(accounts.FAILURES_MAX):
        accounts.begin_attempt(tmp_path, "alice")
    assert not accounts.verify(tmp_path, "alice", "wrong")
    assert accounts.begin_attempt(tmp_path, "alice") > 0
    assert accounts.verify(tmp_path, "alice", PASSWORD)
    assert accounts.begin_attempt(tmp_path, "alice") == 0


def test_old_attempts_make_room_and_new_ones_are_always_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "ATTEMPTS_KEPT_MAX", 6)
    for number in range(20):
        accounts.begin_attempt(tmp_path, f"guess{number}")
    waits = [accounts.begin_attempt(tmp_path, "alice") for _ in range(accounts.FAILURES_MAX + 1)]
    assert [wait > 0 for wait in waits] == [False] * accounts.FAILURES_MAX + [True]
    with accounts.opened(tmp_path) as db:
        assert db.execute("select count(*) from failures").fetchone()[0] == 6


def test_many_wrong_passwords_at_once_are_no_more_than_one_by_one(tmp_path, monkeypatch):
    looked_at, now, most = [], [0], [0]

    def slow(*_about):
        looked_at.append(1)
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.02)
        now[0] -= 1
        return False

    monkeypatch.setattr(accounts, "check_password", slow)
    authenticator = DureAuthenticator(state_dir=str(tmp_path))

    async def guess():
        one = {"username": "alice", "password": "wrong"}
        return await asyncio.gather(*(authenticator.authenticate(None, one) for _ in range(60)), return_exceptions=True)

    answers = asyncio.run(guess())
    assert len(looked_at) == accounts.FAILURES_MAX
    assert most[0] <= 2
    assert sum(getattr(answer, "status_code", 0) == 429 for answer in answers) == 60 - accounts.FAILURES_MAX


@pytest.mark.parametrize("there", [False, True])
def test_the_hubs_database_is_its_owners_alone(tmp_path, there):
    path = tmp_path / "jupyterhub.sqlite"
    if there:
        path.write_bytes(b"kept")
        path.chmod(0o644)
    front_door.close_database(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == (b"kept" if there else b"")


def test_members_administrators_and_invited_people_may_enter(tmp_path):
    accounts.write_teams(tmp_path, {"vision": ["alice"]}, ["root1"])
    accounts.create_link(tmp_path, "dave", teams=["speech"])
    assert [accounts.may_enter(tmp_path, name) for name in ("alice", "root1", "dave", "eve")] == [
        True,
        True,
        True,
        False,
    ]
    assert accounts.teams_of(tmp_path, "alice") == ["vision"]
    assert accounts.teams_of(tmp_path, "dave") == ["speech"]


def test_an_invitation_adds_and_never_takes_away(tmp_path):
    accounts.create_link(tmp_path, "alice", admin=True, teams=["vision"])
    accounts.create_link(tmp_path, "alice", teams=["speech"])
    assert accounts.find(tmp_path, "alice") == accounts.Account("alice", True, True, ("speech", "vision"))


def test_a_removed_account_is_out_with_its_links(tmp_path):
    token = accounts.create_link(tmp_path, "alice")
    assert accounts.remove(tmp_path, "alice")
    assert not accounts.remove(tmp_path, "alice")
    assert accounts.use_link(tmp_path, token) is None
    assert not accounts.may_enter(tmp_path, "alice")


@pytest.mark.parametrize("name", ["", "1a", "a b", "a/b", "../x", "a" * 33, "한글"])
def test_a_name_that_no_folder_should_have_is_refused_with_the_rule(tmp_path, name):
    with pytest.raises(accounts.AccountError, match="lower-case letters"):
        accounts.create_link(tmp_path, name)
