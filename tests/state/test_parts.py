"""Large plain values are cut into parts; what was not written is not looked at, and nothing that was is missed."""

import copyreg
import dataclasses
import datetime as dt
import functools
import gc
import os
import random
import signal
import sys
import threading
import weakref
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from dure.state import FolderBlobs, capture, changed, freeze, restore
from dure.state.cut import parts, plain, remembered
from dure.state.memory import written
from dure.state.objects.loading import Loader
from tests.state import cutting
from tests.state.cutting import group_of, loaded, needs_marks, save


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    cutting.small_parts(monkeypatch)


def records(count=600):
    return [
        {"id": n, "name": f"record {n}", "tags": [n, n + 1], "at": dt.date(2026, 1, 1), "x": n / 2}
        for n in range(count)
    ]


@pytest.fixture
def pages_of_its_own():
    """Fills the places that other tests left between their objects, so that what a test makes lies on other pages."""
    return records(80_000)


@needs_marks
@pytest.mark.usefixtures("pages_of_its_own")
def test_only_the_part_that_was_changed_is_pickled_and_written_again(blobs, pickled, monkeypatch):
    monkeypatch.setattr(parts, "PART_WEIGHT", 8192)  # parts of many pages, most of which hold nothing else
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


class Odd:
    calls = 0

    def __reduce__(self):
        type(self).calls += 1
        return (Odd, ())


@pytest.mark.parametrize(
    "odd",
    [Odd, lambda: OrderedDict(a=1), lambda: np.zeros(3)[1:], lambda: len, object],
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


# --- what an attack on it found


def test_a_large_value_of_leaves_inside_another_one_stays_one_object(blobs):
    flat = [float(number) for number in range(900)]
    data: list[Any] = records()
    data[5]["all"] = flat
    box = {"names": [f"n{number}" for number in range(900)], "of": {"by": "me"}}
    data[9]["box"] = box
    base = None
    for _ in range(3):
        remembered.uncut.clear()
        base = save({"data": data, "flat": flat, "box": box}, base, blobs)
        again = loaded(base, blobs)
        assert again["data"][5]["all"] is again["flat"]
        assert again["data"][9]["box"] is again["box"]


def test_parts_keep_their_numbers_when_what_shared_one_turns_out_not_to_be_saved(blobs):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("import threading\nclass Bad:\n    lock = threading.Lock()", scope)
    data = records()
    bad = scope["Bad"]()
    bad.own = data[200]
    snapshot = save({"data": data, "later": bad, "Bad": scope["Bad"]}, None, blobs)
    assert snapshot.names == ("data",)
    assert loaded(snapshot, blobs)["data"] == data


def test_sharing_is_found_between_more_values_than_are_remembered(blobs, monkeypatch):
    monkeypatch.setattr(remembered, "_MOST", 4)
    scope: dict[str, Any] = {f"v{number}": [[number, other] for other in range(200)] for number in range(9)}
    scope["v0"][3].append(shared := ["shared"])
    scope["v1"][3].append(shared)
    again = loaded(save(scope, None, blobs), blobs)
    assert again["v0"][3][2] is again["v1"][3][2]


@needs_marks
def test_a_part_that_was_saved_for_a_cell_is_searched_for_secrets_all_the_same(blobs, monkeypatch):
    monkeypatch.setattr(parts, "PART_WEIGHT", 8192)
    data = records(40_000)
    data[30_000]["password"] = "hunter2"
    scope = {"data": data, "k": 1}
    base = capture(scope, ["data"], blobs=blobs)
    del base
    base = capture(scope, ["data"], blobs=blobs)
    assert any(part.saved for root in remembered.roots.values() for part in root.parts.values())
    assert save(scope, base, blobs).names == ("k",)


def test_a_number_too_long_to_write_may_be_the_key_of_a_large_value(blobs):
    scope = {"data": {10**5000: [[n] for n in range(900)], 2: [{"password": "hunter2"} for _ in range(900)]}}
    assert save(scope, None, blobs).unsaved["data"].startswith("data[2]")
    scope["data"].pop(2)
    assert loaded(save(scope, None, blobs), blobs) == scope


class Meddling:
    act: Any = None

    def __reduce__(self):
        type(self).act()
        return int, ()


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("act", ["grow", "shrink", "replace", "clear"])
def test_code_that_runs_in_a_save_may_change_what_was_cut(blobs, kind, act):
    data: Any = {"in": records(2000)} if kind is list else {"in": {f"k{n}": [n] for n in range(2000)}}
    alias = data["in"][700] if kind is list else data["in"]["k700"]
    other = Meddling()

    def change():
        if act == "replace":
            data["in"] = records(300)
        elif act == "clear":
            data.clear()
        elif kind is list and act == "grow":
            data["in"] += records(20_000)
        elif kind is list:
            del data["in"][900:]
        elif act == "grow":
            data["in"].update({f"more {n}": n for n in range(30_000)})
        else:
            for key in list(data["in"])[900:]:
                del data["in"][key]

    Meddling.act = change
    data["also"] = records(300)
    snapshot = save({"data": data, "m": other, "z": {"alias": alias}}, None, blobs)
    again = loaded(snapshot, blobs)
    assert again["data"] == data
    assert again["z"]["alias"] == alias
    if act in ("grow", "shrink"):
        found = again["data"]["in"]
        assert again["z"]["alias"] is (found[700] if kind is list else found["k700"])


class Own:
    pass


def test_nothing_is_kept_alive_until_it_is_written(blobs):
    scope: dict[str, Any] = {"box": {"big": records(), "own": Own(), "two": records()}}
    alive = weakref.ref(scope["box"]["own"])
    with freeze(scope, blobs=blobs) as frozen:
        assert frozen is not None
        scope.clear()
        assert alive() is None


def test_what_the_person_told_pickle_to_reduce_is_not_plain(blobs):
    scope = {"data": records()}
    copyreg.pickle(dt.date, lambda day: (dt.date.fromisoformat, (str(day),)))
    try:
        assert group_of("data", save(scope, None, blobs)).parts == ()
    finally:
        del copyreg.dispatch_table[dt.date]


@needs_marks
@pytest.mark.parametrize("which", ["pages_written", "watch_pages"])
def test_an_interrupt_after_the_kernels_answer_is_not_believed(blobs, monkeypatch, which):
    scope = {"data": records()}
    base = save(scope, save(scope, None, blobs), blobs)
    before = getattr(written.Watch, which)

    def interrupted(self, pages):
        before(self, pages)
        raise KeyboardInterrupt

    for each in scope["data"]:
        each["x"] = "new"
    with monkeypatch.context() as patched:
        patched.setattr(written.Watch, which, interrupted)
        with pytest.raises(KeyboardInterrupt):
            freeze(scope, base=base, blobs=blobs)
    assert loaded(save(scope, base, blobs), blobs) == scope


def test_a_thread_may_change_large_values_while_they_are_saved(blobs):
    scope: dict[str, Any] = {"log": records(3000), "index": {f"key {n}": [n] for n in range(3000)}}
    stop = threading.Event()

    def work():
        chance = random.Random(1)
        while not stop.is_set():
            scope["log"] += records(20)
            del scope["log"][chance.randrange(len(scope["log"])) :]
            scope["index"].update({f"key {chance.randrange(9000)}": [1] for _ in range(50)})
            for key in chance.sample(list(scope["index"]), 40):
                del scope["index"][key]

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(4):
            save(scope, None, blobs)
    finally:
        stop.set()
        thread.join()
    assert loaded(save(scope, None, blobs), blobs) == scope


def test_several_threads_may_capture_and_restore_at_once(blobs):
    scopes = [{"data": records(), "k": number} for number in range(3)]
    failed = []

    def work(scope):
        try:
            base = None
            for round_ in range(6):
                scope["data"][round_ * 50]["x"] = round_
                base = save(scope, base, blobs)
                assert loaded(base, blobs) == scope
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(scope,)) for scope in scopes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_part_that_the_manifest_lacks_fails_its_value_alone(blobs):
    snapshot = save({"data": records(), "k": 1}, None, blobs)
    index = snapshot.variables["data"].group
    group = dataclasses.replace(snapshot.groups[index], parts=snapshot.groups[index].parts[:-1])
    groups = (*snapshot.groups[:index], group, *snapshot.groups[index + 1 :])
    scope: dict[str, Any] = {}
    report = restore(dataclasses.replace(snapshot, groups=groups), blobs, into=scope)
    assert "does not hold what its manifest says" in report.failed["data"]
    assert scope["k"] == 1


def test_one_changed_record_is_compared_without_loading_the_others(blobs, monkeypatch):
    base = capture({"rows": [{"i": i, "t": [str(i)]} for i in range(600)]}, blobs=blobs)
    there: dict[str, Any] = {}
    restore(base, blobs, into=there)
    read = []
    elements = Loader.elements

    def spy(self, index, number):
        read.append(number)
        return elements(self, index, number)

    monkeypatch.setattr(Loader, "elements", spy)
    there["rows"][300]["t"].append("new")
    assert changed(there, base, blobs=blobs).changed == ("rows",)
    assert len(read) == 1
    assert len(base.groups[0].parts) > 4


@needs_marks
@pytest.mark.usefixtures("pages_of_its_own")
def test_what_a_comparison_found_unchanged_is_not_pickled_again(blobs, pickled, monkeypatch):
    monkeypatch.setattr(parts, "PART_WEIGHT", 8192)  # as above
    scope = {"data": records(40_000)}
    base = capture(scope, blobs=blobs)
    many = len(pickled)
    assert not changed(scope, base, blobs=blobs).changed
    pickled.clear()
    assert not changed(scope, base, blobs=blobs).changed
    assert len(pickled) < many / 4


def test_a_load_leaves_the_collector_as_it_was(blobs):
    base = capture({"rows": [[i] for i in range(600)], "bad": Unloadable()}, blobs=blobs)
    for wanted in (True, False):
        gc.enable() if wanted else gc.disable()
        try:
            assert set(restore(base, blobs).failed) == {"bad"}
            assert gc.isenabled() is wanted
        finally:
            gc.enable()


class Unloadable:
    def __setstate__(self, state):
        raise ValueError("not here")

    def __getstate__(self):
        return {"some": "state"}
