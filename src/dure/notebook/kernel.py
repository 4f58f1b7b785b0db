"""The state of one kernel: its shell, the cells that left it, and the process that is kept for its next one.

The trap: a detached cell's results may come long after, so what they are compared with is held here until then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dure.notebook.delivery import Before
    from dure.notebook.keeping import Kept
    from dure.state import Blobs
    from dure.state.libraries.settings import Settings
    from dure.wire.messages import NextCell


@dataclass(slots=True)
class Sent:
    """A cell that left this kernel: what delivering its results needs to know."""

    before: Before
    team: str | None = None
    blobs: Blobs | None = None
    code: str = ""
    number: int = 1
    on_conflict: str = "keep"
    delivered: bool = False
    refused: bool = False  # the person knows that nothing came
    last_value: Any = None
    random: dict[str, Any] | None = None  # the random generators' states as the cell left
    settings: Settings | None = None  # of libraries, as the cell left
    folder: str | None = None  # in which the notebook was as the cell left
    next_cell: NextCell | None = None
    kept_gone: Kept | None = None  # the process that was to run it had ended, so it ran as a job of its own


@dataclass(slots=True)
class Kernel:
    """The state of one kernel: its shell, the cells that left it, by job, and the process kept for its next cell."""

    shell: Any
    meanwhile: Callable[[], object] = lambda: None  # to be done while a cell waits for what it was sent for
    sent: dict[str, Sent] = field(default_factory=dict)
    kept: Kept | None = None
    frees_at_exit: bool = False

    def note(self, text: str) -> None:
        """Say something of our own beside the cell's output."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def tell(self, notes: Iterable[str]) -> None:
        """Say each of `notes` on a line of its own."""
        for text in notes:
            self.note(text)
