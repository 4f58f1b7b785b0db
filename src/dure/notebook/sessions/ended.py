"""Which cells have ended and are not known to be saved: noted before their reply, so that kill -9 takes none unnamed.

One file per kernel, a line per cell, emptied whenever all that it names is saved; it costs a cell some 20 µs. The trap:
nothing is flushed to the disk itself, so it outlives the kernel, its server and their container, but not the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.notebook.sessions.journal import Journal, ended_file
from dure.notebook.sessions.words import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MAX_SOURCE = 20_000  # letters of a cell that is noted with its code
_MAX_BYTES = 4 * 1024**2
_LOOKS = re.compile(r"get_ipython\(\)\.run_line_magic\('session', '(?!restore|undo)[^\n]*\)\s*")
_EARLIER = 0  # the count of a cell that an earlier kernel ended: no save of this one's holds it
_TOLD = -1  # the count of the line that says that the earlier ones were told


@dataclass(frozen=True, slots=True)
class Ended:
    """A cell that ended: its number and its code, "" where that is not to be noted."""

    cell: int
    source: str = ""


class EndedCells:
    """The file of one kernel. `count` is how many of its cells have ended. Of the cell that runs, `shown` says that its
    output names the cells that no version holds, and `ran_again` is the code of earlier cells that it ran again.
    """

    def __init__(self, kernel: str) -> None:
        self.count = 0
        self.shown = False
        self.ran_again: list[str] = []
        self._path = ended_file(kernel)
        self._file: int | None = None
        self._bytes = 0
        self._earlier = False
        self._lock = threading.Lock()

    def cell_ended(self, cell: int, source: str, journal: Journal) -> None:
        """Note a cell that has ended, unless it only looked; of `%session rerun`, the cells that it ran."""
        if only_looks(source):
            source = "\n".join(self.ran_again)
            if not source:
                return
        if not journal.at:
            journal.write()
        self.note(cell, source, journal.ended)

    def note(self, cell: int, source: str, saved: int) -> None:
        """Count a cell that has ended, and note it. `saved`: as many are saved, and need no note any more."""
        with self._lock:
            if saved >= self.count and not self._earlier:
                self._empty()
            self.count += 1
            self._append([(self.count, Ended(cell, source if len(source) <= MAX_SOURCE else ""))])

    def take_over(self, cells: Iterable[Ended]) -> None:
        """Note what earlier kernels left unsaved, until it is told."""
        with self._lock:
            self._earlier = True
            self._append([(_EARLIER, each) for each in cells])

    def told(self) -> None:
        """A cell is over: if its output named what earlier kernels left unsaved, that need not be told again."""
        shown, self.shown = self.shown, False
        with self._lock:
            if self._earlier and shown:
                self._earlier = False
                self._append([(_TOLD, Ended(0))])

    def saved(self, count: int) -> None:
        """Forget the first `count` cells: they are saved, and the journal, which would say so, cannot be written."""
        with self._lock:
            left = _lines(self._path) if self._bytes else []
            self._empty()
            self._append([line for line in left if not 0 < line[0] <= count])

    def clear(self) -> None:
        """Forget all: these cells are saved, or the person knows that they are not."""
        with self._lock:
            self._empty()

    def _empty(self) -> None:
        if self._file is not None and self._bytes:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
            self._bytes = 0

    def _append(self, lines: Iterable[tuple[int, Ended]]) -> None:
        # the line break comes first, so that a line that a full disk cut short spoils none behind it
        data = "".join("\n" + json.dumps([count, each.cell, each.source]) for count, each in lines).encode()
        if self._bytes + len(data) > _MAX_BYTES:
            return
        with contextlib.suppress(OSError):
            if self._file is None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._bytes += os.write(self._file, data)


def unsaved(journal: Journal, saved: int) -> list[Ended]:
    """Return the cells that a dead kernel ended beyond the first `saved`, and those that it was to tell of."""
    earlier: list[Ended] = []
    own: list[Ended] = []
    for count, each in _lines(ended_file(journal.kernel)):
        if count == _TOLD:
            earlier = []
        elif count == _EARLIER:
            earlier.append(each)
        elif count > saved:
            own.append(each)
    return earlier + own


def _lines(path: Path) -> list[tuple[int, Ended]]:
    """Return what a kernel's file says: counts and cells."""
    found = []
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError):  # a line that was cut short
                count, cell, source = json.loads(line)
                found.append((int(count), Ended(int(cell), str(source))))
    return found


def source_of(namespace: dict[str, Any], made: dict[str, int], cell: int) -> str:
    """Return the code of a cell as IPython keeps it; "" where it sets a secret, which is written nowhere."""
    from dure.state.secrecy import history_secrets, secret_reason

    inputs = namespace.get("In")
    source = str(inputs[cell]) if isinstance(inputs, list) and 0 <= cell < len(inputs) else ""
    names = [name for name, number in made.items() if number == cell and name in namespace]
    if any(secret_reason(name, namespace[name]) for name in names) or history_secrets([source]):
        return ""
    return source


def only_looks(source: str) -> bool:
    """Return whether a cell is but a `%session` command that changes no variable, unless it runs cells again."""
    return _LOOKS.fullmatch(source) is not None


def ended_text(cells: Sequence[Ended]) -> str:
    """Return that these cells ended and were not saved."""
    return say("ended_unsaved" if len(cells) == 1 else "ended_unsaved_many", cells=_listed(each.cell for each in cells))


def again_text(cells: Iterable[Ended]) -> str:
    """Return the command that runs these cells again, and that those whose code is not kept are run by hand."""
    offered, by_hand = set[int](), set[int]()
    for each in cells:
        (offered if each.source else by_hand).add(each.cell)
    told = [say("rerun_offer" if len(offered) == 1 else "rerun_offer_many", cells=_listed(offered))] if offered else []
    return " ".join([*told, *([say("ended_by_hand", cells=_listed(by_hand))] if by_hand else [])])


def ended_line(cells: Sequence[Ended]) -> str:
    """Return what a person reads of cells that no version holds, where nothing is brought back."""
    return f"{ended_text(cells)} {again_text(cells)}"


def _listed(numbers: Iterable[int]) -> str:
    """Return numbers of cells, from three that follow one another as `3–7`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a}–{b}" for a, b in runs)
