"""Which NVIDIA GPUs this machine has, asked through NVML. No driver, no library, no GPU: an empty list, never an error.

The trap: NVML counts in PCI bus order and CUDA by speed unless told otherwise, so a GPU is named by its UUID.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FoundGpu:
    """One GPU as NVML reports it. `uuid` is what CUDA_VISIBLE_DEVICES takes."""

    index: int
    model: str
    memory_bytes: int
    uuid: str


def find_gpus() -> list[FoundGpu]:
    """Return this machine's NVIDIA GPUs in NVML's order; none when there is no driver to ask.

    A GPU that does not answer (fallen off the bus) is left out: the others can be used.
    """
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        count = pynvml.nvmlDeviceGetCount()
        return [gpu for index in range(count) if (gpu := _gpu(pynvml, index)) is not None]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> FoundGpu | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        model, uuid = _text(nvml.nvmlDeviceGetName(handle)), _text(nvml.nvmlDeviceGetUUID(handle))
    except nvml.NVMLError:
        return None
    try:
        memory_bytes = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:  # GPUs that share the machine's memory have none of their own to report
        memory_bytes = 0
    return FoundGpu(index=index, model=model, memory_bytes=memory_bytes, uuid=uuid)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
