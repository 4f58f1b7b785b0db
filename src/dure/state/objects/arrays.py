"""numpy arrays as memory and views of it, so that views stay views and every byte is kept once.

Each array is either a root (its memory is a buffer of the pickle) or a view: a root, a type, a shape, strides
and an offset. The one trap: an array's base may be anything; memory that belongs to a file or to another
mutable buffer is never quietly copied, while memory inside another library's object is, as that library's own
pickles do.
"""

from __future__ import annotations

import array as arraymodule
import bisect
import ctypes
import gc
import io
import itertools
import math
import mmap
import sys
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from dure.state.cut.columns import reduce_column
from dure.state.libraries import others
from dure.state.memory.regions import Block, Mapped
from dure.state.objects import rebuild
from dure.state.objects.elements import reduce_elements
from dure.state.objects.exporters import C_VALUES
from dure.state.objects.refusals import RESIZED, RefusedError

if TYPE_CHECKING:
    from dure.state.objects.pickling import Shared

_OWNED_BYTES = 256 * 1024  # a smaller restored array owns its memory, as an array that was never saved would
_MUTABLE = (bytearray, arraymodule.array, *C_VALUES)
_BYTES_IO = type(io.BytesIO().getbuffer().obj)
_BASES = 64  # how far down to look for a file


class Memory:
    """Which arrays own which memory, so that torch's storages on the same memory are saved as parts of them.

    `missed` says that an array was met after a storage on its memory, which then must be pickled once more.
    """

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._owners: dict[int, tuple[int, Any]] = {}
        self._storages: list[tuple[int, int]] = []
        self.borrowed: list[tuple[int, int]] = []  # where that of storages and arrays is which own none
        self._tops: list[Any] = []  # arrays that own memory, of which nobody has asked where it is
        self._lent: list[Any] = []
        self._all = False
        self._missed = False
        self._stand_ins: set[int] = set()  # ids of the owners that own none, of which they are the largest
        self._torn: set[tuple[int, int]] = set()  # the memory of arrays which only in part is that of others

    @property
    def missed(self) -> bool:
        """Whether what was met must be pickled again, now that the owners are known."""
        if self._lent:
            self._all = True
            for array in self._tops:
                self.own(array)
            self._tops.clear()
            # two arrays on one memory of which neither owns it share it, too: the larger one stands for it
            for array in sorted(self._lent, key=lambda each: -each.nbytes):
                if array.flags.forc and self._owner(*_address(array)) is None:
                    self._stand_in(array)
            self._judge([(array, self._owner(*_address(array))) for array in self._lent])
            self._lent.clear()
        return self._missed

    def _judge(self, found: list[tuple[Any, tuple[Any, int] | None]]) -> None:
        """Find among arrays which own no memory, with who owns it, those that must be pickled as parts of another, and
        those on a part of the memory of another.
        """
        self._missed = self._missed or any(
            owner is not None and owner[0] is not array and not _of_one(array, owner[0]) for array, owner in found
        )
        found.sort(key=lambda each: _address(each[0]))
        last: tuple[int, Any, Any] = (0, None, None)
        for array, owner in found:
            low, size = _address(array)
            below = array if owner is None else owner[0]
            apart = low < last[0] and below is not last[2] and not _of_one(array, last[1])
            if apart and (array.flags.writeable or last[1].flags.writeable):
                self._torn |= {_address(array), _address(last[1])}
                self._missed = True
            if low + size > last[0]:
                last = (low + size, array, below)

    def own(self, array: Any) -> None:
        """Note that an array owns its memory."""
        if not array.nbytes:
            return
        if "torch" not in sys.modules and not self._all:
            self._tops.append(array)
            return
        low, size = _address(array)
        if low not in self._owners:
            bisect.insort(self._lows, low)
        elif self._owners[low][0] >= low + size:
            return
        self._owners[low] = (low + size, array)
        self._missed = self._missed or any(low < high and start < low + size for start, high in self._storages)

    def _stand_in(self, array: Any) -> None:
        self.own(array)
        if self._owners.get(_address(array)[0], (0, None))[1] is array:
            self._stand_ins.add(id(array))

    def owner(self, low: int, size_bytes: int) -> tuple[Any, int] | None:
        """Return the array that owns a storage's memory and where in it the storage begins; None where none does."""
        found = self._owner(low, size_bytes)
        if found is None:
            self._storages.append((low, low + size_bytes))
            self.borrowed.append((low, low + size_bytes))
        return found

    def _owner(self, low: int, size_bytes: int) -> tuple[Any, int] | None:
        index = bisect.bisect_right(self._lows, low) - 1
        if index >= 0:
            high, array = self._owners[self._lows[index]]
            if low + size_bytes <= high:
                return array, low - self._lows[index]
        return None

    def below(self, array: Any) -> Any:
        """Return the array whose memory one without memory of its own is on; None where it is not known."""
        if _address(array) in self._torn:
            raise RefusedError(array, "an array on a part of another array's memory; numpy.array(…) of it can be saved")
        found = self._owner(*_address(array)) if self._all else None
        if found is not None and found[0] is not array:
            return found[0]
        self._lent.append(array)
        low, size = _address(array)
        self.borrowed.append((low, low + size))
        if "torch" in sys.modules and array.flags.forc:
            self._stand_in(array)
        return None

    def again(self, *, owned: bool = False) -> None:
        """Begin another round with what is known now; only of arrays that own memory where others may be met that do,
        if `owned` says so.
        """
        if owned:
            self._owners = {low: found for low, found in self._owners.items() if id(found[1]) not in self._stand_ins}
            self._lows = sorted(self._owners)
            self._stand_ins.clear()
            self._torn.clear()
        self._storages.clear()
        self.borrowed.clear()
        self._missed = False


def reduce_array(array: Any, shared: Shared) -> Any:
    """Return the reduction of an array or of an iterator over all of one; NotImplemented for its type's own pickling.

    `shared.plains` holds, for arrays of a subclass that own memory, the plain array which stands for that memory, so
    that two variables find the same one.
    """
    numpy = sys.modules["numpy"]
    plains = shared.plains
    kind = type(array)
    if kind is numpy.flatiter:
        return flat, (array.base, array.index)
    if isinstance(array, numpy.memmap) or _file_below(array) is not None:
        raise RefusedError(array, "an array on a memory-mapped file; numpy.array(…) of it holds its content and can be")
    if issubclass(kind, numpy.ma.MaskedArray) and _pickled_as(kind, numpy.ma.MaskedArray):
        return masked, (array.data, kind), vars(array), None, None, set_masked
    if kind is not numpy.ndarray and kind.__reduce__ is not numpy.ndarray.__reduce__ and not others.refuses(kind):
        return NotImplemented
    if kind is not numpy.ndarray:
        state = getattr(array, "__dict__", None) or None
        plain = _plain_of(array, plains) if array.base is None else array.view(numpy.ndarray)
        return subclass, (kind, plain, _type_of(array)), state, None, None, rebuild.set_state
    if id(array) in plains and plains[id(array)][1] is array:
        return _root(array)
    top = array
    while (below := _array_below(top)) is not None:
        top = below
    if type(top) is not numpy.ndarray:
        top = _plain_of(top, plains)
    if top is not array:
        tensor = _memory_below(top)
        return _on_tensor(array, tensor) if _is_tensor(tensor) and array.nbytes else _view_of(array, top)
    return _top(array, shared)


def _top(array: Any, shared: Shared) -> Any:
    """Return the reduction of an array that is no view of another one."""
    below = _memory_below(array)
    if isinstance(below, _MUTABLE) and not isinstance(below, Block | Mapped) and array.nbytes:
        return _view_of(array, below)
    if isinstance(below, _BYTES_IO) and array.nbytes:
        make, (_, *place) = _view_of(array, below)
        return (on_bytes_io, (gc.get_referents(below)[-1], *place)) if make is view else (make, (_, *place))
    if _is_tensor(below):
        return _on_tensor(array, below)
    if array.flags.writeable and array.nbytes and type(below).__name__ == "Buffer" and _is_of("pyarrow", below):
        return _view_of(array, below)
    if _opaque(array.dtype):
        found = reduce_elements(array, shared.watching)
        if found is NotImplemented:
            found = reduce_column(array, shared.watching(), shared.cutter.saved)
        if found is NotImplemented and not array.flags.writeable:
            return (*array.__reduce__(), None, None, set_locked)  # numpy's own pickle forgets it
        return found
    if not array.flags.owndata and array.nbytes and not isinstance(below, Block | Mapped | bytes):
        owner = shared.memory.below(array)  # a C pointer, another library's object
        if owner is not None:
            return _view_of(array, owner)
    elif array.flags.forc:
        shared.memory.own(array)
    return _root(array)


def _pickled_as(kind: Any, other: Any) -> bool:
    """Tell whether a subclass has no way of its own to be pickled."""
    return all(getattr(kind, way) is getattr(other, way) for way in ("__reduce__", "__getstate__", "__setstate__"))


def _memory_below(array: Any) -> Any:
    """Return what an array's memory is of; None where nothing that is known has it."""
    below: Any = array.base
    if type(below).__name__ == "DummyArray":  # what as_strided and sliding_window_view put between
        below = below.base
    if isinstance(below, memoryview):
        below = below.obj
    while isinstance(below, C_VALUES):
        it: Any = below
        if it._b_base_ is None and it._b_needsfree_:
            break
        below = it._b_base_  # a field, or what a pointer points to
        if below is None:  # from_buffer keeps what it was made from
            kept = getattr(it, "_objects", None)
            source = kept.get("ffffffff") if isinstance(kept, dict) else None
            below = source.obj if isinstance(source, memoryview) else None
    return None if isinstance(below, ctypes._Pointer) else below  # noqa: SLF001 - the type has no public name


def _of_one(array: Any, other: Any) -> bool:
    """Tell whether two arrays were made by one object on its memory, which has a way of its own to be pickled: each
    time it is asked, it makes others.
    """
    below: Any = _memory_below(array)
    ways = ("__reduce__", "__reduce_ex__", "__getstate__")
    own = any(getattr(type(below), way, None) is not getattr(object, way, None) for way in ways)
    return below is not None and below is _memory_below(other) and own


def reduce_record(record: Any) -> Any:
    """Return the reduction of one record of a structured array, which writes to the array."""
    numpy = sys.modules["numpy"]
    if not isinstance(record.base, numpy.ndarray) or _opaque(record.dtype):
        return NotImplemented
    top = record.base
    while (below := _array_below(top)) is not None:
        top = below
    start = int(numpy.frombuffer(record.data, "u1").__array_interface__["data"][0]) - _address(top)[0]
    if not top.flags.c_contiguous or not 0 <= start <= top.nbytes - record.nbytes:
        return NotImplemented
    place = numpy.ndarray((), record.dtype, top, start)
    if not record.flags.writeable:
        place.flags.writeable = False
    return of_view, (place,)


def of_view(place: Any) -> Any:
    """Return the element of an array without dimensions, as a view where it is a record."""
    return place[()]


def set_locked(array: Any, state: Any) -> None:
    """Give an array its elements, and lock it."""
    array.__setstate__(state)
    array.flags.writeable = False


def _is_tensor(value: Any) -> bool:
    return _is_of("torch", value) and hasattr(value, "untyped_storage")


def _is_of(package: str, value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == package


def _on_tensor(array: Any, tensor: Any) -> Any:
    storage = tensor.untyped_storage()
    offset = int(array.__array_interface__["data"][0]) - storage.data_ptr()
    place = (_type_of(array), array.shape, array.strides, offset, bool(array.flags.writeable))
    return on_storage, (storage, *place)


def _plain_of(array: Any, plains: dict[int, Any]) -> Any:
    found = plains.get(id(array))
    if found is None or found[0] is not array:
        plain = array.view(sys.modules["numpy"].ndarray)
        found = plains[id(array)] = (array, plain)
        plains[id(plain)] = (None, plain)
    return found[1]


def _array_below(array: Any) -> Any:
    """Return the array whose memory it is a view of; None where it is no view of one."""
    below = _memory_below(array)
    return below if isinstance(below, sys.modules["numpy"].ndarray) else None


def _file_below(array: Any) -> Any:
    base = array.base
    for _ in range(_BASES):  # Cython's memory views are each other's base for ever
        if base is None or isinstance(base, mmap.mmap):
            return base
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return None


def _address(source: Any) -> tuple[int, int]:
    """Return where a buffer starts and how many bytes it has."""
    numpy = sys.modules["numpy"]
    if isinstance(source, numpy.ndarray):
        low, high = _byte_bounds(source)
        return low, high - low
    whole = numpy.frombuffer(source, "u1")
    return int(whole.__array_interface__["data"][0]), int(whole.nbytes)


def _byte_bounds(array: Any) -> tuple[int, int]:
    numpy = sys.modules["numpy"]
    utils = getattr(numpy.lib, "array_utils", numpy)  # numpy 1 has it at the top
    low, high = utils.byte_bounds(array)
    return int(low), int(high)


def _view_of(array: Any, source: Any) -> Any:
    numpy = sys.modules["numpy"]
    start, size = _address(source)
    if _opaque(array.dtype):
        if not isinstance(source, numpy.ndarray) or source.dtype != array.dtype or not source.flags.forc:
            raise RefusedError(array, "a view of an object array in another layout; copy it to save it")
        if array.dtype.kind == "T" and (array.ndim != 1 or array.strides[0] == 0):
            raise RefusedError(array, "a view of an array of texts in another layout; copy it to save it")
    elif isinstance(source, numpy.ndarray) and not source.flags.forc and not _dense(source):
        return _root(array)
    offset = int(array.__array_interface__["data"][0]) - start
    if array.size and not 0 <= offset < max(size, 1):
        return _root(array)
    place = (_type_of(array), array.shape, array.strides, offset, bool(array.flags.writeable))
    return view, (source, *place)


def _dense(array: Any) -> bool:
    start, size = _address(array)
    return bool(size == array.nbytes) and all(stride >= 0 for stride in array.strides) and start >= 0


def _root(array: Any) -> Any:
    if _opaque(array.dtype):
        # numpy's own pickle: the elements are references, which go through the pickler
        return NotImplemented
    writeable = bool(array.flags.writeable)
    shape = array.shape
    if array.flags.c_contiguous:
        return root, (_bytes_of(array, shape, "C"), _type_of(array), shape, "C", writeable)
    if array.flags.f_contiguous:
        return root, (_bytes_of(array, shape, "F"), _type_of(array), shape, "F", writeable)
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    turned = array.transpose(order)
    if not turned.flags.c_contiguous:
        # a view into memory that another library owns: its elements are what can be kept
        return root, (_bytes_of(array.copy("C"), shape, "C"), _type_of(array), shape, "C", writeable)
    back = tuple(order.index(axis) for axis in range(array.ndim))
    return transposed, (_bytes_of(turned, turned.shape, "C"), _type_of(array), turned.shape, back, writeable)


def _type_of(array: Any) -> Any:
    """Return the array's type, of which numpy has one object: two that say the same would look like a change."""
    dtype = array.dtype
    if dtype.metadata is not None or dtype.kind not in "biufc":
        return dtype
    known = sys.modules["numpy"].dtype(dtype.str)
    return known if known == dtype else dtype


def _opaque(dtype: Any) -> bool:
    return bool(dtype.hasobject) or dtype.kind == "T"


def _bytes_of(array: Any, shape: tuple[int, ...], order: str) -> Any:
    # as plain bytes, because times have no buffer format of their own
    flat = array.reshape(-1, order=order).view("u1") if array.nbytes else b""
    if len(flat) != math.prod(shape) * array.itemsize:  # resize(refcheck=False), which other views cannot bear either
        raise RefusedError(array, RESIZED)
    return PickleBuffer(flat) if len(flat) else b""


def root(buffer: Any, dtype: Any, shape: tuple[int, ...], order: Any, writeable: bool) -> Any:  # noqa: FBT001 - pickled
    """Return an array on `buffer`: with memory of its own where that is small, else on the restored memory
    itself.
    """
    import numpy as np

    array: Any = np.ndarray.__new__(np.ndarray, shape, dtype, buffer, 0, None, order)
    if array.nbytes < _OWNED_BYTES or not isinstance(array.base, Mapped | Block):
        own = np.empty(shape, dtype, order)
        if own.nbytes:
            # as bytes: numpy's own copy leaves out the padding between fields, which then looks like a change
            own.reshape(-1, order=order).view("u1")[:] = array.reshape(-1, order=order).view("u1")
        array = own
    if array.flags.writeable != writeable:
        array.flags.writeable = writeable
    return array


def transposed(buffer: Any, dtype: Any, shape: tuple[int, ...], axes: tuple[int, ...], writeable: bool) -> Any:  # noqa: FBT001 - pickled
    """Return an array whose axes lie in memory in another order."""
    return root(buffer, dtype, shape, "C", writeable).transpose(axes)


def view(  # noqa: PLR0917 - pickled by position
    source: Any,
    dtype: Any,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
    writeable: bool,  # noqa: FBT001 - pickled
) -> Any:
    """Return a view of an array's or another buffer's memory."""
    import numpy as np

    if _opaque(dtype):
        first = offset // dtype.itemsize
        locked = writeable and not source.flags.writeable  # as below
        if locked:
            source.flags.writeable = True
        if dtype.kind == "T":  # which as_strided does not know
            found: Any = source.ravel("K")[first :: strides[0] // dtype.itemsize][: shape[0]]
        else:
            found = np.lib.stride_tricks.as_strided(source.ravel("K")[first:], shape, strides)
        if locked:
            source.flags.writeable = False
    else:
        memory = source
        if isinstance(source, np.ndarray) and not source.flags.forc:
            memory = source.transpose(sorted(range(source.ndim), key=lambda axis: -source.strides[axis]))
        if isinstance(memory, np.ndarray) and not memory.flags.writeable and writeable:
            # numpy lets a view be writable only while its base is; a base locked later comes back unlocked first
            memory.flags.writeable = True
            found = np.ndarray.__new__(np.ndarray, shape, dtype, memory, offset, strides)
            memory.flags.writeable = False
            return found
        found = np.ndarray.__new__(np.ndarray, shape, dtype, memory, offset, strides)
    if found.flags.writeable and not writeable:
        found.flags.writeable = False
    return found


def flat(array: Any, index: int) -> Any:
    """Return an iterator over all elements of an array, at its position."""
    found = array.flat
    for _ in itertools.islice(found, index):
        pass
    return found


def on_bytes_io(memory: Any, *place: Any) -> Any:
    """Return an array on the memory of a BytesIO."""
    return view(memory.getbuffer(), *place)


def on_storage(  # noqa: PLR0917 - pickled by position
    storage: Any,
    dtype: Any,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
    writeable: bool,  # noqa: FBT001 - pickled
) -> Any:
    """Return an array on the memory of a torch storage."""
    import torch

    if storage.device.type != "cpu":
        storage = storage.cpu()
    return view(torch.empty(0, dtype=torch.uint8).set_(storage).numpy(), dtype, shape, strides, offset, writeable)


def subclass(kind: type, plain: Any, dtype: Any) -> Any:
    """Return the same memory as an array of a subclass."""
    found = plain.view(kind)
    if found.dtype != dtype:
        found.dtype = dtype
    return found


def set_attributes(target: Any, state: dict[str, Any]) -> None:
    """Give an object the attributes that it had."""
    target.__dict__.update(state)


def masked(data: Any, kind: Any) -> Any:
    """Return the same memory as a masked array that does not have its mask yet."""
    return data.view(kind)


def set_masked(target: Any, state: dict[str, Any]) -> None:
    """Give a masked array its mask, which may be that of another, its fill value and what else it had."""
    target.__dict__.clear()
    target.__dict__.update(state)
