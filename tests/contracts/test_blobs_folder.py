"""The folder as blob store: damage, permissions, and collecting while somebody puts the same blobs again."""

import os
import threading
import time

import pytest

from dure.adapters.blobs import FolderBlobStores, _FolderTeam
from dure.ports import BlobStoreError
from dure.state.blobs import digest_of, open_blobs
from dure.state.sealing import Seal

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
    assert not blobs.missing([put, claimed])
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
        assert blobs.missing([digest_of(data) for data in contents]) == set()
