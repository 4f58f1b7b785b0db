"""`*` among a team's members, and names at the door."""

from dure.hub import accounts


def test_everyone_is_in_a_team_with_a_star_and_a_star_lets_nobody_in(tmp_path):
    accounts.write_teams(tmp_path, {"all": ["*"], "vision": ["alice"]}, ["root1"])
    accounts.create_link(tmp_path, "dave")
    assert accounts.teams_of(tmp_path, "dave") == ["all"]
    assert accounts.teams_of(tmp_path, "alice") == ["all", "vision"]
    assert [accounts.may_enter(tmp_path, name) for name in ("alice", "dave", "root1")] == [True] * 3
    assert [accounts.may_enter(tmp_path, name) for name in ("eve", "*")] == [False] * 2
