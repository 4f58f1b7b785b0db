"""Variables that are what an imported module has under a name: `from config import SETTINGS`, `opts = pd.options`, or
inside that, of a person's own modules: `layers = config.SETTINGS["layers"]`.

Each is saved with its contents, its names in modules and the digests of their files. A restore binds the module's own
object, with the contents that were saved, or says why not. The one trap: contents are put into what belongs to a
module, so `settled` is called at the commit only, by the thread that runs cells.
"""

from __future__ import annotations

import collections
import contextlib
import copyreg
import enum
import functools
import hashlib
import importlib
import re
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.state.objects import marks
from dure.state.objects.modules import ATOMS, COPIES, NO_VALUES, TABLE, Modules, names_of, nested, reached, written

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable

_CONTAINERS = (dict, list, set, collections.OrderedDict, collections.defaultdict)
_NEW = (copyreg.__newobj__, copyreg.__newobj_ex__)  # type: ignore[attr-defined]
_PLACES = 4  # of one object; several modules may have imported it


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
class Token:
    """Stands in a pickle for what a module has, which is in a group of its own."""

    token: str


def reduced(_: Any, it: Placed) -> Any:
    """Return how a load makes it again."""
    return marks.placed, (it.places, it.digests, it.value, it.alone, it.nested)


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
        found[key] = COPIES[key][0]() if key in COPIES else reached(vars(sys.modules[module]), name)
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
    for module in TABLE.that_may_have(wanted):
        names = names_of(module, namespace)
        if names is None or wanted.keys().isdisjoint(map(id, names.values())):
            continue
        for name, value in names.items():
            if id(value) in wanted and not name.startswith("__"):
                held_at.setdefault(id(value), []).append((module, name))
    copies = {key: COPIES[key] for key in wanted if key in COPIES}
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
        if sys.getrefcount(value) > _ALONE and matters(type(value)) and not issubclass(type(value), NO_VALUES):
            found[id(value)] = value
    return found


def _alone() -> int:
    probe = {"it": object()}
    value = probe["it"]
    return sys.getrefcount(value)


_ALONE = _alone()


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


def inside(wanted: Container[int], saved: Iterable[int], namespace: dict[str, Any]) -> dict[int, Placed]:
    """Return what is known of values that are inside what a person's own modules have, but not inside what is saved by
    itself: `config.SETTINGS["inner"]`, `config.REGISTRY.items`, `Model.shared`.
    """
    found: dict[int, Placed] = {}
    for module, way, value in nested(saved, namespace):
        if id(value) in wanted and id(value) not in found:
            found[id(value)] = Placed(((module, written(way)),), (_digest_of(module),), value)
    return found


def but_inside(known: dict[int, Placed], held: Container[int]) -> dict[int, Placed]:
    """Return what is known of values, without those inside what is saved by itself."""

    def is_inside(it: Placed) -> bool:
        module, path = it.places[0]
        names = vars(sys.modules[module]) if module in sys.modules else {}
        return path not in names and id(names.get(re.split(r"[.\[]", path, maxsplit=1)[0])) in held

    return {key: it for key, it in known.items() if not is_inside(it)}


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
        held = weakref.ref(it.value, lambda gone: COPIES.pop(key) if COPIES.get(key, (None,))[0] is gone else None)
        COPIES[key] = held, Placed(it.places, it.digests, None)
    return it.value


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
            found = reached(vars(importlib.import_module(module)), name)
        except Exception:  # noqa: S112 - whatever its code raises: another module may have it
            continue
        if type(found) is type(it.value) and taken.setdefault(id(found), (it, found))[0] is it:
            return found, (module, name)
    return None, it.places[0]


def _same(own: Any, saved: Any, namespace: dict[str, Any]) -> bool:
    """Tell whether two objects are pickled as the same."""
    if type(own) is not type(saved):
        return False
    if type(own) in ATOMS and own == saved:
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
