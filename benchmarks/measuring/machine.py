"""Says where and when the figures were taken, how busy the machine was, and what processes need of its memory."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import psutil


def told(*packages: str) -> str:
    """Return the machine, the versions of `packages`, date and load in a few lines."""
    memory = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{part:.2f}" for part in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"Machine: {_cpu()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()}\n"
        f"Versions: Python {platform.python_version()}, {versions}\n"
        f"Taken: {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; load averages when it began: {load}"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def family(pid: int) -> list[psutil.Process]:
    """Return a process and everything below it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def memory(processes: Iterable[psutil.Process]) -> tuple[int, int]:
    """Return the sums of PSS and RSS in bytes. PSS counts a shared page once, divided among those who share it."""
    pss = rss = 0
    for process in processes:
        try:
            found = process.memory_full_info()
        except psutil.Error:
            continue
        pss += found.pss
        rss += found.rss
    return pss, rss


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU time that living processes have used so far, in seconds."""
    used = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        used += times.user + times.system
    return used


def loopback_bytes() -> int:
    """Return how many bytes went over the loopback device so far, of all processes of this machine."""
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent
