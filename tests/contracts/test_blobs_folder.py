"""The folder as blob store: damage, permissions, and collecting while somebody puts the same blobs again."""

import json
import os
import threading
import time

import pytest

from dure.adapters.blobs import FolderBlobStores, _beyond, _FolderTeam
from dure.ports import BlobStoreError
from dure.state.store.blobs import digest_of, open_blobs
from dure.state.store.sealing import _HEADER, CHUNK_BYTES, HEADER_BYTES, MARK, Seal

HOUR_S = 3600.0


@pytest.fixture
def stores(tmp_path):
    return FolderBlobStores(tmp_path / "blobs")


def client(stores):
    return open_blobs(stores.access("vision"))


def put_old(blobs, data, age_s=2 * HOUR_S):
    digest = blobs.put(data)
    then = time.time() - age_s
    os.utime(blobs.path(digest), (then, then))
    return digest


def test_a_teams_folder_is_for_its_owner(stores, tmp_path):
    client(stores).put(b"x")
    assert (tmp_path / "blobs" / "vision").stat().st_mode & 0o777 == 0o700


def test_a_damaged_blob_is_told_not_returned(stores):
    blobs = client(stores)
    digest = blobs.put(b"right")
    blobs.path(digest).write_bytes(b"wrong")
    with pytest.raises(BlobStoreError, match="is damaged"):
        stores.read("vision", digest)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "blobs").write_text("a file where a folder should be")
    with pytest.raises(BlobStoreError, match="cannot be used"):
        FolderBlobStores(tmp_path / "blobs").access("vision")


def test_putting_or_claiming_an_old_blob_saves_it_from_collection(stores):
    blobs = client(stores)
    put, claimed, neither = (put_old(blobs, data) for data in (b"put again", b"claimed", b"neither"))
    blobs.put(b"put again")
    assert blobs.claim([claimed]) == set()
    assert stores.collect({"vision": frozenset()}, HOUR_S) == 1
    assert all(map(blobs.has, [put, claimed]))
    assert not blobs.has(neither)


def test_a_claim_between_listing_and_deleting_saves_the_blob(stores, tmp_path):
    blobs = client(stores)
    digest = put_old(blobs, b"claimed late")
    team = _FolderTeam(tmp_path / "blobs" / "vision", Seal())
    assert [name for name, age_s in team.ages() if age_s > HOUR_S] == [digest]
    blobs.claim([digest])
    assert team.remove(digest, HOUR_S) is False
    assert blobs.get(digest) == b"claimed late"


def test_a_put_while_the_blob_is_being_deleted_puts_it_anew(stores, tmp_path, monkeypatch):
    blobs = client(stores)
    digest = put_old(blobs, b"put at the last moment")
    team = _FolderTeam(tmp_path / "blobs" / "vision", Seal())
    now = team._now

    def put_meanwhile():
        assert blobs.claim([digest]) == {digest}
        blobs.put(b"put at the last moment")
        return now()

    monkeypatch.setattr(team, "_now", put_meanwhile)
    assert team.remove(digest, HOUR_S) is True
    assert blobs.get(digest) == b"put at the last moment"


@pytest.mark.parametrize("age_s", [0.0, 2 * HOUR_S])
def test_a_collection_killed_in_the_middle_is_judged_again(stores, age_s):
    blobs = client(stores)
    digest = put_old(blobs, b"taken aside", age_s)
    path = blobs.path(digest)
    path.rename(path.with_name(f".{digest}.collected"))
    assert stores.collect({"vision": frozenset()}, HOUR_S) == (1 if age_s else 0)
    assert blobs.has(digest) is (age_s == 0.0)


def test_what_killed_writers_left_goes_after_a_day(stores):
    blobs = client(stores)
    path = blobs.path(put_old(blobs, b"x"))
    partials = [path.with_name(f".{path.name}.123.abc"), path.with_name(f".{path.name}.124.abc")]
    for partial, age_s in zip(partials, (HOUR_S, 25 * HOUR_S), strict=True):
        partial.write_bytes(b"half")
        os.utime(partial, (time.time() - age_s,) * 2)
    stores.collect({"vision": frozenset()}, HOUR_S)
    assert [partial.exists() for partial in partials] == [True, False]


def test_collecting_while_others_put_the_same_old_blobs_loses_none(stores):
    blobs = client(stores)
    contents = [f"blob {n}".encode() for n in range(150)]
    for _ in range(5):
        for data in contents:
            put_old(blobs, data)
        done = threading.Event()

        def put_all(done=done):
            for data in contents:
                if blobs.claim([digest_of(data)]):
                    blobs.put(data)
            done.set()

        putting = threading.Thread(target=put_all)
        putting.start()
        while not done.is_set():
            stores.collect({"vision": frozenset()}, HOUR_S)
        putting.join()
        stores.collect({"vision": frozenset()}, HOUR_S)
        assert all(blobs.has(digest_of(data)) for data in contents)


def test_a_huge_file_that_says_it_is_a_small_manifest_is_never_read(stores):
    blobs = client(stores)
    digest, lying = blobs.put(b'{"names": "nothing"}'), digest_of(b"of the lying one")
    path = blobs.root / "blobs" / lying[:2] / lying
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(_HEADER.pack(MARK, 1, 0, 1, CHUNK_BYTES, 100, b"12345678"))
    os.truncate(path, 2**42)  # a hole: whoever reads it all runs out of memory
    assert stores.collect({"vision": frozenset({lying, digest})}, 0.0) == 0
    with pytest.raises(BlobStoreError, match="has more than"):
        stores.read("vision", lying, 1000)
    os.truncate(path, 0)
    path.write_bytes(_HEADER.pack(MARK, 1, 0, 1, CHUNK_BYTES, 2**40, b"12345678"))
    with pytest.raises(BlobStoreError, match="has more than"):
        stores.read("vision", lying, 1000)
    assert stores.read("vision", digest, 20) == b'{"names": "nothing"}'
    with pytest.raises(BlobStoreError, match="has more than"):
        stores.read("vision", digest, 19)


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_no_sealed_blob_is_longer_than_what_counts_as_sound(key):
    for size in (0, 1, 4095, 4096, CHUNK_BYTES, 2 * CHUNK_BYTES + 1):
        data = os.urandom(size)
        sealed = b"".join(Seal(key).frames(memoryview(data), size, digest_of(data)))
        assert not _beyond(sealed[:HEADER_BYTES], len(sealed), size)


def test_a_manifest_that_is_damaged_in_one_team_keeps_its_blobs_in_another(stores):
    speech = open_blobs(stores.access("speech"))
    leaf = put_old(speech, b"leaf")
    manifest = json.dumps({"leaf": leaf}).encode()
    digest = put_old(speech, manifest)
    put_old(client(stores), manifest)
    path = client(stores).path(digest)
    assert path is not None
    path.write_bytes(b"no brace any more")
    client(stores).put(b"garbage")
    stores.collect({"vision": frozenset({digest}), "speech": frozenset({digest})}, 0.0)
    assert speech.has(leaf)
