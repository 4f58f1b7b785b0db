"""Runs Starburst's own simulator over tasks, once per waiting policy, and prints completion, cloud and CPU time.

`python starburst.py FOLDER NODES POLICY:FACTOR:ERROR:SEED … < tasks.json`: FOLDER is its repository, fetched apart and
never kept here; it needs numpy, pandas, tabulate and tqdm. Queue in order of submission without a blocking head
(`loop`), first fit, as its defaults are; times are in hours. The trap: its own totals leave out what happens at the
edges, so completion and cloud GPU-hours are added up from its jobs.
"""

import contextlib
import io
import json
import sys
import time

folder, nodes, *asked = sys.argv[1:]
sys.path.insert(0, folder)
import numpy as np  # noqa: E402 - the peer's modules lie in its own folder
from skyburst import Job, run_simulator  # type: ignore[import-not-found]  # noqa: E402

tasks = json.load(sys.stdin)
for words in asked:
    policy, factor, error, seed = words.split(":")
    jobs = [
        Job(i, arrival=at / 3600, runtime=run_s / 3600, resources={"GPUs": gpus, "CPUs": 0}, cost=run_s / 3600 * gpus)
        for i, (at, run_s, gpus) in enumerate(tasks)
    ]
    np.random.seed(int(seed))  # noqa: NPY002 - the peer draws from the global generator
    settings = {
        "cluster_size": int(nodes), "waiting_policy": policy, "waiting_factor": float(factor), "loop": True,
        "warmup_jobs": 0, "time_estimator_error": float(error), "jobgen_spec": {},
    }  # fmt: skip
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found = run_simulator(jobs, settings)
    took_s = time.process_time() - began
    completion_s = float(np.mean(found["start"] + found["runtime"] - found["arrival"])) * 3600
    cloud = float(np.sum((found["runtime"] * found["num_gpus"])[found["state"] == "TIMEOUT-CLOUD"]))
    print(json.dumps({"completion_s": completion_s, "cloud_gpu_hours": cloud, "cpu_s": took_s}), flush=True)
