"""httpx without its command line, whose import draws from Python's random generator: a notebook's seed must hold.

The trap: this must be the first to import httpx in a process, so the client's modules take it from here.
"""

import sys

if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # httpx goes without it, as where rich is missing
import httpx

if sys.modules.get("httpx._main", httpx) is None:
    del sys.modules["httpx._main"]

__all__ = ["httpx"]
