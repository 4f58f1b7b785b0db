"""Objects that stand for something of the process: a logger, the one random generator, the names of a class.

Each is made again from what it stands for, not from a copy. The one trap: only modules that are loaded are looked at.
"""

from __future__ import annotations

import gc
import importlib
import logging
import operator
import sys
import types
from typing import TYPE_CHECKING, Any

from dure.state.objects import rebuild
from dure.state.objects.refusals import RefusedError, reason_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dure.state.objects.pickling import Reducer

_ONE_FOR_ALL = (
    ("random", "_inst"),
    ("numpy.random.mtrand", "_rand"),
    ("matplotlib", "rcParams"),
    ("matplotlib", "colormaps"),
    ("torch", "default_generator"),
    ("sympy", "S"),
)
# containers of exact built-in types, which pickle asks nobody about
_OF_PROCESS = (
    ("builtins", "__dict__"),
    ("sys", "path"),
    ("sys", "argv"),
    ("sys", "modules"),
    ("sys", "meta_path"),
    ("sys", "path_hooks"),
    ("sys", "path_importer_cache"),
    ("sys", "warnoptions"),
    ("warnings", "filters"),
    ("logging", "root.handlers"),
    ("logging", "root.manager.loggerDict"),
    ("logging", "_handlerList"),
    ("os", "environ._data"),
    ("copyreg", "dispatch_table"),
    ("linecache", "cache"),
    ("gc", "callbacks"),
    ("gc", "garbage"),
    ("numpy", "sctypeDict"),
    ("threading", "_active"),
)


class OfProcess:
    """Stands for a list or a dictionary that the interpreter or a library has for the whole process."""

    def __init__(self, module: str, path: str) -> None:
        self.place = (module, path)


def all_of_process() -> dict[int, OfProcess]:
    """Return what stands for those of this process, by their ids."""
    found = {}
    for module, path in _OF_PROCESS:
        value: Any = sys.modules.get(module)
        for step in path.split("."):
            value = getattr(value, step, None)
        if type(value) in (list, dict):
            found[id(value)] = OfProcess(module, path)
    return found


def names_of_modules(values: Iterable[Any]) -> dict[int, OfProcess]:
    """Return what stands for those of some values that are the names of a loaded module."""
    found = {}
    for value in values:
        name = value.get("__name__") if type(value) is dict and "__spec__" in value else None
        if type(name) is str and name != "__main__" and getattr(sys.modules.get(name), "__dict__", None) is value:
            found[id(value)] = OfProcess(name, "__dict__")
    return found


def reduce_of_process(_: Any, it: OfProcess) -> Any:
    """Return it by its place."""
    return of_process, it.place


def of_process(module: str, path: str) -> Any:
    """Return the list or dictionary that this process has at a place."""
    return operator.attrgetter(path)(importlib.import_module(module))


def endless(_: Any, iterator: Any) -> Any:
    """Return the reduction of a counter or a repetition at its position."""
    with rebuild.without_warning():
        return iterator.__reduce__()


def cycle(_: Any, iterator: Any) -> Any:
    """Return the reduction of an endless round at its position."""
    with rebuild.without_warning():
        _, (inner,), state = iterator.__reduce__()
        make, *source = inner.__reduce__() if reason_for(type(inner)) else (None,)
    if make is not iter or not source[0]:
        return rebuild.cycle, (inner, None, state)
    return rebuild.cycle, (source[0][0], source[1] if len(source) > 1 else None, state)


def logger(_: Any, logger: logging.Logger) -> Any:
    """Return the reduction of a logger by its name and level; refuse one that somebody has set up."""
    logger.__reduce__()  # raises where logging does not know it
    own = logger.name.partition(".")[0]
    if logger.handlers and (own in ("root", "__main__") or own not in sys.modules):
        raise RefusedError(logger, "a logger with handlers: set it up again after the restore")
    return rebuild.logger, (logger.name, logger.level, logger.propagate, logger.disabled)


def proxy(_: Any, proxy: types.MappingProxyType[Any, Any]) -> Any:
    """Return the reduction of a mapping proxy: the names of a class, or a living view of a dictionary."""
    below = gc.get_referents(proxy)[0]
    if "__doc__" not in below:  # which all classes have; who refers to a dictionary is asked of all objects there are
        return types.MappingProxyType, (below,)
    makers = {getattr(value, "__objclass__", None) for value in below.values()}
    for cls in [maker for maker in makers if isinstance(maker, type)] or gc.get_referrers(below):
        if isinstance(cls, type) and gc.get_referents(vars(cls))[0] is below:
            return vars, (cls,)
    return types.MappingProxyType, (below,)


def kept_by_module(kind: type, reducer: Reducer | None) -> Reducer | None:
    """Return `reducer` made to find the object of `kind` again that a module has for the whole process, if one has."""
    for name, attribute in _ONE_FOR_ALL:
        one = getattr(sys.modules.get(name), attribute, None)
        if type(one) is kind:
            place = getattr, (sys.modules[name], attribute)
            others = reducer or (lambda *_: NotImplemented)
            changed = _CHANGED.get(attribute)
            if changed is None:
                return lambda pickler, value: _found(pickler, one, place) if value is one else others(pickler, value)
            return lambda pickler, value: (
                (*place, changed(value), None, None, put_back) if value is one else others(pickler, value)
            )
    if issubclass(kind, getattr(sys.modules.get("pint"), "UnitRegistry", ())):
        ways = reducer or (lambda *_: NotImplemented)
        return lambda pickler, value: _place(pickler, value) or ways(pickler, value)
    return reducer


def _found(pickler: Any, one: Any, place: Any) -> Any:
    pickler.referenced.add(id(one))
    return place


def _place(pickler: Any, one: Any) -> Any:
    """Return the reduction of what a module has under a name; None where none has it."""
    for name, module in list(sys.modules.items()):
        names = vars(module) if type(module) is types.ModuleType and name != "__main__" else pickler.shared.namespace
        if names is not pickler.shared.namespace:
            found = next((key for key, value in list(names.items()) if value is one), None)
            if found is not None:
                return getattr, (module, found)
    return None


def _changed_settings(settings: Any) -> dict[str, Any]:
    first = sys.modules["matplotlib"].rcParamsOrig
    return {
        name: value
        for name, value in sorted(dict.items(settings))
        if name not in _OF_A_WINDOW and dict.get(first, name, ...) != value
    }


def _added_colours(maps: Any) -> dict[str, Any]:
    first = maps._builtin_cmaps  # noqa: SLF001 - it has no public name
    return {name: maps[name] for name in sorted(maps) if name not in first}


_OF_A_WINDOW = {"backend", "backend_fallback", "interactive"}  # settings that this process has found for itself
_CHANGED = {"rcParams": _changed_settings, "colormaps": _added_colours}


def put_back(one: Any, changed: dict[str, Any]) -> None:
    """Change in what a library has for the whole process what was changed in it."""
    if isinstance(one, dict):
        one.update(changed)
        return
    for name, colours in changed.items():
        one.register(colours, name=name, force=True)
