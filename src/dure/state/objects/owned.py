"""Variables that are what an imported module has under a name: `from config import SETTINGS`, `opts = pd.options`, or
inside that, of a person's own modules: `layers = config.SETTINGS["layers"]`.

Each is saved with its contents, its names in modules and the digests of their files. A restore binds the module's own
object, with the contents that were saved, or says why not. The one trap: contents are put into what belongs to a
module, so `settled` is called at the commit only, by the thread that runs cells.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import copyreg
import enum
import functools
import hashlib
import importlib
import itertools
import logging
import os
import re
import sys
import threading
import types
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.state.memory import layout
from dure.state.objects import marks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Iterator

_CONTAINERS = (dict, list, set, collections.OrderedDict, collections.defaultdict)
_NO_VALUES = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, logging.Logger)
_NOT_ASKED = {"__main__", "__mp_main__", "builtins", "sys", "dure"}  # what these have for a while is nobody's own
_DEEP, _MOST, _LEAST = 4, 4_000, 100  # steps into what a module has, objects met in all modules, and yet in each
_NEW = (copyreg.__newobj__, copyreg.__newobj_ex__)  # type: ignore[attr-defined]
_PLACES = 4  # of one object; several modules may have imported it
_PYTHON = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - compared with the texts of other files
_ATOMS = (int, float, bool, str, bytes, type(None))
_Has = tuple[dict[int, tuple[str, str]], frozenset[int]]  # module and name of values by id, and ids of hidden ones


@dataclass(eq=False, slots=True)
class Placed:
    """A value that modules have under a name: in which, with the digests of their files. `alone` tells whether no other
    variable shares anything with it, `nested` whether another one holds it.
    """

    places: tuple[tuple[str, str], ...]
    digests: tuple[str, ...]
    value: Any
    alone: bool = True
    nested: bool = False

    def among(self, *, alone: bool, nested: bool) -> Placed:
        """Return the same beside other variables."""
        return Placed(self.places, self.digests, self.value, alone, nested)


@dataclass(eq=False, slots=True)
class Held:
    """Stands in a value for what a module has under a name."""

    token: str


def reduced(_: Any, it: Placed) -> Any:
    """Return how a load makes it again."""
    return marks.placed, (it.places, it.digests, it.value, it.alone, it.nested)


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
            self._places = _TABLE.places(self.namespace, self.matters)
        return self._places


def placed(names: Collection[str], modules: Modules) -> dict[int, Placed]:
    """Return what is known of the variables whose values modules have, by the ids of the values: under a name, or, of a
    person's own modules, inside what they have under one.
    """
    namespace = modules.namespace
    wanted = _held_elsewhere(namespace, names, modules.matters)
    if not wanted:
        return {}
    modules.places()
    found = known_of(wanted, namespace)
    left = {key: value for key, value in wanted.items() if key not in found}
    return {**inside(left, {id(namespace[name]) for name in names}, namespace), **found} if left else found


def found_at(keys: Iterable[int], table: dict[int, tuple[str, str]], namespace: dict[str, Any]) -> dict[int, Any]:
    """Return, by id, the values with these ids that modules still have where the table says. Values of which a load
    finds the same object again by itself are left out.
    """
    found = {}
    for key in keys:
        module, name = table[key]
        found[key] = _COPIES[key][0]() if key in _COPIES else _reached(vars(sys.modules[module]), name)
    return {key: one for key, one in found.items() if id(one) == key and not _finds_itself(one, namespace)}


def _finds_itself(value: Any, namespace: dict[str, Any]) -> bool:
    """Tell whether a load finds this very object again: by its name, or since its class has only this one."""
    if type(value) in _CONTAINERS or isinstance(value, enum.Enum):
        return isinstance(value, enum.Enum)
    from dure.state.objects.pickling import Shared, pickler_for

    try:
        made = pickler_for(Shared(namespace), {}).reducer_override(value)
        if made is NotImplemented:
            made = value.__reduce_ex__(5)
        # what any other function does, such as to connect somewhere, is for a load only
        return type(made) is str or (made[0] in _NEW and made[0](*made[1]) is value)
    except Exception:  # whatever its class does: what cannot be saved is told
        return False


def known_of(wanted: dict[int, Any], namespace: dict[str, Any]) -> dict[int, Placed]:
    """Return what is known of values, given by id, that modules had when they were looked at last."""
    held_at: dict[int, list[tuple[str, str]]] = {}
    for module in _TABLE.that_may_have(wanted):
        names_of = _names_of(module, namespace)
        if names_of is None or wanted.keys().isdisjoint(map(id, names_of.values())):
            continue
        for name, value in names_of.items():
            if id(value) in wanted and not name.startswith("__"):
                held_at.setdefault(id(value), []).append((module, name))
    copies = {key: _COPIES[key] for key in wanted if key in _COPIES}
    found = {key: it.among(alone=True, nested=False) for key, (held, it) in copies.items() if held() is wanted[key]}
    for key, one in found.items():
        one.value = wanted[key]
    for key, held in held_at.items():
        chosen = tuple(sorted(held, key=_public_first)[:_PLACES])
        found[key] = Placed(chosen, tuple(_digest_of(module) for module, _ in chosen), wanted[key])
    return found


def _public_first(place: tuple[str, str]) -> tuple[bool, int, tuple[str, str]]:
    module, name = place
    return name.startswith("_") or "._" in module, module.count("."), place


def _held_elsewhere(namespace: dict[str, Any], names: Iterable[str], matters: Callable[[type], bool]) -> dict[int, Any]:
    """Return the values that can change and that somebody else than the namespace may hold."""
    found = {}
    for name in names:
        value = namespace[name]
        if sys.getrefcount(value) > _ALONE and matters(type(value)) and not issubclass(type(value), _NO_VALUES):
            found[id(value)] = value
    return found


def _alone() -> int:
    probe = {"it": object()}
    value = probe["it"]
    return sys.getrefcount(value)


_ALONE = _alone()


def _names_of(module: str, namespace: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a module has that another process can import by its name, too."""
    if module.partition(".")[0] in _NOT_ASKED:
        return None
    found = sys.modules.get(module)
    if not isinstance(found, types.ModuleType) or getattr(found, "__spec__", None) is None:
        return None
    return None if vars(found) is namespace else dict(vars(found))


def _digest_of(module: str) -> str:
    """Return the digest of a module's file; that of nothing where it has none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        status = Path(file or "").stat()
        return _digest(str(file), status.st_mtime_ns, status.st_size) if file else ""
    except OSError:
        return ""


@functools.lru_cache(maxsize=1024)
def _digest(file: str, modified_ns: int, size_bytes: int) -> str:  # noqa: ARG001 - another file has others
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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
        copies = {key: it.places[0] for key, (held, it) in list(_COPIES.items()) if held() is not None}
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
    for name, value in (_names_of(module, namespace) or {}).items():
        if name[:2] == "__" or issubclass(type(value), _NO_VALUES) or not matters(type(value)):
            continue
        # a method is made at each question, and equal
        if name.startswith(private) or issubclass(type(value), types.MethodType):
            hidden.add(id(value))
        else:
            found[id(value)] = module, name
    return found, frozenset(hidden)


def _is_asked(module: str) -> bool:
    return module.partition(".")[0] not in _NOT_ASKED


def _is_own(module: str) -> bool:
    """Tell whether a module is a person's own, and of no installed package."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return type(file) is str and "-packages" not in file and not file.startswith(_PYTHON)


_TABLE = _Table()


def inside(wanted: Container[int], saved: Iterable[int], namespace: dict[str, Any]) -> dict[int, Placed]:
    """Return what is known of values that are inside what a person's own modules have, but not inside what is saved by
    itself: `config.SETTINGS["inner"]`, `config.REGISTRY.items`, `Model.shared`.
    """
    found: dict[int, Placed] = {}
    for module, way, value in nested(saved, namespace):
        if id(value) in wanted and id(value) not in found:
            found[id(value)] = Placed(((module, _written(way)),), (_digest_of(module),), value)
    return found


def nested(saved: Iterable[int], namespace: dict[str, Any]) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """Yield what is inside the values of a person's own modules, but not inside those whose ids are in `saved`, each
    with the module and the way to it, the nearest first. A way is the way to the holder, how the last step is written
    and its key: `_written` makes a text of it.
    """
    modules = frozenset(_TABLE.own)
    met = set(saved)
    for module in sorted(modules):
        most = max(_LEAST, _MOST // len(modules))
        names = _names_of(module, namespace) or {}
        level: list[tuple[Any, Any]] = [(((), "{}", name), names[name]) for name in names if name[:2] != "__"]
        for _ in range(_DEEP):
            below = []
            for way, value in level:
                if id(value) in met or most <= 0:
                    continue
                met.add(id(value))
                form, steps = _steps(value, module, modules)
                held = list(itertools.islice(steps, most))
                below += [((way, form, step), item) for step, item in held if type(item) not in _ATOMS]
                most -= len(held)
            yield from ((module, way, value) for way, value in below)
            level = below


def _written(way: tuple[Any, ...]) -> str:
    return _written(way[0]) + way[1].format(way[2]) if way else ""


def but_inside(known: dict[int, Placed], held: Container[int]) -> dict[int, Placed]:
    """Return what is known of values, without those inside what is saved by itself."""

    def is_inside(it: Placed) -> bool:
        module, path = it.places[0]
        names = vars(sys.modules[module]) if module in sys.modules else {}
        return path not in names and id(names.get(re.split(r"[.\[]", path, maxsplit=1)[0])) in held

    return {key: it for key, it in known.items() if not is_inside(it)}


def _steps(value: Any, module: str, modules: frozenset[str]) -> tuple[str, Iterable[tuple[Any, Any]]]:
    """Return how a step to what is in a value is written, and what that is: elements of containers, attributes of
    classes and instances of a module.
    """
    kind = type(value)
    if kind in _ATOMS:
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


def _reached(names: dict[str, Any], path: str) -> Any:
    """Return what is at the end of a way that `_steps` told; None where nothing is."""
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


def of_module(it: Placed, namespace: dict[str, Any], taken: dict[int, tuple[Placed, Any]]) -> Any:
    """Return the object that whoever held a module's value holds after the load: the module's own, whose content is put
    back when it is `settled`, or the saved one. An object of a module that is `taken` stands for no second saved one.
    """
    own, _ = _own(it, taken)
    if type(own) in _CONTAINERS and not it.nested:
        return own
    if own is it.value or (own is not None and it.alone and _same(own, it.value, namespace)):
        return own
    with contextlib.suppress(TypeError):  # what has no weak references is as any other value from now on
        key = id(it.value)
        held = weakref.ref(it.value, lambda gone: _COPIES.pop(key) if _COPIES.get(key, (None,))[0] is gone else None)
        _COPIES[key] = held, Placed(it.places, it.digests, None)
    return it.value


_COPIES: dict[int, tuple[weakref.ref[Any], Placed]] = {}  # that were restored in place of what modules have, by id


def settled(it: Placed, namespace: dict[str, Any], taken: dict[int, tuple[Placed, Any]]) -> tuple[Any, str]:
    """Return what a variable is from now on, and what the person has to be told of it ("" where all is as before)."""
    own, (module, name) = _own(it, taken)
    if own is None and _own(it, {})[0] is not None:
        return it.value, f"a copy of {module}.{name}, which is the same object as another one here"
    if own is None:
        return it.value, f"a copy of {module}.{name}, which is not there now or is of another type"
    if own is it.value or (it.alone and _same(own, it.value, namespace)):
        return own, ""
    if type(own) not in _CONTAINERS:
        return it.value, f"a copy of what {module}.{name} was: that is another object here"
    if it.nested:
        return it.value, f"a copy of {module}.{name}: other variables hold it, too"
    if it.digests != tuple(_digest_of(place) for place, _ in it.places):
        return own, f"it is as {module} has it now, whose file has changed since: what was saved is not put back"
    _put_back(own, it.value, functools.partial(_same, namespace=namespace) if it.alone else _never)
    return own, ""


def _own(it: Placed, taken: dict[int, tuple[Placed, Any]]) -> tuple[Any, tuple[str, str]]:
    """Return the object that a module has in one of the value's places, and which place; None where no module has one
    of the same type, or it is `taken` for another saved value.
    """
    for module, name in it.places:
        try:
            found = _reached(vars(importlib.import_module(module)), name)
        except Exception:  # noqa: S112 - whatever its code raises: another module may have it
            continue
        if type(found) is type(it.value) and taken.setdefault(id(found), (it, found))[0] is it:
            return found, (module, name)
    return None, it.places[0]


def _same(own: Any, saved: Any, namespace: dict[str, Any]) -> bool:
    """Tell whether two objects are pickled as the same."""
    if type(own) is not type(saved):
        return False
    if type(own) in _ATOMS and own == saved:
        return True
    from dure.state.libraries import figures
    from dure.state.objects.alike import same_but_for_texts
    from dure.state.objects.pickling import Shared, dumped, pickler_for

    try:
        for each in (own, saved):
            getattr(each, "__dict__", None)  # some have one from the first question on, and tell it in their pickle
        with figures.unseen():
            one, other = (dumped(pickler_for(Shared(namespace), {}), (each,)) for each in (own, saved))
    except Exception:  # what cannot be pickled cannot be shown to be the same
        return False
    memory = [[buffer.raw() for buffer in pickler.buffers] for pickler in (one, other)]
    return same_but_for_texts(one.file.getvalue(), other.file.getvalue()) and memory[0] == memory[1]


def _never(*_: Any) -> bool:
    return False


def _put_back(own: Any, saved: Any, same: Callable[[Any, Any], bool]) -> None:
    """Give a module's container what was saved; what is the same in it stays the module's."""
    if isinstance(own, dict):
        kept = {key: own[key] if key in own and same(own[key], value) else value for key, value in saved.items()}
        own.clear()
        own.update(kept)
        if isinstance(own, collections.defaultdict):
            own.default_factory = saved.default_factory
    elif isinstance(own, list):
        own[:] = [own[at] if at < len(own) and same(own[at], value) else value for at, value in enumerate(saved)]
    else:
        own.clear()
        own.update(saved)
