"""Keys for S3: each team's reach its own prefix only, are kept privately, and are made anew when they stop working."""

import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from obstore.store import S3Store

from dure.adapters.blobs import S3BlobStores, _S3Team
from dure.ports import BlobStoreError
from dure.state.store import s3blobs
from dure.state.store.blobs import digest_of, open_blobs
from dure.state.store.sealing import Seal

pytestmark = pytest.mark.s3
DEADLINE_S = 90


@pytest.fixture
def stores(s3_settings, tmp_path):
    return S3BlobStores(s3_settings, tmp_path)


def raw(access):
    """The bucket as somebody with these keys and no good intentions sees it."""
    return S3Store(
        access["bucket"], endpoint=access["endpoint"], region=access["region"],
        access_key_id=access["access_key_id"], secret_access_key=access["secret_access_key"],
        client_options={"allow_http": True}, retry_config={"max_retries": 0},
    )  # fmt: skip


def test_a_teams_keys_reach_no_other_teams_prefix(stores):
    ours, theirs = stores.access("vision"), stores.access("speech")
    assert ours["access_key_id"] != theirs["access_key_id"]
    digest = open_blobs(theirs).put(b"secret weights")
    key = f"{theirs['prefix']}/blobs/{digest[:2]}/{digest}"
    thief = raw(ours)
    for attempt in (
        lambda: thief.get(key),
        lambda: thief.head(key),
        lambda: thief.put(key, b"forged"),
        lambda: thief.delete(key),
        lambda: thief.put(f"{theirs['prefix']}x/blobs/aa/x", b"beside"),
        lambda: thief.put("anywhere", b"else"),
        lambda: list(thief.list(f"{theirs['prefix']}/")),
        lambda: list(thief.list()),
    ):
        with pytest.raises((PermissionError, Exception), match=r"(?i)denied|403|forbidden"):
            attempt()
    assert stores.read("speech", digest) == b"secret weights"


def test_a_team_whose_name_begins_like_anothers_is_apart_too(stores):
    short, long = stores.access("vision"), stores.access("vision-2")
    digest = open_blobs(long).put(b"of vision-2")
    with pytest.raises(Exception, match=r"(?i)denied|403|forbidden"):
        raw(short).get(f"{long['prefix']}/blobs/{digest[:2]}/{digest}")


def test_a_team_cannot_delete_even_its_own_blobs(stores):
    access = stores.access("vision")
    digest = open_blobs(access).put(b"kept")
    with pytest.raises(Exception, match=r"(?i)denied|403|forbidden"):
        raw(access).delete(f"{access['prefix']}/blobs/{digest[:2]}/{digest}")
    assert stores.read("vision", digest) == b"kept"


def test_keys_lie_in_a_private_file(stores, tmp_path):
    stores.access("vision")
    assert (tmp_path / "s3-keys.json").stat().st_mode & 0o777 == 0o600


def test_keys_that_stopped_working_are_made_anew(stores, s3_settings, tmp_path):
    before = stores.access("vision")
    file = tmp_path / "s3-keys.json"
    document = json.loads(file.read_text())
    document["teams"]["vision"]["secret_access_key"] = "revoked"
    file.write_text(json.dumps(document))
    after = S3BlobStores(s3_settings, tmp_path).access("vision")
    assert after["access_key_id"] != before["access_key_id"]
    assert open_blobs(after).get(open_blobs(after).put(b"works")) == b"works"
    with pytest.raises(Exception, match=r"(?i)denied|403|forbidden|does not exist"):
        raw(before).put(f"{before['prefix']}/blobs/aa/x", b"with the old keys")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"place": 1}'])
def test_a_damaged_key_file_costs_nothing_but_new_keys(stores, s3_settings, tmp_path, content):
    (tmp_path / "s3-keys.json").write_text(content)
    access = stores.access("vision")
    assert open_blobs(access).put(b"works") == digest_of(b"works")


def test_static_keys_are_the_administrators(s3_settings, tmp_path):
    access = S3BlobStores(replace(s3_settings, static_keys=True), tmp_path).access("vision")
    assert access["access_key_id"] == s3_settings.access_key_id
    assert access["prefix"] == f"{s3_settings.prefix}/vision"
    assert not (tmp_path / "s3-keys.json").exists()


def test_a_server_that_is_not_there_is_told(s3_settings, tmp_path):
    stores = S3BlobStores(replace(s3_settings, endpoint="http://127.0.0.1:9"), tmp_path)
    with pytest.raises(BlobStoreError, match=r"127\.0\.0\.1:9 .*refused.*dure doctor"):
        stores.access("vision")


def test_a_damaged_object_is_told_not_returned(stores, s3_access, s3_settings):
    digest = digest_of(b"right")
    raw(s3_access).put(f"{s3_settings.prefix}/vision/blobs/{digest[:2]}/{digest}", b"wrong")
    with pytest.raises(BlobStoreError, match="is damaged"):
        stores.read("vision", digest)


def test_a_put_between_listing_and_deleting_saves_the_object(stores, s3_settings, monkeypatch):
    monkeypatch.setattr(s3blobs, "FRESH_S", 0.0)  # as if the blob had been put long ago
    access = stores.access("vision")
    blobs = open_blobs(access)
    digest = blobs.put(b"put again")
    team = _S3Team(stores._store, access["prefix"], Seal())
    deadline = time.monotonic() + DEADLINE_S
    while not (ages := dict(team.ages())) or ages[digest] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert blobs.claim([digest]) == {digest}
    blobs.put(b"put again")
    assert team.remove(digest, 2.0) is False
    assert blobs.get(digest) == b"put again"


STS_ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIA{n}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>2001-09-09T02:46:40Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
STS_REFUSAL = """<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>DurationSeconds exceeds
the MaxSessionDuration set for this role.</Message></Error></ErrorResponse>"""


@pytest.fixture
def sts():
    """An STS that gives sessions of an hour at most and writes down what it was asked."""
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            query = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            asked.append({name: values[0] for name, values in query.items()})
            refused = int(asked[-1]["DurationSeconds"]) > 3600
            body = (STS_REFUSAL if refused else STS_ANSWER.format(n=len(asked))).encode()
            self.send_response(400 if refused else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


class HandClock:
    def __init__(self, now):
        self.time = now

    def now(self):
        return self.time


def test_a_role_gives_temporary_keys_for_the_teams_prefix_and_in_time_new_ones(sts, s3_settings, tmp_path):
    endpoint, asked = sts
    clock = HandClock(1_000_000_000.0)  # the session ends 3600 s later
    settings = replace(s3_settings, endpoint=endpoint, prefix="dure", role_arn="arn:aws:iam::1:role/dure")
    stores = S3BlobStores(settings, tmp_path, clock)
    access = stores.access("vision")
    assert (access["access_key_id"], access["session_token"]) == ("ASIA2", "token")
    assert [query["DurationSeconds"] for query in asked] == ["43200", "3600"]
    policy = json.loads(asked[-1]["Policy"])
    assert policy["Statement"][0]["Resource"] == [f"arn:aws:s3:::{settings.bucket}/dure/vision/*"]
    clock.time += 1000.0
    assert stores.access("vision") == access
    clock.time += 10_000.0
    assert stores.access("vision")["access_key_id"] == "ASIA4"
