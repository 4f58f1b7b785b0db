"""A restore that goes on aside: what is asked for comes first, nothing is lost, damaged bytes are never saved."""

import secrets
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from dure.state import FolderBlobs, Snapshot, capture, restore
from dure.state.store.blobs import BlobError
from dure.state.store.sealing import Seal

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
    later.run()
    assert not later.install().failed, "it was told"
    later.ask(["view"])
    assert later.wait(["view"], 60)
    assert later.install().failed.keys() == {"array", "view", "instance"}, "who asks again is told"
    for path, content in kept.items():
        path.write_bytes(content)
    later.ask(["view"])
    assert later.wait(["view"], 60)
    later.install()
    assert is_whole(into)


@pytest.mark.parametrize("ended", [True, False], ids=["it has ended", "it goes on"])
def test_a_load_that_fails_as_somebody_asks_is_tried_again(blobs, monkeypatch, ended):
    into, later = opened(capture(a_namespace(), blobs=blobs), blobs)
    read, go_on, whole, plain = threading.Event(), threading.Event(), threading.Event(), FolderBlobs.get_into

    def get_into(self, digest, memory):
        if whole.is_set():
            return plain(self, digest, memory)
        read.set()
        assert go_on.wait(60)
        raise BlobError("it was away for a moment")

    monkeypatch.setattr(FolderBlobs, "get_into", get_into)
    rest = threading.Thread(target=later.run)
    rest.start()
    assert read.wait(60)
    if ended:
        go_on.set()
        rest.join(60)
    whole.set()
    later.ask(["view"])
    go_on.set()
    assert later.wait(["view"], 60)
    assert not later.install().failed
    rest.join(60)
    later.install()
    assert is_whole(into)


def test_a_value_whose_code_needs_another_that_is_coming_stays_and_is_tried_again(blobs):
    space: dict[str, Any] = {"__name__": "__main__", "big": np.random.default_rng(0).random(500_000)}
    exec("class Needs:\n    def __setstate__(self, state):\n        self.size = state['more'] + big.size", space)
    space["needs"] = space["Needs"]()
    space["needs"].more, space["needs"].rest = 1, bytes(range(256)) * 100
    snapshot = capture(space, blobs=blobs)
    del space["big"]  # the class lives on, and looks where it was made
    into, later = opened(snapshot, blobs)
    later.ask(["needs"])
    assert later.wait(["needs"], 60)
    assert later.install().failed.keys() == {"needs"}
    assert later.rest(into).names == ("big", "needs"), "a save keeps it"
    later.run()
    later.install()
    space["big"] = into["big"]
    later.ask(["needs"])
    assert later.wait(["needs"], 60)
    later.install()
    assert into["needs"].size == 500_001


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


def held_back(blobs, monkeypatch):
    """Let the store give nothing until `give` is set; return that and the list of the blobs that it gave."""
    give, given, plain = threading.Event(), [], FolderBlobs.get_into

    def get_into(self, digest, memory):
        give.wait(60)
        given.append(digest)
        return plain(self, digest, memory)

    monkeypatch.setattr(FolderBlobs, "get_into", get_into)
    return give, given


def test_nothing_is_read_twice_nor_what_is_not_wanted_any_more(blobs, monkeypatch):
    space: dict[str, Any] = {"__name__": "__main__"}
    space |= {name: np.random.default_rng(size).random(size) for name, size in (("a", 700_000), ("b", 800_000))}
    space["c"] = np.random.default_rng(3).random(900_000)
    snapshot = capture(space, blobs=blobs)
    into, later = opened(snapshot, blobs)
    give, given = held_back(blobs, monkeypatch)
    rest = threading.Thread(target=later.run)
    rest.start()  # held at `a`
    later.ask(["b"])
    into["c"] = 1
    later.install()
    give.set()
    assert later.wait(["b"], 60)
    later.install()
    rest.join(60)
    later.install()
    assert (into["a"].size, into["b"].size, into["c"], later.names) == (700_000, 800_000, 1, frozenset())
    wanted = {name: snapshot.groups[snapshot.variables[name].group] for name in "ab"}
    assert sorted(given) == sorted(chunk for group in wanted.values() for run in group.buffers for chunk in run.chunks)


ENDS = """
import secrets, sys, threading
import numpy as np
from dure.state import FolderBlobs, capture, restore
from dure.state.store.sealing import Seal
blobs = FolderBlobs(sys.argv[1], Seal(secrets.token_bytes(32)))
snapshot = capture({"__name__": "__main__", "big": np.random.default_rng(0).random(4_000_000)}, blobs=blobs)
asked = threading.Event()
FolderBlobs.get_into = lambda *_: asked.set() or threading.Event().wait()
later = restore(snapshot, blobs, {"__name__": "__main__"}, at_once_bytes=4096).later
threading.Thread(target=later.run, daemon=True).start()
later.ask(["big"])
assert asked.wait(60)
print("ends")
"""


def test_a_process_ends_though_the_store_never_answers(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ENDS, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "ends\n"


def test_a_value_that_ends_the_thread_that_loads_it_is_named_and_holds_nobody_up(blobs):
    space: dict[str, Any] = {"__name__": "__main__", "other": np.random.default_rng(0).random(500_000)}
    exec("class Stops:\n    def __setstate__(self, state): raise SystemExit('no more')", space)
    space["stops"] = space["Stops"]()
    space["stops"].data = bytes(range(256)) * 100
    into, later = opened(capture(space, blobs=blobs), blobs)
    later.run()
    assert later.wait(["stops", "other"], 60)
    arrived = later.install()
    assert arrived.failed == {"stops": "SystemExit: no more"}
    assert into["other"].size == 500_000
    assert not later.names
