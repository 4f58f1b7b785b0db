"""Cells in a real fork server: output of every kind, questions, errors as a notebook shows them."""

from __future__ import annotations

import base64
import json
import re

import pytest

from tests.worker.conftest import wait_until


def test_last_expression_and_print_in_order(server):
    attempt = server.cell("print('a')\ndisplay('b')\nprint('c')\n1 + 1")
    assert attempt.result()["status"] == "ok"
    kinds: list[tuple] = []
    for message in attempt.messages():  # on a busy machine the line end may come in a message of its own
        if message["type"] == "stream" and kinds[-1:] and kinds[-1][0] == "stream":
            kinds[-1] = ("stream", kinds[-1][1] + message["text"])
        else:
            kinds.append((message["type"], message.get("text", message.get("data", {}).get("text/plain"))))
    expected = [("stream", "a\n"), ("display_data", "'b'"), ("stream", "c\n"), ("execute_result", "2"), ("end", None)]
    assert kinds == expected
    assert [m["seq"] for m in attempt.messages()] == list(range(1, len(attempt.messages()) + 1))
    assert attempt.of_type("execute_result")[0]["execution_count"] == 7


def test_result_json_is_the_last_line_of_the_spool(server):
    attempt = server.cell("1")
    result = attempt.result()
    assert result == attempt.messages()[-1]
    assert result["type"] == "end"
    assert (attempt.folder / "started").exists()
    assert not (attempt.folder / "control.sock").exists()


def test_output_is_live(server):
    attempt = server.cell("print('first', end='')\ninput('go on? ')\nprint('second')")
    attempt.wait_text("first")
    attempt.wait_message("input_request")
    assert "second" not in attempt.text()
    assert attempt.send(op="stdin", text="yes")["ok"]
    attempt.result()
    assert "second" in attempt.text()


def test_stdout_and_stderr_keep_their_order(server):
    attempt = server.cell("import sys\nfor i in range(20):\n    print(i)\n    print(i, file=sys.stderr)")
    attempt.result()
    text = attempt.text(None)
    assert text.split() == [str(i) for i in range(20) for _ in (0, 1)]


def test_subprocess_and_c_output_mix_in_order(server):
    code = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None)
print('one')
subprocess.run(['echo', 'two'])
print('three')
libc.puts(b'four')
os.write(1, b'five\\n')
sys.stdout.buffer.write(b'six\\n')
print('seven')
libc.printf(b'at the end, no line')
"""
    attempt = server.cell(code)
    assert attempt.result()["status"] == "ok"
    assert attempt.text().split("\n")[:8] == [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "at the end, no line",
    ]


def test_output_that_is_no_utf8_and_characters_that_are_split(server):
    code = """
import os, time
os.write(1, b'\\xff\\xfe|')
for byte in '두레'.encode():
    os.write(1, bytes([byte]))
    time.sleep(0.03)
"""
    attempt = server.cell(code)
    attempt.result()
    assert attempt.text() == "��|두레"


def test_progress_by_carriage_return_keeps_the_last_state(server):
    code = "import sys\nfor i in range(20001):\n    sys.stderr.write(f'\\r{i:6d}/20000')\nsys.stderr.write('\\n')"
    attempt = server.cell(code)
    attempt.result()
    text = attempt.text("stderr")
    assert text.split("\r")[-1] == " 20000/20000\n"
    assert len(attempt.messages()) < 2000
    assert len(text) < 20_000 * 6


def test_tqdm_writes_live_states(server):
    attempt = server.cell("from tqdm import tqdm\nfor _ in tqdm(range(3)):\n    pass")
    assert attempt.result()["status"] == "ok"
    assert "100%" in attempt.text("stderr")


def test_updates_and_clear_output(server):
    code = """
from IPython.display import HTML, clear_output
handle = display(HTML('<b>1</b>'), display_id='h')
handle.update(HTML('<b>2</b>'))
clear_output(wait=True)
"""
    attempt = server.cell(code)
    attempt.result()
    first, update, clear = attempt.messages()[:3]
    assert (first["type"], first["data"]["text/html"], first["transient"]) == (
        "display_data", "<b>1</b>", {"display_id": "h"},
    )  # fmt: skip
    assert (update["type"], update["data"]["text/html"]) == ("update_display_data", "<b>2</b>")
    assert (clear["type"], clear["wait"]) == ("clear_output", True)


def test_matplotlib_figures_come_inline_at_the_end_of_the_cell(server):
    attempt = server.cell("import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nNone")
    assert attempt.result()["status"] == "ok"
    (figure,) = attempt.of_type("display_data")
    assert base64.b64decode(figure["data"]["image/png"]).startswith(b"\x89PNG")


def test_magics_shell_lines_and_bash_cells(server):
    attempt = server.cell("word = 'village'\n!echo hello {word}\n%env DURE_TIER\n%time sum([1, 2])")
    assert attempt.result()["status"] == "ok", attempt.messages()
    assert "hello village" in attempt.text()
    assert "Wall time" in attempt.text()
    attempt = server.cell("%%bash\necho from bash; echo problem >&2")
    assert attempt.result()["status"] == "ok"
    assert attempt.text() == "from bash\n"
    assert attempt.text("stderr") == "problem\n"


def test_top_level_await(server):
    attempt = server.cell("import asyncio\nawait asyncio.sleep(0.01)\nx = 5\nx")
    assert attempt.result()["changed"] == ["asyncio", "x"]
    assert attempt.of_type("execute_result")[0]["data"]["text/plain"] == "5"


def test_input_and_getpass_ask_the_notebook(server):
    attempt = server.cell("from getpass import getpass\nname = input('Name? ')\nsecret = len(getpass('Key: '))")
    request = attempt.wait_message("input_request")
    assert (request["prompt"], request["password"]) == ("Name? ", False)
    assert attempt.send(op="stdin", text="Dure")["ok"]
    wait_until(lambda: len(attempt.of_type("input_request")) == 2)
    request = attempt.of_type("input_request")[1]
    assert (request["prompt"], request["password"]) == ("Key: ", True)
    attempt.send(op="stdin", text="12345")
    assert attempt.values()["name"] == "Dure"
    assert attempt.values()["secret"] == 5


def test_stdin_that_nobody_asked_for_is_refused(server):
    attempt = server.cell("input()")
    attempt.wait_message("input_request")
    assert attempt.send(op="provide", names={"x": None})["ok"] is False
    assert attempt.send(op="dance")["ok"] is False
    assert attempt.send(op="stdin", text="")["ok"]
    assert attempt.result()["status"] == "ok"


# --- what Python and IPython do in a cell ----------------------------------------------------------------------------


def test_cells_that_lack_nothing_run_with_pythons_own_fast_builtins(server):
    code = "%%time\ndef f(a):\n    return [len(b) for b in a]\nprint(type(__builtins__).__name__, f(['x']))"
    attempt = server.cell(code)
    assert attempt.result()["status"] == "ok"
    assert "module [1]" in attempt.text()


def test_a_pool_of_processes_runs_the_notebooks_functions(server):
    code = """
import multiprocessing
def square(x):
    print('in', x)
    display(x)
    return x * x
with multiprocessing.get_context('fork').Pool(2) as pool:
    squares = pool.map(square, [1, 2])
"""
    attempt = server.cell(code)
    assert attempt.result()["status"] == "ok", attempt.messages()
    assert attempt.values()["squares"] == [1, 4]
    assert "in 1" in attempt.text()
    assert not attempt.of_type("display_data")


def test_threads_may_print_and_display(server):
    code = """
import threading
def work(n):
    for i in range(50):
        print('.', end=''); display(i)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
None
"""
    attempt = server.cell(code)
    assert attempt.result()["status"] == "ok"
    assert attempt.text().count(".") == 200
    assert len(attempt.of_type("display_data")) == 200


def test_breakpoint_works_through_the_input_line(server):
    attempt = server.cell("x = 5\nbreakpoint()\nprint('after')")
    attempt.wait_message("input_request")
    attempt.send(op="stdin", text="p x * 2")
    wait_until(lambda: len(attempt.of_type("input_request")) == 2)
    attempt.send(op="stdin", text="c")
    assert attempt.result()["status"] == "ok"
    assert "10\n" in attempt.text()


def test_help_is_shown_and_not_paged(server):
    attempt = server.cell("len?")
    assert attempt.result()["status"] == "ok"
    assert "Return the number of items" in str(attempt.messages())


# --- errors ----------------------------------------------------------------------------------------------------------


def plain(attempt):
    (error,) = attempt.of_type("error")
    text = "\n".join(error["traceback"])
    return error, re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_traceback_shows_the_cells_own_lines(server):
    attempt = server.cell("def f(x):\n    return 1 / x\n\nf(0)  # the call")
    result = attempt.result()
    assert (result["status"], result["exit_code"]) == ("error", 1)
    error, text = plain(attempt)
    assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
    assert "In[7]" in text
    assert "line 4" in text
    assert "the call" in text
    assert "return 1 / x" in text
    assert "dure/worker" not in text
    assert len(attempt.of_type("error")) == 1


def test_a_syntax_error_names_line_and_text(server):
    attempt = server.cell("x = 1\ny = = 2")
    assert attempt.result()["error"]["ename"] == "SyntaxError"
    _, text = plain(attempt)
    assert "line 2" in text
    assert "y = = 2" in text


def test_an_exception_class_of_the_notebook(server):
    attempt = server.cell("class Bad(Exception):\n    def __str__(self):\n        return 'very'\nraise Bad()")
    assert attempt.result()["error"] == {"ename": "Bad", "evalue": "very"}


def test_an_exception_group_is_shown_with_its_parts(server):
    attempt = server.cell("raise ExceptionGroup('both', [ValueError('left'), KeyError('right')])")
    assert attempt.result()["status"] == "error"
    _, text = plain(attempt)
    assert "left" in text
    assert "right" in text


@pytest.mark.parametrize(
    ("code", "expected"), [("import sys; sys.exit(3)", 3), ("exit", 0), ("raise SystemExit('no')", 1)]
)
def test_sys_exit(server, code, expected):
    result = server.cell(code).result()
    assert (result["status"], result["exit_code"]) == ("exit", expected)


def test_a_cell_ends_while_a_thread_of_it_reads_a_file_in_compiled_code(server):
    code = """
import ctypes, os, threading
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
reading, _writing = os.pipe()
file, locked = ctypes.c_void_p(libc.fdopen(reading, b'r')), threading.Event()

def read():
    libc.flockfile(file)  # as fgets does while it waits
    locked.set()
    threading.Event().wait()

threading.Thread(target=read, daemon=True).start()
locked.wait()
libc.printf(b'printed')
"""
    attempt = server.cell(code)
    assert attempt.result()["status"] == "ok"
    assert "printed" in attempt.text()


def test_a_crash_in_compiled_code_is_told(server):
    attempt = server.cell("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    result = attempt.result()
    assert (result["status"], result["exit_code"]) == ("error", 139)
    assert "SIGSEGV" in result["error"]["evalue"]
    assert "In[7]" in attempt.text("stderr") or "ipython-input" in attempt.text("stderr")


def test_a_process_that_ends_itself_is_told(server):
    result = server.cell("import os\nos._exit(5)").result()
    assert (result["status"], result["exit_code"], result["snapshot"]) == ("exit", 5, None)


def test_exit_handlers_of_the_cell_run_and_those_of_the_server_do_not(server):
    attempt = server.cell(
        "import atexit, tempfile\natexit.register(print, 'bye')\nd = tempfile.TemporaryDirectory()\nprint(d.name)"
    )
    result = attempt.result()
    assert result["status"] == "ok"
    assert "bye" in attempt.text()


def test_another_python_is_refused(server):
    attempt = server.start(server.make("cell", {"code": "1"}, python="3.9"))
    result = attempt.result()
    assert result["status"] == "error"
    assert "Python 3.9" in result["error"]["evalue"]
    assert not (attempt.folder / "started").exists()


def test_a_broken_spec_ends_with_a_sentence(server):
    attempt = server.make("cell", {"code": "1"})
    (attempt.folder / "spec.json").write_text('{"job": "x"')
    server.start(attempt)
    assert "not valid JSON" in attempt.result()["error"]["evalue"]


# --- functions -------------------------------------------------------------------------------------------------------


def call(server, function, *args, **kwargs):
    digest = server.snapshot({"__call__": (function, args, kwargs)})
    return server.start(server.make("function", {"call": digest}))


def test_a_function_returns_its_result(server):
    import operator

    attempt = call(server, operator.add, 20, 22)
    assert attempt.result()["status"] == "ok", attempt.messages()
    assert attempt.values() == {"__result__": 42}


def test_a_functions_exception_comes_back_with_its_traceback(server):
    attempt = call(server, json.loads, "{no json")
    result = attempt.result()
    assert result["status"] == "error"
    assert result["error"]["ename"] == "JSONDecodeError"
    assert isinstance(attempt.values()["__exception__"], json.JSONDecodeError)
    assert "raise JSONDecodeError" in plain(attempt)[1] or "JSONDecodeError" in plain(attempt)[1]
