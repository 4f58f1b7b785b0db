"""Exceptions with what they were raised from.

Their own pickling forgets `__cause__` and `__context__`, and calls an `__init__` of the person's with other arguments
than it asks for. Where in running code one was raised (`__traceback__`) is not kept.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

from dure.state import rebuild

if TYPE_CHECKING:
    from collections.abc import Callable


def route(kind: type) -> Callable[[Any, Any], Any] | None:
    """Return what reduces exceptions of `kind`; None for other types."""
    if not issubclass(kind, BaseException):
        return None
    own = kind.__reduce__ is BaseException.__reduce__ and (
        isinstance(kind.__init__, FunctionType) or isinstance(kind.__new__, FunctionType)
    )
    return lambda _, error: _reduce(error, own=own)


def _reduce(error: BaseException, *, own: bool) -> Any:
    made = (rebuild.exception, (type(error), error.args), vars(error) or None) if own else error.__reduce_ex__(5)
    above = (error.__cause__, error.__context__, error.__suppress_context__)
    if above == (None, None, False) or not isinstance(made, tuple) or any(made[3:]):
        return made
    return made[0], made[1], (made[2] if len(made) > 2 else None, above), None, None, fill


def fill(error: BaseException, state: tuple[Any, tuple[Any, Any, bool]]) -> None:
    """Give an exception its attributes, and what it was raised from."""
    held, (cause, context, suppress) = state
    if held is not None:
        error.__setstate__(held)
    error.__cause__, error.__context__, error.__suppress_context__ = cause, context, suppress
