"""The composition root and the commands that run a platform: `dure up`, `down`, `init`, `doctor`, `demo`, `user`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


def commands() -> list[click.Command]:
    """Return the commands that the server part adds to `dure`."""
    from dure.main.cli import COMMANDS

    return COMMANDS
