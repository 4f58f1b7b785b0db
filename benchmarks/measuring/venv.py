"""The peers' own virtual environment, `.bench-venv`: what `pip install dure[bench]` names, kept out of ours.

The trap: peers share numpy, pandas and IPython with us in the versions that we run, or the comparison is of those.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".bench-venv"
PEERS = ROOT / "benchmarks" / "peers"
SAME = ("ipykernel", "ipython", "jupyter_client", "numpy", "pandas", "pyzmq", "tornado")


@cache
def python() -> str | None:
    """Return the Python that has the peers, making its environment first; None, with a note, when that fails."""
    found = FOLDER / "bin" / "python"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["bench"]
    mark = FOLDER / "installed.txt"
    content = "\n".join([*wanted, *(f"{name}=={version(name)}" for name in SAME)])
    if mark.is_file() and mark.read_text() == content:
        return str(found)
    print(f"Installing what the benchmarks compare with into {FOLDER.name}: this takes a minute or two …", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True, capture_output=True)
        subprocess.run([str(found), "-m", "pip", "install", "-qq", *content.splitlines()], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"NOTE: the peers could not be installed ({error}); their rows are missing below.", flush=True)
        return None
    mark.write_text(content)
    return str(found)


def versions(*packages: str) -> str:
    """Return the peers' versions as one text."""
    code = "import sys; from importlib.metadata import version; print(*(f'{n} {version(n)}' for n in sys.argv[1:]))"
    done = subprocess.run([str(python()), "-c", code, *packages], capture_output=True, text=True, check=True)
    return done.stdout.strip()
