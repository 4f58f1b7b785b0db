"""What imported modules have under names, and what is inside that: which of it, by id, and where.

Modules of installed packages are looked at when they are new, or a name of theirs was set or taken away; a person's own
each time. The one trap: to look at all modules makes a process that was just forked copy their memory, so nobody looks
who need not.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import functools
import itertools
import logging
import os
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from dure.state.memory import layout

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Collection, Iterable, Iterator

    from dure.state.objects.owned import Placed

NO_VALUES = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, logging.Logger)
_NOT_ASKED = {"__main__", "__mp_main__", "builtins", "sys", "dure"}  # what these have for a while is nobody's own
_DEEP, _MOST, _LEAST = 4, 4_000, 100  # steps into what a module has, objects met in all modules, and yet in each
_PYTHON = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - compared with the texts of other files
_Has = tuple[dict[int, tuple[str, str]], frozenset[int]]  # module and name of values by id, and ids of hidden ones
ATOMS = (int, float, bool, str, bytes, type(None))
# what was restored in place of what modules have, by id
COPIES: dict[int, tuple[weakref.ref[Any], Placed]] = {}


class Modules:
    """What imported modules have, as one capture sees it: looked at once, and not before it is asked for. To look makes
    a process that was just forked copy the memory of all modules.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self._places: dict[int, tuple[str, str]] | None = None

    @functools.cached_property
    def matters(self) -> Callable[[type], bool]:
        """Tells whether instances of a type can change."""
        from dure.state.objects.reach import Kinds

        return Kinds().matters

    def places(self) -> dict[int, tuple[str, str]]:
        """Return module and name of each value that can change, by its id."""
        if self._places is None:
            self._places = TABLE.places(self.namespace, self.matters)
        return self._places


def nested(saved: Iterable[int], namespace: dict[str, Any]) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """Yield what is inside the values of a person's own modules, but not inside those whose ids are in `saved`, each
    with the module and the way to it, the nearest first. A way is the way to the holder, how the last step is written
    and its key: `written` makes a text of it.
    """
    modules = frozenset(TABLE.own)
    met = set(saved)
    for module in sorted(modules):
        most = max(_LEAST, _MOST // len(modules))
        names = names_of(module, namespace) or {}
        level: list[tuple[Any, Any]] = [(((), "{}", name), names[name]) for name in names if name[:2] != "__"]
        for _ in range(_DEEP):
            below = []
            for way, value in level:
                if id(value) in met or most <= 0:
                    continue
                met.add(id(value))
                form, steps = _steps(value, module, modules)
                held = list(itertools.islice(steps, most))
                below += [((way, form, step), item) for step, item in held if type(item) not in ATOMS]
                most -= len(held)
            yield from ((module, way, value) for way, value in below)
            level = below


def written(way: tuple[Any, ...]) -> str:
    """Return a way that `nested` told as a text, for `reached`."""
    return written(way[0]) + way[1].format(way[2]) if way else ""


def _steps(value: Any, module: str, modules: frozenset[str]) -> tuple[str, Iterable[tuple[Any, Any]]]:
    """Return how a step to what is in a value is written, and what that is: elements of containers, attributes of
    classes and instances of a module.
    """
    kind = type(value)
    if kind in ATOMS:
        return "", ()
    if kind is dict or kind is collections.OrderedDict or kind is collections.defaultdict:
        items = list(itertools.islice(value.items(), _MOST))
        return "[{!r}]", [(key, item) for key, item in items if type(key) in (str, int)]
    if kind is list or kind is tuple:
        return "[{}]", enumerate(value[:_MOST])
    if kind is types.FunctionType:
        own = value.__module__ == module and value.__defaults__
        return ".{}", [("__defaults__", own)] if own else ()
    if value.__module__ == module if issubclass(kind, type) else kind.__module__ in modules:
        with contextlib.suppress(Exception):  # whatever a class does where it is asked for what it has not
            held = list(itertools.islice(vars(value).items(), _MOST))
            return ".{}", [(name, item) for name, item in held if name[:2] != "__" and name.isidentifier()]
    return "", ()


def reached(names: dict[str, Any], path: str) -> Any:
    """Return what is at the end of a `written` way; None where nothing is."""
    if path in names:
        return names[path]
    try:
        return _at(names, ast.parse(path, mode="eval").body)
    except Exception:  # it is not there, or is of another kind by now
        return None


def _at(names: dict[str, Any], node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Subscript):
        return _at(names, node.value)[ast.literal_eval(node.slice)]
    if isinstance(node, ast.Attribute):
        holder = _at(names, node.value)
        return holder.__defaults__ if node.attr == "__defaults__" else vars(holder)[node.attr]
    return None


class _Table:
    """What imported modules have under names that can change, by id. Those of installed packages are looked at when
    they are new or a name of theirs was set or taken away; a person's own each time.
    """

    def __init__(self) -> None:
        self._seen: tuple[list[str], list[int], list[int]] = ([], [], [])  # modules, their ids, changes of their names
        self.own: list[str] = []  # modules, when they were looked at last
        self._installed: dict[str, _Has | None] = {}  # by module; None: it is a person's own
        self._joined: dict[int, tuple[str, str]] = {}
        self._hidden: frozenset[int] = frozenset()
        self._looking = threading.RLock()  # or who saw less of the modules would have the last word

    def places(self, namespace: dict[str, Any], matters: Callable[[type], bool]) -> dict[int, tuple[str, str]]:
        """Return module and name of each."""
        self.look(namespace, matters)
        own = [_had(module, namespace, matters)[0] for module in self.own]
        copies = {key: it.places[0] for key, (held, it) in list(COPIES.items()) if held() is not None}
        joined = dict(self._joined) if any(own) or copies else self._joined
        for found in (*own, copies) if joined is not self._joined else ():
            joined.update(found)
        return joined

    def that_may_have(self, wanted: dict[int, Any]) -> list[str]:
        """Return the modules that may have one of the values, by id, under a name."""
        if not wanted:
            return []
        known = layout.CHANGES_COUNT and self._joined.keys().isdisjoint(wanted) and self._hidden.isdisjoint(wanted)
        return self.own if known else list(sys.modules)

    def look(self, namespace: dict[str, Any], matters: Callable[[type], bool]) -> None:
        """Look at the modules that are new or have something else under a name."""
        with self._looking:
            self._look(namespace, matters)

    def _look(self, namespace: dict[str, Any], matters: Callable[[type], bool]) -> None:
        modules = dict(sys.modules)
        now = [*modules], [*map(id, modules.values())], layout.changes_of(_dicts_of(modules.values()))
        if now == self._seen:
            return
        before = dict(zip(self._seen[0], zip(*self._seen[1:], strict=True), strict=True))
        changed = [name for name, *it in zip(*now, strict=True) if before.get(name) != tuple(it)]
        found = {name: _installed_in(name, namespace, matters) for name in changed}
        known = self._installed
        if len(modules) != len(known) or any(name not in known or known[name] != found[name] for name in changed):
            every = {**known, **found}
            installed = {name: every.get(name) for name in modules}
            self.own = [name for name, has in installed.items() if has is None]
            every_has = [has for has in installed.values() if has is not None]
            self._joined = {key: at for places, _ in every_has for key, at in places.items()}
            self._hidden = frozenset().union(*(hidden for _, hidden in every_has))
            self._installed = installed
        self._seen = now  # at last: an interrupt may come before


_names: Callable[[Any], dict[str, Any]] = vars(types.ModuleType)["__dict__"].__get__  # loads nothing, as asking may


def _dicts_of(modules: Collection[Any]) -> list[dict[str, Any]]:
    try:
        return list(map(_names, modules))
    except TypeError:  # anything may be put there
        # What C libraries are loaded as says that it is a module, and is none.
        return [_names(each) if issubclass(type(each), types.ModuleType) else {} for each in modules]


def _installed_in(module: str, namespace: dict[str, Any], matters: Callable[[type], bool]) -> _Has | None:
    """Return what an installed package's module has; None of a person's own."""
    if not _is_asked(module):
        return {}, frozenset()
    return None if _is_own(module) else _had(module, namespace, matters)


def _had(module: str, namespace: dict[str, Any], matters: Callable[[type], bool]) -> _Has:
    # what Python's own modules have for themselves is for their own code to find again, as `dataclasses._FIELD` is
    private = "_" if module.partition(".")[0] in sys.stdlib_module_names else "__"
    found: dict[int, tuple[str, str]] = {}
    hidden = set()
    for name, value in (names_of(module, namespace) or {}).items():
        if name[:2] == "__" or issubclass(type(value), NO_VALUES) or not matters(type(value)):
            continue
        # a method is made at each question, and equal
        if name.startswith(private) or issubclass(type(value), types.MethodType):
            hidden.add(id(value))
        else:
            found[id(value)] = module, name
    return found, frozenset(hidden)


def names_of(module: str, namespace: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a module has that another process can import by its name, too."""
    if module.partition(".")[0] in _NOT_ASKED:
        return None
    found = sys.modules.get(module)
    if not isinstance(found, types.ModuleType) or getattr(found, "__spec__", None) is None:
        return None
    return None if vars(found) is namespace else dict(vars(found))


def _is_asked(module: str) -> bool:
    return module.partition(".")[0] not in _NOT_ASKED


def _is_own(module: str) -> bool:
    """Tell whether a module is a person's own, and of no installed package."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return type(file) is str and "-packages" not in file and not file.startswith(_PYTHON)


TABLE = _Table()
