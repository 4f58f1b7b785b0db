"""Decides what a user process finds in its environment: an allow-list, what the job asks for, what Dure tells it.

Nothing of the control plane's or the hub's environment passes. The trap: user processes are forked, not started, so
the variables are replaced in place, in `os.environ`, in C's `environ` and in what /proc/PID/environ shows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dure.worker.processes import attempt_id, mark_environ
from dure.worker.spec import AttemptSpec

ALLOWED = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "HOME", "USER", "LOGNAME", "TERM"})
ALLOWED_PREFIXES = ("LC_", "SSL_CERT_")
# What libraries read while the fork server imports them; user processes do not get these.
SERVER_PREFIXES = ("PYTHON", "LD_", "OMP_", "OPENBLAS_", "MKL_", "CUDA_", "NVIDIA_", "XDG_", "COVERAGE_")
INLINE_BACKEND = "module://matplotlib_inline.backend_inline"
MPS_PIPE = "/tmp/nvidia-mps"  # noqa: S108 -- where NVIDIA's daemon listens by default


def allowed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `environ` that may pass to a user process."""
    return {name: value for name, value in environ.items() if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)}


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a fork server keeps: those that may pass and those that libraries read on import."""
    kept = {name: value for name, value in environ.items() if name.startswith(SERVER_PREFIXES)}
    return {**kept, **allowed(environ), "MPLBACKEND": INLINE_BACKEND}


def own_packages(user: str, environment: str) -> Path:
    """Return the folder of the packages that a person installed for themselves beside an environment."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Path.home() / ".local" / "share" / "dure" / "packages" / (user or "own") / f"{environment}-{version}"


def user_environment(spec: AttemptSpec, folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return all variables of the user process; the job's own (`spec.env`) cannot replace what Dure says."""
    programs = str(Path(sys.executable).parent)
    base = allowed(environ)
    base["PATH"] = os.pathsep.join(dict.fromkeys([programs, *base.get("PATH", os.defpath).split(os.pathsep)]))
    if sys.prefix != sys.base_prefix:
        base["VIRTUAL_ENV"] = sys.prefix
    if spec.kind == "command":
        base["PYTHONUNBUFFERED"] = "1"
    else:
        base["MPLBACKEND"] = INLINE_BACKEND
    platform = {
        "DURE_JOB": spec.job,
        "DURE_ATTEMPT": str(spec.attempt),
        "DURE_ATTEMPT_ID": attempt_id(folder),
        "DURE_CHECKPOINT_FILE": str(folder / "checkpointed"),
        "DURE_OUTPUT_DIR": str(folder / "output"),
        "DURE_TIER": spec.tier,
        "DURE_CLUSTER": spec.cluster,
        "DURE_NODE": spec.node,
        "DURE_GPUS": ",".join(str(gpu["index"]) for gpu in spec.gpus),
        **_devices(spec, environ),
        **_ranks(spec),
    }
    return {**base, **spec.env, **platform}


def _ranks(spec: AttemptSpec) -> dict[str, str]:
    """Return how the processes of a job over several nodes find each other.

    The plain names are those that PyTorch reads in each process; torchrun takes its options from those with PET_, which
    Kubeflow's trainer sets too, and starts a process for each GPU of the node.
    """
    if len(spec.nodes) < 2:
        return {}
    rank, nodes, address, port = str(spec.rank), str(len(spec.nodes)), "127.0.0.1", str(spec.port)
    return {
        "DURE_NODES": ",".join(spec.nodes),
        "DURE_NODE_RANK": rank,
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        "NODE_RANK": rank,
        "RANK": rank,
        "WORLD_SIZE": nodes,
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "PET_MASTER_ADDR": address,
        "PET_MASTER_PORT": port,
        "PET_NNODES": nodes,
        "PET_NODE_RANK": rank,
        "PET_NPROC_PER_NODE": str(len(spec.gpus)),
    }


def _devices(spec: AttemptSpec, environ: Mapping[str, str]) -> dict[str, str]:
    if spec.simulated:
        return {"CUDA_VISIBLE_DEVICES": "", "DURE_SIMULATED": "1"}
    devices = {"CUDA_VISIBLE_DEVICES": ",".join(str(gpu.get("uuid") or gpu["index"]) for gpu in spec.gpus)}
    share = min((float(gpu.get("share") or 1.0) for gpu in spec.gpus), default=1.0)
    if share < 1.0 and all(gpu.get("sharing") == "mps" for gpu in spec.gpus):
        devices["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = str(max(1, round(share * 100)))
        devices["CUDA_MPS_PIPE_DIRECTORY"] = environ.get("CUDA_MPS_PIPE_DIRECTORY", MPS_PIPE)
        limits = [
            f"{number}={max(1, round(gpu['memory_bytes'] * float(gpu.get('share') or 1.0)) >> 20)}M"
            for number, gpu in enumerate(spec.gpus)
            if gpu.get("memory_bytes")
        ]
        if limits:
            devices["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = ",".join(limits)
    return devices


def replace_environment(variables: Mapping[str, str], marks: Mapping[str, str]) -> bool:
    """Make `variables` the whole environment of this process and show `marks` in /proc; False when they do not fit."""
    os.environ.clear()
    os.environ.update(variables)
    return mark_environ(dict(marks))
