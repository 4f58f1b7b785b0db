"""How commands talk: options in two languages, tables, JSON, one line on the terminal that is written over.

The trap: people get tables and colours only on a terminal; anything else gets plain columns that tools can cut.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from dure.client.config import language
from dure.client.moments import own_times

# C0, DEL and C1; line and paragraph separators; marks, embeddings, overrides and isolates of writing direction.
_UNSEEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]")

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dure.client import Client
    from dure.client.transport import Retry


class ToldOption(click.Option):
    """An option whose help has a Korean text too."""

    def __init__(self, *arguments: Any, ko: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.english = self.help
        self.korean = ko

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return flags and help in the language of the command."""
        self.help = self.korean if lang_of(ctx) == "ko" and self.korean else self.english
        return super().get_help_record(ctx)


class ToldCommand(click.Command):
    """A command of a group whose help has a Korean text too."""

    def __init__(self, *arguments: Any, ko: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.english = self.help
        self.korean = ko

    def get_short_help_str(self, limit: int = 45) -> str:  # noqa: ARG002 - click's; a line that is too long is broken
        """Return the help in the language of the command, for the list of its group."""
        return self.korean if _korean() else super().get_short_help_str(10_000)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help in the language of the command."""
        self.help = self.korean if lang_of(ctx) == "ko" else self.english
        super().format_help_text(ctx, formatter)


class ToldFormatter(click.HelpFormatter):
    """Help pages with click's own words in the reader's language, and no line wider than the terminal."""

    def write(self, string: str) -> None:
        """Write without what stands for the second column of wide characters."""
        super().write(string.replace(_SECOND, ""))

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write how a command is typed."""
        if _korean():
            args, prefix = args.replace("[OPTIONS]", _spread("[옵션]")), _spread("사용법: ")
        super().write_usage(prog, args, prefix)

    def write_heading(self, heading: str) -> None:
        """Write what a section is called."""
        super().write_heading(_HELP_WORDS.get(heading, heading) if _korean() else heading)

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(_spread(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write options or commands, each with its help."""
        told = [(first, _spread(_in_korean(second) if _korean() else second)) for first, second in rows]
        super().write_dl(told, col_max, col_spacing)


_UNBROKEN = 10  # columns of a terminal; a cell that takes no more stays on one line
_SECOND = "\x00"  # click counts characters, and a wide one takes two columns
_HELP_WORDS = {"Options": "옵션", "Commands": "명령", "Show this message and exit.": "이 도움말을 표시합니다."}
_EXTRA = re.compile(r"(?<=  )\[[^\[\]]*\]$")  # what click adds to the help of an option: default, range, required


def _korean() -> bool:
    context = click.get_current_context(silent=True)  # at the Tab key there is none
    return (lang_of(context) if context else language()) == "ko"


def _in_korean(text: str) -> str:
    told = _HELP_WORDS.get(text, text)
    return _EXTRA.sub(lambda found: found[0].replace("default: ", "기본값: ").replace("required", "필수"), told)


def _spread(text: str) -> str:
    return "".join(char + _SECOND * (_width(char) - 1) for char in text)


def option(*flags: str, en: str, ko: str, **settings: Any) -> Callable[[Any], Any]:
    """Return the decorator of an option with its help in both languages."""
    return click.option(*flags, cls=ToldOption, help=en, ko=ko, **settings)


AS_JSON = option("--json", "as_json", is_flag=True, en="Print JSON.", ko="JSON으로 출력합니다.")


def lang_of(ctx: click.Context) -> str:
    """Return "en" or "ko": `--lang` when given, else the environment's."""
    return ctx.find_root().params.get("lang") or language()


def connect(ctx: click.Context, *, retry_s: float = 60.0) -> Client:
    """Return a client that says on a terminal when the platform does not answer."""
    from dure.client import Client

    told = Line()

    def progress(retry: Retry | None) -> None:
        told.show(retry.sentence if retry else "")

    # One that never answered is told soon; one that goes away while a job is followed is waited for.
    return ctx.with_resource(Client(lang=lang_of(ctx), progress=progress, retry_s=retry_s))


def visible(text: str, keep: str = "") -> str:
    """Return the text with control characters and changes of writing direction spelled out, but for those in `keep`.

    Names and sentences come from other people: none may move the cursor, recolour or reorder what is read here.
    """
    return _UNSEEN.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def say(sentence: str) -> None:
    """Write one sentence to stdout."""
    click.echo(visible(own_times(sentence), keep="\n\t"))


def warn(sentence: str) -> None:
    """Write one sentence to stderr."""
    click.echo(visible(own_times(sentence), keep="\n\t"), err=True)


def print_json(value: BaseModel | Any) -> None:
    """Write a wire model or plain data as JSON, indented on a terminal, else one line."""
    plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    click.echo(json.dumps(plain, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str, spare: Sequence[int] = ()) -> None:
    """Write a table: rich on a terminal, else aligned columns; `empty` goes to stderr when there is no row.

    A terminal too narrow for it goes without the columns `spare`, the first of them first: what is in the first column
    is typed again, and short cells are amounts, so these are not broken.
    """
    if not rows:
        warn(empty)
        return
    rows = [[visible(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console, drawn = Console(), Table(box=None, header_style="bold", pad_edge=False)
        longest = {at: max(_width(line[at]) for line in (columns, *rows)) for at in range(len(columns))}
        whole = {at: not at or width <= _UNBROKEN for at, width in longest.items()}
        needed = {at: width if whole[at] else _UNBROKEN for at, width in longest.items()}
        for at in spare:
            if sum(needed.values()) + 2 * (len(needed) - 1) > console.width:
                del needed[at]
        for at in needed:
            drawn.add_column(columns[at], overflow="fold", no_wrap=whole[at])
        for row in rows:
            drawn.add_row(*(Text(row[at]) for at in needed))
        console.print(drawn)
        return
    lines = [columns, *rows]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def when(at: float | None) -> str:
    """Return a moment in the local zone, without the date when it is today."""
    if at is None:
        return "-"
    moment, today = datetime.fromtimestamp(at).astimezone(), datetime.now().astimezone()
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%Y-%m-%d %H:%M")


def zone_name() -> str:
    """Return what the local zone is called, such as KST or UTC."""
    return datetime.now().astimezone().tzname() or "local time"


class Line:
    """One line on stderr that the next one replaces. Silent where stderr is not a terminal."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, text: str) -> None:
        """Replace the line by `text`, cut to the terminal's width; "" removes it."""
        text = visible(own_times(text))
        if not sys.stderr.isatty() or text == self._shown:
            return
        columns = shutil.get_terminal_size().columns - 1
        while _width(text) > columns:
            text = text[:-2] + "…"
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
        self._shown = text


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
