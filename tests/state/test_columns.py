"""Large arrays of texts and other plain objects are cut into parts, and no change of one is missed."""

import gc
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dure.state import FolderBlobs, capture, changed
from dure.state.cut import columns, plain, remembered
from dure.state.objects import elements
from tests.examples import examples
from tests.state import cutting
from tests.state.cutting import group_of, loaded, needs_marks, save

SIZE = 300_000  # elements: more memory than is never watched


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    cutting.small_parts(monkeypatch, 8192)
    with pd.option_context("mode.string_storage", "python"):  # where Arrow is installed, texts would be its buffers
        yield


def texts(size=SIZE):
    return np.array([f"text {number}" for number in range(size)], dtype=object)


@needs_marks
def test_only_the_part_that_was_changed_is_pickled_and_written_again(blobs, pickled):
    scope = {"frame": pd.DataFrame({"name": texts(), "n": np.arange(SIZE)}), "index": pd.Series(1, index=texts())}
    first = save(scope, None, blobs)
    many = len(pickled)
    assert many > 60
    pickled.clear()
    second = save(scope, first, blobs)
    assert second.references() == first.references()
    assert len(pickled) < many / 8  # the first and the last of each, and what else a neighbour shares a page with
    pickled.clear()
    scope["frame"].loc[150_000, "name"] = "new"
    third = save(scope, second, blobs)
    again = loaded(third, blobs)
    assert pd.testing.assert_frame_equal(again["frame"], scope["frame"]) is None
    assert again["index"].index[7] == "text 7"
    if scope["frame"]["name"].dtype == "str":
        assert len(third.references() - second.references()) <= 2


@pytest.mark.parametrize(
    "made",
    [
        lambda: texts().reshape(1000, 300),
        lambda: np.asfortranarray(texts().reshape(1000, 300)),
        lambda: np.array([None if number % 3 else float(number) for number in range(SIZE)], dtype=object),
        lambda: np.array([2**70 + number for number in range(20_000)], dtype=object),
        lambda: np.array([f"\ud800 {number}" for number in range(20_000)], dtype=object),
        lambda: texts(9000),
        lambda: texts(100),
        lambda: np.array([[1], "text"] * 50, dtype=object),
    ],
    ids=["rows", "columns", "numbers", "large numbers", "surrogates", "some", "few", "lists"],
)
def test_a_column_comes_loaded(blobs, made):
    array = made()
    array.flags.writeable = False
    scope = {"array": array}
    base = save(scope, None, blobs)
    base = save(scope, base, blobs)
    found = loaded(base, blobs)["array"]
    assert list(map(repr, found.ravel("K"))) == list(map(repr, array.ravel("K")))
    assert (found.flags.f_contiguous, found.flags.writeable) == (array.flags.f_contiguous, False)
    assert bool(base.groups[0].parts) == (array.size > 5000)
    assert changed({"array": found}, base, blobs=blobs).changed == ()


@pytest.mark.parametrize("odd", [[1], {"a": 1}, (1, 2), object, pd.NA, np.float64(1.5), len], ids=str)
def test_what_holds_another_object_is_pickled_whole(blobs, odd):
    array = texts(50_000)
    array[33_333] = odd
    scope = {"array": array, "odd": odd}
    snapshot = save(scope, save(scope, None, blobs), blobs)
    assert not any(group.parts for group in snapshot.groups)
    again = loaded(snapshot, blobs)
    assert repr(again["array"][33_333]) == repr(odd)
    if isinstance(odd, list | dict):
        assert again["array"][33_333] is again["odd"]


@pytest.mark.parametrize("size", [SIZE // 2, 2 * SIZE], ids=["shorter", "longer"])
def test_a_column_of_which_a_thread_changes_the_size_meanwhile_is_named(blobs, monkeypatch, size):
    array = texts()

    def resized(elements, *arguments, **options):
        if len(array) == SIZE:
            array.resize(size, refcheck=False)
        return dumps(elements, *arguments, **options)

    dumps = plain.dumps
    monkeypatch.setattr(plain, "dumps", resized)
    snapshot = save({"array": array, "other": 1}, None, blobs)
    assert "size another thread changes" in snapshot.unsaved["array"]
    assert loaded(snapshot, blobs) == {"other": 1}
    assert len(loaded(save({"array": array}, None, blobs), blobs)["array"]) == size


def test_words_that_come_again_and_again_do_not_multiply(blobs):
    words = [f"word {number}" for number in range(40_000)]
    chance = random.Random(1)
    drawn = [chance.choice(words) for _ in range(SIZE)]
    again = loaded(save({"array": np.array(drawn, dtype=object), "list": drawn}, None, blobs), blobs)
    assert len(set(map(id, again["list"]))) <= len(words)
    assert len(set(map(id, again["array"]))) <= len(words)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_no_change_of_an_element_is_missed(tmp_path_factory, seed):
    chance = random.Random(seed)
    blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
    columns._columns.clear()
    array = texts()
    scope = {"array": array, "frame": pd.DataFrame({"name": texts(150_000), "n": range(150_000)})}
    base = None
    for _ in range(5):
        for _ in range(chance.choice([0, 1, 3])):
            at = chance.randrange(len(scope["array"]))
            act = chance.randrange(8)
            if act == 0:
                scope["array"][at : at + 9] = scope["array"][:9].copy()[: len(scope["array"][at : at + 9])]
            elif act == 1:
                scope["array"][at] = None  # its memory is free for the next text
                scope["array"][at] = f"text {chance.randrange(10**6)}"
            elif act == 2:
                scope["frame"].loc[at % 150_000, "name"] = f"new {at}"
            elif act == 3:
                scope["array"] = texts(len(scope["array"]))
                gc.collect()
            elif act == 4:
                scope["array"][:: chance.choice([1, -1, 2])].sort()
            elif act == 5:
                scope["frame"] = scope["frame"].sort_values("name").reset_index(drop=True)
            elif act == 6:
                scope["array"].reshape(-1, 3)[at // 3] = ["a", "b", f"c{at}"]
            else:
                memoryview(scope["frame"]["n"].to_numpy()).tolist()
        base = save(scope, base, blobs)
        again = loaded(base, blobs)
        assert again["array"].tolist() == scope["array"].tolist()
        assert pd.testing.assert_frame_equal(again["frame"], scope["frame"]) is None
        some = capture(scope, ["frame"], base=base, blobs=blobs)
        assert some.references() <= base.references()


class Word:
    def __init__(self, text):
        self.text, self.at = text, [0]


def element(chance, kind=None):
    number = chance.randrange(10**6)
    return [
        lambda: [f"word {number}", number],
        lambda: {"word": f"word {number}", "at": [number]},
        lambda: np.arange(number % 7) + number / 2,
        lambda: np.array(number),
        lambda: (f"word {number}", [number]),
        lambda: Word(f"word {number}"),
        lambda: None,
        lambda: float("nan"),
        lambda: f"text {number}",
    ][chance.randrange(9) if kind is None else kind]()


def held(size, chance, kind=None):
    return np.fromiter((element(chance, kind) for _ in range(size)), object, size)


def shape(scope):
    """What a scope holds, with a number for each object that can change, so that aliases show."""
    numbers: dict[int, int] = {}
    told = []
    queue = [scope[name] for name in sorted(scope)]
    for each in queue:
        if isinstance(each, tuple):
            told.append(f"{len(each)} of tuple")
            queue += each
        elif not isinstance(each, list | dict | np.ndarray | pd.DataFrame | pd.Series | Word):
            told.append(repr(each))
        elif id(each) in numbers:
            told.append(f"again {numbers[id(each)]}")
        else:
            numbers[id(each)] = len(numbers)
            if isinstance(each, pd.DataFrame | pd.Series):
                queue += each.to_numpy().ravel().tolist()
            elif isinstance(each, np.ndarray):
                told.append(f"{each.dtype} {each.shape} {each.flags.writeable} {each.flags.f_contiguous}")
                queue += each.ravel().tolist()
            else:
                told.append(type(each).__name__)
                queue += [*each.items()] if isinstance(each, dict) else each if isinstance(each, list) else [vars(each)]
    return told


def mutate(scope, chance):
    array = scope[chance.choice(["array", "rows"])]
    frame = scope["frame"]
    act = chance.randrange(11)
    at = chance.randrange(array.size)
    one = array.item(at)
    if act == 0:
        array.reshape(-1)[at : at + 1].fill(element(chance))
    elif act == 1:
        array.reshape(-1)[at] = None
        gc.collect()
        array.reshape(-1)[at : at + 1].fill(element(chance))
    elif act == 2:
        frame.loc[at % len(frame), "n"] = chance.random()
    elif act == 3:
        frame.at[at % len(frame), "words"] = element(chance)  # noqa: PD008 - `loc` takes a list for rows
    elif act == 4:
        scope["array"] = held(array.size, chance)
    elif act == 5:
        scope["alias"] = one
    elif act == 6:
        array.reshape(-1)[at] = array.reshape(-1)[at - 1]
    elif act == 7:
        scope["frame"] = frame.sort_values("n").reset_index(drop=True)
    elif act == 8:
        scope["view"] = chance.choice([array[::2], array[1:], frame["words"], None])
    else:
        changed_inside(frame["words"].iloc[at % len(frame)] if act == 9 else one, chance)


def changed_inside(one, chance):
    if isinstance(one, list):
        chance.choice([one.append, one.remove])(one[0])
        one.append(chance.random())
    elif isinstance(one, dict):
        one["at"][0] = chance.random()
    elif isinstance(one, np.ndarray):
        one += 1
    elif isinstance(one, tuple):
        one[1].append(f"t{chance.random()}")
    elif isinstance(one, Word):
        one.at, one.text = [chance.random()], f"t{chance.random()}"


@settings(max_examples=examples(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_no_change_in_what_elements_hold_is_missed_and_no_alias_is_lost(tmp_path_factory, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elements, "MANY", 64)
        cutting.small_parts(patch)
        chance = random.Random(seed)
        blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
        kind = chance.choice([None, *range(6)])
        rows = held(600, chance, kind).reshape(20, 30)
        scope = {
            "array": held(500, chance, kind),
            "rows": np.asfortranarray(rows) if chance.random() < 0.5 else rows.copy(),
            "frame": pd.DataFrame({"words": held(400, chance, kind), "n": range(400)}),
        }
        scope["frame"]["n"] = scope["frame"]["n"].astype(float)
        first = save(scope, None, blobs)
        assert any(group.parts for group in first.groups)
        cutting.check_stories(scope, chance, blobs, lambda: mutate(scope, chance), shape)


@needs_marks
@pytest.mark.parametrize("kind", range(6))
def test_of_elements_that_hold_others_only_those_that_changed_are_written(blobs, kind):
    chance = random.Random(kind)
    scope = {"frame": pd.DataFrame({"words": held(20_000, chance, kind), "n": range(20_000)}), "n": 0}
    cutting.forget()
    base = None
    for number in range(8):  # until it is known where its neighbours come and go
        scope["n"] = number
        before, base = base, save(scope, base, blobs)
        parts = [part for root in remembered.every() for part in root.parts.values()]
        if number > 2 and all(part.stream is None for part in parts):
            break
    made = group_of("frame", base)
    assert made.parts
    assert made.key() == group_of("frame", before).key()
    assert all(part.stream is None for part in parts)
    if kind == 3:  # whose one number cannot be changed by `changed_inside`
        scope["frame"]["words"].iloc[9_999][...] = -1
    else:
        changed_inside(scope["frame"]["words"].iloc[9_999], chance)
    now = save(scope, base, blobs)
    assert len({part.digest for part in group_of("frame", now).parts} - {part.digest for part in made.parts}) == 1
    assert shape(loaded(now, blobs)) == shape(scope)
    again = loaded(now, blobs)
    assert changed(again, now, blobs=blobs).changed == ()
    assert [group.key() for group in save(again, now, blobs).groups] == [group.key() for group in now.groups]
