"""What a fork server has ready before it forks: passed on to every runner and user process by the fork itself.

The trap: nothing here may hold a thread, an event loop or an open database; those do not survive a fork.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dure.worker.shell import CellShell


@dataclass(frozen=True, slots=True)
class Prepared:
    """The ready shell, the variables from which a user's environment is chosen, whether cgroups may be used."""

    shell: CellShell
    environ: Mapping[str, str]
    cgroups: bool = True
