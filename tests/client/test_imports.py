"""What the user's side imports leaves no trace in the process of a person."""

import subprocess
import sys

SEED = """
import random
random.seed(7)
before = random.getstate()
import dure.client.client, dure.client.streams, dure.notebook.cell, dure.notebook.sessions.opening
import dure.state.capturing, dure.state.restoring
assert random.getstate() == before, "a seed that was set before does not hold"
import httpx._main
"""


def test_imports_draw_no_random_numbers():
    subprocess.run([sys.executable, "-c", SEED], check=True, timeout=60)
