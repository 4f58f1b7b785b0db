"""Type parameters (`T`) and aliases (`type Pair = …`), of which pickle keeps the name alone and cloudpickle what Python
3.11 knew.

The one trap: an alias may name itself, and then its value comes after it.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

from cloudpickle import cloudpickle

from dure.state.objects import classes
from dure.state.objects.refusals import RefusedError

if TYPE_CHECKING:
    from dure.state.objects.pickling import GroupPickler, Reducer

_ALIAS: Any = getattr(typing, "TypeAliasType", None)  # from Python 3.12 on
_FIELDS = ("bound", "covariant", "contravariant", "infer_variance")


def _parameter(pickler: GroupPickler, made: Any) -> Any:
    if classes.by_reference(made, made.__name__):
        return pickler.by_name(made, made.__module__)
    told = {name: getattr(made, f"__{name}__", None) for name in _FIELDS}
    told = {name: value for name, value in told.items() if value is not None and value is not False}
    if hasattr(made, "has_default") and made.has_default():
        told["default"] = made.__default__
    token = cloudpickle._get_or_create_tracker_id(made)  # noqa: SLF001 - as cloudpickle does for type variables
    arguments = type(made), made.__name__, getattr(made, "__constraints__", ()), told, token
    return parameter, arguments, (None, {"__module__": made.__module__})


def _alias(pickler: GroupPickler, made: Any) -> Any:
    if classes.by_reference(made, made.__name__):
        return pickler.by_name(made, made.__module__)
    value = made.__value__  # which is computed when it is first asked for
    if not _is_inside(made, value, set()):
        return alias, (made.__name__, made.__module__, made.__type_params__, [value])
    if made.__type_params__:
        raise RefusedError(made, "a type alias with parameters that names itself: run its cell again")
    held: list[Any] = []
    return alias, (made.__name__, made.__module__, (), held), (held, value), None, None, set_alias


def _is_inside(sought: Any, value: Any, seen: set[int]) -> bool:
    if value is sought or id(value) in seen:
        return value is sought
    seen.add(id(value))
    inner = list(value) if type(value) in (tuple, list) else []
    if type(value) is _ALIAS:
        inner = [value.__value__]
    elif not isinstance(value, type):
        inner += [getattr(value, "__args__", ()), getattr(value, "__origin__", None)]
    return any(_is_inside(sought, each, seen) for each in inner)


REDUCERS: dict[type, Reducer] = {
    typing.TypeVar: _parameter,
    typing.ParamSpec: _parameter,
    typing.TypeVarTuple: _parameter,
    **({_ALIAS: _alias} if _ALIAS else {}),
}


def parameter(kind: Any, name: str, constraints: tuple[Any, ...], told: dict[str, Any], token: str) -> Any:
    """Return this process's type parameter of that token, or a new one. Its name is in streams: it stays."""
    return cloudpickle._lookup_class_or_track(token, kind(name, *constraints, **told))  # noqa: SLF001 - as above


def alias(name: str, module: str, parameters: tuple[Any, ...], held: list[Any]) -> Any:
    """Return a type alias; its value is what `held` holds, or will hold. Its name is in streams: it stays."""
    if _ALIAS is None:
        raise RuntimeError(f"{name} is a type alias, which Python 3.11 does not know: use Python 3.12 or newer")
    found: dict[str, Any] = {}
    # Python notes the module that makes it, and computes the value when it is asked for only where a statement made it
    names = {"__name__": module, "make": _ALIAS, "held": held, "name": name, "parameters": parameters}
    if held:
        exec("made = make(name, held[0], type_params=parameters)", names, found)
    else:
        exec(f"type {name} = held[0]\nmade = {name}", names, found)
    return found["made"]


def set_alias(_: Any, state: tuple[list[Any], Any]) -> None:
    """Give an alias that was made before its value what it stands for. Its name is in streams: it stays."""
    held, value = state
    held.append(value)
