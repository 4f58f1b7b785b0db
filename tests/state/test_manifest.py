"""A manifest is read without trust and without pickle; identity and inspection say what they find."""

import importlib
import json
import subprocess
import sys
import tempfile
import xml
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dure import state
from dure.state import (
    FolderBlobs,
    ManifestError,
    Snapshot,
    capture,
    describe,
    diff,
    fingerprint,
    verify,
)
from dure.state.identity import fingerprint_problems
from dure.state.inspection import diff_text
from dure.state.objects.loading import module_now


def _manifest(**parts):
    whole: dict[str, Any] = {"groups": [], "variables": {}, "unsaved": {}, "absent": [], "fingerprint": {}}
    return json.dumps({"format": "dure.snapshot", "version": 1, **whole, **parts}).encode()


@pytest.fixture
def blobs(tmp_path):
    return FolderBlobs(tmp_path)


def test_pickles_that_name_our_modules_in_one_folder_are_read():
    below = {path.stem: path for path in Path(state.__path__[0]).glob("*/*.py") if path.stem != "__init__"}
    assert len(below) > 40
    for name in below:
        assert importlib.import_module(module_now(f"dure.state.{name}")).__name__.startswith("dure.state.")
    assert module_now("dure.state.manifest") == "dure.state.manifest"


def test_the_server_reads_manifests_with_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import dure.state.manifest; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names), "
        "'pickle' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['dure'] False"


def test_a_star_import_brings_every_public_name():
    namespace: dict[str, Any] = {}
    exec("from dure.state import *", namespace)
    assert {"freeze", "capture", "restore", "Snapshot", "open_blobs"} <= namespace.keys()


def test_a_manifest_comes_back_equal(blobs):
    snapshot = capture({"x": 1, "big": np.zeros(100_000), "g": iter([])}, ["x", "big", "g", "y"], blobs=blobs)
    again = Snapshot.load(snapshot.store(blobs), blobs)
    assert again == snapshot
    assert again.digest == snapshot.digest
    assert again.absent == ("y",)


def test_references_are_all_that_a_restore_reads(blobs):
    snapshot = capture({"big": np.zeros(1_000_000), "text": "x" * 100_000}, blobs=blobs)
    on_disk = {path.name for path in (blobs.root / "blobs").rglob("*") if path.is_file()}
    assert snapshot.references() == on_disk


def test_the_largest_runs_are_told_by_their_first_blob_and_all_their_bytes(blobs):
    big = np.arange(2_000_000)
    values = {"big": big, "middle": np.arange(100_000.0), "small": np.arange(50_000), "a": 1}
    snapshot = capture(values, blobs=blobs)
    largest = snapshot.largest(2)
    assert list(largest.values()) == [16_000_000, 800_000]
    assert largest.keys() <= snapshot.references()
    big[-1] = 7
    assert list(capture(values, blobs=blobs).largest(1)) == list(largest)[:1], "changed at its end it is the same array"
    assert capture({"a": 1}, blobs=blobs).largest(16) == {}


def test_a_small_cell_writes_one_blob(blobs):
    capture({"a": 1, "b": "two", "c": [3.0]}, blobs=blobs).store(blobs)
    assert len([path for path in (blobs.root / "blobs").rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"format":"dure.snapshot","version":2}',
        b'{"format":"dure.snapshot","version":1}',
        _manifest(groups=[{"names": {"x": 0}, "stream": {"size": 1, "digest": "d", "chunks": ["../../x"]}}]),
        _manifest(variables={"x": ["int", 1, 0]}),
        b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_manifest_are_refused_in_one_sentence(data):
    with pytest.raises(ManifestError):
        Snapshot.from_json(data)


def test_what_was_damaged_in_a_manifest_is_found(blobs):
    from dure.state import restore

    document = json.loads(capture({"x": [1, 2]}, blobs=blobs).to_json())
    document["groups"][0]["stream"]["inline"] = "gAWVBQAAAAAAAABLAoWULg=="
    snapshot = Snapshot.from_json(json.dumps(document).encode())
    assert verify(snapshot, blobs) == ["x: the part in the manifest is damaged."]
    assert "damaged" in restore(snapshot, blobs, into={}).failed["x"]


def test_verify_names_what_is_missing(blobs):
    snapshot = capture({"big": np.random.default_rng(1).random(100_000)}, blobs=blobs)  # it does not compress
    assert verify(snapshot, blobs) == []
    blobs.path(next(iter(snapshot.references()))).unlink()
    assert verify(snapshot, blobs)[0].startswith("big: Blob")


def test_diff_and_describe(blobs):
    shared = [1]
    before = capture({"a": 1, "b": shared, "c": shared, "gone": 1}, blobs=blobs)
    shared.append(2)
    after = capture({"a": 1, "b": shared, "c": shared, "new": 1}, blobs=blobs)
    found = diff(before, after)
    assert (found.added, found.removed, found.changed) == (("new",), ("gone",), ("b", "c"))
    assert "4 variables in 3 groups" in describe(after)


def test_what_differs_is_told_shortly(blobs):
    before = capture({"a": 1, "b": 2, "same": 3}, blobs=blobs)
    after = capture({"a": 2, "same": 3, "rows": (row for row in "ab"), "x" * 80: 4, "c": 5}, blobs=blobs)
    assert diff_text(before, after) == "a, b, c, +2"
    assert diff_text(None, before) == "a, b, same"
    assert diff_text(before, before) == ""
    assert diff_text(None, capture({"x" * 80: 4}, blobs=blobs)) == "+1"


def test_a_module_differs_only_where_it_is_another_one(tmp_path):
    blobs = FolderBlobs(tmp_path)
    scope: dict[str, Any] = {"tree": xml, "tool": json, "x": 1}
    before = capture(scope, blobs=blobs)
    importlib.import_module("xml.sax.saxutils")
    assert diff(before, capture(scope, blobs=blobs)).changed == ()
    assert diff(before, capture({**scope, "tool": tempfile}, blobs=blobs)).changed == ("tool",)
    assert diff(before, capture({**scope, "tool": 3}, blobs=blobs)).changed == ("tool",)


def test_the_same_python_fits_itself_and_another_minor_does_not():
    here = fingerprint()
    assert fingerprint_problems(here, here, ["numpy"]) == []
    other = {**here, "python": "3.99.1"}
    assert "choose an environment with Python 3." in fingerprint_problems(here, other)[0]
    without = {**here, "packages": {}}
    assert "numpy" in fingerprint_problems(here, without, ["numpy"])[0]
    assert fingerprint_problems(here, without, []) == []


def test_modules_that_a_restore_needs_are_listed(blobs):
    snapshot = capture({"array": np.zeros(3), "n": 1}, blobs=blobs)
    assert snapshot.modules == ("numpy",)
    compiled = capture(
        {"kind_of": pd.api.types.infer_dtype}, blobs=blobs
    )  # by Cython, as what makes Arrow's arrays again
    assert compiled.modules == ("pandas",)
