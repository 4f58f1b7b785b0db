"""The platform's blob key: read only where it is safe and whole, another for every team, and shown nowhere."""

import base64
import json
import os
from pathlib import Path

import pytest

from dure.adapters.blob_key import BlobKey
from dure.adapters.blobs import FolderBlobStores
from dure.ports import BlobStoreError
from dure.settings import read_settings
from dure.state.store.blobs import BlobError, open_blobs
from dure.wire.messages import BlobAccess

SECRET = bytes(range(32))


def written(folder: Path, text: bytes, mode: int = 0o600) -> Path:
    path = folder / "blob.key"
    path.write_bytes(text)
    path.chmod(mode)
    return path


def test_a_key_file_is_read_and_every_team_gets_a_key_of_its_own(tmp_path):
    key = BlobKey.read(written(tmp_path, base64.b64encode(SECRET) + b"\n"))
    keys = {team: key.access(team)["key"] for team in ("vision", "speech")}
    assert len({*keys.values(), base64.b64encode(SECRET).decode()}) == 3
    assert BlobKey(SECRET).access("vision") == key.access("vision")
    assert BlobKey().access("vision") == {}


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        (base64.b64encode(SECRET), 0o640, "Type: chmod 600"),
        (b"not base64!", 0o600, "not 32 bytes in base64"),
        (base64.b64encode(SECRET[1:]), 0o600, "not 32 bytes in base64"),
    ],
)
def test_a_key_file_that_is_not_safe_or_whole_is_refused(tmp_path, text, mode, says):
    with pytest.raises(BlobStoreError, match=says):
        BlobKey.read(written(tmp_path, text, mode))


def test_a_key_file_that_is_not_there_tells_how_to_make_one_and_the_line_works(tmp_path):
    path = tmp_path / "blob.key"
    with pytest.raises(BlobStoreError, match="To make a new one type: ") as told:
        BlobKey.read(path)
    assert os.system(str(told.value).split("type: ")[1]) == 0
    assert BlobKey.read(path).access("vision")


def test_the_setting_names_the_file(tmp_path):
    found = read_settings(tmp_path, {"DURE_BLOB_KEY_FILE": str(tmp_path / "blob.key")}, port=1)
    assert found.blob_key_file == tmp_path / "blob.key"
    assert read_settings(tmp_path, {}, port=1).blob_key_file is None


def test_the_key_reaches_clients_and_no_text(tmp_path):
    stores = FolderBlobStores(tmp_path, key=BlobKey(SECRET))
    access = BlobAccess(**stores.access("vision"))
    assert access.key is not None
    assert access.key not in repr(access) + str(access) + repr(stores) + repr(BlobKey(SECRET))
    digest = open_blobs(json.loads(access.model_dump_json(exclude_none=True))).put(b"x" * 9000)
    assert stores.read("vision", digest) == b"x" * 9000
    opened = stores.open("vision", digest)
    assert opened is not None
    with opened as file:
        assert file.read() == b"x" * 9000


def test_a_wrong_key_is_one_sentence_and_collects_nothing_that_is_needed(tmp_path):
    stores = FolderBlobStores(tmp_path, key=BlobKey(SECRET))
    digest = open_blobs(stores.access("vision")).put(b'{"a": "manifest"}')
    wrong = FolderBlobStores(tmp_path, key=BlobKey(SECRET[::-1]))
    assert wrong.read("vision", digest) is None
    with pytest.raises(BlobError, match="never written with this team's key"):
        open_blobs(wrong.access("vision")).get(digest)
    for other in (wrong, FolderBlobStores(tmp_path)):
        with pytest.raises(BlobStoreError, match="put that key back"):
            other.collect({"vision": frozenset({digest})}, 0.0)
    assert stores.collect({"vision": frozenset({digest})}, 0.0) == 0
    assert stores.read("vision", digest) == b'{"a": "manifest"}'


def test_blobs_of_the_time_before_the_key_are_kept_and_collected_like_others(tmp_path):
    before = FolderBlobStores(tmp_path)
    old = open_blobs(before.access("vision"))
    leaf, gone = old.put(b"leaf"), old.put(b"gone")
    manifest = old.put(json.dumps({"parts": [leaf]}).encode())
    stores = FolderBlobStores(tmp_path, key=BlobKey(SECRET))
    assert stores.collect({"vision": frozenset({manifest})}, 0.0) == 1
    blobs = open_blobs(stores.access("vision"))
    assert blobs.has(leaf)
    assert not blobs.has(gone)
    assert stores.read("vision", manifest) is not None
