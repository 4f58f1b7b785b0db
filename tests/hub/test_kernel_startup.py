"""What every kernel of a workspace runs first: loads `%%gpu`, and never keeps a kernel from starting."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dure.hub.spawner import STARTUP

EXTENSION = """
def load_ipython_extension(shell):
    {body}
"""


@pytest.fixture
def fake(tmp_path):
    """A package named dure with a given extension, found before the real one."""

    def make(body):
        (tmp_path / "lib" / "dure").mkdir(parents=True)
        (tmp_path / "lib" / "dure" / "__init__.py").write_text(EXTENSION.format(body=body))
        return {"PYTHONPATH": str(tmp_path / "lib")}

    return make


@pytest.fixture
def run(tmp_path):
    """Runs cells in a fresh kernel of a person with their own home; gives back [stdout, stderr] of each."""

    def make(environment, *cells):
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        own = {"HOME": str(home), "IPYTHONDIR": str(home / ".ipython"), "PYTHONSTARTUP": str(STARTUP)}
        argv = [sys.executable, str(Path(__file__).with_name("one_kernel.py")), json.dumps(cells)]
        done = subprocess.run(
            argv, env=os.environ | own | environment, cwd=home, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    return make


def test_the_extension_is_loaded_and_nothing_is_left_in_the_namespace(run, fake):
    environment = fake("shell.register_magic_function(lambda line: print('magic'), 'line', 'gpu')")
    results = run(environment, "%gpu", "print([n for n in dir() if 'dure' in n])")
    assert results == [["magic", ""], ["[]", ""]]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('no such server')", "RuntimeError: no such server"),
        ("import missing_part", "ModuleNotFoundError: No module named 'missing_part'"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
    ],
)
def test_a_failing_extension_says_so_in_one_line_once_and_the_kernel_works(run, fake, body, reason):
    expected = f"%%gpu is not available in this kernel ({reason}). To try again: %load_ext dure"
    assert run(fake(body), "print(1 + 1)", "print(2 + 2)") == [["2", expected], ["4", ""]]


def test_the_persons_own_ipython_configuration_still_counts(run, fake, tmp_path):
    profile = tmp_path / "home" / ".ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "mine.py").write_text("mine = 41")
    (profile / "ipython_config.py").write_text("c.InteractiveShellApp.exec_lines = ['mine += 1']")
    assert run(fake("pass"), "print(mine)") == [["42", ""]]


def test_a_plain_python_in_a_terminal_starts_as_ever():
    shell = subprocess.run(
        [sys.executable, "-i", "-c", ""],
        input="print([n for n in dir() if 'dure' in n])\n",
        env=os.environ | {"PYTHONSTARTUP": str(STARTUP)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "[]" in shell.stdout
    assert "Error" not in shell.stderr
