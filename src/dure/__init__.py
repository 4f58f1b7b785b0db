"""Dure: notebooks stay on CPU, and a cell, function or command takes a GPU only while it runs.

This module is all that `import dure` and `%load_ext dure` load. Its one trap: it must stay light and must not
import the server side, so everything that it offers is looked up on first use (PEP 562).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "checkpointed", "gpu", "load_ipython_extension", "unload_ipython_extension"]

_FOUND_IN = {
    "checkpointed": "dure.client.checkpoints",
    "gpu": "dure.notebook.function",
    "load_ipython_extension": "dure.notebook.extension",
    "unload_ipython_extension": "dure.notebook.extension",
}


def __getattr__(name: str) -> Any:
    """Return the public object called `name`; its module is imported at its first use.

    Raises AttributeError for a name that Dure does not offer.
    """
    if name not in _FOUND_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_FOUND_IN[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names, so that completion shows those that are not loaded yet."""
    return sorted(__all__)
