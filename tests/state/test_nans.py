"""Which object a NaN is outlives every round trip, and what no NaN is in pays nothing for it."""

import math
import os
import pickle
import sys

from hypothesis import given
from hypothesis import strategies as st

from dure.state import FolderBlobs, capture, changed, restore
from dure.state.objects import nans

OTHERS = st.lists(
    st.one_of(
        st.floats(allow_nan=False),
        st.floats(-100, 100).map(round).map(float),
        st.sampled_from([1.5, 24.0, math.inf, -math.inf, None, "GGGG", 71]),
        st.text(max_size=9),
        st.integers(),
    ),
    max_size=20,
)


@given(OTHERS, st.integers(1, 300), st.integers(0, 10_000), st.sampled_from([math.nan, -math.nan, None]))
def test_a_nan_is_found_wherever_it_is_in_a_pickle(others, times, at, odd):
    values = others * times
    if odd is not None:
        values.insert(at % (len(values) + 1), odd)
    assert nans.inside(pickle.dumps((values,), 5)) is (odd is not None)


def test_one_that_came_from_elsewhere_is_no_change(tmp_path):
    blobs = FolderBlobs(tmp_path)
    own = float("nan")
    scope = {"own": own, "table": {own: 1, math.nan: 2}, "long": [float(n) if n % 7 else own for n in range(100_000)]}
    base = capture(scope, blobs=blobs)
    nans._known.clear()  # as in another process
    nans._tokens.clear()
    here: dict = {}
    assert not restore(base, blobs, into=here).failed
    assert here["table"][here["own"]] == 1
    assert here["table"][math.nan] == 2
    assert here["long"][7] is here["own"] is not own
    assert changed(here, base, blobs=blobs).changed == ()
    here["table"][float("nan")] = 3
    assert changed(here, base, blobs=blobs).changed == ("table",)


def test_what_comes_back_is_the_one_that_lives_here(tmp_path):
    blobs = FolderBlobs(tmp_path)
    own = float("nan")
    base = capture({"table": {own: 1}}, blobs=blobs)
    again: dict = {}
    restore(base, blobs, into=again)
    assert again["table"][own] == 1


def test_those_that_nobody_holds_are_forgotten():
    kept = [float("nan") for _ in range(1000)]
    tokens = [nans.token_of(each) for each in kept]
    for _ in range(40_000):
        nans.token_of(float("nan"))
    assert len(nans._known) < 20_000
    assert [nans.token_of(each) for each in kept] == tokens
    assert all(nans.of_token(token) is each for token, each in zip(tokens, kept, strict=True))
    del kept
    for _ in range(40_000):
        nans.token_of(float("nan"))
    assert not nans._known.keys() & set(tokens)


def test_a_child_gives_tokens_of_its_own():
    there, here = os.pipe()
    child = os.fork()
    if not child:
        os.write(here, nans.token_of(float("nan")).encode())
        os._exit(0)
    os.close(here)
    assert os.waitpid(child, 0)[1] == 0
    token = os.read(there, 100).decode()
    os.close(there)
    assert token.split(":")[1] != nans.token_of(float("nan")).split(":")[1]


def test_a_name_that_is_no_nan_here_gives_one_all_the_same():
    assert math.isnan(nans.of_token("nan.sys:maxsize"))
    assert math.isnan(nans.of_token("nan.no_such_module_here:nan"))
    assert "no_such_module_here" not in sys.modules
