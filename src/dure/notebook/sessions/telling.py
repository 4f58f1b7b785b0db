"""What a notebook's session says by itself, in the output of the cell that runs, and that nothing is said twice.

The trap: while no cell runs there is no output to say it in, so what was found meanwhile is told when one begins.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from dure.notebook import tables
from dure.notebook.sessions.journal import sessions_folder
from dure.notebook.sessions.lookup import untold
from dure.notebook.sessions.restoring import lost_names, short
from dure.notebook.sessions.words import say

if TYPE_CHECKING:
    from dure.notebook.sessions.journal import Journal
    from dure.notebook.sessions.names import Names
    from dure.notebook.sessions.opening import Opened
    from dure.notebook.sessions.saving import Saver


class Telling:
    """What one shell's session has said."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._said: set[str] = set()
        self._problem = ""  # of the saver, as it was told last

    def show(self, sentence: str) -> None:
        """Show one line in the output of the cell that runs."""
        self._shell.display_pub.publish(data=tables.sentence(sentence), metadata={})

    def once(self, sentence: str) -> None:
        """Show it, unless this kernel was told before."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.show(sentence)

    def unsaved(self, saver: Saver, names: Names) -> None:
        """Say, once, what could not be saved since the last cell."""
        if saver.problem != self._problem:
            self._problem = saver.problem
            if saver.problem:
                self.show(say("not_saved", reason=saver.problem))
        new = names.newly_unsaved(saver.unsaved)
        if new:
            self.show(say("not_saved_names", names=lost_names(new)))

    def home_refuses(self, journal: Journal) -> None:
        """Say, once, that this machine cannot note what is saved."""
        if (refused := journal.refused) is not None:
            problem = refused.strerror or type(refused).__name__
            self.once(say("home_refuses", where=sessions_folder(), problem=problem))

    def not_waited_for(
        self, name: str, opened: Opened | None, failure: BaseException | None, *, expected: bool
    ) -> None:
        """After a cell that did not wait for the platform, which has answered: whether the next one has something to
        bring back.
        """
        if opened is not None and opened.saved is not None and not (opened.fresh or opened.off):
            self.once(say("late_found", name=short(name)))
        else:
            self.opening(name, opened, failure, expected=expected)

    def opening(self, name: str, opened: Opened | None, failure: BaseException | None, *, expected: bool) -> None:
        """Say what a person can do where nothing is brought back: what is saved does not open here, or may be saved
        under a name that the notebook had before `mv` in a terminal. `expected`: this machine knows of something.
        """
        if failure is not None and (key := untold(failure)):
            self.once(say(key, name=short(name), reason=str(failure) or type(failure).__name__))
        elif failure is not None and expected:
            self.once(say("late"))
        before = opened.moved_from if opened is not None else ""
        if before:
            self.once(say("moved_from", name=short(name), before=before, typed=shlex.quote(before)))
