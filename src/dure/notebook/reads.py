"""Which names of the notebook a cell needs: read from its code, and on through the notebook's functions and
classes.

Only what is found here travels with the cell. What no reading of code can find (`globals()[…]`, `eval`,
`%run`) is marked `dynamic`, and the worker then asks for a name at its NameError. The one trap: a name that
the cell binds before it reads is still counted as read where some path may read it first; too much is sent
rather than too little.
"""

from __future__ import annotations

import functools
import itertools
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.notebook.reading import Names, code_names, read_cell, read_tree

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable, Mapping

_MEMBERS = 10_000  # functions and classes followed from one cell
_CONTAINER_ITEMS = 1000  # items looked at in one container
_NOT_DATA = {"__name__", "__file__", "__doc__", "__builtins__", "__builtin__", "get_ipython", "exit", "quit"}


@dataclass(frozen=True, slots=True)
class Reads:
    """What a cell reads and binds; all names sorted."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    dynamic: bool = False


def cell_reads(code: str, namespace: Mapping[str, Any]) -> Reads:
    """Return what the cell's code needs of `namespace`; CellSyntaxError where it does not parse.

    The code is a cell's as typed: magics, `!shell` lines with `{name}` and `$name`, top-level await.
    """
    found = Names()
    read_cell(code, found)
    return _followed(found, namespace)


def tree_reads(tree: ast.AST, namespace: Mapping[str, Any]) -> Reads:
    """Return the same of a cell that IPython has parsed already."""
    found = Names()
    read_tree(tree, found)
    return _followed(found, namespace)


def function_reads(function: Any, namespace: Mapping[str, Any]) -> Reads:
    """Return what calling a function, class or other object needs of `namespace`."""
    found = Names()
    pending: list[Any] = []
    _members(function, found, pending, set())
    return _followed(found, namespace, pending)


def _followed(found: Names, namespace: Mapping[str, Any], pending: Iterable[Any] = ()) -> Reads:
    """Follow the names that were found through the notebook's own functions and classes."""
    found.loads |= {name for name in found.shell if name in namespace}
    queue: list[Any] = list(pending)
    seen_names: set[str] = set()
    seen: set[int] = set()
    calls: set[str] = set()
    while queue or found.loads - seen_names:
        for name in sorted(found.loads - seen_names):
            seen_names.add(name)
            if name in namespace and name not in _NOT_DATA:
                queue.append(namespace[name])
                if _is_own(namespace[name], namespace):
                    calls.add(name)
        while queue:
            _members(queue.pop(), found, queue, seen)
            if len(seen) > _MEMBERS:
                found.dynamic = True  # more than are followed
                queue.clear()
    return Reads(
        reads=tuple(sorted(name for name in seen_names if name in namespace and name not in _NOT_DATA)),
        writes=tuple(sorted(found.bound)),
        calls=tuple(sorted(calls)),
        dynamic=found.dynamic,
    )


def _is_own(value: Any, namespace: Mapping[str, Any]) -> bool:
    if isinstance(value, types.FunctionType):
        return value.__globals__ is namespace or value.__module__ == "__main__"
    return isinstance(value, type) and value.__module__ == "__main__"


# --- the notebook's objects


def _members(value: Any, found: Names, queue: list[Any], seen: set[int]) -> None:
    """Add the globals that using `value` may read, and put the functions and classes inside it into the
    queue.
    """
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, types.FunctionType):
        inside = _function_members(value, found)
    elif isinstance(value, type):
        own = value.__module__ == "__main__"
        inside = [*vars(value).values(), *value.__mro__[1:], type(value)] if own else []
    elif isinstance(value, types.MethodType):
        inside = [value.__func__, type(value.__self__), value.__self__]
    elif isinstance(value, functools.partial):
        inside = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, property):
        inside = [value.fget, value.fset, value.fdel]
    elif isinstance(value, classmethod | staticmethod):
        inside = [value.__func__]
    elif isinstance(value, dict):
        # never all of it: touching millions of objects takes a second and marks all their memory as written
        inside = list(itertools.islice(value.values(), _CONTAINER_ITEMS))
    elif isinstance(value, list | tuple | set | frozenset):
        inside = list(itertools.islice(value, _CONTAINER_ITEMS))
    elif _wraps(value):
        inside = [value.__wrapped__]
    elif type(value).__module__ == "__main__":
        inside = [type(value), *getattr(value, "__dict__", {}).values()]
    else:
        return
    queue.extend(item for item in inside if _may_read(item) and id(item) not in seen)


def _function_members(function: types.FunctionType, found: Names) -> list[Any]:
    if function.__globals__.get("__name__") == "__main__" or function.__module__ == "__main__":
        inside = Names()
        code_names(function.__code__, inside)
        found.loads |= inside.loads
        found.dynamic |= inside.dynamic
    # a library's function may still wrap one of the notebook's
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return [*_cells(function), *defaults, *vars(function).values()]


def _may_read(value: Any) -> bool:
    """Tell whether using a value may run the notebook's code."""
    if isinstance(
        value,
        types.FunctionType
        | types.MethodType
        | functools.partial
        | property
        | classmethod
        | staticmethod
        | list
        | tuple
        | set
        | frozenset
        | dict,
    ):
        return True
    if isinstance(value, type):
        return value.__module__ == "__main__"
    return type(value).__module__ == "__main__" or _wraps(value)


def _wraps(value: Any) -> bool:
    """Tell whether a library's object stands for a function: lru_cache, numba and the like, our own @dure.gpu."""
    return callable(value) and "__wrapped__" in (getattr(value, "__dict__", None) or ())


def _cells(function: types.FunctionType) -> list[Any]:
    contents = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            continue
    return contents
