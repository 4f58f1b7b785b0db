"""What is on another object's memory reads as it was when it has come back, and only what is on it is saved with it."""

import ctypes
import importlib.util
import json
import subprocess
import sys

import numpy as np

from dure.state import FolderBlobs, capture, restore
from tests.state.matrix_memory import MEMORY_ROWS

ROWS = [row for row in MEMORY_ROWS if row.check and (not row.needs or importlib.util.find_spec(row.needs) is not None)]


RESTORE = """
import json, sys
from dure.state import FolderBlobs, Snapshot, changed, restore
blobs = FolderBlobs(sys.argv[1])
for kind, digest in json.load(sys.stdin):
    base, back = Snapshot.load(digest, blobs), {'__name__': '__main__'}
    failed = restore(base, blobs, into=back).failed
    print(json.dumps([kind, failed, changed(back, base, blobs=blobs).changed]))
"""


def test_nothing_reads_as_changed_when_it_has_come_back(tmp_path):
    blobs = FolderBlobs(tmp_path)
    asked = []
    for row in ROWS:
        scope = {"__name__": "__main__"}
        exec(row.source, scope)
        asked.append((row.kind, capture(scope, blobs=blobs).store(blobs)))
    done = subprocess.run(
        [sys.executable, "-c", RESTORE, str(tmp_path)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [[row.kind, {}, []] for row in ROWS]


def test_an_owner_is_saved_with_what_is_on_its_memory_and_with_nothing_else(tmp_path):
    blobs = FolderBlobs(tmp_path)
    owner, other = bytearray(80), bytearray(80)
    scope = {"owner": owner, "other": other, "value": (ctypes.c_double * 3).from_buffer(owner, 8), "array": np.zeros(9)}
    snapshot = capture(scope, blobs=blobs)
    assert sorted(sorted(group.names) for group in snapshot.groups) == [["array"], ["other"], ["owner", "value"]]
    back: dict = {}
    assert restore(snapshot, blobs, into=back).failed == {}
    back["value"][0] = 5.0
    assert back["owner"][8:16] != bytes(8)


def test_what_has_no_bytes_owns_none_and_is_no_hindrance(tmp_path):
    blobs = FolderBlobs(tmp_path)
    owner = np.zeros(10)
    on_it = np.ctypeslib.as_array((ctypes.c_double * 3).from_address(owner.ctypes.data + 8))
    scope = {"empty": np.zeros(0), "none": np.zeros((3, 0)), "owner": owner, "on_it": on_it, "nothing": bytearray()}
    back: dict = {}
    assert restore(capture(scope, blobs=blobs), blobs, into=back).failed == {}
    back["on_it"][0] = 5.0
    assert back["owner"][1] == 5.0
