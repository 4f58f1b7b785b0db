"""A refusal that a person meets: API, CLI, notebook and portal say it in the same sentence: what, where, what to do."""

from __future__ import annotations

from typing import Any

from dure.wire.catalogue import CATALOGUE
from dure.wire.korean import korean
from dure.wire.messages import Problem


class CodedError(Exception):
    """A refusal with a code of the catalogue and the data of its sentence."""

    def __init__(self, code: str, **data: Any) -> None:
        self.code = code
        self.data = data
        self.entry = CATALOGUE[code]
        super().__init__(self.sentence("en"))

    def sentence(self, lang: str) -> str:
        """Return the one sentence in `lang` ("en" or "ko")."""
        if lang != "ko":
            return self.entry.en.format(**self.data)
        words = {name: korean(name, value) for name, value in self.data.items()}
        return self.entry.ko.format(**words)

    def problem(self, lang: str) -> Problem:
        """Return the RFC 9457 document of this refusal."""
        return Problem(
            type=f"urn:dure:problem:{self.code}",
            title=self.entry.title,
            status=self.entry.status,
            code=self.code,
            detail=self.sentence(lang),
            data=self.data,
        )
