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
import types
import weakref
from typing import TYPE_CHECKING, Any

from dure.state.objects import rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.state.objects.pickling import Reducer

_here = threading.local()
_unseen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # numbers pyplot would have given figures
_OWN = {"matplotlib", "mpl_toolkits", "matplotlib_inline", "ipympl"}  # connect theirs again by themselves


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of matplotlib's figures, what is in them and registries of callbacks; None for other types."""
    cbook, figure = sys.modules.get("matplotlib.cbook"), sys.modules.get("matplotlib.figure")
    if cbook is not None and kind is getattr(cbook, "CallbackRegistry", None):
        return registry
    if figure is not None and issubclass(kind, getattr(figure, "Figure", ())):
        return _figure
    artist = sys.modules.get("matplotlib.artist")
    return _artist if artist is not None and issubclass(kind, getattr(artist, "Artist", ())) else None


def shown_in(shell: Any) -> None:
    """Have figures shown as pictures in `shell` that came from elsewhere: Jupyter's way of drawing is set up only when
    pyplot makes the first figure here.
    """
    formatter: Any = shell.display_formatter.mimebundle_formatter
    formatter.for_type_by_name("matplotlib.figure", "Figure", _draw_inline)


def _draw_inline(_: Any) -> None:
    with contextlib.suppress(ImportError):
        importlib.import_module("matplotlib_inline.backend_inline")  # sets it up, where it is the notebook's backend


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Load figures on this thread without giving them to pyplot."""
    _here.unseen = True
    try:
        yield
    finally:
        _here.unseen = False


def _figure(_: Any, figure: Any) -> Any:
    make, arguments, state, *_ = figure.__reduce_ex__(5)
    if figure in _unseen:
        state |= {"_restore_to_pylab": True, "_dure_number": _unseen[figure]}
    elif state.get("_restore_to_pylab"):
        state["_dure_number"] = figure.canvas.manager.num
    return make, arguments, _told(figure, state), None, None, fill


def _artist(_: Any, value: Any) -> Any:
    make, arguments, state, *more = value.__reduce_ex__(5)
    if type(state) is not dict or state.get("stale_callback", value) is not None or any(more):
        return make, arguments, state, *more
    return make, arguments, _told(value, state), None, None, fill_artist


def _told(value: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Add the callback by which an artist reports changes to its figure and window; its own pickle leaves it out."""
    told = value.stale_callback
    return {**state, "stale_callback": told} if isinstance(told, types.FunctionType) else state


def fill_artist(value: Any, state: dict[str, Any]) -> None:
    """Give an artist what it was. Its figure hears of what changes from then on, not before it is all there."""
    told = state["stale_callback"]
    rebuild.set_as_pickle(value, {**state, "stale_callback": None})
    vars(value)["stale_callback"] = told


def fill(figure: Any, state: dict[str, Any]) -> None:
    """Give a figure its state, and give it to pyplot under the number that it had, unless another one has that."""
    told = state.pop("stale_callback", None)
    state["stale_callback"] = None
    _show(figure, state)
    vars(figure)["stale_callback"] = told


def _show(figure: Any, state: dict[str, Any]) -> None:
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


def registry(_: Any, registry: Any) -> Any:
    """Return the reduction of a registry of callbacks, with those that a person connected."""
    make, arguments, state, *_ = registry.__reduce_ex__(5)
    registry._cid_gen = itertools.count(state["_cid_gen"])  # noqa: SLF001 - as it was before it told its number
    for signal, connected in registry.callbacks.items():
        kept = {cid: call for cid, proxy in connected.items() if _is_kept(signal, call := proxy())}
        state["callbacks"][signal] = dict(sorted((state["callbacks"].get(signal, {}) | kept).items()))
        state["_pickled_cids"] = state["_pickled_cids"] | set(kept)
    used = {cid for registered in state["callbacks"].values() for cid in registered}
    # and the next number is what it must be, not what it came to while figures were restored and drawn
    state["_cid_gen"] = 1 + max(used | state["_pickled_cids"], default=-1)
    return make, arguments, dict(sorted(state.items()))


def _is_kept(signal: str, call: Any) -> bool:
    """Tell whether a callback has to be saved (None: it is gone). Those that a window connects by itself need not, such
    as a norm's to its image, the image's to its colorbar, and those of axes about their limits.
    """
    if isinstance(call, types.FunctionType) and call.__qualname__.endswith("add_axobserver.<locals>.<lambda>"):
        call = next(
            (cell.cell_contents for cell in call.__closure__ or ()), None
        )  # the person's function, or a window's
    name = str(getattr(getattr(call, "func", call), "__module__", None))
    others = not signal.endswith("_event") or name == "matplotlib.widgets" or name.partition(".")[0] not in _OWN
    return call is not None and others


PARTLY = (_figure, _artist)  # what leaves to matplotlib most of how an object is pickled
