"""Names that no reading of the cell can find are fetched from the notebook at the moment they are missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebook.conftest import NotebookKernel

NOTEBOOK = """
factor, other, scale = 7, 9, 1
import builtins
look = globals
def past_ours(name):
    return builtins.globals()[name]
def looks_up(name):
    return (lambda: eval(name))()
def reads_whole(name):
    import sys
    return sys._getframe(0).f_globals[name]
def scaled(x):
    return x * scale
"""
OWN = "(['x', 'y'], ['x', 'y'], ['x', 'y'])"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("word = 'fac' + 'tor'\neval(word) + 1", "8"),
        ("globals()['factor'] * 2", "14"),
        ("globals()['fac' + 'tor'] * 2", "14"),
        ("[globals()[name] for name in ('factor', 'other')]", "[7, 9]"),
        ("def outer():\n    def inner():\n        return eval('fac' + 'tor')\n    return inner()\nouter()", "7"),
        ("[eval(name) for name in ('factor', 'other')]", "[7, 9]"),
        ("sum(eval('x * factor', {**globals(), 'x': x}) for x in (1, 2) if factor)", "21"),
        ("exec('made = factor + other')\nmade", "16"),
        ("import __main__\ngetattr(__main__, 'fac' + 'tor')", "7"),
        ("import sys\nsys.modules['__main__'].other", "9"),
        ("looks_up('fac' + 'tor')", "7"),
        ("globals().get('factor'), globals().get('nowhere', 3)", "(7, 3)"),
        ("'factor' in globals(), 'nowhere' in globals(), 'other' not in globals()", "(True, False, False)"),
        ("globals()['factor'] += 1\nfactor", "8"),
        ("def reads(name):\n    return globals()[name]\nreads('factor')", "7"),
        ("def reads(name):\n    return globals().get(name)\nreads('factor'), reads('nowhere')", "(7, None)"),
        ("(lambda name: globals()[name])('other')", "9"),
        ("list(globals()[name] for name in ('factor', 'other'))", "[7, 9]"),
        ("space = globals()\nfound = space['factor'], space.get('other')\ndel space\nfound", "(7, 9)"),
        ("'factor' in dir(), 'other' in vars(), 'other' in locals()", "(True, True, True)"),
        ("def own(x):\n    y = x\n    return sorted(locals()), sorted(vars()), dir()\nown(1)", OWN),
        ("vars(type('Empty', (), {'a': 1})())", "{}"),
        ("{**globals()}['factor']", "7"),
        ("exec('made = factor + 1', globals())\nmade", "8"),
        ("import __main__\n__main__.__dict__['factor']", "7"),
        ("import __main__\ngetattr(__main__, 'factor', None), hasattr(__main__, 'nowhere')", "(7, False)"),
        ("get_ipython().user_ns['factor']", "7"),
        ("reads_whole('factor')", "7"),
        ("class Table:\n    def get(self, name):\n        return globals().get(name)\nTable().get('other')", "9"),
        ("import pandas as pd\nframe_sum = pd.eval('factor + other')\nint(frame_sum)", "16"),
        ("factor = 1\nglobals().get('other'), (lambda: globals()['factor'])()", "(9, 1)"),
        ("del factor\n'factor' in globals(), (lambda: globals().get('factor'))()", "(False, None)"),
        ("scale = 2\neval('scaled')(3)", "6"),
        ("builtins.globals()['fac' + 'tor'], builtins.globals().get('other')", "(7, 9)"),
        ("import builtins as b\n'factor' in b.vars(), 'other' in b.dir(), 'other' in b.locals()", "(True, True, True)"),
        ("from builtins import globals as all_names\nall_names()['factor']", "7"),
        ("getattr(builtins, 'glo' + 'bals')()['factor']", "7"),
        ("__import__('builtins').globals()['factor']", "7"),
        ("past_ours('factor')", "7"),
        ("look()['factor'], look is builtins.globals", "(7, True)"),
        ("list(map(builtins.eval, ['fac' + 'tor']))", "[7]"),
        ("get_ipython().run_cell('made = factor + 1').success, made", "(True, 8)"),
    ],
)
def test_a_name_is_there_however_it_is_looked_up(kernel: NotebookKernel, code: str, expected: str):
    assert kernel.run(NOTEBOOK).ok
    shown = kernel.run(f"%%gpu\n{code}")
    assert shown.ok, shown.traceback
    assert shown.result == expected


def test_a_computed_key_that_the_notebook_lacks_is_a_key_error_and_functions_come_back_as_written(
    kernel: NotebookKernel,
):
    assert kernel.run("factor = 7").ok
    shown = kernel.run("%%gpu\nglobals()['no' + 'where']")
    assert shown.error is not None
    assert (shown.error["ename"], shown.error["evalue"]) == ("KeyError", "'nowhere'")
    assert "dure/worker" not in shown.traceback
    made = "globals()['fac' + 'tor'] = 8\ndef reads(name):\n    return globals()[name]\nreads('fac' + 'tor')"
    assert kernel.run(f"%%gpu\n{made}").result == "8"
    assert kernel.value("factor, reads('factor'), (lambda: reads('reads'))() is reads") == "(8, 8, True)"


def test_a_script_and_a_module_find_the_notebooks_names(kernel: NotebookKernel, home: Path):
    (home / "script.py").write_text("found = factor + 1\n")
    (home / "imports_main.py").write_text("from __main__ import factor\nDOUBLE = factor * 2\n")
    assert kernel.run("factor = 7").ok
    shown = kernel.run("%%gpu\nimport imports_main\n%run -i script.py\nfound, imports_main.DOUBLE")
    assert shown.ok, shown.traceback
    assert shown.result == "(8, 14)"


def test_a_busy_kernel_still_answers_for_a_detached_cell(new_kernel: Callable[..., NotebookKernel], tmp_path: Path):
    kernel = new_kernel("busy.ipynb")
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    assert kernel.run("secret_number = 41").ok
    code = (
        f"%%gpu --detach\nimport os, time\nopen({str(begun)!r}, 'w').close()\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "answer = eval('secret' + '_number') + 1"
    )
    assert kernel.run(code).ok
    assert kernel.run("handle = _").ok
    busy = kernel.start(
        f"import os, time\nwhile not os.path.exists({str(begun)!r}): time.sleep(0.01)\n"
        f"open({str(gate)!r}, 'w').close()\n"
        "while handle.status() not in ('succeeded', 'failed'): sum(range(200_000))\nhandle.status()"
    )
    shown = busy.wait()
    assert shown.result == "'succeeded'", shown
    assert kernel.run("handle.result()").ok
    assert kernel.value("answer") == "42"


def test_what_a_look_at_all_variables_does_not_get_is_named(kernel: NotebookKernel):
    assert kernel.run("import threading\nplain, lock, api_key = 3, threading.Lock(), 'abc'").ok
    shown = kernel.run(
        "%%gpu\ndef sizes():\n    return sorted(n for n in globals() if n in ('plain', 'lock'))\nsizes()"
    )
    assert shown.ok, shown.traceback
    assert shown.result == "['plain']"
    said = str(shown.messages)
    assert "did not get api_key, lock" in said
    assert kernel.value("lock.locked(), api_key") == "(False, 'abc')"


def test_what_was_looked_at_and_changed_comes_home(kernel: NotebookKernel):
    assert kernel.run("items, untouched = [1], [2]\ndef show(): return globals()").ok
    done = kernel.run(
        "%%gpu\ndef add(name, value):\n    globals()[name].append(value)\nadd('items', 5)\nlook = globals"
    )
    assert done.ok, done.traceback
    assert kernel.value("items, untouched, look is globals, show() is globals()") == "([1, 5], [2], True, True)"
    kept = kernel.run("%%gpu --keep 20s\nlen([n for n in dir() if n == 'items'])")
    assert kept.result == "1"
    assert kernel.run("later = 4").ok
    assert kernel.run("%%gpu --keep 20s\n(lambda: globals().get('later'))()").result == "4"
    assert kernel.run("%gpu free").ok


def test_a_function_that_looks_names_up_takes_all_variables_along(kernel: NotebookKernel):
    assert kernel.run("import dure, threading\nfactor, lock, api_key = 7, threading.Lock(), 'abc'").ok
    assert kernel.run("@dure.gpu\ndef reads(name):\n    return globals().get(name)").ok
    shown = kernel.run("reads('factor')")
    assert shown.ok, shown.traceback
    assert shown.result == "7"
    assert "which cannot: api_key, lock" in shown.stream("stderr")


def test_a_forked_process_that_misses_a_name_is_told_what_to_do(kernel: NotebookKernel):
    assert kernel.run("key = 'fac' + 'tor'\nfactor = 7\ndef looks_up(_):\n    return eval(key)").ok
    pooled = "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(1) as pool:\n    "
    shown = kernel.run(f"%%gpu\n{pooled}print(pool.map(looks_up, [0]))")
    assert shown.error is not None
    assert "cannot ask the notebook: name in the cell what it needs" in shown.error["evalue"]
    assert kernel.run(f"%%gpu\nfactor\n{pooled}found = pool.map(looks_up, [0])\nfound").result == "[7]"
