"""The typed HTTP client and the one definition of job options; what every tool on the user's side is built on.

The trap: `import dure` must stay light, so the names below are imported at their first use (PEP 562).
"""

from importlib import import_module
from typing import Any

_FOUND_IN = {
    "Client": "dure.client.client",
    "DureError": "dure.client.errors",
    "JobChanged": "dure.client.streams",
    "Login": "dure.client.config",
    "Output": "dure.client.streams",
    "Retry": "dure.client.transport",
    "find_login": "dure.client.config",
    "language": "dure.client.config",
}
__all__ = [  # noqa: PLE0604 - the names are found at their first use
    *_FOUND_IN
]


def __getattr__(name: str) -> Any:
    """Return the public object called `name`; AttributeError for a name that is not offered."""
    if name not in _FOUND_IN:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(_FOUND_IN[name]), name)
    globals()[name] = found
    return found
