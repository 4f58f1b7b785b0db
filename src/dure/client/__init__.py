"""The typed HTTP client and the one definition of job options; what every tool on the user's side is built on.

The trap: `import dure` must stay light, so the names below are imported at their first use (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dure.client.client import Client as Client
    from dure.client.config import Login as Login
    from dure.client.config import find_login as find_login
    from dure.client.config import language as language
    from dure.client.errors import DureError as DureError
    from dure.client.streams import JobChanged as JobChanged
    from dure.client.streams import Output as Output
    from dure.client.transport import Retry as Retry

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


def __getattr__(name: str) -> Any:
    """Return the public object called `name`; AttributeError for a name that is not offered."""
    if name not in _FOUND_IN:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(_FOUND_IN[name]), name)
    globals()[name] = found
    return found
