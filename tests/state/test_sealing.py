"""Blobs at rest: compressed where it pays, encrypted where the team has a key, and found whole or not at all."""

import base64
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dure.state import BlobError, BlobMissing, FolderBlobs, Snapshot, capture, changed, open_blobs, restore, verify
from dure.state.store import sealing
from dure.state.store.sealing import CHUNK_BYTES, MARK, Seal, SealError, may_be_manifest, sealed_size

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def opened(folder, key=None):
    return open_blobs(
        {"kind": "folder", "root": str(folder), **({"key": base64.b64encode(key).decode()} if key else {})}
    )


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"{}" * 4000, os.urandom(70_000), bytes(5_000_000), os.urandom(100) * 90_000, MARK + b"x" * 9000],
    ids=["empty", "a byte", "text", "noise", "zeros", "two chunks", "the mark itself"],
)
def test_what_is_sealed_opens_to_the_same_bytes(tmp_path, key, content):
    blobs = opened(tmp_path / "store", key)
    digest = blobs.put(content)
    assert blobs.get(digest) == content
    assert blobs.get_file(digest, tmp_path / "out") == len(content)
    assert (tmp_path / "out").read_bytes() == content
    (tmp_path / "in").write_bytes(content[::-1])
    assert blobs.get(blobs.put_file(tmp_path / "in")) == content[::-1]


def test_what_compresses_takes_less_room_and_what_does_not_stays_as_it_is(tmp_path):
    blobs = opened(tmp_path)
    table = blobs.put(b"".join(b"line %d\n" % number for number in range(200_000)))
    noise = blobs.put(os.urandom(200_000))
    by_name = {path.name: path for path in files(tmp_path)}
    assert by_name[table].stat().st_size < len(blobs.get(table)) / 3
    assert blobs.path(table) is None
    assert blobs.path(noise) == by_name[noise]
    assert by_name[noise].stat().st_size == 200_000


def test_large_memory_lies_plain_to_be_mapped_unless_it_nearly_vanishes(tmp_path):
    blobs = opened(tmp_path)
    scope: dict[str, Any] = {"steps": np.arange(1_000_000.0), "zeros": np.zeros(1_000_000)}
    snapshot = capture({**scope, "texts": ["the same text"] * 90_000}, blobs=blobs)
    plain = {
        name: {
            blobs.path(chunk) is not None
            for run in group.buffers or group.parts or (group.stream,)
            for chunk in run.chunks
        }
        for group in snapshot.groups
        for name in group.names
    }
    assert plain == {"steps": {True}, "zeros": {False}, "texts": {False}}
    again: dict[str, Any] = {}
    assert restore(snapshot, blobs, into=again, verify_bytes=0).failed == {}
    assert np.array_equal(again["steps"], scope["steps"])
    assert np.array_equal(again["zeros"], scope["zeros"])


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_a_namespace_of_both_kinds_comes_back(tmp_path, key):
    blobs = opened(tmp_path, key)
    rng = np.random.default_rng(1)
    mixed = np.concatenate([np.zeros(CHUNK_BYTES // 8), rng.random(CHUNK_BYTES // 8), np.ones(CHUNK_BYTES // 8 + 99)])
    scope: dict[str, Any] = {"mixed": mixed, "part": mixed[5:9], "frame": pd.DataFrame({"t": ["a", "b"] * 50_000})}
    snapshot = capture(scope, blobs=blobs)
    assert capture(scope, base=snapshot, blobs=blobs) == snapshot
    again: dict[str, Any] = {}
    assert restore(snapshot, blobs, into=again).failed == {}
    assert np.array_equal(again["mixed"], mixed)
    assert np.shares_memory(again["mixed"], again["part"])
    assert again["frame"].equals(scope["frame"])
    assert changed(again, snapshot, blobs=blobs).changed == ()
    again["part"][0] = 3
    assert changed(again, snapshot, blobs=blobs).changed == ("mixed", "part")
    assert verify(snapshot, blobs) == []


def test_nothing_at_rest_tells_what_it_is(tmp_path):
    blobs = opened(tmp_path, KEY)
    secret = b"the very words of a patient " * 4000
    digest = blobs.put(secret)
    snapshot = capture({"notes": secret, "n": 1}, blobs=blobs)
    manifest = snapshot.store(blobs)
    for path in files(tmp_path):
        content = path.read_bytes()
        assert b"patient" not in content
        assert b"notes" not in content
        assert path.name not in {digest, manifest, *snapshot.references()}
        assert digest.encode() not in content
    assert blobs.put(secret) == digest
    assert len(files(tmp_path)) == len({digest, manifest, *snapshot.references()})  # within a team equal bytes are one


def test_another_teams_key_opens_nothing_and_finds_nothing(tmp_path):
    mine = opened(tmp_path, KEY)
    digest = mine.put(b"x" * 9000)
    other = opened(tmp_path, OTHER)
    assert not other.has(digest)
    with pytest.raises(BlobMissing, match="never written with this team's key"):
        other.get(digest)
    stolen = next(path for path in files(tmp_path))
    name = Seal(OTHER).name(digest)
    target = tmp_path / "blobs" / name[:2] / name
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(stolen.read_bytes())
    with pytest.raises(BlobError, match=r"cannot be opened: it does not open with this team's key: .*\.$"):
        other.get(digest)
    plain = tmp_path / "blobs" / digest[:2] / digest
    plain.parent.mkdir(exist_ok=True)
    stolen.rename(plain)
    with pytest.raises(BlobError, match="it is encrypted and no key was given"):
        opened(tmp_path).get(digest)


def test_what_was_written_before_the_team_had_a_key_is_still_read(tmp_path):
    before = opened(tmp_path)
    snapshot = capture({"a": np.random.default_rng(1).random(300_000), "b": bytes(50_000)}, blobs=before)
    manifest = snapshot.store(before)
    blobs = opened(tmp_path, KEY)
    scope: dict[str, Any] = {}
    assert restore(Snapshot.load(manifest, blobs), blobs, into=scope).failed == {}
    assert blobs.claim(snapshot.references()) == set(snapshot.references())  # and put anew, encrypted


@pytest.mark.parametrize("key", ["short", base64.b64encode(b"x" * 31).decode()])
def test_a_key_that_is_none_is_one_sentence(tmp_path, key):
    with pytest.raises(BlobError, match="ask the administrator for a valid key"):
        open_blobs({"kind": "folder", "root": str(tmp_path), "key": key})


def test_the_key_shows_nowhere(tmp_path):
    blobs = opened(tmp_path, KEY)
    assert base64.b64encode(KEY).decode() not in repr(blobs) + str(vars(blobs))
    assert KEY not in b"".join(path.read_bytes() for path in files(tmp_path))


@pytest.mark.parametrize("key", [None, KEY], ids=["compressed", "encrypted"])
def test_every_flipped_bit_and_every_cut_is_found(tmp_path, key):
    blobs = opened(tmp_path, key)
    content = b"".join(b"row %d\n" % (number % 97) for number in range(3000))
    digest = blobs.put(content)
    path = next(path for path in files(tmp_path))
    sealed = path.read_bytes()
    assert sealed.startswith(MARK)
    for bit in range(len(sealed) * 8):
        torn = bytearray(sealed)
        torn[bit // 8] ^= 1 << bit % 8
        path.write_bytes(torn)
        with pytest.raises(BlobError):
            blobs.get(digest)
    for size in range(0, len(sealed), 7):
        path.write_bytes(sealed[:size])
        with pytest.raises(BlobError):
            blobs.get(digest)


def test_a_frame_that_lies_about_its_size_is_not_expanded():
    header = sealing._HEADER.pack(MARK, 1, 0, 0, 4096, 4096, bytes(8))
    body = sealing._compressed(bytes(CHUNK_BYTES))
    assert len(body) < 4096
    body = sealing._Checksum.encrypt(b"", body, sealing._bound(header, "0" * 64, 0))
    with pytest.raises(SealError, match="missing"):
        Seal().open(header + sealing._LENGTH.pack(len(body)) + body, "0" * 64)


def test_what_may_be_a_manifest_is_known_without_opening_it():
    for key in (None, KEY):
        seal = Seal(key)
        for content, expected in ((b"{" + b"a" * 9000, True), (b"a" * 9000, False)):
            packed = seal.pack(memoryview(content), "0" * 64)
            assert packed is not None
            assert may_be_manifest(packed[:32]) is expected
            assert sealed_size(packed[:32]) == len(content)
    assert may_be_manifest(b"{}")
    assert not may_be_manifest(b"")
    assert FolderBlobs("/nowhere").path("0" * 64) is None
