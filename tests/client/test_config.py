"""Where the platform is: environment before file, languages, and a file that only its owner reads."""

import stat

import pytest
from pydantic import ValidationError

from dure.client import DureError, Login, find_login, language
from dure.client.config import config_path, forget_login, save_login
from dure.client.streams import Sent, sse
from dure.wire.messages import JobRequest, Me


@pytest.fixture
def home(tmp_path):
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}


def test_the_environment_comes_first(home):
    save_login("http://file/", 'a "quoted" \\ tok\x7fen\n두레', home)
    assert find_login(home) == Login("http://file", 'a "quoted" \\ tok\x7fen\n두레', "file")
    inside = home | {"DURE_URL": "http://hub/services/dure/", "JUPYTERHUB_API_TOKEN": "hub"}
    assert find_login(inside) == Login("http://hub/services/dure", "hub", "environment")
    assert find_login(inside | {"DURE_TOKEN": "own"}).token == "own"
    assert find_login(home | {"DURE_URL": "http://file"}).source == "file"
    assert find_login(home | {"DURE_URL": "http://elsewhere"}) == Login("http://elsewhere", "", "environment")


def test_the_token_is_for_its_owner_only(home):
    path = save_login("http://x", "secret", home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret" not in repr(find_login(home))
    assert forget_login(home)
    assert not forget_login(home)
    with pytest.raises(DureError) as caught:
        find_login(home)
    assert caught.value.code == "not_configured"


@pytest.mark.parametrize("text", ["nonsense", 'url = "x"', 'token = "x"', "\xff"])
def test_a_broken_file_is_named(home, text):
    config_path(home).parent.mkdir(parents=True)
    config_path(home).write_bytes(text.encode("latin-1"))
    with pytest.raises(DureError, match=r"config\.toml cannot be used"):
        find_login(home)


def test_languages():
    assert language({"LANG": "ko_KR.UTF-8"}) == "ko"
    assert language({"LANG": "ko_KR.UTF-8", "LC_ALL": "C"}) == "en"
    assert language({"LANG": "C", "DURE_LANG": "ko"}) == "ko"
    assert language({}) == "en"


def test_events_are_cut_at_newlines_only_however_they_arrive():
    text = (
        ': hi\n\nevent: output\nid: 1.1\ndata: {"a":"\u2028\x85x"}\n\ndata: plain\r\n\r\nevent: torn\ndata: x\n'
    ).encode()
    expected = [Sent("output", "1.1", '{"a":"\u2028\x85x"}'), Sent("message", "", "plain")]
    assert list(sse(iter([text]))) == expected
    assert list(sse(bytes([byte]) for byte in text)) == expected


def test_a_newer_servers_answer_is_understood_and_a_misspelt_request_is_not():
    assert Me.model_validate_json('{"name": "a", "admin": false, "teams": [], "new": 1}').name == "a"
    with pytest.raises(ValidationError):
        JobRequest.model_validate({"kind": "cell", "name": "n", "payload": {}, "teir": "gold"})
