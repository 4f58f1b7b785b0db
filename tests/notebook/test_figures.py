"""Figures are pictures wherever they come from: a GPU cell, another kernel's session, the notebook."""

from tests.notebook.conftest import NotebookKernel
from tests.notebook.desk import desk, plane, server

__all__ = ["desk", "plane", "server"]


def pictures(shown) -> list[bool]:
    return ["image/png" in each["data"] for each in shown.contents("execute_result", "display_data")][-1:]


def test_a_figure_is_a_picture_in_the_notebook_and_on_the_gpu_wherever_it_was_made(kernel: NotebookKernel):
    assert kernel.run("%%gpu\nimport matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2]);").ok
    assert pictures(kernel.run("fig")) == [True]
    assert pictures(kernel.run("%%gpu\nfig")) == [True]


def test_a_restored_figure_is_a_picture(desk):
    kernel = desk.open()
    kernel.run("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])")
    kernel.run("figures = [fig]")
    desk.crash(kernel)
    again = desk.open()
    assert pictures(again.run("fig")) == [True]
    assert again.value("plt.get_fignums(), ax.figure is fig") == "([], True)"
    assert pictures(again.run("display(figures[0])")) == [True]


def test_the_last_value_of_a_gpu_cell_that_stays_there_is_told_where_a_former_one_would_be(kernel: NotebookKernel):
    assert kernel.run("41").result == "41"
    assert kernel.run("%%gpu\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])").ok
    assert kernel.value("_") == "<a list that stayed on the GPU: give it a name in its cell to have it here>"
    assert "give it a name" in kernel.run("_.append").traceback
    assert kernel.run("%%gpu\nlines = plt.plot([1, 2])").ok
    assert kernel.run("%%gpu\nlines").ok
    assert kernel.value("_ is lines") == "True"
    assert kernel.run("%%gpu\n6 * 7;").ok
    assert kernel.value("_") == "True", "a value that is not shown is no result"
