"""Which functions and classes belong to the notebook, and what makes a class the same class after a round trip.

A notebook class travels by value under a token that stays with it: a process that knows the token keeps its own class
object, so `isinstance` holds. The one trap: two processes may define the same class on their own; then only an equal
definition, seen through `shape_of`, makes them one.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
import types
import uuid
import weakref
from typing import Any

from dure.state.objects.rebuild import dump_code
from dure.state.store.blobs import digest_of

# methods by which a class says itself how its instances are pickled, and how they are loaded
REDUCING = ("__reduce__", "__reduce_ex__", "__getstate__")
LOADING = ("__setstate__", "__getnewargs__", "__getnewargs_ex__")
_TOKENS: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
_CLASSES: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
# what Python itself adds to a class, or changes as it is used
_ADDED = {"__dict__", "__weakref__", "__firstlineno__", "__annotate_func__", "__slotnames__"}
_ADDED |= {"_abc_impl", "__abstractmethods__"}
_FIELD = ("name", "type", "default", "default_factory", "init", "repr", "hash", "compare", "metadata", "kw_only")


def token_of(cls: type) -> str:
    """Return the class's token, made at the first question and kept as long as the class lives."""
    token = _TOKENS.get(cls)
    if token is None:
        token = uuid.uuid4().hex
        remember(token, cls)
    return token


def remember(token: str, cls: type) -> None:
    """Let this process's class stand for the token."""
    _TOKENS[cls] = token
    _CLASSES[token] = cls


def forget(token: str, cls: type) -> None:
    """Let a class stand for nothing any more."""
    _TOKENS.pop(cls, None)
    _CLASSES.pop(token, None)


def known(token: str) -> type | None:
    """Return this process's class for the token."""
    return _CLASSES.get(token)


def by_reference(value: Any, name: str | None = None) -> bool:
    """Tell whether importing the module gives this very function or class, so that its name is enough."""
    module_name = getattr(value, "__module__", None)
    if not isinstance(module_name, str) or module_name in ("__main__", "__mp_main__"):
        return False
    found: Any = sys.modules.get(module_name)
    if found is None and module_name.partition(".")[0] in sys.modules:
        found = _submodule(module_name)
    if found is None:
        return False
    for part in str(name or getattr(value, "__qualname__", "")).split("."):
        found = getattr(found, part, None)
        if found is None:
            return False
    return found is value


@functools.lru_cache(maxsize=1024)
def _submodule(name: str) -> Any:
    """Return a module that its loaded package has and nobody has imported yet, as numpy.rec; None where it has none."""
    try:
        return importlib.import_module(name)
    except Exception:  # what runs there is not ours
        return None


def shape_of(cls: type) -> str:
    """Return a digest of a class's definition: names, bases, code and plain values. Empty where it cannot be told."""
    seen: set[int] = {id(cls)}
    try:
        parts = [type(cls).__qualname__, cls.__qualname__, *(f"{b.__module__}.{b.__qualname__}" for b in cls.__bases__)]
        names = sorted(name for name in cls.__dict__ if name not in _ADDED)
        parts += [f"{name}={_shape(cls.__dict__[name], seen)}" for name in names]
    except (TypeError, ValueError, AttributeError, RecursionError):
        return ""
    return digest_of("\n".join(parts).encode("utf-8", "surrogatepass"))


def _shape(value: Any, seen: set[int]) -> str:
    if value is None or isinstance(value, str | bytes | int | float | complex):
        return repr(value)
    if id(value) in seen:
        return f"<again {type(value).__name__}>"
    seen = seen | {id(value)}
    parts: list[Any]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        parts = [_code(value.__code__), value.__defaults__, value.__kwdefaults__, dict(value.__dict__), *cells]
    elif isinstance(value, property):
        parts = [value.fget, value.fset, value.fdel]
    elif isinstance(value, classmethod | staticmethod):
        parts = [value.__func__]
    elif isinstance(value, dataclasses.Field):
        parts = [getattr(value, part) for part in _FIELD]
    elif isinstance(value, list | tuple):
        parts = list(value)
    elif isinstance(value, dict | types.MappingProxyType):
        parts = [part for item in value.items() for part in item]
    elif isinstance(value, set | frozenset):
        return f"{type(value).__name__}[{','.join(sorted(_shape(item, seen) for item in value))}]"
    else:
        return _name(value)
    return f"{type(value).__name__}[{','.join(_shape(part, seen) for part in parts)}]"


def _name(value: Any) -> str:
    """Return what names a value that has no parts to look at; TypeError where nothing does."""
    if isinstance(value, type):
        return f"<{value.__module__}.{value.__qualname__}>"
    if isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
        return f"<slot {value.__name__}>"
    if isinstance(value, types.BuiltinFunctionType):
        return f"<builtin {value.__qualname__}>"
    if type(value).__module__ in ("dataclasses", "typing", "types"):
        return f"<{type(value).__qualname__} {value!r}>"
    raise TypeError(f"{type(value)} has no plain shape")


def _code(code: types.CodeType) -> str:
    # without file name and line numbers: running the same cell again defines the same class
    consts = [_code(item) if isinstance(item, types.CodeType) else repr(item) for item in code.co_consts]
    return digest_of(
        repr((code.co_name, code.co_code, code.co_names, code.co_varnames, code.co_freevars, consts)).encode()
    )


def code_of(function: types.FunctionType) -> tuple[str, bytes]:
    """Return the function's code, ready to be pickled."""
    return dump_code(function.__code__)


def in_order(cls: type, found: dict[str, Any]) -> dict[str, Any]:
    """Return attributes of a class, which cloudpickle sorts, in the order in which the class has them; what Python
    itself adds, at one time or another, stays first and sorted.
    """
    place = {name: at for at, name in enumerate(cls.__dict__) if not name.startswith("__")}
    return dict(sorted(found.items(), key=lambda item: place.get(item[0], -1)))
