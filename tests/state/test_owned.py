"""Variables that are what an imported module has under a name are that again, or it is told why not."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import threading
import types
from typing import Any

import pytest

from dure.state import FolderBlobs, capture, changed, diff, restore
from dure.state.memory import layout
from dure.state.objects import owned
from dure.state.objects.modules import Modules

CONFIG = """
from collections import OrderedDict, defaultdict
class Model:
    def __init__(self, width): self.width = width
SETTINGS = {"lr": 0.1, "layers": [1, 2], "model": Model(3)}
NAMES = ["a", ["b"]]
SEEN = {1, 2}
ORDER = OrderedDict(a=1, b=[2])
COUNTS = defaultdict(int, a=1)
BEST = Model(4)
def rate(): return SETTINGS["lr"]
"""
BEGIN = "import config\nfrom config import SETTINGS, NAMES, SEEN, ORDER, COUNTS, BEST\n"
RESTORE = """
import json, sys
sys.path[:0] = [sys.argv[2], sys.argv[2] + '/site-packages']
from dure.state import FolderBlobs, Snapshot, restore, changed
blobs = FolderBlobs(sys.argv[1])
scope = {'__name__': '__main__', '__builtins__': __builtins__}
snapshot = Snapshot.load(sys.argv[3], blobs)
report = restore(snapshot, blobs, into=scope)
assert not report.failed, report.failed
again = changed(scope, snapshot, blobs=blobs).changed
scope['told'] = report.told
print(json.dumps([eval(sys.argv[4], scope), report.told, again]))
"""
ALL_OWN = (
    "all(v is getattr(config, n) for n, v in [('SETTINGS', SETTINGS), ('NAMES', NAMES), ('SEEN', SEEN), "
    "('ORDER', ORDER), ('COUNTS', COUNTS), ('BEST', BEST)])"
)


@pytest.fixture
def config(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "config.py").write_text(CONFIG)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "config", raising=False)
    yield folder / "config.py"
    sys.modules.pop("config", None)


def _saved(cell, folder):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(BEGIN + cell, scope)
    blobs = FolderBlobs(folder)
    snapshot = capture(scope, blobs=blobs)
    assert snapshot.unsaved == {}
    assert changed(scope, snapshot, blobs=blobs).changed == ()
    return scope, snapshot.store(blobs), snapshot, blobs


def _back(folder, digest, config, check):
    command = [sys.executable, "-c", RESTORE, str(folder), str(config.parent), digest, check]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("cell", "check"),
    [
        ("", "SETTINGS['model'] is not None"),
        ("SETTINGS['lr'] = 0.5", "config.rate() == 0.5"),
        (
            "del SETTINGS['lr']; SETTINGS['lr'] = 1; NAMES[1].append('c')",
            "list(SETTINGS)[-1] == 'lr' and NAMES[1] == ['b', 'c']",
        ),
        (
            "SEEN.add(7); ORDER.move_to_end('a'); COUNTS['z'] += 2",
            "7 in config.SEEN and list(config.ORDER) == ['b', 'a'] and config.COUNTS == {'a': 1, 'z': 2}",
        ),
        (
            "layers = SETTINGS['layers']; layers.append(9)",
            "layers is config.SETTINGS['layers'] and layers == [1, 2, 9]",
        ),
        ("same = SETTINGS; SETTINGS['me'] = 1", "same is SETTINGS and config.SETTINGS['me'] == 1"),
        ("box = [SETTINGS]; SETTINGS['lr'] = 2", "box[0] is config.SETTINGS and config.rate() == 2"),
        (
            (
                "class Job:\n    def __init__(self): self.settings, self.best = config.SETTINGS, config.BEST\n"
                "job = Job(); job.settings['lr'] = 3"
            ),
            "job.settings is config.SETTINGS and job.best is config.BEST and config.rate() == 3",
        ),
        (
            (
                "del SETTINGS, NAMES, SEEN\nboxes = {'a': [config.SETTINGS], 'b': (config.NAMES, {'c': config.SEEN})}\n"
                "config.SEEN.add(5); config.NAMES[1].append(1); more = [config.SEEN]\n"
                "from config import SETTINGS, NAMES, SEEN"
            ),
            "boxes['a'][0] is config.SETTINGS and boxes['b'][1]['c'] is more[0] is config.SEEN and 5 in config.SEEN",
        ),
        (
            "import functools\nread = functools.partial(config.rate); f = lambda d=config.SETTINGS: d",
            "f() is config.SETTINGS",
        ),
    ],
)
def test_a_variable_that_a_module_has_is_its_own_again_with_what_was_changed_in_it(tmp_path, config, cell, check):
    _, digest, _, _ = _saved(cell, tmp_path / "store")
    assert _back(tmp_path / "store", digest, config, f"{ALL_OWN} and {check}") == [True, {}, []]


INSIDE = """
class Registry:
    shared = []
    def __init__(self): self.items = {}
REGISTRY = Registry()
SETTINGS = {"lr": 0.1, "inner": {"x": [1]}}
def rate(): return SETTINGS["inner"]
"""


@pytest.mark.parametrize(
    ("cell", "check"),
    [
        ("a = inside.SETTINGS['inner']; a['y'] = 2", "inside.rate() is a and a == {'x': [1], 'y': 2}"),
        (
            "b = inside.SETTINGS['inner']; a = b['x']; a.append(7)",
            "inside.rate() is b and b['x'] is a and a == [1, 7]",
        ),
        ("a = inside.REGISTRY.items; a['k'] = 1", "inside.REGISTRY.items is a and a == {'k': 1}"),
        ("a = inside.Registry.shared; a.append(1)", "inside.REGISTRY.shared is a and a == [1]"),
        (
            "a = inside.SETTINGS['inner']; box = [inside.SETTINGS]; a['y'] = 2",
            "box[0] is inside.SETTINGS and inside.rate() is a and a['y'] == 2",
        ),
    ],
)
def test_a_variable_that_is_inside_what_a_person_s_module_has_is_its_own_again(tmp_path, config, cell, check):
    config.with_name("inside.py").write_text(INSIDE)
    _, digest, _, _ = _saved("import inside; " + cell, tmp_path / "store")
    sys.modules.pop("inside")
    assert _back(tmp_path / "store", digest, config, check) == [True, {}, []]


PACKAGE = """
import collections, functools
class Options:
    def __init__(self): self.width = 3
DEFAULTS, MISSING, COUNTS = Options(), object(), collections.Counter(a=1)
binary = functools.partial(int, base=2)
Text = int | str
class One:
    _one = None
    def __new__(cls):
        cls._one = cls._one or super().__new__(cls)
        return cls._one
ONE = One()
"""


@pytest.fixture
def others(config, monkeypatch):
    """A person's own module with something inside, and one of an installed package."""
    config.with_name("inside.py").write_text(INSIDE)
    folder = config.parent / "site-packages"
    folder.mkdir()
    (folder / "package.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(folder)
    yield config
    for name in ("inside", "package"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("cell", "check"),
    [
        ("box = [inside.SETTINGS['inner']]; box[0]['y'] = 2", "inside.rate() is box[0] and box[0]['y'] == 2"),
        (
            "m = [inside.SETTINGS['inner']]; n = {'x': inside.SETTINGS['inner']['x']}; n['x'].append(7)",
            "m[0] is inside.rate() and n['x'] is m[0]['x'] and n['x'] == [1, 7]",
        ),
        (
            "class Job: pass\njob = Job(); job.items = inside.REGISTRY.items; Job.seen = inside.Registry.shared",
            "job.items is inside.REGISTRY.items and Job.seen is inside.REGISTRY.shared",
        ),
        (
            "a = inside.SETTINGS['inner']; box = [a]; a['y'] = 2",
            "box[0] is a is inside.rate() and a['y'] == 2",
        ),
        (
            "class Job: settings = inside.SETTINGS\njobs = [Job()]; Job.settings['lr'] = 5",
            "jobs[0].settings is inside.SETTINGS and inside.SETTINGS['lr'] == 5",
        ),
        (
            "m = [{'at': at} for at in range(70_000)]; m[7] = inside.SETTINGS; m[9]['of'] = inside.REGISTRY.items",
            "m[7] is inside.SETTINGS and m[9]['of'] is inside.REGISTRY.items",
        ),
        (
            "p = package; h = {'o': p.DEFAULTS, 'm': [p.MISSING, p.COUNTS, p.binary]}",
            "h['o'] is p.DEFAULTS and [h['m'][0], h['m'][2]] == [p.MISSING, p.binary] and h['m'][1] is p.COUNTS",
        ),
        (
            "import decimal, http.client; h = {'codes': http.client.responses, 'as': [decimal.ExtendedContext]}",
            "h['codes'] is http.client.responses and h['as'][0] is decimal.ExtendedContext",
        ),
        (
            "p = package; h = [p.ONE]; g = [p.ONE]\ndef f(a: p.Text): pass\ndef k(a: p.Text): pass",
            "h[0] is p.ONE and f.__annotations__ == k.__annotations__ == {'a': p.Text}",
        ),
    ],
)
def test_what_modules_have_inside_is_that_again_where_other_objects_hold_it(tmp_path, others, cell, check):
    _, digest, snapshot, _ = _saved("import inside, package\n" + cell, tmp_path / "store")
    sys.modules.pop("inside")
    assert _back(tmp_path / "store", digest, others, check) == [True, {}, []]
    if "def k" in cell:  # what finds itself again is not saved apart, and what never changes joins nobody
        groups = [sorted(group.names) for group in snapshot.groups]
        assert ["h"] in groups or ["g", "h"] in groups
        assert ["f"] in groups


def test_an_instance_of_a_package_that_was_changed_is_a_copy_and_told(tmp_path, others):
    cell = "import package; h = {'o': package.DEFAULTS}; h['o'].width = 4"
    _, digest, _, _ = _saved(cell, tmp_path / "store")
    own, told, again = _back(tmp_path / "store", digest, others, "h['o'].width == 4")
    assert own
    assert told == {"h": "a copy of what package.DEFAULTS was: that is another object here"}
    assert again == []


def test_two_objects_never_become_one_of_a_module(tmp_path, others):
    cell = "import inside; h = [inside.SETTINGS['inner']]; inside.SETTINGS['inner'] = {'x': [1]}; inside.other = h[0]"
    _, digest, _, _ = _saved(cell + "; g = [inside.SETTINGS['inner']]", tmp_path / "store")
    sys.modules.pop("inside")
    own, told, _ = _back(tmp_path / "store", digest, others, "h[0] is not g[0] and g[0] is inside.rate()")
    assert own
    assert list(told) == ["h"]


def test_what_the_module_does_not_have_inside_any_more_is_a_copy_and_told(tmp_path, config):
    config.with_name("inside.py").write_text(INSIDE)
    cell = "import inside; a = inside.REGISTRY.items['k'] = [1]; b = [2]; c = b"
    _, digest, _, _ = _saved(cell, tmp_path / "store")
    sys.modules.pop("inside")
    _, told, again = _back(tmp_path / "store", digest, config, "a == [1] and b is c")
    assert told == {"a": "a copy of inside.REGISTRY.items['k'], which is not there now or is of another type"}
    assert again == []


def test_a_change_of_the_module_s_object_is_a_change_of_the_variable(tmp_path, config):
    scope, _, snapshot, blobs = _saved("", tmp_path / "store")
    sys.modules["config"].SETTINGS["lr"] = 3
    assert changed(scope, snapshot, blobs=blobs).changed == ("SETTINGS",)


def test_a_module_that_changed_since_keeps_what_it_has_now_and_it_is_told(tmp_path, config):
    _, digest, _, _ = _saved("SETTINGS['lr'] = 0.5", tmp_path / "store")
    config.write_text(CONFIG.replace("0.1", "0.25"))
    own, told, _ = _back(tmp_path / "store", digest, config, ALL_OWN + " and SETTINGS['lr'] == 0.25")
    assert own
    assert told == {
        "SETTINGS": "it is as config has it now, whose file has changed since: what was saved is not put back"
    }


def test_what_cannot_be_the_module_s_own_is_a_copy_and_told(tmp_path, config):
    _, digest, _, _ = _saved("BEST.width = 5; box = [BEST]", tmp_path / "store")
    check = "BEST.width == 5 and config.BEST.width == 4 and box[0] is BEST and SETTINGS is config.SETTINGS"
    own, told, again = _back(tmp_path / "store", digest, config, check)
    assert own
    assert again == []
    why = "a copy of what config.BEST was: that is another object here"
    assert told == {"BEST": why, "box": why}
    config.unlink()


def test_a_change_inside_what_a_module_has_is_one_of_whoever_holds_it(tmp_path, config):
    scope, _, snapshot, blobs = _saved("box = [SETTINGS]; other = [1]", tmp_path / "store")
    scope["box"][0]["lr"] = 7
    assert changed(scope, snapshot, blobs=blobs).changed == ("SETTINGS", "box")
    after = capture(scope, base=snapshot, blobs=blobs)
    assert diff(snapshot, after).changed == ("SETTINGS", "box")
    assert after.groups[after.variables["box"].group] in snapshot.groups


def test_what_a_module_has_and_nobody_can_save_is_named_where_it_is(tmp_path, config):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("import config, threading\nconfig.SETTINGS['lock'] = threading.Lock()\nbox = [config.SETTINGS]; k = 1", scope)
    snapshot = capture(scope, blobs=FolderBlobs(tmp_path / "store"))
    assert snapshot.names == ("config", "k", "threading")
    assert snapshot.unsaved["box"].startswith("box[0]['lock']: a lock")


def test_a_module_that_is_gone_leaves_copies_that_are_told(tmp_path, config):
    _, digest, _, _ = _saved("del config; del SETTINGS, BEST", tmp_path / "store")
    config.write_text("")
    own, told, _ = _back(tmp_path / "store", digest, config, "NAMES == ['a', ['b']]")
    assert own
    assert told["NAMES"] == "a copy of config.NAMES, which is not there now or is of another type"


@pytest.mark.skipif(not layout.CHANGES_COUNT, reason="this Python does not count changes of dictionaries")
def test_what_an_installed_module_has_anew_under_an_old_name_is_that_again(others, tmp_path):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("import importlib, package\nbox = [package.DEFAULTS]", scope)
    blobs = FolderBlobs(tmp_path / "store")
    capture(scope, blobs=blobs)
    exec("package.DEFAULTS = {'set': 'anew'}\nbox = [package.DEFAULTS]\nimportlib.reload(package)", scope)
    exec("box.append(package.DEFAULTS)", scope)
    digest = capture(scope, blobs=blobs).store(blobs)
    check = "box[0] == {'set': 'anew'} and box[1] is package.DEFAULTS"
    assert _back(tmp_path / "store", digest, others, check)[0] is True


def test_who_looked_at_the_modules_before_another_thread_does_not_have_the_last_word(monkeypatch):
    kept, late, go = ["kept"], threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "early", a_module("early", {"one": []}))

    def waits(kind):
        if not late.is_set():
            late.set()
            go.wait(1)
        return True

    other = threading.Thread(target=asking({}, waits).places)
    other.start()
    assert late.wait(60)
    monkeypatch.setitem(sys.modules, "newer", a_module("newer", {"kept": kept}))

    asking({}, lambda kind: True).places()

    def matters(kind):
        go.set()
        other.join(60)
        return True

    found = owned.placed(["kept"], asking({"kept": kept}, matters))
    assert found[id(kept)].places == (("newer", "kept"),)


def asking(namespace, matters):
    modules = Modules(namespace)
    modules.matters = matters
    return modules


def a_module(name, held):
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, None, origin="-packages"))
    vars(module).update(held, __file__=f"/site-packages/{name}.py")
    return module


class SaysModule:
    """As cffi's libraries are, which lie beside the modules (`argon2`, `nacl`)."""

    __class__ = types.ModuleType  # type: ignore[assignment]


@pytest.mark.parametrize("other", [SaysModule(), None, 5])
def test_what_is_no_module_may_lie_among_them(tmp_path, monkeypatch, other):
    monkeypatch.setitem(sys.modules, "zz_no_module", other)
    blobs, into = FolderBlobs(tmp_path), dict[str, Any]()
    restore(capture({"x": [1]}, blobs=blobs), blobs, into=into)
    assert into == {"x": [1]}
