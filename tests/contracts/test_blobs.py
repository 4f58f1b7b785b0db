"""What ports.BlobStores promises, for a folder and for S3: teams are apart, and nothing that is needed goes."""

import json
import os
import random

import pytest

from dure.ports import BlobStoreError
from dure.state.capturing import capture
from dure.state.store.blobs import BlobError, BlobMissing, digest_of, open_blobs

HOUR_S = 3600.0


@pytest.fixture
def stores(blob_store):
    return blob_store.stores


def client(stores, team="vision"):
    return open_blobs(stores.access(team))


# --- access and reading


def test_access_is_what_a_client_opens(stores):
    blobs = client(stores)
    digest = blobs.put(b"weights")
    assert blobs.get(digest) == b"weights"
    assert stores.read("vision", digest) == b"weights"
    json.dumps(dict(stores.access("vision")))


def test_a_blob_of_any_size_is_opened_as_a_file_that_was_verified(stores):
    large = random.Random(1).randbytes(2**20) * 9  # compressed where that pays
    digest = client(stores).put(large)
    with stores.open("vision", digest) as file:
        assert os.fstat(file.fileno()).st_size == len(large)
        assert file.read(16) == large[:16]
        assert file.read() == large[16:]
    assert stores.open("vision", digest_of(b"never written")) is None
    assert stores.open("speech", digest) is None


def test_an_absent_blob_reads_as_none(stores):
    assert stores.read("vision", digest_of(b"never written")) is None
    client(stores).put(b"something")
    assert stores.read("vision", digest_of(b"never written")) is None


def test_teams_do_not_see_each_other(stores):
    digest = client(stores, "vision").put(b"secret weights")
    client(stores, "speech").put(b"anything")
    assert stores.read("speech", digest) is None
    with pytest.raises(BlobError):
        client(stores, "speech").get(digest)


def test_access_stays_the_same_across_restarts(blob_store):
    before = blob_store.stores.access("vision")
    digest = client(blob_store.stores).put(b"weights")
    again = blob_store.reopen()
    assert again.access("vision") == before
    assert again.read("vision", digest) == b"weights"


@pytest.mark.parametrize("team", ["", ".", "..", "../vision", "a/b", "/etc", "a\\b", "*", "a\n", "-x", "a" * 64, "팀"])
def test_a_team_name_that_could_leave_its_prefix_is_refused(stores, team):
    for use in (
        lambda: stores.access(team),
        lambda: stores.read(team, digest_of(b"")),
        lambda: stores.collect({team: frozenset()}, 0.0),
    ):
        with pytest.raises(BlobStoreError, match="cannot be a team's name"):
            use()


@pytest.mark.parametrize("digest", ["", "..", "../../x", "ab" * 31, "AB" * 32, "ab" * 32 + "\n"])
def test_what_is_no_digest_is_refused(stores, digest):
    with pytest.raises(BlobStoreError, match="not a blob's digest"):
        stores.read("vision", digest)


# --- garbage collection


def test_what_is_kept_stays_and_the_rest_goes(stores):
    blobs = client(stores)
    kept, gone = blobs.put(b"kept"), blobs.put(b"gone")
    assert stores.collect({"vision": frozenset({kept})}, 0.0) == 1
    assert blobs.has(kept)
    assert not blobs.has(gone)


def test_young_blobs_stay_since_a_job_may_be_about_to_need_them(stores):
    digest = client(stores).put(b"captured just now")
    assert stores.collect({"vision": frozenset()}, HOUR_S) == 0
    assert client(stores).has(digest)


def test_teams_that_are_not_named_are_left_alone(stores):
    digest = client(stores, "speech").put(b"kept by not being asked about")
    client(stores, "vision").put(b"gone")
    assert stores.collect({"vision": frozenset()}, 0.0) == 1
    assert client(stores, "speech").has(digest)


def test_what_is_kept_for_one_team_does_not_keep_another_teams_blob(stores):
    digests = {team: client(stores, team).put(b"the same") for team in ("vision", "speech")}
    assert digests["vision"] == digests["speech"]
    assert stores.collect({"vision": frozenset(digests.values()), "speech": frozenset()}, 0.0) == 1
    assert client(stores, "vision").has(digests["vision"])


def test_a_snapshot_keeps_all_that_it_is_made_of(stores):
    blobs = client(stores)
    namespace = {"__name__": "__main__", "big": bytearray(b"w" * 200_000), "text": "x" * 300_000}
    snapshot = capture(namespace, ["big", "text"], blobs=blobs)
    manifest = snapshot.store(blobs)
    assert snapshot.references()
    rest = blobs.put(b"of no snapshot")
    assert stores.collect({"vision": frozenset({manifest})}, 0.0) == 1
    assert all(map(blobs.has, {manifest, *snapshot.references()}))
    assert not blobs.has(rest)


def test_manifests_keep_what_manifests_name_whatever_their_format(stores):
    blobs = client(stores)
    leaf = blobs.put(b"leaf")
    inner = blobs.put(json.dumps({"format": "of the next version", "parts": [[leaf]]}).encode())
    outer = blobs.put(json.dumps({"session": {"snapshot": inner}}).encode())
    assert stores.collect({"vision": frozenset({outer})}, 0.0) == 0
    assert all(map(blobs.has, {leaf, inner, outer}))


def test_digits_in_other_blobs_keep_nothing(stores):
    blobs = client(stores)
    leaf = blobs.put(b"leaf")
    text = blobs.put(f"a text with {leaf} in it".encode())
    assert stores.collect({"vision": frozenset({text})}, 0.0) == 1
    assert not blobs.has(leaf)


def test_a_needed_digest_that_is_not_there_stops_nothing(stores):
    blobs = client(stores)
    gone = blobs.put(b"gone")
    assert stores.collect({"vision": frozenset({digest_of(b"lost long ago")})}, 0.0) == 1
    with pytest.raises(BlobMissing):
        blobs.get(gone)


def test_collecting_nothing_is_fine(stores):
    assert stores.collect({}, 0.0) == 0
    assert stores.collect({"vision": frozenset()}, 0.0) == 0
    client(stores).put(b"x")
    assert stores.collect({"vision": frozenset()}, 0.0) == 1
    assert stores.collect({"vision": frozenset()}, 0.0) == 0
