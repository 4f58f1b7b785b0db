"""Which reducer there is for a type: one table, and rules for the types that it does not name.

What needs the pickler (classes, functions, modules, what is in parts) is reduced by its own methods. The one trap: a
reducer is kept by type, so none may depend on the object that it was asked for first.
"""

from __future__ import annotations

import array
import collections
import copyreg
import dataclasses
import functools
import gc
import inspect
import io
import itertools
import logging
import os
import struct
import sys
import types
import typing
import weakref
from typing import TYPE_CHECKING, Any

from dure.state.cut.pieces import Closing, StandIn
from dure.state.libraries import figures, frames, others, tensors
from dure.state.objects import (
    arrays,
    attributes,
    classes,
    containers,
    deep,
    errors,
    instances,
    labels,
    lenders,
    marks,
    nans,
    owned,
    rebuild,
    standard,
    ties,
    typed,
)
from dure.state.objects.refusals import RefusedError, reason_for

if TYPE_CHECKING:
    from dure.state.objects.pickling import GroupPickler, Reducer

_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
# dataclasses compares with these by identity
_SINGLETONS = {type(getattr(dataclasses, name)): name for name in ("MISSING", "_HAS_DEFAULT_FACTORY", "KW_ONLY")}
_CYTHON = ("cython_function_or_method", "fused_cython_function")  # each module has types of its own of these names
_ORDERED: collections.OrderedDict[Any, Any] = collections.OrderedDict()
# reducers that only add to what their libraries do: whoever shares an object is still to be looked for (`ties`)
_PARTLY = (*figures.PARTLY, *others.PARTLY, *tensors.PARTLY)


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of instances of `kind`, or None for pickle's own way."""
    if issubclass(kind, type):
        return lambda pickler, cls: pickler.reduce_class(cls)
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if kind in _SINGLETONS:
        return lambda *_: (getattr, (dataclasses, _SINGLETONS[kind]))
    if issubclass(kind, io.IOBase) and not issubclass(kind, io.StringIO | io.BytesIO):
        return _file
    if issubclass(kind, types.ModuleType):
        return lambda pickler, module: pickler.reduce_module(module)
    if kind.__name__ in _CYTHON and hasattr(kind, "__code__"):
        return _compiled
    reason = reason_for(kind)
    if issubclass(kind, logging.Logger) or reason is not None:
        return standard.logger if reason is None else functools.partial(_refuse, reason)
    return standard.kept_by_module(kind, nans.reducer_for(kind) or _own_reducer(kind))


def _own_reducer(kind: type) -> Reducer | None:
    own = (
        containers.reducer_for(kind) or errors.reducer_for(kind) or _subclass_reducer(kind) or attributes.slotted(kind)
    )
    if own is None:
        library = _library_reducer(kind)
        plain = instances.reducer_for(kind) if library is None else None
        if plain is not None:
            return _bare(kind, plain)
        own = attributes.guarded(kind, library)
        if library is None or library in _PARTLY:
            return ties.noted(kind, _bare(kind, attributes.settled(kind, own)))
    return _bare(kind, attributes.settled(kind, own))


def _bare(kind: type, reducer: Reducer | None) -> Reducer | None:
    """Return `reducer` made so that a load does not call the `__new__` of the class. Pickle would, with the class as
    its only argument; a person's own may count its calls, or ask for more.
    """
    maker = next(cls for cls in kind.__mro__ if "__new__" in vars(cls))
    if not isinstance(kind.__new__, types.FunctionType) or (classes.by_reference(maker) and _asked_alone(kind)):
        return reducer
    registered = attributes.registered(kind) is not None

    def reduce(pickler: GroupPickler, value: Any) -> Any:
        made = NotImplemented if reducer is None else reducer(pickler, value)
        if made is NotImplemented and not registered:
            made = value.__reduce_ex__(5)
        plain = isinstance(made, tuple) and made[0] in (copyreg.__newobj__, instances.begun)  # type: ignore[attr-defined]
        arguments = made[1] if plain else ()
        alone = len(arguments) == 1 + (plain and made[0] is instances.begun)
        return (rebuild.bare, arguments, *made[2:]) if plain and alone else made

    return reduce


def _asked_alone(kind: type) -> bool:
    try:
        inspect.signature(kind.__new__).bind(kind)
    except TypeError:
        return False
    except ValueError:  # it does not say what it asks for
        return True
    return True


def _subclass_reducer(kind: type) -> Reducer | None:
    below = _plain_subclass(kind)
    if below is not None:
        return lambda _, value: (
            rebuild.plain_subclass,
            (below, kind, *_value_of(below, value)),
            object.__getstate__(value) or None,
            None,
            None,
            rebuild.set_state,
        )
    if _answers_all(kind):
        return lambda _, value: (*(*value.__reduce_ex__(5), None, None)[:5], rebuild.set_state)
    return None


def _answers_all(kind: type) -> bool:
    """Tell whether instances answer for every attribute, so that one without its state may ask itself for ever."""
    asked: Any = kind
    plain = asked.__reduce_ex__ is object.__reduce_ex__ and asked.__reduce__ is object.__reduce__
    return (
        isinstance(getattr(kind, "__getattr__", None), types.FunctionType)
        and plain
        and not hasattr(kind, "__setstate__")
        and kind not in copyreg.dispatch_table
    )


def _refuse(reason: str, _: GroupPickler, value: Any) -> Any:
    raise RefusedError(value, reason)


def _library_reducer(kind: type) -> Reducer | None:
    libraries = (arrays, labels, frames, figures, tensors, lenders, others)
    return next((found for each in libraries if (found := each.reducer_for(kind)) is not None), None)


def _method(pickler: GroupPickler, method: types.MethodType) -> Any:
    if id(method.__self__) in pickler.own:  # a class that may ask for it before it has its attributes
        return types.MethodType, (method.__func__, method.__self__)
    name = method.__func__.__name__ if hasattr(method.__func__, "__name__") else ""
    owner = method.__self__ if isinstance(method.__self__, type) else type(method.__self__)
    held = getattr(owner, name, None)
    shadowed = owner is not method.__self__ and name in getattr(method.__self__, "__dict__", ())
    if name and not shadowed and getattr(held, "__func__", held) is method.__func__:
        return rebuild.attribute, (method.__self__, name)
    return types.MethodType, (method.__func__, method.__self__)


def _builtin(pickler: GroupPickler, function: types.BuiltinFunctionType) -> Any:
    if isinstance(function.__self__, types.ModuleType) or function.__self__ is None:
        pickler.by_name(function, function.__module__)
    return NotImplemented


def _compiled(pickler: GroupPickler, function: Any) -> Any:
    return pickler.by_name(function, function.__module__) if classes.by_reference(function) else NotImplemented


def _memory_view(_: GroupPickler, view: memoryview) -> Any:
    source = view.obj
    if not view.c_contiguous or (
        not isinstance(source, bytes | bytearray | array.array) and type(source).__name__ != "ndarray"
    ):
        raise RefusedError(view, f"a memoryview of a {type(source).__name__}; bytes(…) of it can be saved")
    whole = memoryview(source)
    if not whole.c_contiguous:
        raise RefusedError(view, "a memoryview of an array that is not contiguous; bytes(…) of it can be saved")
    import numpy as np

    start = _start(np, view) - _start(np, whole)
    made = rebuild.memory_view, (source, start, view.nbytes, view.format, view.shape)
    if view.readonly and not whole.readonly:
        raise RefusedError(view, "a read-only memoryview of writable memory; bytes(…) of it can be saved")
    return made


def _start(numpy: Any, view: memoryview) -> int:
    return int(numpy.frombuffer(view.cast("B"), "u1").__array_interface__["data"][0]) if view.nbytes else 0


def _file(_: GroupPickler, file: Any) -> Any:
    for name in _STREAMS:
        if getattr(sys, name, None) is file:
            return getattr, (sys, name)
    raise RefusedError(file, reason_for(type(file)) or "an open file: open it again after the restore")


def _environment(_: GroupPickler, environment: Any) -> Any:
    if environment is os.environ:
        return getattr, (os, "environ")
    return NotImplemented


def _lru_cache(pickler: GroupPickler, function: Any) -> Any:
    if classes.by_reference(function):
        return pickler.by_name(function, function.__module__)
    if sys.getrefcount(vars(function)) > instances.ALONE and instances.is_held(function, pickler.shared.namespace):
        raise RefusedError(function, attributes.HELD)
    parameters = function.cache_parameters()
    state = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
    made = rebuild.lru_cache, (function.__wrapped__, parameters["maxsize"], parameters["typed"])
    return (*made, state, None, None, arrays.set_attributes)


def _cached_property(_: GroupPickler, cached: Any) -> Any:
    # in Python 3.11 it holds a lock, which is not part of what it means
    return functools.cached_property, (cached.func,), {"attrname": cached.attrname}, None, None, arrays.set_attributes


def _new_type(pickler: GroupPickler, made: typing.NewType) -> Any:
    if classes.by_reference(made):
        return pickler.by_name(made, made.__module__)
    return rebuild.new_type, (made.__name__, made.__supertype__, made.__module__)


def _weak_dict(_: GroupPickler, mapping: Any) -> Any:
    return type(mapping), (), None, None, iter(list(mapping.items()))


def _dict_view(_: GroupPickler, view: Any) -> Any:
    # the proxy is all that Python shows of the dict below, and refers to nothing else
    return rebuild.dict_view, (gc.get_referents(view.mapping)[0], type(view).__name__.rpartition("_")[2])


def _plain_subclass(kind: type) -> type | None:
    """Return the immutable built-in type below a class of the notebook that has a `__new__`; None for other classes.
    Pickle would call that `__new__` with the built-in value, of which it may make another one.
    """
    own = [getattr(kind, name, None) for name in ("__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")]
    if not isinstance(kind.__new__, types.FunctionType) or any(isinstance(way, types.FunctionType) for way in own):
        return None
    if classes.by_reference(kind):
        return None
    return next((base for base in (int, float, complex, str, bytes, tuple, frozenset) if issubclass(kind, base)), None)


def _value_of(below: Any, value: Any) -> tuple[Any, ...]:
    # by the built-in type's own method, since the subclass may have its own __str__, __int__ or __iter__
    return (frozenset.copy(value),) if below is frozenset else tuple(below.__getnewargs__(value))


_BY_TYPE: dict[type, Reducer] = {
    types.FunctionType: lambda pickler, function: pickler.reduce_function(function),
    types.CellType: lambda pickler, cell: pickler.reduce_cell(cell),
    types.ModuleType: lambda pickler, module: pickler.reduce_module(module),
    types.MethodType: _method,
    types.BuiltinFunctionType: _builtin,
    types.CodeType: lambda _, code: (rebuild.code_object, rebuild.dump_code(code)),
    memoryview: _memory_view,
    functools._lru_cache_wrapper: _lru_cache,  # noqa: SLF001 - the type has no public name
    type(os.environ): _environment,
    marks.NamespaceMark: lambda *_: (marks.namespace, ()),
    StandIn: lambda pickler, it: pickler.reduce_stand_in(it),
    Closing: lambda _, it: it.reduced(),
    **deep.REDUCERS,
    standard.OfProcess: standard.reduce_of_process,
    owned.Placed: owned.reduced,
    owned.Token: lambda _, held: (marks.class_ref, (held.token,)),
    functools.cached_property: _cached_property,
    typing.NewType: _new_type,
    **typed.REDUCERS,
    itertools.count: standard.endless,
    itertools.repeat: standard.endless,
    itertools.cycle: standard.cycle,
    weakref.WeakSet: lambda _, held: (weakref.WeakSet, (list(held),)),
    struct.Struct: lambda _, layout: (struct.Struct, (layout.format,)),
    weakref.WeakKeyDictionary: _weak_dict,
    weakref.WeakValueDictionary: _weak_dict,
    types.MappingProxyType: standard.proxy,
    type({}.keys()): _dict_view,
    type({}.values()): _dict_view,
    type({}.items()): _dict_view,
    **dict.fromkeys(map(type, (_ORDERED.keys(), _ORDERED.values(), _ORDERED.items())), _dict_view),
}
