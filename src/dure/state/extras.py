"""What a process has besides variables: the states of random generators, the current folder, and settings of libraries
(`sns.set_theme()` is no variable, and figures look otherwise without it).

`freeze(…, extras=process_extras())` saves them, `Report.extras` brings them back, `apply_extras` puts them in force.
What goes along with each cell is one small blob, `packed`. The one trap: nothing is imported to save it, since the
state of what nobody has loaded is nobody's state.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dure.state.libraries.settings import Settings, difference, read_settings, take_settings
from dure.state.manifest import EXTRA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dure.state.manifest import Snapshot
    from dure.state.store.blobs import Blobs

RANDOM, SETTINGS, FOLDER, LAST = "random", "settings", "folder", "last"  # parts of `packed`; LAST: the last value
RESULTS, _LAST_RESULTS = "Out", ("_", "__", "___")
T = TypeVar("T")
_PLAIN = (str, bytes, bool, int, float, type(None))


def process_extras() -> dict[str, Any]:
    """Return the states of the random generators of Python, numpy and torch (CPU and CUDA), the folder, and which
    settings of libraries differ.
    """
    found: dict[str, Any] = {"random": random.getstate()}
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        found["numpy.random"] = numpy.get_state()
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_rng_state"):
        found["torch.random"] = torch.get_rng_state().numpy().tobytes()
        if torch.cuda.is_initialized():
            found["torch.cuda.random"] = [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
    settings = read_settings()
    if settings:
        found[SETTINGS] = settings
    with contextlib.suppress(FileNotFoundError):  # the folder was removed under the process
        found["cwd"] = str(Path.cwd())
    return found


def random_states() -> dict[str, Any]:
    """Return the states of the generators that are loaded here, as plain values that every environment can load."""
    version, words, gauss = random.getstate()
    found: dict[str, Any] = {"random": (version, array("I", words).tobytes(), gauss)}
    numpy = sys.modules.get("numpy.random")
    if numpy is not None and isinstance(state := numpy.get_state(), tuple):
        found["numpy"] = (str(state[0]), state[1].tobytes(), int(state[2]), int(state[3]), float(state[4]))
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_rng_state"):
        found["torch"] = torch.get_rng_state().numpy().tobytes()
    return found


def take_random(states: Mapping[str, Any]) -> None:
    """Have the generators that are loaded here go on from `states`; what another version made stays away."""
    with contextlib.suppress(Exception):
        version, words, gauss = states["random"]
        random.setstate((version, tuple(array("I", words)), gauss))
    with contextlib.suppress(Exception):
        if "numpy.random" in sys.modules and "numpy" in states:
            import numpy as np

            kind, key, *rest = states["numpy"]
            _numpy_random((kind, np.frombuffer(key, dtype=np.uint32), *rest))
    with contextlib.suppress(Exception):
        if "torch" in sys.modules and "torch" in states:
            _torch_random(states["torch"])


def packed(parts: Mapping[str, Any]) -> bytes:
    """Return as bytes what goes along with each cell, and back: `parts` by name, of Python's own values only."""
    return pickle.dumps(dict(parts), protocol=5)


def unpacked(data: bytes) -> dict[str, Any]:
    """Return the parts of `packed`."""
    parts: dict[str, Any] = pickle.loads(data)
    return parts


def parted(settings: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """Return the settings of libraries that every environment can load, and those that only a snapshot can hold (a
    function by which pandas writes numbers).
    """
    plain = {name: held for name, held in settings.items() if _is_plain(held)}
    return plain, {name: held for name, held in settings.items() if name not in plain}


def _is_plain(value: Any) -> bool:
    """Tell whether every environment loads this as the very same: Python's own values, no subclass of them."""
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(held) for key, held in value.items())
    if type(value) in {list, tuple}:
        return all(map(_is_plain, value))
    return type(value) in _PLAIN


def result_extras(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return IPython's results as extras: each of `Out` and the last three by itself, so that one which cannot be saved
    is named and the others are; under `RESULTS` the numbers of all.
    """
    out = namespace.get("Out")
    numbered = {number: value for number, value in out.items() if type(number) is int} if isinstance(out, dict) else {}
    last = {name: namespace[name] for name in _LAST_RESULTS if name in namespace}
    return {RESULTS: [*numbered], **{f"{RESULTS}[{number}]": value for number, value in numbered.items()}, **last}


def results_in(extras: Mapping[str, Any]) -> tuple[dict[int, Any], dict[str, Any]] | None:
    """Return `Out` and the last results from a report's extras; None where they were not saved."""
    if RESULTS not in extras:
        return None
    numbered = {number: f"{RESULTS}[{number}]" for number in extras[RESULTS]}
    last = {name: extras[name] for name in _LAST_RESULTS if name in extras}
    return {number: extras[name] for number, name in numbered.items() if name in extras}, last


def apply_extras(extras: Mapping[str, Any]) -> dict[str, str]:
    """Put back the generators' states and the folder; return what could not be put back, and why. Settings are in force
    since `apply_settings`.
    """
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


def apply_settings(snapshot: Snapshot, blobs: Blobs, old: Settings) -> tuple[Settings, dict[str, str]]:
    """Put the settings in force that were saved beside the variables, in a process that has `old`; return them, and
    what could not be set. It comes before the variables are restored: modules of the person's are found on `sys.path`.
    """
    from dure.state.restoring import restore

    own = snapshot.only({EXTRA + SETTINGS})
    if not own.extras:
        return {}, take_settings(difference(old, {}))
    report = restore(own, blobs, into={})
    wanted = report.extras.get(SETTINGS, {})
    return wanted, {**report.failed, **take_settings(difference(old, wanted))}


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
