"""A node's own files of blobs: mapped instead of fetched, bounded, apart for each store; and hashed once in a while."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dure.state import Blobs, capture, open_blobs, restore
from dure.state.store import verified
from dure.state.store.blobs import digest_of
from dure.worker.cache import NodeBlobs, node_blobs


class Far:
    """A store without files here, as S3 is, that counts what is fetched."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.fetched: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def path(self, _: str) -> None:
        return None

    def get(self, digest: str) -> bytes:
        self.fetched.append(digest)
        return self._blobs.get(digest)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return open_blobs({"kind": "folder", "root": str(tmp_path / "blobs")})


def test_what_was_written_here_is_not_fetched(blobs: Blobs, tmp_path: Path):
    far: Any = Far(blobs)
    near: Any = NodeBlobs(far, tmp_path / "cache")
    array = np.random.default_rng(1).random(1_500_000)
    snapshot = capture({"array": array}, ["array"], blobs=near)
    found = restore(snapshot, near, into={"__name__": "__main__"})
    assert np.array_equal(found.values["array"], array)
    assert far.fetched == []
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_what_was_read_once_is_mapped_then(blobs: Blobs, tmp_path: Path):
    far: Any = Far(blobs)
    array = np.random.default_rng(1).random(1_500_000)
    snapshot = capture({"array": array}, ["array"], blobs=blobs)
    for expected in (3, 3):
        near: Any = NodeBlobs(far, tmp_path / "cache")
        found = restore(snapshot, near, into={"__name__": "__main__"})
        assert np.array_equal(found.values["array"], array)
        assert len(far.fetched) == expected
    found.values["array"][:] = 0  # a private mapping: the files stay what they are
    for file in (tmp_path / "cache").iterdir():
        assert digest_of(file.read_bytes()) == file.name


def test_a_damaged_file_is_fetched_anew(blobs: Blobs, tmp_path: Path):
    far: Any = Far(blobs)
    digest = blobs.put(b"content" * 1000)
    near = NodeBlobs(far, tmp_path / "cache")
    assert near.get(digest) == b"content" * 1000
    (tmp_path / "cache" / digest).write_bytes(b"other")
    assert near.get(digest) == b"content" * 1000
    assert len(far.fetched) == 2


def test_what_was_not_used_for_longest_goes_first(blobs: Blobs, tmp_path: Path):
    far: Any = Far(blobs)
    near = NodeBlobs(far, tmp_path / "cache", max_bytes=3500)
    digests = [blobs.put(bytes([number]) * 1000) for number in range(4)]
    for age, digest in enumerate(digests[:3]):
        near.get(digest)
        os.utime(tmp_path / "cache" / digest, (age + 1, age + 1))
    near.path(digests[0])  # used just now
    near.get(digests[3])
    assert {file.name for file in (tmp_path / "cache").iterdir()} == {digests[0], digests[2], digests[3]}


def test_teams_and_nodes_are_apart_and_nothing_encrypted_is_kept(tmp_path: Path):
    def folder(root: str, node: str) -> Path:
        found: Any = node_blobs({"kind": "folder", "root": root}, node, tmp_path)
        return Path(found._folder)

    assert len({folder("/a", "n1"), folder("/b", "n1"), folder("/a", "n2")}) == 3
    key = "A" * 43 + "="
    assert not isinstance(node_blobs({"kind": "folder", "root": "/a", "key": key}, "n1", tmp_path), NodeBlobs)


def test_a_file_that_was_just_hashed_is_not_hashed_again_and_another_is(blobs: Blobs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verified, "_table", [])
    array = np.random.default_rng(2).random(600_000)
    snapshot = capture({"array": array}, ["array"], blobs=blobs)
    chunk = next(iter(snapshot.references()))
    path = blobs.path(chunk)
    assert path is not None
    assert not verified.known(path, chunk)
    verified.share()
    assert not verified.known(path, chunk)
    restore(snapshot, blobs, into={"__name__": "__main__"})
    assert verified.known(path, chunk)
    assert not verified.known(path, "0" * 64)
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[:-1] + b"!")
    other.replace(path)
    found = restore(snapshot, blobs, into={"__name__": "__main__"})
    assert "damaged" in found.failed["array"]
