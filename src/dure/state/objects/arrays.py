"""numpy arrays as memory and views of it, so that views stay views and every byte is kept once.

Each array is either a root (its memory is a buffer of the pickle) or a view: a root, a type, a shape, strides and an
offset. The one trap: an array's base may be anything; memory that belongs to a file or to another mutable buffer is
never quietly copied, while memory inside another library's object is, as that library's own pickles do.
"""

from __future__ import annotations

import gc
import io
import itertools
import math
import mmap
import sys
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from dure.state.cut.columns import reduce_column, reduce_cut
from dure.state.libraries import others
from dure.state.memory.regions import Block, Mapped
from dure.state.objects import rebuild
from dure.state.objects.elements import reduce_elements
from dure.state.objects.lenders import EXPORTERS, memory_below, span_of
from dure.state.objects.refusals import RESIZED, RefusedError

if TYPE_CHECKING:
    from dure.state.objects.pickling import Reducer, Shared

_OWNED_BYTES = 256 * 1024  # a smaller restored array owns its memory, as an array that was never saved would
_BYTES_IO = type(io.BytesIO().getbuffer().obj)
_BASES = 64  # how far down to look for a file


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of numpy's arrays, iterators over them and records; None for other types."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if issubclass(kind, numpy.void):
        return lambda _, record: reduce_record(record)
    array = issubclass(kind, numpy.ndarray | numpy.flatiter)
    return (lambda pickler, array: reduce_array(array, pickler.shared)) if array else None


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
        tensor = memory_below(top)
        return (
            _on_storage(array, tensor.untyped_storage())
            if _is_tensor(tensor) and array.nbytes
            else _view_of(array, top)
        )
    return _top(array, shared)


def _top(array: Any, shared: Shared) -> Any:
    """Return the reduction of an array that is no view of another one."""
    below = memory_below(array)
    if isinstance(below, EXPORTERS) and not isinstance(below, Block | Mapped) and array.nbytes:
        return _view_of(array, below)
    if isinstance(below, _BYTES_IO) and array.nbytes:
        make, (_, *place) = _view_of(array, below)
        return (on_bytes_io, (gc.get_referents(below)[-1], *place)) if make is view else (make, (_, *place))
    if _is_tensor(below):
        return _on_storage(array, below.untyped_storage())
    if array.flags.writeable and array.nbytes and type(below).__name__ == "Buffer" and _is_of("pyarrow", below):
        return _view_of(array, below)
    if _opaque(array.dtype):
        cut = shared.cutter.contents.get(id(array))
        found = reduce_elements(array, shared.watching) if cut is None else reduce_cut(array, cut)
        if found is NotImplemented:
            found = reduce_column(array, shared.watching(), shared.cutter.saved)
        if found is NotImplemented and not array.flags.writeable:
            return (*array.__reduce__(), None, None, set_locked)  # numpy's own pickle forgets it
        return found
    if not array.flags.owndata and array.nbytes and not isinstance(below, Block | Mapped | bytes):
        low, high = span_of(array)
        found = shared.lenders.lender(array, low, high - low)  # a C pointer, another library's object
        if found is not None:
            return _view_of(array, found[0])
    elif array.flags.forc:
        shared.lenders.own(array)
    return _root(array)


def _pickled_as(kind: Any, other: Any) -> bool:
    """Tell whether a subclass has no way of its own to be pickled."""
    return all(getattr(kind, way) is getattr(other, way) for way in ("__reduce__", "__getstate__", "__setstate__"))


def reduce_record(record: Any) -> Any:
    """Return the reduction of one record of a structured array, which writes to the array."""
    numpy = sys.modules["numpy"]
    if not isinstance(record.base, numpy.ndarray) or _opaque(record.dtype):
        return NotImplemented
    top = record.base
    while (below := _array_below(top)) is not None:
        top = below
    start = int(numpy.frombuffer(record.data, "u1").__array_interface__["data"][0]) - span_of(top)[0]
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


def _on_storage(array: Any, storage: Any) -> Any:
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
    below = memory_below(array)
    return below if isinstance(below, sys.modules["numpy"].ndarray) else None


def _file_below(array: Any) -> Any:
    base = array.base
    for _ in range(_BASES):  # Cython's memory views are each other's base for ever
        if base is None or isinstance(base, mmap.mmap):
            return base
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return None


def _view_of(array: Any, source: Any) -> Any:
    numpy = sys.modules["numpy"]
    if hasattr(source, "data_ptr"):
        return _on_storage(array, source)
    start, end = span_of(source)
    if _opaque(array.dtype):
        if not isinstance(source, numpy.ndarray) or source.dtype != array.dtype or not source.flags.forc:
            raise RefusedError(array, "a view of an object array in another layout; copy it to save it")
        if array.dtype.kind == "T" and (array.ndim != 1 or array.strides[0] == 0):
            raise RefusedError(array, "a view of an array of texts in another layout; copy it to save it")
    elif isinstance(source, numpy.ndarray) and not source.flags.forc and not _dense(source):
        return _root(array)
    offset = int(array.__array_interface__["data"][0]) - start
    if array.size and not 0 <= offset < max(end - start, 1):
        return _root(array)
    place = (_type_of(array), array.shape, array.strides, offset, bool(array.flags.writeable))
    return view, (source, *place)


def _dense(array: Any) -> bool:
    low, high = span_of(array)
    return bool(high - low == array.nbytes) and all(stride >= 0 for stride in array.strides)


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
    """Return an array on `buffer`: with memory of its own where that is small, else on the restored memory itself."""
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
    """Give a masked array its mask, which it may share with another one, its fill value and its other attributes."""
    target.__dict__.clear()
    target.__dict__.update(state)
