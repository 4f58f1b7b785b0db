"""`dure doctor`: one line per check, green or with one copyable command that mends it.

Looks, never changes anything. The trap: a check that cannot be made (no driver, no platform yet) is said to be skipped
with the reason; it is neither green nor red.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import click
import httpx

from dure.adapters import platform_file, processes
from dure.adapters.gpus import find_gpus
from dure.core.model import Platform
from dure.main.spoken import retold, spoken

State = Literal["ok", "bad", "skipped"]
_MIN_FREE_BYTES = 2 * 1024**3
_MAX_SKEW_S = 5.0
_MARKS = {"ok": ("✔", "green"), "bad": ("✘", "red"), "skipped": ("–", "yellow")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result. `fix` is one command or one thing to do, empty when nothing is wrong."""

    check: str
    state: State
    found: str
    fix: str = ""


def report(state_dir: Path, *, as_json: bool = False) -> int:
    """Print every finding; return 0 when none is bad, else 1."""
    findings, lang = list(examine(state_dir)), spoken()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    else:
        for finding in findings:
            mark, colour = _MARKS[finding.state]
            check, found, fix = (retold(part, lang) for part in (finding.check, finding.found, finding.fix))
            click.echo(f"{click.style(mark, fg=colour)} {check}: {found}")
            if fix:
                click.echo(f"    {'해결' if lang == 'ko' else 'fix'}: {fix}")
    return int(any(finding.state == "bad" for finding in findings))


def examine(state_dir: Path) -> Iterator[Finding]:
    """Yield the findings in the order in which a newcomer meets the things."""
    platform = _load(state_dir)
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _parts,
        lambda: _folder(state_dir),
        lambda: _disk(state_dir),
        lambda: _platform_file(state_dir, platform),
        _gpus,
        lambda: _mps(bool(find_gpus())),
        _cgroups,
        lambda: _running(state_dir),
        lambda: _clock(state_dir),
        lambda: _leftovers(state_dir),
    )
    for check in checks:
        yield check()
    if isinstance(platform, Platform):
        for environment in platform.environments:
            yield _environment(environment.name, environment.python)


def _load(state_dir: Path) -> Platform | str | None:
    path = state_dir / "platform.yaml"
    if not path.exists():
        return None
    try:
        return platform_file.load(path)
    except platform_file.PlatformFileError as error:
        return str(error)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", "ok", version)


def _parts() -> Finding:
    missing = [
        name for name in ("jupyterhub", "jupyterlab", "configurable_http_proxy", "fastapi") if not find_spec(name)
    ]
    if missing:
        return Finding("Hub and server", "bad", f"missing: {', '.join(missing)}", "pip install 'dure[server,hub]'")
    return Finding("Hub and server", "ok", "installed")


def _folder(state_dir: Path) -> Finding:
    place = state_dir if state_dir.exists() else next(p for p in state_dir.parents if p.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding("State folder", "bad", f"{place} cannot be written", "dure up --dir A_FOLDER_OF_YOURS")
    return Finding("State folder", "ok", str(state_dir))


def _disk(state_dir: Path) -> Finding:
    place = state_dir if state_dir.exists() else next(p for p in state_dir.parents if p.exists())
    free = shutil.disk_usage(place).free
    told = f"{free / 1024**3:.1f} GiB free for {place}"
    if free < _MIN_FREE_BYTES:
        return Finding("Disk", "bad", told, f"du -xh --max-depth=2 {place} | sort -h | tail")
    return Finding("Disk", "ok", told)


def _platform_file(state_dir: Path, platform: Platform | str | None) -> Finding:
    path = state_dir / "platform.yaml"
    if platform is None:
        return Finding("platform.yaml", "skipped", "not written yet", f"dure init --dir {state_dir}")
    if isinstance(platform, str):
        first, *more = platform.splitlines()
        others = f" (and {len(more)} more)" if more else ""
        return Finding("platform.yaml", "bad", f"{first}{others}", f"edit {path}")
    nodes = [node for cluster in platform.clusters for node in cluster.nodes]
    simulated = sum(node.gpus for node in nodes if node.simulated)
    gpus, teams = sum(node.gpus for node in nodes), len(platform.teams)
    told = f"valid: {gpus} GPU{'s' * (gpus != 1)} ({simulated} simulated), {teams} team{'s' * (teams != 1)}"
    return Finding("platform.yaml", "ok", told)


def _gpus() -> Finding:
    gpus = find_gpus()
    if not gpus:
        return Finding("NVIDIA GPUs", "skipped", "none found by NVML; simulated GPUs are used and said to be so")
    return Finding("NVIDIA GPUs", "ok", ", ".join(gpu.model for gpu in gpus))


def _mps(has_gpus: bool) -> Finding:  # noqa: FBT001 -- the one fact it depends on
    if not has_gpus:
        return Finding("GPU sharing (MPS)", "skipped", "needs a real GPU")
    if shutil.which("nvidia-cuda-mps-control") is None:
        return Finding(
            "GPU sharing (MPS)",
            "bad",
            "nvidia-cuda-mps-control is not on PATH",
            "install the NVIDIA driver's MPS tools",
        )
    if not Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")).exists():  # noqa: S108 -- NVIDIA's default
        return Finding("GPU sharing (MPS)", "bad", "its daemon does not run", "nvidia-cuda-mps-control -d")
    return Finding("GPU sharing (MPS)", "ok", "its daemon runs")


def _cgroups() -> Finding:
    writable = [path for path in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")) if os.access(path, os.W_OK)]
    if writable:
        return Finding("Memory limits", "ok", "by cgroup")
    return Finding("Memory limits", "ok", "by watching the jobs' memory (cgroups are not ours to write)")


def _running(state_dir: Path) -> Finding:
    holder = processes.holder(state_dir)
    if holder is None:
        return Finding("Platform", "skipped", "not running", f"dure up --dir {state_dir}")
    # Without a Hub the control plane answers at the address itself, with one below the Hub's services.
    for address in (holder["link"], f"{holder['link']}services/dure/"):
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{address}api/health", timeout=5, trust_env=False)
            if answer.status_code == httpx.codes.OK:
                return Finding("Platform", "ok", f"answers at {address}")
    return Finding(
        "Platform",
        "bad",
        f"process {holder['pid']} runs but does not answer at {holder['link']}",
        f"dure down --dir {state_dir} && dure up --dir {state_dir}",
    )


def _clock(state_dir: Path) -> Finding:
    """Leadership and deadlines trust the clock; files of the same disk tell when it was set back."""
    database = state_dir / "dure.sqlite"
    if not database.exists():
        return Finding("Clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))
    ahead_s = database.stat().st_mtime - time.time()
    if ahead_s > _MAX_SKEW_S:
        return Finding(
            "Clock", "bad", f"it went back by {ahead_s:.0f} s since Dure last wrote", "timedatectl set-ntp true"
        )
    return Finding("Clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def _leftovers(state_dir: Path) -> Finding:
    if processes.holder(state_dir) is not None:
        return Finding("Leftover processes", "ok", "the platform runs; its processes are its own")
    left = processes.marked(state_dir)
    if left:
        pids = ", ".join(str(process.pid) for process in left[:5])
        told = f"{len(left)} of an earlier run ({pids}); starting again ends them and adopts the jobs that run"
        return Finding("Leftover processes", "bad", told, f"dure up --dir {state_dir}")
    return Finding("Leftover processes", "ok", f"none (this host: {socket.gethostname()})")


def _environment(name: str, python: str) -> Finding:
    code = "import dure, sys; print('.'.join(map(str, sys.version_info[:3])), dure.__version__)"
    label = f"Environment {name}"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        return Finding(label, "bad", f"{python}: {error.strerror}", "set its `python` in platform.yaml")
    except subprocess.TimeoutExpired:
        return Finding(label, "bad", f"{python} did not answer within 30 s", f"{python} -c 'import dure'")
    if done.returncode != 0:
        return Finding(label, "bad", f"{python} has no dure", f"{python} -m pip install dure")
    version, dure_version = done.stdout.split()
    return Finding(label, "ok", f"Python {version}, dure {dure_version}")
