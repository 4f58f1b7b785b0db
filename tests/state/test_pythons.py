"""Snapshots cross patch versions of Python whole, and minor versions as far as pickles do: the rest is named.

Other Pythons are found on PATH, among pyenv's and in DURE_TEST_PYTHONS (colon-separated); those count that have what
`dure.state` needs.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dure.state import FolderBlobs, Snapshot, capture, restore

SOURCE = str(Path(__file__).parents[2] / "src")
CELL = """
import collections, datetime, decimal
import numpy as np
base = 3
def add(x): return x + base
class Point:
    def __init__(self, x): self.x = x
    def double(self): return self.x * 2
point = Point(4)
data = {'a': [1, 2.5, 'three', None], 'when': datetime.datetime(2026, 1, 2), 'd': decimal.Decimal('1.10')}
also = data['a']
counts = collections.Counter('hello')
array = np.arange(400_000.0)
half = array[:1000]
"""
DATA = {"base", "data", "also", "counts", "array", "half", "collections", "datetime", "decimal", "np"}
SAVE = """
import sys
import types
from dure.state import FolderBlobs, capture
scope = {'__name__': '__main__'}
exec(sys.argv[2], scope)
blobs = FolderBlobs(sys.argv[1])
print(capture(scope, blobs=blobs).store(blobs))
"""
LOAD = """
import json, sys
from dure.state import FolderBlobs, Snapshot, restore
blobs = FolderBlobs(sys.argv[1])
scope = {'__name__': '__main__', '__builtins__': __builtins__}
report = restore(Snapshot.load(sys.argv[2], blobs), blobs, into=scope)
kept = ("scope['also'] is scope['data']['a'] and scope['data']['a'][2] == 'three' and scope['counts']['l'] == 2 "
        "and scope['array'].sum() == 79999800000.0 and (scope['array'].__setitem__(0, 7) or scope['half'][0] == 7)")
print(json.dumps({'restored': report.restored, 'failed': report.failed, 'kept': bool(eval(kept))}))
"""


@functools.cache
def others():
    """The Pythons of other minor versions that can read snapshots, by version."""
    homes = Path.home() / ".pyenv" / "versions"
    candidates = [*os.environ.get("DURE_TEST_PYTHONS", "").split(":"), *map(str, sorted(homes.glob("3.*/bin/python")))]
    candidates += [shutil.which(f"python3.{minor}") or "" for minor in range(11, 16)]
    found: dict[str, str] = {}
    for python in filter(None, candidates):
        code = "import sys, blake3, cloudpickle, numpy, zstandard; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        version = done.stdout.strip()
        if done.returncode == 0 and version != "{}.{}".format(*sys.version_info) and version >= "3.11":
            found.setdefault(version, python)
    return found


def run(python, code, *arguments):
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_data_crosses_minor_versions_and_code_is_named(tmp_path):
    if not others():
        pytest.skip("no other Python here has blake3, cloudpickle, numpy and zstandard: name one in DURE_TEST_PYTHONS")
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(CELL, scope)
    blobs = FolderBlobs(tmp_path)
    digest = capture(scope, blobs=blobs).store(blobs)
    for version, python in others().items():
        said = json.loads(run(python, LOAD, str(tmp_path), digest))
        assert set(said["restored"]) == DATA, version
        assert set(said["failed"]) == {"add", "Point", "point"}, version
        for reason in said["failed"].values():
            assert "use an environment with the same Python minor version" in reason
        assert said["kept"]
        there = run(python, SAVE, str(tmp_path), CELL)
        back: dict[str, Any] = {"__name__": "__main__"}
        report = restore(Snapshot.load(there, blobs), blobs, into=back)
        assert set(report.restored) == DATA
        assert set(report.failed) == {"add", "Point", "point"}
        assert np.shares_memory(back["array"], back["half"])


def test_another_patch_version_of_python_is_no_obstacle(tmp_path):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(CELL, scope)
    blobs = FolderBlobs(tmp_path)
    document = json.loads(capture(scope, blobs=blobs).to_json())
    document["fingerprint"]["python"] = "{}.{}.999".format(*sys.version_info)
    back: dict[str, Any] = {"__name__": "__main__"}
    assert restore(Snapshot.from_json(json.dumps(document).encode()), blobs, into=back).failed == {}
    assert back["add"](1) == 4
    assert back["point"].double() == 8


def test_what_fails_under_another_version_of_its_package_says_so(tmp_path):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("import numpy as np\nimport types\nvalue = np.float64(2)", scope)
    blobs = FolderBlobs(tmp_path)
    snapshot = capture(scope, ["value"], blobs=blobs)
    document = json.loads(snapshot.to_json())
    document["fingerprint"]["packages"]["numpy"] = "0.9.1"
    stream = document["groups"][0]["stream"]
    stream["digest"] = "0" * 64
    report = restore(Snapshot.from_json(json.dumps(document).encode()), blobs)
    assert f"(saved with numpy 0.9.1, here is {np.__version__}: " in report.failed["value"]


def test_a_module_that_its_package_no_longer_has_is_no_package_to_install(tmp_path):
    scope: dict[str, Any] = {"__name__": "__main__"}
    blobs = FolderBlobs(tmp_path)
    gone = types.ModuleType("numpy.gone")
    gone.Gone = type("Gone", (), {"__module__": "numpy.gone"})  # type: ignore[attr-defined]
    sys.modules["numpy.gone"] = gone
    try:
        scope["value"] = gone.Gone()
        snapshot = capture(scope, blobs=blobs)
    finally:
        del sys.modules["numpy.gone"]
    failed = restore(snapshot, blobs).failed["value"]
    assert failed.startswith("it needs the module numpy.gone, which the package of that name here does not have")
