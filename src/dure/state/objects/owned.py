"""Variables that are what an imported module has under a name: `from config import SETTINGS`, `opts = pd.options`.

Each is saved with its contents, its names in modules and the digests of their files. A restore binds the module's own
object, with the contents that were saved, or says why not. The one trap: contents are put into what belongs to a
module, so `settled` is called at the commit only, by the thread that runs cells.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import importlib
import logging
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.state.objects import marks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CONTAINERS = (dict, list, set, collections.OrderedDict, collections.defaultdict)
_NO_VALUES = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, logging.Logger)
_NOT_ASKED = {"__main__", "__mp_main__", "builtins", "sys", "dure"}  # what these have for a while is nobody's own
_PLACES = 4  # of one object; several modules may have imported it
_ATOMS = (int, float, bool, str, bytes, type(None))


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


def reduced(_: Any, it: Placed) -> Any:
    """Return how a load makes it again."""
    return marks.placed, (it.places, it.digests, it.value, it.alone, it.nested)


def placed(namespace: dict[str, Any], names: Iterable[str], matters: Callable[[type], bool]) -> dict[int, Placed]:
    """Return what is known of the variables whose values modules have, by the ids of the values."""
    wanted = _held_elsewhere(namespace, names, matters)
    if not wanted:
        return {}
    places: dict[int, list[tuple[str, str]]] = {}
    for module in list(sys.modules):
        names_of = _names_of(module, namespace)
        if names_of is None or wanted.keys().isdisjoint(map(id, names_of.values())):
            continue
        for name, value in names_of.items():
            if id(value) in wanted and not name.startswith("__"):
                places.setdefault(id(value), []).append((module, name))
    found = {}
    for key, held in places.items():
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


def settled(it: Placed, namespace: dict[str, Any]) -> tuple[Any, str]:
    """Return what a variable is from now on, and what a person has to know of that, which may be nothing."""
    own, (module, name) = _own(it)
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


def _own(it: Placed) -> tuple[Any, tuple[str, str]]:
    """Return what the first module that has it has under the name, and where; None where none has it."""
    for module, name in it.places:
        try:
            found = vars(importlib.import_module(module)).get(name)
        except Exception:  # noqa: S112 - whatever its code raises: another module may have it
            continue
        if type(found) is type(it.value):
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
