"""A job's messages as blocks of a page: text, pictures, errors, notes. Nothing that a job made is ever run or framed.

Shows the last part only and remembers where that part begins, so that following a long output reads its end. The trap:
HTML and SVG that a job displays could act in the reader's name, so HTML is shown as its plain text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from dure.portal.terminal import rendered
from dure.wire.messages import OutputList

SHOWN_MAX = 400
SHOWN_CHARS_MAX = 16 * 1024 * 1024  # of all blocks together; the last one is always shown
_PAGE = 500
_PAGES_MAX = 400
_IMAGE_CHARS_MAX = 8 * 1024 * 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
Read = Callable[[str | None, int], OutputList]
Message = Mapping[str, Any]


@dataclass(slots=True)
class Block:
    """One piece of the page. `kind` is text, stderr, picture, error, html, cut or input."""

    kind: str
    text: str = ""
    markup: Markup = field(default_factory=Markup)
    source: str = ""
    display_id: str | None = None
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Tail:
    """The last part of an output: `begin` is the cursor before it, `cut` tells whether something came earlier."""

    blocks: list[Block]
    begin: str
    end: str
    cut: bool
    done: bool


def tail(read: Read, begin: str | None) -> Tail:
    """Return the output after `begin` (None: from the start), its last messages only."""
    kept: deque[Message] = deque(maxlen=SHOWN_MAX)
    cursor, dropped, done = begin, False, False
    for _ in range(_PAGES_MAX):
        page = read(cursor, _PAGE)
        dropped = dropped or len(kept) + len(page.messages) > SHOWN_MAX
        kept.extend(page.messages)
        moved, cursor, done = page.cursor != cursor, page.cursor, page.done
        if done or not page.messages or not moved:
            break
    began = begin or "1.0"
    if dropped and kept:
        first = kept[0]
        began = f"{first['attempt']}.{max(0, int(first['seq']) - 1)}"
    blocks, whole = blocks_of(kept)
    return Tail(blocks, began, cursor or began, began != "1.0" or not whole, done)


def blocks_of(messages: Any) -> tuple[list[Block], bool]:
    """Return the last blocks of messages in order, displays cleared and updated, and whether these are all blocks."""
    blocks: list[Block] = []
    clear_next = False
    for message in messages:
        kind = message.get("type")
        if kind == "clear_output":
            clear_next = bool(message.get("wait"))
            if not clear_next:
                blocks.clear()
            continue
        block = _block(message)
        if block is None:
            continue
        if clear_next:
            blocks.clear()
            clear_next = False
        if kind == "update_display_data":
            _update(blocks, block)
        elif kind == "stream" and blocks and blocks[-1].kind == block.kind and blocks[-1].streamed:
            blocks[-1].text += block.text
        else:
            blocks.append(block)
    left = SHOWN_CHARS_MAX
    for place in range(len(blocks) - 1, -1, -1):
        block = blocks[place]
        block.markup = rendered(block.text)
        left -= len(block.markup) + len(block.source)
        if left < 0:
            first = min(place + 1, len(blocks) - 1)
            return blocks[first:], first == 0
    return blocks, True


def _block(message: Message) -> Block | None:
    kind = message.get("type")
    if kind == "stream":
        name = "stderr" if message.get("name") == "stderr" else "text"
        return Block(name, str(message.get("text", "")), streamed=True)
    if kind in {"display_data", "execute_result", "update_display_data"}:
        return _display(message)
    if kind == "error":
        lines = [str(line) for line in message.get("traceback") or ()]
        return Block("error", "\n".join(lines) or f"{message.get('ename')}: {message.get('evalue')}")
    if kind == "cut":
        return Block("cut", source=str(message.get("dropped_bytes") or ""))
    if kind == "input_request":
        return Block("input", str(message.get("prompt", "")))
    return None


def _display(message: Message) -> Block:
    data = message.get("data") or {}
    display_id = (message.get("transient") or {}).get("display_id")
    plain = _joined(data.get("text/plain"))
    for kind in _PICTURES:
        picture = _joined(data.get(kind))
        if picture and len(picture) <= _IMAGE_CHARS_MAX and _BASE64.fullmatch(picture):
            content = "".join(picture.split())
            return Block("picture", plain, source=f"data:{kind};base64,{content}", display_id=display_id)
    rich = not plain and any(kind != "text/plain" for kind in data)
    return Block("html" if rich else "text", f"{plain}\n" if plain else "", display_id=display_id)


def _update(blocks: list[Block], new: Block) -> None:
    for place, block in enumerate(blocks):
        if block.display_id is not None and block.display_id == new.display_id:
            blocks[place] = new


def _joined(value: Any) -> str:
    return "".join(str(part) for part in value) if isinstance(value, list) else str(value or "")
