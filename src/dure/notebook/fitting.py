"""Compares the notebook with the environment before a cell is queued, and installs for one person what is missing.

What a cell imports, and what loading its values imports, must be there. The trap: only what is certain to fail may be
refused; an environment that has not told yet what it holds, or code that changes where modules are found, is let pass,
and what was installed here a moment ago (`%pip install`) is waited for: this may be the environment, which tells soon.
"""

from __future__ import annotations

import ast
import json
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.notebook import context, records
from dure.notebook.failures import QuietError
from dure.notebook.words import say
from dure.state.libraries.settings import read_settings

if TYPE_CHECKING:
    from dure.client import Client
    from dure.notebook.kernel import Kernel
    from dure.state import Snapshot
    from dure.wire.messages import EnvironmentView

_AGE_S = 60.0
_TELLS_S = 20.0  # for what was just installed: a fork server with it begins, and tells what it finds
_POLL_S = 0.5
_SMALLEST_SHARE = 0.05
_OWN_WAYS = ("pip install", "sys.path", "%load_ext", "conda install")
_RECORD = "installed.json"
_MODULES = "modules"  # the file in which the job says what can be imported now
_known: dict[str, tuple[float, list[Any]]] = {}


def check(kernel: Kernel, client: Client, code: str, wanted: str | None, snapshot: Snapshot | None) -> None:
    """Raise QuietError when the environment lacks a module that the cell needs; tell of versions that differ."""
    from dure.state import fingerprint
    from dure.state.identity import fingerprint_problems

    modules = set(snapshot.modules) if snapshot is not None else set()
    needed = {name for name in {*modules, *_imports(kernel.shell.transform_cell(code))} if _elsewhere(name)}
    waits_until: float | None = None
    while True:
        environments = _environments(client)
        here = next((one for one in environments if wanted in {None, one.name}), None)
        if here is None or not here.modules or any(way in code for way in _OWN_WAYS):
            return
        lacking = sorted(needed.difference(here.modules, _installed(client, here.name)))
        if not lacking or (waits_until is not None and time.monotonic() >= waits_until):
            break
        if waits_until is None:  # asked once more at least: nothing is refused by what was true a minute ago
            waits_until = time.monotonic() + (_TELLS_S if all(map(_came_now, lacking)) else 0.0)
        else:
            time.sleep(_POLL_S)
        _known.pop(client.login.url, None)
    if lacking:
        others = [one.name for one in environments if one is not here and set(lacking) <= set(one.modules)]
        names = ", ".join(lacking)
        told = {"names": names, "environment": here.name, "packages": " ".join(lacking)}
        raise QuietError(say("lacks_other", **told, others=", ".join(others)) if others else say("lacks", **told))
    theirs = {"python": fingerprint()["python"], "implementation": sys.implementation.name, "packages": here.packages}
    kernel.tell(fingerprint_problems(fingerprint(), theirs, modules))


def _environments(client: Client) -> list[EnvironmentView]:
    known = _known.get(client.login.url)
    # what has only just started tells its modules in a moment, and is asked until then
    if known is None or time.monotonic() - known[0] > _AGE_S or not all(one.modules for one in known[1]):
        known = _known[client.login.url] = (time.monotonic(), client.environments())
    return known[1]


def _imports(code: str) -> set[str]:
    """Return what the cell imports for certain: at its own level, not inside try, if or a function."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def _elsewhere(name: str) -> bool:
    """Return whether a module must come from the environment: it is neither Python's own nor beside the notebook."""
    if name in sys.stdlib_module_names or name in {"__main__", "dure"} or name in sys.builtin_module_names:
        return False
    beside = Path.cwd()
    added = read_settings().get("sys", {})  # its own `sys.path.append` goes along with the cell
    return not ((beside / f"{name}.py").exists() or (beside / name).is_dir() or PathFinder.find_spec(name, list(added)))


def _came_now(name: str) -> bool:
    """Return whether a module was installed where this kernel finds it, and that a moment ago."""
    found = next((folder for folder in sys.path if folder and PathFinder.find_spec(name, [folder])), None)
    try:
        return found is not None and time.time() - Path(found).stat().st_mtime < _AGE_S
    except OSError:
        return False


# --- a person's own packages


def install(kernel: Kernel, client: Client, packages: Sequence[str], environment: str | None) -> None:
    """Install packages where cells run, in the environment's own Python, for the person alone."""
    from dure.client.options import JobOptions, job_request
    from dure.client.words import end_line
    from dure.notebook.line import StatusLine
    from dure.notebook.replay import Replay
    from dure.notebook.watching import Follower, Watch

    found = next((one for one in _environments(client) if environment in {None, one.name}), None)
    name = found.name if found is not None else (environment or "default")
    request = job_request(
        JobOptions(gpus=_SMALLEST_SHARE, env=name),
        kind="command",
        name=f"install {' '.join(packages)}",
        payload={"argv": ["python", "-c", _INSTALL, client.me().name, name, *packages]},
        lang=context.language(),
    )
    status = StatusLine(kernel.shell)
    follower = Follower(client, lambda: client.submit(request, uuid.uuid4().hex))
    outcome = Watch(follower, status, Replay(kernel.shell, status)).run()
    job = outcome.job
    if job is None or job.phase != "succeeded":
        status.show(say("not_queued") if job is None else end_line(job, context.language()))
        raise QuietError(say("not_installed", packages=" ".join(packages), environment=name))
    _remember(client, name, client.artifact(job.id, _MODULES).decode().split())
    status.show(say("installed", packages=" ".join(packages), environment=name))


_INSTALL = f"""
import os, pkgutil, subprocess, sys
from dure.worker.environ import own_packages
user, environment, *packages = sys.argv[1:]
folder = str(own_packages(user, environment))
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
code = subprocess.run([*pip, "--target", folder, "--", *packages]).returncode
with open(os.path.join(os.environ["DURE_OUTPUT_DIR"], "{_MODULES}"), "w") as file:
    print(*(found.name for found in pkgutil.iter_modules([folder])), file=file)
sys.exit(code)
"""


def _installed(client: Client, environment: str) -> Iterable[str]:
    try:
        found = json.loads((records.state_folder() / _RECORD).read_text())
        return list(found.get(f"{client.login.url} {environment}", ()))
    except (OSError, ValueError, AttributeError):
        return ()


def _remember(client: Client, environment: str, modules: Sequence[str]) -> None:
    path = records.state_folder() / _RECORD
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    known[f"{client.login.url} {environment}"] = list(modules)
    records.write(path, known)
