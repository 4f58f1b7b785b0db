"""What takes long to restore comes while the person works: a cell waits for what it names, nobody misses a variable.

The store gives megabytes only while a file, the gate, is not there, so that each moment lasts as long as a test wants.
"""

import base64
import os
import secrets
import signal
import threading
import time

import pytest

from dure.adapters.blob_key import BlobKey
from dure.adapters.blobs import FolderBlobStores
from dure.hub.spawner import STARTUP
from tests.api.plane import Plane, served, until
from tests.notebook.desk import WARM, Desk, pid_of, settled, told

MAKE = """
import collections, operator
import numpy as np
big = np.random.default_rng(0).random(2_000_000); half = big[5:]
rows = list(range(3_000_000))
lazy = collections.defaultdict(lambda: big.sum())
def total(): return float(big.sum())
small = 41
"""
GATED = (
    WARM
    + """
def _gated(plain, gate):
    import os, time
    def get_into(self, digest, memory):
        size = plain(self, digest, memory)
        while size > 1_000_000 and os.path.exists(gate):
            time.sleep(0.01)
        return size
    return get_into
import dure.state.store.blobs as _blobs
_blobs.FolderBlobs.get_into = _gated(_blobs.FolderBlobs.get_into, {gate!r}); del _gated, _blobs
"""
)


@pytest.fixture
def desk(tmp_path):
    key_file = tmp_path / "blob.key"
    key_file.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    key_file.chmod(0o600)
    (tmp_path / "plane").mkdir()
    plane = Plane(
        tmp_path / "plane", executing=False, blobs=FolderBlobStores(tmp_path / "blobs", key=BlobKey.read(key_file))
    )
    with served(plane.app) as server:
        desk = Desk(server, plane, tmp_path / "home")
        yield desk
        for kernel in desk.kernels:
            kernel.kill()
    plane.close()


def made_and_crashed(desk):
    kernel = desk.open()
    assert kernel.run(MAKE).ok
    desk.crash(kernel)


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


@pytest.fixture
def again(desk, gate):
    """A kernel that was opened again, and still lacks `big`, `half`, `rows`."""
    made_and_crashed(desk)
    gate.touch()
    return desk.open(before=GATED.format(gate=str(gate)))


def opened_in(gate, seconds):
    timer = threading.Timer(seconds, gate.unlink)
    timer.start()
    return timer


def test_what_a_module_draws_that_is_imported_aside_is_not_missing_in_random_numbers(desk, gate):
    desk.home.joinpath("drawing.py").write_text("import random\nTAG = random.random()\nclass Thing: pass")
    kernel = desk.open()
    kernel.run("import random, drawing, numpy as np\nthing = drawing.Thing()\ndel drawing")
    kernel.run("thing.values = np.random.default_rng(0).random(2_000_000)\nrandom.seed(7)")
    expected = kernel.value("[(drawn := random.Random(7)).random(), drawn.random()]")
    desk.crash(kernel)
    gate.touch()
    again = desk.open(before=GATED.format(gate=str(gate)))
    first = again.value("random.random()")
    gate.unlink()
    assert again.value("thing.values.size") == "2000000"
    assert again.value("'drawing' in __import__('sys').modules") == "True"
    assert f"[{first}, {again.value('random.random()')}]" == expected


def test_a_cell_runs_at_once_and_waits_only_for_what_it_names(again, gate):
    line = told(again.loaded)
    assert "Restored 9 variables of train.ipynb" in line
    assert "Still being read: big, half, rows" in line
    assert again.value("small + 1") == "42"
    cell = again.start("float(half[0]) == float(big[5]), np.shares_memory(big, half)")
    cell.until(lambda shown: "Reading big" in told(shown), "the line of progress")
    gate.unlink()
    shown = cell.wait()
    assert shown.result == "(True, True)", shown.traceback
    assert "Waited" in told(shown)
    assert "until big" in told(shown)
    assert again.value("len(rows), rows[7]") == "(3000000, 7)"


def test_completion_shows_what_is_still_to_come(again, gate):
    client = again.client
    try:
        for text, name in (("bi", "big"), ("1 + ro", "rows")):
            asked = client.complete(text)
            while (reply := client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != asked:
                pass
            assert name in reply["content"]["matches"]
        assert "Reading" not in told(again.run("small"))  # it asked for nothing
    finally:
        gate.unlink()


@pytest.mark.parametrize(
    "code",
    [
        "total() > 0",
        "bool(lazy['x'] > 0)",
        "len(globals()['big']) > 0",
        "all(name in globals() for name in ('big', 'half', 'rows'))",
        "'rows' in get_ipython().user_ns",
        "'big' in dir()",
        "eval('bi' + 'g').size > 0",
        "import __main__; __main__.rows is rows",
        "%who_ls ndarray",
        "import sys; len(vars(sys.modules['__main__'])['rows']) > 0",
        "(lambda: big)().size > 0",
        "get_ipython().ev('half').size > 0",
        "import pandas as pd; bool(pd.DataFrame({'a': [1]}).query('a < @big.size').size)",
    ],
)
def test_nobody_sees_a_notebook_that_lacks_a_variable(desk, gate, code):
    made_and_crashed(desk)
    gate.touch()
    again = desk.open(before=GATED.format(gate=str(gate)))
    assert "Still being read" in told(again.loaded)
    timer = opened_in(gate, 1.0)
    assert again.value(code) in ("True", "['big', 'half']")
    timer.join()


def test_a_save_meanwhile_keeps_what_is_not_loaded_and_so_does_kill_nine(desk, again, gate):
    version = settled(desk)
    again.run("more = [small]; del small")
    until(lambda: desk.saved() > version)
    os.kill(pid_of(again), signal.SIGKILL)  # with all of it still on its way
    third = desk.open(before=GATED.format(gate=str(gate)))
    assert "Still being read: big, half, rows" in told(third.loaded)
    os.kill(pid_of(third), signal.SIGKILL)
    gate.unlink()
    last = desk.open()
    assert last.value("more, 'small' in globals(), half[0] == big[5], len(rows), total() == lazy[0]") == (
        "([41], False, np.True_, 3000000, np.True_)"
    )


def test_what_a_cell_binds_or_deletes_first_is_as_the_cell_says(desk, again, gate):
    again.run("rows = 5")
    assert again.value("rows") == "5", "no cell waits for a value that is not wanted any more"
    again.run("del rows")
    timer = opened_in(gate, 1.0)
    assert again.run("del big").ok
    timer.join()
    until(lambda: "ok" if again.value("lazy is not None and small") == "41" else "")
    assert again.value("sorted({'big', 'half', 'rows'} & set(globals()))") == "['half']"
    settled(desk)
    desk.crash(again)
    assert desk.open().value("sorted({'big', 'half', 'rows', 'lazy'} & set(globals()))") == "['half', 'lazy']"


def test_interrupting_the_wait_gives_up_the_cell_and_nothing_else(again, gate):
    cell = again.start("ran = True; big.size")
    cell.until(lambda shown: "Reading big" in told(shown), "the line of progress")
    again.interrupt()
    shown = cell.wait()
    assert shown.error is not None
    assert shown.error["ename"] == "KeyboardInterrupt"
    gate.unlink()
    assert again.value("big.size, 'ran' in globals()") == "(2000000, False)"


def test_what_the_store_does_not_give_is_named_kept_and_tried_again(desk, gate, tmp_path):
    made_and_crashed(desk)
    files = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.stat().st_size > 4_000_000]
    kept = {path: path.read_bytes() for path in files}
    for path in files:
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    again = desk.open()
    shown = again.run("big.size")
    assert shown.error is not None
    assert "Not restored: big" in told(again.loaded) + told(shown) + told(again.run("small"))
    version = settled(desk)
    again.run("small = 43")
    until(lambda: desk.saved() > version)
    for path, content in kept.items():
        path.write_bytes(content)
    assert again.value("big.size, half.size, small") == "(2000000, 1999995, 43)", "it is tried again for who names it"
    assert "Not restored" not in told(again.run("%session"))
    os.kill(pid_of(again), signal.SIGKILL)
    assert desk.open().value("big.size, small") == "(2000000, 43)", "the save in between did not lose it"


def test_the_same_where_the_extension_is_loaded_at_the_start(desk, gate):
    made_and_crashed(desk)
    gate.touch()
    again = desk.open(before=GATED.format(gate=str(gate)), PYTHONSTARTUP=str(STARTUP))
    assert "Still being read" in told(again.loaded)
    assert again.value("small") == "41"
    gate.unlink()
    time.sleep(0.1)
    assert again.value("len(rows)") == "3000000"


@pytest.mark.parametrize("wrong", [BlobKey(bytes(32)), BlobKey()], ids=["another key", "none"])
def test_under_another_blob_key_the_opening_says_so_and_nothing_is_saved_over_what_it_opens(desk, monkeypatch, wrong):
    kernel = desk.open()
    kernel.run("x = 41; y = 1")
    number = settled(desk)
    desk.crash(kernel)
    with monkeypatch.context() as changed:
        changed.setattr(desk.plane.ports.blobs, "_key", wrong)
        kernel = desk.open(
            before=f"{WARM}\nfrom dure.notebook.sessions import session\nsession._ASK_AGAIN_S = 0.5; del session"
        )
        shown = [told(kernel.loaded), *(told(kernel.run(cell)) for cell in ("y = 2", "pass"))]
        assert [line for line in shown if line] == [shown[0]], "said once"
        assert shown[0].startswith("train.ipynb is neither restored nor saved: the platform was started with another")
        assert "put that key back" in kernel.run("%session save").traceback
        new = desk.open("new.ipynb")  # what it saved would not open when the key is back, and be collected
        assert told(new.loaded).startswith("new.ipynb is neither restored nor saved")
        assert new.run("z = 3").ok
        again = desk.open()
        assert again.run("y = 2").ok
        assert desk.saved() == number
    assert not desk.saved("new.ipynb")
    again = desk.open()
    assert again.value("x, y") == "(41, 1)"


def test_under_an_accepted_new_key_what_is_not_opened_is_not_saved_over_and_another_name_begins(desk, tmp_path):
    kernel = desk.open()
    kernel.run("x = 41")
    number = settled(desk)
    desk.crash(kernel)
    for path in (tmp_path / "blobs").rglob("*"):
        if len(path.name) == 64:
            path.write_bytes(b"lost" + path.read_bytes()[4:])
    kernel = desk.open()
    assert told(kernel.loaded).startswith("What train.ipynb held cannot be opened, so it is neither restored nor saved")
    assert kernel.run("%session on other.ipynb").ok
    assert kernel.run("z = 3").ok
    assert settled(desk, "other.ipynb")
    assert desk.saved() == number


def test_a_damaged_newest_version_gives_way_to_the_one_before_and_is_kept(desk, tmp_path):
    kernel = desk.open()
    kernel.run("x = [1]")
    settled(desk)
    kernel.run("x.append(2)")
    number = settled(desk)
    kernel.run("y = 1")
    last = settled(desk)
    desk.crash(kernel)
    session = desk.plane.store.sessions.find("alice", "vision", "train.ipynb")
    versions = {each.number: each for each in desk.plane.store.sessions.versions([session.id])}
    seal = desk.plane.ports.blobs._key.seal("vision")
    [path] = tmp_path.rglob(seal.name(versions[last].document))
    path.write_bytes(b"{}")
    again = desk.open()
    line = told(again.loaded)
    assert line.startswith("Restored 1 variable of train.ipynb as of"), line
    assert f"(version {number}, " in line
    assert f"Version {last} cannot be read" in line
    assert "what the cells after cell 3 did is missing: run them again" in line
    assert again.value("x, 'y' in globals()") == "([1, 2], False)"
    assert again.run("x.append(3)").ok
    settled(desk)
    kept = {each.number: each.document for each in desk.plane.store.sessions.versions([session.id])}
    assert kept[last] == versions[last].document
    assert max(kept) > last
    assert again.run("%session undo").ok
    assert again.value("x") == "[1, 2]"
    desk.crash(again)
    assert "cannot be read" not in told(desk.open().loaded)
