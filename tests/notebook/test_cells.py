"""A `%%gpu` cell shows, returns and fails as the same code would in the notebook itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebook.conftest import NotebookKernel


def test_output_is_live_and_the_line_tells_where_and_how_long(kernel: NotebookKernel, home):
    gate = home / "gate"
    cell = kernel.start(
        "%%gpu --tier bronze\nimport os, time\nprint('one', flush=True)\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\nprint('two')"
    )
    cell.until(lambda shown: "one" in shown.stream(), "the first print")
    assert "two" not in cell.shown.stream()
    # The line follows the job's row, which may be read a moment after the first output.
    cell.until(lambda shown: "running" in shown.lines[-1], "the line that says running")
    gate.touch()
    shown = cell.wait()
    assert shown.ok
    assert shown.stream() == "one\ntwo\n"
    last = shown.lines[-1]
    assert "bronze on lab/sim-bronze (simulated" in last
    assert "waited" in last
    assert "ran" in last
    assert "GPU freed" in last
    html = shown.contents("update_display_data")[-1]["data"]["text/html"]
    assert 'role="status"' in html


def test_last_expression_is_the_result_and_out(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nnumbers = [1, 2, 3]\nsum(numbers)")
    assert shown.result == "6"
    count = shown.contents("execute_result")[0]["execution_count"]
    assert shown.reply["execution_count"] == count
    assert kernel.value("_ + 1") == "7"
    assert kernel.value(f"Out[{count}]") == "6"
    assert kernel.value("numbers") == "[1, 2, 3]"


def test_the_last_value_is_the_very_object_that_a_name_holds(kernel: NotebookKernel):
    assert kernel.run("%%gpu\nheld = {'a': 1}\nheld").ok
    assert kernel.value("_ is held") == "True"
    assert kernel.value("[name for name in dir() if 'last_value' in name]") == "[]"


def test_rich_output_and_display_ids(kernel: NotebookKernel):
    shown = kernel.run(
        "%%gpu\nfrom IPython.display import HTML, display\n"
        "handle = display(HTML('<b>one</b>'), display_id=True)\nhandle.update(HTML('<b>two</b>'))\ndel handle"
    )
    assert shown.ok, shown.traceback
    first, second = shown.displays
    assert first["data"]["text/html"] == "<b>one</b>"
    assert second["data"]["text/html"] == "<b>two</b>"
    assert first["transient"]["display_id"] == second["transient"]["display_id"]


def test_a_data_frame_is_a_table(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nimport pandas as pd\npd.DataFrame({'a': [1, 2]})")
    assert "<table" in shown.contents("execute_result")[0]["data"]["text/html"]
    assert kernel.value("list(_['a'])") == "[1, 2]"


def test_matplotlib_draws(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nimport matplotlib.pyplot as plt\nplt.plot([1, 2, 3]);")
    assert shown.ok, shown.traceback
    assert any("image/png" in content["data"] for content in shown.displays)


def test_tqdm_and_carriage_returns(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nfrom tqdm import tqdm\nfor _ in tqdm(range(3)): pass\nprint('a\\rb', end='')")
    assert "100%" in shown.stream("stderr")
    assert "\r" in shown.stream("stderr")
    assert shown.stream() == "a\rb"


def test_input_and_getpass(kernel: NotebookKernel):
    code = "%%gpu\nfrom getpass import getpass\nname = input('Who? ')\nsecret = len(getpass('Word: '))\n"
    code += "print(name, secret)"
    shown = kernel.run(code, "Ada", "xyz")
    asked = shown.contents("input_request")
    assert [(a["prompt"], a["password"]) for a in asked] == [("Who? ", False), ("Word: ", True)]
    assert "Ada 3" in shown.stream()


def test_input_where_nobody_can_answer_ends_the_cell(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\ninput('Who? ')", allow_stdin=False)
    assert not shown.ok
    assert "nobody can answer" in shown.stream("stderr")


def test_await_magics_shell_and_c_output(kernel: NotebookKernel):
    shown = kernel.run(
        "%%gpu\nimport asyncio, os\nawait asyncio.sleep(0)\nwhere = %pwd\n!echo from the shell\n"
        "os.system('echo from a child')\nawaited = True;"
    )
    assert shown.ok, shown.traceback
    assert "from the shell" in shown.stream()
    assert "from a child" in shown.stream()
    assert kernel.value("awaited") == "True"


def test_a_magic_below_runs_too(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\n%%time\ntimed = 5")
    assert shown.ok, shown.traceback
    assert "Wall time" in shown.stream()
    assert kernel.value("timed") == "5"


def test_cleared_output_takes_the_line_with_it_and_the_last_line_comes_anew(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nfrom IPython.display import clear_output\nprint('a')\nclear_output()\nprint('b')")
    kinds = [kind for kind, _ in shown.messages]
    cleared = kinds.index("clear_output")
    assert "display_data" in kinds[cleared:]
    assert "GPU freed" in shown.lines[-1]


def test_an_exception_shows_the_cells_own_lines_and_commits_nothing(kernel: NotebookKernel):
    assert kernel.run("kept = [1]\ndef divide(x):\n    return x / 0").ok
    shown = kernel.run("%%gpu\nkept.append(2)\nfresh = 1\ndivide(3)")
    assert not shown.ok
    assert shown.error is not None
    assert shown.error["ename"] == "ZeroDivisionError"
    assert shown.error["evalue"] == "division by zero"
    assert "divide(3)" in shown.traceback
    assert "return x / 0" in shown.traceback
    assert f"Cell In[{shown.reply['execution_count']}], line 4" in shown.traceback  # %%gpu is line 1
    assert "dure/" not in shown.traceback
    assert "Nothing in the notebook was changed" in shown.lines[-1]
    assert shown.reply["status"] == "error"
    assert kernel.value("kept, 'fresh' in dir()") == "([1], False)"


def test_changed_new_and_deleted_names_come_back(kernel: NotebookKernel):
    assert kernel.run("import numpy as np\nold = np.zeros(4)\nview = old[:2]\ndrop = 1\nsame = {'a': 1}").ok
    assert kernel.run("before = id(same)").ok
    shown = kernel.run("%%gpu\nold[0] = 7\nnew = old.sum() + same['a']\ndel drop")
    assert shown.ok, shown.traceback
    assert kernel.value("float(new), float(view[0]), 'drop' in dir(), id(same) == before") == "(8.0, 7.0, False, True)"
    assert kernel.value("np.shares_memory(old, view)") == "True"


def test_functions_call_functions_and_see_globals(kernel: NotebookKernel):
    assert kernel.run("factor = 3\ndef inner(x): return x * factor\ndef outer(x): return inner(x) + 1").ok
    assert kernel.run("%%gpu\nanswer = outer(2)\ndef made(x): return outer(x) * factor").ok
    assert kernel.value("answer, made(1)") == "(7, 12)"
    assert kernel.run("factor = 10").ok
    assert kernel.value("made(1)") == "110"


def test_names_that_no_reading_finds_are_fetched(kernel: NotebookKernel):
    assert kernel.run("hidden_value = 41\ndef hidden_function(): return hidden_value + 1").ok
    shown = kernel.run("%%gpu\nprint(eval('hidden_' + 'value'), eval('hidden_' + 'function()'))")
    assert shown.ok, shown.traceback
    assert "41 42" in shown.stream()


def test_a_name_that_nobody_has_is_a_name_error(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nprint(nowhere_to_be_found)")
    assert shown.error is not None
    assert shown.error["ename"] == "NameError"


def test_what_cannot_be_sent_is_refused_by_name_and_path_only_where_it_is_needed(kernel: NotebookKernel):
    assert kernel.run("import sys\nhandles = {'log': [open('/dev/null')]}\nplain = 1").ok
    jobs = kernel.value("__import__('dure.client').client.Client().jobs().jobs[0].id")
    shown = kernel.run("%%gpu\nprint(handles)")
    assert not shown.ok
    assert "handles" in shown.traceback
    assert "['log'][0]" in shown.traceback
    assert "file" in shown.traceback
    assert "nothing was queued" in shown.traceback
    assert kernel.value("__import__('dure.client').client.Client().jobs().jobs[0].id") == jobs
    assert kernel.run("%%gpu\nplain += 1").ok
    assert kernel.value("plain, handles['log'][0].closed") == "(2, False)"


def test_what_cannot_come_back_is_named(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nstream = open('/dev/null')\ncame = 1")
    assert shown.ok
    assert "stream stayed behind" in shown.stream("stderr")
    assert kernel.value("came, 'stream' in dir()") == "(1, False)"


def test_a_syntax_error_is_shown_as_usual_without_a_job(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nx = (1,\nprint('no')")
    assert shown.error is not None
    assert shown.error["ename"] == "SyntaxError"
    assert shown.lines == []
    assert "dure" not in shown.traceback


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--tier platinum", "There is no tier 'platinum'"),
        ("--env nowhere", "There is no environment 'nowhere'"),
        ("--gpus 99", "do not exist"),
        ("--tiers gold", "did you mean --tier?"),
        ("--gpus", "--gpus N"),
        ("--tier 'gold", "close every quote"),
    ],
)
def test_bad_options_are_one_sentence(kernel: NotebookKernel, line: str, sentence: str):
    shown = kernel.run(f"%%gpu {line}\n1")
    assert not shown.ok
    assert sentence in shown.traceback
    assert "Traceback" not in shown.traceback
    assert len(shown.traceback.splitlines()) == 1


def test_a_package_that_the_worker_lacks_is_named_with_the_environment(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nif True:\n    import not_installed_here.deep")
    assert shown.error is not None
    assert shown.error["ename"] == "ModuleNotFoundError"
    assert "'not_installed_here' is missing in environment 'default'" in shown.traceback
    assert "pip install not_installed_here" in shown.traceback


def test_a_value_whose_module_the_worker_lacks_is_refused_with_the_fix(kernel: NotebookKernel):
    make = (
        "import sys, types\nmodule = types.ModuleType('only_in_kernel')\nsys.modules['only_in_kernel'] = module\n"
        "exec('class Thing: pass', module.__dict__)\nmodule.Thing.__module__ = 'only_in_kernel'\nthing = module.Thing()"
    )
    assert kernel.run(make).ok
    shown = kernel.run("%%gpu\nprint(thing)")
    assert not shown.ok
    assert "only_in_kernel" in shown.traceback
    assert "default" in shown.traceback


def test_sys_exit_is_told(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nimport sys\nsys.exit(3)")
    assert "exit code 3" in shown.traceback


def test_a_time_limit_ends_the_cell_with_a_sentence(kernel: NotebookKernel):
    shown = kernel.run("%%gpu --timeout 1s\nwhile True: pass")
    assert not shown.ok
    assert "time limit" in shown.traceback


def test_very_much_output_is_cut_with_a_mark(kernel: NotebookKernel):
    shown = kernel.run(
        "%%gpu\nline = 'x' * (2**20 - 1)\nfor _ in range(1024): print(line)\nfinished = True\nprint('the very end')"
    )
    assert shown.ok, shown.traceback
    assert "output cut here" in shown.stream("stderr")
    assert len(shown.stream()) < 20_000_000
    assert "1.1 GB of output were not shown" in shown.stream("stderr")
    assert shown.stream().endswith("the very end\n")
    assert kernel.value("finished") == "True"


def test_an_empty_cell_and_help(kernel: NotebookKernel):
    assert "There is no code below" in kernel.run("%%gpu --tier gold").traceback
    for code in ("%%gpu --help", "%%gpu --help\n1/0"):
        shown = kernel.run(code)
        assert shown.ok
        assert "--deadline" in shown.stream()


def test_an_error_that_did_not_end_the_cell_is_shown_and_the_cell_goes_on(kernel: NotebookKernel, home: Path):
    (home / "bad.py").write_text("1 / 0\n")
    shown = kernel.run("%%gpu\n%run bad.py\nprint('after')\nraise KeyError('end')")
    kinds = [kind for kind, _ in shown.messages if kind in {"error", "stream"}]
    assert kinds == ["error", "stream", "error"]
    assert [error["ename"] for error in shown.contents("error")] == ["ZeroDivisionError", "KeyError"]
    shown = kernel.run("%%gpu\n%run bad.py\nwent_on = 1")
    assert shown.ok
    assert [error["ename"] for error in shown.contents("error")] == ["ZeroDivisionError"]
    assert kernel.value("went_on") == "1"


def test_sys_exit_says_what_it_was_given(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nimport sys\nsys.exit('no data today')")
    assert "no data today" in shown.stream("stderr")
    assert "exit code 1" in shown.traceback


def test_an_interrupt_ends_where_the_persons_code_was(kernel: NotebookKernel):
    running = kernel.start("%%gpu\nimport time\nprint('go', flush=True)\ntime.sleep(600)")
    running.until(lambda shown: "go" in shown.stream(), "go")
    kernel.interrupt()
    shown = running.wait()
    assert "time.sleep(600)" in shown.traceback
    assert "dure" not in shown.traceback


def test_what_libraries_ask_to_know_a_notebook_says_that_it_is_one(kernel: NotebookKernel):
    asked = "shell = get_ipython()\ntype(shell).__name__, 'IPKernelApp' in shell.config"
    assert kernel.run(f"%%gpu\n{asked}").result == "('ZMQInteractiveShell', True)"


def test_exit_is_not_a_value_that_cannot_be_sent(kernel: NotebookKernel):
    assert kernel.run("%%gpu\nif False: exit()\n1").ok


def test_what_a_name_held_before_a_cell_does_not_stay_in_memory(kernel: NotebookKernel):
    assert kernel.run("import gc, weakref\nclass Large(dict): pass\nlarge = Large(); first = weakref.ref(large)").ok
    assert kernel.run("%%gpu\nlarge['a'] = 1").ok
    assert kernel.run("second = weakref.ref(large)").ok
    assert kernel.run("%%gpu\nlarge['b'] = 2").ok
    assert kernel.value("gc.collect() and None, first(), second(), large") == "(None, None, None, {'a': 1, 'b': 2})"


def test_threads_that_end_with_the_cell_are_told(kernel: NotebookKernel):
    shown = kernel.run(
        "%%gpu\nimport concurrent.futures, threading, time\nidle = concurrent.futures.ThreadPoolExecutor(1)\n"
        "idle.submit(len, '').result()\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "del idle\nthreading.Thread(target=time.sleep, args=(60,), name='writer').start()"
    )
    assert shown.ok
    assert "ended with it: writer. Wait" in shown.stream("stderr")


def test_a_cell_begins_tasks_without_await_and_is_told_of_those_that_end_with_it(kernel: NotebookKernel):
    begin = "%%gpu\nimport asyncio\nasync def work(s): await asyncio.sleep(s); return 5\n"
    shown = kernel.run(begin + "task = asyncio.create_task(work(60), name='late'); del task")
    assert shown.ok, shown.traceback
    assert "ended with it: late. Wait" in shown.stream("stderr")
    awaited = kernel.run(begin + "task = asyncio.create_task(work(0)); found = await task; del task")
    assert "ended with it" not in awaited.stream("stderr")
    assert kernel.value("found") == "5"
    assert kernel.run(begin + "found = asyncio.run(work(0)) + 1").ok
    assert kernel.value("found") == "6"
