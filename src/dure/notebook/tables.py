"""Small tables and sentences as HTML with a text fallback: everything is escaped, colours are left to the theme."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dure.notebook.context import language

# What browsers would break after its hyphen.
_UNBROKEN = re.compile(r"\bj-[0-9a-z]{8}\b|(?<!\S)--[a-z][a-z-]*")
_TYPED = re.compile(r"`([^`\n]+)`")
_SHORT = 16  # letters of a cell that is worth a column of its own width
_NUMBER_STYLE = ' style="text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"'


@dataclass(slots=True)
class Table:
    """`rows` of cells under `columns`; columns whose name is in `numbers` are aligned to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numbers: frozenset[str] = frozenset()
    empty: str = ""
    below: list[str] = field(default_factory=list)

    def as_text(self) -> str:
        """Return the table in fixed-width text; Korean letters count two columns."""
        if not self.rows:
            return "\n".join(text for text in (self.title, self.empty, *self.below) if text)
        cells = [[str(cell) for cell in row] for row in self.rows]
        widths = [
            max(_width(text) for text in (name, *(row[index] for row in cells)))
            for index, name in enumerate(self.columns)
        ]
        lines = [self._line(self.columns, widths), *(self._line(row, widths) for row in cells)]
        return "\n".join([self.title, *lines, *self.below])

    def as_html(self) -> str:
        """Return the table as HTML without colours or scripts, and styles for alignment and line breaks only."""
        title = html_of(self.title)
        below = "".join(f"<p><small>{html_of(text)}</small></p>" for text in self.below)
        if not self.rows:
            return f"<p><strong>{title}</strong><br>{html_of(self.empty)}</p>{below}"
        head = "".join(f'<th scope="col"{self._style(name)}>{html.escape(name)}</th>' for name in self.columns)
        body = "".join(
            "<tr>"
            + "".join(
                f"<td{self._style(name, str(cell))}>{html_of(str(cell))}</td>"
                for name, cell in zip(self.columns, row, strict=True)
            )
            + "</tr>"
            for row in self.rows
        )
        # no <caption>: it would be broken at the width of the table, however narrow that is
        named = f'<table aria-label="{html.escape(self.title)}">'
        return (
            f"<p><strong>{title}</strong></p>{named}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
        )

    def _style(self, name: str, cell: str = "") -> str:
        if name in self.numbers:
            return _NUMBER_STYLE
        return f' style="text-align:left{";white-space:nowrap" if len(cell) <= _SHORT else ""}"'

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = []
        for name, text, width in zip(self.columns, cells, widths, strict=True):
            space = " " * (width - _width(text))
            padded.append(space + text if name in self.numbers else text + space)
        return "  ".join(padded).rstrip()


def html_of(text: str) -> str:
    """Return the text as HTML: job ids and options (`--tier`) stay on one line, what is to be typed is code."""
    unbroken = _UNBROKEN.sub(r'<span style="white-space:nowrap">\g<0></span>', html.escape(text))
    return _TYPED.sub(r"<code>\g<1></code>", unbroken)


def sentence(text: str) -> dict[str, str]:
    """Return the data of a display of some text whose lines break between words."""
    about = f'lang="{language()}" style="white-space:pre-line;word-break:keep-all"'
    return {"text/plain": text, "text/html": f'<div role="note" {about}>{html_of(text)}</div>'}


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def show(shell: Any, *tables: Table) -> None:
    """Display tables in the notebook, or print them in a terminal."""
    told = "".join(table.as_html() for table in tables)
    shell.display_pub.publish(
        data={
            "text/plain": "\n\n".join(table.as_text() for table in tables),
            "text/html": f'<div lang="{language()}" style="word-break:keep-all;overflow-x:auto">{told}</div>',
        },
        metadata={},
    )
