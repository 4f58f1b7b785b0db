"""Runs HeliosArtifact's own FIFO or SJF (also Lucid's, which share them) over tasks and prints what became of them.

`python helios.py FOLDER fifo|sjf|srtf NODES < tasks.json`: FOLDER is `framework/QSSF Service` of its repository,
fetched apart and never kept here; it needs pandas. The trap: its estimators want more packages and are not used, so
an empty module stands for them; its log of every job is left out of the time.
"""

import json
import logging
import sys
import tempfile
import time
import types

folder, policy, nodes = sys.argv[1:4]
sys.path.insert(0, folder)
sys.modules["estimators"] = types.ModuleType("estimators")
import pandas as pd  # noqa: E402 - the peer's modules lie in its own folder
from cluster import VC  # type: ignore[import-not-found]  # noqa: E402
from job import Job, Trace  # type: ignore[import-not-found]  # noqa: E402
from policies import (  # type: ignore[import-not-found]  # noqa: E402
    FirstInFirstOut,
    ShortestJobFirst,
    ShortestRemainingTimeFirst,
)

POLICIES = {"fifo": FirstInFirstOut, "sjf": ShortestJobFirst, "srtf": ShortestRemainingTimeFirst}
trace = Trace()
for index, (submit_s, run_s, gpus) in enumerate(json.load(sys.stdin)):
    row = {
        "index": index, "vc": "all", "gpu_num": gpus, "submit_time": submit_s, "duration": run_s, "remain": run_s,
        "start_time": sys.maxsize, "end_time": sys.maxsize, "ckpt_times": 0, "queue": 0, "jct": 0, "status": None,
    }  # fmt: skip
    trace.append_job(Job(pd.Series(row)))
silent = logging.getLogger("silent")
silent.setLevel(logging.ERROR)
with tempfile.TemporaryDirectory() as log:
    simulation = POLICIES[policy](trace, VC("all", int(nodes), 8, 96), "consolidate", log, silent, 0)
    simulation.log_recorder = lambda _name: None
    began = time.process_time()
    simulation.simulate()
    took_s = time.process_time() - began
jobs = sorted(simulation.trace.job_list, key=lambda job: job["index"])
print(json.dumps({"cpu_s": took_s, "turns": [[int(job["start_time"]), int(job["end_time"])] for job in jobs]}))
