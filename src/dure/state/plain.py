"""Plain objects: exact built-in containers, texts, numbers, dates and numpy's scalars, whose pickling runs no code of
anybody's.

What a pickle of them reached is read from memory at once. The one trap: pickle asks `reducer_override` for all but
exact built-in types, so what is not plain is refused there before its own code runs.
"""

from __future__ import annotations

import abc
import copyreg
import datetime as dt
import decimal
import functools
import gc
import itertools
import pickle
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.state import classes, layout, marks

if TYPE_CHECKING:
    from collections.abc import Callable

BIG_BYTES = 64 * 1024  # text and bytes above this are shared rather than written twice
MOST_BYTES = 4 * 1024 * 1024  # of one pickle: a part is one chunk
_TEXT = 64  # bytes of text that weigh as much as an object
_SAMPLE = 4
_DEPTH = 4
_LOOKED_AT = 8  # parts
_CHANGE = (list, dict, set, bytearray)
_METACLASSES = (type, abc.ABCMeta)
_ATOMS = {
    str,
    bytes,
    int,
    float,
    bool,
    complex,
    type(None),
    dt.date,
    dt.datetime,
    dt.time,
    dt.timedelta,
    decimal.Decimal,
}
_OTHERS = {dt.timezone, range}
_NUMPY = (
    *("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32"),
    *("float64", "complex64", "complex128", "str_", "bytes_", "datetime64", "timedelta64"),
)


_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that Python code made
# with one of these a class has its own way of being pickled, or of being asked for an attribute
_OWN_WAYS = {
    *("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__"),
    *("__getattribute__", "__getattr__", "__class__", "__new__", "__del__"),
}


class _Any:
    pass


_A_DICT = _Any.__dict__["__dict__"]


class NotPlainError(Exception):
    """Something in a value is not plain, or there is far more of it than it weighed."""


@dataclass(frozen=True, slots=True)
class Made:
    """A pickle, and what it reached."""

    stream: bytes
    modules: frozenset[str]
    classes: dict[str, type]  # of the notebook, by token
    ids: Any  # of what can be shared and change, and of long texts, sorted
    _starts: Any  # of the memory that tells what all that holds; None where it is not known
    _ends: Any

    def pages_with(self, start: int, end: int) -> Any:
        """Return the sorted numbers of the pages of all that memory and of another run; None where it is not known."""
        if self._starts is None:
            return None
        numpy = sys.modules["numpy"]
        more = [numpy.array([each], "u8") for each in (start, end)]
        return layout.pages(numpy.concatenate([self._starts, more[0]]), numpy.concatenate([self._ends, more[1]]))


def is_atom(value: Any) -> bool:
    """Tell whether a value is plain and holds no other."""
    return type(value) in _ATOMS


def are_atoms(values: list[Any]) -> bool:
    """Tell whether all values are plain and hold no other."""
    return set(map(type, values)) <= _ATOMS


def multiplies(pointers: Any, step: int) -> bool:
    """Tell whether far more texts would come back than there are, since each part of `step` elements, given by their
    addresses, brings its own: where a few ten thousand words are in it again and again.
    """
    numpy = sys.modules["numpy"]
    parts = numpy.array_split(pointers, -(-len(pointers) // step))
    some = []
    for part in parts[:: max(1, len(parts) // _LOOKED_AT)]:
        full = part[part != 0]
        kinds = layout.words(full + numpy.uint64(8))
        some.append(layout.distinct(full[(kinds == id(str)) | (kinds == id(bytes))]))
    apart = sum(map(len, some))
    return apart * 16 > step * len(some) and apart > 1.2 * len(layout.distinct(numpy.concatenate(some)))


def weight(value: Any, depth: int = _DEPTH) -> float:
    """Return of about how many objects a value is, judged by a few of its elements; long texts count for several."""
    kind = type(value)
    if kind in (str, bytes, bytearray):
        return 1 + len(value) / _TEXT
    if depth and is_simple(kind):
        return 1 + weight(value.__dict__, depth - 1)
    if kind not in (list, tuple, dict, set, frozenset) or not value:
        return 1
    if not depth:
        return 1 + len(value)
    if kind in (list, tuple):
        some = [(value[index * (len(value) - 1) // (_SAMPLE - 1)],) for index in range(_SAMPLE)]
    elif kind is dict:
        some = list(itertools.islice(value.items(), _SAMPLE))
    else:
        some = [(each,) for each in itertools.islice(value, _SAMPLE)]
    return 1 + len(value) * sum(weight(each, depth - 1) for each in itertools.chain(*some)) / len(some)


def is_simple(cls: type) -> bool:
    """Tell whether instances of a class hold what is in their `__dict__`, and are pickled by it without code of its."""
    if type(cls) not in _METACLASSES or cls.__dictoffset__ == 0 or not layout.INSTANCES:
        return False
    for each in cls.__mro__[:-1]:
        own = each.__dict__
        if not each.__flags__ & _HEAP or type(each) not in _METACLASSES or not own.keys().isdisjoint(_OWN_WAYS):
            return False
        if own.get("__slots__") or type(own.get("__dict__", _A_DICT)) is not types.GetSetDescriptorType:
            return False
    return cls not in copyreg.dispatch_table and cls.__module__ not in ("builtins", "enum")


def dumps(
    elements: tuple[list[Any], ...], token_of: Callable[[type], str] = classes.token_of, *, located: bool = True
) -> Made:
    """Return the pickle of some columns of plain values; NotPlainError where there is anything else. Not `located`, it
    is not asked where in memory they are, which another thread may change at any moment.
    """
    stream = _Stream()
    pickler = _Pickler(stream, token_of)
    try:
        pickler.dump(elements)
    except NotPlainError:
        raise
    except Exception as error:  # it is nested too deep
        raise NotPlainError from error
    found = _reached(pickler, elements, located=located)
    return Made(b"".join(stream.pieces), frozenset(pickler.modules), pickler.classes, *found)


class _Stream:
    """What a pickle is written to; ends one that grows beyond what a part may have."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._size_bytes = 0

    def write(self, piece: Any) -> int:
        """Take what the pickler gives, which may use the memory again."""
        data = bytes(piece)
        self._size_bytes += len(data)
        if self._size_bytes > MOST_BYTES:
            raise NotPlainError
        self.pieces.append(data)
        return len(data)


class _Pickler(pickle.Pickler):
    __slots__ = ("_plain", "_token_of", "classes", "modules", "simple")

    def __init__(self, stream: _Stream, token_of: Callable[[type], str] = classes.token_of) -> None:
        super().__init__(stream, protocol=5)
        self.modules: set[str] = set()
        self.classes: dict[str, type] = {}
        self.simple: dict[type, bool] = {}  # classes of instances that it met
        self._plain = _Plain()
        self._token_of = token_of

    def reducer_override(self, obj: Any) -> Any:
        """Leave what is plain to pickle, and refuse all else."""
        kind = type(obj)
        if kind in self._plain.python or (kind is type and obj in self._plain.python):
            return NotImplemented
        simple = self.simple.get(kind)
        if simple is None:
            simple = self.simple[kind] = is_simple(kind)
        if simple:
            if not obj.__dict__:  # which Python keeps nowhere yet
                raise NotPlainError
            return NotImplemented
        if self.simple.get(obj if isinstance(obj, type) else kind):
            return self._class(obj)
        if obj is marks.class_ref:
            return NotImplemented
        if kind in self._plain.numpy or self._plain.belongs(obj):
            self.modules.add("numpy")
            return NotImplemented
        raise NotPlainError

    def _class(self, cls: type) -> Any:
        """Return the class of an instance by its name, or by its token where it is the notebook's."""
        if not classes.by_reference(cls):
            token = self._token_of(cls)
            self.classes[token] = cls
            return marks.class_ref, (token,)
        top = cls.__module__.partition(".")[0]
        if top not in sys.stdlib_module_names:
            self.modules.add(top)
        return NotImplemented


class _Plain:
    """The types that are plain, as far as they are loaded."""

    def __init__(self) -> None:
        # what the person told pickle to reduce otherwise would run code of theirs
        own = {kind for kind in copyreg.dispatch_table if kind is not complex}
        self.python = (_ATOMS | _OTHERS) - own
        self.numpy: set[Any] = set()
        self._of_numpy: tuple[Any, ...] = ()
        numpy = sys.modules.get("numpy")
        if numpy is not None and hasattr(numpy, "timedelta64"):
            self.numpy = {getattr(numpy, name) for name in _NUMPY} - own
            self._dtype = numpy.dtype
            self._of_numpy = (numpy.float64(0).__reduce__()[0], numpy.dtype)

    def belongs(self, obj: Any) -> bool:
        """Tell whether a scalar of numpy is pickled with it: a function of numpy's, or a dtype of a plain type."""
        if not self._of_numpy:
            return False
        if any(obj is each for each in self._of_numpy):
            return True
        return isinstance(obj, self._dtype) and obj.type in self.numpy and obj.metadata is None


def _reached(pickler: _Pickler, elements: tuple[list[Any], ...], *, located: bool) -> tuple[Any, Any, Any]:
    """Return the ids of what a pickler met that can be shared and change, and where the memory is that tells what that
    holds, None where this is not known.
    """
    import numpy as np

    met = _memo(pickler)
    ids = layout.ids(met)
    for own in (*elements, pickler.modules, pickler.classes, pickler.simple):
        ids = ids[ids != id(own)]
    kinds = layout.words(ids + np.uint64(8))
    if (kinds == id(pickle.PickleBuffer)).any():
        raise NotPlainError
    changing = [ids[kinds == id(kind)] for kind in _CHANGE]
    texts = [of[layout.sizes(of) >= BIG_BYTES] for of in (ids[kinds == id(str)], ids[kinds == id(bytes)])]
    instances = [(cls, ids[kinds == id(cls)]) for cls, simple in pickler.simple.items() if simple]
    reached = np.sort(np.concatenate([*changing, *texts, *(of for _, of in instances)]))
    if not located:
        return reached, None, None
    runs = [layout.extents(kind, of) for kind, of in zip(_CHANGE, changing, strict=True)]
    runs += [layout.instances(cls, of) for cls, of in instances]
    known = [run for run in runs if run is not None]
    if len(known) < len(runs):
        return reached, None, None
    return reached, np.concatenate([start for start, _ in known]), np.concatenate([end for _, end in known])


def _memo(pickler: pickle.Pickler) -> list[Any]:
    if _memo_shows():
        return gc.get_referents(pickler)
    return [value for _, value in pickler.memo.copy().values()]


@functools.cache
def _memo_shows() -> bool:
    """Tell whether the garbage collector is shown the memo, which is ten times as fast as a copy of it."""
    probe: list[list[Any]] = [[] for _ in range(64)]
    pickler = _Pickler(_Stream())
    pickler.dump((probe,))
    return set(map(id, gc.get_referents(pickler))).issuperset(map(id, [probe, *probe]))
