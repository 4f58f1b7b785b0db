"""Functions of a restored session show their own lines and cells, as in the kernel that defined them."""

import os
import re
import signal
from functools import partial
from pathlib import Path

from dure.hub.spawner import STARTUP
from tests.api.plane import until
from tests.notebook.conftest import NotebookKernel
from tests.notebook.desk import WARM, another_desk, desk, pid_of, plane, server, settled, told

__all__ = ["another_desk", "desk", "plane", "server"]

DEFINES = """def ratio(x):
    # halves
    return x / 0

class Tool:
    def work(self):
        return ratio(2)

tool, short = Tool(), lambda a: a + 1"""


def numbered(shown) -> str:
    return f"Cell In[{shown.reply['execution_count']}]"


def page_of(shown) -> str:
    return shown.reply["payload"][0]["data"]["text/plain"]


def dead(kernel: NotebookKernel) -> bool:
    return not kernel.manager.is_alive()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_restored_function_shows_its_lines_its_cell_and_its_source_as_before(desk):
    kernel = desk.open()
    where = numbered(kernel.run(DEFINES))
    assert kernel.run("import inspect, linecache, os").ok
    before = {each: kernel.value(f"inspect.getsource({each})") for each in ("ratio", "Tool.work", "short")}
    page = page_of(kernel.run("ratio??"))
    for _ in range(2):  # what a kernel restored the next one does, too
        desk.crash(kernel)
        kernel = desk.open()
        shown = kernel.run("tool.work()")
        assert f"{where}, line 7, in Tool.work(self)" in shown.traceback
        assert f"{where}, line 3, in ratio(x)" in shown.traceback
        assert "----> 3     return x / 0" in shown.traceback
        assert kernel.run("linecache.checkcache()").ok
        assert {each: kernel.value(f"inspect.getsource({each})") for each in before} == before
        assert page_of(kernel.run("ratio??")).partition("File:")[0] == page.partition("File:")[0]
        debugged = kernel.run("%debug", "x", "q")
        assert "----> 3     return x / 0" in plain(debugged.stream())
        assert "2\n" in debugged.stream()
        assert kernel.value("str(os.getpid()) in ratio.__code__.co_filename") == "True", "as the debugger looks for it"
        settled(desk)
        assert "ratio" not in told(kernel.run("%session diff")), "a restored function is no other one"


def test_the_first_cell_of_a_restored_session_goes_by_the_number_that_it_shows(desk):
    kernel = desk.open()
    kernel.run(DEFINES)
    desk.crash(kernel)
    kernel = desk.open(before=WARM, PYTHONSTARTUP=str(STARTUP), first="def first(): return ratio(4)\nfirst()")
    where = numbered(kernel.loaded)
    assert f"{where}, line 2" in kernel.loaded.traceback
    shown = kernel.run("first()")
    assert f"{numbered(shown)}, line 1" in shown.traceback
    assert f"{where}, line 1, in first()" in shown.traceback
    assert "Cell In[1]" not in kernel.loaded.traceback + shown.traceback


def test_cells_are_recalled_as_they_were_typed(desk):
    kernel = desk.open()
    kernel.run("%%time\nfirst = 1")
    kernel.run("%alias_magic measure timeit")
    kernel.run("second = 2")
    expected = kernel.run("%history -n 1-4").stream()
    assert "%%time" in expected
    number = kernel.run("pass").reply["execution_count"] - 3
    desk.crash(kernel)
    again = desk.open()
    assert again.run("%history -n 1-4").stream() == expected
    assert again.run(f"%recall {number - 1}").reply["payload"][0]["text"] == "%%time\nfirst = 1"
    assert again.value(f"_i{number + 1}") == "'second = 2'"
    assert "%%time" in again.run(f"%rerun {number - 1}").stream()
    assert again.value(f"In[{number}]") == "\"get_ipython().run_line_magic('alias_magic', 'measure timeit')\""


def test_no_text_of_a_cell_that_sets_a_secret_is_kept_in_any_form(desk):
    key = "AKIA" + "ABCDEFGHIJKLMNOP"
    kernel = desk.open()
    kernel.run(f"%%time\n{'# ' + 'long ' * 400}\nuse = 'x'; note = lambda: '{key}'[:0]")
    kernel.run("%time password = 'hunter2-hunter2'")
    kernel.run("password = None; import os; os.environ['DB_PASSWORD'] = 'hunter2-hunter3'")
    kernel.run("del note")
    settled(desk)
    desk.crash(kernel)
    again = desk.open()
    assert again.run("%history -n 1-6").ok
    assert key not in again.run("%history -n 1-6").stream()
    assert "hunter2" not in again.run("%history -n 1-6").stream()
    kept = [path for path in desk.home.parent.rglob("*") if path.is_file() and "ipython" not in path.parts]
    assert not any(key.encode() in content or b"hunter2" in content for content in map(Path.read_bytes, kept))


def test_functions_of_the_notebook_and_of_gpu_cells_show_their_lines_on_the_gpu_and_after_a_restore(new_kernel):
    kernel: NotebookKernel = new_kernel("lines.ipynb", DURE_SESSIONS="on")
    where = numbered(kernel.run(DEFINES))
    there = numbered(kernel.run("%%gpu\ndef made(x):\n    # on the GPU\n    return ratio(x)"))
    for again in range(2):
        shown = kernel.run("%%gpu\nx = 1\nmade(x)")
        for line in (f"{numbered(shown)}, line 3", f"{there}, line ", f"{where}, line 3, in ratio(x)"):
            assert line in shown.traceback, shown.traceback
        for line in ("----> 3     return x / 0", "return ratio(x)", "made(x)"):
            assert line in shown.traceback, shown.traceback
        shown = kernel.run("made(2)")
        for line in (f"{there}, line ", "return ratio(x)", f"{where}, line 3, in ratio(x)", "----> 3     return x / 0"):
            assert line in shown.traceback, shown.traceback
        if not again:
            assert kernel.run("%session save now").ok
            os.kill(pid_of(kernel), signal.SIGKILL)
            until(partial(dead, kernel))
            kernel = new_kernel("lines.ipynb", DURE_SESSIONS="on")
