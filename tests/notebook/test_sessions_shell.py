"""What a person has set of IPython is so in the next kernel, or is named with its cell."""

import pytest

from tests.notebook.desk import desk, plane, server, told

__all__ = ["desk", "plane", "server"]

SET = {
    "%load_ext autoreload\n%autoreload 2": (
        "(lambda it: (it.enabled, it.check_all))(get_ipython().magics_manager.registry['AutoreloadMagics']._reloader)",
        "(True, True)",
    ),
    "%precision 3": ("1 / 3", "0.333"),
    "get_ipython().ast_node_interactivity = 'all'": ("get_ipython().ast_node_interactivity", "'all'"),
    "import matplotlib\n%matplotlib inline\n%config InlineBackend.figure_format = 'retina'": (
        "__import__('matplotlib_inline.config').config.InlineBackend.instance().figure_formats",
        "{'retina'}",
    ),
    "%config IPCompleter.use_jedi = False": ("get_ipython().Completer.use_jedi", "False"),
    "%alias greet echo hello": ("a = %greet\na", None),
    "%xmode Plain": ("get_ipython().InteractiveTB.mode", "'Plain'"),
    "%alias_magic measure timeit": ("'measure' in get_ipython().magics_manager.magics['line']", "True"),
    "class K: pass\nk = K()\n"
    "get_ipython().display_formatter.formatters['text/html'].for_type(K, lambda k: '<b>K</b>')": (
        "get_ipython().display_formatter.formatters['text/html'](k)",
        "'<b>K</b>'",
    ),
    "ran = []\ndef note(*_):\n    ran.append(1)\nget_ipython().events.register('pre_run_cell', note)": (
        "ran.clear(); get_ipython().run_cell('pass', silent=False); len(ran)",
        "1",
    ),
    "def six(lines):\n    return [line.replace('SIX', '6') for line in lines]\n"
    "get_ipython().input_transformers_cleanup.append(six)": ("SIX", "6"),
    "import ast\nclass Swap(ast.NodeTransformer):\n    def visit_Constant(self, node):\n"
    "        return ast.Constant(777) if node.value == 776 else node\nget_ipython().ast_transformers.append(Swap())": (
        "776",
        "777",
    ),
    "def quiet(shell, kind, error, trace, tb_offset=None):\n    print('quietly', error)\n"
    "get_ipython().set_custom_exc((KeyError,), quiet)": ("get_ipython().custom_exceptions", "(KeyError,)"),
    "from IPython.core.magic import register_line_magic\n@register_line_magic\ndef twice(line): return line * 2": (
        "%twice ab",
        "'abab'",
    ),
}


def test_what_was_set_of_ipython_is_so_in_the_next_kernels(desk):
    kernel = desk.open()
    for code in SET:
        assert kernel.run(code).ok, code
    for _ in range(2):
        desk.crash(kernel)
        kernel = desk.open()
        assert "Not restored" not in told(kernel.loaded), told(kernel.loaded)
        for probe, expected in SET.values():
            shown = kernel.run(probe)
            assert shown.ok, shown.traceback
            if expected is not None:
                assert shown.result == expected, probe
        assert "hello" in kernel.run("%greet").stream()
        assert "quietly 'a'" in kernel.run("{}['a']").stream()


def test_what_cannot_be_put_back_is_named_with_its_cell(desk):
    kernel = desk.open()
    (desk.home / "own_extension.py").write_text("def load_ipython_extension(shell):\n    shell.user_ns['own'] = 1\n")
    kernel.run("import sys; sys.path.insert(0, '')")
    number = kernel.run("%load_ext own_extension").reply["execution_count"]
    desk.crash(kernel)
    (desk.home / "own_extension.py").unlink()
    again = desk.open()
    assert f"%load_ext own_extension (cell {number}: " in told(again.loaded)


@pytest.mark.parametrize("how", ["%session restore", "%session restore @1"])
def test_hooks_are_there_once_however_often_a_version_is_restored(desk, how):
    kernel = desk.open()
    kernel.run("ran = []\ndef note(*_):\n    ran.append(1)\nget_ipython().events.register('post_run_cell', note)")
    desk.crash(kernel)
    again = desk.open()
    again.run(how)
    calls = "sum(each.__name__ == 'note' for each in get_ipython().events.callbacks['post_run_cell'])"
    assert again.value(calls) == "1"


@pytest.mark.parametrize(
    ("code", "probe", "expected"),
    [
        ("%matplotlib agg\nimport matplotlib.pyplot as plt", "plt.get_backend().lower()", "'agg'"),
        ("import matplotlib.pyplot as plt\nplt.figure()\nplt.ioff()", "plt.plot([1, 2]); plt.isinteractive()", "False"),
        ("import matplotlib.pyplot as plt\nplt.figure()", "plt.plot([1, 2]); plt.isinteractive()", "True"),
    ],
)
def test_figures_are_drawn_the_way_that_was_set(desk, code, probe, expected):
    kernel = desk.open()
    assert kernel.run(code).ok
    desk.crash(kernel)
    again = desk.open()
    assert "Not restored" not in told(again.loaded), told(again.loaded)
    shown = again.run(probe)
    assert shown.result == expected
    pictures = sum("image/png" in each["data"] for each in shown.displays)
    assert pictures == (expected == "True")


OLD = "class Tool:\n    def work(self):\n        return 'old'\n"


def test_a_module_that_was_edited_since_is_told_with_the_variables_that_have_its_code(desk):
    kernel = desk.open()
    for name in ("edited", "same", "unused", "reloaded"):
        (desk.home / f"{name}.py").write_text(OLD)
    kernel.run("import sys; sys.path.insert(0, '')\nimport edited, same, unused\ntool = edited.Tool(); tool.of = 5")
    kernel.run("from same import Tool as Same; other = Same(); del unused")
    desk.crash(kernel)
    for name in ("edited", "unused"):  # in another length, without which Python itself overlooks it within a second
        (desk.home / f"{name}.py").write_text(OLD.replace("old", "newer"))
    again = desk.open()
    assert "Edited since: edited, so its code as of now is what edited, tool has." in told(again.loaded)
    assert told(again.loaded).count("Edited since") == 1
    assert again.value("tool.work(), tool.of, other.work()") == "('newer', 5, 'old')"
    again.run("%load_ext autoreload\n%autoreload 2\nimport reloaded; mine = reloaded.Tool()")
    (desk.home / "reloaded.py").write_text(OLD.replace("old", "newer"))
    assert again.value("mine.work()") == "'newer'"
    desk.crash(again)
    assert "Edited since" not in told(desk.open().loaded)


def test_a_hook_finds_what_it_needs_also_in_the_first_cell(desk):
    kernel = desk.open()
    kernel.run("big = {str(number): [number] for number in range(400_000)}\nseen = []")
    kernel.run("def note(*_): seen.append(len(big))\nget_ipython().events.register('post_run_cell', note)")
    desk.crash(kernel)
    again = desk.open()
    assert "Error in callback" not in again.loaded.stream() + again.loaded.stream("stderr")
    assert again.value("set(seen)") == "{400000}"


def test_results_of_cells_come_back_where_that_was_asked_for(desk):
    kernel = desk.open()
    kernel.run("items = [1, 2]; holder = [items]")
    number = kernel.run("items").reply["execution_count"]
    kernel.run("(each for each in items)")
    assert "without `Out`" in told(kernel.run("%session outputs"))
    assert not kernel.run("%session outputs maybe").ok
    shown = [kernel.run(code) for code in ("%session outputs on", "len(items) + 5", "%session save", "%session")]
    last = shown[1].reply["execution_count"]
    assert f"Out[{number + 1}], __ (a generator" in told(shown[3])
    desk.crash(kernel)
    again = desk.open()
    assert f"Out[{number + 1}] (a generator" in told(again.loaded), told(again.loaded)
    assert again.value(f"(Out[{number}] is items, _{number} is holder[0], _)") == "(True, True, 7)"
    assert again.value(f"sorted(Out)[:2] == [{number}, {last}]") == "True"
    assert "Results in `Out` again: 2." in told(again.loaded)
    assert "saved with `Out`" in told(again.run("%session outputs"))
    again.run("%session outputs off")
    desk.crash(again)
    assert desk.open().value(f"{number} in Out") == "False"


def test_a_version_that_has_results_and_no_variables_says_so(desk):
    kernel = desk.open()
    kernel.run("%session outputs on")
    kernel.run("2 + 5")
    desk.crash(kernel)
    again = desk.open()
    for shown in (again.loaded, again.run("%session restore")):
        assert "held no variables. Results in `Out` again: 1." in told(shown), told(shown)
