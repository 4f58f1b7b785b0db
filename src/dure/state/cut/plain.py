"""Plain objects: built-in containers, texts, numbers, dates, numpy's scalars and small arrays, named tuples, and
instances of simple classes, whose pickling runs no code of anybody's.

What a pickle of them reached is read from memory at once. The one trap: pickle asks `reducer_override` for all but
exact built-in types, so what is not plain is refused there before its own code runs.
"""

from __future__ import annotations

import copyreg
import datetime as dt
import decimal
import functools
import gc
import math
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dure.state.cut import simple
from dure.state.cut.same import Known, Same
from dure.state.memory import layout
from dure.state.memory.contents import Contents
from dure.state.objects import classes, marks, nans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OUTSIDE = "up:"  # begins a token of what is not in a part, but referred to
BIG_BYTES = 64 * 1024  # text and bytes above this are shared rather than written twice
MOST_BYTES = 4 * 1024 * 1024  # of the pickle of a part of a container, which is one chunk
MOST_TREE_BYTES = 128 * 1024 * 1024  # and of what is cut off a tree
ARRAY_BYTES = 1024 * 1024  # an array of more is watched by itself
FEW = 256  # elements; a tuple of more may be cut
_NOTHING: Mapping[int, str] = MappingProxyType({})
_CHANGE = (list, dict, set, bytearray, defaultdict, Counter, OrderedDict, deque)
ATOMS = {
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
_PUT_IN = (Counter, OrderedDict, deque)  # what is pickled empty, and then filled
_FACTORIES = (None, int, float, str, bool, list, dict, set, tuple)
_KINDS = {defaultdict, Counter, OrderedDict, deque, *_FACTORIES[1:]}  # that stand in a pickle by their names
_NUMPY = (
    *("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32"),
    *("float64", "complex64", "complex128", "str_", "bytes_", "datetime64", "timedelta64"),
)


class NotPlainError(Exception):
    """Something in a value is not plain, or there is far more of it than it weighed."""


@dataclass(frozen=True, slots=True)
class Made:
    """A pickle, and what it reached."""

    stream: bytes
    modules: frozenset[str]
    classes: dict[str, type]  # of the notebook, by token
    ids: Any  # of what can be shared and change, and of long texts, sorted
    arrays: Any  # where the memory of arrays begins and ends, sorted; None where there are none
    _locate: Callable[[], Contents | None]  # finds the memory that tells what all that holds, if it can be
    _known: Known | None  # types of it; None where not all can be compared
    _scattered: bool  # attributes of instances are in it, which lie among other small objects
    outside: frozenset[str]  # tokens that stand in it

    def pages_with(self, slots: tuple[layout.Table, int, int] | None, written: Any) -> tuple[Any, Same | None]:
        """Return the sorted numbers of the pages of all that memory, and of a container's `slots` (first, one after the
        last); None where they are not known. And return a note of what is on them, where it can be compared and that
        pays. To note everything would double the time of a first save, so of objects that lie alone on their pages only
        those are noted that were `written` since they were last looked at: what comes and goes there does so again.
        """
        contents = self._locate()
        if contents is None:
            return None, None
        if slots is not None:
            contents.add_table(*slots)
        pages = layout.pages(*contents.runs())
        if written is None and not self._scattered:
            return pages, None
        if self._known is None or not len(self.ids):  # where there is but the table, only changes write its pages
            return pages, None
        return pages, Same.noted(contents, pages, self._known, None if self._scattered else written)


def is_atom(value: Any) -> bool:
    """Tell whether a value is plain and holds no other."""
    return type(value) in ATOMS


def is_other(kind: type) -> bool:
    """Tell whether instances of a type that is no atom are plain and hold no other."""
    found = _Plain()
    return kind in found.python or kind in found.numpy


def are_atoms(values: list[Any]) -> bool:
    """Tell whether all values are plain and hold no other."""
    return set(map(type, values)) <= ATOMS


def is_array(cls: type) -> bool:
    """Tell whether a class is numpy's of arrays."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and cls is getattr(numpy, "ndarray", None)


def in_memory(array: Any) -> Any:
    """Return the elements of an array in one piece, in the order in which they lie in memory, as a view."""
    return array.reshape(-1, order="C" if array.flags.c_contiguous else "F")


def dumps(
    elements: tuple[list[Any], ...],
    token_of: Callable[[type], str] = classes.token_of,
    *,
    located: bool = True,
    outside: Mapping[int, str] = _NOTHING,
    most_bytes: int = MOST_BYTES,
) -> Made:
    """Return the pickle of some columns of plain values; NotPlainError where there is anything else. Without `located`
    nobody looks where in memory they are, which another thread may change at any moment. `outside` has tokens by the
    ids of objects that they stand for in the pickle.
    """
    kind = _LinkedPickler if outside else _Pickler
    pickler, stream = _dumped(kind(_Stream(most_bytes), token_of), elements, outside)
    if nans.inside(stream):
        pickler, stream = _dumped(_NansPickler(_Stream(most_bytes), token_of), elements, outside)
    found = _reached(pickler, elements, located=located)
    scattered = any(cls.__dictoffset__ for cls, is_simple in pickler.simple.items() if is_simple)
    tokens = set(outside.values())
    met = {each for each in _memo(pickler) if type(each) is str and each in tokens} if tokens else ()
    return Made(stream, frozenset(pickler.modules), pickler.classes, *found, scattered, frozenset(met))


def _dumped(pickler: _Pickler, elements: tuple[list[Any], ...], outside: Mapping[int, str]) -> tuple[_Pickler, bytes]:
    if isinstance(pickler, _LinkedPickler):
        pickler.outside = outside
    try:
        pickler.dump(elements)
    except NotPlainError:
        raise
    except Exception as error:  # it is nested too deep
        raise NotPlainError from error
    return pickler, b"".join(pickler.stream.pieces)


class _Stream:
    """What a pickle is written to; ends one that grows beyond what a part may have."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.pieces: list[bytes] = []
        self._most_bytes = most_bytes
        self._size_bytes = 0

    def write(self, piece: Any) -> int:
        """Take what the pickler gives, which may use the memory again."""
        data = bytes(piece)
        self._size_bytes += len(data)
        if self._size_bytes > self._most_bytes:
            raise NotPlainError
        self.pieces.append(data)
        return len(data)


class _Pickler(pickle.Pickler):
    __slots__ = ("_plain", "_token_of", "arrays", "classes", "dtypes", "made", "modules", "simple", "slotted", "stream")

    def __init__(self, stream: _Stream, token_of: Callable[[type], str] = classes.token_of) -> None:
        super().__init__(stream, protocol=5)
        self.stream = stream
        self.modules: set[str] = set()
        self.classes: dict[str, type] = {}
        self.simple: dict[type, bool] = {}  # classes of instances that it met
        self.slotted: dict[type, simple.Slots | None] = {}  # the same of those with slots; None for all others
        self.arrays: dict[int, int] = {}  # bytes of the arrays that it met, by id
        self.dtypes: set[int] = set()  # their ids
        self.made: list[int] = []  # ids of what was made here in their place
        self._plain = _Plain()
        self._token_of = token_of

    def reducer_override(self, obj: Any) -> Any:
        """Leave what is plain to pickle, and refuse all else."""
        kind = type(obj)
        if kind in self._plain.python or (kind is type and obj in self._plain.python):
            return nans.reduced(obj) if kind in (complex, decimal.Decimal) else NotImplemented
        is_simple = self.simple.get(kind)
        if is_simple is None:
            is_simple = self.simple[kind] = simple.is_simple(kind)
        if is_simple:
            attributes = obj.__dict__
            # Python keeps attributes nowhere as long as there are none, and pickle gives an object a plain dict of them
            if not attributes or type(attributes) is not dict or simple.may_hold_itself(kind, attributes.values()):
                raise NotPlainError
            return NotImplemented
        if kind in self._plain.numpy:
            self.modules.add("numpy")
            return nans.reduced(obj)
        slots = self._slots_of(kind)
        if slots is not None:
            if slots[0] and simple.may_hold_itself(kind, simple.state_of(obj, slots)[1]):
                raise NotPlainError
            return simple.reduce(kind, obj, slots)
        if kind in _PUT_IN:
            return _reduce_container(kind, obj)
        return self._reduce_array(obj) if kind is self._plain.array else self._by_name(kind, obj)

    def _by_name(self, kind: type, obj: Any) -> Any:
        if isinstance(obj, type) and (self.simple.get(obj) or self.slotted.get(obj) is not None):
            return self._class(obj)
        if any(obj is each for each in (marks.class_ref, simple.fill_slots, array, nans.kept, nans.complex_of)):
            return NotImplemented
        if self._plain.belongs(obj):
            self.modules.add("numpy")
            return NotImplemented
        if (kind is defaultdict and obj.default_factory in _FACTORIES) or (kind is type and obj in _KINDS):
            return NotImplemented
        raise NotPlainError

    def _slots_of(self, kind: type) -> simple.Slots | None:
        try:
            return self.slotted[kind]
        except KeyError:
            found = ((), ()) if simple.is_record(kind) else simple.slots_of(kind)
            self.slotted[kind] = found
            return found

    def _reduce_array(self, obj: Any) -> Any:
        """Return a small array that owns its memory, with its bytes."""
        flags, dtype = obj.flags, obj.dtype
        if obj.base is not None or not flags.owndata or not flags.forc or obj.nbytes >= ARRAY_BYTES:
            raise NotPlainError
        if dtype.kind not in "biufc" or not dtype.isnative or dtype.metadata is not None:
            raise NotPlainError
        order = "C" if flags.c_contiguous else "F"
        data, shape = obj.tobytes(order), obj.shape
        if len(data) != math.prod(shape) * dtype.itemsize:  # another thread gave it another size in between
            raise NotPlainError
        self.arrays[id(obj)] = len(data)
        self.dtypes.add(id(dtype))
        if len(data) >= BIG_BYTES:
            self.made.append(id(data))
        self.modules.add("numpy")
        return array, (data, dtype, shape, order, flags.writeable)

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


def _reduce_container(kind: Any, obj: Any) -> Any:
    """Return how to make a container of the standard library again, which has no attributes."""
    if object.__getstate__(obj) is not None:
        raise NotPlainError
    if kind is deque:
        return deque, ((), obj.maxlen), None, iter(obj)
    return copyreg.__newobj__, (kind,), None, None, iter(kind.items(obj))  # type: ignore[attr-defined]


class _LinkedPickler(_Pickler):
    """Asks of each object whether it is outside; a method, since from Python 3.13 on only a class may have that."""

    __slots__ = ("outside",)
    outside: Mapping[int, str]

    def persistent_id(self, obj: Any) -> str | None:
        return self.outside.get(id(obj))


class _NansPickler(_LinkedPickler):
    __slots__ = ()

    def persistent_id(self, obj: Any) -> str | None:
        if type(obj) is float:
            return nans.token_of(obj) if obj != obj else None  # noqa: PLR0124 - as NaN does
        return self.outside.get(id(obj))


def array(data: bytes, dtype: Any, shape: tuple[int, ...], order: Any, writeable: bool) -> Any:  # noqa: FBT001 - pickled
    """Return an array with memory of its own."""
    import numpy as np

    found: Any = np.ndarray(shape, dtype, data, 0, None, order).copy(order)
    if not writeable:
        found.flags.writeable = False
    return found


class _Plain:
    """The types that are plain, as far as they are loaded."""

    def __init__(self) -> None:
        # what the person told pickle to reduce otherwise would run code of theirs
        own = {kind for kind in copyreg.dispatch_table if kind is not complex}
        self.python = (ATOMS | _OTHERS) - own
        self.numpy: set[Any] = set()
        self.array: Any = None
        self._of_numpy: tuple[Any, ...] = ()
        numpy = sys.modules.get("numpy")
        if numpy is not None and hasattr(numpy, "timedelta64"):
            self.numpy = {getattr(numpy, name) for name in _NUMPY} - own
            self._dtype = numpy.dtype
            self.array = numpy.ndarray if layout.arrays_work() and numpy.ndarray not in own else None
            self._of_numpy = (numpy.float64(0).__reduce__()[0], numpy.dtype)

    def belongs(self, obj: Any) -> bool:
        """Tell whether a scalar of numpy is pickled with it: a function of numpy's, or a dtype of a plain type."""
        if not self._of_numpy:
            return False
        if any(obj is each for each in self._of_numpy):
            return True
        return isinstance(obj, self._dtype) and obj.type in self.numpy and obj.metadata is None


def _reached(pickler: _Pickler, elements: tuple[list[Any], ...], *, located: bool) -> tuple[Any, Any, Any, Any]:
    """Return of what a pickler met: the ids of objects that can be shared and change, where the memory of arrays begins
    and ends, and which memory tells what all of it holds (None where that is not known).
    """
    import numpy as np

    met = _memo(pickler)
    ids = layout.ids(met)
    mine: list[Any] = [
        pickler.modules,
        pickler.classes,
        pickler.simple,
        pickler.slotted,
        pickler.arrays,
        pickler.dtypes,
    ]
    mine += [pickler.outside] if isinstance(pickler, _LinkedPickler) else []
    for own in (*map(id, (*elements, *mine, pickler.made)), *pickler.made):
        ids = ids[ids != own]
    kinds = layout.words(ids + np.uint64(8))
    if (kinds == id(pickle.PickleBuffer)).any():
        raise NotPlainError
    changing = [ids[kinds == id(kind)] for kind in _CHANGE]
    texts = [of[layout.sizes(of) >= BIG_BYTES] for of in (ids[kinds == id(str)], ids[kinds == id(bytes)])]
    tuples = ids[kinds == id(tuple)]
    instances = [(cls, ids[kinds == id(cls)]) for cls, is_simple in pickler.simple.items() if is_simple]
    instances += [(cls, ids[kinds == id(cls)]) for cls, slots in pickler.slotted.items() if slots and slots[0]]
    arrays = np.fromiter(pickler.arrays, "u8", len(pickler.arrays))
    shared = [*changing, *texts, tuples[layout.sizes(tuples) > FEW], *(of for _, of in instances), arrays]
    reached = np.sort(np.concatenate(shared))
    memory = None
    if len(arrays):
        runs = layout.array_data(arrays, np.fromiter(pickler.arrays.values(), "u8", len(arrays)))
        order = np.argsort(runs[0])
        memory = runs[0][order], runs[1][order]
    if not located:
        return reached, memory, lambda: None, None
    locate = functools.partial(_located, changing, instances, arrays, memory)
    return reached, memory, locate, _types(pickler, instances)


def _located(changing: list[Any], instances: list[tuple[type, Any]], arrays: Any, memory: Any) -> Contents | None:
    contents = Contents()
    known = all(contents.add(kind, of) for kind, of in zip(_CHANGE, changing, strict=True))
    for cls, of in instances:
        contents.add_instances(cls, of)
    if memory is not None:
        contents.add_arrays(arrays, memory)
    return contents if known else None


def _types(pickler: _Pickler, instances: list[tuple[type, Any]]) -> Known | None:
    """Return which types a pickle met; None where an array's dtype may go away."""
    if pickler.arrays and not pickler.dtypes <= _lasting_dtypes():
        return None
    containers = [*_CHANGE, *(cls for cls, _ in instances), *([sys.modules["numpy"].ndarray] if pickler.arrays else [])]
    return Known.of(containers, [tuple, *(cls for cls, slots in pickler.slotted.items() if slots and not slots[0])])


@functools.cache
def _lasting_dtypes() -> frozenset[int]:
    """Return the ids of the dtypes of which there is one each."""
    numpy = sys.modules["numpy"]
    return frozenset(id(numpy.dtype(code)) for code in "?bBhHiIlLqQefdgFDG")


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
