"""`dure …`: the platform from a terminal. Users' commands are here; the server adds its own by an entry point.

The trap: `dure --help` must answer at once, so no command's module is imported before that command runs.
"""

from dure.cli.app import main

__all__ = ["main"]
