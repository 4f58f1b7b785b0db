"""What an attack on values that are cut into parts found: code of others in a save, threads, interrupts, sharing."""

import copyreg
import dataclasses
import datetime as dt
import gc
import random
import threading
import weakref
from collections import Counter, OrderedDict
from typing import Any

import pytest

from dure.state import capture, changed, freeze, restore
from dure.state.cut import parts, remembered, weights
from dure.state.memory import written
from dure.state.objects.loading import Loader
from tests.state.cutting import group_of, loaded, needs_marks, records, save

pytestmark = pytest.mark.usefixtures("small_parts")


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
    monkeypatch.setattr(weights, "PART_WEIGHT", 8192)
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


@pytest.mark.parametrize("looked", [False, True], ids=["no __dict__ yet", "an empty __dict__"])
@pytest.mark.parametrize("kind", [Counter, OrderedDict])
def test_a_first_attribute_of_a_container_of_the_library_is_seen(blobs, kind, looked):
    scope: dict[str, Any] = {"data": [kind({"a": number, "b": 1}) for number in range(300)], "n": 0}
    assert [vars(each) for each in scope["data"] if looked] == [{}] * 300 * looked
    base = None
    for scope["n"] in range(3):
        base = save(scope, base, blobs)
    assert group_of("data", base).parts
    scope["data"][150].note = ["new"]
    base = save(scope, base, blobs)
    assert vars(loaded(base, blobs)["data"][150]) == {"note": ["new"]}
    del scope["data"][150].note
    base = save(scope, base, blobs)
    scope["data"][150].other = 1
    assert vars(loaded(save(scope, base, blobs), blobs)["data"][150]) == {"other": 1}


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

    def spy(self, index, number, outside=None):
        read.append(number)
        return elements(self, index, number, outside)

    monkeypatch.setattr(Loader, "elements", spy)
    there["rows"][300]["t"].append("new")
    assert changed(there, base, blobs=blobs).changed == ("rows",)
    assert len(read) == 1
    assert len(base.groups[0].parts) > 4


@needs_marks
@pytest.mark.usefixtures("pages_of_its_own")
def test_what_a_comparison_found_unchanged_is_not_pickled_again(blobs, pickled, monkeypatch):
    monkeypatch.setattr(weights, "PART_WEIGHT", 8192)  # as above
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


def test_walking_through_a_value_runs_no_code_of_its_own(blobs):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "class Odd:\n"
        "    told = []\n"
        "    def __init__(self):\n        self.data = list(range(600))\n"
        "    def __getattribute__(self, name):\n        Odd.told.append(name)\n"
        "        return object.__getattribute__(self, name)\n"
        "    def __reduce__(self):\n        return (Odd, ())\n",
        scope,
    )
    odd = scope["Odd"]()
    scope["Odd"].told.clear()
    cutter = parts.Cutter()
    cutter.cut([odd])
    assert len(cutter.stand_ins) == 1
    assert scope["Odd"].told == []
    gc.collect()


class Unwritable:
    """Written as text it fails, as one whose attributes are not there yet would."""

    def __repr__(self):
        raise AttributeError("no such attribute yet")


def test_a_key_that_cannot_be_written_as_text_does_not_end_a_save(blobs):
    large = {Unwritable(): [[n] for n in range(900)]}
    scope = {"large": large, "refused": {Unwritable(): [(n for n in range(3))]}, "k": 1}
    snapshot = capture(scope, blobs=blobs)
    assert set(snapshot.unsaved) == {"refused"}
    assert "refused[…]" in snapshot.unsaved["refused"]
    assert group_of("large", snapshot).parts
    assert list(loaded(snapshot, blobs)["large"].values()) == list(large.values())


class Asked(dict):
    """Attributes that must not be asked by methods of the person's while values are looked at."""

    def items(self):
        raise KeyError("items")


class Named(str):
    __slots__ = ()

    def __str__(self):
        raise TypeError("name")


def test_attributes_are_looked_at_without_the_persons_code_and_keep_their_kind_of_dictionary(blobs):
    asked, named, many = Bare(), Bare(), [Bare() for _ in range(900)]
    asked.__dict__ = Asked(data=[[n] for n in range(900)])
    vars(named)[Named("data")] = [[n] for n in range(900)]
    for each in many:
        each.__dict__ = OrderedDict(a=1)
    snapshot = capture({"asked": asked, "named": named, "many": many}, blobs=blobs)
    assert snapshot.unsaved == {}
    again = loaded(snapshot, blobs)
    assert vars(again["asked"])["data"] == vars(asked)["data"]
    assert list(vars(again["named"]).values()) == list(vars(named).values())
    assert {type(vars(each)) for each in again["many"]} == {OrderedDict}
    assert type(vars(again["asked"])).__name__ == "Asked"


class Bare:
    pass
