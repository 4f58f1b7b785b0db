"""The functions that our pickles call to make objects again: cells, functions' state, modules, views.

They are looked up by name when a stream is loaded, so a rename here makes old snapshots unreadable.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import logging
import marshal
import sys
import types
import typing
import warnings
from collections.abc import Iterator
from typing import Any

from dure.state.memory.layout import HEAP_TYPE
from dure.state.objects.codenames import kept_name, live_name, renamed

# Version 2 has neither references nor interning marks, which differ from one run to the next and look like changes.
# From Python 3.14 constants may be slices, which need version 5.
_MARSHAL = 2 if sys.version_info < (3, 14) else 5
_OF_PYTHON = (staticmethod, types.FunctionType)


def dump_code(code: types.CodeType) -> tuple[str, bytes]:
    """Return a code object as bytes, with the mark of the Python that can read them."""
    code = renamed(code, kept_name(code.co_filename))
    return str(sys.implementation.cache_tag), marshal.dumps(code, _MARSHAL)


def code_object(tag: str, data: bytes) -> types.CodeType:
    """Return the code object, or say that another Python minor version wrote it."""
    here = sys.implementation.cache_tag
    if tag != here:
        raise RuntimeError(
            f"a function saved by {tag} cannot run on {here}: use an environment with the same Python minor version"
        )
    code = marshal.loads(data)  # noqa: S302 - the person's own function, in the person's own process
    assert isinstance(code, types.CodeType)
    return renamed(code, live_name(code.co_filename))


def empty_cell() -> types.CellType:
    """Return a closure cell without contents."""
    return types.CellType()


def set_cell(cell: types.CellType, state: tuple[Any]) -> None:
    """Fill a cell that was pickled outside a function."""
    cell.cell_contents = state[0]


def set_function_state(function: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any], list[Any]]) -> None:
    """Fill a function's attributes, slots and closure cells, after it is known to the pickle (cycles)."""
    attributes, slots, cells = state
    function.__dict__ = attributes  # and no copy: who else holds it sees what changes
    foreign = slots.pop("globals", None)
    if foreign is not None:
        function.__globals__.update(foreign)
    for name, value in slots.items():
        setattr(function, name, value)
    for cell, contents in cells:
        cell.cell_contents = contents


def module(name: str, submodules: tuple[str, ...]) -> types.ModuleType:
    """Import a module, and its submodules that were imported in the process that saved it."""
    found = importlib.import_module(name)
    for submodule in submodules:
        if submodule not in sys.modules:
            # a submodule that is missing here matters only to code that uses it, and says so then
            with contextlib.suppress(Exception):
                importlib.import_module(submodule)
    return found


def lru_cache(function: Any, maxsize: int | None, typed: bool) -> Any:  # noqa: FBT001 - positional in the pickle
    """Return a cached function whose cache is empty."""
    return functools.lru_cache(maxsize=maxsize, typed=typed)(function)


def attribute(owner: Any, path: str) -> Any:
    """Return `owner.path`: a class's own function, or a bound method."""
    for name in path.split("."):
        owner = getattr(owner, name)
    return owner


def ctypes_array(kind: Any, length: int) -> Any:
    """Return the type of C arrays of that length."""
    return kind * length


def new_type(name: str, below: Any, module: str) -> Any:
    """Return a NewType."""
    made = typing.NewType(name, below)  # type: ignore[misc]
    made.__module__ = module
    return made


def exception(kind: Any, arguments: tuple[Any, ...], group: tuple[Any, ...] | None = None) -> Any:
    """Return an exception without calling its `__init__`, which may ask for other arguments than were kept.

    `group` are the message and the exceptions of a group.
    """
    below: Any = next(cls for cls in kind.__mro__ if not cls.__flags__ & HEAP_TYPE)
    made = below.__new__(kind, *(group or arguments))
    made.args = arguments
    return made


def bare(kind: Any, first: dict[str, Any] | None = None) -> Any:
    """Return an object with the first of its attributes, without calling the `__new__` of its class or one above."""
    makers = (cls for cls in kind.__mro__ if "__new__" in vars(cls))
    below: Any = next(cls for cls in makers if not isinstance(vars(cls)["__new__"], _OF_PYTHON))
    made = below.__new__(kind)
    if first:
        made.__dict__.update(first)
    return made


def set_state(target: Any, state: Any) -> None:
    """Give an object its attributes and slots without asking it for anything."""
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if attributes is not None:
        object.__setattr__(target, "__dict__", attributes)  # and no copy: who else holds it sees what changes
    for name, value in (slots or {}).items():
        object.__setattr__(target, name, value)


def of_below(below: Any, kind: type, arguments: tuple[Any, ...]) -> Any:
    """Return an instance as the type below makes it, without calling the `__new__` and `__init__` of a class above."""
    made = below.__new__(kind, *arguments)
    if below.__init__ is not object.__init__:
        below.__init__(made, *arguments)
    return made


def cycle(source: Any, at: int | None, state: tuple[Any, Any]) -> Any:
    """Return an endless iterator at its position."""
    inner = iter(source)
    if at is not None:
        inner.__setstate__(at)
    made: Any = itertools.cycle(inner)
    with without_warning():
        made.__setstate__(state)
    return made


@contextlib.contextmanager
def without_warning() -> Iterator[None]:
    """Ask iterators where they are, and tell them: Python 3.12 and 3.13 warn that 3.14 will not know how."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def logger(name: str, level: int, propagate: bool, disabled: bool) -> Any:  # noqa: FBT001 - positional in the pickle
    """Return the logger of that name; one that nobody has set up here gets its level."""
    found = logging.getLogger(name)
    if found.level == logging.NOTSET:
        found.setLevel(level)
        found.propagate, found.disabled = propagate, disabled
    return found


def set_all(target: Any, state: tuple[Any, dict[str, Any], dict[str, Any]]) -> None:
    """Give an object the state of its built-in type, then the attributes and slots that its own class adds."""
    known, attributes, slots = state
    if known is not None:
        set_as_pickle(target, known)
    if attributes:
        target.__dict__.update(attributes)
    for name, value in slots.items():
        object.__setattr__(target, name, value)


def set_beside(target: Any, state: tuple[Any, Any, dict[str, Any]]) -> None:
    """Give an object the state that it has by its own way, then attributes and slots that this leaves out or copies."""
    setter, known, beside = state
    if setter is not None:
        setter(target, known)
    elif known is not None:
        set_as_pickle(target, known)
    for name, value in beside.items():
        object.__setattr__(target, name, value)


def set_as_pickle(target: Any, state: Any) -> None:
    """Give an object its state as pickle does."""
    own = getattr(target, "__setstate__", None)
    if own is not None:
        own(state)
        return
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if attributes:
        target.__dict__.update((sys.intern(name) if type(name) is str else name, it) for name, it in attributes.items())
    for name, value in (slots or {}).items():
        setattr(target, name, value)


def dict_view(source: dict[Any, Any], kind: str) -> Any:
    """Return the living view of a dict's keys, values or items."""
    return getattr(source, kind)()


def plain_subclass(below: Any, kind: type, *value: Any) -> Any:
    """Return a built-in value as an instance of a subclass, without calling the `__new__` of the subclass."""
    return below.__new__(kind, *value)


def memory_view(source: Any, start: int, size_bytes: int, layout: str, shape: tuple[int, ...]) -> memoryview:
    """Return a view of `source`'s memory."""
    view = memoryview(source).cast("B")[start : start + size_bytes]
    if layout == "B" and len(shape) == 1:
        return view
    return view.cast(layout, shape)  # type: ignore[call-overload, no-any-return]
