"""Exceptions with what they were raised from.

Their own pickling forgets `__cause__` and `__context__`, and calls an `__init__` of the person's with other arguments
than it asks for. Where in running code one was raised (`__traceback__`) is not kept.
"""

from __future__ import annotations

from types import FunctionType, MemberDescriptorType
from typing import TYPE_CHECKING, Any

from dure.state.objects import rebuild

if TYPE_CHECKING:
    from dure.state.objects.pickling import Reducer


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of exceptions of `kind`; None for other types."""
    if not issubclass(kind, BaseException):
        return None
    made = any(isinstance(getattr(kind, way), FunctionType) for way in ("__init__", "__new__"))
    reduced = any(isinstance(getattr(kind, way), FunctionType) for way in ("__reduce__", "__reduce_ex__"))
    made = made or issubclass(kind, AttributeError | NameError)  # which forget what was looked for
    own = (made or any("__slots__" in vars(cls) for cls in kind.__mro__)) and not reduced
    return lambda _, error: _reduce(error, own=own)


def _reduce(error: BaseException, *, own: bool) -> Any:
    above = (error.__cause__, error.__context__, error.__suppress_context__)
    if own:
        group = (error.message, error.exceptions) if isinstance(error, BaseExceptionGroup) else None
        state = (vars(error) or None, above, _members(error))
        return rebuild.exception, (type(error), error.args, group), state, None, None, fill
    made = error.__reduce_ex__(5)
    if isinstance(made, tuple) and len(made) == 3 and made[2] is vars(error):
        setter: Any = type(error).__setstate__
        if setter is BaseException.__setstate__:
            return made[0], made[1], (made[2], above, {}), None, None, fill
    if above == (None, None, False) or not isinstance(made, tuple) or any(made[3:]):
        return made
    return made[0], made[1], (made[2] if len(made) > 2 else None, above), None, None, fill


def _members(error: BaseException) -> dict[str, Any]:
    """Return what is in the slots of its class and of its built-in type, such as the errno of an OSError."""
    names = {
        name
        for cls in type(error).__mro__
        if cls not in (BaseException, BaseExceptionGroup)
        for name, member in vars(cls).items()
        if isinstance(member, MemberDescriptorType)
    }
    # to set what is None would make "[Errno 2] …: None" of an error without a file
    return {name: value for name in sorted(names) if (value := getattr(error, name, None)) is not None}


def fill(error: BaseException, state: tuple[Any, ...]) -> None:
    """Give an exception its attributes, and what it was raised from."""
    held, (cause, context, suppress), *members = state
    for name, value in members[0].items() if members else ():
        object.__setattr__(error, name, value)
    if held is not None and members:
        object.__setattr__(error, "__dict__", held)  # and no copy: who else holds it sees what changes
    elif held is not None:
        error.__setstate__(held)
    error.__cause__, error.__context__, error.__suppress_context__ = cause, context, suppress
