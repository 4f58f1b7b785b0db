"""The person's own modules (a `.py` beside the notebook): what each was when it was imported, so that a restore can say
which variables have other code by now.

A restore imports modules anew, as they are on disk. The trap: `%autoreload` takes a change over without importing
again, so while it is on, the file as it is counts.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dure.state import Snapshot

OWN_MODULES = "own modules"
_INSTALLED = tuple({*(sysconfig.get_paths().values()), sys.prefix, sys.base_prefix})
_MAX_BYTES = 4 * 1024**2  # of a module's source


class OwnModules:
    """What the modules of one process were when they were imported."""

    def __init__(self) -> None:
        self._looked: set[str] = set(sys.modules)
        self._known: dict[str, tuple[Any, Any, str]] = {}  # its spec, which a reload replaces; its file's stamp, digest

    def digests(self, *, reloading: bool) -> dict[str, str]:
        """Return each module's digest; with `reloading` that of the file as it is now."""
        for name in sys.modules.keys() - self._looked:
            self._looked.add(name)
            if _is_own(name):
                self._known[name] = None, None, ""
        for name, (spec, stamp, _) in list(self._known.items()):
            now = getattr(sys.modules.get(name), "__spec__", None)
            if now is None or (now is spec and not reloading):
                continue
            file = getattr(now, "origin", None)
            if (found := _stamp(file)) != stamp or now is not spec:
                self._known[name] = now, found, _digest(file)
        return {name: digest for name, (*_, digest) in self._known.items() if digest}

    def edited(self, saved: Mapping[str, str], snapshot: Snapshot) -> dict[str, list[str]]:
        """Return the modules whose code has changed since, each with the variables that have something of it."""
        here = self.digests(reloading=False)
        found = {}
        for module, digest in saved.items():
            if (here.get(module) or _on_disk(module)) not in ("", digest):
                top = module.partition(".")[0]
                names = sorted(name for group in snapshot.groups if top in group.modules for name in group.names)
                if names := [name for name in names if name in snapshot.variables]:
                    found[module] = names
        return found


def _is_own(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py") or name.partition(".")[0] in ("dure", "__main__"):
        return False
    return not file.startswith(_INSTALLED) and "site-packages" not in file


def _on_disk(name: str) -> str:
    with contextlib.suppress(Exception):  # a package whose own code raises
        return _digest(getattr(importlib.util.find_spec(name), "origin", None))
    return ""


def _stamp(file: str | None) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        if file is not None:
            found = Path(file).stat()
            return found.st_mtime_ns, found.st_size
    return None


def _digest(file: str | None) -> str:
    from dure.state.store.blobs import digest_of

    with contextlib.suppress(OSError):
        if file is not None and Path(file).stat().st_size <= _MAX_BYTES:
            return digest_of(Path(file).read_bytes())
    return ""
