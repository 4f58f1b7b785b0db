"""What a job printed, as a terminal would show it: carriage returns, colours, and nothing that a page would run.

Returns markup of escaped text in spans with class names, because the page's policy allows no inline styles. The trap: a
progress bar writes thousands of lines over one another, so text is laid out in cells before anything is rendered.
"""

from __future__ import annotations

import re
from itertools import groupby

from markupsafe import Markup, escape

CHARS_MAX = 200_000
LINES_MAX = 2000
COLUMNS_MAX = 2000
CELLS_MAX = 400_000  # a cursor moved to the right fills cells that nothing was printed into
_SEQUENCE = re.compile(
    r"\x1b\[([0-9;:?<=>]{0,64})([@-~])"  # what moves, erases and colours
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles and links
    r"|\x1b[@-Z\\-_0-9=>]"
)
_SPECIAL = re.compile(r"[\x00-\x1f\x7f]")
_CUBE_BRIGHT = 3
Style = tuple[str, ...]


def rendered(text: str) -> Markup:
    """Return the text as HTML for inside a `<pre>`; only the last part of a very long one."""
    screen = _Screen()
    screen.write(text[-CHARS_MAX:])
    return Markup("\n").join(_line(line) for line in screen.lines)


class _Screen:
    """Lines of (character, style), and where the next one goes. Too many lines or cells: the first lines go."""

    def __init__(self) -> None:
        self.lines: list[list[tuple[str, Style]]] = [[]]
        self.cells = 0
        self.row = 0
        self.column = 0
        self.style: dict[str, str] = {}

    def write(self, text: str) -> None:
        at = 0
        for found in _SEQUENCE.finditer(text):
            self._plain(text[at : found.start()])
            at = found.end()
            if found[2]:
                self._control(found[1], found[2])
        self._plain(text[at:])

    def _plain(self, text: str) -> None:
        at = 0
        for found in _SPECIAL.finditer(text):
            self._put(text[at : found.start()])
            at = found.end()
            self._special(found[0])
        self._put(text[at:])

    def _special(self, character: str) -> None:
        if character == "\n":
            self.row += 1
            self.column = 0
            if self.row == len(self.lines):
                self.lines.append([])
                self._drop()
        elif character == "\r":
            self.column = 0
        elif character == "\b":
            self.column = max(0, self.column - 1)
        elif character == "\t":
            self._put(" " * (8 - self.column % 8))

    def _put(self, text: str) -> None:
        if not text or self.column > COLUMNS_MAX:
            return
        line = self.lines[self.row]
        before = len(line)
        style = tuple(sorted(self.style.values()))
        if len(line) < self.column:
            line += [(" ", ())] * (self.column - len(line))
        room = COLUMNS_MAX - self.column
        cells = [(character, style) for character in text[:room]]
        if len(text) > room:
            cells.append(("…", ()))
        line[self.column : self.column + len(cells)] = cells
        self.column += len(cells)
        self.cells += len(line) - before
        self._drop()

    def _drop(self) -> None:
        while self.row and (len(self.lines) > LINES_MAX or self.cells > CELLS_MAX):
            self.cells -= len(self.lines.pop(0))
            self.row -= 1

    def _control(self, arguments: str, final: str) -> None:
        numbers = [int(part) if part.isdigit() else 0 for part in arguments.replace(":", ";").split(";")]
        first = max(1, numbers[0])
        if final == "m":
            self._colour(numbers)
        elif final == "A":
            self.row = max(0, self.row - first)
        elif final == "B":
            self.row = min(len(self.lines) - 1, self.row + first)
        elif final == "C":
            self.column = min(COLUMNS_MAX, self.column + first)
        elif final == "D":
            self.column = max(0, self.column - first)
        elif final == "G":
            self.column = min(COLUMNS_MAX, first - 1)
        elif final == "K":
            line = self.lines[self.row]
            before = len(line)
            if numbers[0] == 0:
                del line[self.column :]
            elif numbers[0] == 2:
                line.clear()
            self.cells -= before - len(line)

    def _colour(self, numbers: list[int]) -> None:
        left = list(numbers)
        while left:
            number = left.pop(0)
            if number == 0:
                self.style.clear()
            elif number in {1, 2, 3, 4}:
                self.style[f"w{number}"] = {1: "t-bold", 2: "t-dim", 3: "t-italic", 4: "t-under"}[number]
            elif number in {22, 23, 24}:
                for name in {22: ("w1", "w2"), 23: ("w3",), 24: ("w4",)}[number]:
                    self.style.pop(name, None)
            elif number in {38, 48}:
                self._extended("f" if number == 38 else "b", left)
            elif number in {39, 49}:
                self.style.pop("f" if number == 39 else "b", None)
            elif 30 <= number <= 37 or 90 <= number <= 97:
                self.style["f"] = f"t-f{number - 30 if number < 90 else number - 82}"
            elif 40 <= number <= 47 or 100 <= number <= 107:
                self.style["b"] = f"t-b{number - 40 if number < 100 else number - 92}"

    def _extended(self, ground: str, left: list[int]) -> None:
        kind = left.pop(0) if left else 0
        if kind == 5 and left:
            self.style[ground] = f"t-{ground}{_of_256(left.pop(0))}"
        elif kind == 2 and len(left) >= 3:
            red, green, blue = left.pop(0), left.pop(0), left.pop(0)
            self.style[ground] = f"t-{ground}{_nearest(red, green, blue)}"


def _of_256(number: int) -> int:
    """Return which of the 16 colours is like the palette's colour `number`."""
    if number < 16:
        return number
    if number >= 232:
        return (0, 8, 7, 15)[min(3, (number - 232) // 6)]
    cube = number - 16
    return _nearest(*(level * 51 for level in (cube // 36, cube // 6 % 6, cube % 6)))


def _nearest(red: int, green: int, blue: int) -> int:
    most = max(red, green, blue, 1)
    bits = sum(1 << place for place, part in enumerate((red, green, blue)) if part * 2 > most)
    return bits + (8 if most > 64 * _CUBE_BRIGHT else 0)


def _line(line: list[tuple[str, Style]]) -> Markup:
    parts = []
    for style, cells in groupby(line, key=lambda cell: cell[1]):
        text = escape("".join(character for character, _ in cells))
        parts.append(Markup('<span class="{}">{}</span>').format(" ".join(style), text) if style else text)
    return Markup("").join(parts)
