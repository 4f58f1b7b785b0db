"""pandas: blocks keep knowing which other blocks share their memory, so that copy-on-write still copies.

pandas' own pickle forgets it. That is harmless where each frame gets memory of its own, and wrong here, where shared
memory stays shared: a write to one frame would show in another.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dure.state.objects.pickling import Reducer

_KNOWN = ("_mgr", "_attrs", "_flags", "_name")


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of pandas' frames and what is in them; None for other types."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    internals = sys.modules["pandas._libs.internals"]
    reducers: tuple[tuple[Any, Reducer], ...] = (
        (internals.Block, _block),
        (sys.modules["pandas.core.internals.managers"].SingleBlockManager, _series_manager),
        (internals.BlockValuesRefs, lambda *_: (new_refs, ())),  # the blocks enter it again
        (pandas.DataFrame | pandas.Series, _frame),
    )
    return next((reduce for kinds, reduce in reducers if issubclass(kind, kinds)), None)


def _block(pickler: Any, block: Any) -> Any:
    refs = getattr(block, "refs", None)
    if refs is None:
        return NotImplemented
    pickler.thawed.add(id(refs))
    return restore_block, (block.values, block.mgr_locs.indexer, block.ndim, refs)


def _series_manager(_: Any, manager: Any) -> Any:
    # by its block: its own way would leave the references out
    return restore_series_manager, (manager.blocks[0], manager.axes[0])


def _frame(_: Any, frame: Any) -> Any:
    """Return the reduction of a DataFrame or Series with the attributes that a person gave it."""
    made = frame.__reduce_ex__(5)
    known = {*_KNOWN, *frame._internal_names, *frame._metadata}  # noqa: SLF001 - what pandas itself keeps there
    more = {name: value for name, value in vars(frame).items() if name not in known and not hasattr(type(frame), name)}
    if not isinstance(made, tuple) or len(made) < 3 or any(made[3:]):
        return made
    if type(made[2]) is dict and made[2].get("_metadata") is type(frame)._metadata:  # noqa: SLF001 - all frames share it
        made = made[0], made[1], {name: value for name, value in made[2].items() if name != "_metadata"}
    attrs = vars(frame).get("_attrs")
    if type(made[2]) is dict and attrs is not None and made[2].get("attrs") is attrs:
        made, more = (made[0], made[1], {**made[2], "attrs": {}}), {**more, "_attrs": attrs}  # pandas would copy them
    if not more:
        return made
    return made[0], made[1], (made[2], more), None, None, fill_frame


def fill_frame(frame: Any, state: tuple[Any, dict[str, Any]]) -> None:
    """Give a DataFrame or Series what it was, and a person's attributes."""
    own, more = state
    frame.__setstate__(own)
    vars(frame).update(more)


def reduce_index(index: Any) -> Any:
    """Return the reduction of an Index that shares memory with columns, or that a person gave attributes."""
    refs = vars(index).get("_references")
    more = given_to(index)
    if refs is None and not more:
        return NotImplemented
    own = index.__reduce__()
    if not isinstance(own, tuple) or len(own) < 2:
        return NotImplemented
    return restore_index, (own[0], own[1], refs, more) if more else (own[0], own[1], refs)


def given_to(index: Any) -> dict[str, Any]:
    """Return the attributes that a person gave an Index."""
    return {name: value for name, value in vars(index).items() if name[0] != "_" and name != "sortorder"}


def index_arrays(index: Any) -> list[Any]:
    """Return the objects inside an Index, which are never changed and so need not be shared."""
    data = getattr(index, "_data", None)
    inner = getattr(data, "_ndarray", None)
    # who shares memory with labels alone can do nothing to them
    found = [item for item in (data, inner, vars(index).get("_references")) if item is not None]
    numpy = sys.modules["numpy"]
    for item in list(found):
        while isinstance(item, numpy.ndarray) and isinstance(item.base, numpy.ndarray):
            item = item.base  # noqa: PLW2901 - climbing to the memory's owner
            found.append(item)
    return found


def new_refs() -> Any:
    """Return an empty record of who shares memory."""
    from pandas._libs.internals import BlockValuesRefs

    return BlockValuesRefs()


def restore_block(values: Any, placement: Any, ndim: int, refs: Any) -> Any:
    """Return a block that shares memory with those in `refs`."""
    from pandas._libs.internals import BlockPlacement
    from pandas.core.internals.blocks import new_block

    return new_block(values, BlockPlacement(placement), ndim=ndim, refs=refs)


def restore_series_manager(block: Any, axis: Any) -> Any:
    """Return the manager of a Series."""
    from pandas.core.internals.managers import SingleBlockManager

    return SingleBlockManager(block, axis)


def restore_index(make: Any, arguments: tuple[Any, ...], refs: Any, more: dict[str, Any] | None = None) -> Any:
    """Return an index that shares memory with those in `refs`, with a person's attributes."""
    index = make(*arguments)
    if refs is not None:
        index._references = refs  # noqa: SLF001 - pandas has no public way to say that memory is shared
        refs.add_index_reference(index)
    vars(index).update(more or {})
    return index
