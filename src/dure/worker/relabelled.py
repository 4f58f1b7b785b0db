"""Labels of pandas (an Index) that came from the notebook and that a cell renamed or gave attributes.

In the notebook other variables may hold the same Index, so it has to be renamed there, too. A frame or column brings
its Index back, but a column lets go of its Index when it is changed (`s.index.name = "x"; s.iloc[0] = 1`). So every
Index that came is kept here, and a renamed one goes back by itself, with the names of the variables that had it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.state.objects import labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dure.state import Snapshot


class Relabelled:
    """The labels that came, and what they were called then."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, Any]] = {}

    def came(
        self, snapshot: Snapshot, renamed: Iterable[tuple[Any, Any, frozenset[str]]] = (), *, running: bool = False
    ) -> None:
        """Note what the labels in a snapshot that was loaded are called.

        `renamed` are labels that were here before and that the notebook has renamed since: they take its names, unless
        a cell is `running`, which may have renamed them itself.
        """
        for here, saved, _ in renamed if not running else ():
            labels.give_as(here, saved)
        for token in snapshot.apart:
            index = labels.living(token)
            if index is not None and not (running and token in self._known):
                self._known[token] = index, labels.given(index)

    def renew(self, snapshot: Snapshot) -> None:
        """Note what the labels in a snapshot are called now, and forget all others."""
        self._known.clear()
        self.came(snapshot)

    def found(self, base: Snapshot) -> list[tuple[Any, frozenset[str]]]:
        """Return the labels that were renamed since, each with the variables of `base` that had it."""
        return [
            (index, base.needing(token))
            for token, (index, before) in self._known.items()
            if not labels.same_given(labels.given(index), before)
        ]
