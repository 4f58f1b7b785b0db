"""What a cell sets besides variables comes back, or is told by name in one line; what libraries set is not."""

from __future__ import annotations

from collections.abc import Callable

from tests.notebook.conftest import NotebookKernel

OF_ITS_OWN = """%%gpu
import locale, logging, os
os.environ["API_TOKEN"] = "hunter2-hunter2"
os.environ.update(SECOND="2")
%env THIRD=3
os.environ["PASSING"] = "1"
del os.environ["PASSING"]
logging.basicConfig(level=logging.INFO)
logging.getLogger("mine.own").setLevel(10)
locale.setlocale(locale.LC_ALL, "C")
"""
OF_A_LIBRARY = """
import pathlib
pathlib.Path("of_besides.py").write_text('''
import logging, os
os.environ["OF_A_LIBRARY"] = "1"
logging.getLogger("of_besides").addHandler(logging.NullHandler())
''')
"""


def test_what_the_process_alone_has_is_told_by_name(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("besides.ipynb")
    shown = kernel.run(OF_ITS_OWN)
    assert shown.ok, shown.traceback
    assert "environment variables API_TOKEN, SECOND, THIRD; logging of mine.own, root" in shown.stream("stderr")
    assert "the locale C" in shown.stream("stderr")
    assert "hunter2" not in shown.stream("stderr")
    assert "PASSING" not in shown.stream("stderr")
    assert kernel.value("'API_TOKEN' in __import__('os').environ") == "False"


def test_what_a_library_sets_is_not_told(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("besides-library.ipynb")
    assert kernel.run(OF_A_LIBRARY).ok
    shown = kernel.run("%%gpu\nimport of_besides, os\nset_there = os.environ['OF_A_LIBRARY']")
    assert shown.ok, shown.traceback
    assert kernel.value("set_there") == "'1'"
    assert "OF_A_LIBRARY" not in shown.stream("stderr")
    assert "logging" not in shown.stream("stderr")


def test_the_folder_a_cell_goes_to_is_the_notebooks(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("besides-folder.ipynb")
    assert kernel.run("import os, pathlib\nfor n in ('deep', 'deep/er'): pathlib.Path(n).mkdir(exist_ok=True)").ok
    begin = str(kernel.value("os.getcwd()"))
    shown = kernel.run("%%gpu --keep 1m\nimport os\nos.chdir('deep')")
    assert shown.ok, shown.traceback
    assert kernel.value("os.getcwd()") == begin[:-1] + "/deep'"
    assert kernel.run("%cd er").ok
    shown = kernel.run("%%gpu --keep 1m\nwas = os.getcwd()\nos.chdir('..'); 1 / 0")
    assert not shown.ok
    assert kernel.value("os.getcwd()") == begin[:-1] + "/deep/er'"
    shown = kernel.run("%%gpu --keep 1m\nwas = os.getcwd()")
    assert shown.ok, shown.traceback
    assert kernel.value("was") == begin[:-1] + "/deep/er'"
    kernel.run("%gpu free")


def test_who_looks_on_changes_no_call_and_shows_in_no_traceback(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("besides-errors.ipynb")
    shown = kernel.run("%%gpu\nimport logging\nlogging.getLogger('by.keyword').setLevel(level=10)")
    assert shown.ok, shown.traceback
    assert "logging of by.keyword" in shown.stream("stderr")
    for wrong in ("os.environ['ONE'] = 1", "del os.environ['NO_SUCH']", "logging.getLogger('it').setLevel('LOUD')"):
        shown = kernel.run(f"%%gpu\nimport logging, os\n{wrong}")
        assert not shown.ok
        assert wrong in shown.traceback
        assert "besides" not in shown.traceback


def test_loggers_and_names_of_any_kind_cost_no_results(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("besides-odd.ipynb")
    odd = "logging.Logger(5).setLevel(10); os.environ['odd\\udc80'] = '1'; kept_here = 7"
    shown = kernel.run(f"%%gpu\nimport logging, os\n{odd}")
    assert shown.ok, shown.traceback
    assert "environment variables odd?" in shown.stream("stderr")
    assert kernel.value("kept_here") == "7"
