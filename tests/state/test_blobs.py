"""Blobs are written once, read whole or not at all, and refusals say what to do."""

import base64
import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from dure.state import BlobError, BlobMissing, FolderBlobs, Snapshot, capture, changed, open_blobs, restore
from dure.state.store.blobs import StoreAwayError, write_errors


def stored(blobs, digest) -> Path:
    path = blobs.path(digest)
    assert path is not None
    return path


KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(
    params=[
        "folder",
        "folder with a key",
        pytest.param("s3", marks=pytest.mark.s3),
        pytest.param("s3 with a key", marks=pytest.mark.s3),
    ]
)
def blobs(request, tmp_path):
    """Each store in turn, opened from a BlobAccess."""
    sealed = {"key": KEY} if request.param.endswith("key") else {}
    if request.param.startswith("folder"):
        return open_blobs({"kind": "folder", "root": str(tmp_path / "team"), **sealed})
    return open_blobs({**request.getfixturevalue("s3_prefix"), **sealed})


def test_what_is_put_is_got(blobs):
    digest = blobs.put(b"hello")
    assert digest == blake3(b"hello").hexdigest()
    assert blobs.get(digest) == b"hello"
    assert blobs.has(digest)
    assert blobs.put(bytearray(b"hello")) == digest
    assert blobs.put(np.frombuffer(b"hello", "u1")) == digest


def test_an_empty_blob_is_a_blob(blobs):
    assert blobs.get(blobs.put(b"")) == b""


def test_files_go_in_and_out_whole(blobs, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(6_000_000))
    digest = blobs.put_file(source)
    assert blobs.get_file(digest, tmp_path / "back") == 6_000_000
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_missing_is_told(blobs):
    there, gone = blobs.put(b"there"), "0" * 64
    assert blobs.has(there)
    assert not blobs.has(gone)
    with pytest.raises(BlobMissing, match="save it again"):
        blobs.get(gone)


def test_a_digest_never_leaves_the_store(blobs):
    for bad in ("../../etc/passwd", "", "0" * 63, "A" * 64):
        with pytest.raises(BlobError, match="not a blob digest"):
            blobs.get(bad)


def test_a_namespace_goes_through_the_store(blobs):
    big = np.arange(1_500_000.0)
    scope: dict[str, Any] = {"big": big, "half": big[::2], "x": [1]}
    digest = capture(scope, blobs=blobs).store(blobs)
    base = Snapshot.load(digest, blobs)
    worker: dict[str, Any] = {}
    assert restore(base, blobs, into=worker).failed == {}
    assert np.array_equal(worker["big"], big)
    assert np.shares_memory(worker["half"], worker["big"])
    worker["half"][0] = -1
    found = changed(worker, base, blobs=blobs)
    assert found.changed == ("big", "half")
    assert found.snapshot is not None
    restore(found.snapshot, blobs, into=scope)
    assert scope["big"][0] == -1


@pytest.mark.s3
def test_a_prefix_is_a_wall_of_names(s3_access):
    one = open_blobs({**s3_access, "prefix": "teams/one"})
    two = open_blobs({**s3_access, "prefix": "teams/two"})
    digest = one.put(b"only one has this")
    assert one.has(digest)
    assert not two.has(digest)


@pytest.mark.s3
def test_a_refused_key_is_one_sentence(s3_access):
    blobs = open_blobs({**s3_access, "secret_access_key": "wrong"})
    with pytest.raises(BlobError, match="dure doctor"):
        blobs.put(b"x")


def test_the_folder_is_laid_out_as_told(tmp_path):
    blobs = FolderBlobs(tmp_path)
    digest = blobs.put(b"x")
    assert blobs.path(digest) == tmp_path / "blobs" / digest[:2] / digest
    assert blobs.path("0" * 64) is None


def test_a_damaged_blob_is_never_given_out(tmp_path):
    blobs = FolderBlobs(tmp_path)
    digest = blobs.put(b"hello")
    stored(blobs, digest).write_bytes(b"jello")
    with pytest.raises(BlobError, match="damaged"):
        blobs.get(digest)


def test_a_damaged_or_short_chunk_is_named_at_restore(tmp_path):
    blobs = FolderBlobs(tmp_path)
    snapshot = capture({"big": np.random.default_rng(1).random(1_000_000), "x": 1}, blobs=blobs)
    chunk = stored(blobs, snapshot.groups[0].buffers[0].chunks[1])
    whole = chunk.read_bytes()
    for bad, word in ((b"y" + whole[1:], "damaged"), (whole[:-1], "bytes where")):
        chunk.write_bytes(bad)
        scope: dict[str, Any] = {}
        report = restore(snapshot, blobs, into=scope)
        assert word in report.failed["big"]
        assert scope == {"x": 1}


def test_writing_to_a_restored_array_never_reaches_the_blob(tmp_path):
    blobs = FolderBlobs(tmp_path)
    snapshot = capture({"big": np.random.default_rng(1).random(1_000_000)}, blobs=blobs)
    scope: dict[str, Any] = {}
    restore(snapshot, blobs, into=scope)
    scope["big"][:] = 7
    for digest in snapshot.references():
        assert blobs.get(digest)


def test_permissions_follow_the_umask_and_the_folder(tmp_path):
    team = tmp_path / "team"
    team.mkdir()
    team.chmod(0o2770)
    before = os.umask(0o007)
    try:
        blobs = FolderBlobs(team)
        path = stored(blobs, blobs.put(b"x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o2770
    assert path.stat().st_gid == team.stat().st_gid


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which gives a real full disk")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    blobs = FolderBlobs(tmp_path)
    real = Path.open

    def on_a_full_disk(self, mode="r", *args, **kwargs):
        return real(Path("/dev/full"), "wb", buffering=0) if mode == "xb" else real(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with pytest.raises(BlobError, match=r"the disk is full: free some space, then try again\.$") as refused:
        blobs.put(b"x")
    assert isinstance(refused.value.__cause__, OSError)
    assert refused.value.__cause__.errno == errno.ENOSPC
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOTCONN])
def test_a_file_server_that_went_is_a_store_that_is_away(tmp_path, number):
    with (
        pytest.raises(StoreAwayError, match="its file server does not answer: mount it again, then try again"),
        write_errors(tmp_path),
    ):
        raise OSError(number, os.strerror(number))


def test_an_unknown_kind_of_store_is_refused():
    with pytest.raises(BlobError, match="kind: folder or kind: s3"):
        open_blobs({"kind": "ftp"})


def test_what_cannot_be_read_again_is_named_and_the_rest_is_looked_at(tmp_path):
    blobs = FolderBlobs(tmp_path)
    rng = np.random.default_rng(1)
    snapshot = capture({"big": rng.random(1_500_000), "other": rng.random(1_500_000)}, blobs=blobs)
    report = restore(snapshot, blobs, into={}, verify_bytes=0)
    stored(blobs, snapshot.groups[snapshot.variables["big"].group].buffers[0].chunks[0]).unlink()
    other = stored(blobs, snapshot.groups[snapshot.variables["other"].group].buffers[0].chunks[0])
    whole = other.read_bytes()
    other.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert set(report.verify_rest()) == {"big", "other"}
    assert not report.unverified


def test_a_restore_may_hash_the_rest_later_and_then_names_what_is_damaged(tmp_path):
    blobs = FolderBlobs(tmp_path)
    rng = np.random.default_rng(1)
    scope = {"big": rng.random(1_500_000), "other": rng.random(1_500_000)}
    snapshot = capture(scope, blobs=blobs)
    for damage in (False, True):
        if damage:
            chunk = stored(blobs, snapshot.groups[snapshot.variables["other"].group].buffers[0].chunks[1])
            whole = chunk.read_bytes()
            chunk.unlink()  # as another file: this one was found whole a moment ago
            chunk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        back: dict[str, Any] = {}
        report = restore(snapshot, blobs, into=back, verify_bytes=0)
        assert report.failed == {}
        assert len(report.unverified) == 6
        back["big"][0] = 5  # what the person writes meanwhile is no damage
        assert set(report.verify_rest()) == ({"other"} if damage else set())
        assert report.verify_rest() == {}
        assert "big" in changed(back, snapshot, blobs=blobs).changed
    assert restore(snapshot, blobs, into={}, verify_bytes=1 << 30).failed.keys() == {"other"}
