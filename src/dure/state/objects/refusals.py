"""What cannot be saved, why, and where inside a value it sits.

Pickle would save some of these wrongly (an open file as its text, an iterator without its source), so the types are
refused here before pickle sees them. The one trap: a type is looked up only when its module is loaded, since a value of
the type cannot exist before, and importing torch to ask would cost seconds.
"""

from __future__ import annotations

import collections
import io
import itertools
import sys
import types
from typing import Any

from dure.state.objects.children import children

RESIZED = "an array whose size another thread changes meanwhile; save again when that has ended"
_PATH_STEPS = 100_000  # how many objects are looked at to find where the culprit sits


class RefusedError(Exception):
    """This object cannot be saved; the text is the reason, as part of a sentence."""

    def __init__(self, culprit: Any, reason: str) -> None:
        super().__init__(reason)
        self.culprit = culprit


_SAMPLES: tuple[Any, ...] = (
    iter([]),
    iter(()),
    reversed([]),
    iter(""),
    iter(b""),
    iter(set()),
    iter({}),
    iter({}.values()),
    iter({}.items()),
    reversed({}),
    iter(range(0)),
    iter(int, 0),
)
_ITERATORS = (*(type(sample) for sample in _SAMPLES), zip, map, filter, enumerate, reversed)
_COUNTERS = (itertools.count, itertools.repeat, itertools.cycle)  # endless and self-contained: pickle keeps them whole

_LINE = "a widget's line to the browser: run the cell that makes the widget again"
_BY_NAME: dict[str, str] = {
    "threading.Thread": "a thread: threads live in one process only",
    "_thread.LockType": "a lock: locks hold threads of one process only",
    "_thread.RLock": "a lock: locks hold threads of one process only",
    "concurrent.futures._base.Executor": "an executor: its workers live in one process only",
    "concurrent.futures._base.Future": "a future: what computes it lives in one process only",
    "multiprocessing.process.BaseProcess": "a process of this machine",
    "multiprocessing.pool.Pool": "a process pool of this machine",
    "multiprocessing.queues.Queue": "a queue between processes of this machine",
    "subprocess.Popen": "a process of this machine",
    "socket.socket": "a network connection",
    "ssl.SSLContext": "a TLS context, which may hold keys",
    "selectors.BaseSelector": "a selector of open connections",
    "sqlite3.Connection": "a database connection",
    "sqlite3.Cursor": "a cursor of a database connection",
    "sqlalchemy.engine.base.Engine": "a database engine with open connections",
    "sqlalchemy.engine.base.Connection": "a database connection",
    "asyncio.events.AbstractEventLoop": "an event loop",
    "_asyncio.Future": "an asyncio future: its loop lives in one process only",
    "_asyncio.Task": "an asyncio task: its loop lives in one process only",
    "weakref.ProxyType": "a weak proxy: it cannot keep what it stands for",
    "weakref.CallableProxyType": "a weak proxy: it cannot keep what it stands for",
    "weakref.finalize": "a finalizer: it runs when this process lets go of something",
    "tempfile.TemporaryDirectory": "a temporary folder, which is deleted with this process",
    "multiprocessing.shared_memory.SharedMemory": "memory shared between processes of this machine",
    "jinja2.environment.Template": "a compiled template: keep its text and make it again",
    "bokeh.model.model.Model": "a bokeh plot: run the cell that draws it again",
    "weakref.ReferenceType": "a weak reference: it cannot keep what it points to",
    "botocore.client.BaseClient": "a client with connections and credentials: make it again after the restore",
    "paramiko.client.SSHClient": "a network connection",
    "paramiko.transport.Transport": "a network connection",
    "shelve.Shelf": "an open shelf: open it again after the restore",
    "dbm.dumb._Database": "an open database: open it again after the restore",
    "zipfile.ZipFile": "an open archive",
    "tarfile.TarFile": "an open archive",
    "mmap.mmap": "a memory-mapped file",
    "ctypes.CDLL": "a C library, loaded into this process: load it again after the restore",
    "pint.registry.ApplicationRegistry": (
        "pint's application registry: pint.get_application_registry() gives that of the process again"
    ),
    "tqdm.std.tqdm": "a progress bar on this output",
    "comm.base_comm.BaseComm": _LINE,
    "torch.cuda.streams.Stream": "a CUDA stream",
    "torch.cuda.streams.Event": "a CUDA event",
    "torch.cuda.graphs.CUDAGraph": "a CUDA graph",
    "cupy.cuda.stream.Stream": "a CUDA stream",
    "IPython.core.interactiveshell.InteractiveShell": "the notebook's own shell",
}


def reason_for(kind: type) -> str | None:
    """Return why values of this type cannot be saved, or None where pickle may try."""
    if issubclass(kind, types.GeneratorType):
        return "a generator: its position in its code cannot be saved; make it a list"
    if issubclass(kind, types.CoroutineType | types.AsyncGeneratorType):
        return "a coroutine: its position in its code cannot be saved; await it first"
    if issubclass(kind, types.FrameType | types.TracebackType):
        return "a traceback or frame of running code"
    if kind in _ITERATORS or (kind.__module__ == "itertools" and kind not in _COUNTERS):
        return "an iterator: its position cannot be saved; make it a list"
    if issubclass(kind, io.IOBase) and not issubclass(kind, io.StringIO | io.BytesIO):
        return "an open file: open it again after the restore"
    if kind.__module__ == "sys" and issubclass(kind, tuple):
        return "what sys tells of this Python: ask it again after the restore"
    for name, reason in _BY_NAME.items():
        found = _loaded(name)
        if found is not None and issubclass(kind, found):
            return reason
    return None


def _loaded(name: str) -> type | None:
    module, _, attribute = name.rpartition(".")
    found = getattr(sys.modules.get(module), attribute, None)
    return found if isinstance(found, type) else None


def is_too_deep(error: BaseException) -> bool:
    """Tell whether pickle gave up since objects are nested too deeply."""
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def explain(name: str, value: Any, error: BaseException, last: Any) -> str:
    """Return `path: reason` for a value that could not be pickled; `last` is what the pickler tried last."""
    if is_too_deep(error):
        return f"{name}: it is nested too deeply to be saved"
    culprit = error.culprit if isinstance(error, RefusedError) else last
    path = _path(value, culprit) if culprit is not None else ""
    if path is None:
        path = f" (inside it, a {type(culprit).__name__})"
    if isinstance(error, RefusedError):
        return f"{name}{path}: {error}"
    text = str(error).strip().splitlines()
    return f"{name}{path}: {type(culprit).__name__} cannot be saved ({text[0] if text else type(error).__name__})"


def _path(value: Any, culprit: Any) -> str | None:
    """Return how to reach `culprit` from `value`, such as `[3].handle`; None where it cannot be found."""
    if value is culprit:
        return ""
    seen = {id(value)}
    queue: collections.deque[tuple[Any, str]] = collections.deque([(value, "")])
    steps = 0
    while queue and steps < _PATH_STEPS:
        current, path = queue.popleft()
        for child, step in children(current):
            steps += 1
            if child is culprit:
                return path + step
            if id(child) not in seen and not isinstance(child, str | bytes | int | float | type(None)):
                seen.add(id(child))
                queue.append((child, path + step))
    return None
