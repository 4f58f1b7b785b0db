"""A control plane leads at once when its predecessor in the state folder is dead, and never while it is alive."""

from __future__ import annotations

import signal
import subprocess
import sys

from dure.main.succession import Succession
from dure.sim.store import MemoryStore

HOLD = """
import sys
from pathlib import Path
from dure.main.succession import Succession
from dure.sim.store import MemoryStore
succession = Succession(Path(sys.argv[1]))
print(succession.follow("first", MemoryStore()), flush=True)
sys.stdin.read()
"""


def test_the_successor_of_a_killed_control_plane_need_not_wait(tmp_path):
    (tmp_path / "run").mkdir()
    store = MemoryStore()
    first = store.lead("first", now=0.0, ttl_s=60.0)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "True"
        assert not Succession(tmp_path).follow("second", store), "the first is alive"
        assert store.lead("second", now=1.0, ttl_s=60.0) is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    second = Succession(tmp_path)
    assert second.follow("second", store)
    taken = store.lead("second", now=1.0, ttl_s=60.0)
    assert first is not None
    assert taken is not None
    assert taken.fence == first.fence + 1
    second.close()
