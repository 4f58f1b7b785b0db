"""Labels of pandas: an Index that several variables hold is saved once, apart, and they refer to it by its token.

So it is one object after a restore, too, and what is renamed through one variable is seen through the others, though
none of them is written again. The one trap: the token belongs to the object and not to what it is equal to, so it is
kept by id and believed only while a weak reference says that this object lives.
"""

from __future__ import annotations

import sys
import uuid
import weakref
from typing import TYPE_CHECKING, Any

from dure.state.libraries import frames
from dure.state.manifest import LABELS
from dure.state.objects import classes, marks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dure.state.objects.pickling import Reducer

_BY_ID: dict[int, tuple[weakref.ref[Any], str]] = {}
_LIVING: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of labels; None for other types."""
    pandas = sys.modules.get("pandas")
    return reduced if pandas is not None and issubclass(kind, pandas.Index) else None


def is_labels(value: Any) -> bool:
    """Tell whether a value is an Index of a class of pandas itself."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and issubclass(type(value), pandas.Index) and classes.by_reference(type(value))


def of_frames(values: Iterable[Any]) -> list[Any]:
    """Return the labels that are among some values or of frames and columns among them, each once."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "DataFrame"):
        return []
    found: list[Any] = []
    for value in values:
        kind = type(value)
        if kind is pandas.DataFrame or kind is pandas.Series:
            found += value.axes
        elif issubclass(kind, pandas.Index):
            found.append(value)
    return [each for each in {id(each): each for each in found}.values() if is_labels(each)]


def known(index: Any) -> str | None:
    """Return the token of labels that are saved apart; None for those that are saved inside of what holds them."""
    found = _BY_ID.get(id(index))
    return found[1] if found is not None and found[0]() is index else None


def token_of(index: Any) -> str:
    """Return the token of labels, made at the first question and kept as long as they live."""
    token = known(index)
    if token is None:
        token = LABELS + uuid.uuid4().hex
        remember(token, index)
    return token


def living(token: str) -> Any:
    """Return this process's labels for a token; None where it has none."""
    return _LIVING.get(token)


def remember(token: str, index: Any) -> None:
    """Let labels stand for a token from now on; what did before has none."""
    before = _LIVING.get(token)
    if before is not None and before is not index:
        _BY_ID.pop(id(before), None)
    key = id(index)
    _BY_ID[key] = weakref.ref(index, lambda gone: _forget(key, gone)), token
    _LIVING[token] = index


def _forget(key: int, gone: weakref.ref[Any]) -> None:
    if key in _BY_ID and _BY_ID[key][0] is gone:
        del _BY_ID[key]


def reduced(pickler: Any, index: Any) -> Any:
    """Return how an Index is made again: by its token where it is saved apart; NotImplemented for pickle's own way."""
    token = None if id(index) in pickler.shared.inline else pickler.shared.tokens.get(id(index)) or known(index)
    if token is not None and id(index) not in pickler.own:
        pickler.referenced.add(id(index))
        pickler.needs[token] = index
        return marks.class_ref, (token,)
    pickler.frozen.update(id(item) for item in frames.index_arrays(index))
    made = frames.reduce_index(index)
    if token is None:
        pickler.labels.append(index)
        return made
    if made is NotImplemented:
        made = index.__reduce__()
    return marks.labels, (pickler.own[id(index)], *made[:2])


def same(one: Any, other: Any) -> bool:
    """Tell whether two are equal labels, whatever they are called."""
    return type(one) is type(other) and one.dtype == other.dtype and bool(one.equals(other))


def given(index: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the names of labels, with their types, and the attributes that a person gave them."""
    return [(type(name), name) for name in index.names], dict(frames.given_to(index))


def same_given(one: tuple[list[Any], dict[str, Any]], other: tuple[list[Any], dict[str, Any]]) -> bool:
    """Tell whether two have the same names and attributes, as `given` returns them."""
    (names, mine), (others, theirs) = one, other
    try:
        equal = mine.keys() == theirs.keys() and all(bool(mine[name] == theirs[name]) for name in mine)
    except Exception:  # what cannot be compared, such as arrays, is not known to be the same
        return False
    return equal and names == others


def give_as(index: Any, other: Any) -> None:
    """Give labels the names and a person's attributes of others."""
    index.names = other.names
    for name in frames.given_to(index):
        del vars(index)[name]
    vars(index).update(frames.given_to(other))
