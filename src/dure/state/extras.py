"""What belongs to a session besides its variables: states of random generators, the folder, the history.

`capture(…, extras=session_extras(…))` saves them, `Report.extras` brings them back, `apply_extras` puts the
process's part in force. The one trap: nothing is imported here, since the state of a generator that nobody has
loaded is nobody's state.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OUT = re.compile(r"Out\[(\d+)\]")
_LAST = ("_", "__", "___")


def process_extras() -> dict[str, Any]:
    """Return the states of the random generators of Python, numpy and torch (CPU and CUDA), and the folder."""
    found: dict[str, Any] = {"random": random.getstate()}
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        found["numpy.random"] = numpy.get_state()
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_rng_state"):
        found["torch.random"] = torch.get_rng_state().numpy().tobytes()
        if torch.cuda.is_initialized():
            found["torch.cuda.random"] = [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
    with contextlib.suppress(FileNotFoundError):  # the folder was removed under the process
        found["cwd"] = str(Path.cwd())
    return found


def history_extras(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return IPython's history as extras: `In` as one list, each of `Out` and the last three results by itself, so that
    one which cannot be saved is named and the others are.
    """
    found: dict[str, Any] = {}
    if isinstance(namespace.get("In"), list):
        found["In"] = [str(cell) for cell in namespace["In"]]
    out = namespace.get("Out")
    if isinstance(out, dict):
        found |= {f"Out[{number}]": value for number, value in out.items() if isinstance(number, int)}
    found |= {name: namespace[name] for name in _LAST if name in namespace and not isinstance(namespace[name], str)}
    return found


def out_of(extras: Mapping[str, Any]) -> dict[int, Any]:
    """Return `Out` as it was, from a report's extras."""
    found = {int(match[1]): value for name, value in extras.items() if (match := _OUT.fullmatch(name))}
    return dict(sorted(found.items()))


def apply_extras(extras: Mapping[str, Any]) -> dict[str, str]:
    """Put back the generators' states and the folder; return what could not be put back, with the reason."""
    steps: dict[str, Callable[[Any], str | None]] = {
        "random": _python_random,
        "numpy.random": _numpy_random,
        "torch.random": _torch_random,
        "torch.cuda.random": _cuda_random,
        "cwd": _folder,
    }
    failed = {}
    for name, step in steps.items():
        if name in extras:
            try:
                reason = step(extras[name])
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            if reason:
                failed[name] = reason
    return failed


def _python_random(state: Any) -> str | None:
    random.setstate(state)
    return None


def _numpy_random(state: Any) -> str | None:
    import numpy as np

    np.random.set_state(state)  # noqa: NPY002 - this very generator is the subject
    return None


def _torch_random(state: bytes) -> str | None:
    import torch

    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return None


def _cuda_random(states: list[bytes]) -> str | None:
    import torch

    if not torch.cuda.is_available():
        return "there is no CUDA device here"
    count = min(len(states), torch.cuda.device_count())
    for device in range(count):
        torch.cuda.set_rng_state(torch.frombuffer(bytearray(states[device]), dtype=torch.uint8), device)
    return None if count == len(states) else f"{len(states)} devices were saved and {count} are here"


def _folder(path: str) -> str | None:
    if not Path(path).is_dir():
        return f"the folder {path} is not here"
    os.chdir(path)
    return None
