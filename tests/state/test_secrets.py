"""Secrets stay out of a whole capture, wherever they hide; each is named with its path, and nothing else is lost."""

import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dure.state import FolderBlobs, capture, freeze, secrecy

TOKEN = "ghp_" + "a1B2" * 9
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijklmnop"


@dataclass
class Client:
    url: str = "https://example.org"
    password: str = "hunter22"
    inner: dict[str, Any] = field(default_factory=dict)


SECRETS = {
    "a dict under a deny-listed key": ({"db": {"host": "h", "password": "hunter2"}}, "x['db']['password']"),
    "a token in a list": (["a", TOKEN], "x[1]"),
    "a token in bytes in a tuple": ((1, (TOKEN.encode(),)), "x[1][0]"),
    "an attribute": (Client(), "x.password"),
    "a namespace in a dict": ({"c": SimpleNamespace(api_key="abc")}, "x['c'].api_key"),
    "a header": ({"headers": {"Authorization": "Bearer " + JWT}}, "x['headers']['Authorization']"),
    "a random token under its name": ({"token": "f81d4fae7dec11d0a765"}, "x['token']"),
    "a copy of the environment": (None, "x: a copy of the environment"),
    "a private key": ({"pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIE"}, "x['pem']"),
    "a set": ({TOKEN, "b"}, "x{…}"),
    "a key under a name in camel case": ({"dbPassword": "hunter2"}, "x['dbPassword']"),
    "an opaque bearer's header": ({"Authorization": "Bearer f81d4fae7dec11d0a765"}, "x['Authorization']"),
    "an address with a password": ({"url": "postgresql://kim:hunter2@db:5432/lab"}, "x['url']"),
    "a key of a map service": (["AIza" + "Sy1b" * 8 + "abc"], "x[0]"),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_value_with_a_secret_inside_is_named_with_the_path(tmp_path, kind):
    value, path = SECRETS[kind]
    if value is None:
        value = dict(os.environ)
    blobs = FolderBlobs(tmp_path)
    scope = {"x": value, "mine": [1, 2], "other": {"y": 2}}
    snapshot = capture(scope, blobs=blobs)
    assert snapshot.names == ("mine", "other")
    assert snapshot.unsaved["x"].startswith(path + (":" if ":" not in path else "")), snapshot.unsaved
    stored = snapshot.to_json() + b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (TOKEN, "hunter2", JWT, "f81d4fae7dec11d0a765", "MIIE"):
        assert secret.encode() not in stored
    assert capture(scope, ["x"], blobs=blobs).names == ("x",)
    assert freeze(scope, blobs=blobs).save().names == ("mine", "other")


NO_SECRETS = {
    "words under a key named token": [{"token": "hello", "tag": "NN"}, {"token": "world", "tag": "NN"}],
    "numbers": {"tokens": [1, 2, 3], "token_count": 5, "password_length": 8},
    "a text about passwords": "the password is asked for by getpass",
    "a column": pd.DataFrame({"password": ["a", "b"], "n": [1, 2]}),
    "an array of texts": np.array([TOKEN, "b"], dtype=object),
    "addresses": ["https://x.org:8080/a@b", "see https://kim:hunter2@x.org/ in the manual", "git@x.org:a/b.git"],
    "a schema": {"password": {"type": "string"}},
    "an empty one": {"password": "", "secret": None},
    "a tokenizer's settings": {"bos_token": "<s>", "eos_token": "</s>"},
}


@pytest.mark.parametrize("kind", NO_SECRETS)
def test_data_is_not_taken_for_a_secret(tmp_path, kind):
    snapshot = capture({"x": NO_SECRETS[kind]}, blobs=FolderBlobs(tmp_path))
    assert snapshot.unsaved == {}


def test_a_container_whose_name_says_secrets_is_left_out_and_one_of_rules_stays(tmp_path):
    scope = {
        "passwords": {"kim": "hunter2"},
        "api_keys": ["abc"],
        "openaiApiKey": "abc",
        "password_rules": {"must": "digits"},
        "passwords_seen": 5,
    }
    snapshot = capture(scope, blobs=FolderBlobs(tmp_path))
    assert snapshot.names == ("password_rules", "passwords_seen")
    assert snapshot.unsaved["passwords"].startswith("passwords['kim']: a secret")


def test_what_the_environment_has_under_a_secrets_name_is_found_wherever_it_stands(tmp_path, monkeypatch):
    blobs = FolderBlobs(tmp_path)
    scope = {
        "k": "correct-horse-battery",
        "options": {"pw": "correct-horse-battery"},
        "large": [f"word {number}" for number in range(20_000)] + ["in correct-horse-battery out"],
        "engine": ["postgres"],
        "path": str(tmp_path),
    }
    assert capture(scope, blobs=blobs).unsaved == {}
    monkeypatch.setenv("DB_PASSWORD", "correct-horse-battery")
    monkeypatch.setenv("POSTGRES_PASSWORD", "postgres")
    monkeypatch.setenv("API_KEY_FILE", str(tmp_path))
    snapshot = capture(scope, blobs=blobs)
    assert snapshot.names == ("engine", "path")
    assert snapshot.unsaved["k"].startswith("k: it holds the environment variable DB_PASSWORD")
    assert snapshot.unsaved["options"].startswith("options['pw']: a secret")
    assert snapshot.unsaved["large"].startswith("large[20000]: a secret")


def test_what_shares_an_object_with_a_secret_is_judged_by_itself(tmp_path):
    shared = [1, 2]
    scope = {"a": {"password": "hunter2", "list": shared}, "b": shared, "c": {"of": shared}}
    snapshot = capture(scope, blobs=FolderBlobs(tmp_path))
    assert snapshot.names == ("b", "c")
    assert list(snapshot.unsaved) == ["a"]


def test_what_getpass_gave_is_named_even_if_its_name_says_nothing(tmp_path):
    scope = {
        "In": ["", "from getpass import getpass\nlogin = getpass('Login: ')", f"use('{TOKEN}')", "x = 1"],
        "login": "hunter2",
        "x": 1,
    }
    snapshot = capture(scope, blobs=FolderBlobs(tmp_path), extras={"In": scope["In"]})
    assert snapshot.names == ("x",)
    assert snapshot.unsaved["login"].startswith("login: it was typed into getpass")
    assert snapshot.unsaved["In[2]"].startswith("In[2]: its text holds")
    assert TOKEN.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_secret_in_a_result_is_named_by_its_number(tmp_path):
    extras = {"Out[1]": {"password": "hunter2"}, "Out[2]": "fine"}
    snapshot = capture({"x": 1}, blobs=FolderBlobs(tmp_path), extras=extras)
    assert list(snapshot.unsaved) == ["Out[1]"]
    assert snapshot.unsaved["Out[1]"].startswith("Out[1]['password']")
    assert list(snapshot.extras) == ["Out[2]"]


def test_a_large_value_is_searched_once(tmp_path, monkeypatch):
    looked: list[str] = []
    plain = secrecy._inside

    def spy(name, value, **how):
        looked.append(name)
        return plain(name, value, **how)

    monkeypatch.setattr(secrecy, "_inside", spy)
    scope = {"words": [{"token": f"word{number}"} for number in range(20_000)]}
    blobs = FolderBlobs(tmp_path)
    for _ in range(3):
        assert capture(scope, blobs=blobs).names == ("words",)
    assert looked == sorted(set(looked))
    assert {name.partition("[")[0] for name in looked} == {"words"}
    scope["words"][5]["password"] = "hunter2"
    assert capture(scope, blobs=blobs).unsaved["words"].startswith("words[5]['password']")


def test_an_address_of_many_words_is_no_key_and_a_key_in_it_is(tmp_path):
    records = [{"n": n, "url": "https://x.org/a"} for n in range(10_000)]
    records[7]["url"] = "https://x.org/task-how-to-write-a-long-title-of-many-words-in-one-address"
    key = "sk-" + "a1B2" * 24
    snapshot = capture(
        {"records": records, "with_key": ["a", {"b": f"https://x.org/?k={key}", "c": key}]}, blobs=FolderBlobs(tmp_path)
    )
    assert "records" in snapshot.variables
    assert snapshot.unsaved["with_key"].startswith("with_key[1]['b']: a secret")


CELLS_WITH_SECRETS = (
    "password = 'correct horse battery'",
    "  SECRET_KEY: str = 'django-insecure-1234'",
    "import os\nos.environ['WANDB_API_KEY'] = '0123456789abcdef'",
    "login(token='abcdef0123456789abcd')",
    "config = {'api_key': '0123456789ab'}",
    "engine = create_engine('postgresql://kim:hunter2@db/lab')",
    "%env DB_PASSWORD=hunter2hunter2",
    "get_ipython().run_line_magic('env', 'DB_PASSWORD=hunter2hunter2')",
    "get_ipython().system('export HF_TOKEN=abcdef0123456789xx && ls')",
    "get_ipython().run_cell_magic('gpu', '', 'import os\\npassword = \\'hunter2hunter2\\'\\n')",
    "get_ipython().run_cell_magic('gpu', '', 'import os\\nos.environ[\"API_KEY\"] = \"hunter2hunter2\"\\n')",
)
CELLS_WITHOUT = (
    "token = 'hello there'",
    "tokens = {'token': 'the quick brown fox'}",
    "os.environ['API_TOKEN'] = getpass()",
    "password = getpass('Password: ')",
    "%env API_TOKEN={token}",
    "%env API_TOKEN=$token",
    "key = 'column_name1'",
    "df.rename(columns={'key': 'customer_id'})",
    "eos_token = '<|endoftext|>'",
    "assert password != os.getenv('DB_PASSWORD', 'postgres')",
)


@pytest.mark.parametrize("cell", CELLS_WITH_SECRETS)
def test_a_cell_that_writes_out_a_secret_is_left_out_of_the_history(cell):
    assert list(secrecy.history_secrets(["x = 1", cell])) == [1]
    assert "hunter2" not in secrecy.history_secrets([cell])[0]


@pytest.mark.parametrize("cell", CELLS_WITHOUT)
def test_a_cell_without_one_stays_in_the_history(cell):
    assert secrecy.history_secrets([cell]) == {}


@pytest.mark.parametrize("cell", CELLS_WITH_SECRETS[:7])
def test_code_is_masked_line_for_line(cell):
    code = f"def f():\n    return 1\n{cell}\nlast = '{TOKEN}'\n"
    shown = secrecy.masked(code)
    assert shown.splitlines()[-1] == "last = '…'"
    assert "…" in shown.splitlines()[-2]
    assert len(shown.splitlines()) == len(code.splitlines())
    assert secrecy.history_secrets([shown]) == {}


@pytest.mark.parametrize("cell", CELLS_WITHOUT)
def test_code_without_secrets_is_not_masked(cell):
    assert secrecy.masked(cell) == cell


def test_a_private_key_of_many_lines_is_in_no_code():
    assert secrecy.masked("pem = ('-----BEGIN RSA PRIVATE KEY-----\\n'\n'MIIE')") == ""
