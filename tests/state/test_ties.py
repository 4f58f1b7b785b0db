"""What objects hold that their own way of being pickled copies or leaves out: it stays theirs, and what is their
class's own matter stays so.
"""

from typing import Any

import pytest

from dure.state import FolderBlobs, capture, restore

FORGETTING = """
class Forgetting:
    def __getstate__(self): return {}
"""


def _come_back(source, tmp_path):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(source, scope)
    blobs = FolderBlobs(tmp_path)
    snapshot = capture(scope, blobs=blobs)
    again: dict[str, Any] = {"__name__": "__main__"}
    assert restore(snapshot, blobs, into=again).failed == {}
    return snapshot, again


def test_thousands_of_objects_keep_what_they_share(tmp_path):
    cell = (
        "\nheld = [[number] for number in range(5_000)]\nx = []\nfor one in held:\n"
        "    x.append(Forgetting())\n    x[-1].held = one\n"
    )
    snapshot, again = _come_back(FORGETTING + cell, tmp_path)
    assert snapshot.unsaved == {}
    assert all(one.held is held for one, held in zip(again["x"], again["held"], strict=True))


def test_what_nobody_else_has_is_left_to_the_class(tmp_path):
    snapshot, again = _come_back(
        FORGETTING + "\nimport threading\nx = Forgetting()\nx.lock = threading.Lock()\nx.seen = [1]", tmp_path
    )
    assert snapshot.unsaved == {}
    assert vars(again["x"]) == {}


def test_what_is_equal_by_value_or_a_modules_own_may_be_left_out(tmp_path):
    cell = (
        "\nimport fractions, string, threading\ny = fractions.Fraction(1, 3)\nx = Forgetting()\nx.y = y\n"
        "x.names = vars(string)\nx.lock = threading.Lock()\n"
    )
    snapshot, again = _come_back(FORGETTING + cell, tmp_path)
    assert snapshot.unsaved == {}
    assert vars(again["x"]) == {}


@pytest.mark.parametrize(
    "inside",
    [
        "class Inside:\n    @property\n    def __class__(self): raise RuntimeError('outside of a context')",
        "class Inside(dict):\n    def __contains__(self, name): raise RuntimeError('asked')",
        "def inside(): pass\ninside.__module__ = []\nInside = lambda: inside",
    ],
)
def test_what_raises_when_it_is_asked_costs_no_other_variable(inside, tmp_path):
    cell = f"{FORGETTING}{inside}\nx = Forgetting()\nx.inside = Inside()\nx.deeper = [Inside()]\ny = [3]"
    _, again = _come_back(cell, tmp_path)
    assert again["y"] == [3]


def test_a_save_of_the_same_says_the_same(tmp_path):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(FORGETTING + "\ny = [1]\nx = Forgetting()\nx.y = y", scope)
    blobs = FolderBlobs(tmp_path)
    first = capture(scope, blobs=blobs)
    assert [group.stream.digest for group in capture(scope, blobs=blobs).groups] == [
        group.stream.digest for group in first.groups
    ]
