"""What a cell asks while it runs, and who may answer: a line of input, or the notebook's values of names.

The process asks one thing at a time, so a new question gives the older one up. The trap: an answer may come late or
from somebody else, so it must be of the kind, and name all the names, that are asked for now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.worker.ranks import Rank
from dure.worker.spool import Spool

QUESTIONS = frozenset({"input_request", "need"})


class Questions:
    """The one question that is open."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._open: tuple[Rank, dict[str, Any]] | None = None

    def ask(self, rank: Rank, content: dict[str, Any]) -> None:
        """Put the question of `rank` to whoever reads the output."""
        self._open = rank, content
        asked = self._spool.message(content["type"], {key: content[key] for key in content.keys() - {"id", "type"}})
        if not asked:  # thousands of questions after the bound: nobody would see this one
            self._answer({"text": None, "names": {}}, fits=True)

    def type(self, text: object) -> str | None:
        """Answer with a line of input; return what is wrong with that, if anything."""
        return self._answer({"text": text}, fits=self._asks("input_request"))

    def provide(self, names: Mapping[str, Any], snapshot: object) -> str | None:
        """Answer with where the values of names are; return what is wrong with that, if anything."""
        return self._answer({"names": names, "snapshot": snapshot}, fits=self._asks("need", set(names)))

    def _asks(self, kind: str, names: set[str] | None = None) -> bool:
        if self._open is None:
            return False
        _, content = self._open
        return content["type"] == kind and (names is None or set(content["names"]) <= names)

    def _answer(self, told: dict[str, Any], *, fits: bool) -> str | None:
        if self._open is None or not fits:
            return "The job asks for nothing of the kind at present."
        (rank, content), self._open = self._open, None
        rank.answer({**told, "id": content["id"]})
        return None
