"""How a failure is shown: the remote code's own traceback, or one sentence; never frames of Dure.

IPython asks an exception for `_render_traceback_`, so raising one of these makes the cell count as failed (Run All
stops) and shows exactly the given lines. The trap: IPython ignores that method on subclasses of SyntaxError.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from dure.notebook.context import language
from dure.wire.retold import retold

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
T = TypeVar("T")


class QuietError(Exception):
    """One sentence for the person, shown without any frame."""

    def __init__(self, sentence: str, lines: Sequence[str] | None = None) -> None:
        super().__init__(sentence)
        self._lines = list(lines) if lines is not None else [_line(sentence)]

    def _render_traceback_(self) -> list[str]:
        return self._lines


class RemoteError(Exception):
    """What the job's own code raised: the remote type's name, its text, and the lines of the traceback."""

    def __init__(self, ename: str, evalue: str, traceback: Sequence[str], notes: Sequence[str] = ()) -> None:
        super().__init__(evalue)
        self.ename = ename
        self.evalue = evalue
        self.remote_traceback = "\n".join(traceback)
        self._lines = [*(traceback or [f"{ename}: {evalue}"]), *(f"\n{note}" for note in notes)]

    def _render_traceback_(self) -> list[str]:
        return self._lines


class RemoteInterrupt(KeyboardInterrupt):
    """The job was interrupted or cancelled from here; it fails the cell as Ctrl-C does in a local one."""

    def __init__(self, sentence: str, lines: Sequence[str] | None = None) -> None:
        super().__init__(sentence)
        self._lines = list(lines) if lines else [f"\x1b[31mKeyboardInterrupt\x1b[0m: {sentence}"]

    def _render_traceback_(self) -> list[str]:
        return self._lines


def remote_error(ename: str, evalue: str, traceback: Sequence[str], notes: Sequence[str] = ()) -> RemoteError:
    """Return an error whose type is called `ename`, since Jupyter clients show the type's name."""
    name = ename if ename.isidentifier() else "RemoteError"
    said = retold(evalue, language())
    notes = [*notes, said] if said != evalue else notes
    kind = type(name, (RemoteError,), {"__module__": "dure", "__qualname__": name})
    error: RemoteError = kind(ename, evalue, traceback, notes)
    return error


def syntax_error(error: SyntaxError, lines: Sequence[str]) -> QuietError:
    """Return what shows `lines`, the ordinary rendering of `error`, under the error's own name."""
    kind = type(type(error).__name__, (QuietError,), {"__module__": "builtins"})
    shown: QuietError = kind(str(error), lines)
    return shown


def shown_as(error: E, lines: Sequence[str] = ()) -> E:
    """Return `error` itself, which IPython will render as `lines`, by default as its one sentence."""
    rendered = list(lines) or [_line(error)]
    with contextlib.suppress(AttributeError, TypeError):  # a class with slots keeps its ordinary rendering
        error._render_traceback_ = lambda: rendered  # type: ignore[attr-defined]
    return error


def _line(sentence: object) -> str:
    return f"\x1b[31mdure\x1b[0m: {sentence}"


def told_plainly(function: Callable[P, T]) -> Callable[P, T]:
    """Have the platform's refusals raised by `function` shown as their one sentence, without a traceback of ours."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        from dure.client import DureError
        from dure.state.store.blobs import BlobError

        try:
            return function(*args, **kwargs)
        except DureError as error:
            raise shown_as(error) from None
        except BlobError as error:
            raise shown_as(error, [_line(retold(str(error), language()))]) from None

    return wrapper
