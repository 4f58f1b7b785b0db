"""Names that no reading of the cell can find are fetched from the notebook at the moment they are missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebook.conftest import NotebookKernel


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
    ],
)
def test_a_name_is_there_however_it_is_looked_up(kernel: NotebookKernel, code: str, expected: str):
    assert kernel.run("factor, other = 7, 9\ndef looks_up(name):\n    return (lambda: eval(name))()").ok
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
