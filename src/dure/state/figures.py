"""matplotlib: figures whose pickle is the same as long as they are.

Each pickle of a registry of callbacks counts up a number inside it, which would look like a change of the figure. The
one trap: pyplot shows a figure of its own as soon as it is loaded, also one that is loaded to be compared only.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_here = threading.local()
_unseen: weakref.WeakSet[Any] = weakref.WeakSet()  # figures that pyplot would have been given


def route(kind: type) -> Callable[[Any, Any], Any] | None:
    """Return what reduces matplotlib's figures and registries of callbacks; None for other types."""
    cbook, figure = sys.modules.get("matplotlib.cbook"), sys.modules.get("matplotlib.figure")
    if cbook is not None and kind is getattr(cbook, "CallbackRegistry", None):
        return _registry
    if figure is not None and issubclass(kind, getattr(figure, "Figure", ())):
        return _figure
    return None


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Load figures on this thread without giving them to pyplot."""
    _here.unseen = True
    try:
        yield
    finally:
        _here.unseen = False


def _figure(_pickler: Any, figure: Any) -> Any:
    make, arguments, state, *_ = figure.__reduce_ex__(5)
    if figure in _unseen:
        state["_restore_to_pylab"] = True
    return make, arguments, state, None, None, fill


def fill(figure: Any, state: dict[str, Any]) -> None:
    """Give a figure what it was."""
    if getattr(_here, "unseen", False) and state.pop("_restore_to_pylab", False):
        _unseen.add(figure)
    figure.__setstate__(state)


def _registry(_: Any, registry: Any) -> Any:
    make, arguments, state, *_ = registry.__reduce_ex__(5)
    registry._cid_gen = itertools.count(state["_cid_gen"])  # noqa: SLF001 - as it was before it told its number
    used = {cid for registered in state["callbacks"].values() for cid in registered}
    # and the next number is what it must be, not what it came to while figures were restored and drawn
    state["_cid_gen"] = 1 + max(used | state["_pickled_cids"], default=-1)
    return make, arguments, dict(sorted(state.items()))
