"""Plays a job's messages as if its code had run here: streams, displays, the result, cleared output, questions.

The trap: `clear_output(wait=True)` takes effect with the next output only, and the status line is an output too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from dure.notebook.failures import remote_error
from dure.notebook.line import StatusLine
from dure.notebook.words import say


class Replay:
    """Shows messages in `shell` (an IPython shell), or as plain text on stdout and stderr when it is None."""

    def __init__(self, shell: Any, line: StatusLine) -> None:
        self.shell = shell
        self._line = line
        self._clear_pending = False

    def play(self, message: Mapping[str, Any]) -> None:
        """Show one message of the spool; those that are not for showing are ignored."""
        kind = message["type"]
        if kind == "clear_output":
            self._clear(wait=bool(message.get("wait")))
            return
        show = {
            "stream": self._stream,
            "display_data": self._display,
            "update_display_data": self._display,
            "execute_result": self._result,
            "cut": self._cut,
        }.get(kind)
        if show is None:
            return
        if self._clear_pending:
            self._clear_pending = False
            self._line.gone()
        show(message)

    def note(self, text: str) -> None:
        """Say something of our own beside the job's output."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def _stream(self, message: Mapping[str, Any]) -> None:
        out = sys.stderr if message.get("name") == "stderr" else sys.stdout
        out.write(message["text"])
        out.flush()

    def _display(self, message: Mapping[str, Any]) -> None:
        data = message.get("data") or {}
        if self.shell is None:
            print(data.get("text/plain", ""), flush=True)  # noqa: T201
            return
        self.shell.display_pub.publish(
            data=data,
            metadata=message.get("metadata") or {},
            transient=message.get("transient") or {},
            update=message["type"] == "update_display_data",
        )

    def _result(self, message: Mapping[str, Any]) -> None:
        if self.shell is None:
            self._display(message)
            return
        hook = self.shell.displayhook
        hook.start_displayhook()
        hook.write_output_prompt()
        hook.write_format_data(dict(message.get("data") or {}), message.get("metadata") or {})
        hook.finish_displayhook()

    def error(self, message: Mapping[str, Any]) -> None:
        """Show an error after which the job's code went on."""
        ename, evalue, lines = str(message["ename"]), str(message["evalue"]), list(message["traceback"])
        if self.shell is None:
            self.note("\n".join(lines))
        else:
            error = remote_error(ename, evalue, lines)
            self.shell._showtraceback(type(error), error, lines)  # noqa: SLF001 -- as IPython's own magics end in it

    def _clear(self, *, wait: bool) -> None:
        if self.shell is None:
            return
        self._clear_pending = wait
        if not wait:
            self._line.gone()
        self.shell.display_pub.clear_output(wait=wait)

    def tail(self, end: Mapping[str, Any]) -> None:
        """Show how much of the output was left out, and the last of it; nothing when all was shown."""
        dropped = int(end.get("dropped_bytes") or 0)
        if not dropped:
            return
        from dure.client.words import size_word

        self.note(say("tail", dropped=size_word(dropped)))
        for name, text in (end.get("tail") or {}).items():
            self._stream({"name": name, "text": str(text).partition("\n")[2] or str(text)})

    def _cut(self, _: Mapping[str, Any]) -> None:
        self.note("\n" + say("cut"))


def set_last_value(shell: Any, value: Any) -> None:
    """Make `value` what `_` and `Out[n]` are after this cell, as a displayed result is."""
    if value is not None:
        shell.displayhook.update_user_ns(value)
