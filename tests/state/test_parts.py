"""Large plain values are cut into parts; what was not written is not looked at, and nothing that was is missed."""

import functools
import os
import signal
import sys
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from dure.state import FolderBlobs, capture, changed, freeze
from dure.state.cut import plain, remembered, weights
from tests.state.cutting import group_of, loaded, needs_marks, records, save

pytestmark = pytest.mark.usefixtures("small_parts")


@needs_marks
@pytest.mark.usefixtures("pages_of_its_own")
def test_only_the_part_that_was_changed_is_pickled_and_written_again(blobs, pickled, monkeypatch):
    monkeypatch.setattr(weights, "PART_WEIGHT", 8192)  # parts of many pages, most of which hold nothing else
    scope = {"data": records(40_000), "by_day": {f"day {n}": [n, {"of": n}] for n in range(40_000)}, "k": 1}
    first = save(scope, None, blobs)
    many = len(pickled)
    assert many == len(group_of("data", first).parts) + len(group_of("by_day", first).parts) > 60
    second = save(scope, first, blobs)
    pickled.clear()
    scope["k"] = 2
    second = save(scope, second, blobs)
    assert len(pickled) < many / 4
    pickled.clear()
    scope["data"][30_000]["tags"].append("new")
    third = save(scope, second, blobs)
    assert 1 <= len(pickled) < many / 4
    assert len(third.references() - second.references()) == 1
    for _ in range(2):
        pickled.clear()
        sum(each["id"] for each in scope["data"])  # counts a reference to each
        assert save(scope, third, blobs).references() == third.references()
    assert len(pickled) < many / 4  # all pages were written again, and hold what they held
    assert loaded(third, blobs) == scope


@needs_marks
@pytest.mark.parametrize("kind", ["thread", "signal", "partial", "profile"])
def test_nothing_is_remembered_while_the_persons_own_code_may_run(blobs, kind):
    scope = {"data": records()}
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, args=(60,))
    before = signal.getsignal(signal.SIGUSR1)
    if kind == "thread":
        thread.start()
    elif kind == "signal":
        signal.signal(signal.SIGUSR1, eval("lambda *_: None", {"__name__": "__main__"}))
    elif kind == "partial":
        signal.signal(signal.SIGUSR1, functools.partial(max, 1))
    else:
        sys.setprofile(lambda *_: None)
    try:
        base = save(scope, None, blobs)
        assert group_of("data", base).parts
        assert not any(root.parts for root in remembered.roots.values())
    finally:
        stop.set()
        signal.signal(signal.SIGUSR1, before)
        if kind == "profile":
            sys.setprofile(None)
    if kind == "thread":
        thread.join()
    assert save(scope, base, blobs).references() == base.references()
    assert any(root.parts for root in remembered.roots.values())


class Ordered(OrderedDict):
    pass


class Odd:
    calls = 0

    def __reduce__(self):
        type(self).calls += 1
        return (Odd, ())


@pytest.mark.parametrize(
    "odd",
    [Odd, lambda: Ordered(a=1), lambda: np.zeros(3)[1:], lambda: len, object],
    ids=["class", "dict", "array", "function", "object"],
)
def test_what_is_not_plain_is_pickled_whole_and_its_code_runs_once(blobs, odd):
    Odd.calls = 0
    scope = {"data": [*records(300), odd(), *records(300)]}
    snapshot = save(scope, None, blobs)
    assert group_of("data", snapshot).parts == ()
    assert Odd.calls <= 1
    assert len(loaded(snapshot, blobs)["data"]) == 601


def test_what_a_part_shares_with_another_variable_stays_one_object(blobs):
    data = records()
    shared = {"of": "all"}
    data[5]["meta"] = shared
    scope = {"data": data, "one": data[250], "deep": {"in": [data[400]["tags"]]}, "shared": shared, "copy": records(3)}
    base = None
    for _ in range(3):
        base = save(scope, base, blobs)
        again = loaded(base, blobs)
        assert again == scope
        assert again["one"] is again["data"][250]
        assert again["deep"]["in"][0] is again["data"][400]["tags"]
        assert again["shared"] is again["data"][5]["meta"]
        assert group_of("data", base).parts
        assert group_of("data", base) is group_of("one", base)
    assert set(group_of("copy", base).names) == {"copy"}


def test_parts_that_share_an_object_stay_together(blobs):
    data = records()
    data[10]["friend"] = data[500]
    other = {n: [n] for n in range(500)}
    other[7].append(data[100])
    again = loaded(save({"data": data, "other": other}, None, blobs), blobs)
    assert again["data"][10]["friend"] is again["data"][500]
    assert again["other"][7][1] is again["data"][100]
    index = {each["id"]: each for each in data}
    again = loaded(save({"data": data, "index": index}, None, blobs), blobs)
    assert all(again["index"][each["id"]] is each for each in again["data"])


def test_a_list_inside_itself_or_in_two_places_stays_what_it_is(blobs):
    data = records(300)
    again = loaded(save({"box": {"a": data, "b": data, "c": 1}, "other": [data, data[3]]}, None, blobs), blobs)
    assert again["box"]["a"] is again["box"]["b"] is again["other"][0]
    assert again["other"][1] is again["box"]["a"][3]
    data.append({"all": data})
    again = loaded(save({"data": data}, None, blobs), blobs)
    assert again["data"][-1]["all"] is again["data"]


def test_large_values_inside_a_small_one_are_cut_each(blobs):
    scope = {
        "split": {
            "train": records(),
            "test": records(400),
            "about": {"by": "me"},
            "names": [f"n{n}" for n in range(999)],
        }
    }
    snapshot = save(scope, None, blobs)
    assert len(group_of("split", snapshot).parts) > 20
    again = loaded(snapshot, blobs)
    assert again == scope
    assert list(again["split"]) == list(scope["split"])


def test_a_dictionary_with_holes_keeps_its_order(blobs):
    data: dict[Any, list[int]] = {n: [n] for n in range(900)}
    for n in range(0, 900, 7):
        del data[n]
    data["late"] = [1]
    snapshot = save({"data": data}, None, blobs)
    assert group_of("data", snapshot).parts
    assert list(loaded(snapshot, blobs)["data"].items()) == list(data.items())


def test_what_is_restored_is_cut_where_it_was_so_nothing_seems_changed(blobs):
    data = records(500)
    base = save({"data": data}, None, blobs)
    data += records(77)
    del data[3]
    base = save({"data": data, "one": data[5]}, base, blobs)
    again = loaded(base, blobs)
    assert changed(again, base, blobs=blobs).changed == ()
    assert capture(again, base=base, blobs=blobs).references() == base.references()
    again["data"][400]["x"] = "other"
    assert changed(again, base, blobs=blobs).changed == ("data", "one")


def test_another_store_gets_all_parts(blobs, tmp_path):
    scope = {"data": records()}
    base = save(scope, None, blobs)
    base = save(scope, base, blobs)
    other = FolderBlobs(tmp_path / "other")
    assert loaded(save(scope, None, other), other) == scope
    assert loaded(save(scope, base, blobs), blobs) == scope


def test_a_save_that_failed_is_not_believed(blobs, monkeypatch):
    scope = {"data": records()}
    frozen = freeze(scope, blobs=blobs)
    frozen.close()
    assert loaded(save(scope, None, blobs), blobs) == scope


def test_an_interrupt_while_cutting_leaves_nothing_wrong(blobs, monkeypatch):
    scope = {"data": records()}
    base = save(scope, None, blobs)
    dumps, calls = plain.dumps, []

    def interrupted(*given, **options):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return dumps(*given, **options)

    monkeypatch.setattr(plain, "dumps", interrupted)
    for each in scope["data"]:
        each["x"] = "new"
    with pytest.raises(KeyboardInterrupt):
        freeze(scope, base=base, blobs=blobs)
    monkeypatch.setattr(plain, "dumps", dumps)
    assert loaded(save(scope, base, blobs), blobs) == scope


def test_a_forked_child_believes_nothing_of_its_parent(blobs):
    scope = {"data": records()}
    base = save(scope, save(scope, None, blobs), blobs)
    pid = os.fork()
    if pid == 0:
        try:
            scope["data"][500]["x"] = "child"
            os._exit(0 if loaded(save(scope, base, blobs), blobs) == scope else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert loaded(save(scope, base, blobs), blobs) == scope


def test_a_manifest_says_its_version_only_where_it_needs_the_new_one(blobs):
    assert b'"version":1' in save({"a": [1]}, None, blobs).to_json()
    assert b'"version":2' in save({"a": records()}, None, blobs).to_json()


def test_a_secret_in_a_part_is_named_with_its_place(blobs):
    scope: dict[str, Any] = {"data": {"train": records(), "b": records()}, "rest": 1}
    scope["data"]["train"][400]["password"] = "hunter2"
    snapshot = save(scope, None, blobs)
    assert snapshot.names == ("rest",)
    where = snapshot.unsaved["data"].partition(":")[0] + ":" + snapshot.unsaved["data"].partition(":")[2]
    path = where.split(": a secret")[0]
    assert eval(path, dict(scope)) == "hunter2"
