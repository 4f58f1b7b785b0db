"""The one error of the user's side: a problem of the catalogue, told by its sentence.

The trap: status 0 means that no server refused anything; the problem was found here or the server never answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.client.moments import own_times

if TYPE_CHECKING:
    from dure.wire.messages import Problem


class DureError(Exception):
    """A failure that a person can meet. `str(error)` is the whole sentence: what, where and what to do."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(own_times(problem.detail))
        self.problem = problem

    @property
    def code(self) -> str:
        """The catalogue's code, such as `unknown_tier`."""
        return self.problem.code

    @property
    def status(self) -> int:
        """The HTTP status, 0 when no server was involved."""
        return self.problem.status


def failure(code: str, lang: str, **data: Any) -> DureError:
    """Return the error for a `code` of the catalogue, its sentence in `lang` ("en" or "ko")."""
    from dure.wire.problems import CodedError

    return DureError(CodedError(code, **data).problem(lang))
