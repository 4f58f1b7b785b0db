"""Arrays of Python objects come back element for element, are the same bytes in every process, and no write to one is
missed, whatever the kernel remembers of their memory.
"""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.state import FolderBlobs, capture, changed, restore
from dure.state.memory import written
from dure.state.objects import elements
from tests.examples import examples

MANY = 140_000  # pointers: more than is watched
LABELS = np.array(["alpha", "beta", "gamma", None, float("nan"), 7, b"x", 2.5], dtype=object)


def labelled(size=MANY):
    return LABELS[np.random.default_rng(1).integers(0, len(LABELS), size)]


def back(value, blobs):
    scope: dict[str, Any] = {"__name__": "__main__"}
    assert restore(capture({"x": value}, blobs=blobs), blobs, into=scope).failed == {}
    return scope["x"]


@pytest.mark.parametrize(
    "made",
    [
        labelled,
        lambda: labelled(elements.MANY),
        lambda: labelled(elements.MANY - 1),
        lambda: np.asfortranarray(labelled().reshape(1000, 140)),
        lambda: labelled().reshape(1000, 140).transpose(),
        lambda: np.array([f"text {number % 300}" for number in range(MANY)], dtype=object),
        lambda: np.array(list(LABELS[:3]) * 100_000 + ["rare"], dtype=object),
        lambda: np.array(["a"] * 100_000 + [f"rare {number}" for number in range(100)], dtype=object),
        lambda: np.array([[1], [1]] * 4000 + [None], dtype=object)[:-1],
        lambda: np.full(10_000, None, dtype=object),
        lambda: np.array([pd.NA, pd.NaT, pd.Timestamp(0)] * 3000, dtype=object),
    ],
)
def test_an_array_of_objects_comes_back(tmp_path, made):
    array = made()
    found = back(array, FolderBlobs(tmp_path))
    assert (found.dtype, found.shape, found.flags.f_contiguous) == (array.dtype, array.shape, array.flags.f_contiguous)
    assert list(map(repr, found.ravel("K"))) == list(map(repr, array.ravel("K")))
    texts = [{id(item) for item in each.ravel("K") if isinstance(item, str)} for each in (found, array)]
    assert len(texts[0]) == len(texts[1])  # one object in many places is one object


def test_a_locked_array_a_view_and_a_column_come_back(tmp_path):
    blobs = FolderBlobs(tmp_path)
    array = labelled()
    array.flags.writeable = False
    frame = pd.DataFrame({"label": labelled(), "number": np.arange(MANY)})
    scope: dict[str, Any] = {"array": array, "part": array[5:9], "frame": frame, "text": frame["label"].astype(str)}
    again: dict[str, Any] = {}
    assert restore(capture(scope, blobs=blobs), blobs, into=again).failed == {}
    assert not again["array"].flags.writeable
    assert np.shares_memory(again["part"], again["array"])
    pd.testing.assert_frame_equal(again["frame"], frame)
    pd.testing.assert_series_equal(again["text"], scope["text"])
    assert again["text"].dtype == scope["text"].dtype


FRESH = """
import sys
from dure.state import FolderBlobs, Snapshot, changed, restore
blobs = FolderBlobs(sys.argv[1])
base = Snapshot.load(sys.argv[2], blobs)
scope = {'__name__': '__main__'}
restore(base, blobs, into=scope)
print(*changed(scope, base, blobs=blobs).changed)
scope['x'][17] = 'another'
print(*changed(scope, base, blobs=blobs).changed)
"""


def test_in_another_process_it_is_unchanged_until_it_is_changed(tmp_path):
    blobs = FolderBlobs(tmp_path)
    digest = capture({"x": labelled()}, blobs=blobs).store(blobs)
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(blobs.root), digest], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["", "x"]


def same(one, other):
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return all(type(a) is type(b) and (a == b or (a != a and b != b)) for a, b in pairs)  # noqa: PLR0124 - not a number


@settings(max_examples=examples(15))
@given(st.data())
def test_no_write_to_an_element_is_missed(tmp_path_factory, data):
    blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
    array = labelled()
    scope = {"array": array, "part": array[1000:135_000], "frame": pd.DataFrame({"s": labelled()})}
    base = capture(scope, blobs=blobs)
    kept = [array.copy(), scope["frame"]["s"].copy()]
    values = st.sampled_from([*LABELS, "alpha" + "", "new", 7.0, True, 1, ("t",), [1]])
    for _ in range(data.draw(st.integers(1, 4))):
        for _ in range(data.draw(st.integers(0, 3))):
            name, place = data.draw(st.sampled_from(sorted(scope))), data.draw(st.integers(0, 130_000))
            value = data.draw(values)
            match data.draw(st.sampled_from(["one", "some", "swap", "again"])):
                case "one" if name == "frame":
                    scope["frame"].iloc[place, 0] = value
                case "one":
                    scope[name][place : place + 1].fill(value)
                case "some":
                    array[place : place + 5000] = "filled"
                case "swap":
                    array[[place, place + 1]] = array[[place + 1, place]]
                case "again":
                    # a new object, often where the old one was
                    array[place] = float(place)
                    array[place] = float(place + 1)
        if data.draw(st.booleans()):
            watch = written.current()
            if watch is not None:
                watch[0].forget()
        told = changed(scope, base, blobs=blobs)
        base = capture(scope, base=base, blobs=blobs)
        again: dict[str, Any] = {}
        assert restore(base, blobs, into=again).failed == {}
        assert same(again["array"], array)
        assert same(again["frame"]["s"], scope["frame"]["s"])
        assert np.shares_memory(again["part"], again["array"])
        assert "array" in told.changed or same(array, kept[0])
        assert "frame" in told.changed or same(scope["frame"]["s"], kept[1])
        kept = [array.copy(), scope["frame"]["s"].copy()]


def test_what_is_remembered_of_an_array_goes_with_it(tmp_path):
    before = len(elements._known)
    array = labelled()
    capture({"array": array}, blobs=FolderBlobs(tmp_path))
    assert len(elements._known) == before + 1
    del array
    assert len(elements._known) == before
