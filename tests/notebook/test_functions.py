"""`@dure.gpu`: calls that return and raise as if they had run here, in notebooks and in plain scripts."""

from __future__ import annotations

import linecache
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dure.notebook.sources import sources_of
from tests.notebook.conftest import NotebookKernel

SCRIPT = """
import dure

factor = 10

def inner(x):
    return x * factor

@dure.gpu(tier="bronze")
def outer(x, *, plus=0):
    print("computing", x, flush=True)
    return inner(x) + plus

@dure.gpu
def fails(x):
    raise LookupError(f"no {x}")

@dure.gpu(gpus=0.5)
async def later(x):
    return x

class Box:
    def __init__(self, content): self.content = content

@dure.gpu
def boxed(x):
    return Box(outer(x))

if __name__ == "__main__":
    print("result", outer(2, plus=1))
    handle = outer.submit(3)
    print("submitted", handle.result(60), handle.status(), handle.done(), handle.logs().strip())
    from dure.state import FolderBlobs, capture, restore
    blobs, names = FolderBlobs(__file__ + ".blobs"), {}
    restore(capture({"handle": outer.submit(4)}, blobs=blobs), blobs, into=names)
    print("restored", names["handle"].result(60))
    print("mapped", outer.map(range(3)))
    print("awaited", later(4))
    box = boxed(1)
    print("boxed", box.content, isinstance(box, Box))
    print("exception", repr(fails.submit(1).exception()))
    try:
        fails("luck")
    except LookupError as error:
        print("raised", error, "fails" in error.__notes__[0])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def run(path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(path)],
        env=environment,
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_plain_script(script: Path, command_line: dict[str, str]):
    done = run(script, command_line)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "computing 2" in lines  # shown live, since the call waits
    assert "result 21" in lines
    assert "submitted 30 succeeded True computing 3" in lines
    assert "restored 40" in lines  # a session keeps the handle of a queued call
    assert "mapped [0, 10, 20]" in lines
    assert "awaited 4" in lines
    assert "boxed 10 True" in lines
    assert "exception LookupError('no 1')" in lines
    assert "raised no luck True" in lines
    assert done.stderr == ""


def test_an_uncaught_remote_exception_shows_the_remote_lines(script: Path, command_line: dict[str, str]):
    script.write_text(SCRIPT.partition("if __name__")[0] + "\nfails(5)\n")
    done = run(script, command_line)
    assert done.returncode == 1
    assert "LookupError: no 5" in done.stderr
    assert 'raise LookupError(f"no {x}")' in done.stderr


def test_in_a_notebook(kernel: NotebookKernel):
    assert kernel.run(
        "import dure\nweight = 2\n@dure.gpu\ndef weigh(x):\n    print('weighing')\n    return x * weight"
    ).ok
    shown = kernel.run("weigh(21)")
    assert shown.result == "42"
    assert shown.stream() == "weighing\n"
    assert shown.lines == []
    assert kernel.run("weight = 3").ok
    assert kernel.value("weigh.map([1, 2])") == "[3, 6]"
    assert kernel.value("weigh.__wrapped__(1)") == "3"


def test_inside_a_gpu_cell_the_function_is_called_directly(kernel: NotebookKernel):
    assert kernel.run("import dure\nstep = 5\n@dure.gpu(tier='gold')\ndef advance(x): return x + step").ok
    shown = kernel.run("%%gpu --tier bronze\nadvanced = advance(1)")
    assert shown.ok, shown.traceback
    assert kernel.value("advanced") == "6"


def test_a_remote_exception_in_a_notebook_shows_no_lines_of_dure(kernel: NotebookKernel):
    assert kernel.run("import dure\n@dure.gpu\ndef breaks(x):\n    return {}[x]").ok
    shown = kernel.run("breaks('key')")
    assert shown.error is not None
    assert shown.error["ename"] == "KeyError"
    assert "return {}[x]" in shown.traceback
    assert "dure/notebook" not in shown.traceback
    assert kernel.run("try:\n    breaks('key')\nexcept KeyError as error:\n    caught = error.args").ok
    assert kernel.value("caught") == "('key',)"


def test_what_cannot_be_sent_is_named(kernel: NotebookKernel):
    assert kernel.run("import dure\n@dure.gpu\ndef reads(stream): return stream.read()").ok
    shown = kernel.run("reads(open('/dev/null'))")
    assert "reads" in shown.traceback
    assert "reads: stream: an open file" in shown.traceback
    assert "__call__" not in shown.traceback
    shown = kernel.run("reads(stream=[open('/dev/null')])")
    assert "reads: stream[0]: an open file" in shown.traceback


def test_a_wrong_option_is_told_at_once(kernel: NotebookKernel):
    shown = kernel.run("import dure\n@dure.gpu(tire='gold')\ndef f(): pass")
    assert "tire" in shown.traceback
    assert "did you mean tier?" in shown.traceback


def test_interrupting_a_call_frees_the_kernel(kernel: NotebookKernel):
    assert kernel.run(
        "import dure, time\n@dure.gpu\ndef sleeps():\n    print('on', flush=True)\n    time.sleep(600)"
    ).ok
    cell = kernel.start("sleeps()")
    cell.until(lambda shown: "on" in shown.stream(), "the start")
    kernel.interrupt()
    shown = cell.wait()
    assert not shown.ok
    assert "KeyboardInterrupt" in shown.traceback


def test_a_module_that_the_worker_lacks_is_named(script: Path, command_line: dict[str, str]):
    elsewhere = script.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine_alone.py").write_text("import dure\n@dure.gpu\ndef f(x):\n    return x\n")
    script.write_text(f"import sys\nsys.path.append({str(elsewhere)!r})\nimport mine_alone\nmine_alone.f(1)\n")
    done = run(script, command_line)
    assert done.returncode == 1
    assert "mine_alone" in done.stderr
    assert "default" in done.stderr


def test_the_text_that_goes_along_with_a_function_has_no_secret_in_it():
    code = "password = 'hunter2-hunter2'\ndef ratio(x):\n    return x / 0\n"
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, "<a cell>", "exec"), names)
    linecache.cache["<a cell>"] = (len(code), None, code.splitlines(keepends=True), "<a cell>")
    sent = sources_of(None, [names["ratio"]])
    assert sent == {"<a cell>": {"cell": "", "text": code.replace("hunter2-hunter2", "…")}}
