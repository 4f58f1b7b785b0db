"""What the tests of values that are cut into parts have in common."""

import contextlib
import datetime as dt
import gc
import random
import sys
import threading

import numpy as np
import pytest

from dure.state import freeze, restore
from dure.state.cut import alone, columns, parts, plain, remembered, weights
from dure.state.manifest import Snapshot
from dure.state.memory import layout, written

needs_marks = pytest.mark.skipif(
    written.current() is None or not layout.WORKS, reason="this kernel, sandbox or Python has no asynchronous marks"
)


def records(count=600):
    return [
        {"id": n, "name": f"record {n}", "tags": [n, n + 1], "at": dt.date(2026, 1, 1), "x": n / 2}
        for n in range(count)
    ]


def small_parts(monkeypatch, weight=128):
    """Cut what has a few hundred objects, forget what other tests left, and take no error of ours for a race."""
    monkeypatch.setattr(parts, "UNCUT", (plain.NotPlainError, RecursionError))
    monkeypatch.setattr(weights, "PART_WEIGHT", weight)
    monkeypatch.setattr(weights, "LARGE_WEIGHT", weight)
    monkeypatch.setattr(alone, "HARMLESS", {*alone.HARMLESS, "execnet.gateway_base"})
    monkeypatch.setattr(alone, "HANDLING", {*alone.HANDLING, "pytest_timeout"})
    forget()


def forget():
    remembered.roots.clear()
    remembered.uncut.clear()
    remembered.branches.clear()
    remembered.whole.clear()
    columns._columns.clear()


def save(scope, base, blobs):
    with freeze(scope, base=base, blobs=blobs) as frozen:
        return frozen.save()


def loaded(snapshot, blobs):
    again: dict = {}
    report = restore(Snapshot.from_json(snapshot.to_json()), blobs, into=again)
    assert report.failed == {}
    return again


def group_of(name, snapshot):
    return snapshot.groups[snapshot.variables[name].group]


def check_stories(scope, chance, blobs, act, look):
    """Change a scope by random acts and save it, some times, and compare what comes back; return the last snapshot."""
    forget()
    base = None
    for _ in range(6):
        for _ in range(chance.choice((0, 1, 3, 20))):
            if chance.random() < 0.03:
                gc.collect()
            act()
        base = save(scope, base, blobs)
        assert look(loaded(base, blobs)) == look(scope)
    return base


@contextlib.contextmanager
def resized_meanwhile(arrays):
    """A thread changes the arrays' sizes as often as Python lets it run."""
    stop = threading.Event()

    def work():
        chance = random.Random(1)
        while not stop.is_set():
            np.ndarray.resize(chance.choice(arrays), chance.randrange(1, 50), refcheck=False)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
