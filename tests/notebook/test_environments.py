"""A session that is opened again in another environment: what is compatible comes back, the rest is named.

The environments are virtual environments with numpy, pandas, ipykernel and what `dure` needs, most with PyTorch; their
Pythons are named in DURE_TEST_ENVIRONMENTS, separated by colons. What differs between them is up to who makes them:
versions of PyTorch, majors of numpy and pandas, a Python minor, no PyTorch or no pyarrow at all.
"""

import itertools
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.notebook.desk import another_desk, desk, pid_of, plane, server, settled, told

__all__ = ["another_desk", "desk", "plane", "server"]

SOURCE = str(Path(__file__).parents[2] / "src")
PYTHONS = [python for python in os.environ.get("DURE_TEST_ENVIRONMENTS", "").split(":") if python]
ABOUT = """
import importlib.metadata, json, sys
found = {"python": "%d.%d" % sys.version_info[:2]}
for name in ("numpy", "pandas", "pyarrow", "torch"):
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = ""
print(json.dumps(found))
"""
DATA = """
import datetime
import numpy as np, pandas as pd
array = np.arange(1000); half = array[500:]; record = np.zeros(2, dtype=[('a', 'i4'), ('b', 'f8')])
rng = np.random.default_rng(4)
frame = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']}, index=pd.date_range('2026-01-01', periods=2))
numbers = pd.DataFrame({'a': [1, 2]}); column = numbers['a']
plain = {'when': datetime.date(2026, 1, 1)}; also = plain
def doubled(x): return x * 2
class Config:
    rate = 0.1
config = Config()
"""
TORCH = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
optimizer = torch.optim.Adam(model.parameters())
weights = torch.arange(6.).reshape(2, 3); row = weights[1]; small = torch.ones(3, dtype=torch.bfloat16)
generator = torch.Generator()
"""
ALL = {"array", "half", "record", "rng", "frame", "numbers", "column", "plain", "also", "doubled", "Config", "config"}
OF_TORCH = {"model", "optimizer", "weights", "row", "small", "generator"}


def about(python):
    done = subprocess.run([python, "-c", ABOUT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(len(PYTHONS) < 2, reason="DURE_TEST_ENVIRONMENTS names no two environments with PyTorch")
@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(PYTHONS, 2)))
def test_what_is_compatible_comes_back_and_the_rest_is_named(desk, before, after):
    old, new = about(before), about(after)
    kernel = desk.open(python=before, PYTHONPATH=SOURCE)
    assert kernel.run(DATA + (TORCH if old["torch"] else "")).ok
    settled(desk)
    os.kill(pid_of(kernel), signal.SIGKILL)
    again = desk.open(python=after, PYTHONPATH=SOURCE)
    line = told(again.loaded)
    have = set(json.loads((again.value("__import__('json').dumps(list(globals()))") or "")[1:-1]))
    lost = line.partition("Not restored: ")[2].partition("`%session rerun`")[0]
    expected = ALL | (OF_TORCH if old["torch"] else set())
    assert expected <= have | set(re.findall(r"\w+", lost)), line
    assert not expected & have & set(re.findall(r"(\w+)(?=[,\w ]* \(cell)", lost)), line
    assert {"array", "half", "record", "plain", "also"} <= have, line
    assert again.value("int(array.sum()), np.shares_memory(array, half), also is plain") == "(499500, True, True)"
    if old["pandas"] >= "3" and old["pyarrow"] and not new["pyarrow"]:  # its column names are Arrow's then
        assert "frame, numbers (cell 2: it needs the package pyarrow, which is not installed here" in line
    elif new["pandas"] >= old["pandas"]:  # what pandas 3 makes of column names, pandas 2 does not know
        assert again.value("int(column.sum()), column.tolist(), list(frame.b)") == "(3, [1, 2], ['x', 'y'])"
    for package in ("numpy", "pandas", "torch"):
        if old[package] and old[package] != new[package]:
            assert f"{package} {old[package]} → {new[package] or '–'}" in line
    if old["python"] == new["python"]:
        assert again.value("doubled(4), config.rate") == "(8, 0.1)"
    if old["torch"] and new["torch"]:
        assert again.value("float(weights.sum()), row[0].item(), model(torch.ones(4)).shape[0]") == "(15.0, 3.0, 2)"
        assert again.value("optimizer.param_groups[0]['params'][0] is model[0].weight") == "True"
        assert again.value("row.data_ptr() == weights[1].data_ptr()") == "True"
    elif old["torch"]:
        assert "needs the package torch, which is not installed here" in line
        assert "in the former one" in line
    if "in the former one" in line:
        again.run("anew = 1")
        settled(desk)
        os.kill(pid_of(again), signal.SIGKILL)
        back = desk.open(python=before, PYTHONPATH=SOURCE)
        assert back.value("doubled(4), anew") == "(8, 1)"
        command = re.search(r"(%session restore @\d+ [^`]+)`", told(back.loaded))
        if command:  # what newer packages loaded and saved again, older ones cannot read
            assert "Not restored" not in told(back.run(command[1]))
        assert back.value("ALL <= set(globals())".replace("ALL", repr(ALL))) == "True"
