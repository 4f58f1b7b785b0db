"""The account file: links that work once, passwords that are not kept, limits, and who may enter."""

import threading

import pytest

from dure.hub import accounts

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
    accounts.set_password(tmp_path, "alice", PASSWORD)
    for second in range(accounts.FAILURES_MAX):
        assert accounts.wait_s(tmp_path, "alice", now_s=1000.0 + second) == 0
        accounts.verify(tmp_path, "alice", "wrong", now_s=1000.0 + second)
    assert accounts.wait_s(tmp_path, "alice", now_s=1005.0) == pytest.approx(accounts.FAILURES_WINDOW_S - 5)
    assert accounts.wait_s(tmp_path, "bob", now_s=1005.0) == 0
    assert accounts.wait_s(tmp_path, "alice", now_s=1001.0 + accounts.FAILURES_WINDOW_S) == 0


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
    assert accounts.find(tmp_path, "alice") == accounts.Account("alice", True, True, ("speech", "vision"), False)


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
