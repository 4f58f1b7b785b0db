"""`%load_ext dure`: registers `%%gpu`, `%gpu`, `%session` and their completion. Loads fast and never breaks a kernel.

Nothing here waits for the platform, so the extension loads where there is none. The trap: everything heavy (httpx,
pydantic, the state library) is imported at the first use, not at load.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

_LOADED: dict[int, _Loaded] = {}
_TOLD = 5


class _Loaded:
    """What was registered in one shell."""

    def __init__(self, shell: Any) -> None:
        from dure.notebook.context import PlatformCache
        from dure.notebook.sessions.session import NotebookSession

        self.shell = shell
        self.session = NotebookSession(shell)
        self.platform = PlatformCache()
        self._kernel: Any = None
        self.matcher: Any = None

    @property
    def kernel(self) -> Any:
        """The kernel's state, made at the first use."""
        if self._kernel is None:
            from dure.notebook.kernel import Kernel

            self._kernel = Kernel(self.shell, self.session.take_meanwhile)
        return self._kernel

    def cell_magic(self, line: str, cell: str) -> Any:
        """Run the cell on a GPU; `%%gpu --help` lists the options."""
        from dure.notebook.cell import run_cell

        return run_cell(self.kernel, line, cell)

    def line_magic(self, line: str) -> None:
        """Show and steer GPU jobs; `%gpu --help` lists the commands."""
        from dure.notebook.commands import run_line

        run_line(self.kernel, line)

    def session_magic(self, line: str) -> None:
        """Save, list, restore, compare and undo what this notebook holds; `%session --help` lists the commands."""
        from dure.notebook.sessions.commands import run_session

        run_session(self.session, line)

    def completions(self, text: str) -> list[str] | None:
        """Return what the last word of `text`, the line up to the cursor, may become; None when it is not ours."""
        stripped = text.lstrip()
        if stripped.startswith("%%gpu") and stripped[5:6] in {" ", "\t"}:
            from dure.client.options import complete

            return complete(stripped, self.platform.get())
        if stripped.startswith("%gpu") and stripped[4:5] in {" ", "\t"}:
            return self._commands(stripped)
        if stripped.startswith("%session") and stripped[8:9] in {" ", "\t"}:
            from dure.notebook.sessions.commands import complete as complete_session

            return complete_session(stripped)
        return None

    def tell_waiting(self, info: Any) -> None:
        """Say in the first cell which jobs went on while this notebook was closed."""
        from dure.notebook import records
        from dure.notebook.context import notebook_id
        from dure.notebook.words import say

        self.tell_no_more()
        found: list[Any] = []
        with contextlib.suppress(OSError, RuntimeError):  # no home, no folder: then there is nothing to tell
            found = records.undelivered(notebook_id(self.shell.user_ns), None, time.time())
        if found and not str(info.raw_cell).lstrip().startswith("%gpu attach"):
            self.kernel.note(say("not_brought", jobs=", ".join(record.job for record in found[-_TOLD:])))

    def tell_no_more(self) -> None:
        """Leave the first cell alone."""
        with contextlib.suppress(ValueError):  # it was told
            self.shell.events.unregister("pre_run_cell", self.tell_waiting)

    def _commands(self, text: str) -> list[str]:
        from dure.notebook.commands import COMMANDS

        words = text.split()
        last = "" if text[-1].isspace() else words.pop()
        if len(words) == 1:
            choices = [*COMMANDS, "--help"]
        elif words[1] == "lang":
            choices = ["en", "ko"]
        elif words[1] in {"why", "cancel", "attach"}:
            choices = [*reversed(self.kernel.sent), *(["--on-conflict"] if words[1] == "attach" else [])]
        else:
            choices = []
        return [choice for choice in choices if choice.startswith(last)]


def load_ipython_extension(shell: Any) -> None:
    """Register the magics and the completion in `shell`; loading again changes nothing."""
    if id(shell) in _LOADED:
        return
    from dure.state.libraries.figures import shown_in
    from dure.state.libraries.settings import note_beginning

    note_beginning()
    shown_in(shell)
    loaded = _Loaded(shell)
    shell.register_magic_function(loaded.cell_magic, "cell", "gpu")
    shell.register_magic_function(loaded.line_magic, "line", "gpu")
    shell.register_magic_function(loaded.session_magic, "line", "session")
    shell.input_transformers_cleanup.append(_help_without_body)
    loaded.matcher = _matcher(loaded)
    if getattr(shell, "Completer", None) is not None:
        shell.Completer.custom_matchers.append(loaded.matcher)
    _LOADED[id(shell)] = loaded
    loaded.session.attach()
    shell.events.register("pre_run_cell", loaded.tell_waiting)


def unload_ipython_extension(shell: Any) -> None:
    """Take back what was registered. Jobs that run go on."""
    loaded = _LOADED.pop(id(shell), None)
    if loaded is None:
        return
    loaded.session.detach()
    loaded.tell_no_more()
    for kind, name in (("cell", "gpu"), ("line", "gpu"), ("line", "session")):
        shell.magics_manager.magics[kind].pop(name, None)
    if _help_without_body in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(_help_without_body)
    if getattr(shell, "Completer", None) is not None and loaded.matcher in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.remove(loaded.matcher)


def _help_without_body(lines: list[str]) -> list[str]:
    """Give a lone `%%gpu …` line a body, since IPython refuses a cell magic without one before we are asked."""
    if (
        lines
        and lines[0].startswith("%%gpu")
        and lines[0][5:6] in {"", " ", "\t", "\n"}
        and not "".join(lines[1:]).strip()
    ):
        return [lines[0].rstrip("\n") + "\n", "\n", "\n"]
    return lines


def _matcher(loaded: _Loaded) -> Any:
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher()  # type: ignore[untyped-decorator]
    def dure_matcher(context: Any) -> Any:
        try:
            found = loaded.completions(context.line_with_cursor[: context.cursor_position])
        except Exception:
            found = None
        if found is None:
            waiting = loaded.session.waiting
            coming = waiting.beginning(context.token) if waiting is not None and context.token else []
            return {"completions": [SimpleCompletion(text=name, type="instance") for name in coming]}
        return {"completions": [SimpleCompletion(text=text, type="option") for text in found], "suppress": bool(found)}

    return dure_matcher
