"""matplotlib: figures whose pickle is the same as long as they are.

Each pickle of a registry of callbacks counts up a number inside it, which would look like a change of the figure, and
leaves out what a person connected; that is kept. The one trap: pyplot shows a figure of its own as soon as it is
loaded, also one that is loaded to be compared only.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_here = threading.local()
_unseen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # numbers pyplot would have given figures
_OWN = {"matplotlib", "mpl_toolkits", "matplotlib_inline", "ipympl"}  # connect theirs again by themselves


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
        state |= {"_restore_to_pylab": True, "_dure_number": _unseen[figure]}
    elif state.get("_restore_to_pylab"):
        state["_dure_number"] = figure.canvas.manager.num
    return make, arguments, state, None, None, fill


def fill(figure: Any, state: dict[str, Any]) -> None:
    """Give a figure what it was, and to pyplot under the number that it had where no other has that."""
    number = state.pop("_dure_number", 0)
    if getattr(_here, "unseen", False) and state.pop("_restore_to_pylab", False):
        _unseen[figure] = number
    if not number or not state.get("_restore_to_pylab"):
        figure.__setstate__(state)
        return
    from matplotlib import _pylab_helpers

    plt: Any = importlib.import_module("matplotlib.pyplot")
    if plt.fignum_exists(number):
        figure.__setstate__(state)  # gives it the next one
        return
    del state["_restore_to_pylab"]
    figure.__setstate__(state)
    manager = plt._get_backend_mod().new_figure_manager_given_figure(number, figure)  # noqa: SLF001 - as matplotlib
    _pylab_helpers.Gcf._set_new_active_manager(manager)  # noqa: SLF001
    plt.draw_if_interactive()


def _registry(_: Any, registry: Any) -> Any:
    make, arguments, state, *_ = registry.__reduce_ex__(5)
    registry._cid_gen = itertools.count(state["_cid_gen"])  # noqa: SLF001 - as it was before it told its number
    for signal, connected in registry.callbacks.items():
        kept = {cid: call for cid, proxy in connected.items() if _is_kept(call := proxy())}
        state["callbacks"][signal] = dict(sorted((state["callbacks"].get(signal, {}) | kept).items()))
        state["_pickled_cids"] = state["_pickled_cids"] | set(kept)
    used = {cid for registered in state["callbacks"].values() for cid in registered}
    # and the next number is what it must be, not what it came to while figures were restored and drawn
    state["_cid_gen"] = 1 + max(used | state["_pickled_cids"], default=-1)
    return make, arguments, dict(sorted(state.items()))


def _is_kept(call: Any) -> bool:
    """Tell whether a callback, of which None is left where it is gone, is not one that a window connects itself."""
    name = str(getattr(getattr(call, "func", call), "__module__", None))
    return call is not None and (name == "matplotlib.widgets" or name.partition(".")[0] not in _OWN)
