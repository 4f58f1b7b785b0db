"""What a notebook registered with libraries, or set on their classes, is so again after a restore, or is named."""

# ruff: noqa: E501, ISC004 - the source of a cell is one text

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dure.state import FolderBlobs, capture
from dure.state.libraries.registered import Registered, register_again

RESTORE = """
import json, sys, warnings
warnings.simplefilter('ignore')
from dure.state import FolderBlobs, Snapshot, restore
from dure.state.libraries.registered import register_again
blobs = FolderBlobs(sys.argv[1])
scope = {'__name__': '__main__', '__builtins__': __builtins__}
sys.modules['__main__'].__dict__.update(scope)
report = restore(Snapshot.load(sys.argv[2], blobs), blobs, into=scope)
missing = register_again(report.extras)
print(json.dumps([missing or report.failed, bool(eval(sys.argv[3], scope))]))
"""

AGAIN = {
    "a number": ("import numbers\nclass P: pass\nnumbers.Number.register(P)", "isinstance(P(),numbers.Number)"),
    "a decorated collection": (
        "import collections.abc\n@collections.abc.Sequence.register\nclass P: pass",
        "issubclass(P,collections.abc.Sequence)",
    ),
    "an ABC of the notebook": (
        "import abc\nclass A(abc.ABC): pass\nclass P: pass\nA.register(P)",
        "isinstance(P(),A)",
    ),
    "a patched frame": (
        "import pandas as pd\ndef plus(s,n): return s+n\npd.DataFrame.plus=plus",
        "pd.DataFrame({'a':[1]}).plus(2).a[0]==3 and pd.DataFrame.plus is plus",
    ),
    "a frame patched with a lambda": (
        "import pandas as pd\nk=3\npd.DataFrame.plus=lambda s: s+k\nsetattr(pd.Series,'two',property(lambda s: 2))",
        "pd.DataFrame({'a':[1]}).plus().a[0]==4 and pd.Series([1]).two==2",
    ),
    "an accessor": (
        "import pandas as pd\n@pd.api.extensions.register_dataframe_accessor('my')\nclass My:\n"
        "    def __init__(s,df): s.df=df\n    def n(s): return len(s.df)",
        "pd.DataFrame({'a':[1]}).my.n()==1",
    ),
    "a kind of a library's singledispatch": (
        "import functools\nfrom pkgutil import iter_importer_modules\nclass P: pass\n"
        "@iter_importer_modules.register(P)\ndef f(x, prefix=''): return 'mine'",
        "iter_importer_modules(P())=='mine'",
    ),
    "copyreg": (
        "import copyreg\nclass P: pass\ndef r(p): return (int,())\ncopyreg.pickle(P,r)",
        "copyreg.dispatch_table[P] is r",
    ),
    "a projection": (
        "import matplotlib.projections as mp, matplotlib.axes as ax\nclass P(ax.Axes): name='mine'\n"
        "mp.register_projection(P)",
        "mp.get_projection_class('mine') is P",
    ),
    "what Python does at its end and with an exception": (
        "import atexit\ndef bye(): pass\natexit.register(bye)\nimport sys\ndef hook(*a): pass\nsys.excepthook = hook",
        "sys.excepthook is hook and atexit._ncallbacks()>0",
    ),
    "a tree of JAX": (
        "import jax\n@jax.tree_util.register_pytree_node_class\nclass P:\n    def __init__(s,a): s.a=a\n"
        "    def tree_flatten(s): return (s.a,),None\n    @classmethod\n    def tree_unflatten(c,aux,ch): return c(*ch)",
        "jax.tree_util.tree_map(lambda a:a+1,P(1)).a==2",
    ),
    "a tree of JAX with lambdas": (
        "import jax\nfrom jax.tree_util import register_pytree_node\nclass P:\n    def __init__(s,a): s.a=a\n"
        "register_pytree_node(P, lambda p: ((p.a,),None), lambda aux,ch: P(*ch))",
        "jax.tree_util.tree_map(lambda a:a+1,P(1)).a==2",
    ),
    "a dataclass of JAX": (
        "import jax, dataclasses\nfrom functools import partial\n"
        "@partial(jax.tree_util.register_dataclass, data_fields=['a'], meta_fields=['b'])\n"
        "@dataclasses.dataclass\nclass P:\n    a: int\n    b: str",
        "jax.tree_util.tree_map(lambda a:a+1,P(1,'x')).a==2",
    ),
    "a static class of JAX": (
        "import jax\n@jax.tree_util.register_static\nclass P:\n    def __hash__(s): return 1\n"
        "    def __eq__(s,o): return True",
        "jax.tree_util.tree_leaves(P())==[]",
    ),
}

NAMED = {
    "fields that are computed": (
        "import pandas as pd\nn=['my']\n@pd.api.extensions.register_dataframe_accessor(n[0])\nclass My:\n"
        "    def __init__(s,df): s.df=df",
        ["My → pd.api.extensions.register_dataframe_accessor"],
    ),
    "IPython's formatter": (
        "from IPython.core.formatters import HTMLFormatter\nh=HTMLFormatter()\nclass P: pass\n"
        "h.for_type(P, lambda p: 'x')",
        ["P → h.for_type"],
    ),
}

NOTHING = {
    "settings of instances": "import pandas as pd\ndf=pd.DataFrame({'a':[1]})\ndf.a = [2]\ndf.attrs['x']=1",
    "a class of the notebook": "class P: pass\nP.f = lambda s: 1",
    "a dispatch of the notebook": "import functools\n@functools.singledispatch\ndef f(x): pass\n"
    "@f.register\ndef _(x: int): return 1",
    "a setting": "import decimal\ndecimal.DefaultContext.prec = 30\nimport json\njson.mine = 3",
    "not Python": "%load_ext register\n!ls register",
}

UNSAID = {  # by the cell itself: it is done, and not found
    "in a function that is called": "import numbers\nclass P: pass\ndef set_up(): numbers.Number.register(P)\nset_up()",
    "under a computed name": "import pandas as pd\nfor name in ['plus']: setattr(pd.DataFrame, name, lambda s: s)",
    "by exec": "import pandas as pd\ndef plus(s): return s\nexec('pd.DataFrame.plus' + ' = plus')",
}


def _saved(source: str, tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    scope: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    if not source.startswith("%"):
        exec(compile(source, "<cell>", "exec"), scope)
    return scope, Registered().extras(scope, ["", source])


@pytest.fixture(autouse=True)
def unpatched(monkeypatch):
    import pandas as pd

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    yield
    for owner, name in ((pd.DataFrame, "plus"), (pd.Series, "two"), (pd.DataFrame, "my")):
        if name in vars(owner):
            delattr(owner, name)
        owner._accessors.discard(name)
    if hasattr(json, "mine"):
        del json.mine


@pytest.mark.parametrize("kind", AGAIN)
def test_it_is_registered_again(kind, tmp_path):
    source, check = AGAIN[kind]
    if "jax" in source and importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed: no test environment brings its 360 MB; `pip install jax` and these run")
    scope, extras = _saved(source, tmp_path)
    blobs = FolderBlobs(tmp_path / "store")
    digest = capture(scope, blobs=blobs, extras=extras).store(blobs)
    done = subprocess.run(
        [sys.executable, "-c", RESTORE, str(tmp_path / "store"), digest, check],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0]) == [{}, True]


@pytest.mark.parametrize("kind", NAMED)
def test_what_is_not_certain_is_named_with_its_cell(kind, tmp_path):
    source, labels = NAMED[kind]
    _, extras = _saved(source, tmp_path)
    told = register_again({**extras, "registered": ("another process", extras["registered"][1])})
    assert list(told) == labels
    assert all(cell == 1 and "run its cell again" in reason for cell, reason in told.values())


@pytest.mark.parametrize("kind", NOTHING)
def test_nothing_is_told_where_nothing_was_registered(kind, tmp_path):
    assert _saved(NOTHING[kind], tmp_path)[1] == {}


@pytest.mark.parametrize("kind", UNSAID)
def test_what_a_cell_does_not_say_itself_is_not_found(kind, tmp_path):
    scope, extras = _saved(UNSAID[kind], tmp_path)
    import numbers

    import pandas as pd

    assert isinstance(scope["P"](), numbers.Number) if "P" in scope else "plus" in vars(pd.DataFrame)
    assert extras == {}


def test_in_the_process_that_registered_nothing_is_done_again(tmp_path):
    _, extras = _saved(AGAIN["a number"][0], tmp_path)
    assert register_again(extras) == {}
    assert len(extras) == 2
