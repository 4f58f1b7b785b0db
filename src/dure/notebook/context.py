"""What a kernel or script shares between its jobs: one client, the language, and the notebook's name.

The trap: the sign-in and the language may change while the kernel lives (`dure login`, `%gpu lang ko`), so the client
is kept only as long as both are the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dure.client import Client
    from dure.wire.messages import PlatformView

COMPLETION_WAIT_S = 0.8
_PLATFORM_AGE_S = 30.0
_UNNAMED = re.compile(r"console-\d+-[0-9a-f-]{36}|(^|/)(Interactive-\d+[^/]*|Untitled-\d+\.ipynb)$")
_VSCODE = re.compile(r"-jvsc-[0-9a-f-]{36,}(\.ipynb)?$")

_lock = threading.Lock()
_kept: dict[str, Any] = {}
_away = threading.local()


def language() -> str:
    """Return "en" or "ko": `%gpu lang`, else the locale."""
    from dure.client import language as chosen

    return chosen()


def set_language(lang: str) -> None:
    """Make everything that is shown from now on appear in `lang`; processes started later inherit it."""
    os.environ["DURE_LANG"] = lang


def client() -> Client:
    """Return the client of the present sign-in; raises DureError when there is none."""
    from dure.client import Client, find_login

    login = find_login()
    key = (os.getpid(), login.url, login.token, language())
    with _lock:
        if _kept.get("key") != key:
            _kept.clear()
            _kept.update(key=key, client=Client(login, lang=language(), progress=_route))
        found: Client = _kept["client"]
    return found


def hear_outages(listener: Callable[[Any], None] | None) -> None:
    """Have `listener` told when a call made by this thread waits for a control plane that is away."""
    _away.listener = listener


def _route(retry: Any) -> None:
    listener = getattr(_away, "listener", None)
    if listener is not None:
        listener(retry)


class PlatformCache:
    """The platform's names for completion, fetched aside so that a key press never waits long."""

    def __init__(self) -> None:
        self._view: PlatformView | None = None
        self._fetch: threading.Thread | None = None
        self._at = float("-inf")

    def get(self, wait_s: float = COMPLETION_WAIT_S) -> PlatformView | None:
        """Return what is known, at most `wait_s` later; None when the platform did not answer yet."""
        import time

        running = self._fetch is not None and self._fetch.is_alive()
        if not running and time.monotonic() - self._at > _PLATFORM_AGE_S:
            self._fetch = threading.Thread(target=self._load, name="dure-completion", daemon=True)
            self._fetch.start()
            running = True
        if self._view is None and running and self._fetch is not None:
            self._fetch.join(wait_s)
        return self._view

    def _load(self) -> None:
        import time

        from dure.client import Client, DureError, find_login

        try:
            with Client(find_login(), lang=language(), retry_s=0, timeout_s=5) as asking:
                self._view = asking.platform()
        except (DureError, OSError, ValueError):
            pass
        finally:
            self._at = time.monotonic()


def notebook_id(namespace: Mapping[str, Any]) -> str:
    """Return what tells this notebook from others when it is opened again: its path, else the folder."""
    server, renamed = server_name(namespace)
    code = namespace.get("__vsc_ipynb_file__")
    for found in (code, server) if renamed else (server, code):
        if isinstance(found, str) and found:
            return found
    return str(Path.cwd())


def server_name(namespace: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return what the Jupyter server calls the notebook, and whether VS Code made that name up (`a-jvsc-UUID.ipynb`,
    another one at each opening), of which then only the notebook's part is returned.
    """
    for found in (namespace.get("__session__"), os.environ.get("JPY_SESSION_NAME")):
        if isinstance(found, str) and found:
            name = _VSCODE.sub(r"\1", found)
            return name, name != found
    return None, False


def notebook_name(namespace: Mapping[str, Any], *, in_a_cell: bool = True) -> str | None:
    """Return the notebook's path below the person's home, so that it is the same on another machine; None when it is
    not known, or is a console or an unnamed notebook, which nobody opens again.

    VS Code gives a server another name at each opening (`train-jvsc-UUID.ipynb`, without its folder) and tells the
    kernel the file's own name just before the first cell; until then (`in_a_cell`) it is not known.
    """
    code = namespace.get("__vsc_ipynb_file__")
    server, renamed = server_name(namespace)
    if renamed and (isinstance(code, str) or not in_a_cell):
        server = None
    for found in (server, code):
        if isinstance(found, str) and found and not _UNNAMED.search(found):
            return below_home(found)
    return None


def below_home(path: str) -> str:
    """Return a notebook's path as its session is called: below the home, so that it is the same on another machine."""
    with contextlib.suppress(ValueError, OSError):
        return Path(path).resolve().relative_to(Path.home().resolve()).as_posix()[-1024:]
    return path[-1024:]


def connection(shell: Any) -> str:
    """Return what stays the same when a person restarts this kernel: the name of its connection file."""
    with contextlib.suppress(Exception):
        return Path(shell.kernel.parent.connection_file).name
    return ""


def cell_under_way(kernel: Any) -> bool:
    """Return whether the kernel runs a cell now, as it does when an extension is loaded by one."""
    with contextlib.suppress(Exception):
        return bool(kernel.get_parent("shell").get("header"))
    return False


def python_minor() -> str:
    """Return this kernel's Python, as "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
