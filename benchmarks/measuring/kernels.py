"""Real IPython kernels driven as JupyterLab drives them; a cell's time is from sending it to its kernel being idle.

The trap: `idle` is what a person sees as the end, and it comes after all output, so it is what is waited for.
"""

from __future__ import annotations

import json
import queue
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

DEADLINE_S = 180.0


class Kernel:
    """One kernel of the interpreter `python`, with `environment`, in `folder`."""

    def __init__(
        self, python: str, environment: Mapping[str, str], folder: Path, deadline_s: float = DEADLINE_S
    ) -> None:
        spec = folder / "kernels" / "bench"
        spec.mkdir(parents=True, exist_ok=True)
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "bench", "language": "python"}))
        found = KernelSpecManager(kernel_dirs=[str(spec.parent)])
        self._deadline_s = deadline_s
        self._manager = KernelManager(kernel_name="bench", kernel_spec_manager=found)
        self._manager.start_kernel(env=dict(environment), cwd=str(folder), stderr=subprocess.DEVNULL)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=deadline_s)

    @property
    def pid(self) -> int:
        """The kernel's process."""
        provisioner: Any = self._manager.provisioner
        return int(provisioner.pid)

    def run(self, code: str) -> str:
        """Run a cell to its end and return what it printed or showed. Raises RuntimeError with its error, or for one
        that takes too long.
        """
        sent = self._client.execute(code, store_history=True, allow_stdin=False)
        deadline = time.monotonic() + self._deadline_s
        shown: list[str] = []
        error = ""
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                raise RuntimeError(f"no end within {self._deadline_s:g} s: {code}") from None
            if message["parent_header"].get("msg_id") != sent:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                shown.append(content["text"])
            elif kind == "execute_result":
                shown.append(content["data"]["text/plain"])
            elif kind == "error":
                error = "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                break
        if error:
            raise RuntimeError(f"{code}\n{error}")
        return "".join(shown)

    def end(self) -> None:
        """End it at once."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
