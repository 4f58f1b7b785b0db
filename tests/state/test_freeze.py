"""What is frozen is saved as it was, whatever runs meanwhile; what a session has besides variables comes back."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.colors
import matplotlib.rcsetup
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.state import (
    FolderBlobs,
    Snapshot,
    apply_extras,
    capture,
    capturing,
    freeze,
    process_extras,
    restore,
    result_extras,
    results_in,
)
from dure.state.libraries.settings import read_settings, take_settings
from dure.state.memory.forked import ForkedMemory
from tests.examples import examples

BYTES = 40 * 1024 * 1024 + 12_345  # more than is copied


@pytest.fixture
def blobs(tmp_path):
    return FolderBlobs(tmp_path)


def loaded(snapshot, blobs):
    scope: dict[str, Any] = {"__name__": "__main__"}
    report = restore(Snapshot.from_json(snapshot.to_json()), blobs, into=scope)
    assert report.failed == {}
    return scope


@pytest.mark.parametrize("copied", [0, 1 << 40], ids=["kept by a fork", "copied"])
def test_a_frozen_state_is_saved_as_it_was(blobs, monkeypatch, copied):
    monkeypatch.setattr(capturing, "COPIED_BYTES", copied)
    scope: dict[str, Any] = {"big": np.arange(BYTES // 8), "items": [1, 2], "text": bytearray(b"x" * 2_000_000)}
    scope["half"] = scope["big"][: BYTES // 16]
    was = scope["big"].copy()
    frozen = freeze(scope, blobs=blobs)
    scope["big"][:] = -1
    scope["items"].append(3)
    scope["text"] *= 3  # an exported buffer would forbid it
    again = loaded(frozen.save(), blobs)
    assert np.array_equal(again["big"], was)
    assert again["items"] == [1, 2]
    assert again["text"] == b"x" * 2_000_000
    assert np.shares_memory(again["big"], again["half"])


def test_memory_that_is_freed_meanwhile_is_saved_all_the_same(blobs):
    scope = {"big": np.full(BYTES, 7, "u1")}
    frozen = freeze(scope, blobs=blobs)
    del scope["big"]
    noise = [np.full(BYTES, number, "u1") for number in range(3)]
    assert loaded(frozen.save(), blobs)["big"].min() == 7
    assert len(noise) == 3


def test_a_thread_that_never_stops_writing_makes_no_damaged_blob(blobs):
    array = np.zeros(BYTES // 8)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            np.add(array, 1, out=array)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        base = None
        for _ in range(3):
            frozen = freeze({"array": array}, base=base, blobs=blobs)
            base = frozen.save()
            loaded(base, blobs)
            loaded(capture({"array": array}, base=base, blobs=blobs), blobs)
    finally:
        stop.set()
        thread.join()


def test_where_no_fork_is_possible_it_is_saved_at_once(blobs, monkeypatch):
    def refused():
        raise OSError(12, "no memory")

    monkeypatch.setattr(os, "fork", refused)
    scope = {"big": np.ones(BYTES, "u1")}
    frozen = freeze(scope, blobs=blobs)
    scope["big"][:] = 2
    assert loaded(frozen.save(), blobs)["big"].max() == 1


def test_the_keeper_leaves_with_its_parent_and_takes_no_signals():
    held = ForkedMemory.take()
    if held is None:
        pytest.skip("this system does not let a process read its child's memory")
    pid = held._pid
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    held.close()
    held.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_a_frozen_state_is_saved_once(blobs):
    frozen = freeze({"a": 1}, blobs=blobs)
    frozen.save()
    with pytest.raises(RuntimeError, match="freeze the namespace again"):
        frozen.save()


@settings(max_examples=examples(15))
@given(st.data())
def test_no_write_is_missed_between_frozen_states(tmp_path_factory, data):
    blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
    scope = {"big": np.zeros(BYTES, "u1"), "other": np.zeros(5_000_000, "u1")}
    scope["part"] = scope["big"][7_000_001:30_000_000]
    waiting = None
    base = None
    for _ in range(data.draw(st.integers(2, 6))):
        for _ in range(data.draw(st.integers(0, 3))):
            name = data.draw(st.sampled_from(sorted(scope)))
            start = data.draw(st.integers(0, scope[name].size - 1))
            scope[name][start : start + data.draw(st.sampled_from([1, 5000, 20_000_000]))] += 1
        frozen = freeze(scope, base=base, blobs=blobs)
        waiting = {name: array.copy() for name, array in scope.items()}
        if data.draw(st.booleans()):  # the next cell writes before the save
            scope["part"][data.draw(st.integers(0, 22_000_000)) :: 4096] += 1
        base = frozen.save()
        again = loaded(base, blobs)
        for name, array in waiting.items():
            assert np.array_equal(again[name], array)


def test_random_states_and_the_folder_come_back(blobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.random.rand()  # noqa: NPY002 - loads it, where no test has
    snapshot = Snapshot.from_json(capture({"a": 1}, blobs=blobs, extras=process_extras()).to_json())
    first = random.random(), np.random.rand()  # noqa: NPY002 - its state is the subject
    monkeypatch.chdir("/")
    assert snapshot.names == ("a",)
    scope: dict[str, Any] = {}
    report = restore(snapshot, blobs, into=scope)
    assert scope.keys() - {"__builtins__"} == {"a"}
    assert apply_extras(report.extras) == {}
    assert (random.random(), np.random.rand()) == first  # noqa: NPY002
    assert Path.cwd() == tmp_path
    assert apply_extras({"cwd": "/nowhere/at/all"}) == {"cwd": "the folder /nowhere/at/all is not here"}


DRAWN = """
import sys
import matplotlib.colors
from dure.state import FolderBlobs, Snapshot
from dure.state.extras import apply_settings
blobs = FolderBlobs(sys.argv[1])
before = matplotlib.rcParams["backend"]
assert apply_settings(Snapshot.load(sys.argv[2], blobs), blobs, {})[1] == {}
assert matplotlib.rcParams["lines.linewidth"] == 7 and matplotlib.rcParams["backend"] == before
assert matplotlib.colors.to_rgb("r") == (0.5, 0.25, 0)
assert matplotlib.rcParams["axes.prop_cycle"].by_key() == {"color": ["r", "k"]}
"""


def test_how_matplotlib_draws_comes_back(blobs, tmp_path):
    named = mpl.colors.get_named_colors_mapping()
    red = named["r"]
    with mpl.rc_context():
        assert "matplotlib" not in process_extras().get("settings", {})
        mpl.rcParams.update({"lines.linewidth": 7, "axes.prop_cycle": mpl.rcsetup.cycler(color=["r", "k"])})
        named["r"] = (0.5, 0.25, 0)
        digest = capture({"a": 1}, blobs=blobs, extras=process_extras()).store(blobs)
        named["r"] = red
    done = subprocess.run(
        [sys.executable, "-c", DRAWN, str(blobs.root), digest], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = take_settings({"matplotlib": ({"no.such": 1}, [])})
    assert told == {"matplotlib: no.such": "this matplotlib does not know no.such"}
    assert read_settings()["matplotlib"] == {"no.such": 1}, "it goes to the processes that come next"
    take_settings({"matplotlib": ({}, ["no.such"])})


def test_results_come_back_and_what_cannot_is_named_by_itself(blobs):
    items = [1, 2]
    scope = {"items": items, "Out": {1: items, 2: 1, 3: (i for i in items)}, "_": items}
    extras = {"In": ["", "items", "1"], **result_extras(scope)}
    snapshot = Snapshot.from_json(capture(scope, blobs=blobs, extras=extras).to_json())
    assert snapshot.names == ("items",)
    assert list(snapshot.unsaved) == ["Out[3]"]
    assert snapshot.unsaved["Out[3]"].startswith("Out[3]: a generator")
    again: dict[str, Any] = {}
    report = restore(snapshot, blobs, into=again)
    found = results_in(report.extras)
    assert found is not None
    assert found == ({1: [1, 2], 2: 1}, {"_": [1, 2]})
    assert found[0][1] is again["items"] is found[1]["_"]
    assert report.extras["In"] == extras["In"]
    assert again == {"items": [1, 2]}
    assert snapshot.without({"items"}).extras.keys() == snapshot.extras.keys()
    assert results_in({"In": []}) is None
