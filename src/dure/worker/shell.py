"""The IPython shell in which cells run: made once in the fork server, connected to an outlet in each user process.

It behaves like a notebook kernel's: rich output as messages, tracebacks in Jupyter's format, `!command` through a
terminal. The trap: it must be ready to fork, so no history database, no event loop and no thread is started here.
"""

from __future__ import annotations

import ast
import base64
import importlib
import linecache
import re
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Mapping
from typing import Any

from IPython.core import page
from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell, InteractiveShellABC
from traitlets import Any as AnyTrait
from traitlets import Type
from traitlets.config import Config

from dure.state.libraries.figures import shown_in
from dure.worker import channel
from dure.worker.channel import Outlet

_FILE = re.compile(r'File "([^"]+)"')
_BEGINS_TASKS = re.compile(r"\b(create_task|get_running_loop)\(")


def json_ready(value: Any) -> Any:
    """Return `value` as JSON can carry it: bytes as base64, mappings with text keys, the rest by its repr."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return repr(value)


class _Publisher(DisplayPublisher):
    """display(), update_display() and clear_output() as messages."""

    def publish(  # type: ignore[override]
        self,
        data: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        *,
        transient: Mapping[str, Any] | None = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        content = {"data": json_ready(data), "metadata": json_ready(metadata or {}), "transient": transient or {}}
        shell: Any = self.shell
        shell.send("update_display_data" if update else "display_data", content)

    def clear_output(self, wait: bool = False) -> None:  # noqa: FBT001, FBT002 -- IPython's signature
        shell: Any = self.shell
        shell.send("clear_output", {"wait": bool(wait)})


class _ResultHook(DisplayHook):
    """The value of a cell's last expression as an execute_result message."""

    def start_displayhook(self) -> None:
        self._content: dict[str, Any] = {"data": {}, "metadata": {}, "transient": {}}

    def write_output_prompt(self) -> None:
        self._content["execution_count"] = self.prompt_count

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self._content["data"] = json_ready(format_dict)
        self._content["metadata"] = json_ready(md_dict or {})

    def finish_displayhook(self) -> None:
        if self._content["data"]:
            shell: Any = self.shell
            shell.send("execute_result", self._content)


class _NamedCells(CachingCompiler):
    """Tracebacks say `Cell In[7], line 3` with the name that the notebook gave the cell."""

    cell_name: str | None = None
    others: Mapping[str, str] = {}  # file names of the notebook's other cells, whose functions came along

    def format_code_name(self, name: str) -> tuple[str, str] | None:
        if name in self.others:
            return "Cell", self.others[name]
        if name in self._filename_map and self.cell_name:
            return "Cell", self.cell_name
        return super().format_code_name(name)

    def named(self, text: str) -> str:
        """Return a traceback of Python's own form with the cells' names in place of their file names."""
        return _FILE.sub(lambda found: " ".join(self.format_code_name(found[1]) or (found[0],)), text)


class CellShell(InteractiveShell):
    """An InteractiveShell without a terminal; `connect` gives it the outlet of its user process."""

    displayhook_class = Type(_ResultHook)
    display_pub_class = Type(_Publisher)
    compiler_class = Type(_NamedCells)
    colors_force = True
    outlet = AnyTrait(None)
    shown = AnyTrait(None)

    def connect(self, outlet: Outlet, cell_name: str | None) -> None:
        """Send what is shown to `outlet` and call the coming cell by `cell_name` ("In[7]")."""
        self.outlet = outlet
        self.shown = None
        compiler: Any = self.compile
        earlier = {name: compiler.cell_name for name in compiler._filename_map if compiler.cell_name}  # noqa: SLF001
        compiler.others = {**earlier, **compiler.others}
        compiler.cell_name = cell_name
        number = "".join(letter for letter in cell_name or "" if letter.isdigit())
        self.execution_count = int(number or 1)

    def know_sources(self, sources: Mapping[str, Mapping[str, str]]) -> None:
        """Let tracebacks show lines that came along: file name to {"cell": "In[3]" or "", "text": the code}."""
        compiler: Any = self.compile
        told = {name: found["cell"] for name, found in sources.items() if found.get("cell")}
        compiler.others = {**compiler.others, **told}
        for name, found in sources.items():
            text = str(found.get("text", ""))
            # without a time of change, linecache keeps the entry although there is no such file here
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)

    def run(self, code: str, *, store_history: bool = True) -> Any:
        """Run a cell and return IPython's ExecutionResult."""
        untyped: Any = self
        return untyped.run_cell(code, store_history=store_history)

    def should_run_async(self, raw_cell: str, **told: Any) -> bool:
        """Give a loop to a cell that begins tasks, also without `await`; not to others, which may use `asyncio.run`."""
        untyped: Any = super()
        asked: bool = untyped.should_run_async(raw_cell, **told)
        return asked or (_BEGINS_TASKS.search(raw_cell) is not None and "asyncio.run(" not in raw_cell)

    def parse(self, code: str) -> ast.Module:
        """Return the syntax tree of a cell as Python runs it, its magics turned into calls; raises SyntaxError."""
        untyped: Any = self
        python: str = untyped.transform_cell(code)
        return ast.parse(python)

    def send(self, kind: str, content: dict[str, Any]) -> None:
        """Send a message; what cannot be sent (a forked child's display) is printed as text."""
        if self.outlet is None or not self.outlet.message(kind, content):
            text = content.get("data", {}).get("text/plain")
            if text:
                sys.stdout.write(f"{text}\n")

    def init_hooks(self) -> None:
        """Show `name?` as output: there is no terminal for a pager."""
        untyped: Any = super()
        untyped.init_hooks()
        untyped.set_hook("show_in_pager", _pager, 99)

    def init_virtualenv(self) -> None:
        """The interpreter that runs is the environment: nothing of VIRTUAL_ENV is added."""

    def enable_gui(self, gui: str | None = None) -> None:
        """There is no screen: event loops of windows are not started."""

    def ask_exit(self) -> None:
        """`exit` and `quit` end the job."""
        raise SystemExit(0)

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """Show an exception as an error message, exception groups too, which IPython would print."""
        try:
            untyped: Any = self
            _, value, trace = untyped._get_exc_info(exc_tuple)  # noqa: SLF001 -- as IPython's own method does
        except ValueError:
            return
        if isinstance(value, BaseExceptionGroup):
            lines = traceback.format_exception(type(value), value, _without_ipython(trace))
            compiler: Any = self.compile
            self._showtraceback(type(value), value, compiler.named("".join(lines)).splitlines())
        else:
            if isinstance(value, KeyboardInterrupt):
                _cut_at_our_own(trace)
            super().showtraceback(exc_tuple, *args, **kwargs)

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        self.shown = {"ename": getattr(etype, "__name__", str(etype)), "evalue": safe_text(evalue)}
        self.send("error", {**self.shown, "traceback": [str(line) for line in stb]})

    def _format_exception_for_storage(self, exception: BaseException, *_: Any, **__: Any) -> dict[str, Any]:
        """IPython keeps a second rendering of each error for its history, which ends with the cell here."""
        return {"ename": type(exception).__name__, "evalue": safe_text(exception), "traceback": []}

    def show_usage_error(self, exc: BaseException) -> None:
        """A magic used wrongly is an error of the cell, without a traceback."""
        self._showtraceback(type(exc), exc, [f"UsageError: {exc}"])


CellShell.__name__ = "ZMQInteractiveShell"  # by which libraries know a notebook: rich, progress bars, is_notebook()
InteractiveShellABC.register(CellShell)
_KERNELS_SHELL = "ipykernel.zmqshell"


class _KernelsShell(types.ModuleType):
    """Stands for ipykernel's shell, which no cell runs in: tqdm.auto knows a notebook by this module being loaded.

    Whoever wants more of it than the class gets the real one.
    """

    ZMQInteractiveShell = CellShell

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_KERNELS_SHELL) is self:
            del sys.modules[_KERNELS_SHELL]
        return getattr(importlib.import_module(_KERNELS_SHELL), name)


_as_hook: Any = page.as_hook
_pager = _as_hook(page.display_page)


def safe_text(error: BaseException) -> str:
    """Return str(error) whatever its class does."""
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} without a readable text>"


def _without_ipython(trace: types.TracebackType | None) -> types.TracebackType | None:
    while trace and "IPython" in trace.tb_frame.f_code.co_filename and trace.tb_next:
        trace = trace.tb_next
    return trace


def _cut_at_our_own(trace: types.TracebackType | None) -> None:
    """End the traceback of an interrupt where the person's code was, not in what noticed it."""
    while trace and trace.tb_next:
        if trace.tb_next.tb_frame.f_globals.get("__name__") == channel.__name__:
            trace.tb_next = None
            return
        trace = trace.tb_next


def make_shell() -> CellShell:
    """Return the shell, warm: what IPython loads at the first cell, result and traceback is loaded now."""
    config = Config()
    config.HistoryManager.enabled = False
    config.IPKernelApp = Config()  # where tqdm.auto and others look whether they are in a notebook
    with tempfile.TemporaryDirectory(prefix="dure-ipython-", ignore_cleanup_errors=True) as folder:
        shell: CellShell = CellShell.instance(config=config, ipython_dir=folder)
    warnings.filterwarnings("ignore", message="To exit: use")
    sys.modules.setdefault(_KERNELS_SHELL, _KernelsShell(_KERNELS_SHELL))
    shown_in(shell)
    _warm(shell)
    return shell


def _warm(shell: CellShell) -> None:
    """Go once through everything that a cell may need, with the output thrown away."""
    importlib.import_module("pexpect")  # `!command` uses it
    names = set(shell.user_ns)
    shell.send = lambda *_: None  # type: ignore[method-assign]
    try:
        for code in ("warm = [1]\nwarm", "def warm():\n    1 / 0\nwarm()", "warm syntax"):
            shell.run(code, store_history=False)
    finally:
        del shell.send
    for name in set(shell.user_ns) - names:
        del shell.user_ns[name]
    hook: Any = shell.displayhook
    hook.flush()
    for name in [name for name in linecache.cache if name.startswith("<ipython-input-")]:
        del linecache.cache[name]
    shell.compile._filename_map.clear()  # noqa: SLF001 -- as if nothing had run
