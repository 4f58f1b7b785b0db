"""The Python that a snapshot was written by, and whether another one can read it.

Read from package metadata without importing anything: asking for torch's version must not import torch.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import pkgutil
import platform
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE)
_MODULES = 5000
# pickles of one major version are not promised to load in another; below 1.0 that holds for the minor
_BINARY = ("numpy", "pandas", "torch", "scikit-learn", "scipy", "pyarrow", "jax")
_PACKAGES = (*_BINARY, "cloudpickle", "ipython", "dure")


def _packages() -> dict[str, str]:
    """Return the versions of what matters to pickles, as installed now: `%pip install` in a notebook counts at once."""
    return _packages_in(tuple((folder, _changed(folder)) for folder in sys.path))


def _changed(folder: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 -- before each save: a Path would cost more than the call
    return 0


@functools.lru_cache(maxsize=1)
def _packages_in(_folders: tuple[tuple[str, int], ...]) -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            installed = importlib.metadata.distribution(name)
            # one line of it: parsing all of their metadata costs more than saving a small notebook
            version = _VERSION.search(installed.read_text("METADATA") or "")
            found[name] = version[1] if version else installed.version
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def fingerprint() -> dict[str, Any]:
    """Return this Python's identity: version, implementation, platform, and the packages that matter to pickles."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": f"{sys.platform}-{platform.machine()}",
        "packages": _packages(),
    }


def installed_modules() -> list[str]:
    """Return the top-level modules that can be imported here, sorted, without the standard library's.

    Python lists no package without `__init__.py` (`mpl_toolkits`, `google`), and none of an editable installation that
    brings a finder of its own; the folders and the packages' metadata tell of these.
    """
    names = {found.name for found in pkgutil.iter_modules()}
    for folder in sys.path:
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            names.update(entry.name for entry in entries if entry.name.isidentifier() and entry.is_dir())
    for installed in importlib.metadata.distributions():
        names.update((installed.read_text("top_level.txt") or "").split())
    return sorted(name for name in names - sys.stdlib_module_names if not name.startswith("_"))[:_MODULES]


def imported_aside(modules: Iterable[str]) -> list[str]:
    """Return those of the modules that any thread may import before someone needs them: big, known, without effects."""
    return [name for name in ("numpy", "pandas", "scipy", "sklearn", "pyarrow", "torch", "jax") if name in set(modules)]


def fingerprint_problems(
    kernel: Mapping[str, Any], worker: Mapping[str, Any], modules: Iterable[str] = ()
) -> list[str]:
    """Return one sentence per difference that breaks a round trip; empty where the two fit.

    `modules` are the top-level modules that the values need (Snapshot.modules): only packages among them are compared.
    """
    problems = []
    here, there = str(kernel.get("python", "")), str(worker.get("python", ""))
    if here.split(".")[:2] != there.split(".")[:2] or kernel.get("implementation") != worker.get("implementation"):
        problems.append(
            f"The notebook runs {kernel.get('implementation')} {here} and the environment "
            f"{worker.get('implementation')} {there}: functions and classes cannot cross between minor versions; "
            f"choose an environment with Python {'.'.join(here.split('.')[:2])}."
        )
    for name in _used(modules):
        mine, theirs = kernel.get("packages", {}).get(name), worker.get("packages", {}).get(name)
        if mine and not theirs:
            problems.append(
                f"The cell needs {name} {mine}, which the environment does not have: "
                f"add {name} to it or choose another environment."
            )
        elif mine and theirs and mine.split(".")[0] != theirs.split(".")[0]:
            problems.append(
                f"The notebook has {name} {mine} and the environment {name} {theirs}: values may not load across major "
                f"versions; choose an environment with {name} {mine.split('.')[0]}."
            )
    return problems


def differing(saved: Mapping[str, Any], modules: Iterable[str]) -> str:
    """Return which of the packages that a value needs are another version here, as part of a sentence; empty if none.

    `saved` is the fingerprint of the Python that wrote it.
    """
    pairs = ((name, saved.get("packages", {}).get(name), _packages().get(name)) for name in _used(modules))
    return "; ".join(
        f"saved with {name} {then}, here is {now or 'none'}" for name, then, now in pairs if then not in {None, now}
    )


def _used(modules: Iterable[str]) -> list[str]:
    """Return those of the packages in `_BINARY` of which a module is among these."""
    found = set(modules)
    return [name for name in _BINARY if name.replace("scikit-learn", "sklearn") in found]
