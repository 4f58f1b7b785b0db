"""Labels of pandas that came from the notebook and that a cell called otherwise, or gave attributes.

Whoever else has them in the notebook has to see that. They go back with what holds them here; but nothing may hold them
any more: a column parts from its labels when it is changed (`s.index.name = "x"; s.iloc[0] = 1`). So what came is kept
here and goes back by itself, with the names of the variables that had it.
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
        """Note what the labels in a snapshot are called. Those that the notebook `renamed` after an earlier cell are
        called so here, too, but for what comes while a cell is `running`, which may have renamed them itself.
        """
        for here, saved, _ in renamed if not running else ():
            labels.told_as(here, saved)
        for token in snapshot.apart:
            index = labels.living(token)
            if index is not None and not (running and token in self._known):
                self._known[token] = index, labels.told(index)

    def renew(self, snapshot: Snapshot) -> None:
        """Note what those in a snapshot are called, and let go of all others."""
        self._known.clear()
        self.came(snapshot)

    def found(self, base: Snapshot) -> list[tuple[Any, frozenset[str]]]:
        """Return the labels that are called otherwise by now, each with the variables of `base` that had it."""
        return [
            (index, base.needing(token))
            for token, (index, before) in self._known.items()
            if not labels.same_told(labels.told(index), before)
        ]
