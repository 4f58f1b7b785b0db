"""Which cell made each of a notebook's variables, which are missing, and what was said of that already.

The trap: a variable counts as made by a cell when its name is bound to another object after it; what a cell changes in
place is still the earlier cell's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.notebook.sessions.restoring import Lost, source_in
from dure.notebook.words import without_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dure.notebook.sessions.ended import Ended
    from dure.notebook.sessions.restoring import Brought


class Names:
    """What is known of the names in one shell. `made`: the cell that made each; `lost`: what did not come back;
    `ended`: cells of an earlier kernel whose result no version holds; `sources`: the code that made each name which a
    version or `%session rerun` brought, since numbers of cells in `made` may be those of another kernel.
    """

    def __init__(self, shell: Any) -> None:
        self.made: dict[str, int] = {}
        self.lost: dict[str, Lost] = {}
        self.ended: list[Ended] = []
        self.sources: dict[str, str] = {}
        self._shell = shell
        self._ids: dict[str, int] = {}
        self._told: set[str] = set()

    def own(self) -> frozenset[str]:
        """Return the names that the person made, Jupyter's own left out."""
        from dure.state.secrecy import hidden

        return frozenset(name for name, value in self._shell.user_ns.items() if not hidden(name, value))

    def cell_ended(self, cell: int) -> None:
        """Note what this cell has bound."""
        from dure.state.secrecy import hidden

        ids = {name: id(value) for name, value in list(self._shell.user_ns.items())}
        for name in [name for name, each in ids.items() if self._ids.get(name) != each]:
            if not hidden(name, self._shell.user_ns.get(name)):
                self.made[name] = cell
                self.sources.pop(name, None)
                self.lost.pop(name, None)
        self._ids = ids

    def rerun(self, name: str, cell: Ended) -> None:
        """Note that a cell that `%session rerun` ran again bound `name`: it is that cell's, not the command's."""
        self.made[name], self.sources[name] = cell.cell, cell.source
        self.lost.pop(name, None)
        self._ids[name] = id(self._shell.user_ns[name])

    def registered(self, cell: Ended) -> set[str]:
        """Note that a cell ran again, and return the names of what it has thereby registered with libraries again."""
        ran = (cell.cell, cell.source)
        again = {name for name, it in self.lost.items() if (it.cell, it.source) == ran and not name.isidentifier()}
        for name in again:
            del self.lost[name]
        return again

    def restored(self, brought: Brought) -> None:
        """Note where the restored names are from, and which ones are missing."""
        made = brought.saved.document.made
        for name in (*brought.names, *brought.lost):
            if name in made:
                self.made[name], self.sources[name] = made[name], source_in(brought, made[name])
        here = self._shell.user_ns
        self.lost = {name: lost for name, lost in self.lost.items() if name not in here} | brought.lost
        self._told |= set(brought.lost)
        self._ids |= {name: id(self._shell.user_ns[name]) for name in brought.names if name in self._shell.user_ns}

    def came_late(self, values: Mapping[str, Any], lost: Mapping[str, Lost]) -> None:
        """Note what came after the first cell had begun, which no cell has bound."""
        self._ids |= {name: id(value) for name, value in values.items()}
        self.lost = {name: each for name, each in self.lost.items() if name not in values} | dict(lost)
        self._told |= set(lost)

    def why_unsaved(self, unsaved: Mapping[str, str]) -> dict[str, Lost]:
        """Return what could not be saved, with its reason and the cell that made it."""
        return {name: Lost(without_name(name, reason), self.made.get(name)) for name, reason in unsaved.items()}

    def newly_unsaved(self, unsaved: Mapping[str, str]) -> dict[str, Lost]:
        """Return of these what was not told before; it counts as told from now on."""
        new = {name: reason for name, reason in unsaved.items() if name not in self._told}
        self._told |= set(new)
        return self.why_unsaved(new)
