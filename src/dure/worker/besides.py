"""What a cell has besides its variables. Random states, settings and the folder go along and come back. Environment
variables, logging and the locale stay in this process; the notebook is told which of them the cell's own code set.

Values of environment variables may be secrets: they are looked at here and go nowhere. The trap: libraries set such
things, too; so `os.environ` and loggers tell who sets them, and only the person's own code counts.
"""

from __future__ import annotations

import functools
import locale
import logging
import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dure.state.extras import FOLDER, RANDOM, SETTINGS, parted, random_states, take_random
from dure.state.libraries.settings import (
    Difference,
    Settings,
    at_beginning,
    difference,
    merged,
    note_beginning,
    read_settings,
    take_settings,
)

MAX_TOLD = 20
# Whose functions set such things for those who call them: `os.environ.update`, `logging.basicConfig`, `%env`.
_FOR_OTHERS = frozenset({"os", "collections", "logging", "IPython", "dotenv"})
_watching: list[Besides] = []


class Besides:
    """What one process has besides variables, from cell to cell. `namespace` is that of the person's code."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self._drawn: dict[str, Any] = {}  # the random generators' states of the notebook as it sent the cell
        self._random: dict[str, Any] = {}  # the random generators' states as the cell began
        note_beginning()
        self._theirs: Settings = at_beginning()  # the notebook's settings, as this process had them last
        self._settings: Settings = {}  # all of this process as the cell began
        self._made: Difference = {}  # what the cell made of them
        self._sent: str | None = None  # the notebook's folder
        self._folder: str | None = None  # the folder in which the cell began
        self._locale = ""
        self._variables: dict[str, str | None] = {}  # which the cell's own code set, with what was there before
        self._loggers: dict[int, tuple[logging.Logger, tuple[int, list[Any]]]] = {}  # likewise, by id

    def take(self, parts: Mapping[str, Any]) -> dict[str, str]:
        """Have what the notebook has, before the variables come: modules of the person's are found on `sys.path`.

        Returns what cannot be so here, with the reason.
        """
        wanted = parts[SETTINGS]
        made, self._theirs = difference(self._theirs, wanted), wanted
        self._drawn, self._sent = parts[RANDOM], parts.get(FOLDER)
        return take_settings(made)

    def enter(self) -> None:
        """Go to the folder in which the notebook is now; a first cell is there already."""
        if self._sent is not None and self._sent != _folder():
            try:
                os.chdir(self._sent)
            except OSError as error:
                place = _folder()
                sys.stderr.write(
                    f"Dure: the folder {self._sent} is not on this node ({error.strerror}); the cell runs in {place}.\n"
                )

    def start(self) -> None:
        """Note how all is right before the cell's code runs."""
        self._settings = read_settings()
        take_random(self._drawn)
        self._random = random_states()
        self._folder, self._locale = _folder(), locale.setlocale(locale.LC_ALL)
        self._variables.clear()
        self._loggers.clear()
        _watching[:] = [self]

    def stop(self) -> None:
        """Watch no more: the cell has ended. What it set is undone for the next unless the notebook takes it over."""
        _watching.clear()
        self._made = difference(self._settings, read_settings())
        self._theirs = merged(self._theirs, self._made)

    def brought(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the cell changed: parts for `packed`, and settings that only a snapshot can hold."""
        parts: dict[str, Any] = {}
        if (random := random_states()) != self._random:
            parts[RANDOM] = random
        parts[SETTINGS], others = parted(self._made)
        if self._sent == self._folder and (folder := _folder()) != self._folder:  # else it was in no folder of theirs
            parts[FOLDER] = folder
        return {name: part for name, part in parts.items() if part}, others

    def left_here(self) -> dict[str, list[str]]:
        """Return by name what the cell's own code set and this process alone has."""
        variables = [name for name, before in self._variables.items() if os.environ.get(name) != before]
        loggers = [str(logger.name) for logger, before in self._loggers.values() if _state(logger) != before]
        found = {"environment": sorted(variables), "logging": sorted(loggers)}
        if (now := locale.setlocale(locale.LC_ALL)) != self._locale:
            found["locale"] = [now]
        if self._sent != self._folder != (folder := _folder()) and folder is not None:
            found["folder"] = [folder]
        return {
            what: [name[:100].encode(errors="replace").decode() for name in names[:MAX_TOLD]]
            for what, names in found.items()
            if names
        }

    def own_code(self) -> bool:
        """Tell whether it is the cell's own code that sets something now."""
        frame: types.FrameType | None = sys._getframe(2)  # noqa: SLF001 -- who sets or looks up what is watched
        while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _FOR_OTHERS:
            frame = frame.f_back
        return frame is not None and frame.f_globals is self._namespace

    def note_variable(self, name: str) -> None:
        """Remember what an environment variable was before it is set."""
        self._variables.setdefault(name, os.environ.get(name))

    def note_logger(self, logger: logging.Logger) -> None:
        """Remember a logger and how it was before it is set."""
        self._loggers.setdefault(id(logger), (logger, _state(logger)))


def watch() -> None:
    """Have it told when environment variables and loggers are set; called once, in the process that forks the others.

    No frame of it stands in a traceback: `os.environ` has checked what it is given before it calls `os.putenv`, and the
    methods of a logger are looked at as they are looked up.
    """
    for name in ("putenv", "unsetenv"):
        setattr(os, name, _told(getattr(os, name)))
    for name in ("setLevel", "addHandler", "removeHandler"):
        setattr(logging.Logger, name, _Watched(getattr(logging.Logger, name)))


def _told(plain: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(plain)
    def told(name: Any, *value: Any) -> None:
        for noting in _watching:
            if noting.own_code():
                noting.note_variable(os.fsdecode(name))
        plain(name, *value)

    told.__module__ = "os"
    return told


class _Watched:
    """A method of loggers that tells when it is looked up."""

    def __init__(self, plain: Callable[..., None]) -> None:
        self._plain = plain

    def __get__(self, logger: logging.Logger | None, kind: type) -> Callable[..., None]:
        if logger is not None:
            for noting in _watching:
                if noting.own_code():
                    noting.note_logger(logger)
        found: Callable[..., None] = self._plain.__get__(logger, kind)
        return found


def _state(logger: logging.Logger) -> tuple[int, list[Any]]:
    return logger.level, list(logger.handlers)


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it was removed under the process
        return None
