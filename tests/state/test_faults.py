"""Whatever happens between two writes, a snapshot is whole or not there, and the next save mends what was left."""

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dure.state import BlobError, FolderBlobs, ManifestError, Snapshot, capture, open_blobs, restore, verify
from dure.state.store.s3blobs import S3Blobs
from dure.state.store.sealing import Seal
from tests.state.cutting import resized_meanwhile

KEY = bytes(range(32))
NOISE = np.random.default_rng(1).integers(0, 256, 600_000, "u1")
BEFORE: dict[str, Any] = {"a": NOISE[:200_000].copy(), "n": 1, "text": "line\n" * 20_000}
AFTER: dict[str, Any] = {
    "a": NOISE[200_000:400_000].copy(),
    "n": 2,
    "text": "other\n" * 20_000,
    "new": list(range(50_000)),
}


class Fault:
    """Lets `count` file system calls of a save pass, then does what `kind` says."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind = kind
        self.left = count
        self.replace = os.replace

    def strikes(self) -> bool:
        self.left -= 1
        return self.left == -1

    def install(self) -> None:
        opened, fault = Path.open, self

        def on_open(path, mode="r", *args, **kwargs):
            handle = opened(path, mode, *args, **kwargs)
            return handle if mode != "xb" else Torn(handle, fault)

        Path.open = on_open  # type: ignore[method-assign,assignment]
        for name in ("replace", "mkdir", "utime"):
            setattr(os, name, self.before(getattr(os, name)))

    def before(self, plain):
        def call(*args, **kwargs):
            if not self.strikes():
                return plain(*args, **kwargs)
            if self.kind == "killed":
                os._exit(9)
            if self.kind == "power lost" and plain is self.replace:
                Path(args[0]).write_bytes(Path(args[0]).read_bytes()[: Path(args[0]).stat().st_size // 2])
                plain(*args, **kwargs)  # the name reached the disk and the second half did not
                os._exit(9)
            if self.kind == "rename lost" and plain is self.replace:
                os._exit(9)
            raise OSError(errno.ENOSPC if self.kind == "disk full" else errno.EIO, self.kind)

        return call


class Torn:
    """An open file whose writes may stop in the middle."""

    def __init__(self, handle: Any, fault: Fault) -> None:
        self._handle = handle
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

    def __enter__(self):
        self._handle.__enter__()
        return self

    def __exit__(self, *error):
        return self._handle.__exit__(*error)

    def write(self, data):
        if self._fault.strikes():
            half = bytes(data)[: len(data) // 2]
            self._handle.write(half)
            self._handle.flush()
            if self._fault.kind in ("disk full", "input/output error"):
                raise OSError(errno.ENOSPC if self._fault.kind == "disk full" else errno.EIO, self._fault.kind)
            os._exit(9)
        return self._handle.write(data)


def save_under(fault, blobs, base):
    """Save AFTER in a child under the fault; return the manifest's digest where the save said that it is done."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            fault.install()
            digest = capture(dict(AFTER), base=base, blobs=blobs).store(blobs)
            os.write(writing, pickle.dumps((digest, fault.left < 0)))
        except Exception as error:
            os.write(writing, pickle.dumps((type(error).__name__, True)))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    assert said or fault.kind not in ("disk full", "input/output error")
    answered: tuple[str | None, bool] = pickle.loads(said) if said else (None, True)
    said_digest, struck = answered
    refused = said_digest in {"BlobError", "StoreAwayError"}  # one sentence, whatever it was
    assert refused or said_digest is None or len(said_digest) == 64
    return None if refused else said_digest, struck


def holds(snapshot, blobs, expected):
    scope: dict[str, Any] = {}
    assert restore(snapshot, blobs, into=scope).failed == {}
    assert {name: value for name, value in scope.items() if name != "__builtins__"}.keys() == expected.keys()
    assert all(np.array_equal(scope[name], value) for name, value in expected.items())


def manifests(blobs):
    for path in blobs.root.rglob("*"):
        if path.is_file() and len(path.name) == 64:
            try:
                yield Snapshot.from_json(blobs._seal.open(path.read_bytes(), path.name))
            except (ManifestError, BlobError, Exception):
                continue


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("kind", ["killed", "disk full", "input/output error", "rename lost", "power lost"])
def test_a_fault_before_any_write_leaves_the_old_snapshot_and_no_half_of_the_new(tmp_path, kind, key):
    struck = True
    count = 0
    while struck:
        blobs = FolderBlobs(tmp_path / str(count), Seal(key))
        base = capture(dict(BEFORE), blobs=blobs)
        before = base.store(blobs)
        digest, struck = save_under(Fault(kind, count), blobs, base)
        count += 1
        holds(Snapshot.load(before, blobs), blobs, BEFORE)
        if digest is not None:
            holds(Snapshot.load(digest, blobs), blobs, AFTER)
        if kind != "power lost":
            for snapshot in manifests(blobs):
                assert verify(snapshot, blobs) == []
        after = capture(dict(AFTER), base=base, blobs=blobs)  # the next save finds whatever was left and mends it
        holds(Snapshot.load(after.store(blobs), blobs), blobs, AFTER)
        assert count < 100
    assert count > 5


class Broken:
    """An object store that refuses its n-th request."""

    def __init__(self, store: Any, count: int) -> None:
        self._store = store
        self.left = count

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("put", "head", "get", "get_range"):
            return found

        def asked(*args, **kwargs):
            from obstore.exceptions import GenericError

            self.left -= 1
            if self.left == -1:
                raise GenericError("the connection was reset")
            return found(*args, **kwargs)

        return asked


@pytest.mark.s3
def test_an_object_store_that_refuses_any_request_leaves_the_old_snapshot(s3_prefix):
    struck = True
    count = 0
    while struck:
        blobs = open_blobs({**s3_prefix, "prefix": f"{s3_prefix['prefix']}/{count}"})
        assert isinstance(blobs, S3Blobs)
        base = capture(dict(BEFORE), blobs=blobs)
        before = base.store(blobs)
        plain = blobs._store
        broken = blobs._store = Broken(plain, count)  # type: ignore[assignment]
        try:
            capture(dict(AFTER), base=base, blobs=blobs).store(blobs)
            struck = broken.left < 0
        except BlobError as error:
            assert "the connection was reset" in str(error)  # noqa: PT017 - sometimes there is none
        blobs._store = plain
        count += 1
        holds(Snapshot.load(before, blobs), blobs, BEFORE)
        holds(Snapshot.load(capture(dict(AFTER), base=base, blobs=blobs).store(blobs), blobs), blobs, AFTER)
    assert count > 3


def test_verify_finds_every_damaged_blob(tmp_path):
    blobs = FolderBlobs(tmp_path)
    snapshot = capture(dict(AFTER), blobs=blobs)
    assert verify(snapshot, blobs) == []
    for digest in snapshot.references():
        path = blobs._file(digest)
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            torn = bytearray(whole)
            torn[place] ^= 4
            path.write_bytes(torn)
            assert len(verify(snapshot, blobs)) == 1
        path.unlink()
        assert len(verify(snapshot, blobs)) == 1
        path.write_bytes(whole)
    assert verify(snapshot, blobs) == []


def test_arrays_whose_size_a_thread_changes_meanwhile_are_named_or_whole(tmp_path):
    blobs = FolderBlobs(tmp_path)
    arrays = [np.arange(3.0) for _ in range(300)]
    scope: dict[str, Any] = {"x": [arrays, lambda: arrays]}  # a function, so that it is not in parts
    with resized_meanwhile(arrays):
        snapshots = [capture(scope, blobs=blobs) for _ in range(60)]
    for snapshot in snapshots:
        back: dict[str, Any] = {}
        assert not restore(snapshot, blobs, into=back).failed
        if snapshot.unsaved:
            assert "size another thread changes" in snapshot.unsaved["x"]
        else:
            assert len(back["x"][0]) == len(arrays)
