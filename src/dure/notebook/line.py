"""The one line above a cell's output: queued and why, then where it runs, then what it took.

In a notebook it is one display that is updated in place, readable by a screen reader; in a terminal it is printed to
stderr when it changes. The trap: code that clears its output takes the line with it, so it is then displayed anew.
"""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid4

from dure.notebook.context import language
from dure.notebook.tables import html_of


class StatusLine:
    """Shows one text at a time. `shell` None: shows nothing, as in a script."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._in_notebook = shell is not None and hasattr(shell, "kernel")
        self._id = f"dure-{uuid4().hex}"
        self._shown = False
        self._text = ""

    def show(self, text: str, details: tuple[str, ...] = ()) -> None:
        """Replace the line by `text`; `details` stand below it, smaller."""
        whole = "\n".join([text, *details])
        if self._shell is None or (whole == self._text and self._shown):
            return
        self._text = whole
        if not self._in_notebook:
            print(whole, file=sys.stderr, flush=True)  # noqa: T201 -- a terminal has no displays to update
            self._shown = True
            return
        self._shell.display_pub.publish(
            data={"text/plain": whole, "text/html": _as_html(text, details)},
            metadata={},
            transient={"display_id": self._id},
            update=self._shown,
        )
        self._shown = True

    def gone(self) -> None:
        """Note that the output was cleared, and the line with it."""
        self._shown = False


def _as_html(text: str, details: tuple[str, ...]) -> str:
    below = "".join(f"<br><small>{html_of(detail)}</small>" for detail in details)
    said = f"<small>{html_of(text)}</small>{below}"
    about = f'lang="{language()}" class="dure-line" style="word-break:keep-all"'
    return f'<div role="status" aria-live="polite" {about}>{said}</div>'
