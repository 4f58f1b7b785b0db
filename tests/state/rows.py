"""A row of the fidelity matrix: one kind of object, how it is made, and what must hold of it in another process."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One kind: `source` binds `x`; `check` is evaluated where `x` was restored."""

    section: str
    kind: str
    source: str
    check: str | None
    needs: str = ""  # a library that is not always installed, or "Python 3.12"
    reason: str = ""  # how the reason of what is named begins, where nobody may be there to see it


def rows(section: str, *kinds: tuple[str, str, str | None]) -> list[Row]:
    return [Row(section, *kind) for kind in kinds]
