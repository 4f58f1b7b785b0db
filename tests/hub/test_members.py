"""`*` among a team's members, and names at the door."""

import pytest

from dure.adapters.platform_template import initial_text
from dure.hub import accounts
from dure.main.compose import compose
from dure.ports import Principal
from dure.settings import read_settings
from dure.wire.problems import CodedError
from dure.wire.sessions import SaveRequest, ShareRequest


def test_everyone_is_in_a_team_with_a_star_and_a_star_lets_nobody_in(tmp_path):
    accounts.write_teams(tmp_path, {"all": ["*"], "vision": ["alice"]}, ["root1"])
    accounts.create_link(tmp_path, "dave")
    assert accounts.teams_of(tmp_path, "dave") == ["all"]
    assert accounts.teams_of(tmp_path, "alice") == ["all", "vision"]
    assert [accounts.may_enter(tmp_path, name) for name in ("alice", "dave", "root1")] == [True] * 3
    assert [accounts.may_enter(tmp_path, name) for name in ("eve", "*")] == [False] * 2


def test_our_own_sign_in_knows_whom_a_session_cannot_be_shared_with_and_another_does_not(tmp_path, monkeypatch):
    for name in ("API_URL", "API_TOKEN", "CLIENT_ID", "SERVICE_PREFIX", "BASE_URL", "SERVICE_NAME"):
        monkeypatch.setenv(f"JUPYTERHUB_{name}", "/")
    (tmp_path / "platform.yaml").write_text(initial_text([], "me"))
    accounts.create_link(tmp_path, "dave")
    parts = compose(read_settings(tmp_path, {}, port=0, identity="hub"))
    try:
        me = Principal("me", teams=("lab",))
        session = parts.sessions.save(me, SaveRequest(name="n", team="lab", parent=0, kernel="k", document="a" * 64))
        assert parts.sessions.share(me, session.session, ShareRequest(people=["dave"])).session.shared == ["dave"]
        with pytest.raises(CodedError, match="nobodyhere"):
            parts.sessions.share(me, session.session, ShareRequest(people=["dave", "nobodyhere"]))
        object.__setattr__(parts.platform.current, "authenticator", "github")
        parts.sessions.share(me, session.session, ShareRequest(people=["dave", "nobodyhere"]))
    finally:
        parts.close()
