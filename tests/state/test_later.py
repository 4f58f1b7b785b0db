"""A restore that goes on aside: what is asked for comes first, nothing is lost, damaged bytes are never saved."""

import secrets
from typing import Any

import numpy as np
import pytest

from dure.state import FolderBlobs, Snapshot, capture, restore
from dure.state.sealing import Seal

NAMES = ("array", "view", "table", "instance", "number")


def a_namespace():
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("class Point:\n    def __init__(self, x): self.x = x", space)
    array = np.random.default_rng(0).random(1_500_000)
    return space | {
        "array": array,
        "view": array[7:],
        "table": {number: str(number) for number in range(50_000)},
        "instance": space["Point"](array),
        "number": 3,
    }


@pytest.fixture
def blobs(tmp_path):
    return FolderBlobs(tmp_path, Seal(secrets.token_bytes(32)))


def is_whole(space):
    return (
        np.shares_memory(space["array"], space["view"])
        and space["instance"].x is space["array"]
        and type(space["instance"]) is space["Point"]
        and len(space["table"]) == 50_000
        and space["number"] == 3
    )


def opened(snapshot, blobs, **into):
    into = {"__name__": "__main__", **into}
    report = restore(snapshot, blobs, into, at_once_bytes=4096)
    assert report.later is not None
    return into, report.later


def test_what_is_asked_for_comes_and_the_rest_follows(blobs):
    into, later = opened(capture(a_namespace(), blobs=blobs), blobs)
    assert later.names == {"array", "view", "instance", "table"}
    assert into["number"] == 3
    later.ask(["table"])
    assert later.wait(["table"], 60)
    assert "table" not in into, "nothing comes but between two cells"
    assert later.install().values.keys() == {"table"}
    later.run()
    assert later.install().values.keys() == {"array", "view", "instance"}
    assert not later.names
    assert is_whole(into)


def test_a_save_meanwhile_has_all_and_what_was_bound_counts(blobs):
    first = capture(a_namespace(), blobs=blobs)
    into, later = opened(first, blobs)
    into["table"] = "new"
    kept = later.rest(into).merged(capture(into, base=first, blobs=blobs))
    assert Snapshot.from_json(kept.to_json()) == kept
    report = restore(kept, blobs)
    assert report.values.pop("table") == "new"
    assert is_whole(report.values | {"table": range(50_000)})
    later.run()
    later.install()
    assert into["table"] == "new"
    del into["table"]
    later.install()
    assert "table" not in into, "what was bound and deleted does not come back"


def test_a_blob_that_is_gone_is_named_stays_and_is_tried_again(blobs, tmp_path):
    snapshot = capture(a_namespace(), blobs=blobs)
    files = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.stat().st_size > 3_000_000]
    into, later = opened(snapshot, blobs)
    kept = {path: path.read_bytes() for path in files}
    for path in files:
        path.unlink()
    later.run()
    arrived = later.install()
    assert arrived.failed.keys() == {"array", "view", "instance"}
    assert "removed" in arrived.failed["array"]
    assert later.coming == frozenset()
    assert later.rest(into).names == ("array", "instance", "view")
    for path, content in kept.items():
        path.write_bytes(content)
    later.ask(["view"])
    assert later.wait(["view"], 60)
    later.install()
    assert is_whole(into)


def test_functions_reach_what_is_coming(blobs):
    space: dict[str, Any] = {"__name__": "__main__", "big": list(range(50_000))}
    exec("import functools\nhook = functools.partial(lambda: len(big))", space)
    into, later = opened(capture(space, blobs=blobs), blobs)
    assert later.names == {"big"}
    assert later.reached(["hook"]) == {"big"}
    assert later.reached(["functools"]) == set()
    later.run()
    later.install()
    assert into["hook"]() == 50_000


def test_damaged_bytes_that_were_mapped_are_in_no_snapshot(tmp_path):
    blobs = FolderBlobs(tmp_path)
    snapshot = capture(a_namespace(), blobs=blobs)
    into: dict[str, Any] = {"__name__": "__main__"}
    report = restore(snapshot, blobs, into, verify_bytes=0)
    (file, *_) = [
        path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.stat().st_size > 4_000_000
    ]
    content = bytearray(file.read_bytes())
    content[99] ^= 1
    file.write_bytes(content)  # in place: a disk that lies
    assert report.verify_rest().keys() == {"array", "view", "instance"}
    into["derived"] = into["array"][:100]
    into["array"][0] = 5.0  # so that its chunk would be hashed anew, as it is now
    later = capture(into, base=snapshot, blobs=blobs)
    assert not {"array", "view", "instance", "derived"} & set(later.names)
    assert "damaged" in later.unsaved["array"]
    assert "damaged" in later.unsaved["derived"]
    assert "table" in later.names
