"""What cells were typed and which file names their code goes by: saved beside the variables, and put back with them.

IPython and Python show the lines of a function by the made-up file name of its cell (`f??`, tracebacks, `%debug`). The
trap: `In` holds cells as Python, `%history` and `%recall` what was typed, and functions from a GPU know a third text.
"""

from __future__ import annotations

import linecache
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.state.objects.codenames import kept_name, live_name, name_cells_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dure.notebook.sessions.ended import Ended

GONE = "# (left out of the session: this cell sets a secret)"
_TEXTS_MAX = 256 * 1024  # letters of code that is no cell as it stands
_LOOKED_MOST = 100  # `%session` commands between two cells that ended
TYPED, FILES = "In as typed", "In by file"


@dataclass(frozen=True, slots=True)
class History:
    """`inputs` are the cells as Python, by number; `typed` has what was typed where that is not the same. `files` has,
    by the file name of code, the number of its cell, and its text where that is not the cell's.
    """

    inputs: list[str]
    typed: dict[int, str] = field(default_factory=dict)
    files: dict[str, tuple[int, str | None]] = field(default_factory=dict)

    def extras(self) -> dict[str, Any]:
        """Return it as it is saved."""
        return {"In": self.inputs, TYPED: self.typed, FILES: self.files}


def history_of(extras: Mapping[str, Any]) -> History:
    """Return what was saved of it."""
    inputs = [str(cell) for cell in extras.get("In", [])]
    return History(inputs, extras.get(TYPED) or {}, extras.get(FILES) or {})


class CellFiles:
    """Which code of one shell goes by which file name; each name is read once."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._known: dict[str, tuple[int, str, str | None]] = {}  # file name to cell, name as saved, text of its own
        self._letters = 0
        folder = Path(shell.compile.get_code_name("", "", 0)).parent
        name_cells_in(str(folder) if folder.name.startswith("ipykernel_") else "")

    def history(self, made: Mapping[str, int]) -> History:
        """Return the shell's cells, without those that set what is left out of the session as a secret."""
        from dure.state.secrecy import history_secrets, secret_reason

        namespace = self._shell.user_ns
        inputs = [str(cell) for cell in namespace.get("In") or [""]]
        raw = self._shell.history_manager.input_hist_raw
        gone = {made[name] for name, value in list(namespace.items()) if name in made and secret_reason(name, value)}
        gone.update(history_secrets(inputs), history_secrets([str(cell) for cell in raw[: len(inputs)]]))
        typed = {
            number: str(cell)
            for number, cell in enumerate(raw[: len(inputs)])
            if cell != inputs[number] and number not in gone
        }
        files = self._files(inputs)
        return History(
            [GONE if number in gone else cell for number, cell in enumerate(inputs)],
            typed,
            {name: found for name, found in files.items() if found[0] not in gone} if gone else files,
        )

    def _files(self, inputs: list[str]) -> dict[str, tuple[int, str | None]]:
        files = {}
        for name, number in list(self._shell.compile._filename_map.items()):  # noqa: SLF001 - no public way
            known = self._known.get(name)
            if known is None or known[0] != number:
                known = self._known[name] = (number, kept_name(name), self._own_text(name, number, inputs))
            if known[2] != "":
                files[known[1]] = known[0], known[2]
        return files

    def _own_text(self, name: str, number: int, inputs: list[str]) -> str | None:
        from dure.state.secrecy import history_secrets

        text = "".join(linecache.getlines(name))
        if number < len(inputs) and text.rstrip("\n") == inputs[number]:
            return None
        self._letters += len(text)
        return "" if self._letters > _TEXTS_MAX or history_secrets([text]) else text


def know_files(shell: Any, history: History) -> None:
    """Let code that is restored show its lines, under the name that it has here."""
    files = shell.compile._filename_map  # noqa: SLF001 - no public way
    for kept, (number, own) in history.files.items():
        text = own if own is not None else history.inputs[number] if number < len(history.inputs) else ""
        name = live_name(kept)
        if text and name not in linecache.cache:
            # without a time of change, linecache keeps the entry although there is no such file
            linecache.cache[name] = (len(text), None, [f"{line}\n" for line in text.splitlines()], name)
            files[name] = number


def put_history(shell: Any, history: History, ended: Sequence[Ended]) -> int:
    """Put the saved cells, and those that `ended` after the save, before this kernel's own in `In` and in what was
    typed. Return how many they are: the kernel's own cells are numbered after them.
    """
    manager, files = shell.history_manager, shell.compile._filename_map  # noqa: SLF001 - no public way
    inputs = history.inputs[1:]
    typed = [history.typed.get(number, cell) for number, cell in enumerate(inputs, 1)]
    for each in ended:
        between = each.cell - len(inputs) - 1  # cells that only looked
        if 0 <= between < _LOOKED_MOST:  # it was run: the cells that follow are numbered on
            inputs += [*[""] * between, each.source]
            typed += [*[""] * between, each.source]
    moved = len(inputs)
    manager.input_hist_parsed[1:1] = inputs
    manager.input_hist_raw[1:1] = typed
    known = {live_name(name) for name in history.files}
    files.update({name: number + moved for name, number in files.items() if number and name not in known})
    shell.user_ns.update({f"_i{number}": cell for number, cell in enumerate(manager.input_hist_raw) if number})
    _number_on(shell.compile, shell.execution_count - 1, moved)
    shell.execution_count += moved
    return moved


def is_result(name: str) -> bool:
    """Tell whether a name in a snapshot is of a cell's result, and no variable's."""
    return name.startswith("Out[")


def put_results(shell: Any, numbered: Mapping[int, Any], last: Mapping[str, Any]) -> None:
    """Make `Out` and the last results what they were; what this kernel has given by now stays."""
    display, namespace = shell.displayhook, shell.user_ns
    is_first = not namespace["_oh"]
    for number, value in numbered.items():
        namespace["_oh"].setdefault(number, value)
        namespace.setdefault(f"_{number}", value)
    for name, value in last.items() if is_first else ():
        if namespace.get(name) is getattr(display, name, None):  # else it is a variable of the person's
            setattr(display, name, value)
            namespace[name] = value


def _number_on(compiler: Any, ran: int, moved: int) -> None:
    """Give the cell that is about to be compiled its new number: IPython took the former one before this began."""
    cache = compiler.cache

    def numbered(code: str, number: int = 0, **more: Any) -> Any:
        compiler.cache = cache
        return cache(code, number + moved if number <= ran else number, **more)

    compiler.cache = numbered
