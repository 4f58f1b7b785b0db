"""What the portal says: languages, catalogues, and how spans, money and sizes are written.

The catalogue is the .po file itself, read once when the portal starts, so an editable install and a wheel behave alike.
The trap: a sentence in a template without its Korean fails tests/portal/test_wording.py, not the page.
"""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dure.amounts import MOMENT, moment_at
from dure.core.model import TERMINAL
from dure.core.wording import duration, money
from dure.state.inspection import size_text
from dure.wire.retold import retold

LOCALE = Path(__file__).parent / "locale"
_JOB_ID = re.compile(r"\b(j-[0-9a-z]{8})\b")
_OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")
_MINUTE = Markup('<time datetime="{}" data-minute="{}">{}</time>')
_ENDED = frozenset(str(phase) for phase in TERMINAL)


def environment(lang: str) -> Environment:
    """Return the templates in one language; every value that they print is escaped."""
    env = Environment(
        loader=PackageLoader("dure.portal"),
        autoescape=True,
        undefined=StrictUndefined,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    env.install_gettext_translations(catalogue(lang), newstyle=True)  # type: ignore[attr-defined]
    env.filters.update(
        span=lambda seconds: duration(seconds, lang),
        money=lambda amount, currency: money(amount, currency, lang),
        gpus="{:g}".format,
        size=size_text,
        linked=linked,
        told=told,
        retold=lambda reason: retold(reason, lang),
        urlencode=lambda path: quote(path, errors="replace"),  # paths that a job made may hold half a surrogate pair
        iso=iso,
        clock=clock,
    )
    env.globals.update(lang=lang, ended=_ended)
    return env


def catalogue(lang: str) -> Translations:
    """Return the language's sentences; English is what the templates say themselves."""
    path = LOCALE / f"{lang}.po"
    if not path.exists():
        return Translations()
    compiled = io.BytesIO()
    with path.open(encoding="utf-8") as source:
        write_mo(compiled, read_po(source, locale=lang))
    compiled.seek(0)
    return Translations(compiled)


def linked(sentence: str, base: str) -> Markup:
    """Return the sentence as `told` does, with every job that it names as a link to that job's page."""
    link = Markup('<a class="id" href="{}/jobs/{}">{}</a>')
    parts = _JOB_ID.split(sentence)
    return Markup("").join(link.format(base, part, part) if at % 2 else told(part) for at, part in enumerate(parts))


def told(sentence: str) -> Markup:
    """Return a sentence of the control plane, escaped, whose moments the script shows in the reader's own zone."""
    shown, since = [], 0
    for found in MOMENT.finditer(sentence):
        plain = found[0].replace("T", " ").replace("Z", " UTC")
        shown += [
            _unbroken(sentence[since : found.start()]),
            _MINUTE.format(found[0], moment_at(found[0]), plain),
        ]
        since = found.end()
    return Markup("").join([*shown, _unbroken(sentence[since:])])


def _unbroken(text: str) -> Markup:
    """Return the text, escaped, whose options (`--tier`) stay on one line."""
    return Markup(_OPTION.sub(r'<span class="option">\g<0></span>', str(escape(text))))  # noqa: S704 -- escaped


def iso(at: float) -> str:
    """Return a time as HTML's `<time datetime>` wants it, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def clock(at: float) -> str:
    """Return a time for browsers that run no script: UTC, said to be so. The script shows local time instead."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _ended(phase: Any) -> bool:
    return str(phase) in _ENDED
